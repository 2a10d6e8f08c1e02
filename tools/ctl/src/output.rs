//! Standard output: bytes as they are, or JSON.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use haystack_client::Versioned;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Map, Value};

use crate::failure::{Exit, Failure};

/// Writes bytes to standard output. Whoever reads may stop when it has enough.
///
/// # Errors
/// A failure if they cannot be written, other than because nobody reads.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(&error)),
        _ => Ok(()),
    }
}

/// What is said when standard output takes no more.
pub(crate) fn cannot_write(error: &io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("cannot write to standard output: {error}"))
}

/// Writes a line of text.
///
/// # Errors
/// As [`write()`].
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    write(format!("{text}\n").as_bytes())
}

/// Writes a value as a line of JSON.
///
/// # Errors
/// As [`write()`].
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// Writes stored bytes exactly, and ends the line on a terminal only.
///
/// # Errors
/// As [`write()`].
pub(crate) fn value(bytes: &[u8]) -> Result<(), Failure> {
    write(bytes)?;
    if io::stdout().is_terminal() { write(b"\n") } else { Ok(()) }
}

/// Waits so long, or until nobody reads standard output any more, or a signal comes. Returns whether somebody reads:
/// who writes seldom would else never learn that its reader is gone.
pub(crate) fn is_read_for(time: Duration) -> bool {
    let out = io::stdout();
    let mut watched = [PollFd::new(&out, PollFlags::empty())];
    // Without anything to wait for, only that the other end is gone is told.
    let time = Timespec::try_from(time).ok();
    matches!(poll(&mut watched, time.as_ref()), Ok(0) | Err(Errno::INTR))
}

/// Puts bytes into an object: under `name` if they are text, else in base64 under `name` with `_b64`.
pub(crate) fn insert(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_b64"), STANDARD.encode(bytes).into()),
    };
}

/// An object that begins with a key.
pub(crate) fn about(key: &[u8]) -> Map<String, Value> {
    let mut object = Map::new();
    insert(&mut object, "key", key);
    object
}

/// What is stored under a key, or null.
pub(crate) fn stored(found: Option<&Versioned>) -> Value {
    found.map_or(Value::Null, |found| {
        let mut object = Map::new();
        insert(&mut object, "value", &found.value);
        object.insert("version".into(), found.version.to_string().into());
        Value::Object(object)
    })
}

/// Bytes for people, in a sentence: quoted, and cut if they are many.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    const MOST: usize = 60;
    let text: String =
        bytes[..bytes.len().min(MOST)].escape_ascii().to_string().replace("\\'", "'").replace("\\\\", "\\");
    let more = if bytes.len() > MOST { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    match str::from_utf8(bytes) {
        Ok(plain) if bytes.len() <= MOST && !plain.contains(char::is_control) => format!("`{plain}`"),
        _ => format!("`{text}`{more}"),
    }
}

/// A number of things, in words.
pub(crate) fn count(number: u64, what: &str) -> String {
    match what.strip_suffix('y') {
        _ if number == 1 => format!("1 {what}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies"),
        _ => format!("{number} {what}s"),
    }
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    name: &'static str,
    alignment: CellAlignment,
}

impl Column {
    /// A column of words.
    pub(crate) const fn left(name: &'static str) -> Self {
        Self { name, alignment: CellAlignment::Left }
    }

    /// A column of numbers.
    pub(crate) const fn right(name: &'static str) -> Self {
        Self { name, alignment: CellAlignment::Right }
    }
}

/// A table for people, without a line feed at its end.
pub(crate) fn table(columns: &[Column], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(columns.iter().map(|column| column.name));
    for (cells, column) in table.column_iter_mut().zip(columns) {
        cells.set_cell_alignment(column.alignment);
    }
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_for_people_stay_on_their_line_and_short() {
        assert_eq!(quoted("grün".as_bytes()), "`grün`");
        assert_eq!(quoted(b"a\nb\x1b[2J"), "`a\\nb\\x1b[2J`");
        assert_eq!(quoted(b"\xff"), "`\\xff`");
        let long = quoted(&[b'x'; 1000]);
        assert!(long.len() < 100 && long.ends_with("... (1000 bytes)"), "{long}");
    }

    #[test]
    fn numbers_agree_with_their_nouns() {
        assert_eq!((count(1, "key"), count(0, "key")), ("1 key".to_owned(), "0 keys".to_owned()));
        assert_eq!((count(1, "entry"), count(2, "entry")), ("1 entry".to_owned(), "2 entries".to_owned()));
    }
}
