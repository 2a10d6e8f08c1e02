//! Who replicates what, and which groups have all that they need to live.

use std::collections::{BTreeMap, BTreeSet};

use haystack_core::directory::life::{Grant, Life};
use haystack_core::directory::placement::directory_replicas;
use haystack_core::group::Group;
use haystack_core::node::Node;
use haystack_wire::ids::{GroupId, NodeId};
use haystack_wire::message::directory::FoundingList;

use crate::check::canon::Canon;
use crate::scenario::Losses;
use crate::world::World;

/// A group and its replicas.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) group: GroupId,
    pub(crate) replicas: Vec<NodeId>,
}

/// The groups that must make progress, with the hosts of their living replicas.
pub(crate) type Lively = BTreeMap<GroupId, BTreeSet<usize>>;

/// What can be demanded of a healed cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Nothing: too much was lost, and people must say what to do.
    Nothing,
    /// That it is founded, and then that all of it serves.
    Founding,
    /// That its lively groups serve.
    Service,
}

impl World {
    /// The groups that there are, the directory first: none before a cluster is founded, and only the directory until
    /// it has decided on a map.
    pub(crate) fn parts(&self) -> Vec<Part> {
        if let Some(map) = self.record.canons.map() {
            let directory = Part { group: GroupId::DIRECTORY, replicas: map.directory.replicas.clone() };
            let partitions =
                map.partitions.iter().map(|part| Part { group: part.group, replicas: part.replicas.clone() });
            return std::iter::once(directory).chain(partitions).collect();
        }
        let founded = self.daemons().find_map(|at| self.founded_list(at));
        let directory =
            |list: &FoundingList| Part { group: GroupId::DIRECTORY, replicas: directory_replicas(list) };
        founded.iter().map(directory).collect()
    }

    /// The list that is founded, as far as a host's disk knows.
    fn founded_list(&self, at: usize) -> Option<FoundingList> {
        match Life::decode(self.disks[at].life.as_ref()?).ok()?.grant {
            Grant::Founded { list } => Some(list),
            _ => None,
        }
    }

    /// Whether a process can be lost any time, or is: also one that a copy of its state directory may have ended.
    pub(crate) fn is_lost(&self, node: NodeId) -> bool {
        self.dead.contains(&node) || self.copied.contains(&node)
    }

    /// The hosts of replicas that live.
    fn living(&self, replicas: &[NodeId]) -> BTreeSet<usize> {
        let lives = |node: &Node| replicas.contains(&node.id()) && !self.is_lost(node.id());
        self.nodes().filter(|(_, node)| lives(node)).map(|(at, _)| at).collect()
    }

    /// The daemons that run, paused or not, with their hosts.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.daemons().filter_map(|at| Some((at, &self.hosts[at].daemon()?.node)))
    }

    pub(crate) fn replica(&self, at: usize, id: GroupId) -> Option<&Group> {
        self.hosts[at].daemon()?.node.groups().find(|group| group.id() == id)
    }

    /// The groups a majority of whose replicas live. Without the directory those that have not begun never will.
    pub(crate) fn lively(&self) -> Lively {
        let mut lively = Lively::new();
        for Part { group, replicas } in self.parts() {
            let mut living = self.living(&replicas);
            if !lively.contains_key(&GroupId::DIRECTORY) {
                living.retain(|at| group == GroupId::DIRECTORY || self.replica(*at, group).is_some());
            }
            if living.len() * 2 > replicas.len() {
                lively.insert(group, living);
            }
        }
        lively
    }

    /// What can be demanded now.
    pub(crate) fn demand(&self) -> Demand {
        if !self.lively().is_empty() {
            Demand::Service
        } else if self.parts().is_empty() && !self.nemesis.wiped && !self.loses_majorities() {
            Demand::Founding
        } else {
            // A grant may have been lost with a state directory, or a majority with what it held.
            Demand::Nothing
        }
    }

    pub(crate) fn loses_majorities(&self) -> bool {
        matches!(self.scenario.losses, Losses::Majority | Losses::All)
    }

    /// Hosts that should suffice: of every lively group a majority, if all of its replicas have begun.
    pub(crate) fn choose_core(&mut self) -> BTreeSet<usize> {
        let mut core: BTreeSet<usize> = self.daemons().collect();
        let lively = self.lively();
        let begun = lively.iter().all(|(id, hosts)| hosts.iter().all(|at| self.replica(*at, *id).is_some()));
        if lively.is_empty() || !begun {
            return core;
        }
        let sizes: BTreeMap<GroupId, usize> =
            self.parts().into_iter().map(|part| (part.group, part.replicas.len())).collect();
        let mut order: Vec<usize> = core.iter().copied().collect();
        self.dice.shuffle(&mut order);
        order.truncate(self.dice.range(0, order.len() as u64) as usize);
        for at in order {
            let suffices = |(id, hosts): (&GroupId, &BTreeSet<usize>)| {
                let left = hosts.iter().filter(|host| **host != at && core.contains(host)).count();
                left * 2 > sizes[id]
            };
            if lively.iter().all(suffices) {
                core.remove(&at);
            }
        }
        core
    }

    /// Whether every founder is up and everything serves.
    pub(crate) fn serves(&self) -> bool {
        let knows = |at: usize| self.hosts[at].daemon().is_some_and(|daemon| daemon.node.map().is_some());
        self.founders().all(knows) && self.has_leaders()
    }

    /// Whether every lively group has a leader, of the core or not, that a majority of the replicas trusts.
    pub(crate) fn has_leaders(&self) -> bool {
        let lively = self.lively();
        let decided = self.record.canons.map().is_some();
        if lively.is_empty() || (lively.contains_key(&GroupId::DIRECTORY) && !decided) {
            return false;
        }
        self.parts().iter().filter(|part| lively.contains_key(&part.group)).all(|part| {
            let running = self.nodes().filter(|(at, _)| self.hosts[*at].runs());
            let groups: Vec<(NodeId, &Group)> = running
                .filter(|(_, node)| part.replicas.contains(&node.id()))
                .filter_map(|(at, node)| Some((node.id(), self.replica(at, part.group)?)))
                .collect();
            let trust = |leader: NodeId| {
                let trusted = groups.iter().filter_map(|(_, group)| group.leader());
                trusted.filter(|trusted| trusted.node == leader).count()
            };
            groups.iter().any(|(node, group)| group.leads() && trust(*node) * 2 > part.replicas.len())
        })
    }

    /// Whether nobody waits for an answer that must come.
    pub(crate) fn is_answered(&self) -> bool {
        let lively = self.lively();
        let must = |group: GroupId| lively.contains_key(&group);
        self.clients().all(|at| self.hosts[at].actor().is_none_or(|actor| actor.is_idle(&self.record, &must)))
    }

    /// Whether all living replicas of lively groups among `hosts` have applied all that anybody applied.
    pub(crate) fn is_equal(&self, hosts: &BTreeSet<usize>) -> bool {
        self.lively().iter().all(|(id, living)| {
            let len = self.record.canons.get(*id).map_or(0, Canon::len);
            living
                .intersection(hosts)
                .all(|at| self.replica(*at, *id).is_some_and(|group| group.broadcast().applied().0 == len))
        })
    }
}
