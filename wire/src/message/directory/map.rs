//! Routing by the partition map, and what makes a map whole.

use std::collections::BTreeSet;

use super::{
    GROUPS_LIMIT, NAME_LIMIT, NODES_LIMIT, NodeInfo, NodeRecord, Partition, PartitionMap, REPLICAS_LIMIT,
};
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

    /// A row of the node table. Takes O(log nodes).
    pub fn record(&self, node: NodeId) -> Option<&NodeRecord> {
        let at = self.nodes.binary_search_by_key(&node, |record| record.info.node).ok()?;
        self.nodes.get(at)
    }

    /// Who makes up a group, in order of preference for leading.
    pub fn replicas_of(&self, group: GroupId) -> Option<&[NodeId]> {
        if group == GroupId::DIRECTORY {
            return Some(&self.directory.replicas);
        }
        self.partitions
            .iter()
            .find(|partition| partition.group == group)
            .map(|partition| &*partition.replicas)
    }

    /// Checks that the partitions cover all slots once and in order, that each has a group of its own other than
    /// the directory and replicas that the map knows, all different, that the nodes are in order, and that every limit
    /// is kept.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), DecodeError> {
        let nodes = self.valid_nodes()?;
        if self.partitions.len() > GROUPS_LIMIT {
            return Err(DecodeError::TooLong("PartitionMap.partitions"));
        }
        if !(1..=REPLICAS_LIMIT as u32).contains(&self.degree) {
            return Err(DecodeError::Invalid("PartitionMap.degree"));
        }
        valid_replicas(&self.directory.replicas, &nodes)?;
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
        let words = |info: &NodeInfo| info.name.len().max(info.zone.len()).max(info.host.len());
        if self.nodes.iter().any(|record| words(&record.info) > NAME_LIMIT) {
            return Err(DecodeError::TooLong("NodeInfo.name"));
        }
        if self.nodes.windows(2).all(|pair| pair[0].info.node < pair[1].info.node) {
            Ok(self.nodes.iter().map(|record| record.info.node).collect())
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

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;

    use super::super::{GroupView, NodeState};
    use super::*;
    use crate::ids::{ClusterId, Epoch, HistoryId, ViewId};
    use crate::slot::even_partitions;

    fn node(number: u8) -> NodeId {
        NodeId([number; 16])
    }

    fn map(count: u32) -> PartitionMap {
        let record = |number| NodeRecord {
            info: NodeInfo::new(
                node(number),
                &format!("n{number}"),
                SocketAddr::from(([127, 0, 0, 1], 7400)),
            ),
            state: NodeState::Up,
        };
        let partitions = (1..)
            .zip(even_partitions(count))
            .map(|(group, (first, last))| Partition {
                group: GroupId(group),
                view: ViewId(0),
                first,
                last,
                replicas: vec![node(1), node(2)],
            })
            .collect();
        PartitionMap {
            cluster: ClusterId::default(),
            history: HistoryId(0),
            epoch: Epoch(1),
            degree: 2,
            directory: GroupView { view: ViewId(0), replicas: vec![node(1), node(2), node(3)] },
            nodes: vec![record(1), record(2), record(3)],
            partitions,
        }
    }

    #[test]
    fn every_slot_has_the_partition_that_holds_it() {
        for count in [1, 2, 3, 8, 1000, 1024] {
            let map = map(count);
            assert_eq!(map.validate(), Ok(()));
            for slot in (0..SLOTS).map(Slot) {
                let partition = map.partition_of(slot).unwrap();
                assert!(partition.first <= slot && slot <= partition.last);
                assert_eq!(map.group_of(slot), Some(partition.group));
            }
        }
    }

    #[test]
    fn slots_that_no_partition_holds_have_none() {
        let mut holed = map(3);
        holed.partitions.remove(1);
        assert_eq!(holed.group_of(Slot(0)), Some(GroupId(1)));
        assert_eq!(holed.group_of(Slot(8000)), None);
        assert_eq!(holed.group_of(Slot(16_383)), Some(GroupId(3)));
        holed.partitions.clear();
        assert_eq!(holed.partition_of(Slot(0)), None);
    }

    fn refused(break_it: impl FnOnce(&mut PartitionMap)) -> DecodeError {
        let mut map = map(4);
        break_it(&mut map);
        map.validate().unwrap_err()
    }

    #[test]
    fn maps_with_holes_overlaps_or_disorder_are_refused() {
        let first = DecodeError::Invalid("Partition.first");
        assert_eq!(refused(|map| map.partitions[0].first = Slot(1)), first);
        assert_eq!(refused(|map| map.partitions[1].first.0 += 1), first);
        assert_eq!(refused(|map| map.partitions[1].first.0 -= 1), first);
        assert_eq!(refused(|map| map.partitions[1].last = Slot(0)), first);
        assert_eq!(refused(|map| map.partitions[3].last = Slot(SLOTS)), first);
        assert_eq!(refused(|map| map.partitions[3].last = Slot(u16::MAX)), first);
        assert_eq!(refused(|map| map.partitions.swap(1, 2)), first);
        let short = DecodeError::Invalid("PartitionMap.partitions");
        assert_eq!(refused(|map| map.partitions[3].last.0 -= 1), short);
        assert_eq!(refused(|map| map.partitions.clear()), short);
    }

    #[test]
    fn maps_whose_groups_are_not_their_own_are_refused() {
        let group = DecodeError::Invalid("Partition.group");
        assert_eq!(refused(|map| map.partitions[2].group = GroupId(1)), group);
        assert_eq!(refused(|map| map.partitions[2].group = GroupId::DIRECTORY), group);
    }

    #[test]
    fn maps_with_unknown_doubled_or_no_replicas_are_refused() {
        let replicas = DecodeError::Invalid("Partition.replicas");
        assert_eq!(refused(|map| map.partitions[2].replicas[1] = node(9)), replicas);
        assert_eq!(refused(|map| map.partitions[2].replicas[1] = node(1)), replicas);
        assert_eq!(refused(|map| map.partitions[2].replicas.clear()), replicas);
        assert_eq!(
            refused(|map| map.nodes[2].info.node = node(1)),
            DecodeError::Invalid("PartitionMap.nodes")
        );
    }

    #[test]
    fn maps_without_a_sound_directory_degree_or_order_of_nodes_are_refused() {
        let replicas = DecodeError::Invalid("Partition.replicas");
        assert_eq!(refused(|map| map.directory.replicas.clear()), replicas);
        assert_eq!(refused(|map| map.directory.replicas[1] = node(9)), replicas);
        let degree = DecodeError::Invalid("PartitionMap.degree");
        assert_eq!(refused(|map| map.degree = 0), degree);
        assert_eq!(refused(|map| map.degree = REPLICAS_LIMIT as u32 + 1), degree);
        assert_eq!(refused(|map| map.nodes.swap(0, 1)), DecodeError::Invalid("PartitionMap.nodes"));
    }

    #[test]
    fn nodes_and_groups_are_found() {
        let map = map(4);
        assert_eq!(map.record(node(2)).map(|record| &*record.info.name), Some("n2"));
        assert_eq!(map.record(node(9)), None);
        assert_eq!(map.replicas_of(GroupId::DIRECTORY).map(<[_]>::len), Some(3));
        assert_eq!(map.replicas_of(GroupId(4)).map(<[_]>::len), Some(2));
        assert_eq!(map.replicas_of(GroupId(5)), None);
    }

    #[test]
    fn maps_over_a_limit_are_refused() {
        let name = |map: &mut PartitionMap| map.nodes[0].info.name = "n".repeat(NAME_LIMIT + 1);
        assert_eq!(refused(name), DecodeError::TooLong("NodeInfo.name"));
        let zone = |map: &mut PartitionMap| map.nodes[0].info.zone = "z".repeat(NAME_LIMIT + 1);
        assert_eq!(refused(zone), DecodeError::TooLong("NodeInfo.name"));
        let replicas =
            |map: &mut PartitionMap| map.partitions[0].replicas = vec![node(1); REPLICAS_LIMIT + 1];
        assert_eq!(refused(replicas), DecodeError::TooLong("Partition.replicas"));
        let nodes = |map: &mut PartitionMap| map.nodes = vec![map.nodes[0].clone(); NODES_LIMIT + 1];
        assert_eq!(refused(nodes), DecodeError::TooLong("PartitionMap.nodes"));
        let mut wide = map(GROUPS_LIMIT as u32);
        let last = wide.partitions[0].clone();
        wide.partitions.push(last);
        assert_eq!(wide.validate(), Err(DecodeError::TooLong("PartitionMap.partitions")));
    }
}
