//! When to send something again that was not answered, with the round-trip time unknown.

use std::time::Duration;

use haystack_wire::Instant;

use super::types::Limits;

/// One timer that doubles its pause while nothing comes back. A pause that proved too short stays doubled as long
/// as answers keep coming after it fired, so that a long round trip does not mean a repetition per round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    at: Option<Instant>,
    pause: Duration,
    fired: bool,
}

impl Retry {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self { at: None, pause: limits.retry_min, fired: false }
    }

    /// Something is on its way: starts the timer unless it runs.
    pub(super) fn arm(&mut self, now: Instant) {
        self.at.get_or_insert(now + self.pause);
    }

    /// An answer came: starts anew if something is still `outstanding`, else rests.
    pub(super) fn answered(&mut self, now: Instant, limits: &Limits, outstanding: bool) {
        if !self.fired || !outstanding {
            self.pause = limits.retry_min;
        }
        self.fired = false;
        self.at = outstanding.then(|| now + self.pause);
    }

    /// Whether it is time to send again; if so, the next pause is longer.
    pub(super) fn fire(&mut self, now: Instant, limits: &Limits) -> bool {
        if self.at.is_none_or(|at| at > now) {
            return false;
        }
        self.pause = (self.pause * 2).min(limits.retry_max);
        self.fired = true;
        self.at = Some(now + self.pause);
        true
    }

    /// Makes the next `fire` say yes: it is known that something was lost.
    pub(super) const fn hasten(&mut self, now: Instant) {
        self.at = Some(now);
    }

    pub(super) const fn at(&self) -> Option<Instant> {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_recovers() {
        let limits = Limits::default();
        let mut retry = Retry::new(&limits);
        assert!(!retry.fire(Instant::ZERO, &limits), "nothing is on its way");
        retry.arm(Instant::ZERO);
        let mut fired = Vec::new();
        for millis in 0..4000 {
            let now = Instant::ZERO + Duration::from_millis(millis);
            if retry.fire(now, &limits) {
                fired.push(millis);
            }
        }
        assert_eq!(fired, [100, 300, 700, 1500, 2500, 3500]);
        let now = Instant::ZERO + Duration::from_secs(4);
        retry.answered(now, &limits, true);
        assert_eq!(retry.at(), Some(now + limits.retry_max), "answers after repetitions keep the long pause");
        retry.answered(now, &limits, true);
        assert_eq!(retry.at(), Some(now + limits.retry_min));
        retry.answered(now, &limits, false);
        assert_eq!(retry.at(), None);
    }
}
