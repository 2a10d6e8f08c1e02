//! Round-trip time (RFC 9002, section 5).

use crate::time::Duration;

/// Assumed before the first sample (LINKS, loss and rate).
pub(super) const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Timers are not finer than this (RFC 9002, section 6.1.2).
pub(super) const GRANULARITY: Duration = Duration::from_millis(1);
/// The longest that an acknowledgement is held back on purpose (LINKS, loss and rate).
pub(super) const ACK_DELAY_MAX: Duration = Duration::from_millis(5);

/// The estimate of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rtt {
    sampled: Option<Sampled>,
}

#[derive(Clone, Copy, Debug)]
struct Sampled {
    latest: Duration,
    min: Duration,
    smoothed: Duration,
    variation: Duration,
}

impl Rtt {
    /// Takes a sample; `ack_delay` is what the other end says it held the acknowledgement back.
    pub(super) fn sample(&mut self, latest: Duration, ack_delay: Duration) {
        let Some(known) = &mut self.sampled else {
            self.sampled = Some(Sampled { latest, min: latest, smoothed: latest, variation: latest / 2 });
            return;
        };
        known.latest = latest;
        known.min = known.min.min(latest);
        // The delay is taken off only as far as the sample stays plausible (RFC 9002, section 5.3).
        let adjusted = if latest >= known.min + ack_delay { latest - ack_delay } else { latest };
        let deviation = known.smoothed.abs_diff(adjusted);
        known.variation = known.variation * 3 / 4 + deviation / 4;
        known.smoothed = known.smoothed * 7 / 8 + adjusted / 8;
    }

    /// The smoothed round trip, or [`INITIAL_RTT`].
    pub(super) fn smoothed(&self) -> Duration {
        self.sampled.map_or(INITIAL_RTT, |known| known.smoothed)
    }

    /// How much round trips vary, or half of [`INITIAL_RTT`].
    pub(super) fn variation(&self) -> Duration {
        self.sampled.map_or(INITIAL_RTT / 2, |known| known.variation)
    }

    /// The shortest round trip seen.
    pub(super) fn min(&self) -> Option<Duration> {
        self.sampled.map(|known| known.min)
    }

    /// A packet this much older than one that arrived is lost (RFC 9002, section 6.1.2).
    pub(super) fn loss_delay(&self) -> Duration {
        let rtt = self.sampled.map_or(INITIAL_RTT, |known| known.smoothed.max(known.latest));
        (rtt * 9 / 8).max(GRANULARITY)
    }

    /// The probe timeout before backoff (RFC 9002, section 6.2.1).
    pub(super) fn probe_timeout(&self) -> Duration {
        self.smoothed() + (self.variation() * 4).max(GRANULARITY) + ACK_DELAY_MAX
    }

    /// How long to hold back an acknowledgement in the hope of company.
    pub(super) fn ack_delay(&self) -> Duration {
        (self.smoothed() / 4).clamp(GRANULARITY, ACK_DELAY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn section_5_3_of_rfc_9002() {
        let mut rtt = Rtt::default();
        assert_eq!((rtt.smoothed(), rtt.probe_timeout()), (100 * MS, 305 * MS));
        rtt.sample(80 * MS, 20 * MS);
        assert_eq!((rtt.smoothed(), rtt.variation(), rtt.min()), (80 * MS, 40 * MS, Some(80 * MS)));
        rtt.sample(168 * MS, 8 * MS);
        assert_eq!((rtt.smoothed(), rtt.variation()), (90 * MS, 50 * MS));
        // A claimed delay that would put the sample below the minimum is not believed.
        rtt.sample(90 * MS, 50 * MS);
        assert_eq!(rtt.smoothed(), 90 * MS);
    }
}
