//! What the parts of a group want, routed between them.

use haystack_wire::Instant;
use haystack_wire::ids::LogIndex;
use haystack_wire::message::broadcast::{Entry, EntryKind};
use haystack_wire::message::client::Refusal;
use haystack_wire::message::election::GroupHeartbeat;
use haystack_wire::message::{PeerMessage, SnapshotId};

use super::machine::Applied;
use super::{Group, Out, Sink};
use crate::directory::machine::DirectoryCommand;
use crate::directory::placement::founding_map;
use crate::mutation::mutated;
use crate::store::{Activity, FrozenId, Pending};
use crate::{broadcast, election};

impl Group {
    /// Routes outputs between the parts until all are quiet.
    pub(super) fn pump(&mut self, now: Instant, sink: &mut Sink) {
        loop {
            if let Some(output) = self.election.poll_output() {
                self.on_election(now, output, sink);
            } else if let Some(output) = self.broadcast.poll_output() {
                self.on_broadcast_output(now, output, sink);
            } else {
                break;
            }
        }
        self.found();
    }

    fn on_election(&mut self, now: Instant, output: election::Output, sink: &mut Sink) {
        match output {
            election::Output::Send { to, body, urgent } => {
                let heartbeat = GroupHeartbeat { group: self.id, view: self.view, body };
                sink.push_back(Out::Heartbeat { to, heartbeat, urgent });
            }
            election::Output::Lead { ballot } => self.broadcast.lead(now, ballot),
            election::Output::StepDown => self.broadcast.step_down(now),
            election::Output::Confirmed { nonce } => {
                if let Some(asked) = self.reads.confirmed(nonce) {
                    self.serve(asked, sink);
                }
            }
            election::Output::Observed { from, seen } => {
                let seen = broadcast::Observed {
                    promised: seen.promised,
                    accepted_round: seen.accepted_round,
                    len: seen.len,
                    decided: seen.decided,
                };
                self.broadcast.observe(now, from, seen);
            }
            election::Output::Trust { leader } => {
                if leader != self.leader {
                    self.leader = leader;
                    sink.push_back(Out::Leader(self.id, leader));
                }
            }
        }
        if self.leader.is_some() {
            self.leader_heard = now;
        }
    }

    fn on_broadcast_output(&mut self, now: Instant, output: broadcast::Output, sink: &mut Sink) {
        match output {
            broadcast::Output::Send { to, message } => {
                let message = PeerMessage::Broadcast { group: self.id, view: self.view, message };
                sink.push_back(Out::Broadcast { to, message });
            }
            broadcast::Output::Decided { upto } => self.apply(upto, sink),
            broadcast::Output::Freeze => self.freeze(now),
            broadcast::Output::Thaw { snapshot } => {
                if self.transfer.thaw(snapshot) {
                    self.machine.thaw();
                }
            }
            broadcast::Output::Fetch { from, snapshot } => {
                self.transfer.fetch(now, &self.shape, from, snapshot, sink);
            }
            broadcast::Output::Install { snapshot } => {
                self.machine = self.transfer.take(snapshot);
                if self.map().is_some() {
                    sink.push_back(Out::Map);
                }
            }
            broadcast::Output::Role(_) => {
                // Whoever waits here no longer learns from this replica what became of the entry: the
                // client asks again under the same number. Reads have no effect, so they are refused.
                for waiting in std::mem::take(&mut self.waiting) {
                    if mutated!(self, AppendedToldFailed) {
                        self.refuse(waiting.origin, waiting.id, Refusal::NotLeader, sink);
                    }
                }
                self.pending = Pending::default();
                // Other leaders saw sessions at work that this one last saw long ago: each gets a whole idle time.
                self.activity = Activity::new(self.session_ttl);
                self.founding_proposed = false;
                for read in self.reads.drain() {
                    self.refuse(read.origin, read.id, Refusal::NotLeader, sink);
                }
            }
        }
    }

    fn freeze(&mut self, now: Instant) {
        let index = self.broadcast.applied();
        let Some(chain) = self.broadcast.chain(index) else { return };
        let FrozenId { index: frozen, digest } = self.machine.freeze(index);
        assert!(frozen == index, "the broadcast lets one frozen state go before it asks for another");
        let snapshot = SnapshotId { index, digest, chain };
        self.transfer.frozen(snapshot);
        self.broadcast.snapshot_frozen(now, snapshot);
    }

    pub(super) fn apply(&mut self, upto: LogIndex, sink: &mut Sink) {
        let mut index = self.broadcast.applied();
        while index < upto {
            let Some(entry) = self.broadcast.entry(index) else {
                unreachable!("decided entries stay until they are applied");
            };
            let applied = match entry.kind {
                EntryKind::Command => self.machine.apply(index, &entry.body),
                EntryKind::StopSign => Applied::Nothing,
            };
            if self.observe {
                let chain = self.broadcast.chain(index + 1).unwrap_or_default();
                let digest = self.machine.digest();
                let body = entry.body.clone();
                sink.push_back(Out::Applied { group: self.id, index, chain, digest, body });
            }
            self.answer(index, applied, sink);
            index += 1;
        }
        self.broadcast.applied_to(upto);
    }

    /// Tells whoever proposed the entry at `index` what came of it.
    fn answer(&mut self, index: LogIndex, applied: Applied, sink: &mut Sink) {
        if matches!(applied, Applied::Map) {
            sink.push_back(Out::Map);
        }
        let waiting = self.waiting.pop_front_if(|waiting| waiting.index == index);
        if let Some(waiting) = &waiting {
            self.pending.remove(&waiting.admission);
        }
        if let (Some(waiting), Applied::Outcome(outcome)) = (waiting, applied) {
            self.reply(waiting.origin, waiting.id, outcome, sink);
        }
    }

    /// The leader of a directory without a map proposes the first one, once it knows that none is on its way.
    pub(super) fn found(&mut self) {
        let Some(list) = &self.founding else { return };
        if self.map().is_some() {
            self.founding = None;
            return;
        }
        let settled = self.broadcast.read_floor().is_some_and(|floor| self.broadcast.decided() >= floor);
        if self.leads() && settled && !self.founding_proposed {
            let body = DirectoryCommand::Found(founding_map(list)).to_bytes();
            self.founding_proposed = self.broadcast.propose(Entry { kind: EntryKind::Command, body }).is_ok();
        }
    }
}
