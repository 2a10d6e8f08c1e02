//! What was sent and not heard of yet: acknowledgements, loss and probes (RFC 9002).
//!
//! Packet numbers are dense, so sent packets live in a ring indexed by number, and what each carried in a second
//! ring beside it: no allocation per packet. Both loss conditions (overtaken by [`Sent::threshold`] packets, or by
//! time) hold for an older packet if they hold for a newer one, so a single cursor over the ring finds the lost ones,
//! each packet looked at once.
//!
//! A packet that was declared lost stays for a while: if its acknowledgement comes after all, the loss was
//! spurious, the reordering threshold grows and the congestion window is restored.

use core::ops::{Range, RangeInclusive};
use std::collections::VecDeque;

use super::ranges::RangeSet;
use super::rtt::{GRANULARITY, Rtt};
use super::send::Run;
use crate::time::{Duration, Instant};

/// Reordering that is taken for granted, in packets (RFC 9002, section 6.1.1).
const THRESHOLD_INITIAL: u64 = 3;
/// The most it adapts to (judgement: half of a large window; the time threshold finds losses that this hides).
const THRESHOLD_MAX: u64 = 512;
/// Packets remembered at most, equal to the receiver's packet window (LINKS, perfect links, 2). A path that swallows
/// everything never gets there: see [`Sent::on_probe_timeout`].
pub(super) const TRACKED_MAX: usize = 16_384;
/// Packets that nobody waits for (lost, or not worth an acknowledgement) remembered at most, while they are young: the
/// acknowledgement of a lost one may still come (judgement: a window of them).
const SETTLED_MAX: usize = 1024;
/// The same for old ones, and for an idle link.
const SETTLED_OLD_MAX: usize = 64;
/// Lost packets are forgotten after this; later than the assumed longest delay changes nothing (LINKS, EPFD).
const LOST_KEPT: Duration = Duration::from_secs(10);
/// From this many probe timeouts in a row on, everything in flight is taken for lost. Memory stays bounded on a
/// dead path, and what is sent when it heals is not held up by ghosts (RFC 9002, section 7.6: persistent congestion).
const BLACKOUT_TIMEOUTS: u32 = 3;
/// Backoff of probes ends here (LINKS, loss and rate: a healed partition flows again within about a second).
const BACKOFF_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Counted in flight, an acknowledgement is owed.
    InFlight,
    /// Nothing of it needs to arrive.
    Passive,
    Acked,
    /// Overtaken by so many others, or for so long, that it is lost.
    Lost,
    /// Sent again since nothing at all was heard. That says nothing about the order of packets.
    Presumed,
}

/// One packet that was sent.
#[derive(Clone, Copy, Debug)]
struct Packet {
    sent_at: Instant,
    bytes: u32,
    /// Place of its runs, counted from the first run ever.
    first_run: u64,
    runs: u16,
    state: State,
    app_limited: bool,
    /// Highest packet number acknowledged in it, plus 1.
    acknowledges: u64,
    /// [`Sent::delivered`] when it was sent, and when that was reached.
    delivered: u64,
    delivered_at: Instant,
}

/// What a packet is, for [`Sent::push`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    /// Its size.
    pub(super) bytes: usize,
    /// Whether an acknowledgement is owed; only such packets count as in flight.
    pub(super) eliciting: bool,
    /// Highest packet number acknowledged in it, plus 1; 0 for none.
    pub(super) acknowledges: u64,
}

/// What an acknowledgement came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Acked {
    /// Bytes taken out of flight.
    pub(super) bytes: u64,
    /// Sending time and flags of the newest packet among those newly acknowledged and in flight until now.
    pub(super) newest: Option<Newest>,
    /// Round trip of the largest number, if it was newly acknowledged, and whether an acknowledgement was owed for it:
    /// else it came when there was occasion, and its delay is no sign of the path.
    pub(super) rtt: Option<(Duration, bool)>,
    /// Packets that were taken for lost, and are not.
    pub(super) spurious: u64,
    /// The other end has the acknowledgements of everything below this.
    pub(super) acknowledged_below: u64,
}

/// The newest packet of an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest {
    pub(super) sent_at: Instant,
    pub(super) app_limited: bool,
    pub(super) delivery_rate: Option<u64>,
}

/// Packets that were lost at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lost {
    /// How many packets.
    pub(super) packets: u64,
    /// When the newest of them was sent.
    pub(super) newest: Option<Instant>,
}

/// An acknowledgement of a packet that was never sent: the other end is broken or lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NeverSent;

/// All packets of one association that may still be heard of.
#[derive(Debug)]
pub(super) struct Sent {
    /// Number of the packet at the front of the ring.
    base: u64,
    packets: VecDeque<Packet>,
    runs: VecDeque<Run>,
    /// How many runs were taken off the front of `runs`.
    runs_base: u64,
    /// Numbers from `base` on that were acknowledged.
    acked: RangeSet,
    /// Everything below is settled: acknowledged, lost or passive.
    cursor: u64,
    largest_acked: Option<u64>,
    threshold: u64,
    /// How long a packet took that was taken for lost and was not.
    patience: Duration,
    /// Lost packets of which none has proven spurious yet, since the last reduction of the window.
    lost_unproven: u64,
    in_flight: u64,
    eliciting_in_flight: u64,
    last_eliciting: Instant,
    loss_at: Option<Instant>,
    timeouts: u32,
    delivered: u64,
    delivered_at: Instant,
    /// While `delivered` is below this, packets count as sent by a sender with nothing more to say.
    app_limited_until: u64,
}

impl Sent {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            base: 0,
            packets: VecDeque::new(),
            runs: VecDeque::new(),
            runs_base: 0,
            acked: RangeSet::default(),
            cursor: 0,
            largest_acked: None,
            threshold: THRESHOLD_INITIAL,
            patience: Duration::ZERO,
            lost_unproven: 0,
            in_flight: 0,
            eliciting_in_flight: 0,
            last_eliciting: now,
            loss_at: None,
            timeouts: 0,
            delivered: 0,
            delivered_at: now,
            app_limited_until: 0,
        }
    }

    /// The number of the next packet.
    pub(super) fn next(&self) -> u64 {
        self.base + self.packets.len() as u64
    }

    /// Whether one more packet can be remembered.
    pub(super) fn has_room(&self) -> bool {
        self.packets.len() < TRACKED_MAX
            || self.packets.front().is_some_and(|first| first.state != State::InFlight)
    }

    /// Bytes in flight.
    pub(super) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Whether an acknowledgement is owed to us.
    pub(super) const fn awaits(&self) -> bool {
        self.eliciting_in_flight > 0
    }

    /// There is nothing more to send though the window is open: what is measured now says nothing of the path.
    pub(super) const fn set_app_limited(&mut self) {
        self.app_limited_until = self.delivered + self.in_flight + 1;
    }

    /// Notes the packet [`Sent::next`], which carried `runs`, as sent.
    pub(super) fn push(&mut self, now: Instant, packet: Outgoing, runs: &[Run]) {
        while let Some(first) = self.packets.front()
            && first.state != State::InFlight
            && (self.packets.len() >= SETTLED_MAX
                || self.packets.len() >= SETTLED_OLD_MAX && first.sent_at + LOST_KEPT < now)
        {
            self.pop_front();
        }
        if self.in_flight == 0 {
            // An idle time must not count into the rate of what follows it.
            self.delivered_at = now;
        }
        let state = if packet.eliciting { State::InFlight } else { State::Passive };
        if packet.eliciting {
            self.in_flight += packet.bytes as u64;
            self.eliciting_in_flight += 1;
            self.last_eliciting = now;
        }
        let first_run = self.runs_base + self.runs.len() as u64;
        self.runs.extend(runs);
        self.packets.push_back(Packet {
            sent_at: now,
            bytes: packet.bytes as u32,
            first_run,
            runs: runs.len() as u16,
            state,
            app_limited: self.delivered < self.app_limited_until,
            acknowledges: packet.acknowledges,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
        });
    }

    /// Takes the ranges of an ACK in; `arrived` is called with every run that is now known to have arrived.
    ///
    /// # Errors
    /// If it acknowledges what was never sent. Nothing has changed then.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        largest: u64,
        ranges: impl Iterator<Item = RangeInclusive<u64>>,
        mut arrived: impl FnMut(&Run),
    ) -> Result<Acked, NeverSent> {
        if largest >= self.next() {
            return Err(NeverSent);
        }
        let mut result = Acked::default();
        let before = self.delivered;
        let newest = largest.checked_sub(self.base).filter(|_| self.largest_acked < Some(largest));
        if let Some(at) = newest {
            let packet = &self.packets[at as usize];
            result.rtt = Some((now.saturating_since(packet.sent_at), packet.state != State::Passive));
        }
        let mut acked = core::mem::take(&mut self.acked);
        for range in ranges {
            let range = (*range.start()).max(self.base)..*range.end() + 1;
            acked.insert(range, |fresh| self.on_acked(now, fresh, &mut result, &mut arrived));
        }
        self.acked = acked;
        self.largest_acked = self.largest_acked.max(Some(largest));
        if self.delivered > before || result.spurious > 0 {
            self.timeouts = 0;
        }
        self.retire(now);
        Ok(result)
    }

    /// The packets `fresh` are newly acknowledged.
    fn on_acked(
        &mut self,
        now: Instant,
        fresh: Range<u64>,
        result: &mut Acked,
        arrived: &mut impl FnMut(&Run),
    ) {
        for number in fresh {
            let at = (number - self.base) as usize;
            let packet = &mut self.packets[at];
            let state = core::mem::replace(&mut packet.state, State::Acked);
            result.acknowledged_below = result.acknowledged_below.max(packet.acknowledges);
            match state {
                State::InFlight => {
                    self.in_flight -= u64::from(packet.bytes);
                    self.eliciting_in_flight -= 1;
                    result.bytes += u64::from(packet.bytes);
                    self.delivered += u64::from(packet.bytes);
                    self.delivered_at = now;
                    let span = now.saturating_since(packet.delivered_at).as_nanos() as u64;
                    let rate = u128::from(self.delivered - packet.delivered) * 1_000_000_000;
                    result.newest = Some(Newest {
                        sent_at: packet.sent_at,
                        app_limited: packet.app_limited,
                        delivery_rate: (span > 0).then(|| (rate / u128::from(span.max(1))) as u64),
                    });
                }
                State::Lost | State::Presumed => {
                    result.spurious += 1;
                    self.delivered += u64::from(packet.bytes);
                    self.delivered_at = now;
                    if state == State::Lost {
                        let largest = self.largest_acked.unwrap_or_default();
                        let overtaken = largest.saturating_sub(number);
                        // Doubled, since a growing window is overtaken by more.
                        self.threshold = (self.threshold * 2).max(overtaken + 1).min(THRESHOLD_MAX);
                        self.patience = self.patience.max(now.saturating_since(packet.sent_at));
                    }
                }
                State::Passive => {}
                State::Acked => continue,
            }
            let runs = self.runs_of(at);
            self.runs.range(runs).for_each(&mut *arrived);
        }
    }

    fn runs_of(&self, at: usize) -> Range<usize> {
        let packet = &self.packets[at];
        let first = (packet.first_run - self.runs_base) as usize;
        first..first + usize::from(packet.runs)
    }

    /// Finds what is lost by now and calls `missing` with every run of it; sets the time of the next look.
    pub(super) fn detect_loss(&mut self, now: Instant, rtt: &Rtt, mut missing: impl FnMut(&Run)) -> Lost {
        let mut lost = Lost::default();
        self.loss_at = None;
        let Some(largest) = self.largest_acked else { return lost };
        // As with the packet threshold, what proved too impatient once is not repeated, up to a second round trip.
        let delay = rtt.loss_delay().max(self.patience.min(2 * rtt.smoothed()));
        while self.cursor < largest {
            let at = (self.cursor - self.base) as usize;
            let packet = self.packets[at];
            if packet.state == State::InFlight {
                let due = packet.sent_at + delay;
                if largest - self.cursor < self.threshold && due > now {
                    self.loss_at = Some(due);
                    break;
                }
                self.lose(at, State::Lost, &mut lost, &mut missing);
            }
            self.cursor += 1;
        }
        self.lost_unproven += lost.packets;
        lost
    }

    fn lose(&mut self, at: usize, state: State, lost: &mut Lost, missing: &mut impl FnMut(&Run)) {
        let packet = &mut self.packets[at];
        packet.state = state;
        self.in_flight -= u64::from(packet.bytes);
        self.eliciting_in_flight -= 1;
        lost.packets += 1;
        lost.newest = Some(packet.sent_at);
        let runs = self.runs_of(at);
        self.runs.range(runs).for_each(missing);
    }

    /// No acknowledgement came within the probe timeout. The oldest packets are taken for lost, so that probes carry
    /// what they carried; after [`BLACKOUT_TIMEOUTS`] in a row, all are. Not a sign of congestion.
    pub(super) fn on_probe_timeout(&mut self, mut missing: impl FnMut(&Run)) -> Lost {
        /// Probes per timeout (LINKS, loss and rate).
        const PROBES: u64 = 2;
        self.timeouts = self.timeouts.saturating_add(1);
        let limit = if self.timeouts >= BLACKOUT_TIMEOUTS { u64::MAX } else { PROBES };
        let mut lost = Lost::default();
        while self.cursor < self.next() && lost.packets < limit {
            let at = (self.cursor - self.base) as usize;
            if self.packets[at].state == State::InFlight {
                self.lose(at, State::Presumed, &mut lost, &mut missing);
            }
            self.cursor += 1;
        }
        self.lost_unproven += lost.packets;
        self.loss_at = None;
        lost
    }

    /// Whether the path has swallowed everything for so long that its state is unknown.
    pub(super) const fn is_blackout(&self) -> bool {
        self.timeouts >= BLACKOUT_TIMEOUTS
    }

    /// Counts `spurious` packets against the lost ones; true once none of them was really lost.
    pub(super) const fn all_spurious(&mut self, spurious: u64) -> bool {
        let before = self.lost_unproven;
        self.lost_unproven = before.saturating_sub(spurious);
        before > 0 && self.lost_unproven == 0
    }

    /// A new reduction of the window begins: only its own losses can undo it.
    pub(super) const fn begin_recovery(&mut self, lost: u64) {
        self.lost_unproven = lost;
    }

    /// When [`Sent::detect_loss`] has something to find.
    pub(super) const fn loss_at(&self) -> Option<Instant> {
        self.loss_at
    }

    /// When to probe (RFC 9002, section 6.2).
    pub(super) fn probe_at(&self, rtt: &Rtt) -> Option<Instant> {
        self.awaits().then(|| self.last_eliciting + self.backed_off(rtt))
    }

    /// The probe timeout with its backoff.
    pub(super) fn backed_off(&self, rtt: &Rtt) -> Duration {
        let base = rtt.probe_timeout().max(GRANULARITY);
        (base * (1u32 << self.timeouts.min(16))).min(BACKOFF_MAX.max(base))
    }

    /// Takes everything in flight for lost: the association ends.
    pub(super) fn lose_all(&mut self, mut missing: impl FnMut(&Run)) {
        let mut lost = Lost::default();
        for at in 0..self.packets.len() {
            if self.packets[at].state == State::InFlight {
                self.lose(at, State::Lost, &mut lost, &mut missing);
            }
        }
        self.cursor = self.next();
    }

    /// Forgets packets at the front of which nothing more can be learned.
    fn retire(&mut self, now: Instant) {
        while let Some(packet) = self.packets.front() {
            let settled = match packet.state {
                State::Acked => true,
                State::InFlight => false,
                State::Lost | State::Presumed => packet.sent_at + LOST_KEPT < now,
                State::Passive => {
                    packet.sent_at + LOST_KEPT < now || self.largest_acked > Some(self.base + self.threshold)
                }
            };
            if !settled {
                return;
            }
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(packet) = self.packets.pop_front() {
            self.base += 1;
            self.cursor = self.cursor.max(self.base);
            self.runs.drain(..usize::from(packet.runs));
            self.runs_base += u64::from(packet.runs);
            self.acked.remove_below(self.base);
        }
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.packets.capacity() * size_of::<Packet>()
            + self.runs.capacity() * size_of::<Run>()
            + self.acked.memory()
    }

    /// Gives back memory that a busier time needed.
    pub(super) fn tidy(&mut self) {
        let settled = |packet: &Packet| packet.state != State::InFlight;
        while self.packets.front().is_some_and(settled) {
            self.pop_front();
        }
        self.packets.shrink_to(0);
        self.runs.shrink_to(0);
        self.acked.shrink();
    }
}

#[cfg(test)]
mod tests;
