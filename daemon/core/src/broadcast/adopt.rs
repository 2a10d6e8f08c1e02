//! The candidate: promises, and the adoption of one promiser's log (rules 1 and 2), with the promiser's side of it.

use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, LogIndex};
use haystack_wire::message::SnapshotId;
use haystack_wire::message::broadcast::{BroadcastMessage, Entry};

use super::retry::Retry;
use super::staged::{Fit, Staged};
use super::types::{Limits, Observed};
use super::{Broadcast, Part};
use crate::mutation::mutated;

/// What a promise says of the promiser's log. It stays true until the promiser takes the candidate's Sync or
/// promises someone else, so that it may be counted however late it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Promised {
    pub(super) accepted_round: Ballot,
    pub(super) len: LogIndex,
    pub(super) decided: LogIndex,
}

/// A piece of a promised log.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) first: LogIndex,
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) chain: u64,
    pub(super) entries: Vec<Entry>,
}

/// A replica that asks for promises, or adopts.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) ballot: Ballot,
    /// By peer: the promises that count.
    promises: Vec<Option<Promised>>,
    phase: Phase,
    /// When to send Prepare and Pull again.
    retry: Retry,
    /// When Prepare was last sent.
    prepared: Instant,
}

#[derive(Debug)]
enum Phase {
    /// Waits for a majority of promises; after a lost source only until the given time.
    Gathering { until: Option<Instant> },
    /// Pulls the log of one promiser.
    Adopting(Adoption),
}

#[derive(Debug)]
struct Adoption {
    /// The peer whose promised log it is.
    source: usize,
    promised: Promised,
    staged: Staged,
    /// When the source last answered.
    heard: Instant,
}

impl Candidate {
    pub(super) fn poll_timeout(&self, limits: &Limits) -> Option<Instant> {
        let deadline = match &self.phase {
            Phase::Gathering { until } => *until,
            Phase::Adopting(adoption) => Some(adoption.heard + limits.stall),
        };
        deadline.into_iter().chain(self.retry.at()).min()
    }

    pub(super) fn promises(&self) -> &[Option<Promised>] {
        &self.promises
    }

    pub(super) const fn hasten(&mut self, now: Instant) {
        self.retry.hasten(now);
    }
}

impl Broadcast {
    /// Asks all replicas for promises of `ballot`. Ignored unless it is this replica's own and above everything
    /// promised (rule 8: a ballot is used once).
    pub fn lead(&mut self, now: Instant, ballot: Ballot) {
        let used = ballot <= self.promised && !mutated!(self, BallotReused);
        if used || ballot.node != self.me {
            self.counters.drop_implausible += 1;
            return;
        }
        self.counters.campaigns += 1;
        if !mutated!(self, LeaderSkipsPromise) {
            self.promised = ballot;
        }
        let mut retry = Retry::new(&self.limits);
        retry.arm(now);
        self.part = Part::Candidate(Candidate {
            ballot,
            promises: vec![None; self.peers.len()],
            phase: Phase::Gathering { until: None },
            retry,
            prepared: now,
        });
        self.progress_at = now;
        self.send_prepare();
        self.choose(now);
        self.settle(now);
    }

    /// Sends Prepare to every peer whose promise does not count yet.
    fn send_prepare(&mut self) {
        let Part::Candidate(candidate) = &self.part else { return };
        let to = self.peers.iter().zip(&candidate.promises).filter(|(_, promise)| promise.is_none());
        let to: Vec<_> = to.map(|(peer, _)| *peer).collect();
        if !to.is_empty() {
            let message = self.prepare(candidate.ballot);
            self.outputs.push_back(super::Output::Send { to, message });
        }
    }

    pub(super) fn prepare(&self, ballot: Ballot) -> BroadcastMessage {
        BroadcastMessage::Prepare {
            ballot,
            decided: self.decided,
            accepted_round: self.accepted_round,
            len: self.len(),
        }
    }

    /// A promise counts once, whether before, during or after the adoption.
    pub(super) fn on_promise(&mut self, now: Instant, peer: usize, ballot: Ballot, promised: Promised) {
        if promised.accepted_round >= ballot || promised.decided > promised.len {
            self.counters.drop_implausible += 1;
            return;
        }
        match &mut self.part {
            Part::Candidate(candidate) if candidate.ballot == ballot => {
                let counted = &mut candidate.promises[peer];
                if counted.is_some() {
                    self.counters.drop_repeated += 1;
                    return;
                }
                *counted = Some(promised);
                self.progress_at = now;
                if let Phase::Gathering { .. } = candidate.phase {
                    self.choose(now);
                }
            }
            Part::Leader(leader) if leader.ballot == ballot => self.follower_promised(now, peer, promised),
            _ => self.counters.drop_not_leading += 1,
        }
    }

    /// Rule 2: with a majority of promises, the log with the greatest (accepted_round, len). The own log is
    /// promised too, and is the cheapest to adopt.
    fn choose(&mut self, now: Instant) {
        let Part::Candidate(candidate) = &self.part else { return };
        let count = 1 + candidate.promises.iter().flatten().count();
        if !self.is_majority(count) {
            return;
        }
        let by_length = mutated!(self, AdoptByLength);
        let key = |accepted_round: Ballot, len: LogIndex| match by_length {
            true => (Ballot::default(), len),
            false => (accepted_round, len),
        };
        let mut best = (key(self.accepted_round, self.len()), None);
        for (peer, promise) in candidate.promises.iter().enumerate() {
            let Some(promise) = promise else { continue };
            let rank = key(promise.accepted_round, promise.len);
            if rank > best.0 {
                best = (rank, Some((peer, *promise)));
            }
        }
        match best.1 {
            None => self.become_leader(now, self.accepted_round),
            Some((source, promised)) => self.adopt(now, source, promised),
        }
    }

    /// Begins to pull the log of `source`, from where the own one may differ.
    fn adopt(&mut self, now: Instant, source: usize, promised: Promised) {
        let own = self.len();
        let same_round = promised.accepted_round == self.accepted_round;
        let base = if same_round { own.min(promised.len).max(self.decided) } else { self.decided };
        assert!(
            base <= promised.len || mutated!(self, AdoptByLength),
            "what is decided is in the log to adopt"
        );
        let chain = self.log.chain(base).expect("a base within the log, above what is decided");
        let staged = Staged::on_log(base, chain, promised.len.max(base));
        let Part::Candidate(candidate) = &mut self.part else { return };
        candidate.phase = Phase::Adopting(Adoption { source, promised, staged, heard: now });
        candidate.retry = Retry::new(&self.limits);
        candidate.retry.arm(now);
        self.send_pull();
        self.complete_adoption(now);
    }

    fn send_pull(&mut self) {
        let Part::Candidate(candidate) = &self.part else { return };
        let Phase::Adopting(adoption) = &candidate.phase else { return };
        let message = BroadcastMessage::Pull { ballot: candidate.ballot, from: adoption.staged.next() };
        let source = self.peers[adoption.source];
        self.send(source, message);
    }

    /// A piece of the log to adopt: staged, never written before all of it is here.
    pub(super) fn on_pull_reply(&mut self, now: Instant, peer: usize, ballot: Ballot, piece: Piece) {
        let decided = self.decided;
        let Part::Candidate(candidate) = &mut self.part else {
            self.counters.drop_not_leading += 1;
            return;
        };
        let Phase::Adopting(adoption) = &mut candidate.phase else {
            self.counters.drop_repeated += 1;
            return;
        };
        if candidate.ballot != ballot || adoption.source != peer {
            self.counters.drop_repeated += 1;
            return;
        }
        let mut wanted = None;
        if let Some(snapshot) = piece.snapshot {
            let known = adoption.staged.snapshot == Some(snapshot);
            let useful = snapshot.index == piece.first
                && snapshot.index > adoption.staged.next().max(decided)
                && snapshot.index <= adoption.promised.decided;
            if !known && !useful {
                self.counters.drop_repeated += 1;
                return;
            }
            if !known {
                adoption.staged = Staged::on_snapshot(snapshot, adoption.promised.len);
            }
            wanted = Some(snapshot);
        }
        adoption.heard = now;
        let before = adoption.staged.next();
        let fit = adoption.staged.take(piece.first, piece.chain, piece.entries, self.limits.stage);
        match fit {
            Fit::Extended => {
                self.progress_at = now;
                candidate.retry.answered(now, &self.limits, true);
            }
            Fit::Repeated => self.counters.drop_repeated += 1,
            Fit::Gap => self.counters.drop_piece_gap += 1,
            Fit::Full => self.counters.drop_stage_full += 1,
        }
        #[cfg(feature = "mutations")]
        self.adopt_unstaged(before);
        #[cfg(not(feature = "mutations"))]
        let _ = before;
        if let Some(snapshot) = wanted {
            self.want(self.peers[peer], snapshot);
        }
        if !self.complete_adoption(now) && fit == Fit::Extended {
            self.send_pull_unless_whole();
        }
    }

    /// Pulls on at once, but for a snapshot that is still being fetched: that waits for the retry timer, which
    /// also keeps the source from letting the snapshot go.
    fn send_pull_unless_whole(&mut self) {
        if let Part::Candidate(Candidate { phase: Phase::Adopting(adoption), .. }) = &self.part
            && adoption.staged.next() < adoption.staged.end
        {
            self.send_pull();
        }
    }

    /// Adopts what is staged if it is whole, in one step, and says whether it was.
    pub(super) fn complete_adoption(&mut self, now: Instant) -> bool {
        let fetched = self.snapshots.fetched();
        let Part::Candidate(candidate) = &mut self.part else { return false };
        let Phase::Adopting(adoption) = &candidate.phase else { return false };
        if !adoption.staged.is_whole(fetched) {
            return false;
        }
        let phase = std::mem::replace(&mut candidate.phase, Phase::Gathering { until: None });
        let ballot = candidate.ballot;
        let Phase::Adopting(Adoption { staged, promised, .. }) = phase else { return false };
        self.counters.adopted_entries += u64::from(!staged.entries.is_empty());
        self.counters.adopted_snapshot += u64::from(staged.snapshot.is_some());
        self.commit(staged, ballot);
        self.become_leader(now, promised.accepted_round);
        true
    }

    /// Rule 2, when the source stalls: its promise no longer counts, what was staged is dropped, and the choice is
    /// made again, among a majority only.
    fn disregard_source(&mut self, now: Instant) {
        let forgets = !mutated!(self, StalledPromiseCounts);
        let until = Some(now + self.limits.stall);
        let Part::Candidate(candidate) = &mut self.part else { return };
        let Phase::Adopting(adoption) = &candidate.phase else { return };
        let source = adoption.source;
        self.counters.promises_disregarded += 1;
        candidate.phase = Phase::Gathering { until };
        candidate.retry.hasten(now);
        if forgets {
            candidate.promises[source] = None;
        } else {
            // Still counted, but as if its log were the least.
            candidate.promises[source] = Some(Promised {
                accepted_round: Ballot::default(),
                len: LogIndex::ZERO,
                decided: LogIndex::ZERO,
            });
        }
        self.choose(now);
    }

    pub(super) fn candidate_timeout(&mut self, now: Instant) {
        let Part::Candidate(candidate) = &self.part else { return };
        match &candidate.phase {
            Phase::Adopting(adoption) if now.saturating_since(adoption.heard) >= self.limits.stall => {
                self.disregard_source(now);
            }
            Phase::Gathering { until: Some(until) } if *until <= now => {
                self.counters.gave_up += 1;
                self.step_down(now);
            }
            _ => {}
        }
        let Part::Candidate(candidate) = &mut self.part else { return };
        if candidate.retry.fire(now, &self.limits) {
            candidate.prepared = now;
            self.counters.prepares_again += 1;
            self.send_prepare();
            self.send_pull();
        }
    }

    /// A peer that answers heartbeats without having promised lost its Prepare or its Promise.
    pub(super) fn candidate_observes(&mut self, now: Instant, peer: usize, seen: Observed) {
        let Part::Candidate(candidate) = &mut self.part else { return };
        let due = now.saturating_since(candidate.prepared) >= self.limits.retry_min;
        if candidate.promises[peer].is_none() && seen.promised <= candidate.ballot && due {
            candidate.prepared = now;
            candidate.retry.arm(now);
            self.counters.prepares_again += 1;
            self.send_prepare();
        }
    }

    /// A higher ballot was promised elsewhere: this replica's own is over. That alone makes nobody a candidate.
    pub(super) fn on_nack(&mut self, promised: Ballot) {
        let deposed = match &self.part {
            Part::Follower(_) => false,
            Part::Candidate(candidate) => promised > candidate.ballot,
            Part::Leader(leader) => promised > leader.ballot,
        };
        if deposed {
            self.follow();
        }
    }

    /// Rule 2, the promiser's side. A leader's own ballot in a Pull is a follower's word of how much of a Sync it
    /// has staged.
    pub(super) fn on_pull(&mut self, now: Instant, peer: usize, ballot: Ballot, from: LogIndex) {
        if let Part::Leader(leader) = &self.part
            && leader.ballot == ballot
        {
            self.follower_staged(now, peer, from);
            return;
        }
        let promised =
            ballot == self.promised && self.accepted_round < ballot && ballot.node == self.peers[peer];
        if !promised {
            self.counters.drop_pull_unpromised += 1;
            self.nack(self.peers[peer]);
            return;
        }
        if from > self.len() {
            self.counters.drop_implausible += 1;
            return;
        }
        let (first, snapshot) = if from >= self.compacted() {
            (from, None)
        } else {
            match self.offer_snapshot(now, from) {
                Some(snapshot) => (snapshot.index, Some(snapshot)),
                None => {
                    self.snapshots.remember_pull(peer, ballot, from);
                    return;
                }
            }
        };
        self.snapshots.touch(now);
        let end = self.log.chunk_end(first, self.len(), self.limits.chunk);
        let chain = self.log.chain(first).expect("a position within the log");
        let entries = self.log.slice(first, end);
        let message = BroadcastMessage::PullReply { ballot, from: first, snapshot, chain, entries };
        self.send(self.peers[peer], message);
    }

    #[cfg(feature = "mutations")]
    fn adopt_unstaged(&mut self, before: LogIndex) {
        let Part::Candidate(candidate) = &self.part else { return };
        let Phase::Adopting(Adoption { staged, .. }) = &candidate.phase else { return };
        if mutated!(self, AdoptUnstaged) && staged.snapshot.is_none() && staged.next() > before {
            let skip = usize::try_from(before - staged.base).unwrap_or(usize::MAX);
            let new: Vec<_> = staged.entries.iter().skip(skip).cloned().collect();
            self.truncate(before.min(self.len()));
            new.into_iter().for_each(|entry| self.log.append_chained(entry));
        }
    }
}
