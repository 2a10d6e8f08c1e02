//! What the daemons of a healed cluster must know of each other: who is there, who has died, who coordinates.

use haystack_core::node::Node;
use haystack_wire::ids::{GroupId, NodeId};
use haystack_wire::message::admin::ClusterEvent;
use haystack_wire::message::directory::{NodeState, PartitionMap, Standing};
use haystack_wire::message::membership::MemberState;

use crate::check::canon::News;
use crate::check::{Check, ensure};
use crate::scenario::{MILLIS, SECONDS};
use crate::world::World;

/// After all healed the daemons agree on who is there within this time. A dead process needs a probe of each of nine
/// others, which take up to nine seconds where many failed of late, and the longest suspicion, 24 s; a living one that
/// was taken for dead is asked every 10 s, in turn with up to a dozen others, by each that lost it; then the
/// coordinator looks on for its hold-down of up to 10 s.
const AGREED_WITHIN: u64 = 60 * SECONDS;
/// Between two looks.
const STEP: u64 = 200 * MILLIS;

impl World {
    /// After all healed: everybody's view of the others becomes the same, and right.
    pub(crate) fn roster_agrees(&mut self) -> Check {
        let healed_at = self.queue.now();
        while let Some(wrong) = self.roster_fault() {
            ensure!(
                self.queue.now() < healed_at + AGREED_WITHIN,
                Membership,
                "{} s after all healed {wrong}: {}",
                AGREED_WITHIN / SECONDS,
                self.scene()
            );
            self.run(self.queue.now() + STEP)?;
        }
        self.coverage.add("live", "roster_after_ms", (self.queue.now() - healed_at) / MILLIS);
        Ok(())
    }

    /// What is wrong with what the daemons know of each other.
    fn roster_fault(&self) -> Option<String> {
        // A copy of a state directory may end the process that it was taken of, now or later.
        let nodes: Vec<(&str, &Node)> = self
            .nodes()
            .filter(|(_, node)| !self.is_lost(node.id()))
            .map(|(at, node)| (self.hosts[at].name.as_str(), node))
            .collect();
        let directed = self.lively().contains_key(&GroupId::DIRECTORY);
        nodes
            .iter()
            .find_map(|(who, node)| {
                if node.cluster().is_none() {
                    return directed.then(|| format!("{who} has not found the cluster"));
                }
                self.view_fault(who, node, &nodes)
                    .or_else(|| if directed { self.word_fault(who, node) } else { None })
            })
            .or_else(|| if directed { self.table_fault(&nodes) } else { None })
    }

    /// What is wrong with a process's view of the members.
    fn view_fault(&self, who: &str, node: &Node, nodes: &[(&str, &Node)]) -> Option<String> {
        let state = |id: NodeId| node.members().find(|member| member.node == id).map(|member| member.state);
        for (other, _) in nodes.iter().map(|(_, node)| (node.id(), ())) {
            let is_member = nodes.iter().any(|(_, node)| node.id() == other && node.cluster().is_some());
            if is_member && state(other) != Some(MemberState::Alive) {
                return Some(format!("{who} takes {other:?}, which lives, for {:?}", state(other)));
            }
        }
        let mut dead = node.members().filter(|member| self.dead.contains(&member.node));
        dead.find(|member| matches!(member.state, MemberState::Alive | MemberState::Suspect))
            .map(|member| format!("{who} takes {:?}, which is dead, for {:?}", member.node, member.state))
    }

    /// What is wrong with a process's word of the directory.
    fn word_fault(&self, who: &str, node: &Node) -> Option<String> {
        let leads = |node: &Node| {
            node.groups().any(|group| group.id() == GroupId::DIRECTORY && group.in_office().is_some())
        };
        let office = self.nodes().find(|(_, node)| leads(node)).map(|(_, node)| node.id());
        let named = node.coordinator().map(|ballot| ballot.node);
        if office.is_none() || named != office {
            return Some(format!("{who} takes {named:?} for the coordinator, which is {office:?}"));
        }
        let (held, latest) = (node.map().map(|map| map.epoch), self.record.canons.map().map(|map| map.epoch));
        (held != latest).then(|| format!("{who} holds the map of epoch {held:?}, and {latest:?} is decided"))
    }

    /// What is wrong with the node table.
    fn table_fault(&self, nodes: &[(&str, &Node)]) -> Option<String> {
        let map = self.record.canons.map()?;
        let state = |id: NodeId| map.record(id).map(|record| record.state);
        let dead = map.nodes.iter().filter(|record| self.dead.contains(&record.info.node));
        let wrong = |state| matches!(state, NodeState::Joining | NodeState::Up | NodeState::Draining);
        if let Some(record) = dead.into_iter().find(|record| wrong(record.state)) {
            return Some(format!("{:?} is dead, and {:?} in the table", record.info.node, record.state));
        }
        nodes.iter().find_map(|(who, node)| match state(node.id()) {
            Some(NodeState::Up) if node.standing() == Standing::Member => None,
            // Of several that bear one name the first that came is in.
            None if self.is_namesake(node, map) => {
                let says = node.status(haystack_wire::Instant::ZERO).waits_for;
                let told = node.standing() == Standing::Standby && says.contains("are called");
                (!told).then(|| format!("{who} is not admitted for its name, and says only: {says}"))
            }
            other => Some(format!("{who} lives as {:?}, and is {other:?} in the table", node.standing())),
        })
    }

    /// Whether another process of the same name is in the table, and lives.
    fn is_namesake(&self, node: &Node, map: &PartitionMap) -> bool {
        let Some(me) = node.members().find(|member| member.node == node.id()) else { return false };
        map.nodes.iter().any(|record| {
            record.info.name == me.name
                && record.info.node != me.node
                && record.state == NodeState::Up
                && !self.dead.contains(&record.info.node)
        })
    }

    /// Nobody who lives is given up, but for a process whose state directory was copied; and nobody is admitted under
    /// the name of another who may live.
    pub(crate) fn judge_directory(&mut self, who: &str) -> Check {
        let News { gone, namesakes } = self.record.canons.news();
        for node in gone {
            ensure!(
                self.is_lost(node),
                Membership,
                "the directory declared {node:?} gone, which runs; {who} applied that first"
            );
        }
        ensure!(
            namesakes.is_empty(),
            Membership,
            "the directory admitted processes beside others of their names, as {who} first applied: {namesakes:?}"
        );
        Ok(())
    }

    /// What a process says of others is true.
    pub(crate) fn heed(&self, who: &str, event: &ClusterEvent) -> Check {
        match event {
            ClusterEvent::Left { node } => {
                ensure!(self.is_lost(*node), Membership, "{who} says that {node:?} has left, which runs");
            }
            ClusterEvent::Decided { node, state: NodeState::Gone } => {
                ensure!(self.is_lost(*node), Membership, "{who} says that {node:?} is gone, which runs");
            }
            ClusterEvent::Conflict(word) => {
                let copied =
                    word.contains("copy of the state directory") || word.contains("given this process up");
                let named = word.contains("are called");
                ensure!(
                    named || (copied && !self.copied.is_empty()),
                    Membership,
                    "{who} reports what is not so: {word}"
                );
            }
            _ => {}
        }
        Ok(())
    }
}
