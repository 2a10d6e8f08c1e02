//! What is due when.

use std::collections::BTreeSet;

use haystack_wire::Instant;
use haystack_wire::ids::NodeId;

/// Something that is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Probe,
    Gossip,
    Digest,
    Resync,
    Ask,
    Join,
    Names,
    Leave,
    Flight(u64),
    Suspicion(NodeId),
}

impl Timer {
    /// Whether it judges others by their silence.
    fn judges(self) -> bool {
        matches!(self, Self::Flight(_) | Self::Suspicion(_))
    }
}

#[derive(Default)]
pub(super) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    pub(super) fn first(&self) -> Option<Instant> {
        self.0.first().map(|(due, _)| *due)
    }

    pub(super) fn set(&mut self, due: Instant, timer: Timer) {
        self.0.insert((due, timer));
    }

    pub(super) fn cancel(&mut self, due: Instant, timer: Timer) {
        self.0.remove(&(due, timer));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn due(&mut self, now: Instant) -> Option<Timer> {
        if self.first()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }

    /// After this process stood still: what others may have said meanwhile is not read yet, so all judgements wait
    /// for as long as it stood. Gives the new times of suspicions.
    pub(super) fn postpone(&mut self, by: core::time::Duration) -> Vec<(NodeId, Instant)> {
        let (judging, rest): (BTreeSet<_>, _) = self.0.iter().copied().partition(|(_, timer)| timer.judges());
        self.0 = rest;
        let mut suspicions = Vec::new();
        for (due, timer) in judging {
            self.set(due + by, timer);
            if let Timer::Suspicion(node) = timer {
                suspicions.push((node, due + by));
            }
        }
        suspicions
    }
}
