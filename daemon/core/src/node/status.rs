//! How things stand, as this node sees them and others report.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use haystack_wire::Instant;
use haystack_wire::datagram::DropReason;
use haystack_wire::ids::{Ballot, GroupId, HistoryId, NodeId, ViewId};
use haystack_wire::message::admin::{
    GroupStatus, NodeStatus, ReplicaReport, ReplicaStatus, SlotRange, Status,
};
use haystack_wire::message::directory::NodeInfo;
use haystack_wire::message::membership::MemberState;

use super::Node;
use super::gather::Reports;
use crate::group::{Group, Machine};

/// A process heard within this time answers (judgement: ten heartbeats, so that some may be lost).
const ANSWERS_WITHIN: Duration = Duration::from_millis(1_000);

impl Node {
    /// The truth about the cluster, as far as this node sees by itself.
    pub fn status(&self, now: Instant) -> Status {
        self.status_with(now, &Reports::from([(self.id(), self.report())]))
    }

    /// The truth about the cluster, with what other nodes report of their replicas.
    pub(super) fn status_with(&self, now: Instant, reports: &Reports) -> Status {
        Status {
            node: self.id(),
            name: self.config.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            standing: self.founding.standing(),
            waits_for: self.waits_for(),
            cluster: self.founding.cluster(),
            history: self.map.as_ref().map_or(HistoryId(0), |map| map.history),
            epoch: self.epoch(),
            degree: self.map.as_ref().map_or(0, |map| map.degree),
            coordinator: self.coordinator(),
            founders: self.config.founder_names.clone(),
            nodes: self.node_statuses(now, reports),
            groups: self.group_statuses(reports),
            counters: self.counters(),
        }
    }

    /// What stands between this node and its serving, or what its administrator must settle; empty if all is well.
    pub(super) fn waits_for(&self) -> String {
        let mut word = self.founding.waits_for();
        if !self.founding.is_settled()
            && let Some(hint) = self.strangers_hint()
        {
            word = format!("{word}. {hint}");
        }
        match self.conflicts.values().next() {
            Some(conflict) if word.is_empty() => conflict.clone(),
            Some(conflict) => format!("{word}. {conflict}"),
            None => word,
        }
    }

    /// Why nobody may be heard: what came was not meant for this cluster.
    fn strangers_hint(&self) -> Option<&'static str> {
        let dropped = |reason: DropReason| self.endpoint.stats().dropped[reason.index()] > 0;
        if dropped(DropReason::Network) {
            Some("Datagrams of a cluster of another name arrive: compare `cluster` in the configurations")
        } else if dropped(DropReason::Unsealed) {
            Some("Datagrams of daemons or clients without a key arrive: give `key_file` to all")
        } else if dropped(DropReason::Sealed) {
            Some("Sealed datagrams arrive and this daemon has no key: set `key_file` as on the others")
        } else if dropped(DropReason::UnknownKey) || dropped(DropReason::Authentic) {
            Some("Datagrams sealed with another key arrive: `key_file` must hold the same key everywhere")
        } else {
            None
        }
    }

    /// Everything counted, the groups' summed up.
    fn counters(&self) -> Vec<(String, u64)> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        let mut add =
            |part: &str, name: &str, count| *sums.entry(format!("{part}.{name}")).or_default() += count;
        self.stats.iter().for_each(|(name, count)| add("node", name, count));
        self.endpoint.stats().iter().for_each(|(name, count)| add("link", name, count));
        for group in self.groups.values() {
            group.broadcast().counters().iter().for_each(|(name, count)| add("broadcast", name, count));
            group.election().stats().iter().for_each(|(name, count)| add("election", name, count));
            if let Machine::Data(store) = group.machine() {
                store.stats().iter().for_each(|(name, count)| add("store", name, count));
            }
        }
        let members = self.swim.iter().flat_map(|swim| swim.counters());
        members.for_each(|(name, count)| add("swim", name, count));
        self.detector.counters().for_each(|(name, count)| add("detector", name, count));
        sums.into_iter().collect()
    }

    /// Whether a process was heard from lately.
    pub(super) fn hears(&self, now: Instant, node: NodeId) -> bool {
        let remote = self.endpoint.link_to(node).and_then(|link| self.endpoint.remote(link));
        remote.is_some_and(|remote| now.saturating_since(remote.last_heard) < ANSWERS_WITHIN)
    }

    /// Whether a process answers, as far as this node can tell: by the failure detector where that watches it, else by
    /// what was heard, else by what the members say.
    pub(super) fn answers(&self, now: Instant, node: NodeId) -> bool {
        if node == self.id() {
            return true;
        }
        if self.endpoint.link_to(node).is_some() {
            return !self.detector.suspects(node) && self.hears(now, node);
        }
        let member = self.swim.as_ref().and_then(|swim| swim.get(node));
        member.is_some_and(|member| member.state == MemberState::Alive)
    }

    /// Founders where nobody was seen yet, then whoever is known.
    fn node_statuses(&self, now: Instant, reports: &Reports) -> Vec<NodeStatus> {
        let mut known: BTreeMap<NodeId, NodeInfo> = BTreeMap::new();
        for addr in &self.config.founders {
            if let Some((info, _)) = self.founding.process_at(*addr) {
                known.insert(info.node, NodeInfo { addr: *addr, ..info.clone() });
            }
        }
        known.extend(self.members().map(|member| (member.node, super::membership::info(member))));
        if let Some(map) = &self.map {
            known.extend(map.nodes.iter().map(|record| (record.info.node, record.info.clone())));
        }
        known.insert(self.id(), self.config.info(self.id()));
        let unseen = |addr: &&SocketAddr| known.values().all(|info| info.addr != **addr);
        let founding = self.map.is_none();
        let strangers =
            self.config.founders.iter().filter(|_| founding).filter(unseen).map(|addr| stranger(*addr));
        let mut nodes: Vec<NodeStatus> =
            known.values().map(|info| self.node_status(now, info, reports)).chain(strangers).collect();
        // Who is only an address comes last.
        nodes.sort_by(|a, b| (a.name.is_empty(), &a.name, a.addr).cmp(&(b.name.is_empty(), &b.name, b.addr)));
        nodes
    }

    fn node_status(&self, now: Instant, info: &NodeInfo, reports: &Reports) -> NodeStatus {
        let node = info.node;
        let remote = self.endpoint.link_to(node).and_then(|link| self.endpoint.remote(link));
        let record = self.map.as_ref().and_then(|map| map.record(node));
        let standing = match record {
            _ if node == self.id() => Some(self.founding.standing()),
            Some(_) => Some(haystack_wire::message::directory::Standing::Member),
            None => self.founding.standing_of(node),
        };
        NodeStatus {
            node: Some(node),
            name: info.name.clone(),
            addr: info.addr,
            up: self.answers(now, node),
            standing,
            state: record.map(|record| record.state),
            member: self.members().find(|member| member.node == node).map(|member| member.state),
            reported: reports.contains_key(&node),
            zone: info.zone.clone(),
            host: info.host.clone(),
            rtt_us: remote.as_ref().map_or(0, |remote| remote.srtt.as_micros() as u64),
            loss_ppm: remote.as_ref().map_or(0, |remote| remote.loss_ppm),
        }
    }

    fn group_statuses(&self, reports: &Reports) -> Vec<GroupStatus> {
        let Some(map) = &self.map else {
            // Before there is a map there is at most the directory.
            return self.groups.values().map(|group| own_status(group, reports)).collect();
        };
        let directory = (GroupId::DIRECTORY, None, map.directory.view, &map.directory.replicas);
        let partitions = map.partitions.iter().map(|part| {
            let slots = SlotRange { first: part.first, last: part.last };
            (part.group, Some(slots), part.view, &part.replicas)
        });
        std::iter::once(directory)
            .chain(partitions)
            .map(|(group, slots, view, replicas)| group_status(group, slots, view, replicas, reports))
            .collect()
    }
}

/// A founder's address at which nobody was seen.
const fn stranger(addr: SocketAddr) -> NodeStatus {
    NodeStatus {
        node: None,
        name: String::new(),
        addr,
        up: false,
        standing: None,
        state: None,
        member: None,
        reported: false,
        zone: String::new(),
        host: String::new(),
        rtt_us: 0,
        loss_ppm: 0,
    }
}

fn own_status(group: &Group, reports: &Reports) -> GroupStatus {
    group_status(group.id(), None, group.view(), group.replicas(), reports)
}

/// A group put together from what its replicas report.
fn group_status(
    group: GroupId,
    slots: Option<SlotRange>,
    view: ViewId,
    replicas: &[NodeId],
    reports: &Reports,
) -> GroupStatus {
    let report = |node: &NodeId| {
        let of_node = reports.get(node)?;
        let at = of_node.binary_search_by_key(&group, |report| report.group).ok()?;
        of_node.get(at).copied()
    };
    let replicas: Vec<ReplicaStatus> =
        replicas.iter().map(|node| ReplicaStatus { node: *node, report: report(node) }).collect();
    // Who leads says so itself; of two that do, the one of the higher ballot has deposed the other.
    let leads = |replica: &ReplicaStatus| -> Option<Ballot> {
        replica.report?.leader.filter(|ballot| ballot.node == replica.node)
    };
    let leader = replicas.iter().filter_map(leads).max();
    GroupStatus { group, slots, view, leader, replicas }
}

/// How a replica stands.
pub(super) fn replica_report(group: &Group) -> ReplicaReport {
    let (keys, bytes, sessions) = match group.machine() {
        Machine::Directory { .. } => (0, 0, 0),
        Machine::Data(store) => (store.len(), store.bytes(), store.sessions()),
    };
    ReplicaReport {
        group: group.id(),
        view: group.view(),
        leader: group.leader(),
        live: group.live() as u32,
        len: group.broadcast().len(),
        decided: group.broadcast().decided(),
        applied: group.broadcast().applied(),
        keys,
        bytes,
        sessions,
    }
}
