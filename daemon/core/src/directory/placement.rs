//! Who serves what at founding.

use haystack_wire::ids::{Epoch, GroupId, HistoryId, NodeId, ViewId};
use haystack_wire::message::directory::{FoundingList, Partition, PartitionMap};
use haystack_wire::slot::even_partitions;

/// The first partition map: the slots divided evenly, every founder a replica of every group, and the
/// preference to lead rotated, so that each founder leads its share within one of even.
pub fn founding_map(list: &FoundingList) -> PartitionMap {
    let nodes: Vec<NodeId> = list.founders.iter().map(|founder| founder.node).collect();
    let partitions = even_partitions(list.partitions)
        .into_iter()
        .enumerate()
        .map(|(at, (first, last))| {
            let mut replicas = nodes.clone();
            replicas.rotate_left(at % nodes.len());
            Partition { group: GroupId(at as u32 + 1), view: ViewId(0), first, last, replicas }
        })
        .collect();
    PartitionMap {
        cluster: list.cluster,
        history: HistoryId(0),
        epoch: Epoch(1),
        nodes: list.founders.clone(),
        partitions,
    }
}
