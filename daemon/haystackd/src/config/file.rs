//! The configuration file as text: keys, their lines, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{KEYS, Problem, Problems, Settings, near_match};

/// Longest configuration file in bytes, far above any real one: the wrong file is not read to its end.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Keys that have a list of addresses.
const LISTS: [&str; 2] = ["founders", "seeds"];

/// Where each setting was made.
#[derive(Debug, Default)]
pub(super) struct Places {
    file: PathBuf,
    lines: BTreeMap<String, usize>,
    flags: Vec<&'static str>,
    /// Keys whose values in the file mean nothing, so that they are as good as missing.
    broken: BTreeSet<String>,
    /// What is wrong with the file's keys by themselves.
    pub(super) problems: Vec<Problem>,
}

impl Places {
    /// The same, knowing which settings the flags made.
    pub(super) fn overlaid(mut self, flags: &Settings) -> Self {
        self.flags = flags.given().collect();
        self
    }

    /// Where `key` was set, for a message.
    pub(super) fn of(&self, key: &str) -> String {
        if self.flags.contains(&key) {
            return format!("--{}", key.replace('_', "-"));
        }
        match self.lines.get(key) {
            Some(line) => format!("{}:{line}: {key}", self.file.display()),
            None => key.to_owned(),
        }
    }

    /// Whether `key` has a value that was told to mean nothing: that it is missing then is no news.
    pub(super) fn is_broken(&self, key: &str) -> bool {
        self.broken.contains(key) && !self.flags.contains(&key)
    }

    /// What the relative path that `key` was set to is relative to: the file's directory, or for a flag the current one.
    pub(super) fn base(&self, key: &str) -> PathBuf {
        if self.flags.contains(&key) {
            return PathBuf::new();
        }
        self.file.parent().map(Path::to_owned).unwrap_or_default()
    }
}

/// Reads the file.
///
/// # Errors
/// If it cannot be read, or is no TOML at all.
pub(super) fn read(path: &Path) -> Result<(Settings, Places), Problems> {
    let told = |text: String| Problems(vec![Problem { place: path.display().to_string(), text }]);
    let metadata =
        std::fs::metadata(path).map_err(|error| told(format!("cannot read the configuration: {error}")))?;
    if metadata.is_file() && metadata.len() > FILE_LIMIT {
        return Err(told(format!("{} bytes long: this is no configuration file", metadata.len())));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| told(format!("cannot read the configuration: {error}")))?;
    parse(path, &text)
}

/// Understands the text of the file. What is wrong with single keys is noted in the places, so that everything else
/// is checked too.
///
/// # Errors
/// If it is no TOML: then what it says is anybody's guess.
pub(super) fn parse(path: &Path, text: &str) -> Result<(Settings, Places), Problems> {
    let at = |offset: usize| format!("{}:{}", path.display(), line_of(text, offset));
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().map_or(path.display().to_string(), |span| at(span.start));
        Problems(vec![Problem { place, text: first_line(error.message()) }])
    })?;
    let whole = table.span();
    let mut places = Places { file: path.to_owned(), ..Places::default() };
    let mut settings = Settings::default();
    let mut keys: Vec<_> = table.get_ref().iter().collect();
    keys.sort_unstable_by_key(|(key, _)| key.span().start);
    for (key, value) in keys {
        let name: &str = key.get_ref();
        places.lines.insert(name.to_owned(), line_of(text, key.span().start));
        if !KEYS.contains(&name) {
            places.broken.extend(meant(name).map(str::to_owned));
            places.problems.push(Problem { place: at(key.span().start), text: unknown_key(name) });
            continue;
        }
        // One by one, so that the first that is wrong does not hide the others.
        let alone = DeTable::from_iter([(key.clone(), value.clone())]);
        let read = Settings::deserialize(toml::Deserializer::from(Spanned::new(whole.clone(), alone)));
        match read {
            Ok(read) => settings = read.over(settings),
            Err(error) => {
                places.broken.insert(name.to_owned());
                let text = wrong_type(name, value.get_ref(), &first_line(error.message()));
                places.problems.push(Problem { place: places.of(name), text });
            }
        }
    }
    Ok((settings, places))
}

/// What to say about a value that its key cannot have.
fn wrong_type(key: &str, value: &DeValue<'_>, said: &str) -> String {
    if LISTS.contains(&key) && value.is_str() {
        return format!("a single text. Write a list: {key} = [\"HOST:PORT\", ...]");
    }
    said.to_owned()
}

/// The key that an unknown one was probably meant to be.
fn meant(name: &str) -> Option<&'static str> {
    // Flags are spelled with dashes, keys with underscores.
    near_match(&name.replace('-', "_").to_ascii_lowercase(), KEYS)
}

/// What to say about a key that does not exist.
fn unknown_key(name: &str) -> String {
    match meant(name) {
        Some(near) => format!("unknown key `{name}`: did you mean `{near}`?"),
        None => format!("unknown key `{name}`. The keys are {}", KEYS.join(", ")),
    }
}

/// The line, from 1, that holds the byte at `offset`.
fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}

/// The parser's message without its continuation lines.
fn first_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(", ")
}
