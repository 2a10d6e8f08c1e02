//! The operations under way, in places that are used again.

use std::time::Duration;

use haystack_wire::Instant;
use haystack_wire::ids::{GroupId, SessionId};
use haystack_wire::link::LinkId;
use haystack_wire::message::client::Refusal;

use super::operation::{OpId, Operation, Work, write_key};
use crate::error::{Ticket, Wait};

/// Bits of a place's number in a mark.
const PLACE_BITS: u32 = 20;
/// Bits of an attempt's number in a mark.
const ATTEMPT_BITS: u32 = 6;
/// Attempts that are told apart; of more than so many open ones the oldest count as lost.
const ATTEMPTS: u32 = 1 << ATTEMPT_BITS;
/// Bits of a place's generation: with the others they fill a varint.
const GENERATION_MASK: u64 = (1 << (62 - PLACE_BITS - ATTEMPT_BITS)) - 1;

/// An operation: its place, and the generation that tells it from others in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) place: u32,
    generation: u64,
}

impl Key {
    /// The name by which the caller knows it.
    pub(super) const fn id(self) -> OpId {
        OpId(self.generation << PLACE_BITS | self.place as u64)
    }

    /// The mark of one attempt, below 2^62.
    pub(super) const fn mark(self, attempt: u32) -> u64 {
        let attempt = (attempt % ATTEMPTS) as u64;
        (self.generation << ATTEMPT_BITS | attempt) << PLACE_BITS | self.place as u64
    }

    /// The operation and the attempt that a mark names.
    pub(super) const fn of_mark(mark: u64) -> (Self, u32) {
        let place = (mark & ((1 << PLACE_BITS) - 1)) as u32;
        let attempt = (mark >> PLACE_BITS) as u32 % ATTEMPTS;
        (Self { place, generation: mark >> (PLACE_BITS + ATTEMPT_BITS) & GENERATION_MASK }, attempt)
    }
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// In no queue: about to be routed.
    Idle,
    /// In the queue of those that wait for a daemon or a map.
    Parked(Wait),
    /// In its group's queue for a session or a place in its window.
    Queued,
    /// In the queue of a link that takes no more.
    Blocked(LinkId),
    /// Sent, at this time; waits for the answer until the retry time.
    Sent(Instant),
    /// Refused for now; waits for the next attempt.
    Resting,
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) work: Work,
    pub(super) state: State,
    /// When it ends at the latest.
    pub(super) deadline: Instant,
    /// When it is looked at again, if that is before the deadline.
    pub(super) wake: Instant,
    /// The group it goes to.
    pub(super) group: GroupId,
    /// Its session and number, for ever; of a `Close` the session and the number after the last.
    pub(super) session: Option<(SessionId, u64)>,
    /// What the client acknowledged when it was sent last.
    pub(super) ack_below: u64,
    /// How often it was sent.
    pub(super) attempts: u32,
    /// How often it moved on to another daemon since it last knew where to go.
    pub(super) turns: u32,
    /// Attempts that had no answer in time.
    pub(super) silences: u32,
    /// How often it went on after a refusal without a rest.
    pub(super) jumps: u32,
    /// Attempts without an answer: bit `attempt % 64`.
    open: u64,
    /// An open attempt is not told apart any more: whatever is refused, that one may have been appended.
    lost: bool,
    /// The link it was last sent on.
    pub(super) link: Option<LinkId>,
    /// How long the next attempt waits for its answer.
    pub(super) retry: Duration,
    /// How long it rests after the next refusal; zero before the first.
    pub(super) backoff: Duration,
    /// The last refusal.
    pub(super) refusal: Option<Refusal>,
    /// Bytes that count towards the limit.
    pub(super) bytes: usize,
}

impl Op {
    pub(super) fn new(work: Work, deadline: Instant, group: GroupId) -> Self {
        let bytes = work.bytes();
        Self {
            work,
            state: State::Idle,
            deadline,
            wake: deadline,
            group,
            session: None,
            ack_below: 0,
            attempts: 0,
            turns: 0,
            silences: 0,
            jumps: 0,
            open: 0,
            lost: false,
            link: None,
            retry: Duration::ZERO,
            backoff: Duration::ZERO,
            refusal: None,
            bytes,
        }
    }

    /// Names its write, if it is one that was numbered, or the one that it resolves.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        match (&self.work, self.session) {
            (Work::User(Operation::Resolve(ticket)), _) => Some(ticket.clone()),
            (Work::User(Operation::Write(write)), Some((session, seq))) => {
                Some(Ticket { session, seq, key: write_key(write).clone() })
            }
            _ => None,
        }
    }

    pub(super) const fn is_resolve(&self) -> bool {
        matches!(self.work, Work::User(Operation::Resolve(_)))
    }

    /// The group that it scans.
    pub(super) const fn scanned(&self) -> Option<GroupId> {
        match self.work {
            Work::User(Operation::Scan { group, .. }) => Some(group),
            _ => None,
        }
    }

    /// Notes that the next attempt, number `attempts`, goes out.
    pub(super) const fn begin_attempt(&mut self) {
        let bit = 1 << (self.attempts % ATTEMPTS);
        self.lost |= self.open & bit != 0;
        self.open |= bit;
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Notes that an attempt was refused, or answered in a way that shows it was not appended. Returns whether it
    /// was open.
    pub(super) const fn end_attempt(&mut self, attempt: u32) -> bool {
        let bit = 1 << (attempt % ATTEMPTS);
        let was_open = self.open & bit != 0;
        self.open &= !bit;
        was_open
    }

    /// Whether an attempt may have been appended, or may be yet.
    pub(super) const fn may_be_appended(&self) -> bool {
        self.open != 0 || self.lost
    }

    /// Whether an attempt's number is that of the last one sent.
    pub(super) const fn is_last(&self, attempt: u32) -> bool {
        self.attempts.wrapping_sub(1) % ATTEMPTS == attempt
    }
}

#[derive(Debug)]
struct Place {
    generation: u64,
    op: Option<Op>,
}

/// The operations under way.
#[derive(Debug, Default)]
pub(super) struct Ops {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Ops {
    /// Adds an operation.
    ///
    /// # Panics
    /// If there are more than a mark has bits for: the limits keep far below.
    pub(super) fn insert(&mut self, op: Op) -> Key {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, op: None });
            (self.places.len() - 1) as u32
        });
        assert!(place < 1 << PLACE_BITS, "more operations than marks");
        let entry = &mut self.places[place as usize];
        entry.op = Some(op);
        Key { place, generation: entry.generation }
    }

    /// The operation, if it is still under way.
    pub(super) fn get(&self, key: Key) -> Option<&Op> {
        let entry = self.places.get(key.place as usize)?;
        entry.op.as_ref().filter(|_| entry.generation == key.generation)
    }

    /// The operation, if it is still under way.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Op> {
        let entry = self.places.get_mut(key.place as usize)?;
        entry.op.as_mut().filter(|_| entry.generation == key.generation)
    }

    /// The operation in a place.
    pub(super) fn key_at(&self, place: u32) -> Option<Key> {
        let entry = self.places.get(place as usize)?;
        entry.op.as_ref().map(|_| Key { place, generation: entry.generation })
    }

    /// Ends an operation; its marks mean nothing from now on.
    pub(super) fn remove(&mut self, key: Key) -> Option<Op> {
        self.get(key)?;
        let entry = &mut self.places[key.place as usize];
        entry.generation = (entry.generation + 1) & GENERATION_MASK;
        self.free.push(key.place);
        entry.op.take()
    }

    /// All operations, by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Op)> {
        self.places.iter().enumerate().filter_map(|(place, entry)| {
            entry.op.as_ref().map(|op| (Key { place: place as u32, generation: entry.generation }, op))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::operation::Operation;
    use haystack_wire::codec::VARINT_MAX;

    fn op() -> Op {
        Op::new(Work::User(Operation::get("k")), Instant::ZERO, GroupId(0))
    }

    #[test]
    fn marks_name_operation_and_attempt_and_fit_a_varint() {
        for (place, generation, attempt) in
            [(0, 0, 0), (5, 9, 63), ((1 << PLACE_BITS) - 1, GENERATION_MASK, 7)]
        {
            let key = Key { place, generation };
            assert!(key.mark(attempt) <= VARINT_MAX);
            assert_eq!(Key::of_mark(key.mark(attempt)), (key, attempt));
            assert_eq!(Key::of_mark(key.mark(attempt + 64)), (key, attempt));
        }
    }

    #[test]
    fn a_place_used_again_answers_to_no_old_mark() {
        let mut ops = Ops::default();
        let old = ops.insert(op());
        assert!(ops.remove(old).is_some());
        let new = ops.insert(op());
        assert_eq!(new.place, old.place);
        assert_ne!(new.id(), old.id());
        assert!(ops.get(old).is_none() && ops.remove(old).is_none());
        assert!(ops.get(new).is_some());
    }

    #[test]
    fn only_refusals_of_every_attempt_make_sure_that_nothing_was_appended() {
        let mut op = op();
        assert!(!op.may_be_appended());
        op.begin_attempt();
        op.begin_attempt();
        assert!(op.end_attempt(0));
        assert!(op.may_be_appended());
        assert!(!op.end_attempt(0), "one attempt is refused once");
        assert!(op.end_attempt(1));
        assert!(!op.may_be_appended());
    }

    #[test]
    fn more_open_attempts_than_can_be_told_apart_are_never_forgotten() {
        let mut op = op();
        (0..65).for_each(|_| op.begin_attempt());
        (0..64).for_each(|attempt| {
            op.end_attempt(attempt);
        });
        assert!(op.may_be_appended());
    }
}
