//! Uniform total order broadcast of one view of one group: Sequence Paxos, re-specified so that **safety never
//! depends on the links**. Every message may be lost, repeated, late or reordered; agreement still holds. The links
//! make it fast and live.
//!
//! | rule | where |
//! |---|---|
//! | 1 promises | `follower::on_prepare`, `adopt::lead` |
//! | 2 adoption, from one promiser, staged | `adopt` |
//! | 3 where a Sync starts | `sync::sync_start` |
//! | 4 a Sync is taken whole, in one step | `follower::on_sync`, `Broadcast::commit` |
//! | 5 Accepts never truncate; gaps are buffered and asked for | `follower::extend` |
//! | 6 acknowledgements are cumulative, of the leader's own ballot | `leader::on_accepted`, `follower::flush_follower` |
//! | 7 decided by a majority in one ballot | `leader::advance_decided`, `follower::learn_decided` |
//! | 8 a ballot is used once | `adopt::lead`; the election draws it above everything promised |
//! | 9 nothing follows a stop-sign | `propose`, `Log::append_chained` |
//! | 10 messages of at most 256 KiB | `Log::chunk_end` |
//!
//! # Driving it
//!
//! [`Broadcast`] is a plain state machine. Call any of the `handle_*`, `observe`, `lead`, `propose` and `snapshot_*`
//! methods of one wake-up, then [`Broadcast::flush`] once, then drain [`Broadcast::poll_output`] and act on each
//! output in order. `poll_timeout` says when `handle_timeout` (and `flush`) are due. Time never goes back; spurious
//! calls are no-ops.
//!
//! In memory mode a message may leave as soon as it is polled. A durable mode must hold back Prepare, Promise and
//! Accepted until what they promise is on disk, and count the own log only then (`leader::own_acked`).
//!
//! A peer is trusted to follow the protocol (its key proves that it is one of us): a message that contradicts what
//! the rules make certain is a bug, and ends the process by an assertion instead of spreading.

mod adopt;
mod counters;
mod follower;
mod leader;
mod log;
mod retry;
mod snapshot;
mod staged;
mod sync;
#[cfg(test)]
mod tests;
mod types;

use std::collections::VecDeque;

use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, LogIndex, NodeId};
use haystack_wire::message::broadcast::{BroadcastMessage, Entry};

use crate::mutation::{Mutations, mutated};
use adopt::Candidate;
use follower::Follower;
use leader::Leader;
use log::Log;
use snapshot::Snapshots;
use staged::Staged;

pub use counters::Counters;
pub use types::{Config, ENTRY_OVERHEAD, HEADER_BYTES, Limits, Observed, Output, ProposeError, Role};

/// A replica's part in the broadcast of one view of one group. See the [module](self).
#[derive(Debug)]
pub struct Broadcast {
    me: NodeId,
    /// The other replicas, in order.
    peers: Vec<NodeId>,
    limits: Limits,
    mutations: Mutations,
    promised: Ballot,
    accepted_round: Ballot,
    log: Log,
    decided: LogIndex,
    applied: LogIndex,
    part: Part,
    snapshots: Snapshots,
    outputs: VecDeque<Output>,
    /// Whom to tell, with the next flush, that a higher ballot is promised here.
    nacks: Vec<NodeId>,
    told: Role,
    /// The last time handed in.
    clock: Instant,
    /// When something that this replica leads or tries to lead last went forward, or had nowhere to go.
    progress_at: Instant,
    counters: Counters,
}

/// What a replica does, with the state that goes with it.
#[derive(Debug)]
enum Part {
    /// Follows `promised`.
    Follower(Follower),
    /// Leads `promised`, but has not adopted the log yet.
    Candidate(Candidate),
    /// Leads `promised`, which is also `accepted_round`.
    Leader(Leader),
}

impl Broadcast {
    /// A replica of a view that is just founded: nothing promised, nothing accepted.
    ///
    /// # Panics
    /// If `config.me` is not among the replicas.
    pub fn new(config: Config, now: Instant) -> Self {
        let Config { me, replicas, limits, mutations } = config;
        assert!(replicas.contains(&me), "only a replica of the view takes part");
        let mut peers: Vec<NodeId> = replicas.into_iter().filter(|replica| *replica != me).collect();
        peers.sort_unstable();
        peers.dedup();
        Self {
            me,
            peers,
            limits,
            mutations,
            promised: Ballot::default(),
            accepted_round: Ballot::default(),
            log: Log::new(),
            decided: LogIndex::ZERO,
            applied: LogIndex::ZERO,
            part: Part::Follower(Follower::default()),
            snapshots: Snapshots::default(),
            outputs: VecDeque::new(),
            nacks: Vec::new(),
            told: Role::Follower { leader: Ballot::default() },
            clock: now,
            progress_at: now,
            counters: Counters::default(),
        }
    }

    /// What this replica is now.
    pub const fn role(&self) -> Role {
        match &self.part {
            Part::Follower(_) => Role::Follower { leader: self.promised },
            Part::Candidate(candidate) => Role::Leader { ballot: candidate.ballot, ready: false },
            Part::Leader(leader) => Role::Leader { ballot: leader.ballot, ready: true },
        }
    }

    /// The highest ballot promised.
    pub const fn promised(&self) -> Ballot {
        self.promised
    }

    /// The ballot in which the log was last made equal to a leader's.
    pub const fn accepted_round(&self) -> Ballot {
        self.accepted_round
    }

    /// Log length, compacted entries included.
    pub fn len(&self) -> LogIndex {
        self.log.len()
    }

    /// Whether nothing was ever appended.
    pub fn is_empty(&self) -> bool {
        self.len() == LogIndex::ZERO
    }

    /// Entries below this are decided.
    pub const fn decided(&self) -> LogIndex {
        self.decided
    }

    /// Entries below this are in the state machine.
    pub const fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Entries below this are gone from the log.
    pub const fn compacted(&self) -> LogIndex {
        self.log.start()
    }

    /// While leading and adopted: a read waits until everything below this is decided, for it may have been
    /// acknowledged by an earlier leader.
    pub const fn read_floor(&self) -> Option<LogIndex> {
        match &self.part {
            Part::Leader(leader) => Some(leader.read_floor),
            _ => None,
        }
    }

    /// Whether the log ends in a stop-sign, decided or not.
    pub const fn stopped(&self) -> bool {
        self.log.stop().is_some()
    }

    /// Where the log's stop-sign is, if it has one.
    pub const fn stop_index(&self) -> Option<LogIndex> {
        self.log.stop()
    }

    /// Whether what this replica leads goes forward: something was promised, pulled or decided within the last
    /// election timeout, or nothing that was sent waits to be decided. Always false for a follower.
    pub fn progressing(&self, now: Instant) -> bool {
        match &self.part {
            Part::Follower(_) => false,
            Part::Leader(leader) if self.decided >= leader.flushed => true,
            _ => now.saturating_since(self.progress_at) < self.limits.stall,
        }
    }

    /// The entry at `index`, if the log still holds it. Everything in `applied..decided` is there.
    pub fn entry(&self, index: LogIndex) -> Option<&Entry> {
        self.log.entry(index)
    }

    /// Chained hash of the entries below `index`, for `compacted() <= index <= len()`.
    pub fn chain(&self, index: LogIndex) -> Option<u64> {
        self.log.chain(index)
    }

    /// Drops by reason, and rare states by name.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Appends an entry; it goes out with the next flush. After an error it was surely not appended.
    ///
    /// # Errors
    /// If this replica may not propose, or too much is in flight.
    pub fn propose(&mut self, entry: Entry) -> Result<LogIndex, ProposeError> {
        let Part::Leader(_) = &self.part else { return Err(ProposeError::NotLeader) };
        if self.stopped() && !mutated!(self, AppendPastStop) {
            return Err(ProposeError::Stopped);
        }
        let waiting = self.log.weight_between(self.decided, self.len());
        if waiting > 0 && waiting + log::weight(&entry) > self.limits.inflight {
            self.counters.overloaded += 1;
            return Err(ProposeError::Overloaded);
        }
        let index = self.len();
        self.log.append(entry);
        Ok(index)
    }

    /// Stops leading, or trying to. What was promised stays promised.
    pub fn step_down(&mut self, now: Instant) {
        if !matches!(self.part, Part::Follower(_)) {
            self.part = Part::Follower(Follower::default());
        }
        self.settle(now);
    }

    /// Takes a message of another replica.
    pub fn handle_message(&mut self, now: Instant, from: NodeId, message: BroadcastMessage) {
        let Some(peer) = self.peer(from) else {
            self.counters.drop_stranger += 1;
            return;
        };
        self.heard(now, peer);
        match message {
            BroadcastMessage::Prepare { ballot, .. } => self.on_prepare(from, ballot),
            BroadcastMessage::Promise { ballot, accepted_round, len, decided } => {
                self.on_promise(now, peer, ballot, adopt::Promised { accepted_round, len, decided });
            }
            BroadcastMessage::Pull { ballot, from: position } => self.on_pull(now, peer, ballot, position),
            BroadcastMessage::PullReply { ballot, from: first, snapshot, chain, entries } => {
                self.on_pull_reply(now, peer, ballot, adopt::Piece { first, snapshot, chain, entries });
            }
            BroadcastMessage::Sync { ballot, from: base, end, snapshot, first, chain, entries, decided } => {
                let piece = follower::SyncPiece { base, end, snapshot, first, chain, entries, decided };
                self.on_sync(from, ballot, piece);
            }
            BroadcastMessage::Accept { ballot, first, chain, entries, decided } => {
                self.on_accept(from, ballot, follower::AcceptPiece { first, chain, entries }, decided);
            }
            BroadcastMessage::Accepted { ballot, len, missing, credit } => {
                self.on_accepted(now, peer, ballot, leader::Acknowledged { len, missing, credit });
            }
            BroadcastMessage::Nack { promised } => self.on_nack(promised),
        }
        self.settle(now);
    }

    /// Takes what a heartbeat or its ack told of another replica, and repairs what was lost. It never acknowledges.
    pub fn observe(&mut self, now: Instant, from: NodeId, seen: Observed) {
        let Some(peer) = self.peer(from) else { return };
        self.heard(now, peer);
        match &self.part {
            Part::Follower(_) => self.follower_observes(now, from, seen),
            Part::Candidate(_) => self.candidate_observes(now, peer, seen),
            Part::Leader(_) => self.leader_observes(now, peer, seen),
        }
        self.settle(now);
    }

    /// A link refused or lost messages to `to` and takes messages again now: what is missing is found out and sent
    /// with the next flush, instead of after a timeout.
    pub fn dropped(&mut self, now: Instant, to: NodeId) {
        let Some(peer) = self.peer(to) else { return };
        match &mut self.part {
            Part::Follower(follower) => follower.repeat(to == self.promised.node),
            Part::Candidate(candidate) => candidate.hasten(now),
            Part::Leader(leader) => leader.peers[peer].retry.hasten(now),
        }
        self.handle_timeout(now);
    }

    /// Does what is due. A call too early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.part {
            Part::Follower(_) => {}
            Part::Candidate(_) => self.candidate_timeout(now),
            Part::Leader(_) => self.leader_timeout(now),
        }
        self.snapshot_timeout(now);
        self.settle(now);
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let part = match &self.part {
            Part::Follower(_) => None,
            Part::Candidate(candidate) => candidate.poll_timeout(&self.limits),
            Part::Leader(leader) => leader.poll_timeout(),
        };
        part.into_iter().chain(self.snapshots.poll_timeout(&self.limits)).min()
    }

    /// Ends a turn: one Accept per follower for everything proposed since the last, one Accepted for everything
    /// accepted since. An idle turn sends nothing.
    pub fn flush(&mut self, now: Instant) {
        match &self.part {
            Part::Follower(_) => self.flush_follower(),
            Part::Candidate(_) => {}
            Part::Leader(_) => self.flush_leader(now),
        }
        self.flush_nacks();
        self.settle(now);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn peer(&self, node: NodeId) -> Option<usize> {
        self.peers.binary_search(&node).ok()
    }

    /// Whether `count` replicas, this one included, are more than half.
    const fn is_majority(&self, count: usize) -> bool {
        count * 2 > self.peers.len() + 1
    }

    fn send(&mut self, to: NodeId, message: BroadcastMessage) {
        self.outputs.push_back(Output::Send { to: vec![to], message });
    }

    /// Remembers to tell `to` once in this turn what is promised here.
    fn nack(&mut self, to: NodeId) {
        self.counters.drop_old_ballot += 1;
        if !self.nacks.contains(&to) {
            self.nacks.push(to);
        }
    }

    fn flush_nacks(&mut self) {
        if self.nacks.is_empty() {
            return;
        }
        let message = BroadcastMessage::Nack { promised: self.promised };
        self.outputs.push_back(Output::Send { to: std::mem::take(&mut self.nacks), message });
    }

    fn heard(&mut self, now: Instant, peer: usize) {
        if let Part::Leader(leader) = &mut self.part {
            leader.peers[peer].heard = now;
        }
    }

    fn set_decided(&mut self, decided: LogIndex) {
        assert!(decided <= self.len(), "only what is in the log is decided here");
        if decided <= self.decided {
            return;
        }
        self.decided = decided;
        match self.outputs.back_mut() {
            Some(Output::Decided { upto }) => *upto = decided,
            _ => self.outputs.push_back(Output::Decided { upto: decided }),
        }
    }

    /// Rule 4's one step: truncate, install, append, and enter `round`.
    fn commit(&mut self, staged: Staged, round: Ballot) {
        let Staged { snapshot, base, entries, end, .. } = staged;
        if let Some(snapshot) = snapshot {
            assert!(snapshot.index > self.decided, "a snapshot never takes the state back");
            assert!(
                round > self.accepted_round || snapshot.index > self.len(),
                "within a round a log only grows (rule 4)"
            );
            self.install(snapshot);
        } else {
            assert!(
                round > self.accepted_round || base >= self.len(),
                "within a round a log only grows (rule 4)"
            );
            self.truncate(base);
        }
        entries.into_iter().for_each(|entry| self.log.append_chained(entry));
        assert!(self.len() == end, "a Sync and an adoption are taken whole or not at all (rules 2 and 4)");
        self.accepted_round = round;
    }

    fn truncate(&mut self, index: LogIndex) {
        assert!(index >= self.decided, "what is decided is never cut off");
        if index < self.len() {
            self.log.truncate(index);
        }
    }

    /// Ends every change: the invariants hold, and a new role is told.
    fn settle(&mut self, now: Instant) {
        self.clock = self.clock.max(now);
        assert!(self.accepted_round <= self.promised, "nothing is accepted above the promise");
        assert!(self.decided <= self.len(), "what is decided is in the log");
        assert!(self.applied <= self.decided, "only what is decided is applied");
        assert!(self.compacted() <= self.applied, "only what is applied is compacted");
        let role = self.role();
        if let Role::Leader { ballot, ready } = role {
            assert!(ballot == self.promised, "a leader keeps its own promise");
            assert!(!ready || self.accepted_round == ballot, "a leader has accepted its own log");
        }
        if role != self.told {
            self.told = role;
            self.progress_at = now;
            self.outputs.push_back(Output::Role(role));
        }
    }
}
