//! How things stand, as this node sees them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use haystack_wire::Instant;
use haystack_wire::ids::{HistoryId, NodeId};
use haystack_wire::message::admin::{GroupStatus, NodeStatus, Status};

use super::Node;
use crate::group::{Group, Machine};

/// A process heard within this time answers (judgement: five heartbeats and room for a lost one).
const ANSWERS_WITHIN: Duration = Duration::from_millis(1_000);

impl Node {
    /// The truth about the cluster, as far as this node sees.
    pub fn status(&self, now: Instant) -> Status {
        Status {
            node: self.id(),
            name: self.config.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            standing: self.founding.standing(),
            waits_for: self.founding.waits_for(),
            cluster: self.founding.cluster(),
            history: self.map.as_ref().map_or(HistoryId(0), |map| map.history),
            epoch: self.epoch(),
            founders: self.config.founder_names.clone(),
            nodes: self.config.founders.iter().map(|addr| self.node_status(now, *addr)).collect(),
            groups: self.groups.values().map(group_status).collect(),
            counters: self.counters(),
        }
    }

    /// Everything counted, the groups' summed up.
    fn counters(&self) -> Vec<(String, u64)> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (name, count) in self.stats.iter() {
            sums.insert(name.to_owned(), count);
        }
        let mut add =
            |part: &str, name: &str, count| *sums.entry(format!("{part}.{name}")).or_default() += count;
        self.endpoint.stats().iter().for_each(|(name, count)| add("link", name, count));
        for group in self.groups.values() {
            group.broadcast().counters().iter().for_each(|(name, count)| add("broadcast", name, count));
            group.election().stats().iter().for_each(|(name, count)| add("election", name, count));
            if let Machine::Data(store) = group.machine() {
                store.stats().iter().for_each(|(name, count)| add("store", name, count));
            }
        }
        sums.into_iter().collect()
    }

    /// Whether a process was heard from lately.
    pub(super) fn hears(&self, now: Instant, node: NodeId) -> bool {
        let remote = self.endpoint.link_to(node).and_then(|link| self.endpoint.remote(link));
        remote.is_some_and(|remote| now.saturating_since(remote.last_heard) < ANSWERS_WITHIN)
    }

    fn node_status(&self, now: Instant, addr: SocketAddr) -> NodeStatus {
        if addr == self.config.advertise {
            return NodeStatus {
                node: Some(self.id()),
                name: self.config.name.clone(),
                addr,
                up: true,
                standing: Some(self.founding.standing()),
                rtt_us: 0,
                loss_ppm: 0,
            };
        }
        let Some((info, _)) = self.founding.process_at(addr) else {
            let (node, name) = (None, String::new());
            return NodeStatus { node, name, addr, up: false, standing: None, rtt_us: 0, loss_ppm: 0 };
        };
        let remote = self.endpoint.link_to(info.node).and_then(|link| self.endpoint.remote(link));
        NodeStatus {
            node: Some(info.node),
            name: info.name.clone(),
            addr,
            up: self.hears(now, info.node),
            standing: self.founding.standing_of(info.node),
            rtt_us: remote.as_ref().map_or(0, |remote| remote.srtt.as_micros() as u64),
            loss_ppm: remote.as_ref().map_or(0, |remote| remote.loss_ppm),
        }
    }
}

fn group_status(group: &Group) -> GroupStatus {
    let (keys, bytes, sessions) = match group.machine() {
        Machine::Directory { .. } => (0, 0, 0),
        Machine::Data(store) => (store.len(), store.bytes(), store.sessions()),
    };
    GroupStatus {
        group: group.id(),
        view: group.view(),
        leader: group.leader(),
        replicas: group.replicas().to_vec(),
        live: group.live() as u32,
        len: group.broadcast().len(),
        decided: group.broadcast().decided(),
        applied: group.broadcast().applied(),
        keys,
        bytes,
        sessions,
    }
}
