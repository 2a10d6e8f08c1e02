//! Compaction, and snapshots where a log does not reach far enough back: freezing, offering, fetching, installing.

use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, LogIndex, NodeId};
use haystack_wire::message::SnapshotId;

use super::log::Log;
use super::sync::Flow;
use super::types::{Limits, Output};
use super::{Broadcast, Part};
use crate::mutation::mutated;

/// This replica's frozen state, and the one it fetches.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Asked for with `Freeze`, at this applied index.
    freezing: Option<LogIndex>,
    frozen: Option<Frozen>,
    /// Pulls that wait for a snapshot: at most one per peer.
    pulls: Vec<(usize, Ballot, LogIndex)>,
    /// What is being fetched, and from whom.
    wanted: Option<(NodeId, SnapshotId)>,
    /// What has been fetched and not installed.
    fetched: Option<SnapshotId>,
}

#[derive(Clone, Copy, Debug)]
struct Frozen {
    id: SnapshotId,
    /// When it was last offered or asked after.
    used: Instant,
}

impl Snapshots {
    pub(super) const fn fetched(&self) -> Option<SnapshotId> {
        self.fetched
    }

    /// Keeps the frozen state: someone is still at it.
    pub(super) fn touch(&mut self, now: Instant) {
        if let Some(frozen) = &mut self.frozen {
            frozen.used = now;
        }
    }

    pub(super) fn remember_pull(&mut self, peer: usize, ballot: Ballot, from: LogIndex) {
        self.pulls.retain(|(waiting, ..)| *waiting != peer);
        self.pulls.push((peer, ballot, from));
    }

    pub(super) fn poll_timeout(&self, limits: &Limits) -> Option<Instant> {
        self.frozen.map(|frozen| frozen.used + limits.patience)
    }

    /// The frozen snapshot, if `log` continues it.
    fn usable(&self, log: &Log) -> Option<SnapshotId> {
        let id = self.frozen?.id;
        (id.index >= log.start() && log.stop().is_none_or(|stop| id.index <= stop)).then_some(id)
    }

    /// Below what the log must be kept for snapshots.
    fn hold(&self) -> Option<LogIndex> {
        self.freezing.into_iter().chain(self.frozen.map(|frozen| frozen.id.index)).min()
    }
}

impl Broadcast {
    /// The state machine has applied everything below `index`. The log is compacted here: what is applied may go,
    /// but for a tail (see [`super::Limits`]).
    ///
    /// # Panics
    /// If `index` is not decided.
    pub fn applied_to(&mut self, index: LogIndex) {
        assert!(index <= self.decided, "only what is decided is applied");
        self.applied = self.applied.max(index);
        self.compact();
        self.settle(self.clock);
    }

    fn compact(&mut self) {
        let now = self.clock;
        let mut hold = self.snapshots.hold();
        let mut most = if hold.is_some() { self.limits.tail_transfer } else { self.limits.tail_min };
        if let Part::Leader(leader) = &self.part {
            for follower in &leader.peers {
                let Flow::Open(stream) = &follower.flow else { continue };
                if now.saturating_since(follower.heard) > self.limits.patience {
                    continue;
                }
                hold = Some(hold.map_or(stream.confirmed, |hold| hold.min(stream.confirmed)));
                let allowed =
                    if stream.on_snapshot() { self.limits.tail_transfer } else { self.limits.tail_lagging };
                most = most.max(allowed);
            }
        }
        let hold = hold.unwrap_or(self.applied);
        let most = most.max(self.limits.tail_min);
        let end = self.log.weight_below(self.applied);
        while self.log.start() < self.applied {
            let start = self.log.start();
            let (kept, left) = (end - self.log.weight_below(start), end - self.log.weight_below(start + 1));
            let free = start < hold && left >= self.limits.tail_min;
            if !free && kept <= most {
                break;
            }
            self.log.compact_one();
            self.counters.compacted += 1;
        }
    }

    /// A snapshot above `from` that the log continues; if there is none, one is asked for.
    pub(super) fn offer_snapshot(&mut self, now: Instant, from: LogIndex) -> Option<SnapshotId> {
        if let Some(id) = self.snapshots.usable(&self.log).filter(|id| id.index > from) {
            self.snapshots.touch(now);
            return Some(id);
        }
        self.request_freeze();
        None
    }

    /// Asks for a frozen state, one at a time: a transfer that is under way is not cut short by the next. A state
    /// behind the stop-sign is never offered, since it would hide from its receiver that the view has ended.
    fn request_freeze(&mut self) {
        let ended = self.log.stop().is_some_and(|stop| stop < self.applied);
        if self.snapshots.freezing.is_some() || ended || self.frozen_in_use() {
            return;
        }
        self.thaw();
        self.snapshots.freezing = Some(self.applied);
        self.outputs.push_back(Output::Freeze);
    }

    fn frozen_in_use(&self) -> bool {
        let (Part::Leader(leader), Some(frozen)) = (&self.part, self.snapshots.frozen) else { return false };
        leader.peers.iter().any(|peer| match &peer.flow {
            Flow::Open(stream) => {
                stream.snapshot() == Some(frozen.id) && stream.confirmed >= self.log.start()
            }
            _ => false,
        })
    }

    /// Lets the frozen state go. Whoever was to get it waits for another.
    fn thaw(&mut self) {
        let Some(frozen) = self.snapshots.frozen.take() else { return };
        self.counters.thawed += 1;
        self.outputs.push_back(Output::Thaw { snapshot: frozen.id });
        let Part::Leader(leader) = &mut self.part else { return };
        for peer in &mut leader.peers {
            if let Flow::Open(stream) = &peer.flow
                && stream.snapshot() == Some(frozen.id)
            {
                peer.flow = Flow::Waiting;
            }
        }
    }

    /// The answer to [`Output::Freeze`]: the applied state at `snapshot.index` is frozen and can be read in pieces.
    /// It may come late, and is then answered by [`Output::Thaw`].
    ///
    /// # Panics
    /// If the snapshot is not of this replica's log.
    pub fn snapshot_frozen(&mut self, now: Instant, snapshot: SnapshotId) {
        assert!(snapshot.index <= self.applied, "a snapshot holds what is applied");
        if let Some(chain) = self.log.chain(snapshot.index) {
            assert!(chain == snapshot.chain, "a snapshot carries the chain of its log");
        }
        if self.snapshots.freezing.take().is_none() {
            self.outputs.push_back(Output::Thaw { snapshot });
            return;
        }
        self.snapshots.frozen = Some(Frozen { id: snapshot, used: now });
        if self.snapshots.usable(&self.log).is_none() {
            self.thaw();
        }
        for (peer, ballot, from) in std::mem::take(&mut self.snapshots.pulls) {
            self.on_pull(now, peer, ballot, from);
        }
        for peer in 0..self.peers.len() {
            if let Part::Leader(leader) = &self.part
                && matches!(leader.peers[peer].flow, Flow::Waiting)
                && now.saturating_since(leader.peers[peer].heard) < self.limits.patience
            {
                self.plan(now, peer);
            }
        }
        self.settle(now);
    }

    /// The state machine has let `snapshot` go by itself: it is offered to nobody any more, and whoever was to get
    /// it is planned for anew.
    pub fn snapshot_dropped(&mut self, now: Instant, snapshot: SnapshotId) {
        if self.snapshots.frozen.is_some_and(|frozen| frozen.id == snapshot) {
            self.thaw();
        }
        self.settle(now);
    }

    /// A Sync or an adoption stands on `snapshot`, which `from` has.
    pub(super) fn want(&mut self, from: NodeId, snapshot: SnapshotId) {
        if self.snapshots.fetched == Some(snapshot) || self.snapshots.wanted == Some((from, snapshot)) {
            return;
        }
        self.snapshots.fetched = None;
        self.snapshots.wanted = Some((from, snapshot));
        self.outputs.push_back(Output::Fetch { from, snapshot });
    }

    /// All of `snapshot` is at hand, and verified. It is installed with the Sync or the adoption it belongs to, in
    /// no other way (rule 4).
    pub fn snapshot_fetched(&mut self, now: Instant, snapshot: SnapshotId) {
        if self.snapshots.wanted.is_none_or(|(_, wanted)| wanted != snapshot) {
            self.counters.drop_repeated += 1;
            return;
        }
        self.snapshots.wanted = None;
        self.snapshots.fetched = Some(snapshot);
        if mutated!(self, SnapshotOutsideSync) && snapshot.index > self.decided {
            self.install(snapshot);
        }
        self.complete_sync();
        self.complete_adoption(now);
        self.settle(now);
    }

    /// The source no longer has `snapshot`, or what came was not it. The next piece of the Sync or the adoption
    /// that stands on it asks again, or names a newer one.
    pub fn snapshot_lost(&mut self, now: Instant, snapshot: SnapshotId) {
        if self.snapshots.wanted.is_some_and(|(_, wanted)| wanted == snapshot) {
            self.snapshots.wanted = None;
        }
        if self.snapshots.fetched == Some(snapshot) {
            self.snapshots.fetched = None;
        }
        self.settle(now);
    }

    /// Part of [`Self::commit`]: the log and the state machine go on from `snapshot`.
    pub(super) fn install(&mut self, snapshot: SnapshotId) {
        self.thaw();
        self.snapshots.freezing = None;
        self.snapshots.fetched = None;
        // What was to be applied or frozen of the replaced log is not there any more.
        self.outputs.retain(|output| !matches!(output, Output::Decided { .. } | Output::Freeze));
        self.log.reset(snapshot.index, snapshot.chain);
        self.applied = snapshot.index;
        self.decided = snapshot.index;
        self.outputs.push_back(Output::Install { snapshot });
    }

    /// Lets a frozen state go that nobody asks after any more.
    pub(super) fn snapshot_timeout(&mut self, now: Instant) {
        let Some(frozen) = self.snapshots.frozen else { return };
        if now.saturating_since(frozen.used) < self.limits.patience {
            return;
        }
        self.thaw();
    }
}
