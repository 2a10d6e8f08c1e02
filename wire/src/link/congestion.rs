//! Congestion control: how many bytes may be in flight.

use core::fmt::Debug;

use crate::time::{Duration, Instant};

/// What one acknowledgement taught about the path.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "NewReno needs less than the controllers that come behind the same trait")]
pub(super) struct AckSample {
    /// When it came.
    pub(super) now: Instant,
    /// Bytes that it took out of flight.
    pub(super) acked: u64,
    /// Bytes in flight before it came.
    pub(super) in_flight: u64,
    /// When the newest packet acknowledged was sent.
    pub(super) largest_sent_at: Instant,
    /// Whether that packet was sent while there was nothing more to send, so that it says little about the path.
    pub(super) app_limited: bool,
    /// Bytes per second delivered between that packet's sending and now, where both ends of the interval are known.
    pub(super) delivery_rate: Option<u64>,
    /// The shortest round trip seen.
    pub(super) min_rtt: Option<Duration>,
}

/// Decides how many bytes may be in flight on one path.
pub(super) trait Controller: Debug + Send {
    /// Bytes that may be in flight.
    fn window(&self) -> u64;
    /// New packets were acknowledged.
    fn on_ack(&mut self, sample: &AckSample);
    /// Packets were lost, the newest of them sent at `sent_at`. True if the window was reduced for it.
    fn on_loss(&mut self, now: Instant, sent_at: Instant) -> bool;
    /// Nothing came through for several probe timeouts.
    fn on_blackout(&mut self);
    /// Everything that was counted lost since the last reduction had arrived after all.
    fn on_spurious(&mut self);
}

/// NewReno as in RFC 9002, section 7, with the window restored when a loss proves spurious.
#[derive(Debug)]
pub(super) struct NewReno {
    packet: u64,
    window: u64,
    threshold: u64,
    /// Losses of packets sent before this are the same event.
    recovery_since: Option<Instant>,
    /// Window and threshold before the last reduction.
    before: Option<(u64, u64)>,
    /// Bytes acknowledged towards the next packet of growth, in congestion avoidance.
    counted: u64,
}

impl NewReno {
    /// `packet` is the largest datagram of the path, in bytes.
    pub(super) fn new(packet: usize) -> Self {
        let packet = packet as u64;
        // RFC 9002, section 7.2.
        let window = (10 * packet).min((2 * packet).max(14_720)).max(10 * packet);
        Self { packet, window, threshold: u64::MAX, recovery_since: None, before: None, counted: 0 }
    }

    fn minimum(&self) -> u64 {
        2 * self.packet
    }
}

impl Controller for NewReno {
    fn window(&self) -> u64 {
        self.window
    }

    fn on_ack(&mut self, sample: &AckSample) {
        if self.recovery_since.is_some_and(|since| sample.largest_sent_at <= since) || sample.app_limited {
            return;
        }
        if self.window < self.threshold {
            self.window += sample.acked;
            return;
        }
        self.counted += sample.acked;
        if self.counted >= self.window {
            self.counted -= self.window;
            self.window += self.packet;
        }
    }

    fn on_loss(&mut self, now: Instant, sent_at: Instant) -> bool {
        if self.recovery_since.is_some_and(|since| sent_at <= since) {
            return false;
        }
        self.before = Some((self.window, self.threshold));
        self.recovery_since = Some(now);
        self.window = (self.window / 2).max(self.minimum());
        self.threshold = self.window;
        self.counted = 0;
        true
    }

    fn on_blackout(&mut self) {
        if self.window > self.minimum() {
            self.before = Some((self.window, self.threshold));
            self.threshold = (self.window / 2).max(self.minimum());
            self.window = self.minimum();
            self.counted = 0;
        }
    }

    fn on_spurious(&mut self) {
        if let Some((window, threshold)) = self.before.take() {
            self.window = self.window.max(window);
            self.threshold = self.threshold.max(threshold);
            self.recovery_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(sent_ms: u64, bytes: u64) -> AckSample {
        AckSample {
            now: Instant::ZERO + Duration::from_millis(sent_ms + 10),
            acked: bytes,
            in_flight: bytes,
            largest_sent_at: Instant::ZERO + Duration::from_millis(sent_ms),
            app_limited: false,
            delivery_rate: None,
            min_rtt: None,
        }
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn section_7_3_of_rfc_9002() {
        let mut reno = NewReno::new(1200);
        assert_eq!(reno.window(), 12_000);
        reno.on_ack(&acked(1, 6000));
        assert_eq!(reno.window(), 18_000, "slow start");
        reno.on_ack(&AckSample { app_limited: true, ..acked(2, 6000) });
        assert_eq!(reno.window(), 18_000, "unused room proves nothing");
        assert!(reno.on_loss(at(20), at(10)));
        assert!(!reno.on_loss(at(21), at(15)), "sent before the reduction: the same event");
        assert_eq!(reno.window(), 9000);
        reno.on_ack(&acked(19, 9000));
        assert_eq!(reno.window(), 9000, "no growth in recovery");
        reno.on_ack(&acked(30, 9000));
        assert_eq!(reno.window(), 10_200, "a packet per window");
        (0..9).for_each(|round| assert!(reno.on_loss(at(100 + 2 * round), at(99 + 2 * round)), "{round}"));
        assert_eq!(reno.window(), 2400);
    }

    #[test]
    fn spurious_losses_and_blackouts_are_undone() {
        let mut reno = NewReno::new(1200);
        reno.on_ack(&acked(1, 100_000));
        reno.on_loss(at(20), at(10));
        reno.on_spurious();
        assert_eq!(reno.window(), 112_000);
        reno.on_blackout();
        reno.on_blackout();
        assert_eq!(reno.window(), 2400);
        reno.on_spurious();
        assert_eq!(reno.window(), 112_000);
        reno.on_spurious();
        assert_eq!(reno.window(), 112_000);
    }
}
