//! What the coordinator decides about nodes: from what membership tells it to commands for the directory's log.
//!
//! Nothing here is remembered by anyone but the coordinator in office: a successor begins its hold-downs anew, and
//! what is decided twice is void the second time. A suspicion of the members is a hint; only a hold-down makes a node
//! Down, and only proof makes it Gone.

use std::collections::BTreeMap;
use std::time::Duration;

use haystack_wire::Instant;
use haystack_wire::ids::NodeId;
use haystack_wire::message::directory::{NODES_LIMIT, NodeInfo, NodeState};

use super::machine::{DirectoryCommand, DirectoryMachine, name_taken};

/// A command that is not applied after this long is proposed again.
const PROPOSED_AGAIN: Duration = Duration::from_secs(1);
/// How long a node must be silent, or heard of, before that is decided (judgement: a path that comes and goes must not
/// fill the log, and a new coordinator must hear of everybody first).
const STEADY: Duration = Duration::from_secs(2);

/// What membership knows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Alive,
    /// Somebody doubts it.
    Doubtful,
    /// The members take it for dead.
    Silent,
    /// It left, or its successor proved its end.
    Ended,
}

/// A node as membership knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Who and where it is.
    pub info: NodeInfo,
    /// How it is.
    pub health: Health,
}

/// The coordinator's judgement of nodes.
#[derive(Debug)]
pub struct Coordinator {
    hold_down: Duration,
    /// Since when a node has been as it is now: silent, or heard of.
    since: BTreeMap<NodeId, (bool, Instant)>,
    /// When something was last proposed about a node: how it is described, and all else.
    proposed: BTreeMap<(NodeId, bool), (DirectoryCommand, Instant)>,
}

impl Coordinator {
    /// One that takes silent nodes for down after `hold_down`.
    pub const fn new(hold_down: Duration) -> Self {
        Self { hold_down, since: BTreeMap::new(), proposed: BTreeMap::new() }
    }

    /// Out of office: what it noted is for nobody.
    pub fn resign(&mut self) {
        self.since.clear();
        self.proposed.clear();
    }

    /// What is to be decided now, by `directory` as it stands and what membership knows. To be called a few times a
    /// second while in office, and only once everything that predecessors decided is applied.
    pub fn judge(
        &mut self,
        now: Instant,
        directory: &DirectoryMachine,
        sightings: &BTreeMap<NodeId, Sighting>,
    ) -> Vec<DirectoryCommand> {
        let Some(map) = directory.map() else { return Vec::new() };
        let mut wanted = Vec::new();
        for record in map.nodes.iter().filter(|record| record.state != NodeState::Gone) {
            let node = record.info.node;
            let health = sightings.get(&node).map_or(Health::Silent, |sighting| sighting.health);
            if let Some(state) = self.state(now, node, record.state, health) {
                wanted.push(DirectoryCommand::Decide { node, state });
            }
            if let Some(Sighting { info, health: Health::Alive }) = sightings.get(&node)
                && *info != record.info
                && !name_taken(map, info)
            {
                wanted.push(DirectoryCommand::Describe(info.clone()));
            }
        }
        for (node, sighting) in sightings {
            let newcomer = map.record(*node).is_none() && !directory.is_gone(*node);
            // What would be void is not proposed: it would fill the log for as long as the other one lives.
            let void = map.nodes.len() >= NODES_LIMIT || name_taken(map, &sighting.info);
            if newcomer && sighting.health == Health::Alive && !void {
                wanted.push(DirectoryCommand::Admit(sighting.info.clone()));
            }
        }
        self.since.retain(|node, _| map.record(*node).is_some());
        self.proposed.retain(|_, (_, at)| now.saturating_since(*at) < PROPOSED_AGAIN);
        wanted.retain(|command| self.is_new(now, command));
        wanted
    }

    /// The state that a node is to get, if it is another.
    fn state(&mut self, now: Instant, node: NodeId, state: NodeState, health: Health) -> Option<NodeState> {
        let silent = match health {
            Health::Ended => return Some(NodeState::Gone),
            Health::Silent => true,
            Health::Alive => false,
            // Neither counts: what was so far goes on.
            Health::Doubtful => self.since.get(&node).is_some_and(|(silent, _)| *silent),
        };
        let since = self.since.entry(node).or_insert((silent, now));
        if since.0 != silent {
            *since = (silent, now);
        }
        let lasted = now.saturating_since(since.1);
        match state {
            NodeState::Joining if !silent => Some(NodeState::Up),
            NodeState::Joining | NodeState::Up if silent && lasted >= STEADY => Some(NodeState::Suspect),
            NodeState::Suspect if silent && lasted >= self.hold_down => Some(NodeState::Down),
            NodeState::Suspect | NodeState::Down if !silent && lasted >= STEADY => Some(NodeState::Up),
            // What an administrator drains stays so while it is silent: that it leaves is decided.
            _ => None,
        }
    }

    fn is_new(&mut self, now: Instant, command: &DirectoryCommand) -> bool {
        let node = match command {
            DirectoryCommand::Found(_) => return true,
            DirectoryCommand::Admit(info) | DirectoryCommand::Describe(info) => info.node,
            DirectoryCommand::Decide { node, .. } => *node,
        };
        let subject = (node, matches!(command, DirectoryCommand::Describe(_)));
        if self.proposed.get(&subject).is_some_and(|(proposed, _)| proposed == command) {
            return false;
        }
        self.proposed.insert(subject, (command.clone(), now));
        true
    }
}

#[cfg(test)]
mod tests;
