//! Counters, and how long answers take.

use std::time::Duration;

/// What happened, since the client was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Operations and admin requests begun.
    pub submitted: u64,
    /// Of those, refused because too many were under way.
    pub busy: u64,
    /// Requests sent, sessions and repetitions included.
    pub attempts: u64,
    /// Attempts made because an earlier one had no answer in time.
    pub retries: u64,
    /// Refusals that were followed by another attempt.
    pub refusals: u64,
    /// Answers to attempts of operations that had ended.
    pub late: u64,
    /// Writes that ended with an unknown outcome.
    pub unknown: u64,
    /// Sessions opened.
    pub sessions: u64,
    /// Sessions given up because of writes of unknown outcome.
    pub sessions_stuck: u64,
    /// Sessions that a group was asked to end, as they were not needed any more.
    pub sessions_closed: u64,
    /// Sessions that expired.
    pub sessions_expired: u64,
    /// Times that a link took no more bytes.
    pub blocked: u64,
    /// Messages that mean nothing here; dropped.
    pub malformed: u64,
    /// Maps of another cluster than the one that the client works with; dropped.
    pub foreign_maps: u64,
    /// Times that a process took the address of another.
    pub replaced: u64,
}

impl Stats {
    /// The counters by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("submitted", self.submitted),
            ("busy", self.busy),
            ("attempts", self.attempts),
            ("retries", self.retries),
            ("refusals", self.refusals),
            ("late", self.late),
            ("unknown", self.unknown),
            ("sessions", self.sessions),
            ("sessions_stuck", self.sessions_stuck),
            ("sessions_closed", self.sessions_closed),
            ("sessions_expired", self.sessions_expired),
            ("blocked", self.blocked),
            ("malformed", self.malformed),
            ("foreign_maps", self.foreign_maps),
            ("replaced", self.replaced),
        ]
        .into_iter()
    }
}

/// Smoothed time from a request to its answer, by the formulas of RFC 6298 (section 2) and from operations that were
/// sent once (Karn), so that a loaded cluster is not loaded further by repetitions.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerTime {
    smoothed: Duration,
    variation: Duration,
}

impl AnswerTime {
    /// The smoothed time; zero before the first answer.
    pub const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// How long an answer may well take.
    pub fn bound(&self) -> Duration {
        self.smoothed + self.variation * 4
    }

    pub(super) fn sample(&mut self, time: Duration) {
        if self.smoothed.is_zero() {
            self.smoothed = time;
            self.variation = time / 2;
        } else {
            let error = self.smoothed.abs_diff(time);
            self.variation = (self.variation * 3 + error) / 4;
            self.smoothed = (self.smoothed * 7 + time) / 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_follows_what_answers_take() {
        let mut time = AnswerTime::default();
        assert_eq!(time.bound(), Duration::ZERO);
        time.sample(Duration::from_millis(100));
        assert_eq!((time.smoothed(), time.bound()), (Duration::from_millis(100), Duration::from_millis(300)));
        (0..200).for_each(|_| time.sample(Duration::from_millis(900)));
        assert!(time.bound() >= Duration::from_millis(890) && time.bound() < Duration::from_secs(1));
    }
}
