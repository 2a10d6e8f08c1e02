//! One view of the cluster, from the answers of many.

use std::cmp::Reverse;

use haystack_client::{Error, GroupStatus, NodeId, NodeStatus, Status, Wait};
use haystack_wire::message::directory::Standing;

use super::survey::Survey;

/// The cluster as the answers together show it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The answer that the nodes are taken from: of those that see most, the first.
    pub(crate) base: Status,
    /// The nodes as the base sees them. What a node says of its own standing counts more; and where the base has no part
    /// in the cluster it does not talk with the others all the time, so that one which answers here is up.
    pub(crate) nodes: Vec<NodeStatus>,
    /// The groups, each from the answer that knows most about it.
    pub(crate) groups: Vec<GroupStatus>,
    /// All answers, with the address that was asked.
    pub(crate) answers: Vec<(String, Status)>,
    /// Addresses without an answer in time.
    pub(crate) silent: Vec<String>,
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
        for group in &mut groups {
            let told = answers.iter().filter(|(_, status)| status.cluster == base.cluster);
            let rows = told.flat_map(|(_, status)| &status.groups).filter(|row| row.group == group.group);
            // The newest ballot is the leader in force, and the longest log is nearest to it.
            if let Some(best) =
                rows.max_by_key(|row| (row.view, row.leader, row.live, row.decided, row.applied))
            {
                *group = best.clone();
            }
        }
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

    /// A node's name, or the beginning of its id.
    pub(crate) fn name_of(&self, node: NodeId) -> String {
        let told = self.answers.iter().map(|(_, status)| (Some(status.node), &status.name));
        let seen = self.nodes.iter().map(|row| (row.node, &row.name));
        let found = told.chain(seen).find(|(id, name)| *id == Some(node) && !name.is_empty());
        found.map_or_else(|| node.short(), |(_, name)| name.clone())
    }

    /// Whether the node itself answered.
    pub(crate) fn answered(&self, node: Option<NodeId>) -> bool {
        self.answers.iter().any(|(_, status)| Some(status.node) == node)
    }
}

/// How much an answer sees: members more than others, then by the groups with leaders, then by the nodes that answer.
fn sight(status: &Status) -> (bool, usize, usize) {
    let is_member = status.standing == Standing::Member;
    let led = status.groups.iter().filter(|group| group.leader.is_some()).count();
    let up = status.nodes.iter().filter(|node| node.up).count();
    (is_member, led, up)
}
