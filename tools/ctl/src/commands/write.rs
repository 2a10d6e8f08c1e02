//! `put`, `delete` and `cas`: one write, whose outcome is settled before the tool gives up on it.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use bytes::Bytes;
use haystack_client::{
    Answer, Connection, Effect, Error, Expect, Operation, Refusal, Resolved, Ticket, Version, Versioned,
    Write,
};
use haystack_wire::message::client::VALUE_LIMIT;
use serde_json::{Value, json};

use crate::cli::{Cas, Delete, Put};
use crate::clock::Limit;
use crate::context::{Context, say};
use crate::failure::{Exit, Failure};
use crate::output;

/// Sets a key.
///
/// # Errors
/// If it is not known to be set.
pub(crate) fn put(asked: &Put, context: &Context) -> Result<Exit, Failure> {
    let key = Bytes::copy_from_slice(asked.key.as_bytes());
    let value = argument(&asked.value)?;
    let (at, _) = write(Write::Put { key: key.clone(), value }, context)?;
    if context.json {
        let mut object = output::about(&key);
        object.insert("version".into(), at.to_string().into());
        output::json(&Value::Object(object))?;
    } else {
        output::line(&at.to_string())?;
    }
    Ok(Exit::Done)
}

/// Removes a key.
///
/// # Errors
/// If it is not known to be removed, or to have been absent.
pub(crate) fn delete(asked: &Delete, context: &Context) -> Result<Exit, Failure> {
    let key = Bytes::copy_from_slice(asked.key.as_bytes());
    let (at, effect) = write(Write::Delete { key: key.clone() }, context)?;
    let Effect::Deleted { previous } = effect else { return Err(out_of_turn()) };
    if context.json {
        output::json(&deleted(&key, at, previous))?;
    } else if previous.is_none() {
        say(&format!("there was no key {}", output::quoted(&key)));
    }
    Ok(if previous.is_some() { Exit::Done } else { Exit::No })
}

/// Sets a key if what is there is as expected.
///
/// # Errors
/// If it is not known whether it was.
pub(crate) fn cas(asked: &Cas, context: &Context) -> Result<Exit, Failure> {
    let key = Bytes::copy_from_slice(asked.key.as_bytes());
    let expect = match (&asked.expect, asked.version) {
        (Some(value), _) => Expect::Value(Bytes::copy_from_slice(value.as_bytes())),
        (None, Some(version)) => Expect::Version(version),
        (None, None) => Expect::Absent,
    };
    let value = argument(&asked.new)?;
    let (at, effect) = write(Write::Cas { key: key.clone(), expect, value }, context)?;
    match effect {
        Effect::Written if context.json => output::json(&swapped(&key, at))?,
        Effect::Written => output::line(&at.to_string())?,
        Effect::Mismatch { actual } => {
            if context.json {
                output::json(&mismatch(&key, actual.as_ref()))?;
            } else {
                say(&found_instead(&key, actual.as_ref()));
            }
            return Ok(Exit::No);
        }
        Effect::Deleted { .. } => return Err(out_of_turn()),
    }
    Ok(Exit::Done)
}

fn deleted(key: &[u8], at: Version, previous: Option<Version>) -> Value {
    let mut object = output::about(key);
    object.insert("deleted".into(), previous.is_some().into());
    object.insert("version".into(), at.to_string().into());
    let previous = previous.map_or(Value::Null, |version| json!({ "version": version.to_string() }));
    object.insert("previous".into(), previous);
    Value::Object(object)
}

fn swapped(key: &[u8], at: Version) -> Value {
    let mut object = output::about(key);
    object.insert("swapped".into(), true.into());
    object.insert("version".into(), at.to_string().into());
    Value::Object(object)
}

fn mismatch(key: &[u8], actual: Option<&Versioned>) -> Value {
    let mut object = output::about(key);
    object.insert("swapped".into(), false.into());
    object.insert("actual".into(), output::stored(actual));
    Value::Object(object)
}

fn found_instead(key: &[u8], actual: Option<&Versioned>) -> String {
    let key = output::quoted(key);
    match actual {
        None => format!("nothing was changed: there is no key {key}"),
        Some(found) => {
            let value = output::quoted(&found.value);
            format!("nothing was changed: the value of {key} is {value}, version {}", found.version)
        }
    }
}

fn out_of_turn() -> Failure {
    Failure::new(Exit::Unknown, "a daemon answered out of turn; is it of another version than this tool?")
}

/// A value: the argument's bytes, or what standard input holds if it is `-`.
fn argument(value: &OsStr) -> Result<Bytes, Failure> {
    if value != "-" {
        return Ok(Bytes::copy_from_slice(value.as_bytes()));
    }
    let mut bytes = Vec::new();
    // One byte more than may be, so that a value over the limit is refused and not cut.
    let most = VALUE_LIMIT as u64 + 1;
    std::io::stdin()
        .lock()
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
    if bytes.len() > VALUE_LIMIT {
        let message = format!("standard input has more than the {VALUE_LIMIT} bytes that a value may have");
        return Err(Failure::new(Exit::Refused, message));
    }
    Ok(bytes.into())
}

/// Does a write within the time limit.
fn write(write: Write, context: &Context) -> Result<(Version, Effect), Failure> {
    let mut connection = context.open()?;
    settle(&mut connection, &write, context.timeout).map_err(|unsettled| match unsettled {
        Unsettled::Error(error) => context.failure(&error, true),
        Unsettled::GivenUp(ticket) => Failure {
            ticket: Some(ticket),
            ..Failure::new(
                Exit::Unreachable,
                format!("nothing was written within {:?}, and nothing will be; try again", context.timeout),
            )
        },
        Unsettled::Expired(ticket) => Failure {
            ticket: Some(ticket.clone()),
            ..Failure::new(
                Exit::Unknown,
                format!(
                    "the write may have been applied (session {}.{}, number {}); its session has expired, so it will \
                     not be applied from now on: read the key",
                    ticket.session.group, ticket.session.index, ticket.seq
                ),
            )
        },
    })
}

/// What writes are settled with: a connection, or a test.
trait Writer {
    /// Does a write, once.
    fn write(&mut self, write: &Write, limit: Duration) -> Result<(Version, Effect), Error>;
    /// Settles one of unknown outcome.
    fn resolve(&mut self, ticket: &Ticket, limit: Duration) -> Result<Resolved, Error>;
}

impl Writer for Connection {
    fn write(&mut self, write: &Write, limit: Duration) -> Result<(Version, Effect), Error> {
        self.set_timeout(limit);
        match self.call(Operation::Write(write.clone()))? {
            Answer::Applied { at, effect } => Ok((at, effect)),
            other => Err(Error::Protocol(format!("{other:?}"))),
        }
    }

    fn resolve(&mut self, ticket: &Ticket, limit: Duration) -> Result<Resolved, Error> {
        self.set_timeout(limit);
        Self::resolve(self, ticket)
    }
}

/// Why a write did not end well.
#[derive(Debug, PartialEq, Eq)]
enum Unsettled {
    /// An error of the client.
    Error(Error),
    /// A resolve has settled that it never applies, and no time is left to try again.
    GivenUp(Ticket),
    /// It was perhaps applied before its session expired.
    Expired(Ticket),
}

/// Part of the time limit that a write may take; the rest is for settling it, should its outcome be unknown.
const WRITE_SHARE: f64 = 0.75;
/// With less time left nothing is begun again (judgement: a few round trips).
const TRY_LEAST: Duration = Duration::from_millis(50);

/// Does a write; where the outcome is unknown, asks what became of it. What surely was not and will not be applied, is
/// tried again while there is time.
fn settle(
    writer: &mut impl Writer,
    write: &Write,
    timeout: Duration,
) -> Result<(Version, Effect), Unsettled> {
    let limit = Limit::of(timeout);
    loop {
        match writer.write(write, limit.left().mul_f64(WRITE_SHARE)) {
            Ok(done) => return Ok(done),
            Err(Error::Unknown(ticket)) => match writer.resolve(&ticket, limit.left()) {
                Ok(Resolved::Applied { at, effect }) => return Ok((at, effect)),
                Ok(Resolved::NeverApplies) if limit.left() < TRY_LEAST => {
                    return Err(Unsettled::GivenUp(ticket));
                }
                Ok(Resolved::NeverApplies) => {}
                Ok(Resolved::Expired) => return Err(Unsettled::Expired(ticket)),
                // What kept it from being settled matters less than that it is unknown.
                Err(_) => return Err(Unsettled::Error(Error::Unknown(ticket))),
            },
            Err(Error::SessionExpired { ticket, maybe_applied: true }) => {
                return Err(Unsettled::Expired(ticket));
            }
            Err(
                Error::SessionExpired { maybe_applied: false, .. }
                | Error::Unreachable(_)
                | Error::Refused(Refusal::NotLeader | Refusal::NotReady | Refusal::Overloaded),
            ) if limit.left() >= TRY_LEAST => {}
            Err(error) => return Err(Unsettled::Error(error)),
        }
    }
}

#[cfg(test)]
mod tests;
