//! From the pieces of a snapshot back to a store.

use haystack_wire::codec::{Decode, DecodeError, Reader};
use haystack_wire::ids::{GroupId, LogIndex, SessionId, Slot, Version};
use haystack_wire::message::COUNTER_LIMIT;
use haystack_wire::message::client::{Effect, KEY_LIMIT, SESSION_WINDOW, VALUE_LIMIT, Versioned};
use thiserror::Error;

use super::digest::KeyHash;
use super::frozen::{FORMAT, FrozenId};
use super::sessions::{Answer, Remembered, Session};
use super::tree::{Change, Contents};
use super::{Limits, Store};

/// Why a snapshot was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// Bytes mean nothing.
    #[error("the snapshot has bytes without meaning: {0}")]
    Decode(#[from] DecodeError),
    /// Something is where it may not be.
    #[error("the snapshot is not well-formed: {0}")]
    Malformed(&'static str),
    /// It ended too early.
    #[error("the snapshot ends before it is whole")]
    Incomplete,
    /// It is well-formed, but another state.
    #[error("the snapshot has another digest than announced")]
    Digest,
}

/// What the next element is.
#[derive(Clone, Copy, Debug)]
enum Next {
    Header,
    Session,
    Reply { session: SessionId, left: u64 },
    Record,
}

/// A snapshot being collected, in order, into a store that is not used before it is whole and has the digest that was
/// announced. Takes about the memory of that store: beside it only the start of an element that is cut by the end of
/// a piece.
#[derive(Debug)]
pub struct Restore {
    id: FrozenId,
    store: Store,
    next: Next,
    /// Elements that the header announced and that are not here yet.
    sessions: u64,
    records: u64,
    last_session: Option<SessionId>,
    last_key: Option<Vec<u8>>,
    received: u64,
    /// Received, but not a whole element yet: less than the longest key and value together, and a piece.
    cut: Vec<u8>,
    /// Nothing is taken after an error.
    failed: Option<RestoreError>,
}

impl Restore {
    /// Starts to collect the snapshot `id` of a group that owns the slots from `first` to `last`.
    pub fn new(group: GroupId, first: Slot, last: Slot, limits: Limits, id: FrozenId) -> Self {
        let mut store = Store::new(group, first, last, limits);
        store.applied = id.index;
        Self {
            id,
            store,
            next: Next::Header,
            sessions: 0,
            records: 0,
            last_session: None,
            last_key: None,
            received: 0,
            cut: Vec::new(),
            failed: None,
        }
    }

    /// Which snapshot this is.
    pub const fn id(&self) -> FrozenId {
        self.id
    }

    /// The offset to ask for next: how many bytes are here.
    pub const fn offset(&self) -> u64 {
        self.received
    }

    /// Takes the piece at `offset`; returns whether it was the next one. Others (repeated ones) are ignored.
    ///
    /// # Errors
    /// If the bytes are no snapshot of this group; then this and every later call, and [`Self::finish`], fail alike.
    pub fn push(&mut self, offset: u64, bytes: &[u8]) -> Result<bool, RestoreError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if offset != self.received {
            return Ok(false);
        }
        self.received += bytes.len() as u64;
        let mut cut = core::mem::take(&mut self.cut);
        let result = if cut.is_empty() {
            self.take(bytes).map(|taken| cut.extend_from_slice(&bytes[taken..]))
        } else {
            cut.extend_from_slice(bytes);
            self.take(&cut).map(|taken| drop(cut.drain(..taken)))
        };
        self.cut = cut;
        self.failed = result.err();
        result.map(|()| true)
    }

    /// The store, if the snapshot is whole and the state is what was announced.
    ///
    /// # Errors
    /// If it is not.
    pub fn finish(self) -> Result<Store, RestoreError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let open = !matches!(self.next, Next::Record) || self.sessions > 0 || self.records > 0;
        if open || !self.cut.is_empty() {
            return Err(RestoreError::Incomplete);
        }
        if self.store.digest() != self.id.digest {
            return Err(RestoreError::Digest);
        }
        Ok(self.store)
    }

    /// Takes whole elements from the front of `bytes`; returns how many bytes they were.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, RestoreError> {
        let mut reader = Reader::new(bytes);
        let mut taken = 0;
        loop {
            let result = match self.next {
                Next::Header => self.header(&mut reader),
                Next::Session if self.sessions == 0 => {
                    self.next = Next::Record;
                    continue;
                }
                Next::Session => self.session(&mut reader),
                Next::Reply { left: 0, .. } => {
                    self.next = Next::Session;
                    continue;
                }
                Next::Reply { session, left } => self.reply(&mut reader, session, left),
                Next::Record if self.records == 0 => {
                    reader.finish("the snapshot")?;
                    return Ok(taken);
                }
                Next::Record => self.record(&mut reader),
            };
            match result {
                Ok(()) => taken = bytes.len() - reader.remaining(),
                // The rest of the element is in the next piece; nothing of it was taken.
                Err(RestoreError::Decode(DecodeError::Truncated(_))) => return Ok(taken),
                Err(error) => return Err(error),
            }
        }
    }

    fn header(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        if reader.u8("format")? != FORMAT {
            return Err(RestoreError::Malformed("unknown format"));
        }
        let (group, first, last) = (GroupId::decode(reader)?, Slot::decode(reader)?, Slot::decode(reader)?);
        let (sessions, records) = (reader.varint("sessions")?, reader.varint("records")?);
        if (group, first, last) != (self.store.group, self.store.first, self.store.last) {
            return Err(RestoreError::Malformed("of another group or other slots"));
        }
        (self.sessions, self.records) = (sessions, records);
        self.next = Next::Session;
        Ok(())
    }

    fn session(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let id = SessionId::decode(reader)?;
        let (ack_below, replies) = (reader.varint("ack_below")?, reader.varint("replies")?);
        if self.last_session.is_some_and(|last| last >= id) {
            return Err(RestoreError::Malformed("sessions not in order"));
        }
        if id.group == self.store.group && id.index >= self.id.index {
            return Err(RestoreError::Malformed("a session from after the snapshot"));
        }
        if !(1..=COUNTER_LIMIT + 1).contains(&ack_below) || replies > SESSION_WINDOW {
            return Err(RestoreError::Malformed("no such window"));
        }
        self.last_session = Some(id);
        self.sessions -= 1;
        let session = Session { ack_below, ..Session::new(LogIndex::ZERO) };
        self.store.sessions.insert(id, session, &mut self.store.digest);
        self.next = Next::Reply { session: id, left: replies };
        Ok(())
    }

    fn reply(&mut self, reader: &mut Reader<'_>, id: SessionId, left: u64) -> Result<(), RestoreError> {
        let (ahead, slot) = (reader.varint("seq")?, Slot::decode(reader)?);
        let answer = Self::answer(reader)?;
        if answer.applied().is_some_and(|(at, _)| at >= self.id.index) {
            return Err(RestoreError::Malformed("a reply from after the snapshot"));
        }
        if ahead >= SESSION_WINDOW {
            return Err(RestoreError::Malformed("a reply outside its window"));
        }
        let session = self.store.sessions.get(id).expect("it came just before");
        let seq = session.ack_below + ahead;
        if session.replies.last().is_some_and(|last| last.seq >= seq) {
            return Err(RestoreError::Malformed("replies not in order"));
        }
        let mut session = self.store.sessions.touch(id, LogIndex::ZERO).expect("it came just before");
        session.remember(Remembered { seq, slot, answer }, &mut self.store.digest);
        self.next = Next::Reply { session: id, left: left - 1 };
        Ok(())
    }

    fn answer(reader: &mut Reader<'_>) -> Result<Answer, RestoreError> {
        let kind = reader.u8("reply")?;
        if kind == 0 {
            return Ok(Answer::NeverApplies);
        }
        let at = LogIndex::decode(reader)?;
        let effect = match kind {
            1 => Effect::Written,
            2 => Effect::Deleted { previous: None },
            3 => Effect::Deleted { previous: Some(Version::decode(reader)?) },
            4 => Effect::Mismatch { actual: None },
            5 => {
                let version = Version::decode(reader)?;
                let value = reader.bytes(VALUE_LIMIT, "value")?;
                Effect::Mismatch { actual: Some(Versioned { value, version }) }
            }
            _ => return Err(RestoreError::Malformed("no such reply")),
        };
        Ok(Answer::new(at, effect))
    }

    fn record(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let key_len = reader.size(KEY_LIMIT, "key")?;
        let version = Version::decode(reader)?;
        let value_len = reader.size(VALUE_LIMIT, "value")?;
        let (key, value) = (reader.take(key_len, "key")?, reader.take(value_len, "value")?);
        if self.last_key.as_deref().is_some_and(|last| last >= key) {
            return Err(RestoreError::Malformed("keys not in order"));
        }
        if version.group == self.store.group && version.index >= self.id.index {
            return Err(RestoreError::Malformed("a version from after the snapshot"));
        }
        if self.store.owned_slot(key).is_err() {
            return Err(RestoreError::Malformed("a key of another group"));
        }
        self.store.digest.add_record(KeyHash::new(key), value, version);
        self.store.records.update(key, |_| (Change::Put(version, Contents::Copy(value)), ()));
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        self.records -= 1;
        Ok(())
    }
}
