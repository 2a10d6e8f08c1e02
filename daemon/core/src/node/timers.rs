//! One deadline for everything that waits.

use std::collections::{BTreeMap, BTreeSet};

use haystack_wire::Instant;
use haystack_wire::ids::GroupId;

/// Groups' deadlines are rounded up to this grid, in nanoseconds, so that groups wake together and their
/// heartbeats share datagrams. Ten milliseconds are little beside an election round of a hundred.
const GROUP_GRID: u64 = 10_000_000;

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Retransmissions, acknowledgements, handshakes.
    Links,
    /// A founding that is not settled.
    Founding,
    /// Elections, rounds and transfers of a group.
    Group(GroupId),
    /// The partition map may be behind.
    Map,
    /// Processes that share no group with this one hear from it now and then.
    SignOfLife,
    /// Gossip, probes, suspicions.
    Members,
    /// The failure detector.
    Detector,
    /// The coordinator looks after nodes.
    Office,
    /// A status that waits for reports.
    Gather,
    /// A stop that waits for others to take over.
    Stop,
}

/// Deadlines by source: one each.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Source, Instant>,
    order: BTreeSet<(Instant, Source)>,
}

impl Timers {
    /// Sets the deadline of `source`, or removes it.
    pub(super) fn set(&mut self, source: Source, at: Option<Instant>) {
        let at = match source {
            Source::Group(_) => at.map(|at| Instant::from_nanos(at.as_nanos().next_multiple_of(GROUP_GRID))),
            _ => at,
        };
        if self.at.get(&source).copied() == at {
            return;
        }
        let before = match at {
            Some(at) => self.at.insert(source, at),
            None => self.at.remove(&source),
        };
        if let Some(before) = before {
            self.order.remove(&(before, source));
        }
        if let Some(at) = at {
            self.order.insert((at, source));
        }
    }

    /// Takes out one source that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Source> {
        let (at, source) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.order.pop_first();
        self.at.remove(&source);
        Some(source)
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<(Instant, Source)> {
        self.order.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(Source::Links, Some(Instant::from_nanos(7)));
        timers.set(Source::Map, Some(Instant::from_nanos(5)));
        timers.set(Source::Links, Some(Instant::from_nanos(9)));
        assert_eq!(timers.next(), Some((Instant::from_nanos(5), Source::Map)));
        assert_eq!(timers.due(Instant::from_nanos(4)), None);
        assert_eq!(timers.due(Instant::from_nanos(9)), Some(Source::Map));
        assert_eq!(timers.due(Instant::from_nanos(9)), Some(Source::Links));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn groups_wake_together_and_never_early() {
        let mut timers = Timers::default();
        timers.set(Source::Group(GroupId(1)), Some(Instant::from_nanos(1)));
        timers.set(Source::Group(GroupId(2)), Some(Instant::from_nanos(GROUP_GRID)));
        assert_eq!(timers.due(Instant::from_nanos(GROUP_GRID - 1)), None);
        assert!(timers.due(Instant::from_nanos(GROUP_GRID)).is_some());
        assert!(timers.due(Instant::from_nanos(GROUP_GRID)).is_some());
    }
}
