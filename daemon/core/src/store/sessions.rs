//! Client sessions and the replies they remember.
//!
//! Of a session the state holds `ack_below` and the replies of a window of [`SESSION_WINDOW`] sequence numbers from
//! there on. Nothing below is ever applied (any more), nothing above the window is applied yet; inside, a reply is
//! there if and only if the operation applied or was fenced off.

use core::hash::{BuildHasherDefault, Hasher};
use core::ops::Bound;
use std::collections::{BTreeSet, HashMap};

use haystack_wire::ids::{LogIndex, SessionId, Slot};
use haystack_wire::message::client::{Effect, Outcome, SESSION_WINDOW};

use super::REPLY_OVERHEAD;
use super::digest::Digest;

/// What a remembered reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Fenced off.
    NeverApplies,
    /// Set a value at this position: by far the most, so they need no allocation.
    Written(LogIndex),
    /// Applied at this position with another effect.
    Saw(Box<(LogIndex, Effect)>),
}

impl Answer {
    pub(super) fn new(at: LogIndex, effect: Effect) -> Self {
        match effect {
            Effect::Written => Self::Written(at),
            effect => Self::Saw(Box::new((at, effect))),
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::NeverApplies => Outcome::NeverApplies,
            Self::Written(at) => Outcome::Applied { at: *at, effect: Effect::Written },
            Self::Saw(saw) => Outcome::Applied { at: saw.0, effect: saw.1.clone() },
        }
    }

    /// Where the operation applied, if it did, and what it did.
    pub(super) fn applied(&self) -> Option<(LogIndex, &Effect)> {
        match self {
            Self::NeverApplies => None,
            Self::Written(at) => Some((*at, &Effect::Written)),
            Self::Saw(saw) => Some((saw.0, &saw.1)),
        }
    }

    /// Bytes of a value that the answer keeps in memory.
    fn pinned(&self) -> u64 {
        match self.applied() {
            Some((_, Effect::Mismatch { actual: Some(actual) })) => actual.value.len() as u64,
            _ => 0,
        }
    }
}

/// The reply to one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    /// The operation.
    pub(super) seq: u64,
    /// The slot of its key, by which a split will know which replies move.
    pub(super) slot: Slot,
    /// The reply.
    pub(super) answer: Answer,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Replies below this are forgotten, and operations below it never apply (any more). At least 1.
    pub(super) ack_below: u64,
    /// The last entry that changed the session: not part of the state, for copy-on-write only.
    pub(super) touched: LogIndex,
    /// Bytes of values in the replies.
    pub(super) pinned: u64,
    /// In the order of `seq`.
    pub(super) replies: Vec<Remembered>,
}

/// Where a sequence number is in a session's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Below,
    Inside,
    Beyond,
}

/// The window that starts at `ack_below`.
pub(super) const fn window(ack_below: u64, seq: u64) -> Window {
    match seq.checked_sub(ack_below) {
        None => Window::Below,
        Some(ahead) if ahead < SESSION_WINDOW => Window::Inside,
        Some(_) => Window::Beyond,
    }
}

impl Session {
    /// A session as it is opened.
    pub(super) const fn new(touched: LogIndex) -> Self {
        Self { ack_below: 1, touched, pinned: 0, replies: Vec::new() }
    }

    /// The reply to an operation, if it is remembered.
    pub(super) fn reply(&self, seq: u64) -> Option<&Remembered> {
        let at = self.replies.binary_search_by_key(&seq, |reply| reply.seq).ok()?;
        Some(&self.replies[at])
    }

    /// Whether a client that acknowledges all replies below `ack_below` has them all.
    pub(super) fn is_answered(&self, ack_below: u64) -> bool {
        ack_below >= self.ack_below && self.replies.last().is_none_or(|reply| reply.seq < ack_below)
    }

    /// Bytes that are freed when the replies below `ack_below` are forgotten.
    pub(super) fn freed(&self, ack_below: u64) -> u64 {
        let going = self.replies.iter().filter(|reply| reply.seq < ack_below);
        going.map(|reply| REPLY_OVERHEAD + reply.answer.pinned()).sum()
    }

    /// Bytes of values in the replies from `ack_below` on.
    pub(super) fn pinned_from(&self, ack_below: u64) -> u64 {
        self.replies.iter().filter(|reply| reply.seq >= ack_below).map(|reply| reply.answer.pinned()).sum()
    }
}

/// A hasher for log positions and slots: one multiplication. Positions are not the clients' to choose, slots are few,
/// and the maps that use it are never walked, so it needs no secret.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PositionHasher(u64);

impl Hasher for PositionHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }
    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }
    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio; the map takes its bits from both ends of the hash.
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product.rotate_right(32);
    }
}

/// A map by session that is never walked.
pub(super) type BySession<T> = HashMap<SessionId, T, BuildHasherDefault<PositionHasher>>;

/// All sessions of a group. Keeps digest and totals in step with every change.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    map: BySession<Session>,
    order: BTreeSet<SessionId>,
    replies: u64,
    pinned: u64,
}

impl Sessions {
    /// How many sessions there are.
    pub(super) fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// How many replies are remembered.
    pub(super) const fn replies(&self) -> u64 {
        self.replies
    }

    /// Bytes of values in all replies.
    pub(super) const fn pinned(&self) -> u64 {
        self.pinned
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.map.get(&id)
    }

    /// The sessions after `after`, or all of them, in the order of ids.
    pub(super) fn iter(&self, after: Option<SessionId>) -> impl Iterator<Item = (SessionId, &Session)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range((from, Bound::Unbounded)).map(|id| (*id, &self.map[id]))
    }

    /// Adds a session without replies.
    pub(super) fn insert(&mut self, id: SessionId, session: Session, digest: &mut Digest) {
        assert!(session.replies.is_empty(), "replies come one by one");
        digest.add_session(id, session.ack_below);
        let fresh = self.order.insert(id) && self.map.insert(id, session).is_none();
        assert!(fresh, "a session is opened once");
    }

    /// Removes a session and its replies.
    pub(super) fn remove(&mut self, id: SessionId, digest: &mut Digest) -> Option<Session> {
        let session = self.map.remove(&id)?;
        self.order.remove(&id);
        digest.remove_session(id, session.ack_below);
        session.replies.iter().for_each(|reply| digest.remove_reply(id, reply));
        self.replies -= session.replies.len() as u64;
        self.pinned -= session.pinned;
        Some(session)
    }

    /// A session about to be changed by the entry at `at`.
    pub(super) fn touch(&mut self, id: SessionId, at: LogIndex) -> Option<Touched<'_>> {
        let session = self.map.get_mut(&id)?;
        session.touched = at;
        Some(Touched { id, session, replies: &mut self.replies, pinned: &mut self.pinned })
    }
}

/// A session that is being changed.
#[derive(Debug)]
pub(super) struct Touched<'a> {
    id: SessionId,
    session: &'a mut Session,
    replies: &'a mut u64,
    pinned: &'a mut u64,
}

impl Touched<'_> {
    /// Forgets what is below `ack_below`, if that is news.
    pub(super) fn acknowledge(&mut self, ack_below: u64, digest: &mut Digest) {
        let session = &mut *self.session;
        if ack_below <= session.ack_below {
            return;
        }
        digest.remove_session(self.id, session.ack_below);
        digest.add_session(self.id, ack_below);
        session.ack_below = ack_below;
        let old = session.replies.partition_point(|reply| reply.seq < ack_below);
        for reply in session.replies.drain(..old) {
            digest.remove_reply(self.id, &reply);
            session.pinned -= reply.answer.pinned();
            *self.pinned -= reply.answer.pinned();
            *self.replies -= 1;
        }
    }

    /// Remembers the reply to an operation of the window that has none yet.
    pub(super) fn remember(&mut self, reply: Remembered, digest: &mut Digest) {
        let session = &mut *self.session;
        assert_eq!(window(session.ack_below, reply.seq), Window::Inside, "replies are of the window");
        digest.add_reply(self.id, &reply);
        session.pinned += reply.answer.pinned();
        *self.pinned += reply.answer.pinned();
        *self.replies += 1;
        match session.replies.binary_search_by_key(&reply.seq, |other| other.seq) {
            Ok(_) => panic!("an operation is answered once"),
            Err(at) => {
                if session.replies.len() == session.replies.capacity() {
                    // One outstanding operation is the common case: the window is not reserved in advance.
                    let more = session.replies.len().clamp(2, 16);
                    session.replies.reserve_exact(more);
                }
                session.replies.insert(at, reply);
            }
        }
    }
}
