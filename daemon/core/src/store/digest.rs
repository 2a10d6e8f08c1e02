//! The digest of a state, kept while the state changes.
//!
//! A state is a multiset of elements (records, sessions, remembered replies). Its digest is the sum, modulo
//! 2^128, of the elements' xxh3-128 hashes: adding or removing one costs one addition, in any order, so the
//! digest is at hand at every position of the log and for every snapshot without a pass over the state. Each
//! kind of element has a tag of its own, and strings inside are hashed first, so that no two elements hash the
//! same bytes. The hash finds errors, not forgers: who can write to the log is trusted.

use haystack_wire::ids::{GroupId, SessionId, Slot, Version};
use haystack_wire::message::client::{Effect, Versioned};
use xxhash_rust::xxh3::xxh3_128;

use super::sessions::{Answer, Remembered};

/// A running digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(u128);

/// Kinds of elements, in the top byte of an element's first word.
const STATE: u64 = 1 << 56;
const RECORD: u64 = 2 << 56;
const SESSION: u64 = 3 << 56;
const NEVER: u64 = 4 << 56;
const WRITTEN: u64 = 5 << 56;
const DELETED: u64 = 6 << 56;
const MISMATCH: u64 = 7 << 56;
const FOUND: u64 = 8 << 56;

/// The hash of an element, which is a row of words. The number of words follows from the kind.
fn element<const N: usize>(words: [u64; N]) -> u128 {
    xxh3_128(words.map(u64::to_le_bytes).as_flattened())
}

/// A hash as two words.
const fn words(hash: u128) -> [u64; 2] {
    [hash as u64, (hash >> 64) as u64]
}

/// The hash of a key, which a write of it needs twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHash([u64; 2]);

impl KeyHash {
    pub(super) fn new(key: &[u8]) -> Self {
        Self(words(xxh3_128(key)))
    }

    fn record(self, value: &[u8], version: Version) -> u128 {
        let [value_low, value_high] = words(xxh3_128(value));
        let kind = RECORD | u64::from(version.group.0);
        element([kind, version.index.0, self.0[0], self.0[1], value_low, value_high])
    }
}

fn reply(session: SessionId, reply: &Remembered) -> u128 {
    let first = |kind| kind | u64::from(reply.slot.0) << 32 | u64::from(session.group.0);
    match &reply.answer {
        Answer::NeverApplies => element([first(NEVER), session.index.0, reply.seq]),
        Answer::Written(at) => element([first(WRITTEN), session.index.0, reply.seq, at.0]),
        Answer::Saw(saw) => {
            let found = |version: Version, [low, high]: [u64; 2]| {
                words(element([FOUND | u64::from(version.group.0), version.index.0, low, high]))
            };
            let (kind, found) = match &saw.1 {
                Effect::Written => (WRITTEN, None),
                Effect::Deleted { previous } => (DELETED, previous.map(|version| found(version, [0, 0]))),
                Effect::Mismatch { actual } => {
                    let hash = |actual: &Versioned| found(actual.version, words(xxh3_128(&actual.value)));
                    (MISMATCH, actual.as_ref().map(hash))
                }
            };
            let [low, high] = found.unwrap_or([0, 0]);
            element([first(kind), session.index.0, reply.seq, saw.0.0, low, high])
        }
    }
}

fn session(id: SessionId, ack_below: u64) -> u128 {
    element([SESSION | u64::from(id.group.0), id.index.0, ack_below])
}

impl Digest {
    /// The digest of an empty state of a group that owns the slots from `first` to `last`.
    pub(super) fn new(group: GroupId, first: Slot, last: Slot) -> Self {
        let slots = u64::from(first.0) << 16 | u64::from(last.0);
        Self(element([STATE | u64::from(group.0), slots]))
    }

    /// The digest itself.
    pub(super) const fn value(self) -> u128 {
        self.0
    }

    fn add(&mut self, element: u128) {
        self.0 = self.0.wrapping_add(element);
    }

    fn remove(&mut self, element: u128) {
        self.0 = self.0.wrapping_sub(element);
    }

    pub(super) fn add_record(&mut self, key: KeyHash, value: &[u8], version: Version) {
        self.add(key.record(value, version));
    }

    pub(super) fn remove_record(&mut self, key: KeyHash, value: &[u8], version: Version) {
        self.remove(key.record(value, version));
    }

    pub(super) fn add_session(&mut self, id: SessionId, ack_below: u64) {
        self.add(session(id, ack_below));
    }

    pub(super) fn remove_session(&mut self, id: SessionId, ack_below: u64) {
        self.remove(session(id, ack_below));
    }

    pub(super) fn add_reply(&mut self, session: SessionId, remembered: &Remembered) {
        self.add(reply(session, remembered));
    }

    pub(super) fn remove_reply(&mut self, session: SessionId, remembered: &Remembered) {
        self.remove(reply(session, remembered));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use haystack_wire::ids::LogIndex;

    use super::*;

    /// Every field of every element counts: none of these differ in more than one.
    #[test]
    fn elements_that_differ_in_one_field_have_different_hashes() {
        let version = |group, index| Version { group: GroupId(group), index: LogIndex(index) };
        let id = |group, index| SessionId { group: GroupId(group), index: LogIndex(index) };
        let found = |value: &'static str, version| {
            Some(Versioned { value: Bytes::from_static(value.as_bytes()), version })
        };
        let mut hashes = Vec::new();
        for (key, value, version) in [
            ("k", "v", version(1, 1)),
            ("l", "v", version(1, 1)),
            ("k", "w", version(1, 1)),
            ("kv", "", version(1, 1)),
            ("", "kv", version(1, 1)),
            ("k", "v", version(2, 1)),
            ("k", "v", version(1, 2)),
        ] {
            hashes.push(KeyHash::new(key.as_bytes()).record(value.as_bytes(), version));
        }
        for (id, ack_below) in [(id(1, 1), 1), (id(2, 1), 1), (id(1, 2), 1), (id(1, 1), 2)] {
            hashes.push(session(id, ack_below));
        }
        let effects = [
            Effect::Written,
            Effect::Deleted { previous: None },
            Effect::Mismatch { actual: None },
            Effect::Deleted { previous: Some(version(1, 1)) },
            Effect::Deleted { previous: Some(version(2, 1)) },
            Effect::Deleted { previous: Some(version(1, 2)) },
            Effect::Mismatch { actual: found("v", version(1, 1)) },
            Effect::Mismatch { actual: found("w", version(1, 1)) },
            Effect::Mismatch { actual: found("v", version(2, 1)) },
            Effect::Mismatch { actual: found("v", version(1, 2)) },
        ];
        let mut answers = vec![Answer::NeverApplies];
        for at in [1, 2] {
            answers.extend(effects.iter().map(|effect| Answer::new(LogIndex(at), effect.clone())));
        }
        for answer in answers {
            for (id, seq, slot) in
                [(id(1, 1), 1, 1), (id(2, 1), 1, 1), (id(1, 2), 1, 1), (id(1, 1), 2, 1), (id(1, 1), 1, 2)]
            {
                hashes.push(reply(id, &Remembered { seq, slot: Slot(slot), answer: answer.clone() }));
            }
        }
        for (group, first, last) in [(1, 1, 2), (2, 1, 2), (1, 0, 2), (1, 1, 3)] {
            hashes.push(Digest::new(GroupId(group), Slot(first), Slot(last)).value());
        }
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }
}
