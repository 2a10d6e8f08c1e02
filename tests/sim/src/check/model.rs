//! The dumb state machine: what a data group's log means, written as plainly as can be, to hold the store against.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use haystack_wire::codec::decode_whole;
use haystack_wire::ids::{GroupId, LogIndex, SessionId, Version};
use haystack_wire::message::client::{
    Command, Effect, Expect, Outcome, Refusal, SESSION_WINDOW, Versioned, Write,
};

#[derive(Debug, Default)]
struct Session {
    ack_below: u64,
    replies: BTreeMap<u64, Outcome>,
}

/// How rare things in the log were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rare {
    /// Entries answered with the reply of an earlier one.
    pub(crate) duplicates: u64,
    /// Fences that settled that an operation never applies.
    pub(crate) never_applies: u64,
    /// Fences that found the reply.
    pub(crate) resolved: u64,
    /// Entries of sessions that were gone.
    pub(crate) expired: u64,
    /// Entries behind their session's window.
    pub(crate) below_window: u64,
    /// Entries that a fence had voided before.
    pub(crate) fenced: u64,
    /// Sessions ended by the leader.
    pub(crate) sessions_ended: u64,
    /// Sessions closed by their clients.
    pub(crate) sessions_closed: u64,
}

/// A write that took effect, a CAS that found something else included.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    pub(crate) index: u64,
    pub(crate) session: SessionId,
    pub(crate) seq: u64,
    pub(crate) write: Write,
}

/// The state that a log comes to, with all its past.
#[derive(Debug)]
pub(crate) struct Model {
    group: GroupId,
    len: u64,
    /// Every value that a key ever had, by the position of the write.
    keys: BTreeMap<Bytes, Vec<(u64, Option<Bytes>)>>,
    sessions: BTreeMap<SessionId, Session>,
    closed: BTreeSet<SessionId>,
    /// Writes in the order in which they took effect.
    pub(crate) writes: Vec<Effective>,
    /// What each numbered operation did, once and for ever.
    effects: BTreeMap<(SessionId, u64), Outcome>,
    pub(crate) rare: Rare,
}

impl Model {
    /// The empty state of `group`.
    pub(crate) fn new(group: GroupId) -> Self {
        Self {
            group,
            len: 0,
            keys: BTreeMap::new(),
            sessions: BTreeMap::new(),
            closed: BTreeSet::new(),
            writes: Vec::new(),
            effects: BTreeMap::new(),
            rare: Rare::default(),
        }
    }

    /// What is stored under a key where everything below `at` is applied.
    pub(crate) fn get(&self, key: &[u8], at: u64) -> Option<Versioned> {
        let past = self.keys.get(key)?;
        let (index, value) = past.get(past.partition_point(|(index, _)| *index < at).checked_sub(1)?)?;
        let version = Version { group: self.group, index: LogIndex(*index) };
        Some(Versioned { value: value.clone()?, version })
    }

    /// The keys after `after` that hold something where everything below `at` is applied, and what.
    pub(crate) fn pairs(&self, after: Option<&[u8]>, at: u64) -> impl Iterator<Item = (&Bytes, Versioned)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.keys
            .range::<[u8], _>((from, Bound::Unbounded))
            .filter_map(move |(key, _)| Some((key, self.get(key, at)?)))
    }

    /// What the operation did, if it ever took effect, or was fenced.
    pub(crate) fn effect(&self, session: SessionId, seq: u64) -> Option<&Outcome> {
        self.effects.get(&(session, seq))
    }

    /// Applies the next entry.
    pub(crate) fn apply(&mut self, body: &Bytes) -> Outcome {
        let index = self.len;
        self.len += 1;
        match decode_whole::<Command>(body, "command") {
            Err(_) => Outcome::Refused(Refusal::Malformed),
            Ok(Command::OpenSession) => {
                let session = SessionId { group: self.group, index: LogIndex(index) };
                self.sessions.insert(session, Session { ack_below: 1, replies: BTreeMap::new() });
                Outcome::Opened { session }
            }
            Ok(Command::ExpireSessions { sessions }) => {
                for index in sessions {
                    let ended = self.sessions.remove(&SessionId { group: self.group, index });
                    self.rare.sessions_ended += u64::from(ended.is_some());
                }
                Outcome::SessionExpired
            }
            Ok(Command::CloseSession { session, ack_below }) => self.close(session, ack_below),
            Ok(Command::Write { session, seq, ack_below, write }) => {
                self.numbered(index, session, seq, Some(ack_below), Some(&write))
            }
            Ok(Command::Resolve { session, seq, .. }) => self.numbered(index, session, seq, None, None),
        }
    }

    fn close(&mut self, id: SessionId, ack_below: u64) -> Outcome {
        let Some(session) = self.sessions.get(&id) else { return Outcome::SessionExpired };
        if ack_below < session.ack_below || session.replies.keys().any(|seq| *seq >= ack_below) {
            return Outcome::Refused(Refusal::OutOfWindow);
        }
        self.sessions.remove(&id);
        self.closed.insert(id);
        self.rare.sessions_closed += 1;
        Outcome::SessionExpired
    }

    /// Whether a client closed this session: then it has all its replies and asks for none any more.
    pub(crate) fn is_closed(&self, session: SessionId) -> bool {
        self.closed.contains(&session)
    }

    /// A write, or a fence in its place.
    fn numbered(
        &mut self,
        index: u64,
        id: SessionId,
        seq: u64,
        ack_below: Option<u64>,
        write: Option<&Write>,
    ) -> Outcome {
        let Some(session) = self.sessions.get(&id) else {
            self.rare.expired += 1;
            return Outcome::SessionExpired;
        };
        let floor = session.ack_below.max(ack_below.unwrap_or(1));
        if seq < floor {
            self.rare.below_window += 1;
            return if seq == 0 && write.is_none() {
                Outcome::Refused(Refusal::OutOfWindow)
            } else {
                Outcome::SessionExpired
            };
        }
        if write.is_some() && seq >= floor + SESSION_WINDOW {
            return Outcome::Refused(Refusal::OutOfWindow);
        }
        if let Some(reply) = session.replies.get(&seq) {
            match (write, reply) {
                (Some(_), Outcome::NeverApplies) => self.rare.fenced += 1,
                (Some(_), _) => self.rare.duplicates += 1,
                (None, _) => self.rare.resolved += 1,
            }
            return reply.clone();
        }
        let (outcome, floor) = match write {
            Some(write) => {
                let effect = self.write(index, write);
                self.writes.push(Effective { index, session: id, seq, write: write.clone() });
                (Outcome::Applied { at: LogIndex(index), effect }, floor)
            }
            None => {
                self.rare.never_applies += 1;
                (Outcome::NeverApplies, floor.max((seq + 1).saturating_sub(SESSION_WINDOW)))
            }
        };
        let before = self.effects.insert((id, seq), outcome.clone());
        assert!(before.is_none(), "the model itself applies {id:?} {seq} once");
        if let Some(session) = self.sessions.get_mut(&id) {
            session.ack_below = floor;
            session.replies.retain(|seq, _| *seq >= floor);
            session.replies.insert(seq, outcome.clone());
        }
        outcome
    }

    fn write(&mut self, index: u64, write: &Write) -> Effect {
        let (Write::Put { key, .. } | Write::Delete { key } | Write::Cas { key, .. }) = write;
        let found = self.get(key, index);
        let (value, effect) = match write {
            Write::Put { value, .. } => (Some(value.clone()), Effect::Written),
            Write::Delete { .. } => (None, Effect::Deleted { previous: found.map(|found| found.version) }),
            Write::Cas { expect, value, .. } => {
                let fits = match expect {
                    Expect::Absent => found.is_none(),
                    Expect::Value(value) => found.as_ref().is_some_and(|found| found.value == *value),
                    Expect::Version(version) => found.as_ref().is_some_and(|found| found.version == *version),
                };
                if !fits {
                    return Effect::Mismatch { actual: found };
                }
                (Some(value.clone()), Effect::Written)
            }
        };
        self.keys.entry(key.clone()).or_default().push((index, value));
        effect
    }
}
