//! The window of a session: which sequence numbers are given out, finished, or held.

use haystack_wire::Instant;
use haystack_wire::ids::SessionId;
use haystack_wire::message::client::SESSION_WINDOW;

/// An open session, as the client sees it.
///
/// A sequence number is *finished* once nobody will ask for its reply again: its operation was answered, or
/// surely never appended. One whose operation ended unknown is *held*: the reply that the group remembers for
/// it may still be asked for by a `Resolve`, so `ack_below` must not pass it.
#[derive(Debug)]
pub(super) struct Window {
    /// The session.
    pub(super) id: SessionId,
    /// When an operation was last numbered.
    pub(super) used: Instant,
    /// Everything below is finished.
    ack_below: u64,
    /// The next number to give out.
    next: u64,
    /// Bit `i` is set if `ack_below + i` is finished.
    finished: u64,
    /// Bit `i` is set if `ack_below + i` is held.
    held: u64,
}

impl Window {
    pub(super) const fn new(id: SessionId, now: Instant) -> Self {
        Self { id, used: now, ack_below: 1, next: 1, finished: 0, held: 0 }
    }

    /// Replies below this are not needed any more.
    pub(super) const fn ack_below(&self) -> u64 {
        self.ack_below
    }

    /// Gives out a number, if the group still remembers as many replies.
    pub(super) fn number(&mut self, now: Instant) -> Option<u64> {
        if self.next >= self.ack_below + SESSION_WINDOW {
            return None;
        }
        self.used = now;
        self.next += 1;
        Some(self.next - 1)
    }

    /// A number's reply will not be asked for any more.
    pub(super) fn finish(&mut self, seq: u64) {
        let Some(bit) = self.bit(seq) else { return };
        self.finished |= bit;
        self.held &= !bit;
        let passed = self.finished.trailing_ones();
        self.ack_below += u64::from(passed);
        self.finished = self.finished.checked_shr(passed).unwrap_or(0);
        self.held = self.held.checked_shr(passed).unwrap_or(0);
    }

    /// A number's operation ended unknown.
    pub(super) fn hold(&mut self, seq: u64) {
        if let Some(bit) = self.bit(seq) {
            self.held |= bit;
        }
    }

    /// Whether every number that was given out is finished.
    pub(super) const fn is_answered(&self) -> bool {
        self.ack_below == self.next
    }

    /// Whether only a `Resolve` could free a place: later operations are better off in a new session.
    pub(super) const fn is_stuck(&self) -> bool {
        self.next >= self.ack_below + SESSION_WINDOW && self.held & 1 != 0
    }

    fn bit(&self, seq: u64) -> Option<u64> {
        (seq >= self.ack_below && seq < self.next).then(|| 1 << (seq - self.ack_below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use haystack_wire::ids::{GroupId, LogIndex};

    fn window() -> Window {
        Window::new(SessionId { group: GroupId(1), index: LogIndex(5) }, Instant::ZERO)
    }

    #[test]
    fn at_most_a_window_is_given_out_and_ack_below_passes_only_a_finished_prefix() {
        let mut window = window();
        let given: Vec<u64> = std::iter::from_fn(|| window.number(Instant::ZERO)).collect();
        assert_eq!(given, (1..=SESSION_WINDOW).collect::<Vec<_>>());
        window.finish(2);
        assert_eq!((window.ack_below(), window.number(Instant::ZERO)), (1, None));
        window.finish(1);
        assert_eq!(window.ack_below(), 3);
        assert_eq!(window.number(Instant::ZERO), Some(65));
        assert_eq!(window.number(Instant::ZERO), Some(66));
        assert_eq!(window.number(Instant::ZERO), None);
        (3..=66).for_each(|seq| window.finish(seq));
        assert_eq!(window.ack_below(), 67);
    }

    #[test]
    fn finishing_twice_or_out_of_range_changes_nothing() {
        let mut window = window();
        window.number(Instant::ZERO);
        window.finish(1);
        window.finish(1);
        window.finish(2);
        window.finish(0);
        window.hold(2);
        assert_eq!(window.ack_below(), 2);
        assert_eq!(window.number(Instant::ZERO), Some(2));
        assert_eq!(window.ack_below(), 2);
    }

    #[test]
    fn a_held_number_stops_ack_below_until_it_is_resolved() {
        let mut window = window();
        while window.number(Instant::ZERO).is_some() {}
        (2..=64).for_each(|seq| window.finish(seq));
        assert!(!window.is_stuck(), "an operation under way is waited for");
        window.hold(1);
        assert!(window.is_stuck());
        assert_eq!(window.ack_below(), 1);
        window.finish(1);
        assert_eq!((window.ack_below(), window.is_stuck()), (65, false));
    }

    #[test]
    fn the_window_agrees_with_a_set() {
        use haystack_wire::rng::Rng;
        use std::collections::BTreeSet;
        let mut rng = Rng::from_u64(4);
        let mut window = window();
        let mut open = BTreeSet::new();
        for _ in 0..20_000 {
            if rng.chance(0.5) {
                let lowest = open.first().copied().unwrap_or(window.next);
                let room = window.next < lowest + SESSION_WINDOW;
                let given = window.number(Instant::ZERO);
                assert_eq!(given.is_some(), room);
                open.extend(given);
            } else if let Some(seq) = open.iter().nth(rng.below(64) as usize % open.len().max(1)).copied() {
                open.remove(&seq);
                window.finish(seq);
            }
            assert_eq!(window.ack_below(), open.first().copied().unwrap_or(window.next));
        }
    }
}
