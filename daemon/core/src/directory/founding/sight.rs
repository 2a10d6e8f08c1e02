//! Who else is there: peers that introduced themselves, and what they said of where they stand.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use haystack_wire::Instant;
use haystack_wire::ids::{ClusterId, NodeId};
use haystack_wire::message::directory::{DirectoryMessage, NodeInfo, Standing};

use super::Founding;

/// Peers that introduced themselves and are remembered (bounds memory against a flood of strangers).
const SEEN_LIMIT: usize = 1024;

/// A peer that introduced itself.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) info: NodeInfo,
    pub(super) at: SocketAddr,
    pub(super) standing: Standing,
    pub(super) cluster: Option<ClusterId>,
    pub(super) founders_hash: u64,
    /// How many partitions, and replicas of each, it would found.
    pub(super) terms: (u32, u32),
    /// The processes that ended before it began: what they said may still be on its way.
    pub(super) succeeds: Vec<NodeId>,
    /// Whether it is linked and answers.
    pub(super) up: bool,
}

impl Founding {
    /// Whether a peer said that it is a member of this process's cluster.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.seen
            .get(&node)
            .is_some_and(|seen| seen.standing == Standing::Member && seen.cluster == self.told.1)
    }

    /// What a peer said of where it stands.
    pub fn standing_of(&self, node: NodeId) -> Option<Standing> {
        self.seen.get(&node).map(|seen| seen.standing)
    }

    /// A process of this one's cluster that said that it lives in the state directory of `node`.
    pub fn successor_of(&self, node: NodeId) -> Option<NodeId> {
        let mut ours = self.seen.iter().filter(|(_, seen)| seen.up && seen.cluster == self.told.1);
        ours.find(|(_, seen)| seen.succeeds.contains(&node)).map(|(successor, _)| *successor)
    }

    /// Another founder that goes by this one's name, or two others that share one.
    pub(super) fn namesake(&self) -> Option<String> {
        let addrs = self.config.founders.iter().filter(|addr| **addr != self.me.addr);
        let others = addrs.filter_map(|addr| self.seen_at(*addr)).map(|seen| &seen.info);
        let mut names = BTreeMap::from([(&self.me.name, self.me.addr)]);
        others.filter(|info| info.node != self.me.node).find_map(|info| {
            let taken = names.insert(&info.name, info.addr)?;
            Some(format!(
                "{taken} and {} are both called `{}`: give each daemon a name of its own",
                info.addr, info.name
            ))
        })
    }

    /// The process last seen at a founder's address, with whether its link is up.
    pub fn process_at(&self, addr: SocketAddr) -> Option<(&NodeInfo, bool)> {
        self.seen_at(addr).map(|seen| (&seen.info, seen.up))
    }

    /// Whether a peer that belongs to `cluster` with a vote is in sight.
    pub fn members_in_sight(&self, cluster: ClusterId) -> usize {
        self.seen
            .values()
            .filter(|seen| seen.up && seen.standing == Standing::Member && seen.cluster == Some(cluster))
            .count()
    }

    pub(super) fn seen_at(&self, addr: SocketAddr) -> Option<&Seen> {
        self.seen.values().find(|seen| seen.at == addr || seen.info.addr == addr)
    }

    /// A peer has introduced itself over a link from `at`.
    pub fn on_introduce(&mut self, now: Instant, from: NodeId, at: SocketAddr, message: &DirectoryMessage) {
        let DirectoryMessage::Introduce {
            info,
            standing,
            cluster,
            founders_hash,
            partitions,
            degree,
            succeeds,
        } = message
        else {
            return;
        };
        if info.node != from || from == self.me.node {
            return;
        }
        // A word of a process that has ended may still be on its way. At another address its successor is none: it began
        // in a copy of the state directory.
        let succeeded = |seen: &Seen| seen.succeeds.contains(&from) && seen.info.addr == info.addr;
        if self.seen.values().any(succeeded) {
            return;
        }
        // One address has one process: the one that spoke last.
        self.seen.retain(|node, seen| *node == from || (seen.at != at && seen.info.addr != info.addr));
        if self.seen.len() >= SEEN_LIMIT && !self.seen.contains_key(&from) {
            // Strangers that went make room.
            let Some(silent) = self.seen.iter().find(|(_, seen)| !seen.up).map(|(node, _)| *node) else {
                return;
            };
            self.seen.remove(&silent);
        }
        let seen = Seen {
            info: info.clone(),
            at,
            standing: *standing,
            cluster: *cluster,
            founders_hash: *founders_hash,
            terms: (*partitions, *degree),
            succeeds: succeeds.clone(),
            up: true,
        };
        self.seen.insert(from, seen);
        self.reconsider(now);
    }

    /// The link to a peer is gone, or its process.
    pub fn on_down(&mut self, node: NodeId) {
        if let Some(seen) = self.seen.get_mut(&node) {
            seen.up = false;
        }
    }

    /// A peer was heard from lately, or was not although its link stands.
    pub fn on_heard(&mut self, now: Instant, node: NodeId, heard: bool) {
        if let Some(seen) = self.seen.get_mut(&node)
            && seen.up != heard
        {
            seen.up = heard;
            self.reconsider(now);
        }
    }
}
