//! The leader's judgement of a client's command before it appends it.

use bytes::Bytes;
use haystack_wire::codec::decode_whole;
use haystack_wire::ids::{SessionId, Slot};
use haystack_wire::message::client::{Command, Expect, Outcome, Refusal, Write};

use super::pending::{Admission, Pending, User};
use super::sessions::{Session, Window, window};
use super::tree::Record;
use super::{RECORD_OVERHEAD, REPLY_OVERHEAD, SESSION_OVERHEAD, Store};

/// What to do with a command that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Append it.
    Append(Admission),
    /// Answer at once: the state that is applied already settles it for good.
    Answer(Outcome),
}

/// How the state says that a command is settled or refused.
type Verdict = Result<Option<Outcome>, Refusal>;

/// A write of a session that is known, or may be opened by an entry that is not applied yet.
struct Asked<'s> {
    session: Option<&'s Session>,
    /// Replies below this are surely forgotten when it is applied.
    ack_below: u64,
    /// What is under way of the session.
    user: User,
    slot: Slot,
}

/// What a write may add to the state at most, beside a reply without a value.
#[derive(Clone, Copy)]
struct Foreseen {
    /// Bytes of its record.
    record: u64,
    /// Bytes of the value that its reply holds. Never both: a CAS that holds one has changed nothing.
    pins: u64,
}

/// Whether what is stored is what a CAS expects.
pub(super) fn is_as_expected(expect: &Expect, found: Option<&Record<'_>>) -> bool {
    match (expect, found) {
        (Expect::Absent, found) => found.is_none(),
        (Expect::Value(value), Some(found)) => **value == *found.value,
        (Expect::Version(version), Some(found)) => *version == found.version,
        (_, None) => false,
    }
}

impl Store {
    /// What a leader should do with a client's command, by what is applied here and [`Limits`](super::Limits); the
    /// outcomes are those of the table in [the module's documentation](super). `pending` is what it has appended and
    /// not applied yet.
    ///
    /// # Errors
    /// A refusal: the command must not be appended.
    pub fn admit(&self, command: &Bytes, pending: &Pending) -> Result<Admitted, Refusal> {
        let Ok(command) = decode_whole::<Command>(command, "command") else { return Err(Refusal::Malformed) };
        let admission = match command {
            Command::ExpireSessions { .. } => return Err(Refusal::Forbidden),
            Command::OpenSession => {
                if self.sessions() + pending.sessions >= self.limits.sessions {
                    return Err(Refusal::Overloaded);
                }
                Admission { growth: SESSION_OVERHEAD, opens: true, ..Admission::default() }
            }
            Command::Resolve { session, seq, key } => {
                self.check_sizes(&key, None)?;
                if let Some(outcome) = self.judge_fence(session, seq)? {
                    return Ok(Admitted::Answer(outcome));
                }
                let slot = Some(self.owned_slot(&key)?);
                Admission { slot, session: Some(session), growth: REPLY_OVERHEAD, ..Admission::default() }
            }
            Command::CloseSession { session, ack_below } => {
                match self.find_session(session) {
                    Err(outcome) => return Ok(Admitted::Answer(outcome)),
                    Ok(Some(session)) if !session.is_answered(ack_below) => return Err(Refusal::OutOfWindow),
                    Ok(_) => {}
                }
                // Not to be noted as active: it ends.
                Admission::default()
            }
            Command::Write { session, seq, ack_below, write } => {
                return self.admit_write(session, seq, ack_below, &write, pending);
            }
        };
        Ok(Admitted::Append(admission))
    }

    fn admit_write(
        &self,
        id: SessionId,
        seq: u64,
        ack_below: u64,
        write: &Write,
        pending: &Pending,
    ) -> Result<Admitted, Refusal> {
        let session = match self.find_session(id) {
            Ok(session) => session,
            Err(outcome) => return Ok(Admitted::Answer(outcome)),
        };
        let ack_below = ack_below.max(session.map_or(1, |session| session.ack_below));
        if window(ack_below, seq) != Window::Inside {
            return Err(Refusal::OutOfWindow);
        }
        if let Some(reply) = session.and_then(|session| session.reply(seq)) {
            return Ok(Admitted::Answer(reply.answer.outcome()));
        }
        let (key, value) = match write {
            Write::Put { key, value } => (key, Some(value)),
            Write::Cas { key, value, expect } => {
                if let Expect::Value(value) = expect {
                    self.check_sizes(key, Some(value))?;
                }
                (key, Some(value))
            }
            Write::Delete { key } => (key, None),
        };
        self.check_sizes(key, value)?;
        let slot = self.owned_slot(key)?;
        // If something of the session is under way, it may be the same operation: then this entry will do nothing.
        let user = pending.user(id);
        let ack_below = if user.entries == 0 { ack_below } else { 0 };
        let asked = Asked { session, ack_below, user, slot };
        let foreseen = self.foresee(&asked, write, pending);
        if foreseen.pins > 0 {
            self.check_pins(&asked, foreseen.pins)?;
        }
        let grown = self.check_memory(&asked, write, foreseen, pending)?;
        Ok(Admitted::Append(Admission {
            slot: Some(slot),
            session: Some(id),
            growth: grown + REPLY_OVERHEAD,
            pins: foreseen.pins,
            sets: Some(value.map_or(0, |value| value.len() as u64)),
            opens: false,
        }))
    }

    /// The session, or what its absence says: nothing yet, if the entry that opens it may not be applied here.
    fn find_session(&self, id: SessionId) -> Result<Option<&Session>, Outcome> {
        match self.sessions.get(id) {
            Some(session) => Ok(Some(session)),
            None if id.group == self.group && id.index >= self.applied => Ok(None),
            None => Err(Outcome::SessionExpired),
        }
    }

    fn judge_fence(&self, id: SessionId, seq: u64) -> Verdict {
        match self.find_session(id) {
            Err(outcome) => Ok(Some(outcome)),
            _ if seq == 0 => Err(Refusal::OutOfWindow),
            Ok(None) => Ok(None),
            Ok(Some(session)) if window(session.ack_below, seq) == Window::Below => {
                Ok(Some(Outcome::SessionExpired))
            }
            Ok(Some(session)) => Ok(session.reply(seq).map(|reply| reply.answer.outcome())),
        }
    }

    fn check_sizes(&self, key: &[u8], value: Option<&Bytes>) -> Result<(), Refusal> {
        if key.len() > self.limits.key {
            return Err(Refusal::TooLarge { limit: self.limits.key as u64 });
        }
        if value.is_some_and(|value| value.len() > self.limits.value) {
            return Err(Refusal::TooLarge { limit: self.limits.value as u64 });
        }
        Ok(())
    }

    /// What a write may add. Of a PUT that is not looked up: only near the limit it is worth it.
    fn foresee(&self, asked: &Asked<'_>, write: &Write, pending: &Pending) -> Foreseen {
        match write {
            Write::Delete { .. } => Foreseen { record: 0, pins: 0 },
            Write::Put { key, value } => Foreseen { record: record_bytes(key, value), pins: 0 },
            Write::Cas { key, expect, value } => {
                let found = self.records.get(key);
                let there = found.as_ref().map_or(0, |found| found.value.len() as u64);
                let record = record_bytes(key, value).saturating_sub(self.bytes_under(key));
                match pending.writes(asked.slot) {
                    // What will be there, nobody knows yet, but not how long it is at most.
                    Some(writes) => Foreseen { record, pins: there.max(writes.longest) },
                    None if is_as_expected(expect, found.as_ref()) => Foreseen { record, pins: 0 },
                    None => Foreseen { record: 0, pins: there },
                }
            }
        }
    }

    /// Bytes of the record under a key.
    fn bytes_under(&self, key: &[u8]) -> u64 {
        self.records.get(key).map_or(0, |record| record.size() as u64 + RECORD_OVERHEAD)
    }

    /// One session may hold so much in replies, and a single value in any case.
    fn check_pins(&self, asked: &Asked<'_>, pins: u64) -> Result<(), Refusal> {
        let held = asked.session.map_or(0, |session| session.pinned_from(asked.ack_below)) + asked.user.pins;
        if held > 0 && held + pins > self.limits.pinned { Err(Refusal::Overloaded) } else { Ok(()) }
    }

    /// What a write may grow the state by beside a reply without a value, if that is within the limit. What neither
    /// grows its record nor holds a value is always let in: its reply is small, and needed to free anything.
    fn check_memory(
        &self,
        asked: &Asked<'_>,
        write: &Write,
        foreseen: Foreseen,
        pending: &Pending,
    ) -> Result<u64, Refusal> {
        let grown = foreseen.record.max(foreseen.pins);
        let used = self.bytes().saturating_add(pending.growth).saturating_add(REPLY_OVERHEAD);
        if grown == 0 || used.saturating_add(grown) <= self.limits.memory {
            return Ok(grown);
        }
        let grown = match write {
            Write::Put { key, .. } => grown.saturating_sub(self.bytes_under(key)),
            _ => grown,
        };
        let freed = asked.session.map_or(0, |session| session.freed(asked.ack_below));
        if grown > 0 && used.saturating_add(grown) > self.limits.memory.saturating_add(freed) {
            return Err(Refusal::Full);
        }
        Ok(grown)
    }
}

/// Bytes of a record.
fn record_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + RECORD_OVERHEAD
}
