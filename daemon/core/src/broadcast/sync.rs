//! What a leader sends to each follower: the Sync that makes its log equal, then Accepts, within a window.

use haystack_wire::Instant;
use haystack_wire::ids::LogIndex;
use haystack_wire::message::SnapshotId;
use haystack_wire::message::broadcast::BroadcastMessage;

use super::adopt::Promised;
use super::leader::Leader;
use super::types::Output;
use super::{Broadcast, Part};
use crate::mutation::mutated;

/// How a follower is served.
#[derive(Debug)]
pub(super) enum Flow {
    /// It has not promised this ballot: it is sent Prepare.
    Unpromised,
    /// It needs a snapshot: one that is not frozen yet, or that was let go because nothing came from it. It is
    /// sent Prepare, and planned for when it is heard from.
    Waiting,
    /// It is sent the log.
    Open(Stream),
}

/// A position in the log that moves towards its end.
#[derive(Debug)]
pub(super) struct Stream {
    /// The Sync under way.
    plan: Option<Plan>,
    /// Everything below is accepted or staged there.
    pub(super) confirmed: LogIndex,
    /// Everything below was sent.
    pub(super) next: LogIndex,
    /// Send one message even if there is nothing new, to be answered.
    poke: bool,
    /// Nothing more until an answer to the poke comes.
    held: bool,
    /// The missing position that `next` went back to, so that it goes there once.
    rewound: Option<LogIndex>,
}

/// A Sync: makes the follower's log equal to the leader's at `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    base: LogIndex,
    end: LogIndex,
    snapshot: Option<SnapshotId>,
}

/// A message to be made, the same for every follower it is equal for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outgoing {
    plan: Option<Plan>,
    first: LogIndex,
    last: LogIndex,
}

impl Stream {
    const fn new(plan: Option<Plan>, from: LogIndex) -> Self {
        Self { plan, confirmed: from, next: from, poke: true, held: false, rewound: None }
    }

    pub(super) fn snapshot(&self) -> Option<SnapshotId> {
        self.plan.and_then(|plan| plan.snapshot)
    }

    pub(super) fn on_snapshot(&self) -> bool {
        self.snapshot().is_some()
    }

    /// Nothing came back for a while: one message that will be answered, and no flood behind it. A Sync goes on
    /// from what is known to be staged; Accepts ask where the follower is before anything is sent twice.
    pub(super) fn probe(&mut self) {
        self.poke = true;
        self.rewound = None;
        if self.plan.is_some() {
            self.next = self.confirmed;
            self.held = true;
        }
    }

    /// One message, for the decided index in it.
    pub(super) const fn announce(&mut self) {
        self.poke = true;
    }

    /// Whether a Sync is under way.
    pub(super) const fn syncs(&self) -> bool {
        self.plan.is_some()
    }
}

/// Rule 3: where the follower's log may begin to differ from the adopted one.
fn sync_start(promised: &Promised, leader: &Leader, len: LogIndex, without_min: bool) -> LogIndex {
    if promised.accepted_round != leader.adopted_round {
        return promised.decided;
    }
    let shared = if without_min { len } else { leader.read_floor };
    promised.decided.max(promised.len.min(shared))
}

impl Broadcast {
    /// Decides how to make a follower's log equal: from its own end in this ballot, from rule 3's start, or from a
    /// snapshot where this log does not reach so far back.
    pub(super) fn plan(&mut self, now: Instant, peer: usize) {
        let len = self.len();
        let without_min = mutated!(self, SyncStartWithoutMin);
        let Part::Leader(leader) = &self.part else { return };
        let follower = &leader.peers[peer];
        let Some(promised) = follower.promise else { return };
        let acked = follower.acked;
        let from = acked.unwrap_or_else(|| sync_start(&promised, leader, len, without_min));
        let flow = if from >= self.compacted() {
            let plan = acked.is_none().then_some(Plan { base: from, end: len, snapshot: None });
            Flow::Open(Stream::new(plan, from))
        } else {
            match self.offer_snapshot(now, from) {
                Some(id) => {
                    self.counters.snapshot_plans += 1;
                    let plan = Plan { base: id.index, end: len, snapshot: Some(id) };
                    Flow::Open(Stream::new(Some(plan), id.index))
                }
                None => Flow::Waiting,
            }
        };
        let Part::Leader(leader) = &mut self.part else { return };
        let follower = &mut leader.peers[peer];
        follower.flow = flow;
        follower.retry.answered(now, &self.limits, true);
    }

    /// A follower has staged everything of its Sync below `from`.
    pub(super) fn follower_staged(&mut self, now: Instant, peer: usize, from: LogIndex) {
        let Part::Leader(leader) = &mut self.part else { return };
        let follower = &mut leader.peers[peer];
        let Flow::Open(stream) = &mut follower.flow else {
            self.plan(now, peer);
            return;
        };
        let Some(plan) = stream.plan else { return };
        if from < plan.base || from > plan.end {
            self.counters.drop_repeated += 1;
            return;
        }
        if from > stream.confirmed {
            stream.confirmed = from;
            follower.retry.answered(now, &self.limits, true);
        } else if stream.held {
            // The answer to a probe is the truth. What seemed confirmed was said of an earlier Sync, and came late.
            stream.confirmed = from;
            stream.next = from;
        }
        stream.next = stream.next.max(stream.confirmed);
        stream.held = false;
        if plan.snapshot.is_some() {
            self.snapshots.touch(now);
        }
    }

    /// A follower's acknowledgement, taken into account for what to send next.
    pub(super) fn follower_accepted(
        &mut self,
        now: Instant,
        peer: usize,
        missing: Option<LogIndex>,
        more: bool,
    ) {
        let start = self.compacted();
        let Part::Leader(leader) = &mut self.part else { return };
        let follower = &mut leader.peers[peer];
        let Some(acked) = follower.acked else { return };
        let Flow::Open(stream) = &mut follower.flow else {
            self.plan(now, peer);
            return;
        };
        if let Some(plan) = stream.plan {
            if acked >= plan.end {
                stream.plan = None;
            } else if acked >= start {
                // An older, shorter Sync was taken after all: what is left can go as Accepts.
                stream.plan = None;
                stream.confirmed = acked;
                stream.next = acked;
            } else {
                return;
            }
        }
        stream.held = false;
        stream.confirmed = stream.confirmed.max(acked);
        stream.next = stream.next.max(acked);
        if let Some(missing) = missing
            && missing < stream.next
            && stream.rewound != Some(missing)
        {
            self.counters.rewound += 1;
            stream.next = missing;
            stream.rewound = Some(missing);
        }
        let outstanding = stream.next > acked;
        let behind = stream.next < start;
        if more || !outstanding {
            follower.retry.answered(now, &self.limits, outstanding);
        }
        if behind {
            self.plan(now, peer);
        }
    }

    /// Sends everything that the windows allow, equal messages once.
    pub(super) fn flush_leader(&mut self, now: Instant) {
        self.note_flush(now);
        self.advance_decided(now);
        self.replan_overtaken(now);
        loop {
            let Part::Leader(leader) = &self.part else { return };
            let count = leader.peers.len();
            let Some((lead, outgoing)) = (0..count).find_map(|peer| Some((peer, self.next_for(peer)?)))
            else {
                break;
            };
            let same = (lead..count).filter(|peer| self.next_for(*peer) == Some(outgoing));
            let to: Vec<usize> = same.collect();
            let message = self.message(outgoing);
            let nodes = to.iter().map(|peer| self.peers[*peer]).collect();
            self.outputs.push_back(Output::Send { to: nodes, message });
            for peer in to {
                self.sent(now, peer, outgoing);
            }
        }
        let Part::Leader(leader) = &mut self.part else { return };
        if leader.peers.iter().any(|peer| peer.is_stale(self.decided)) {
            leader.announce_at.get_or_insert(now + self.limits.announce);
        } else {
            leader.announce_at = None;
        }
    }

    /// The wait for a decision begins when the first entry that is not decided goes out.
    fn note_flush(&mut self, now: Instant) {
        let len = self.len();
        let Part::Leader(leader) = &mut self.part else { return };
        if self.decided >= leader.flushed {
            self.progress_at = now;
        }
        leader.flushed = len;
    }

    /// A follower whose next entry is compacted away needs a snapshot.
    fn replan_overtaken(&mut self, now: Instant) {
        for peer in 0..self.peers.len() {
            if let Part::Leader(leader) = &self.part
                && let Flow::Open(stream) = &leader.peers[peer].flow
                && stream.next < self.log.start()
            {
                self.counters.outrun += 1;
                self.plan(now, peer);
            }
        }
    }

    /// The next message for a follower, if its window allows one.
    fn next_for(&self, peer: usize) -> Option<Outgoing> {
        let Part::Leader(leader) = &self.part else { return None };
        let follower = &leader.peers[peer];
        let Flow::Open(stream) = &follower.flow else { return None };
        let (first, len) = (stream.next, self.len());
        let plan = stream.plan.filter(|plan| first < plan.end || stream.poke && first == plan.end);
        // Behind a snapshot nothing can be accepted before it is installed; behind other Syncs it can, at once.
        let limit = match plan.or(stream.plan.filter(|plan| plan.snapshot.is_some())) {
            Some(plan) => plan.end,
            None => len,
        };
        let sent = self.log.weight_between(stream.confirmed, first);
        let window = self.limits.window.min(follower.credit);
        // With nothing on its way, one message always may go, however large its entry.
        let room = if sent == 0 { u64::MAX } else { window.saturating_sub(sent) };
        let mut last = self.log.chunk_end(first, limit.max(first), self.limits.chunk.min(room));
        if self.log.weight_between(first, last) > room {
            last = first;
        }
        let new = last > first && !stream.held;
        (new || stream.poke).then_some(Outgoing { plan, first, last })
    }

    fn message(&self, Outgoing { plan, first, last }: Outgoing) -> BroadcastMessage {
        let (ballot, decided) = (self.accepted_round, self.decided);
        let chain = self.log.chain(first).expect("a position within the log");
        let entries = self.log.slice(first, last);
        match plan {
            Some(Plan { base, end, snapshot }) => {
                BroadcastMessage::Sync { ballot, from: base, end, snapshot, first, chain, entries, decided }
            }
            None => BroadcastMessage::Accept { ballot, first, chain, entries, decided },
        }
    }

    fn sent(&mut self, now: Instant, peer: usize, outgoing: Outgoing) {
        let Part::Leader(leader) = &mut self.part else { return };
        let follower = &mut leader.peers[peer];
        let Flow::Open(stream) = &mut follower.flow else { return };
        stream.poke = false;
        stream.next = outgoing.last;
        follower.sent = now;
        follower.decided_sent = self.decided;
        if stream.plan.is_some() || stream.next > stream.confirmed {
            follower.retry.arm(now);
        }
    }
}
