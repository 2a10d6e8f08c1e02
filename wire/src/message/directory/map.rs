//! Routing by the partition map, and what makes a map whole.

use std::collections::BTreeSet;

use super::{GROUPS_LIMIT, NAME_LIMIT, NODES_LIMIT, Partition, PartitionMap, REPLICAS_LIMIT};
use crate::codec::DecodeError;
use crate::ids::{GroupId, NodeId, Slot};
use crate::slot::SLOTS;

impl PartitionMap {
    /// The partition that a slot belongs to: always there in a valid map. Takes O(log partitions).
    pub fn partition_of(&self, slot: Slot) -> Option<&Partition> {
        let after = self.partitions.partition_point(|partition| partition.first <= slot);
        self.partitions[..after].last().filter(|partition| slot <= partition.last)
    }

    /// The group that serves a slot.
    pub fn group_of(&self, slot: Slot) -> Option<GroupId> {
        self.partition_of(slot).map(|partition| partition.group)
    }

    /// Checks that the partitions cover all slots once and in order, that each has a group of its own other than
    /// the directory and replicas that the map knows, all different, and that every limit is kept.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), DecodeError> {
        let nodes = self.valid_nodes()?;
        if self.partitions.len() > GROUPS_LIMIT {
            return Err(DecodeError::TooLong("PartitionMap.partitions"));
        }
        let mut groups = BTreeSet::new();
        let mut next = 0;
        for partition in &self.partitions {
            if partition.first.0 != next || partition.last < partition.first || partition.last.0 >= SLOTS {
                return Err(DecodeError::Invalid("Partition.first"));
            }
            next = partition.last.0 + 1;
            if partition.group == GroupId::DIRECTORY || !groups.insert(partition.group) {
                return Err(DecodeError::Invalid("Partition.group"));
            }
            valid_replicas(&partition.replicas, &nodes)?;
        }
        if next == SLOTS { Ok(()) } else { Err(DecodeError::Invalid("PartitionMap.partitions")) }
    }

    fn valid_nodes(&self) -> Result<BTreeSet<NodeId>, DecodeError> {
        if self.nodes.len() > NODES_LIMIT {
            return Err(DecodeError::TooLong("PartitionMap.nodes"));
        }
        if self.nodes.iter().any(|info| info.name.len() > NAME_LIMIT) {
            return Err(DecodeError::TooLong("NodeInfo.name"));
        }
        let nodes: BTreeSet<_> = self.nodes.iter().map(|info| info.node).collect();
        if nodes.len() == self.nodes.len() {
            Ok(nodes)
        } else {
            Err(DecodeError::Invalid("PartitionMap.nodes"))
        }
    }
}

fn valid_replicas(replicas: &[NodeId], nodes: &BTreeSet<NodeId>) -> Result<(), DecodeError> {
    if replicas.len() > REPLICAS_LIMIT {
        return Err(DecodeError::TooLong("Partition.replicas"));
    }
    let distinct: BTreeSet<_> = replicas.iter().collect();
    let known = replicas.iter().all(|replica| nodes.contains(replica));
    if replicas.is_empty() || !known || distinct.len() != replicas.len() {
        return Err(DecodeError::Invalid("Partition.replicas"));
    }
    Ok(())
}
