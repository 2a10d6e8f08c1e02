//! Who serves what at founding.
//!
//! Three wishes, in this order: replicas of a group in different zones, else on different hosts, else at least on
//! different nodes; as many replicas on every node as on any other; as many preferred leaders on every node as on any
//! other. Everything follows from the list alone, so that every founder would compute the same.

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
    even_replicas(&list.founders, &mut groups);
    even_leaders(list.founders.len(), &mut groups);
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

/// Moves replicas from nodes with more to nodes with fewer, as long as a group does not come closer together by it.
fn even_replicas(nodes: &[NodeInfo], groups: &mut [Vec<usize>]) {
    let edge = |groups: &[Vec<usize>], group: usize, from: usize, to: usize| {
        let replicas = &groups[group];
        replicas.contains(&from)
            && !replicas.contains(&to)
            && nearness(nodes, replicas, from, to) <= nearness(nodes, replicas, from, from)
    };
    let count = |groups: &[Vec<usize>], at| groups.iter().filter(|replicas| replicas.contains(&at)).count();
    level(nodes.len(), groups, &count, &edge, &mut |groups, group, from, to| {
        let replicas = &mut groups[group];
        if let Some(place) = replicas.iter().position(|at| *at == from) {
            replicas[place] = to;
        }
    });
}

/// Puts the preferred leader first in every group, so that all nodes lead alike.
fn even_leaders(nodes: usize, groups: &mut [Vec<usize>]) {
    let edge = |groups: &[Vec<usize>], group: usize, from: usize, to: usize| {
        groups[group].first() == Some(&from) && from != to && groups[group].contains(&to)
    };
    let count =
        |groups: &[Vec<usize>], at| groups.iter().filter(|replicas| replicas.first() == Some(&at)).count();
    level(nodes, groups, &count, &edge, &mut |groups, group, _, to| {
        let replicas = &mut groups[group];
        if let Some(place) = replicas.iter().position(|at| *at == to) {
            replicas.swap(0, place);
        }
    });
}

/// Levels a load between nodes: along the shortest chain of moves from a node with the most to one with at least two
/// fewer, as long as there is one (an augmenting path: what no chain can level, nothing can).
fn level(
    nodes: usize,
    groups: &mut [Vec<usize>],
    count: &dyn Fn(&[Vec<usize>], usize) -> usize,
    edge: &dyn Fn(&[Vec<usize>], usize, usize, usize) -> bool,
    shift: &mut dyn FnMut(&mut [Vec<usize>], usize, usize, usize),
) {
    let mut loads: Vec<usize> = (0..nodes).map(|at| count(groups, at)).collect();
    'more: loop {
        let mut by_load: Vec<usize> = (0..nodes).collect();
        by_load.sort_by_key(|at| (std::cmp::Reverse(loads[*at]), *at));
        for start in by_load {
            if let Some(chain) = chain_from(start, nodes, groups, &loads, edge) {
                // From the end on, so that every move finds the groups as they were when the chain was found.
                for (group, from, to) in chain.into_iter().rev() {
                    shift(groups, group, from, to);
                    loads[from] -= 1;
                    loads[to] += 1;
                }
                continue 'more;
            }
        }
        return;
    }
}

/// The moves of the shortest chain from `start` to a node with at least two fewer.
fn chain_from(
    start: usize,
    nodes: usize,
    groups: &[Vec<usize>],
    loads: &[usize],
    edge: &dyn Fn(&[Vec<usize>], usize, usize, usize) -> bool,
) -> Option<Vec<(usize, usize, usize)>> {
    if loads.iter().all(|load| load + 2 > loads[start]) {
        return None;
    }
    let mut came_by: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        if loads[at] + 2 <= loads[start] {
            let mut chain = Vec::new();
            let mut to = at;
            while to != start {
                let (group, from) = came_by[&to];
                // A chain that uses a group twice would find it changed.
                if chain.iter().any(|(used, _, _)| *used == group) {
                    return None;
                }
                chain.push((group, from, to));
                to = from;
            }
            chain.reverse();
            return Some(chain);
        }
        for to in 0..nodes {
            if to == start || came_by.contains_key(&to) {
                continue;
            }
            if let Some(group) = (0..groups.len()).find(|group| edge(groups, *group, at, to)) {
                came_by.insert(to, (group, at));
                queue.push_back(to);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
