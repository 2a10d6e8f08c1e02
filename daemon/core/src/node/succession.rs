//! Processes that say that they live in the state directory of others: ends that are proven, and copied directories.

use haystack_wire::Instant;
use haystack_wire::ids::NodeId;
use haystack_wire::link::LinkId;
use haystack_wire::message::directory::NodeState;
use haystack_wire::message::membership::MemberState;
use slog::info;

use super::{Node, SUCCESSION_SILENCE};
use crate::membership::swim::{Conflict, Swim};

impl Node {
    /// A process does not answer those who were asked about it, and its successor has testified.
    pub(super) fn on_succeeded(&mut self, now: Instant, old: NodeId, by: NodeId) {
        // Who is cut off from most of those that decide hears nobody answer. It asks again later.
        if !self.hears_most_of_the_directory(now) {
            return;
        }
        info!(self.log, "a process has a successor"; "peer" => old.short(), "successor" => by.short());
        self.note_proven_end(now, old);
    }

    fn hears_most_of_the_directory(&self, now: Instant) -> bool {
        let Some(map) = &self.map else { return false };
        let replicas = &map.directory.replicas;
        replicas.iter().filter(|node| self.answers(now, **node)).count() * 2 > replicas.len()
    }

    /// Dead members of whom successors are in sight are asked a last time.
    pub(super) fn ask_silent_predecessors(&mut self, now: Instant) {
        let dead = self.swim.iter().flat_map(Swim::members);
        let dead = dead.filter(|member| member.state == MemberState::Dead).map(|member| member.node);
        let pairs: Vec<_> = dead.filter_map(|old| Some((old, self.founding.successor_of(old)?))).collect();
        for (old, by) in pairs {
            let Some(swim) = &mut self.swim else { return };
            swim.succeeded(now, by, &[old]);
        }
    }

    /// A process is back: so is the conflict with the one that lives in a copy of its state directory.
    pub(super) fn tell_copies_again(&mut self, now: Instant, back: NodeId) {
        let Some(swim) = &self.swim else { return };
        let lives = |node: NodeId| {
            node == self.id() || swim.get(node).is_some_and(|member| member.state <= MemberState::Suspect)
        };
        let pairs = swim.refuted().filter(|(old, new)| *old == back || *new == back);
        let both: Vec<_> = pairs.filter(|(old, new)| lives(*old) && lives(*new)).collect();
        for (old, new) in both {
            self.on_conflict(now, Conflict::StateDirectory { old, new });
        }
    }

    /// Before there is a cluster, the links to processes that began anew at the same address are ended soon. Among
    /// members this is for membership to find out.
    pub(super) fn note_succession(&mut self, now: Instant, link: LinkId, from: NodeId, succeeds: &[NodeId]) {
        if self.swim.is_some() {
            return;
        }
        let me = self.id();
        for node in succeeds.iter().filter(|node| **node != from && **node != me) {
            let known = self.endpoint.link_to(*node);
            // At another address it began in a copy of the state directory.
            let same = known.is_some_and(|known| {
                let addr_of = |link| self.endpoint.remote(link).map(|remote| remote.addr);
                addr_of(known) == addr_of(link)
            });
            if same && !self.succeeded.iter().any(|(noted, _)| noted == node) {
                self.succeeded.push((*node, now));
            }
        }
    }

    pub(super) fn end_predecessors(&mut self, now: Instant) {
        let due: Vec<_> = self
            .succeeded
            .extract_if(.., |(_, since)| now.saturating_since(*since) >= SUCCESSION_SILENCE)
            .collect();
        for (node, since) in due {
            let Some(link) = self.endpoint.link_to(node) else { continue };
            if self.endpoint.remote(link).is_some_and(|remote| remote.last_heard > since) {
                info!(self.log, "a process that was declared dead by a successor still answers";
                    "peer" => node.short());
                continue;
            }
            self.endpoint.gone(link);
        }
    }

    /// Whether the directory or a testimony says that a process has ended for good.
    pub(super) fn is_given_up(&self, node: NodeId) -> bool {
        let recorded = self.map.as_ref().and_then(|map| map.record(node));
        recorded.is_some_and(|record| record.state == NodeState::Gone)
            || self.swim.as_ref().is_some_and(|swim| swim.is_proven_gone(node))
    }
}
