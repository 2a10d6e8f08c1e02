//! Frozen snapshots: the state at one position, readable in pieces while the state goes on.
//!
//! # The canonical encoding
//!
//! Numbers are varints unless noted. Header: format (1 byte, 1), group, first slot and last slot (2 bytes each), number
//! of sessions, number of records. Sessions in the order of ids: group, index, `ack_below`, number of replies, then the
//! replies in the order of seq: `seq - ack_below`, slot (2 bytes), kind (1 byte), position (unless never applied), of
//! kinds 3 and 5 the version (group, index) of what was found, of kind 5 also length and bytes of the value. Kinds:
//! 0 never applies, 1 written, 2 deleted nothing, 3 deleted a value, 4 mismatch with nothing, 5 mismatch with a value.
//! Records in the order of keys: length of the key, version (group, index), length of the value, key, value. Sessions
//! and records strictly ascend, so one state has one encoding.

use core::iter::Peekable;
use core::ops::Bound;
use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use haystack_wire::codec::{Encode, put_varint};
use haystack_wire::ids::{GroupId, LogIndex, SessionId};
use haystack_wire::message::client::Effect;

use super::sessions::{Answer, Session, Sessions};
use super::tree::{Contents, Iter, Record, Shape, Tree};
use super::{RECORD_OVERHEAD, REPLY_OVERHEAD, SESSION_OVERHEAD, Store};

/// First byte of the encoding.
pub(super) const FORMAT: u8 = 1;
/// Most bytes that one call returns, whatever is asked: 1 MiB takes about a millisecond (judgement).
pub const CHUNK_LIMIT: usize = 1024 * 1024;
/// Most records and sessions that one call looks at: a few milliseconds (judgement).
const WALK_LIMIT: usize = 32 * 1024;
/// A way back into the encoding is noted every so many bytes: a piece asked for again costs at most a walk over this
/// much beside the piece itself (judgement).
const MARK_STEP: u64 = 256 * 1024;

/// Which state is frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrozenId {
    /// Entries below this are in it.
    pub index: LogIndex,
    /// Its digest.
    pub digest: u128,
}

/// A piece of a frozen snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// The bytes from the offset on.
    Bytes {
        /// At least one, unless the offset is the end.
        bytes: Bytes,
        /// Whether the snapshot ends with them.
        last: bool,
    },
    /// The way to the offset is longer than one call may take, and was walked in part: ask again.
    Later,
    /// This snapshot is not frozen here (any more), or does not reach to the offset.
    Gone,
}

/// A place between two elements of the encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Position {
    Header,
    /// Before the first session after this one.
    Sessions(Option<SessionId>),
    /// Before the first record after this one.
    Records(Option<Box<[u8]>>),
    End,
}

/// A frozen snapshot: what changed since, as it was.
#[derive(Debug)]
pub(super) struct Frozen {
    id: FrozenId,
    group: GroupId,
    header: Vec<u8>,
    records: Tree,
    sessions: BTreeMap<SessionId, Session>,
    session_bytes: u64,
    /// Where elements start in the encoding, as far as it was walked.
    marks: BTreeMap<u64, Position>,
    /// Where the last piece ended.
    resume: (u64, Position),
}

impl Frozen {
    /// Bytes kept aside, about.
    pub(super) fn bytes(&self) -> u64 {
        self.records.bytes() + self.records.len() * RECORD_OVERHEAD + self.session_bytes
    }

    /// Keeps a record that is about to change, the first time.
    pub(super) fn save_record(&mut self, old: &Record<'_>) {
        if old.version.group != self.group || old.version.index < self.id.index {
            self.records.put(old.key, old.version, Contents::of(old));
        }
    }

    /// Keeps a session that is about to change, the first time.
    pub(super) fn save_touched(&mut self, id: SessionId, session: Option<&Session>) {
        if let Some(session) = session
            && self.unsaved(session)
        {
            self.save_session(id, session.clone());
        }
    }

    /// Keeps a session that is no more.
    pub(super) fn save_session(&mut self, id: SessionId, session: Session) {
        if self.unsaved(&session) {
            let replies = session.replies.len() as u64 * REPLY_OVERHEAD;
            self.session_bytes += SESSION_OVERHEAD + replies + session.pinned;
            self.sessions.insert(id, session);
        }
    }

    /// Whether a session is as it was when the snapshot was frozen. One that was opened since was touched since.
    fn unsaved(&self, session: &Session) -> bool {
        session.touched < self.id.index
    }

    /// Whether a record is as it was.
    fn current(&self, record: &Record<'_>) -> bool {
        record.version.group != self.group || record.version.index < self.id.index
    }

    /// The nearest known position at or before `offset`.
    fn nearest(&self, offset: u64) -> (u64, Position) {
        let (at, mark) = self.marks.range(..=offset).next_back().expect("the start is marked");
        if (*at..=offset).contains(&self.resume.0) { self.resume.clone() } else { (*at, mark.clone()) }
    }

    /// Notes a position for later calls; `dear` if the way to it was long, whatever the distance in bytes.
    fn note(&mut self, at: u64, position: Position, dear: bool) {
        let (last, _) = self.marks.range(..=at).next_back().expect("the start is marked");
        if dear || at - last >= MARK_STEP {
            self.marks.insert(at, position.clone());
        }
        self.resume = (at, position);
    }

    /// Appends sessions to `out` from a position on, and says where the next call goes on.
    fn write_sessions(&self, live: &Sessions, after: Option<SessionId>, out: &mut Piece) -> (u64, Position) {
        let mut done = (out.at, Position::Sessions(after));
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut saved = self.sessions.range((from, Bound::Unbounded)).peekable();
        let mut live = live.iter(after).peekable();
        let mut element = Vec::new();
        loop {
            let id = match (saved.peek(), live.peek()) {
                (None, None) => return (out.at, Position::Records(None)),
                (Some((saved, _)), Some((live, _))) => *live.min(saved),
                (Some((saved, _)), None) => **saved,
                (None, Some((live, _))) => *live,
            };
            let saved = saved.next_if(|(saved, _)| **saved == id).map(|(_, session)| session);
            let live = live.next_if(|(live, _)| *live == id).map(|(_, session)| session);
            let session = saved.or(live.filter(|session| self.unsaved(session)));
            if let Some(session) = session {
                write_session(id, session, &mut element, out);
            }
            if !out.goes_on() {
                return if out.whole() { (out.at, Position::Sessions(Some(id))) } else { done };
            }
            done = (out.at, Position::Sessions(Some(id)));
        }
    }

    /// Appends records to `out` from a position on, and says where the next call goes on.
    fn write_records(&self, live: &Tree, after: Option<Box<[u8]>>, out: &mut Piece) -> (u64, Position) {
        let mut done = (out.at, after.as_deref());
        let mut saved = self.records.iter(after.as_deref()).peekable();
        let mut live = live.iter(after.as_deref()).peekable();
        while let Some(record) = next_by_key(&mut saved, &mut live) {
            if self.current(&record) {
                write_record(&record, out);
            }
            if !out.goes_on() {
                if out.whole() {
                    done = (out.at, Some(record.key));
                }
                return (done.0, Position::Records(done.1.map(Into::into)));
            }
            done = (out.at, Some(record.key));
        }
        (out.at, Position::End)
    }
}

/// The next record of two walks over distinct keys.
fn next_by_key<'a>(a: &mut Peekable<Iter<'a>>, b: &mut Peekable<Iter<'a>>) -> Option<Record<'a>> {
    match (a.peek(), b.peek()) {
        (Some(first), Some(second)) if first.key > second.key => b.next(),
        (None, _) => b.next(),
        _ => a.next(),
    }
}

/// A window on the encoding that is being filled.
#[derive(Debug)]
struct Piece {
    /// Where in the encoding the next byte belongs.
    at: u64,
    from: u64,
    until: u64,
    bytes: Vec<u8>,
    /// How many more elements may be looked at.
    budget: usize,
}

impl Piece {
    /// Appends the part of `bytes` that lies in the window.
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len() as u64;
        let (low, high) = (self.from.clamp(self.at, end), self.until.clamp(self.at, end));
        self.bytes.extend_from_slice(&bytes[(low - self.at) as usize..(high - self.at) as usize]);
        self.at = end;
    }

    /// Counts an element; whether there is room and time for another one.
    fn goes_on(&mut self) -> bool {
        self.budget = self.budget.saturating_sub(1);
        self.budget > 0 && self.at < self.until
    }

    /// Whether everything so far lies in the window or before it, to the last byte.
    fn whole(&self) -> bool {
        self.at <= self.until
    }
}

fn write_session(id: SessionId, session: &Session, element: &mut Vec<u8>, out: &mut Piece) {
    element.clear();
    id.encode(element);
    put_varint(element, session.ack_below);
    put_varint(element, session.replies.len() as u64);
    out.put(element);
    for reply in &session.replies {
        element.clear();
        put_varint(element, reply.seq - session.ack_below);
        reply.slot.encode(element);
        let value = write_answer(&reply.answer, element);
        out.put(element);
        out.put(value);
    }
}

/// Appends an answer, but for the value that it found, which is returned.
fn write_answer<'a>(answer: &'a Answer, element: &mut Vec<u8>) -> &'a [u8] {
    let Some((at, effect)) = answer.applied() else {
        element.put_u8(0);
        return &[];
    };
    let (kind, version, value) = match effect {
        Effect::Written => (1, None, None),
        Effect::Deleted { previous } => (2 + u8::from(previous.is_some()), *previous, None),
        Effect::Mismatch { actual } => {
            let (version, value) = (actual.as_ref().map(|actual| actual.version), actual.as_ref());
            (4 + u8::from(actual.is_some()), version, value.map(|actual| &actual.value))
        }
    };
    element.put_u8(kind);
    at.encode(element);
    version.iter().for_each(|version| version.encode(element));
    let Some(value) = value else { return &[] };
    put_varint(element, value.len() as u64);
    value
}

fn write_record(record: &Record<'_>, out: &mut Piece) {
    // Four varints of at most eight bytes.
    let mut header = [0; 32];
    let mut rest = &mut header[..];
    put_varint(&mut rest, record.key.len() as u64);
    record.version.encode(&mut rest);
    put_varint(&mut rest, record.value.len() as u64);
    let len = 32 - rest.len();
    out.put(&header[..len]);
    out.put(record.key);
    out.put(record.value);
}

impl Store {
    /// Freezes the state as it is: the snapshot at `index`, below which everything is applied. If a snapshot is frozen
    /// already, that one stays and is returned, whatever its index; [`Self::thaw`] it first to get a newer one. O(1).
    ///
    /// # Panics
    /// If an entry at or after `index` was applied.
    pub fn freeze(&mut self, index: LogIndex) -> FrozenId {
        if let Some(frozen) = &self.frozen {
            return frozen.id;
        }
        assert!(index >= self.applied, "the state is at {}, not at {index}", self.applied);
        // Whatever is applied from now on has a position at or after the snapshot's.
        self.applied = index;
        let mut header = vec![FORMAT];
        self.group.encode(&mut header);
        self.first.encode(&mut header);
        self.last.encode(&mut header);
        put_varint(&mut header, self.sessions());
        put_varint(&mut header, self.len());
        let id = FrozenId { index, digest: self.digest() };
        self.frozen = Some(Box::new(Frozen {
            id,
            group: self.group,
            header,
            records: Tree::new(self.group, Shape::DEFAULT),
            sessions: BTreeMap::new(),
            session_bytes: 0,
            marks: BTreeMap::from([(0, Position::Header)]),
            resume: (0, Position::Header),
        }));
        self.stats.frozen += 1;
        id
    }

    /// The snapshot that is frozen.
    pub fn frozen(&self) -> Option<FrozenId> {
        self.frozen.as_ref().map(|frozen| frozen.id)
    }

    /// Lets go of the frozen snapshot, if there is one.
    pub fn thaw(&mut self) {
        self.frozen = None;
    }

    /// Drops the snapshot if too much changed since.
    pub(super) fn end_overrun(&mut self) {
        if self.frozen.as_ref().is_some_and(|frozen| frozen.bytes() > self.limits.overlay) {
            self.frozen = None;
            self.stats.overrun += 1;
        }
    }

    /// The encoding of the frozen snapshot `id` from `offset` on, about `limit` bytes (at most [`CHUNK_LIMIT`]). Pieces
    /// in sequence are cheap; earlier ones can be asked for again, also by several readers at once.
    pub fn chunk(&mut self, id: FrozenId, offset: u64, limit: usize) -> Chunk {
        let Some(frozen) = self.frozen.as_deref_mut().filter(|frozen| frozen.id == id) else {
            return Chunk::Gone;
        };
        let limit = limit.clamp(1, CHUNK_LIMIT);
        let until = offset.saturating_add(limit as u64);
        let (at, mut position) = frozen.nearest(offset);
        let bytes = Vec::with_capacity(limit);
        let mut piece = Piece { at, from: offset, until, bytes, budget: WALK_LIMIT };
        let mut next = at;
        while position != Position::End && piece.whole() && piece.at < until && piece.budget > 0 {
            (next, position) = match position {
                Position::Header => {
                    piece.put(&frozen.header);
                    if piece.whole() { (piece.at, Position::Sessions(None)) } else { (0, Position::Header) }
                }
                Position::Sessions(after) => frozen.write_sessions(&self.sessions, after, &mut piece),
                Position::Records(after) => frozen.write_records(&self.records, after, &mut piece),
                Position::End => unreachable!("the loop ends at the end"),
            };
        }
        let last = position == Position::End;
        let beyond = last && next < offset;
        // Else readers in turn at different offsets would each have to walk the same long way for ever.
        frozen.note(next, position, piece.budget == 0);
        if beyond {
            Chunk::Gone
        } else if piece.bytes.is_empty() && !last {
            Chunk::Later
        } else {
            Chunk::Bytes { bytes: Bytes::from(piece.bytes), last }
        }
    }
}
