//! One view of the cluster, from one answer or from several.

use std::cmp::Reverse;

use haystack_client::{Error, GroupId, GroupStatus, NodeId, NodeStatus, Status, Wait};
use haystack_wire::ids::Ballot;
use haystack_wire::message::directory::Standing;

use super::facts::Facts;
use super::health::founding;
use super::survey::Survey;
use crate::failure::{Exit, Failure};

/// The cluster as the answers together show it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The answer that the nodes are taken from: of those that see most, the first.
    pub(crate) base: Status,
    /// The nodes as the base sees them. What a node says of its own standing counts more; and where the base has no part
    /// in the cluster it does not talk with the others all the time, so that one which answers here is up.
    pub(crate) nodes: Vec<NodeStatus>,
    /// The groups of the base, with what all answers say of their replicas.
    pub(crate) groups: Vec<GroupStatus>,
    /// All answers, with the address that was asked.
    pub(crate) answers: Vec<(String, Status)>,
    /// Addresses that were asked and did not answer in time.
    pub(crate) silent: Vec<String>,
}

/// The coordinator, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coordinator {
    /// The ballot in which it leads the directory.
    pub(crate) ballot: Ballot,
    /// Whether it told, when this was asked, that it leads the directory.
    pub(crate) answers: bool,
}

impl View {
    /// Puts the answers together.
    ///
    /// # Errors
    /// If there are none: the first reason.
    pub(crate) fn of(survey: Survey) -> Result<Self, Error> {
        let Survey { answers, silent } = survey;
        let Some((_, base)) = answers.iter().max_by_key(|(_, status)| (sight(status), Reverse(status.node)))
        else {
            let reason = silent.into_iter().next().map(|(_, error)| error);
            return Err(reason.unwrap_or(Error::Unreachable(Wait::Connection)));
        };
        let base = base.clone();
        let mut groups = base.groups.clone();
        let of_cluster = |status: &&Status| (status.cluster, status.history) == (base.cluster, base.history);
        for status in answers.iter().map(|(_, status)| status).filter(of_cluster) {
            groups.iter_mut().for_each(|group| add_reports(group, status));
        }
        groups.iter_mut().for_each(|group| group.leader = leader(group));
        let is_part = |standing| standing == Standing::Member;
        let mut nodes = base.nodes.clone();
        for node in &mut nodes {
            let own = answers.iter().find(|(_, status)| Some(status.node) == node.node);
            if let Some((_, own)) = own {
                node.standing = Some(own.standing);
                node.up |= !(is_part(own.standing) && is_part(base.standing));
            }
        }
        let silent = silent.into_iter().map(|(address, _)| address).collect();
        Ok(Self { base, nodes, groups, answers, silent })
    }

    /// A node's name, if it is known.
    pub(crate) fn known_name(&self, node: NodeId) -> Option<&str> {
        let told = self.answers.iter().map(|(_, status)| (Some(status.node), &*status.name));
        let seen = self.nodes.iter().map(|row| (row.node, &*row.name));
        let found = told.chain(seen).find(|(id, name)| *id == Some(node) && !name.is_empty());
        found.map(|(_, name)| name)
    }

    /// A node's name, or the beginning of its id.
    pub(crate) fn name_of(&self, node: NodeId) -> String {
        self.known_name(node).map_or_else(|| node.short(), str::to_owned)
    }

    /// A node's row.
    pub(crate) fn row(&self, node: NodeId) -> Option<&NodeStatus> {
        self.nodes.iter().find(|row| row.node == Some(node))
    }

    /// Whether the node itself answered.
    pub(crate) fn answered(&self, node: Option<NodeId>) -> bool {
        self.answers.iter().any(|(_, status)| Some(status.node) == node)
    }

    /// The partitions: all groups but the directory.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &GroupStatus> {
        self.groups.iter().filter(|group| group.group != GroupId::DIRECTORY)
    }

    /// What the reports of a group's replicas come to.
    pub(crate) fn facts(&self, group: &GroupStatus) -> Facts {
        Facts::of(group, self.base.degree)
    }

    /// The coordinator: who says that it leads the directory, else the one that the word of mouth names.
    pub(crate) fn coordinator(&self) -> Option<Coordinator> {
        let directory = self.groups.iter().find(|group| group.group == GroupId::DIRECTORY);
        let leads = directory.and_then(|group| group.leader);
        // A ballot above that of the leader in sight is of somebody whom the asked daemon does not reach.
        let named = self.base.coordinator.filter(|named| leads.is_none_or(|leads| leads < *named));
        let ballot = named.or(leads)?;
        Some(Coordinator { ballot, answers: Some(ballot) == leads })
    }

    /// Whether there is a cluster with partitions at all.
    ///
    /// # Errors
    /// If not: why, and what is waited for.
    pub(crate) fn founded(&self) -> Result<(), Failure> {
        founding(self).map_or(Ok(()), |why| Err(Failure::new(Exit::Unreachable, why)))
    }

    /// Whether the system is founded and every group has a leader.
    pub(crate) fn is_ready(&self) -> bool {
        self.base.standing == Standing::Member
            && !self.groups.is_empty()
            && self.groups.iter().all(|group| group.leader.is_some())
    }
}

/// What an answer says of a group's replicas, where that is newer than what is there.
fn add_reports(group: &mut GroupStatus, status: &Status) {
    let Some(told) = status.groups.iter().find(|other| other.group == group.group) else { return };
    for replica in &mut group.replicas {
        let other = told.replicas.iter().find(|other| other.node == replica.node);
        let age = |report: &haystack_wire::message::admin::ReplicaReport| {
            (report.view, report.applied, report.decided, report.leader)
        };
        if let Some(report) = other.and_then(|other| other.report)
            && replica.report.is_none_or(|held| age(&held) < age(&report))
        {
            replica.report = Some(report);
        }
    }
}

/// Who leads says so itself; of two that do, the one of the higher ballot has deposed the other.
fn leader(group: &GroupStatus) -> Option<Ballot> {
    let told = group.replicas.iter().filter_map(|replica| {
        replica.report.and_then(|report| report.leader).filter(|ballot| ballot.node == replica.node)
    });
    told.max()
}

/// How much an answer sees: members more than others, then by the map, the nodes that report, the groups with leaders and
/// the nodes that answer. A leader that was cut off still counts itself as one.
fn sight(status: &Status) -> (bool, u64, usize, usize, usize) {
    let is_member = status.standing == Standing::Member;
    let count = |is_such: fn(&NodeStatus) -> bool| status.nodes.iter().filter(|node| is_such(node)).count();
    let led = status.groups.iter().filter(|group| group.leader.is_some()).count();
    (is_member, status.epoch.0, count(|node| node.reported), led, count(|node| node.up))
}
