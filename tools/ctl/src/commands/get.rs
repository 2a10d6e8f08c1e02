//! `get`.

use std::os::unix::ffi::OsStrExt as _;

use haystack_client::{StaleRead, Versioned};
use serde_json::{Value, json};

use crate::cli::Get;
use crate::context::{Context, say};
use crate::failure::{Exit, Failure};
use crate::output;

/// Prints what is stored under a key.
///
/// # Errors
/// If nobody who knows answers.
pub(crate) fn get(asked: &Get, context: &Context) -> Result<Exit, Failure> {
    let key = asked.key.as_bytes();
    let mut connection = context.open()?;
    let (found, stale) = if asked.stale {
        let read = connection.get_stale(key).map_err(|error| context.failure(&error, false))?;
        (read.found.clone(), Some(read))
    } else {
        (connection.get(key).map_err(|error| context.failure(&error, false))?, None)
    };
    if context.json {
        output::json(&shape(key, found.as_ref(), stale.as_ref()))?;
    } else {
        if let Some(read) = &stale {
            say(&age(read));
        }
        match &found {
            Some(found) => output::value(&found.value)?,
            None => say(&format!("there is no key {}", output::quoted(key))),
        }
    }
    Ok(if found.is_some() { Exit::Done } else { Exit::No })
}

fn age(read: &StaleRead) -> String {
    let from = if read.view.is_some() { "a replica" } else { "the leader" };
    format!("read from {from} as of {} ms ago, at position {}", read.age_ms, read.at)
}

fn shape(key: &[u8], found: Option<&Versioned>, stale: Option<&StaleRead>) -> Value {
    let mut object = output::about(key);
    object.insert("found".into(), found.is_some().into());
    if let Value::Object(stored) = output::stored(found) {
        object.extend(stored);
    }
    if let Some(read) = stale {
        let view = read.view.map(|view| view.0);
        object.insert("stale".into(), json!({ "age_ms": read.age_ms, "at": read.at.0, "view": view }));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use haystack_client::{GroupId, LogIndex, Version};

    fn versioned(value: &'static [u8]) -> Versioned {
        let version = Version { group: GroupId(3), index: LogIndex(17) };
        Versioned { value: value.into(), version }
    }

    #[test]
    fn a_read_has_the_documented_shape() {
        let found = versioned(b"v");
        let text = shape(b"k", Some(&found), None);
        assert_eq!(text, json!({ "key": "k", "found": true, "value": "v", "version": "3.17" }));
        assert_eq!(shape(b"k", None, None), json!({ "key": "k", "found": false }));
        let found = versioned(b"\xff");
        let bytes = shape(b"\x80", Some(&found), None);
        assert_eq!(
            bytes,
            json!({ "key_b64": "gA==", "found": true, "value_b64": "/w==", "version": "3.17" })
        );
    }

    #[test]
    fn a_stale_read_says_how_old_it_is() {
        let read = StaleRead { view: None, at: LogIndex(5), age_ms: 0, found: None };
        let text = shape(b"k", None, Some(&read));
        assert_eq!(text["stale"], json!({ "age_ms": 0, "at": 5, "view": null }));
        assert!(age(&read).contains("the leader"));
    }
}
