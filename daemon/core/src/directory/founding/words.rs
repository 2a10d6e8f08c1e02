//! What a process that does not serve says of itself.

use haystack_wire::ids::{ClusterId, NodeId};
use haystack_wire::message::directory::Standing;

use super::{Founding, Phase};

impl Founding {
    /// Why this process does not serve, and what it waits for; empty for a member.
    pub fn waits_for(&self) -> String {
        match &self.phase {
            Phase::Member { .. } => String::new(),
            Phase::Standby { cluster } if self.gave_up(*cluster) => format!(
                "standby: this process was told to give up the founding of cluster {} and so has no vote, but that was \
                 founded with it. Restart this daemon: it joins as a new process",
                cluster.short()
            ),
            Phase::Standby { cluster } if self.members_in_sight(*cluster) > 0 => format!(
                "joining: cluster {} is found, and its coordinator has not admitted this daemon yet",
                cluster.short()
            ),
            Phase::Standby { cluster } if let Some(strangers) = self.strangers(*cluster) => strangers,
            Phase::Standby { cluster } => format!(
                "standby: this host was part of cluster {} and no member of it answers; its data was in memory. \
                 Start the hosts that still run it, or, if all were restarted and the data is given up, run \
                 `haystackctl found --abandon-old-data`",
                cluster.short()
            ),
            Phase::Counting { list, grants } => {
                let missing = list.founders.iter().filter(|founder| !grants.contains(&founder.node));
                let names: Vec<_> = missing.map(|founder| founder.name.clone()).collect();
                format!(
                    "founding: {} of {} have granted, waiting for {}",
                    grants.len(),
                    list.founders.len(),
                    names.join(", ")
                )
            }
            Phase::Granted { list } => {
                let proposer = list.founders.iter().find(|founder| founder.node == list.proposer);
                let name = proposer.map_or("the proposer", |proposer| proposer.name.as_str());
                if !self.granted.1 {
                    return format!("founding: granted, waiting for the word of {name}");
                }
                format!(
                    "founding: granted, waiting for the word of {name}. Start it; only if it never comes back, run \
                     `haystackctl found --abandon-old-data` on the others"
                )
            }
            Phase::Seeking => self.seeking_waits_for(),
        }
    }

    fn other_terms(&self, (partitions, replicas): (u32, u32)) -> String {
        let counts = |partitions, replicas| format!("partitions = {partitions} and replicas = {replicas}");
        let (own_partitions, own_replicas) = self.terms();
        format!(
            "configured with {}, and this daemon with {}",
            counts(partitions, replicas),
            counts(own_partitions, own_replicas)
        )
    }

    /// Why this process cannot found a cluster together with a founder with which it is linked, if that is so.
    pub fn differs_from(&self, node: NodeId) -> Option<String> {
        let seen = self.seen.get(&node)?;
        let founder =
            self.config.founders.contains(&seen.at) || self.config.founders.contains(&seen.info.addr);
        if self.phase != Phase::Seeking || !founder || seen.standing != Standing::Founding {
            return None;
        }
        let who = format!("{} at {}", seen.info.name, seen.info.addr);
        if seen.founders_hash != self.founders_hash {
            Some(format!("{who} has another list of founders"))
        } else if seen.terms != self.terms() {
            Some(format!("{who} is {}", self.other_terms(seen.terms)))
        } else {
            None
        }
    }

    /// Members of other clusters that answer, with the id of one.
    fn strangers(&self, own: ClusterId) -> Option<String> {
        let others = self.seen.values().filter(|seen| seen.up && seen.standing == Standing::Member);
        let others: Vec<_> = others.filter(|seen| seen.cluster.is_some_and(|other| other != own)).collect();
        let cluster = others.first()?.cluster?;
        let names: Vec<_> =
            others.iter().take(3).map(|seen| format!("{} at {}", seen.info.name, seen.info.addr)).collect();
        Some(format!(
            "standby: the state directory of this daemon is of cluster {}, and those that answer belong to another, {} \
             ({}). Give it addresses of its own cluster; or, if it is to join the other one, start it with another \
             `state_dir`",
            own.short(),
            cluster.short(),
            names.join(", ")
        ))
    }

    fn seeking_waits_for(&self) -> String {
        if self.config.founders.is_empty() {
            let key = if self.config.keys.is_empty() {
                "does it have a key (then set `key_file`)"
            } else {
                "is `key_file` the cluster's"
            };
            return format!(
                "joining: no member of a cluster answers at {} yet. Does one run there and hear this daemon? Is \
                 `cluster` the same in its configuration, and {key}?",
                self.config.seed_names.join(", ")
            );
        }
        if let Some(namesake) = self.namesake() {
            return format!("founding: {namesake}");
        }
        let mut missing = Vec::new();
        for (addr, name) in self.config.founders.iter().zip(&self.config.founder_names) {
            if *addr == self.me.addr {
                continue;
            }
            match self.seen_at(*addr) {
                Some(seen) if seen.up && seen.standing != Standing::Founding => {
                    missing.push(format!("{name} (belongs to a cluster already)"));
                }
                Some(seen) if seen.up && seen.founders_hash != self.founders_hash => {
                    missing.push(format!("{name} (its list of founders differs)"));
                }
                Some(seen) if seen.up && seen.terms != self.terms() => {
                    missing.push(format!("{name} ({})", self.other_terms(seen.terms)));
                }
                Some(seen) if seen.up => {}
                _ => missing.push(format!("{name} (missing)")),
            }
        }
        let total = self.config.founders.len();
        if missing.is_empty() {
            return format!(
                "founding: {total} of {total} founders are here, waiting for the proposal of one"
            );
        }
        format!(
            "founding: {} of {total} founders are here, waiting for {}",
            total - missing.len(),
            missing.join(", ")
        )
    }
}
