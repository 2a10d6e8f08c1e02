//! The leader's judgement of a client's command before it appends it.

use bytes::Bytes;
use haystack_wire::codec::decode_whole;
use haystack_wire::ids::{SessionId, Slot};
use haystack_wire::message::client::{Command, Expect, Outcome, Refusal, Write};

use super::sessions::{Session, Window, window};
use super::{RECORD_OVERHEAD, REPLY_OVERHEAD, SESSION_OVERHEAD, Store};

/// What the leader has appended and not applied yet: sums of [`Admission::growth`] and [`Admission::opens`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Bytes that the state may still grow by.
    pub growth: u64,
    /// Sessions that may still be opened.
    pub sessions: u64,
}

impl Pending {
    /// Notes an entry that was appended.
    pub fn add(&mut self, admission: &Admission) {
        self.growth += admission.growth;
        self.sessions += u64::from(admission.opens);
    }

    /// Notes that it was applied.
    ///
    /// # Panics
    /// If it was never added.
    pub fn remove(&mut self, admission: &Admission) {
        self.growth -= admission.growth;
        self.sessions -= u64::from(admission.opens);
    }
}

/// A command that may be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The slot of its key, if it has one.
    pub slot: Option<Slot>,
    /// Its session, if it has one: to be noted as active.
    pub session: Option<SessionId>,
    /// Bytes that the state grows by at most when it is applied.
    pub growth: u64,
    /// Whether it opens a session.
    pub opens: bool,
}

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

impl Store {
    /// Judges a client's command by what is applied and by what is `pending`. Decodes it once. Clients cannot expire
    /// sessions: the leader appends that command without asking here.
    ///
    /// # Errors
    /// A reason for which nothing was appended. The epoch of `WrongGroup` is 0, for the caller to fill in.
    pub fn admit(&self, command: &Bytes, pending: &Pending) -> Result<Admitted, Refusal> {
        let Ok(command) = decode_whole::<Command>(command, "command") else { return Err(Refusal::Malformed) };
        let admission = match command {
            Command::ExpireSessions { .. } => return Err(Refusal::Forbidden),
            Command::OpenSession => {
                if self.sessions() + pending.sessions >= self.limits.sessions {
                    return Err(Refusal::Overloaded);
                }
                Admission { slot: None, session: None, growth: SESSION_OVERHEAD, opens: true }
            }
            Command::Resolve { session, seq, key } => {
                self.check_sizes(&key, None)?;
                if let Some(outcome) = self.judge_fence(session, seq)? {
                    return Ok(Admitted::Answer(outcome));
                }
                let slot = Some(self.owned_slot(&key)?);
                Admission { slot, session: Some(session), growth: REPLY_OVERHEAD, opens: false }
            }
            Command::CloseSession { session, ack_below } => {
                match self.find_session(session) {
                    Err(outcome) => return Ok(Admitted::Answer(outcome)),
                    Ok(Some(session)) if !session.is_answered(ack_below) => return Err(Refusal::OutOfWindow),
                    Ok(_) => {}
                }
                // Not to be noted as active: it ends.
                Admission { slot: None, session: None, growth: 0, opens: false }
            }
            Command::Write { session, seq, ack_below, write } => {
                if let Some(outcome) = self.judge_write(session, seq, ack_below, &write)? {
                    return Ok(Admitted::Answer(outcome));
                }
                let (key, grown) = match &write {
                    Write::Put { key, value } => (key, Some(value)),
                    Write::Cas { key, value, expect } => {
                        if let Expect::Value(value) = expect {
                            self.check_sizes(key, Some(value))?;
                        }
                        (key, Some(value))
                    }
                    Write::Delete { key } => (key, None),
                };
                self.check_sizes(key, grown)?;
                let slot = Some(self.owned_slot(key)?);
                let growth = grown.map_or(Ok(0), |value| self.check_memory(key, value, pending))?;
                Admission { slot, session: Some(session), growth: growth + REPLY_OVERHEAD, opens: false }
            }
        };
        Ok(Admitted::Append(admission))
    }

    /// The session, or what its absence says: nothing yet, if the entry that opens it may not be applied here.
    fn find_session(&self, id: SessionId) -> Result<Option<&Session>, Outcome> {
        match self.sessions.get(id) {
            Some(session) => Ok(Some(session)),
            None if id.group == self.group && id.index >= self.applied => Ok(None),
            None => Err(Outcome::SessionExpired),
        }
    }

    fn judge_write(&self, id: SessionId, seq: u64, ack_below: u64, write: &Write) -> Verdict {
        let session = match self.find_session(id) {
            Ok(session) => session,
            Err(outcome) => return Ok(Some(outcome)),
        };
        let ack_below = ack_below.max(session.map_or(1, |session| session.ack_below));
        if window(ack_below, seq) != Window::Inside {
            return Err(Refusal::OutOfWindow);
        }
        let Some(session) = session else { return Ok(None) };
        if let Some(reply) = session.reply(seq) {
            return Ok(Some(reply.answer.outcome()));
        }
        let pins = matches!(write, Write::Cas { .. });
        let limit = self.limits.pinned;
        if pins && session.pinned > limit && session.pinned_from(ack_below) > limit {
            return Err(Refusal::Overloaded);
        }
        Ok(None)
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

    /// What a write may grow the state by, if that is within the limit. Only near the limit it is worth looking up
    /// what is there, to let pass what does not grow.
    fn check_memory(&self, key: &[u8], value: &[u8], pending: &Pending) -> Result<u64, Refusal> {
        let new = (key.len() + value.len()) as u64 + RECORD_OVERHEAD;
        let used = self.bytes().saturating_add(pending.growth);
        if used.saturating_add(new) <= self.limits.memory {
            return Ok(new);
        }
        let old = self.records.get(key).map_or(0, |record| record.size() as u64 + RECORD_OVERHEAD);
        let growth = new.saturating_sub(old);
        if growth > 0 && used.saturating_add(growth) > self.limits.memory {
            return Err(Refusal::Full);
        }
        Ok(growth)
    }
}
