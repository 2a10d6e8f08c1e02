//! The partition map taken up: groups that begin with it, nodes that ended by it.

use haystack_wire::Instant;
use haystack_wire::ids::{GroupId, ViewId};
use haystack_wire::message::directory::{Partition, PartitionMap};

use super::{Event, Node};
use crate::group::{Founded, Group};
use crate::store;

impl Node {
    pub(super) fn note_readiness(&mut self) {
        let ready = self.map.is_some() && self.leaderless.is_empty();
        if ready != self.ready {
            self.ready = ready;
            self.events.push_back(if ready { Event::Ready } else { Event::NotReady });
        }
    }

    /// Group 0 has decided a map.
    pub(super) fn on_map_decided(&mut self, now: Instant) {
        let Some(map) = self.groups.get(&GroupId::DIRECTORY).and_then(Group::map).cloned() else { return };
        self.adopt_map(now, map);
    }

    /// Takes a map up if it is newer than the one held: every group of its first view that has a replica here starts
    /// from it.
    pub(super) fn adopt_map(&mut self, now: Instant, map: PartitionMap) {
        if self.map.as_ref().is_some_and(|held| held.epoch >= map.epoch) {
            return;
        }
        // Whoever took its grant back must not vote.
        let votes = !self.founding.gave_up(map.cluster);
        for partition in map.partitions.iter().filter(|_| votes) {
            let ours = partition.view == ViewId(0) && partition.replicas.contains(&self.id());
            if ours && !self.groups.contains_key(&partition.group) {
                self.start_group(now, &map, partition);
            }
        }
        self.unsettled = true;
        self.groups.values_mut().for_each(|group| group.set_epoch(map.epoch));
        let before = self.map.replace(map.clone());
        self.founding.on_map(&map);
        self.note_node_table(now, before.as_ref(), &map);
        self.wire_up(now);
        self.raise_beacon(now);
        self.note_readiness();
    }

    fn start_group(&mut self, now: Instant, map: &PartitionMap, partition: &Partition) {
        let here = map.partitions.iter().filter(|partition| partition.replicas.contains(&self.id())).count();
        let limits = store::Limits {
            value: self.config.value_limit,
            memory: self.config.memory_limit / here.max(1) as u64,
            mutations: self.config.mutations,
            ..store::Limits::default()
        };
        let slots = (partition.first, partition.last);
        let founded = Founded {
            id: partition.group,
            replicas: partition.replicas.clone(),
            epoch: map.epoch,
            history: map.history,
        };
        let rng = self.rng.fork();
        let group = Group::data(&self.config, self.id(), founded, slots, limits, now, rng);
        self.add_group(group);
    }
}
