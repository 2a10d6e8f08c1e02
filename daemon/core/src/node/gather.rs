//! A status of the whole cluster, from any node: every node that answers is asked how its replicas stand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use haystack_wire::Instant;
use haystack_wire::frame::Class;
use haystack_wire::ids::NodeId;
use haystack_wire::link::LinkId;
use haystack_wire::message::admin::{AdminReply, ReplicaReport};
use haystack_wire::message::{PeerMessage, ServerMessage};

use super::Node;
use super::timers::Source;

/// How long the nodes have to answer (judgement: a person waits, and several round trips fit in).
const GATHER_LIMIT: Duration = Duration::from_millis(400);
/// Administrators that wait for one answer; more are told what this node knows by itself.
const WAITING_LIMIT: usize = 64;

/// Reports by node.
pub(super) type Reports = BTreeMap<NodeId, Vec<ReplicaReport>>;

/// A question to all nodes that is under way.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// Mark of the question; answers to older ones do not count.
    mark: u64,
    /// Who waits for it, with the mark of the request.
    waiting: Vec<(LinkId, u64)>,
    /// Who has not answered.
    missing: BTreeSet<NodeId>,
    reports: Reports,
}

impl Node {
    /// An administrator asks for the status.
    pub(super) fn gather(&mut self, now: Instant, link: LinkId, id: u64) {
        if self.gather.waiting.len() >= WAITING_LIMIT {
            return self.answer_status(now, link, id, &Reports::new());
        }
        self.gather.waiting.push((link, id));
        if self.gather.waiting.len() > 1 {
            return;
        }
        self.gather.mark += 1;
        self.gather.reports = Reports::from([(self.id(), self.report())]);
        let peers: Vec<_> =
            self.peer_links().filter_map(|link| Some((link, self.links.get(&link)?.node))).collect();
        let bytes = self.outbox.encode(&PeerMessage::ReportPull { mark: self.gather.mark });
        for (link, node) in peers {
            let asked = self.answers(now, node)
                && self.endpoint.send(now, link, Class::Client, bytes.clone()).is_ok();
            if asked {
                self.gather.missing.insert(node);
            }
        }
        self.timers.set(Source::Gather, Some(now + GATHER_LIMIT));
        self.end_gather(now, false);
    }

    /// Another node asks how the replicas of this one stand.
    pub(super) fn on_report_pull(&mut self, now: Instant, link: LinkId, mark: u64) {
        let replicas = self.report();
        let bytes = self.outbox.encode(&PeerMessage::Report { mark, replicas });
        if self.endpoint.send(now, link, Class::Client, bytes).is_err() {
            self.stats.drop_reply += 1;
        }
    }

    pub(super) fn on_report(&mut self, now: Instant, from: NodeId, mark: u64, replicas: Vec<ReplicaReport>) {
        if mark == self.gather.mark && self.gather.missing.remove(&from) {
            self.gather.reports.insert(from, replicas);
            self.end_gather(now, false);
        }
    }

    /// Answers whoever waits, if everybody has answered or no more time is to be spent.
    pub(super) fn end_gather(&mut self, now: Instant, overdue: bool) {
        if !(overdue || self.gather.missing.is_empty()) {
            return;
        }
        self.timers.set(Source::Gather, None);
        self.gather.missing.clear();
        let reports = core::mem::take(&mut self.gather.reports);
        for (link, id) in core::mem::take(&mut self.gather.waiting) {
            self.answer_status(now, link, id, &reports);
        }
    }

    fn answer_status(&mut self, now: Instant, link: LinkId, id: u64, reports: &Reports) {
        let reply = AdminReply::Status(Box::new(self.status_with(now, reports)));
        self.send_server(now, link, &ServerMessage::Admin { id, reply });
    }

    /// How the replicas of this node stand.
    pub(super) fn report(&self) -> Vec<ReplicaReport> {
        self.groups.values().map(super::status::replica_report).collect()
    }
}
