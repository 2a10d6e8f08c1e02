//! The digest of a state, kept while the state changes.
//!
//! A state is a multiset of elements (records, sessions, remembered replies). Its digest is the sum, modulo 2^128,
//! of the elements' xxh3-128 hashes: adding or removing one costs one addition, in any order, so the digest is at
//! hand at every position of the log and for every snapshot without a pass over the state. Each kind of element
//! begins with a tag of its own, and strings inside are hashed first, so that no two elements hash the same bytes.
//! The hash finds errors, not forgers: who can write to the log is trusted.

use haystack_wire::ids::{GroupId, SessionId, Slot, Version};
use haystack_wire::message::client::{Effect, Versioned};
use xxhash_rust::xxh3::xxh3_128;

use super::sessions::{Answer, Remembered};

/// A running digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(u128);

/// Collects the fields of one element.
struct Fields {
    bytes: [u8; 64],
    len: usize,
}

impl Fields {
    fn new(tag: u8) -> Self {
        let mut bytes = [0; 64];
        bytes[0] = tag;
        Self { bytes, len: 1 }
    }

    fn put<const N: usize>(mut self, field: [u8; N]) -> Self {
        self.bytes[self.len..self.len + N].copy_from_slice(&field);
        self.len += N;
        self
    }

    fn version(self, version: Version) -> Self {
        self.put(version.group.0.to_be_bytes()).put(version.index.0.to_be_bytes())
    }

    fn session(self, id: SessionId) -> Self {
        self.put(id.group.0.to_be_bytes()).put(id.index.0.to_be_bytes())
    }

    fn hash(&self) -> u128 {
        xxh3_128(&self.bytes[..self.len])
    }
}

/// The hash of a key, which a write of it needs twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHash(u128);

impl KeyHash {
    pub(super) fn new(key: &[u8]) -> Self {
        Self(xxh3_128(key))
    }

    fn record(self, value: &[u8], version: Version) -> u128 {
        let fields = Fields::new(1).version(version).put(self.0.to_be_bytes());
        fields.put(xxh3_128(value).to_be_bytes()).hash()
    }
}

fn reply(session: SessionId, reply: &Remembered) -> u128 {
    let fields = Fields::new(3).session(session).put(reply.seq.to_be_bytes()).put(reply.slot.0.to_be_bytes());
    match &reply.answer {
        Answer::NeverApplies => fields.put([1]).hash(),
        Answer::Written(at) => fields.put([2]).put(at.0.to_be_bytes()).hash(),
        Answer::Saw(saw) => {
            let (kind, found) = match &saw.1 {
                Effect::Written => (3, &None),
                Effect::Deleted { previous } => (4, previous),
                Effect::Mismatch { actual } => (5, actual),
            };
            // At most 1 + 12 + 8 + 2 + 1 + 8 bytes so far: what was found is folded in by a second hash.
            let fields = fields.put([kind]).put(saw.0.0.to_be_bytes());
            match found {
                None => fields.hash(),
                Some(Versioned { value, version }) => {
                    let found = Fields::new(4).version(*version).put(xxh3_128(value).to_be_bytes()).hash();
                    fields.put(found.to_be_bytes()).hash()
                }
            }
        }
    }
}

fn session(id: SessionId, ack_below: u64) -> u128 {
    Fields::new(2).session(id).put(ack_below.to_be_bytes()).hash()
}

impl Digest {
    /// The digest of an empty state of a group that owns the slots from `first` to `last`.
    pub(super) fn new(group: GroupId, first: Slot, last: Slot) -> Self {
        let fields = Fields::new(0).put(group.0.to_be_bytes()).put(first.0.to_be_bytes());
        Self(fields.put(last.0.to_be_bytes()).hash())
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
