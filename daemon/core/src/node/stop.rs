//! The end of a node that was told to stop, and what it leaves.

use haystack_wire::Instant;

use super::{Event, HAND_OVER_LIMIT, Node, Source};
use crate::group::Group;

/// What is left of a group when one of its replicas stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    /// A majority, also after one more stop.
    Fine,
    /// A majority, but not after one more stop.
    LastMajority,
    /// No majority: what it stored is lost.
    Lost,
}

impl Outlook {
    /// Of a group of `replicas` of which `live` answer, the one that stops included.
    pub(super) const fn of(replicas: usize, live: usize) -> Self {
        let (left, majority) = (live.saturating_sub(1), replicas / 2 + 1);
        if left < majority {
            Self::Lost
        } else if left == majority {
            Self::LastMajority
        } else {
            Self::Fine
        }
    }
}

impl Node {
    /// Says that the process may end, once leadership is handed over or nobody took it in time.
    pub(super) fn check_stopped(&mut self, now: Instant) {
        let Some(since) = self.stopping.filter(|_| !self.stopped) else { return };
        let leads = self.groups.values().any(|group| {
            group.replicas().len() > 1 && group.leader().is_some_and(|leader| leader.node == self.id())
        });
        if leads && now.saturating_since(since) < HAND_OVER_LIMIT {
            return;
        }
        self.stopped = true;
        self.timers.set(Source::Stop, None);
        // Leadership is handed over: from now on the others need not find out that nobody is here.
        if let Some(swim) = &mut self.swim {
            swim.leave(now);
        }
        self.settle(now);
        let outlook = |group: &Group| Outlook::of(group.replicas().len(), group.live());
        let groups = self.groups.iter().map(|(id, group)| (*id, outlook(group))).collect();
        self.events.push_back(Event::Stopped { groups });
    }
}
