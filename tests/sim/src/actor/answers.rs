//! What answers must be: each is held against the log, and noted.

use haystack_client::Ticket;
use haystack_client::core::{Answer, Completion};
use haystack_wire::ids::{GroupId, SessionId};
use haystack_wire::message::client::{Effect, Versioned};

use super::Record;
use crate::check::linear::{Action, Held};
use crate::check::{Check, Property, Violation, ensure};
use crate::history::{self, Status};
use crate::value::{self, Value};

/// A client closes a session only when it has all its replies: it may never be told afterwards that an operation of
/// it is lost with the session.
pub(super) fn not_closed(who: &str, record: &mut Record, ticket: &Ticket) -> Check {
    let session = ticket.session;
    let closed = record.canons.group(session.group).model.is_closed(session);
    ensure!(!closed, Once, "{who} closed {session:?} and needed the reply to {}", ticket.seq);
    Ok(())
}

/// The value that was found, which must be one that somebody wrote.
fn held(who: &str, found: Option<&Versioned>, record: &Record) -> Result<Held, Violation> {
    let Some(found) = found else { return Ok(None) };
    let value: Option<Value> = value::decode(&found.value);
    match value.filter(|value| *value >= 1 && *value as usize <= record.history.ops.len()) {
        Some(value) => Ok(Some(value)),
        None => {
            let what = format!("{who} was given a value that nobody wrote, of {} bytes", found.value.len());
            Err(Violation::new(Property::Integrity, what))
        }
    }
}

/// An operation is answered: holds the answer against the log, and notes it.
pub(super) fn settle(who: &str, now: u64, record: &mut Record, op: usize, answer: &Answer) -> Check {
    let asked = &record.history.ops[op];
    let name = record.keys[asked.key as usize].as_bytes();
    let group = group_of(record, answer, asked.session, name);
    let Some(group) = group else {
        ensure!(false, Integrity, "{who} got an answer to a read of a key that no group serves");
        return Ok(());
    };
    let canon = record.canons.group(group);
    let (status, index) = match (answer, asked.action) {
        (Answer::Read { at, found }, Action::Get) => {
            canon.read(who, name, *at, found.as_ref())?;
            (Status::Done(held(who, found.as_ref(), record)?), at.0)
        }
        (Answer::Applied { at, effect }, action) => {
            let Some(session) = asked.session else {
                ensure!(false, Once, "{who} got an answer to a write without a number");
                return Ok(());
            };
            canon.answered(who, session, at.index, effect)?;
            let status = match (effect, action) {
                (Effect::Written, Action::Put(_) | Action::Cas { .. }) => Status::Done(None),
                (Effect::Deleted { previous }, Action::Delete) => {
                    let previous = previous.map(|version| canon.written(who, name, version)).transpose()?;
                    Status::Done(held(who, previous.as_ref(), record)?)
                }
                (Effect::Mismatch { actual }, Action::Cas { .. }) => {
                    Status::Mismatch(held(who, actual.as_ref(), record)?)
                }
                _ => {
                    ensure!(false, Integrity, "{who} asked for {action:?} and was told {effect:?}");
                    return Ok(());
                }
            };
            (status, at.index.0)
        }
        (answer, action) => {
            ensure!(false, Integrity, "{who} asked for {action:?} and was told {answer:?}");
            return Ok(());
        }
    };
    match status {
        Status::Mismatch(_) => record.seen.mismatches += 1,
        _ if matches!(answer, Answer::Read { .. }) => record.seen.reads += 1,
        _ => record.seen.writes += 1,
    }
    let asked = &mut record.history.ops[op];
    (asked.status, asked.end, asked.group) = (status, Some(now), Some(group));
    asked.position = Some(history::position(asked.action == Action::Get, index));
    Ok(())
}

/// The group that answered.
fn group_of(
    record: &Record,
    answer: &Answer,
    session: Option<(SessionId, u64)>,
    key: &[u8],
) -> Option<GroupId> {
    match answer {
        Answer::Applied { at, .. } => Some(at.group),
        _ => session.map(|(session, _)| session.group).or_else(|| record.canons.group_of(key)),
    }
}

/// A read that may be behind still shows a state that once was.
pub(super) fn on_look(who: &str, record: &mut Record, key: u32, completion: &Completion) -> Check {
    let Ok(Answer::Stale { at, found, .. }) = &completion.outcome else { return Ok(()) };
    record.seen.stale_reads += 1;
    let name = record.keys[key as usize].as_bytes();
    match record.canons.group_of(name) {
        Some(group) => record.canons.group(group).read(who, name, *at, found.as_ref()),
        None => {
            ensure!(false, Integrity, "{who} got an answer to a read of a key that no group serves");
            Ok(())
        }
    }
}

/// A page is what the log says, pair by pair.
pub(super) fn on_page(
    who: &str,
    record: &mut Record,
    group: GroupId,
    after: Option<u32>,
    completion: &Completion,
) -> Check {
    let Ok(Answer::Page { at, pairs, more }) = &completion.outcome else { return Ok(()) };
    record.seen.pages += 1;
    let after = after.map(|key| record.keys[key as usize].as_bytes());
    record.canons.group(group).page(who, after, *at, pairs, *more)
}
