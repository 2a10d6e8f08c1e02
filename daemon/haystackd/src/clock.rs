//! The only place that reads a clock.

use haystack_wire::Instant;

/// The driver's monotonic clock, from an origin of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock whose origin is now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver is where time comes from; all else is handed instants"
    )]
    pub(crate) fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// Now, in whole nanoseconds since the origin (wraps after 584 years).
    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }
}
