//! One replica, and everything it says, for tests that play all the others.

use std::time::Duration;

use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, LogIndex};
use haystack_wire::message::SnapshotId;
use haystack_wire::message::broadcast::BroadcastMessage;

use super::super::{Broadcast, Config, Limits, Observed, Output, Role};
use super::net::{ballot, entry, id};
use crate::digest;

/// Replica 0 of a view.
pub(super) struct Solo {
    pub(super) core: Broadcast,
    pub(super) now: Instant,
    /// Outputs that are no messages.
    pub(super) other: Vec<Output>,
    /// Whether `Decided` is applied at once.
    pub(super) applies: bool,
}

/// What was said, and to whom.
pub(super) type Said = Vec<(Vec<usize>, BroadcastMessage)>;

pub(super) fn at(index: u64) -> LogIndex {
    LogIndex(index)
}

/// Chain of a log of these values.
pub(super) fn chain_of(log: &[u64]) -> u64 {
    log.iter().fold(digest::EMPTY, |before, value| digest::chain(before, &entry(*value)))
}

/// An Accept of `log[first..]` with what is decided.
pub(super) fn accept(ballot: Ballot, log: &[u64], first: usize, decided: u64) -> BroadcastMessage {
    BroadcastMessage::Accept {
        ballot,
        first: at(first as u64),
        chain: chain_of(&log[..first]),
        entries: log[first..].iter().map(|value| entry(*value)).collect(),
        decided: at(decided),
    }
}

/// The piece `log[first..last]` of a Sync of `log[base..]`.
pub(super) fn sync(ballot: Ballot, log: &[u64], base: usize, first: usize, last: usize) -> BroadcastMessage {
    BroadcastMessage::Sync {
        ballot,
        from: at(base as u64),
        end: at(log.len() as u64),
        snapshot: None,
        first: at(first as u64),
        chain: chain_of(&log[..first]),
        entries: log[first..last].iter().map(|value| entry(*value)).collect(),
        decided: at(0),
    }
}

/// A Sync of `log[index..]` on a snapshot of what is below.
pub(super) fn sync_on_snapshot(ballot: Ballot, log: &[u64], index: usize) -> (SnapshotId, BroadcastMessage) {
    let id = SnapshotId { index: at(index as u64), digest: 7, chain: chain_of(&log[..index]) };
    let BroadcastMessage::Sync { end, first, chain, entries, decided, .. } =
        sync(ballot, log, index, index, log.len())
    else {
        unreachable!("a Sync was asked for");
    };
    let message = BroadcastMessage::Sync {
        ballot,
        from: id.index,
        end,
        snapshot: Some(id),
        first,
        chain,
        entries,
        decided,
    };
    (id, message)
}

pub(super) fn prepare(ballot: Ballot) -> BroadcastMessage {
    BroadcastMessage::Prepare { ballot, decided: at(0), accepted_round: Ballot::default(), len: at(0) }
}

pub(super) fn promise(ballot: Ballot, accepted_round: Ballot, len: u64, decided: u64) -> BroadcastMessage {
    BroadcastMessage::Promise { ballot, accepted_round, len: at(len), decided: at(decided) }
}

pub(super) fn accepted(ballot: Ballot, len: u64) -> BroadcastMessage {
    BroadcastMessage::Accepted { ballot, len: at(len), missing: None, credit: u64::MAX }
}

/// Entries of a message, if it carries some.
pub(super) fn carried(message: &BroadcastMessage) -> usize {
    match message {
        BroadcastMessage::Accept { entries, .. }
        | BroadcastMessage::Sync { entries, .. }
        | BroadcastMessage::PullReply { entries, .. } => entries.len(),
        _ => 0,
    }
}

impl Solo {
    pub(super) fn new(count: usize) -> Self {
        Self::with(count, Limits::default())
    }

    pub(super) fn with(count: usize, limits: Limits) -> Self {
        let now = Instant::ZERO + Duration::from_secs(1);
        let config = Config { limits, ..Config::new(id(0), (0..count).map(id).collect()) };
        Self { core: Broadcast::new(config, now), now, other: Vec::new(), applies: true }
    }

    /// A follower of node 1 in ballot 1, with this log.
    pub(super) fn follower(count: usize, log: &[u64]) -> Self {
        let mut solo = Self::new(count);
        solo.follows(ballot(1, 1), log);
        solo
    }

    pub(super) fn follows(&mut self, ballot: Ballot, log: &[u64]) {
        let from = usize::from(ballot.node.0[0]) - 1;
        self.hear(from, prepare(ballot));
        let base = self.core.decided().0 as usize;
        self.hear(from, sync(ballot, log, base, base, log.len()));
        assert_eq!((self.core.accepted_round(), self.core.len()), (ballot, at(log.len() as u64)));
    }

    /// Leads in ballot `n`, of a view where everybody else promises with an empty log.
    pub(super) fn leader(count: usize, n: u64, limits: Limits) -> Self {
        let mut solo = Self::with(count, limits);
        solo.lead(n);
        for peer in 1..count {
            solo.hear(peer, promise(ballot(n, 0), Ballot::default(), 0, 0));
        }
        for peer in 1..count {
            solo.hear(peer, accepted(ballot(n, 0), 0));
        }
        assert_eq!(solo.core.role(), Role::Leader { ballot: ballot(n, 0), ready: true });
        solo
    }

    pub(super) fn lead(&mut self, n: u64) -> Said {
        self.core.lead(self.now, ballot(n, 0));
        self.say()
    }

    /// Takes a message, in a turn of its own.
    pub(super) fn hear(&mut self, from: usize, message: BroadcastMessage) -> Said {
        self.core.handle_message(self.now, id(from), message);
        self.say()
    }

    pub(super) fn observe(
        &mut self,
        from: usize,
        promised: Ballot,
        accepted_round: Ballot,
        len: u64,
    ) -> Said {
        let seen = Observed { promised, accepted_round, len: at(len), decided: at(0) };
        self.core.observe(self.now, id(from), seen);
        self.say()
    }

    /// Proposes these values in one turn.
    pub(super) fn propose(&mut self, values: &[u64]) -> Said {
        for value in values {
            self.core.propose(entry(*value)).unwrap();
        }
        self.say()
    }

    /// Lets time pass, with all timers on the way.
    pub(super) fn wait(&mut self, time: Duration) -> Said {
        let until = self.now + time;
        let mut said = Said::new();
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.core.handle_timeout(self.now);
            said.extend(self.say());
        }
        self.now = until;
        said
    }

    /// Ends the turn.
    pub(super) fn say(&mut self) -> Said {
        self.core.flush(self.now);
        let mut said = Said::new();
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { to, message } => {
                    said.push((to.iter().map(|node| usize::from(node.0[0]) - 1).collect(), message));
                }
                Output::Decided { upto } if self.applies => self.core.applied_to(upto),
                other => self.other.push(other),
            }
        }
        said
    }
}
