//! What a process that does not serve says of itself.

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
                format!(
                    "founding: granted, waiting for the word of {}. Start it; only if it never comes back, run \
                     `haystackctl found --abandon-old-data` on the others",
                    proposer.map_or("the proposer", |proposer| proposer.name.as_str())
                )
            }
            Phase::Seeking => self.seeking_waits_for(),
        }
    }

    fn seeking_waits_for(&self) -> String {
        if self.config.founders.is_empty() {
            return format!(
                "joining: no member of a cluster answers at {} yet",
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
