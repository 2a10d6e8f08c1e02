//! What decided entries do. Nothing here may depend on anything but the entries.

use bytes::Bytes;
use haystack_wire::codec::decode_whole;
use haystack_wire::ids::{LogIndex, SessionId, Version};
use haystack_wire::message::client::{Command, Effect, Outcome, Refusal, SESSION_WINDOW, Versioned, Write};

use super::Store;
use super::admit::is_as_expected;
use super::digest::{Digest, KeyHash};
use super::frozen::Frozen;
use super::sessions::{Answer, Remembered, Session, Window, window};
use super::tree::{Change, Contents, Record};
use crate::mutation::mutated;

impl Store {
    /// Applies the command at `index` of the log and returns what whoever waits for this entry is told. Bodies that
    /// mean nothing have no effect. The outcomes are those of the table in [the module's documentation](super); for
    /// expired sessions nobody waits, the outcome is `SessionExpired`.
    ///
    /// # Panics
    /// If an entry at or after `index` was applied before: applying twice is the bug this store exists to prevent.
    pub fn apply(&mut self, index: LogIndex, body: &Bytes) -> Outcome {
        assert!(index >= self.applied, "entry {index} comes after {} was applied", self.applied);
        self.applied = index + 1;
        self.stats.entries += 1;
        let outcome = match decode_whole::<Command>(body, "command") {
            Err(_) => {
                self.stats.malformed += 1;
                Outcome::Refused(Refusal::Malformed)
            }
            Ok(Command::OpenSession) => self.open(index),
            Ok(Command::Write { session, seq, ack_below, write }) => {
                self.write(index, session, seq, ack_below, &write)
            }
            Ok(Command::Resolve { session, seq, key }) => self.fence(index, session, seq, &key),
            Ok(Command::ExpireSessions { sessions }) => self.expire(&sessions),
            Ok(Command::CloseSession { session, ack_below }) => self.close(session, ack_below),
        };
        self.end_overrun();
        outcome
    }

    fn open(&mut self, index: LogIndex) -> Outcome {
        let session = SessionId { group: self.group, index };
        self.sessions.insert(session, Session::new(index), &mut self.digest);
        self.stats.sessions_opened += 1;
        Outcome::Opened { session }
    }

    fn expire(&mut self, sessions: &[LogIndex]) -> Outcome {
        for index in sessions {
            self.end(SessionId { group: self.group, index: *index });
        }
        Outcome::SessionExpired
    }

    fn close(&mut self, id: SessionId, ack_below: u64) -> Outcome {
        let Some(session) = self.sessions.get(id) else { return self.expired() };
        if !session.is_answered(ack_below) {
            return self.refuse_window();
        }
        self.end(id);
        self.stats.sessions_closed += 1;
        Outcome::SessionExpired
    }

    /// Ends a session, if there is such a one.
    fn end(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(id, &mut self.digest) else { return };
        self.stats.sessions_ended += 1;
        if let Some(frozen) = &mut self.frozen {
            frozen.save_session(id, session);
        }
    }

    fn write(&mut self, index: LogIndex, id: SessionId, seq: u64, ack_below: u64, write: &Write) -> Outcome {
        let Some(session) = self.sessions.get(id) else { return self.expired() };
        let ack_below = ack_below.max(session.ack_below);
        match window(ack_below, seq) {
            // Forgotten, or never to be applied: which, nobody knows any more.
            Window::Below => {
                self.stats.out_of_window += 1;
                return Outcome::SessionExpired;
            }
            Window::Beyond => return self.refuse_window(),
            Window::Inside => {}
        }
        let again = session.reply(seq).map(|reply| reply.answer.outcome());
        if let Some(outcome) = &again {
            self.stats.duplicates += 1;
            if !mutated!(self.limits, DuplicateApplied) {
                return outcome.clone();
            }
        }
        let key = match write {
            Write::Put { key, .. } | Write::Delete { key } | Write::Cas { key, .. } => key,
        };
        let slot = match self.owned_slot(key) {
            Ok(slot) => slot,
            Err(refusal) => return self.refuse_slot(refusal),
        };
        let mut change = Changing {
            key: KeyHash::new(key),
            version: Version { group: self.group, index },
            digest: &mut self.digest,
            frozen: self.frozen.as_deref_mut(),
        };
        let effect = self.records.update(key, |old| change.decide(old, write));
        self.stats.writes += 1;
        if let Some(outcome) = again {
            return outcome;
        }
        let reply = Remembered { seq, slot, answer: Answer::new(index, effect) };
        self.remember(index, id, ack_below, reply)
    }

    fn fence(&mut self, index: LogIndex, id: SessionId, seq: u64, key: &Bytes) -> Outcome {
        let Some(session) = self.sessions.get(id) else { return self.expired() };
        if seq == 0 {
            return self.refuse_window();
        }
        if window(session.ack_below, seq) == Window::Below {
            self.stats.out_of_window += 1;
            return Outcome::SessionExpired;
        }
        if let Some(reply) = session.reply(seq) {
            self.stats.duplicates += 1;
            return reply.answer.outcome();
        }
        let slot = match self.owned_slot(key) {
            Ok(slot) => slot,
            Err(refusal) => return self.refuse_slot(refusal),
        };
        self.stats.fences += 1;
        // Whoever used this number has acknowledged all below its window.
        let ack_below = (seq + 1).saturating_sub(SESSION_WINDOW);
        let reply = Remembered { seq, slot, answer: Answer::NeverApplies };
        self.remember(index, id, ack_below, reply)
    }

    /// Remembers a reply in a session that exists, and gives the outcome.
    fn remember(&mut self, index: LogIndex, id: SessionId, ack_below: u64, reply: Remembered) -> Outcome {
        let outcome = reply.answer.outcome();
        if let Some(frozen) = &mut self.frozen {
            frozen.save_touched(id, self.sessions.get(id));
        }
        let mut session = self.sessions.touch(id, index).expect("the session was there just now");
        session.acknowledge(ack_below, &mut self.digest);
        session.remember(reply, &mut self.digest);
        outcome
    }

    fn expired(&mut self) -> Outcome {
        self.stats.expired += 1;
        Outcome::SessionExpired
    }

    fn refuse_window(&mut self) -> Outcome {
        self.stats.out_of_window += 1;
        Outcome::Refused(Refusal::OutOfWindow)
    }

    fn refuse_slot(&mut self, refusal: Refusal) -> Outcome {
        self.stats.wrong_group += 1;
        Outcome::Refused(refusal)
    }
}

/// A record on its way to change.
struct Changing<'s> {
    key: KeyHash,
    version: Version,
    digest: &'s mut Digest,
    frozen: Option<&'s mut Frozen>,
}

impl Changing<'_> {
    /// What a write does to what is there.
    fn decide<'w>(&mut self, old: Option<Record<'_>>, write: &'w Write) -> (Change<'w>, Effect) {
        let found =
            |old: Option<Record<'_>>| old.map(|old| Versioned { value: old.share(), version: old.version });
        match write {
            Write::Put { value, .. } => (self.put(old, value), Effect::Written),
            Write::Cas { expect, value, .. } => {
                if is_as_expected(expect, old.as_ref()) {
                    (self.put(old, value), Effect::Written)
                } else {
                    (Change::Keep, Effect::Mismatch { actual: found(old) })
                }
            }
            Write::Delete { .. } => {
                let previous = old.as_ref().map(|old| old.version);
                self.leave(old);
                (Change::Remove, Effect::Deleted { previous })
            }
        }
    }

    fn put<'w>(&mut self, old: Option<Record<'_>>, value: &'w [u8]) -> Change<'w> {
        self.leave(old);
        self.digest.add_record(self.key, value, self.version);
        Change::Put(self.version, Contents::Copy(value))
    }

    /// Takes leave of a record.
    fn leave(&mut self, old: Option<Record<'_>>) {
        let Some(old) = old else { return };
        self.digest.remove_record(self.key, old.value, old.version);
        if let Some(frozen) = &mut self.frozen {
            frozen.save_record(&old);
        }
    }
}
