//! Monotonic time as an argument.

use core::ops::{Add, AddAssign, Sub};
pub use std::time::Duration;

/// A point in monotonic time, in nanoseconds since an origin that only the driver knows.
///
/// The core never reads a clock: every instant it holds was handed to it by its driver, so that the
/// simulator can run the same code in virtual time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The driver's origin of time.
    pub const ZERO: Self = Self(0);

    /// The instant `nanos` nanoseconds after the driver's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the driver's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// `Duration` in nanoseconds, saturating after 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_and_never_panics() {
        let start = Instant::from_nanos(5);
        assert_eq!(start + Duration::from_nanos(7), Instant::from_nanos(12));
        assert_eq!(start - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(start - Instant::from_nanos(9), Duration::ZERO);
        assert_eq!(start + Duration::MAX, Instant::from_nanos(u64::MAX));
    }
}
