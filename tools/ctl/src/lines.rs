//! The lines that `load` reads and `dump` writes.
//!
//! A line ends with a line feed, and is one of:
//! - `key<TAB>value`: both are the bytes as they stand; the first TAB ends the key;
//! - `key`: the value is empty;
//! - a JSON object with `key` or `key_b64`, `value` or `value_b64`, and perhaps `version`, which is not looked at.
//!
//! A line is taken for JSON if it starts with `{` and then, after blanks, a quotation mark, `}` or its end. Keys with a
//! hash tag, `{user7}.name`, are therefore plain lines. Nothing is guessed: what looks like JSON and is none is a bad
//! line, and so is a plain line that ends with a carriage return, whose value would else silently end with one.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;
use haystack_client::Version;
use haystack_wire::message::client::{KEY_LIMIT, VALUE_LIMIT};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Longest line, in bytes: the longest key and value with every byte as a JSON escape, and the words around them.
pub(crate) const LINE_LIMIT: usize = 6 * (KEY_LIMIT + VALUE_LIMIT) + 1024;

/// Some editors begin a file with it; it is no part of the first key.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Base64 with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The key.
    pub(crate) key: Bytes,
    /// The value.
    pub(crate) value: Bytes,
}

/// Why a line cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadLine {
    /// It is over [`LINE_LIMIT`].
    TooLong(u64),
    /// It ends with a carriage return.
    CarriageReturn,
    /// It looks like JSON and is none, or not of the right shape.
    Json(String),
    /// A base64 field is none.
    Base64(&'static str),
    /// A field is neither or both of these.
    Fields(&'static str, &'static str),
    /// The key is longer than any configuration allows.
    Key(usize),
    /// The value is longer than any configuration allows.
    Value(usize),
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => {
                write!(f, "it has {bytes} bytes, and no key and value need more than {LINE_LIMIT}")
            }
            Self::CarriageReturn => f.write_str(
                "it ends with CR LF, as files from Windows do, and the CR would become part of the value. Take the CRs \
                 out (`tr -d '\\r'`), or write this line as JSON",
            ),
            Self::Json(problem) => {
                write!(f, "it looks like JSON and is not {{\"key\": \"...\", \"value\": \"...\"}}: {problem}")
            }
            Self::Base64(field) => write!(f, "`{field}` is not base64"),
            Self::Fields(plain, base64) => write!(f, "it must have either `{plain}` or `{base64}`"),
            Self::Key(bytes) => {
                write!(f, "its key has {bytes} bytes, more than the {KEY_LIMIT} that are allowed")
            }
            Self::Value(bytes) => {
                write!(f, "its value has {bytes} bytes, more than the {VALUE_LIMIT} that are allowed")
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key_b64: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value_b64: Option<Cow<'a, str>>,
    /// As `dump --json` writes it.
    #[serde(rename = "version")]
    _version: Option<IgnoredAny>,
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

/// Reads a line without its line feed. `None` if it is blank.
///
/// # Errors
/// Why it cannot be loaded.
pub(crate) fn parse(line: &[u8]) -> Result<Option<Record>, BadLine> {
    if line.is_empty() || line == b"\r" {
        return Ok(None);
    }
    let record = if looks_like_json(line) { parse_json(line)? } else { parse_plain(line)? };
    match (record.key.len(), record.value.len()) {
        (bytes, _) if bytes > KEY_LIMIT => Err(BadLine::Key(bytes)),
        (_, bytes) if bytes > VALUE_LIMIT => Err(BadLine::Value(bytes)),
        _ => Ok(Some(record)),
    }
}

fn parse_plain(line: &[u8]) -> Result<Record, BadLine> {
    if line.ends_with(b"\r") {
        return Err(BadLine::CarriageReturn);
    }
    let tab = line.iter().position(|byte| *byte == b'\t');
    let (key, value) = tab.map_or((line, &[][..]), |tab| (&line[..tab], &line[tab + 1..]));
    Ok(Record { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) })
}

fn parse_json(line: &[u8]) -> Result<Record, BadLine> {
    let read: Fields<'_> = serde_json::from_slice(line).map_err(|error| {
        // The line is the only one that the parser knows.
        BadLine::Json(error.to_string().replace(" at line 1 column ", " at column "))
    })?;
    Ok(Record {
        key: field(read.key, read.key_b64, "key", "key_b64")?,
        value: field(read.value, read.value_b64, "value", "value_b64")?,
    })
}

fn field(
    plain: Option<Cow<'_, str>>,
    base64: Option<Cow<'_, str>>,
    name: &'static str,
    name_b64: &'static str,
) -> Result<Bytes, BadLine> {
    match (plain, base64) {
        (Some(text), None) => Ok(Bytes::from(text.into_owned())),
        (None, Some(text)) => {
            LENIENT.decode(text.as_bytes()).map(Bytes::from).map_err(|_| BadLine::Base64(name_b64))
        }
        (None, None) | (Some(_), Some(_)) => Err(BadLine::Fields(name, name_b64)),
    }
}

fn looks_like_json(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"{") else { return false };
    let next = rest.iter().find(|byte| !b" \t\r".contains(byte));
    matches!(next, None | Some(b'"' | b'}'))
}

/// Appends a record's line, with its line feed. It is plain if that reads back as the same record, else JSON with the
/// fields in base64 that a plain line could not hold.
pub(crate) fn write(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if fits_plain(key) && fits_plain(value) && !key.is_empty() && !key.starts_with(BYTE_ORDER_MARK) {
        out.extend_from_slice(key);
        if !value.is_empty() {
            out.push(b'\t');
            out.extend_from_slice(value);
        }
        if !looks_like_json(&out[start..]) {
            return out.push(b'\n');
        }
        out.truncate(start);
    }
    let plain_key = Some(key).filter(|key| fits_plain(key) && !looks_like_json(key));
    let plain_value = Some(value).filter(|value| fits_plain(value));
    write_fields(key, plain_key, value, plain_value, None, out);
}

/// Appends a record's line as JSON, with text as text.
pub(crate) fn write_json(key: &[u8], value: &[u8], version: Version, out: &mut Vec<u8>) {
    write_fields(key, Some(key), value, Some(value), Some(version), out);
}

fn write_fields(
    key: &[u8],
    plain_key: Option<&[u8]>,
    value: &[u8],
    plain_value: Option<&[u8]>,
    version: Option<Version>,
    out: &mut Vec<u8>,
) {
    let text =
        |plain: Option<&'_ [u8]>| plain.and_then(|bytes| str::from_utf8(bytes).ok().map(str::to_owned));
    let (key_text, value_text) = (text(plain_key), text(plain_value));
    let written = Written {
        key: key_text.as_deref(),
        key_b64: key_text.is_none().then(|| STANDARD.encode(key)),
        value: value_text.as_deref(),
        value_b64: value_text.is_none().then(|| STANDARD.encode(value)),
        version: version.map(|version| version.to_string()),
    };
    // A vector takes everything, and none of these fields can fail.
    if serde_json::to_writer(&mut *out, &written).is_ok() {
        out.push(b'\n');
    }
}

/// Whether a field may stand in a plain line.
fn fits_plain(field: &[u8]) -> bool {
    str::from_utf8(field).is_ok() && !field.iter().any(|byte| b"\t\n\r".contains(byte))
}

/// What [`Lines::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A line, in the buffer.
    Line,
    /// A line of so many bytes, over [`LINE_LIMIT`], which was skipped.
    TooLong(u64),
    /// The end.
    End,
}

/// Reads lines, with bounded memory.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    /// Bytes read.
    pub(crate) read: u64,
    limit: usize,
}

impl<R: Read> Lines<R> {
    /// Lines of this, read in pieces of so many bytes.
    pub(crate) fn new(reader: R, piece: usize) -> Self {
        Self { reader: BufReader::with_capacity(piece, reader), read: 0, limit: LINE_LIMIT }
    }

    /// Whether the next line may have to be waited for.
    pub(crate) fn is_dry(&self) -> bool {
        self.reader.buffer().is_empty()
    }

    /// Reads the next line into `line`, without its line feed.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Found> {
        line.clear();
        let start = self.read;
        let mut skipped = 0;
        loop {
            let available = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            if skipped > 0 || line.len() + part.len() > self.limit {
                skipped += line.len() as u64 + part.len() as u64;
                line.clear();
            } else {
                line.extend_from_slice(part);
            }
            let is_end = available.is_empty();
            let used = end.map_or(available.len(), |end| end + 1);
            self.reader.consume(used);
            self.read += used as u64;
            if end.is_some() || is_end {
                break;
            }
        }
        if self.read == start {
            return Ok(Found::End);
        }
        if start == 0 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(if skipped > 0 { Found::TooLong(skipped) } else { Found::Line })
    }
}

#[cfg(test)]
mod tests;
