//! The receiving half of an association: which packets have arrived, and when to say so.

use core::ops::RangeInclusive;

use super::ranges::RangeSet;
use super::rtt::Rtt;
use crate::time::Instant;

/// Packets this far below the highest one are dropped unseen (LINKS, perfect links, 2).
const WINDOW: u64 = 16_384;
/// Gaps remembered at most: a packet that arrives later than that many gaps is taken for a duplicate, and its content
/// comes again (judgement: reordering over 256 separate losses is no longer reordering).
const RANGES_MAX: usize = 256;
/// The same on an idle link, where whatever is on its way has long been sent again.
const RANGES_IDLE_MAX: usize = 8;
/// Every second packet that asks for an acknowledgement gets one at once (RFC 9000, section 13.2.2), if nothing
/// else goes out.
const ELICITING_MAX: u32 = 2;
/// The newest losses weigh this share in the estimate of the inbound loss rate: 1/128.
const LOSS_SHIFT: u32 = 7;
/// A jump of packet numbers over this is a reset of the other end's path, not that many losses.
const LOSS_JUMP_MAX: u64 = 64;

/// Why a packet is not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    /// It was here before.
    Duplicate,
    /// It is too old to tell.
    Old,
}

/// Packet numbers received on one association.
#[derive(Debug, Default)]
pub(super) struct Received {
    numbers: RangeSet,
    /// Everything below is stale.
    edge: u64,
    /// Highest number received plus 1.
    next: u64,
    largest_at: Instant,
    /// Packets received since the last acknowledgement that was sent.
    unreported: bool,
    eliciting: u32,
    /// An acknowledgement has to go out with the next datagram, and makes one if there is none.
    urgent: bool,
    due: Option<Instant>,
    /// The other end knows about everything below.
    known_below: u64,
    /// Inbound loss rate, in 2^-32.
    loss: u32,
}

impl Received {
    /// Whether `number` has to be dropped.
    pub(super) fn stale(&self, number: u64) -> Option<Stale> {
        if number < self.edge {
            Some(Stale::Old)
        } else if self.numbers.contains(number) {
            Some(Stale::Duplicate)
        } else {
            None
        }
    }

    /// Notes an authentic packet that is not stale. True if it is the highest one so far: only such a packet is a
    /// sign of life.
    pub(super) fn note(&mut self, now: Instant, number: u64) -> bool {
        let newest = number >= self.next;
        if newest {
            self.measure_loss(number - self.next);
            if number > self.next {
                self.urgent |= self.next > 0;
            }
            self.next = number + 1;
            self.largest_at = now;
        } else {
            // A late packet fills a gap: the sender wants to know that nothing is lost.
            self.urgent = true;
            self.loss = self.loss.saturating_sub(u32::MAX >> LOSS_SHIFT);
        }
        self.numbers.insert(number..number + 1, |_| ());
        self.edge = self.edge.max(self.next.saturating_sub(WINDOW));
        while self.numbers.len() > RANGES_MAX {
            self.edge = self.numbers.pop_first().map_or(self.edge, |end| self.edge.max(end));
        }
        self.numbers.remove_below(self.edge);
        self.unreported = true;
        newest
    }

    fn measure_loss(&mut self, missing: u64) {
        let step = |rate: u32| rate - (rate >> LOSS_SHIFT);
        if missing <= LOSS_JUMP_MAX {
            for _ in 0..missing {
                self.loss = step(self.loss) + (u32::MAX >> LOSS_SHIFT);
            }
        }
        self.loss = step(self.loss);
    }

    /// The inbound loss rate, in parts per million.
    pub(super) fn loss_ppm(&self) -> u32 {
        ((u64::from(self.loss) * 1_000_000) >> 32) as u32
    }

    /// Goes on with the estimate of an earlier association over the same path.
    pub(super) const fn inherit_loss(&mut self, earlier: &Self) {
        self.loss = earlier.loss;
    }

    /// The packet just noted asks for an acknowledgement, at once if `immediate`.
    pub(super) fn elicit(&mut self, now: Instant, immediate: bool, rtt: &Rtt) {
        self.eliciting += 1;
        self.urgent |= immediate;
        self.due.get_or_insert(now + rtt.ack_delay());
    }

    /// Whether a datagram has to go out only to acknowledge.
    pub(super) fn wants_datagram(&self, now: Instant) -> bool {
        self.eliciting > 0
            && (self.urgent || self.eliciting >= ELICITING_MAX || self.due.is_some_and(|due| due <= now))
    }

    /// Whether a datagram that goes out anyway should acknowledge.
    pub(super) const fn has_news(&self) -> bool {
        self.unreported
    }

    /// When [`Received::wants_datagram`] turns true by itself.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Highest number received plus 1.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// How long the highest packet has waited for its acknowledgement, in microseconds.
    pub(super) fn delay_us(&self, now: Instant) -> u64 {
        now.saturating_since(self.largest_at).as_micros() as u64
    }

    /// What to acknowledge, highest range first, down to what the other end knows.
    pub(super) fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        let known = self.known_below;
        self.numbers
            .iter()
            .rev()
            .enumerate()
            .take_while(move |(at, range)| *at == 0 || range.end > known)
            .map(|(_, range)| range.start..=range.end - 1)
    }

    /// An acknowledgement was put into a datagram.
    pub(super) fn on_reported(&mut self) {
        self.unreported = false;
        self.eliciting = 0;
        self.urgent = false;
        self.due = None;
    }

    /// The other end has an acknowledgement of everything received below `below`.
    pub(super) fn on_known(&mut self, below: u64) {
        self.known_below = self.known_below.max(below);
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.numbers.memory()
    }

    /// Gives back memory that a busier time needed.
    pub(super) fn tidy(&mut self) {
        while self.numbers.len() > RANGES_IDLE_MAX {
            self.edge = self.numbers.pop_first().map_or(self.edge, |end| self.edge.max(end));
        }
        self.numbers.shrink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn noted(numbers: impl IntoIterator<Item = u64>) -> Received {
        let mut received = Received::default();
        for number in numbers {
            assert_eq!(received.stale(number), None, "{number}");
            received.note(Instant::ZERO, number);
        }
        received
    }

    #[test]
    fn a_packet_counts_once_and_not_from_below_the_window() {
        let received = noted([0, 1, 5, 3, 20_000]);
        for (number, expected) in [
            (3, Some(Stale::Old)),
            (4, Some(Stale::Old)),
            (20_000, Some(Stale::Duplicate)),
            (20_001 - WINDOW - 1, Some(Stale::Old)),
            (20_001 - WINDOW, None),
            (19_999, None),
        ] {
            assert_eq!(received.stale(number), expected, "{number}");
        }
    }

    #[test]
    fn only_the_highest_packet_is_a_sign_of_life() {
        let mut received = noted([4]);
        assert!(!received.note(Instant::ZERO, 3));
        assert!(received.note(Instant::ZERO, 5));
    }

    #[test]
    fn gaps_are_bounded() {
        let received = noted((0..2 * RANGES_MAX as u64).map(|at| 2 * at));
        assert_eq!(received.numbers.len(), RANGES_MAX);
        assert_eq!(received.stale(1), Some(Stale::Old));
        assert_eq!(received.stale(2 * RANGES_MAX as u64 + 1), None);
    }

    #[test]
    fn two_packets_or_a_gap_make_an_acknowledgement_and_one_waits() {
        let (now, rtt) = (Instant::ZERO, Rtt::default());
        let mut received = noted([0]);
        received.elicit(now, false, &rtt);
        assert!(!received.wants_datagram(now) && received.has_news());
        assert!(received.wants_datagram(now + Duration::from_millis(5)));
        received.note(now, 1);
        received.elicit(now, false, &rtt);
        assert!(received.wants_datagram(now));
        received.on_reported();
        assert!(!received.wants_datagram(now + Duration::from_secs(1)) && !received.has_news());
        received.note(now, 3);
        received.elicit(now, false, &rtt);
        assert!(received.wants_datagram(now), "a gap");
        assert_eq!(received.ranges().collect::<Vec<_>>(), [3..=3, 0..=1]);
        received.on_known(3);
        assert_eq!(received.ranges().collect::<Vec<_>>(), [3..=3]);
    }

    #[test]
    fn loss_is_measured_from_gaps_and_silence_does_not_raise_it() {
        let received = noted((0..10_000).filter(|number| number % 10 != 3));
        assert!((80_000..120_000).contains(&received.loss_ppm()), "{}", received.loss_ppm());
        let received = noted([0, 1, 2, 1_000_000]);
        assert_eq!(received.loss_ppm(), 0);
    }
}
