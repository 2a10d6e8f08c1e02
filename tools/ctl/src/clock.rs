//! The only place that reads a clock.

use std::time::{Duration, Instant, SystemTime};

/// A point in time.
#[expect(clippy::disallowed_methods, reason = "the tool measures what people wait for")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time of day, for what people and programs are told: nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "the daemons tell ages, and people want times")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// A time limit, from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    end: Instant,
}

impl Limit {
    /// A limit that ends so long from now.
    pub(crate) fn of(time: Duration) -> Self {
        Self { end: now() + time }
    }

    /// The same, or one that ends so long from now if that is earlier.
    pub(crate) fn at_most(self, time: Duration) -> Self {
        Self { end: self.end.min(now() + time) }
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_duration_since(now())
    }
}

/// Waits before the cluster is asked again: it tells nothing by itself.
#[expect(clippy::disallowed_methods, reason = "there is no event to wait for, only a state to ask for")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
