//! Processes that say that they live in the state directory of others: proof that those ended, or a copied directory.
//!
//! A process begins after it got hold of its state directory, so whoever lived there before has ended by then. An answer
//! to a question that was asked after the successor was heard shows that the directory is a copy, and that holds for
//! ever: the testimony proves nothing any more, however silent its subject is later.

use haystack_wire::Instant;
use haystack_wire::ids::NodeId;

use super::config::{REFUTED_MOST, SUCCESSIONS_MOST};
use super::probe::Purpose;
use super::{Conflict, Output, Swim};

impl Swim {
    /// `by` lives in the state directory of these, or says so. Each is asked: who does not answer, neither this node
    /// nor most of those that try for it, is more than silent.
    pub fn succeeded(&mut self, now: Instant, by: NodeId, predecessors: &[NodeId]) {
        for old in predecessors.iter().copied().filter(|old| *old != by) {
            if old == self.me.node {
                self.refute(old, by);
            } else if !self.disbelieves(old, by, predecessors) {
                self.probe_predecessor(now, old, by);
            }
        }
    }

    /// Whether `by`, which succeeds `predecessors`, is known not to succeed `old`: an answer showed that its state
    /// directory is a copy, or that of a process which it succeeds.
    fn disbelieves(&mut self, old: NodeId, by: NodeId, predecessors: &[NodeId]) -> bool {
        let liar = |(answered, new): &(NodeId, NodeId)| {
            *answered == old && (*new == by || predecessors.contains(new))
        };
        if !self.refuted.iter().any(liar) {
            return false;
        }
        self.remember_refuted(old, by);
        true
    }

    fn remember_refuted(&mut self, old: NodeId, new: NodeId) {
        if self.refuted.contains(&(old, new)) {
            return;
        }
        if self.refuted.len() == REFUTED_MOST {
            self.refuted.pop_front();
        }
        self.refuted.push_back((old, new));
    }

    /// `old` answers although `new` lives in what it says is its state directory.
    pub(super) fn refute(&mut self, old: NodeId, new: NodeId) {
        self.remember_refuted(old, new);
        if new == self.me.node {
            self.succeeds.retain(|predecessor| *predecessor != old);
        }
        self.report(Conflict::StateDirectory { old, new });
    }

    /// Testimonies that answers refuted: who answered, and its successor that is none.
    pub fn refuted(&self) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        self.refuted.iter().copied()
    }

    /// A predecessor of this very process that passes for alive. It is asked before all others: if it answers, this
    /// process lives in a copy and must not testify.
    pub(super) fn live_predecessor(&self) -> Option<NodeId> {
        let idle = |node: &&NodeId| {
            self.table.get(**node).is_some_and(|record| record.live() && record.flights.is_empty())
        };
        self.succeeds.iter().find(idle).copied()
    }

    /// Probes a predecessor of `by`. It is declared dead at once if it does not answer.
    fn probe_predecessor(&mut self, now: Instant, target: NodeId, by: NodeId) {
        let Some(record) = self.table.get(target) else { return };
        let running = record.flights.iter().filter_map(|id| self.flights.get(id));
        let mut purposes = running.map(|flight| &flight.purpose);
        if purposes.any(|purpose| matches!(purpose, Purpose::Succession { .. })) {
            return;
        }
        if self.successions >= SUCCESSIONS_MOST {
            self.counters.drop_relay += 1;
            return;
        }
        let addr = record.member.addr;
        self.successions += 1;
        // Long enough for a living one to be heard on its link, whatever is lost: who is silent is given up for good.
        let wait = self.timing.try_ceiling * (self.health + 1);
        self.launch(
            now,
            target,
            addr,
            wait,
            Purpose::Succession { by, helpers: Vec::new(), nacks: Vec::new() },
        );
    }

    /// A predecessor has not answered this node. If there are others, most of those that were asked must say the same:
    /// their silence says nothing, for it may be this node that is cut off.
    pub(super) fn predecessor_silent(&mut self, now: Instant, id: u64) {
        let Some(flight) = self.drop_flight(id) else { return };
        let Purpose::Succession { by, helpers, nacks } = flight.purpose else { return };
        let old = flight.target;
        if nacks.len() * 2 < helpers.len() + usize::from(!helpers.is_empty()) {
            self.counters.successions_open += 1;
            return;
        }
        let Some(record) = self.table.get(old) else { return };
        let whom = record.accused();
        self.die(now, whom);
        self.outputs.push_back(Output::Succeeded { old, by });
    }
}
