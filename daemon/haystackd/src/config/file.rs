//! The configuration file as text: keys, their lines, and what is wrong with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::{KEYS, Problem, Problems, Settings, near_match};

/// Longest configuration file in bytes, far above any real one: the wrong file is not read to its end.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Where each setting was made.
#[derive(Debug, Default)]
pub(super) struct Places {
    file: PathBuf,
    lines: BTreeMap<String, usize>,
    flags: Vec<&'static str>,
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

    /// What the relative path that `key` was set to is relative to: the file's directory, or for a flag the current one.
    pub(super) fn base(&self, key: &str) -> PathBuf {
        if self.flags.contains(&key) {
            return PathBuf::new();
        }
        self.file.parent().map(Path::to_owned).unwrap_or_default()
    }
}

/// Reads the file.
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

/// Understands the text of the file.
pub(super) fn parse(path: &Path, text: &str) -> Result<(Settings, Places), Problems> {
    let told = |span: Option<std::ops::Range<usize>>, text_of: String| Problem {
        place: span.map_or(path.display().to_string(), |span| {
            format!("{}:{}", path.display(), line_of(text, span.start))
        }),
        text: text_of,
    };
    let table = DeTable::parse(text)
        .map_err(|error| Problems(vec![told(error.span(), first_line(error.message()))]))?;
    let mut places = Places { file: path.to_owned(), ..Places::default() };
    let mut problems = Vec::new();
    for key in table.get_ref().keys() {
        let name: &str = key.get_ref();
        places.lines.insert(name.to_owned(), line_of(text, key.span().start));
        if !KEYS.contains(&name) {
            problems.push(told(Some(key.span()), unknown_key(name)));
        }
    }
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.place.clone());
        return Err(Problems(problems));
    }
    match toml::from_str(text) {
        Ok(settings) => Ok((settings, places)),
        Err(error) => Err(Problems(vec![told(error.span(), first_line(error.message()))])),
    }
}

/// What to say about a key that does not exist.
fn unknown_key(name: &str) -> String {
    // Flags are spelled with dashes, keys with underscores.
    match near_match(&name.replace('-', "_").to_ascii_lowercase(), KEYS) {
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
