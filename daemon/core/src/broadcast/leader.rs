//! The leader: what it knows of each follower, acknowledgements, and what is decided (rules 6 and 7).

use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, LogIndex};

use super::adopt::Promised;
use super::retry::Retry;
use super::sync::{Flow, Stream};
use super::types::{Limits, Observed};
use super::{Broadcast, Part};
use crate::mutation::mutated;

/// What a follower acknowledges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    pub(super) len: LogIndex,
    pub(super) missing: Option<LogIndex>,
    pub(super) credit: u64,
}

/// A leader that has adopted the log.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) ballot: Ballot,
    /// Length of the adopted log: below it lies what earlier leaders may have acknowledged.
    pub(super) read_floor: LogIndex,
    /// The round of the adopted log, for the start of a Sync (rule 3).
    pub(super) adopted_round: Ballot,
    pub(super) peers: Vec<Peer>,
    /// Log length at the last flush.
    pub(super) flushed: LogIndex,
    /// When followers that need nothing else are told what is decided.
    pub(super) announce_at: Option<Instant>,
}

/// A follower, as its leader knows it.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its promise of this ballot.
    pub(super) promise: Option<Promised>,
    /// Everything below is accepted there in this ballot; nothing if it never acknowledged.
    pub(super) acked: Option<LogIndex>,
    pub(super) flow: Flow,
    pub(super) retry: Retry,
    /// When anything was last sent to it.
    pub(super) sent: Instant,
    /// When anything last came from it.
    pub(super) heard: Instant,
    /// The decided index it was last sent.
    pub(super) decided_sent: LogIndex,
    /// Weight it can still buffer.
    pub(super) credit: u64,
}

impl Leader {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.peers.iter().filter_map(|peer| peer.retry.at()).chain(self.announce_at).min()
    }
}

impl Peer {
    fn new(now: Instant, promise: Option<Promised>, limits: &Limits) -> Self {
        let mut retry = Retry::new(limits);
        retry.arm(now);
        Self {
            promise,
            acked: None,
            flow: Flow::Unpromised,
            retry,
            sent: now,
            heard: now,
            decided_sent: LogIndex::ZERO,
            credit: limits.window,
        }
    }

    /// Whether it has accepted entries that it was not told are decided. A Sync tells it anyway.
    pub(super) fn is_stale(&self, decided: LogIndex) -> bool {
        matches!(&self.flow, Flow::Open(stream) if !stream.syncs())
            && self.acked.is_some_and(|acked| acked.min(decided) > self.decided_sent)
    }
}

impl Broadcast {
    /// The log is adopted: this replica enters its own ballot, and makes every promiser's log equal.
    pub(super) fn become_leader(&mut self, now: Instant, adopted_round: Ballot) {
        let Part::Candidate(candidate) = &self.part else { return };
        let ballot = candidate.ballot;
        let promises = candidate.promises().to_vec();
        self.counters.elected += 1;
        self.accepted_round = ballot;
        let peers = promises.iter().map(|promise| Peer::new(now, *promise, &self.limits)).collect();
        self.part = Part::Leader(Leader {
            ballot,
            read_floor: self.len(),
            adopted_round,
            peers,
            flushed: self.len(),
            announce_at: None,
        });
        self.progress_at = now;
        for (peer, promise) in promises.into_iter().enumerate() {
            if let Some(promise) = promise {
                self.follower_promised(now, peer, promise);
            }
        }
        self.advance_decided(now);
    }

    /// A follower's promise: from now on its log is made equal to this one.
    pub(super) fn follower_promised(&mut self, now: Instant, peer: usize, promised: Promised) {
        let Part::Leader(leader) = &mut self.part else { return };
        let follower = &mut leader.peers[peer];
        match follower.flow {
            Flow::Unpromised => {}
            Flow::Waiting => {
                self.plan(now, peer);
                return;
            }
            Flow::Open(_) => {
                self.counters.drop_repeated += 1;
                return;
            }
        }
        if promised.decided > self.log.len() {
            // Rule 3. It cannot be as long as every rule is kept, and costs nothing to refuse.
            self.counters.gave_up += 1;
            self.step_down(now);
            return;
        }
        follower.promise = Some(promised);
        self.plan(now, peer);
    }

    /// Rule 6: cumulative, the maximum counts, and only of this leader's own ballot.
    pub(super) fn on_accepted(&mut self, now: Instant, peer: usize, ballot: Ballot, ack: Acknowledged) {
        let Part::Leader(leader) = &mut self.part else {
            self.counters.drop_not_leading += 1;
            return;
        };
        if leader.ballot != ballot && !mutated!(self, AckWithoutBallot) {
            self.counters.drop_not_leading += 1;
            return;
        }
        let excused = mutated!(self, AckWithoutBallot);
        assert!(excused || ack.len <= self.log.len(), "a follower accepts only what its leader has");
        let follower = &mut leader.peers[peer];
        let more = follower.acked.is_none_or(|acked| ack.len > acked);
        let acked = follower.acked.map_or(ack.len, |acked| acked.max(ack.len));
        follower.acked = Some(acked);
        follower.credit = ack.credit;
        if ack.len == acked || more {
            self.follower_accepted(now, peer, ack.missing.filter(|missing| *missing == acked), more);
        }
        if more {
            self.advance_decided(now);
        }
    }

    /// How far the own log counts: all of it in memory mode, what is on disk in a durable one.
    fn own_acked(&self) -> LogIndex {
        self.len()
    }

    /// Rule 7: what a majority has acknowledged in this ballot is decided.
    pub(super) fn advance_decided(&mut self, now: Instant) {
        let own = self.own_acked();
        let Part::Leader(leader) = &self.part else { return };
        // In a view of a few replicas the dumb way is the fast one: for each length, count who has it.
        let reached = |length: LogIndex| {
            let followers =
                leader.peers.iter().filter(|peer| peer.acked.is_some_and(|acked| acked >= length));
            followers.count() + usize::from(own >= length)
        };
        let lengths = leader.peers.iter().filter_map(|peer| peer.acked).chain([own]);
        let decided =
            lengths.filter(|length| *length > self.decided && self.is_majority(reached(*length))).max();
        if let Some(decided) = decided {
            self.progress_at = now;
            self.set_decided(decided.min(self.len()));
        }
    }

    /// Repairs what a heartbeat shows to be lost. A `len` seen is never an acknowledgement (rule 6).
    pub(super) fn leader_observes(&mut self, now: Instant, peer: usize, seen: Observed) {
        let Part::Leader(leader) = &mut self.part else { return };
        let follower = &mut leader.peers[peer];
        // What was sent just now may not have arrived when this was seen.
        let patient = now.saturating_since(follower.sent) < self.limits.retry_min;
        let lost = match &follower.flow {
            // A higher promise is the election's affair.
            Flow::Unpromised => seen.promised <= leader.ballot,
            Flow::Waiting => {
                self.plan(now, peer);
                return;
            }
            Flow::Open(Stream { next, .. }) => {
                let short = seen.accepted_round < leader.ballot || seen.len < *next;
                seen.promised == leader.ballot && (short || seen.decided < self.decided)
            }
        };
        if lost && !patient {
            follower.retry.hasten(now);
            self.leader_timeout(now);
        }
    }

    pub(super) fn leader_timeout(&mut self, now: Instant) {
        let Part::Leader(leader) = &mut self.part else { return };
        let mut silent = Vec::new();
        for (peer, follower) in leader.peers.iter_mut().enumerate() {
            if !follower.retry.fire(now, &self.limits) {
                continue;
            }
            match &mut follower.flow {
                Flow::Unpromised | Flow::Waiting => {
                    follower.sent = now;
                    silent.push(self.peers[peer]);
                }
                Flow::Open(stream) => {
                    self.counters.probes += 1;
                    stream.probe();
                }
            }
        }
        if leader.announce_at.is_some_and(|at| at <= now) {
            leader.announce_at = None;
            for follower in leader.peers.iter_mut().filter(|peer| peer.is_stale(self.decided)) {
                if let Flow::Open(stream) = &mut follower.flow {
                    stream.announce();
                }
            }
        }
        let ballot = leader.ballot;
        if !silent.is_empty() {
            self.counters.prepares_again += 1;
            let message = self.prepare(ballot);
            self.outputs.push_back(super::Output::Send { to: silent, message });
        }
    }
}
