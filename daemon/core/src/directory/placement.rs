//! Who serves what at founding.
//!
//! Three wishes, in this order: replicas of a group in different zones, else on different hosts, else at least on
//! different nodes; as many replicas on every node as on any other; as many preferred leaders on every node as on any
//! other. Everything follows from the list alone, so that every founder would compute the same.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use haystack_wire::ids::{Epoch, GroupId, HistoryId, NodeId, ViewId};
use haystack_wire::message::directory::{
    FoundingList, GroupView, NodeInfo, NodeRecord, NodeState, Partition, PartitionMap,
};
use haystack_wire::slot::even_partitions;
use xxhash_rust::xxh3::Xxh3;

/// From so many founders on the directory has five replicas, so that two may be lost at once.
const LARGE_DIRECTORY_FROM: usize = 5;

/// How close two nodes are: what the failure of one thing takes with it. More is worse.
fn closeness(a: &NodeInfo, b: &NodeInfo) -> u32 {
    let same = |a: &str, b: &str| !a.is_empty() && a == b;
    // A host is in one zone, whatever it says.
    let host =
        same(&a.host, &b.host) || (a.host.is_empty() && b.host.is_empty() && a.addr.ip() == b.addr.ip());
    2 * u32::from(host) + u32::from(same(&a.zone, &b.zone))
}

/// The founders that make up the directory group, the preferred coordinator first: one of one or two, three of three
/// or four, five of five and more; as far apart as they can be.
pub fn directory_replicas(list: &FoundingList) -> Vec<NodeId> {
    let count = match list.founders.len() {
        few @ ..3 => few,
        3..LARGE_DIRECTORY_FROM => 3,
        _ => 5,
    };
    let mut picked: Vec<&NodeInfo> = Vec::with_capacity(count);
    while picked.len() < count {
        let far = |info: &NodeInfo| picked.iter().map(|other| closeness(info, other)).sum::<u32>();
        let next = list
            .founders
            .iter()
            .filter(|info| picked.iter().all(|other| other.node != info.node))
            .min_by_key(|info| (far(info), info.node));
        let Some(next) = next else { break };
        picked.push(next);
    }
    picked.iter().map(|info| info.node).collect()
}

/// The first partition map: the slots divided evenly, and `degree` founders for every group, or all if they are fewer.
pub fn founding_map(list: &FoundingList) -> PartitionMap {
    let ranges = even_partitions(list.partitions);
    let degree = (list.degree as usize).min(list.founders.len());
    let mut groups = spread(&list.founders, ranges.len(), degree);
    Burden::Replicas(&list.founders).level(list.founders.len(), &mut groups);
    Burden::Leaders.level(list.founders.len(), &mut groups);
    let id = |at: &usize| list.founders[*at].node;
    let partitions = (1..)
        .zip(ranges)
        .zip(&groups)
        .map(|((group, (first, last)), replicas)| Partition {
            group: GroupId(group),
            view: ViewId(0),
            first,
            last,
            replicas: replicas.iter().map(id).collect(),
        })
        .collect();
    let record = |info: &NodeInfo| NodeRecord { info: info.clone(), state: NodeState::Up };
    let mut nodes: Vec<NodeRecord> = list.founders.iter().map(record).collect();
    nodes.sort_unstable_by_key(|record| record.info.node);
    PartitionMap {
        cluster: list.cluster,
        history: HistoryId(0),
        epoch: Epoch(1),
        degree: list.degree,
        directory: GroupView { view: ViewId(0), replicas: directory_replicas(list) },
        nodes,
        partitions,
    }
}

/// For every group the positions of its replicas: each time the farthest apart, then the least loaded; among equals by
/// a hash, so that a node shares groups with many others and a repair has many sources.
fn spread(nodes: &[NodeInfo], groups: usize, degree: usize) -> Vec<Vec<usize>> {
    let mut loads = vec![0_usize; nodes.len()];
    let mut out = Vec::with_capacity(groups);
    for group in 0..groups {
        let mut replicas: Vec<usize> = Vec::with_capacity(degree);
        while replicas.len() < degree {
            let near = |at: usize| -> u32 {
                replicas.iter().map(|other| closeness(&nodes[at], &nodes[*other])).sum()
            };
            let next = (0..nodes.len())
                .filter(|at| !replicas.contains(at))
                .min_by_key(|at| (near(*at), loads[*at], shuffle(group, &nodes[*at])));
            let Some(next) = next else { break };
            loads[next] += 1;
            replicas.push(next);
        }
        out.push(replicas);
    }
    out
}

fn shuffle(group: usize, node: &NodeInfo) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&(group as u64).to_be_bytes());
    hash.update(&node.node.0);
    hash.digest()
}

/// The sum of how close a group's replicas are, with `at` in the place of `instead_of`.
fn nearness(nodes: &[NodeInfo], replicas: &[usize], instead_of: usize, at: usize) -> u32 {
    let others = replicas.iter().filter(|other| **other != instead_of);
    others.map(|other| closeness(&nodes[at], &nodes[*other])).sum()
}

/// What is levelled between nodes.
#[derive(Clone, Copy)]
enum Burden<'a> {
    /// Replicas, as long as a group does not come closer together by a move.
    Replicas(&'a [NodeInfo]),
    /// Preferred leaderships: the first place in a group.
    Leaders,
}

impl Burden<'_> {
    /// How much a node carries.
    fn of(self, groups: &[Vec<usize>], node: usize) -> usize {
        let carries = |replicas: &&Vec<usize>| match self {
            Self::Replicas(_) => replicas.contains(&node),
            Self::Leaders => replicas.first() == Some(&node),
        };
        groups.iter().filter(carries).count()
    }

    /// Whether a group's part of it may move from one node to another.
    fn may_move(self, replicas: &[usize], from: usize, to: usize) -> bool {
        match self {
            Self::Replicas(nodes) => {
                replicas.contains(&from)
                    && !replicas.contains(&to)
                    && nearness(nodes, replicas, from, to) <= nearness(nodes, replicas, from, from)
            }
            Self::Leaders => replicas.first() == Some(&from) && from != to && replicas.contains(&to),
        }
    }

    fn shift(self, replicas: &mut [usize], from: usize, to: usize) {
        let wanted = match self {
            Self::Replicas(_) => from,
            Self::Leaders => to,
        };
        let Some(place) = replicas.iter().position(|at| *at == wanted) else { return };
        match self {
            Self::Replicas(_) => replicas[place] = to,
            Self::Leaders => replicas.swap(0, place),
        }
    }

    /// Levels it: along the shortest chain of moves from a node with the most to one with at least two fewer, as long as
    /// there is one (an augmenting path: what no chain can level, nothing can).
    fn level(self, nodes: usize, groups: &mut [Vec<usize>]) {
        let mut loads: Vec<usize> = (0..nodes).map(|at| self.of(groups, at)).collect();
        loop {
            let mut by_load: Vec<usize> = (0..nodes).collect();
            by_load.sort_by_key(|at| (Reverse(loads[*at]), *at));
            let found = by_load.into_iter().find_map(|start| self.chain_from(start, groups, &loads));
            let Some(chain) = found else { return };
            // Backwards, so that every move finds the groups as they were when the chain was found.
            for (group, from, to) in chain.into_iter().rev() {
                self.shift(&mut groups[group], from, to);
                loads[from] -= 1;
                loads[to] += 1;
            }
        }
    }

    /// The moves (group, from, to) of the shortest chain from `start` to a node with at least two fewer.
    fn chain_from(
        self,
        start: usize,
        groups: &[Vec<usize>],
        loads: &[usize],
    ) -> Option<Vec<(usize, usize, usize)>> {
        if loads.iter().all(|load| load + 2 > loads[start]) {
            return None;
        }
        let mut came_by: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            if loads[at] + 2 <= loads[start] {
                return chain_to(at, start, &came_by);
            }
            for to in 0..loads.len() {
                if to == start || came_by.contains_key(&to) {
                    continue;
                }
                let by = (0..groups.len()).find(|group| self.may_move(&groups[*group], at, to));
                if let Some(group) = by {
                    came_by.insert(to, (group, at));
                    queue.push_back(to);
                }
            }
        }
        None
    }
}

/// The moves from `start` to `end`. None if they use a group twice, which the second would find changed.
fn chain_to(
    end: usize,
    start: usize,
    came_by: &BTreeMap<usize, (usize, usize)>,
) -> Option<Vec<(usize, usize, usize)>> {
    let mut chain: Vec<(usize, usize, usize)> = Vec::new();
    let mut to = end;
    while to != start {
        let (group, from) = came_by[&to];
        if chain.iter().any(|(used, _, _)| *used == group) {
            return None;
        }
        chain.push((group, from, to));
        to = from;
    }
    chain.reverse();
    Some(chain)
}

#[cfg(test)]
mod tests;
