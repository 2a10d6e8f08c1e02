//! The course of a run: founding, a storm of faults, a healed core that must make progress alone, all healed, the
//! last look.

use std::collections::BTreeSet;

use haystack_wire::ids::GroupId;

use crate::check::canon::Canon;
use crate::check::{Check, Violation, ensure};
use crate::parts::Demand;
use crate::scenario::{Losses, MILLIS, SECONDS};
use crate::world::World;

/// A cluster is founded within this time if nothing hinders it.
const FOUNDED_WITHIN: u64 = 3 * SECONDS;
/// After healing a cluster is founded, and has leaders, within this time.
pub(crate) const FOUNDED_LATE: u64 = 6 * SECONDS;
/// After healing every group has a leader within this time.
const LEADER_WITHIN: u64 = 2 * SECONDS;
/// How much longer it may take where values of up to 300 KiB wait in the links.
const LARGE_BEFORE: u64 = 4 * SECONDS;
/// After healing everything is answered, and replicas are equal, within this time.
const SETTLED_WITHIN: u64 = 10 * SECONDS;
/// How long clients go on after healing.
const LOAD_GOES_ON: u64 = 2 * SECONDS;
/// Of an entry, at most, if it holds no large value; pieces of fewer bytes hold one entry each.
const ENTRY_BYTES: u64 = 512;
/// Between two looks at whether something is reached.
const STEP: u64 = 20 * MILLIS;

impl World {
    /// Runs the whole course.
    pub(crate) fn course(&mut self, until: u64) -> Check {
        self.storm(until)?;
        if self.queue.now() >= until {
            return Ok(());
        }
        if self.scenario.founding_only {
            return self.founding_ends();
        }
        self.core_recovers()?;
        self.all_recover()
    }

    /// Founding and faults.
    fn storm(&mut self, until: u64) -> Check {
        if self.scenario.founding_in_storm {
            self.begin_storm();
        } else {
            let founded = self.reach(FOUNDED_WITHIN, World::serves)?;
            ensure!(
                founded,
                Live,
                "the cluster does not serve after 3 s although nothing is wrong: {}",
                self.scene()
            );
            self.begin_storm();
        }
        let ends = (self.queue.now() + self.scenario.storm).min(until);
        if self.loses_majorities() {
            let doom = self.dice.range(self.queue.now(), ends);
            self.run(doom)?;
            self.doom();
        }
        self.run(ends)
    }

    /// A majority dies at once, or everybody does.
    fn doom(&mut self) {
        let mut hosts: Vec<usize> = self.daemons().collect();
        if self.scenario.losses == Losses::Majority {
            hosts.retain(|at| self.founders().contains(at));
            self.dice.shuffle(&mut hosts);
            hosts.truncate(hosts.len() / 2 + 1);
        }
        for at in hosts {
            if self.hosts[at].daemon().is_some() {
                self.kill(at);
                let returns = self.queue.now() + self.dice.magnitude(20 * MILLIS, 2 * SECONDS);
                self.start_at(at, returns);
            }
        }
        self.coverage.add("losses", "of_a_majority", 1);
    }

    /// Some hosts heal that should suffice; the rest stays as broken as it is.
    fn core_recovers(&mut self) -> Check {
        let core = self.choose_core();
        let healed_at = self.queue.now();
        let clients = self.clients();
        self.heal(|host| core.contains(&host) || clients.contains(&host));
        for at in self.daemons().chain(self.clients()) {
            let wanted = core.contains(&at) || !self.daemons().contains(&at);
            if wanted && matches!(self.hosts[at].process, crate::host::Process::None) {
                self.start_at(at, healed_at);
            }
        }
        self.hasten_clients(healed_at + SETTLED_WITHIN);
        if self.demand() == Demand::Nothing {
            self.coverage.add("losses", "without_liveness", 1);
            self.run(healed_at + 2 * SECONDS)?;
            return self.rest_clients(healed_at);
        }
        let parts = self.parts().len();
        self.coverage.add("losses", "of_some_groups", u64::from(self.lively().len() < parts));
        let mut within = self.leader_within(&core);
        let mut leads = self.reach(within, World::has_leaders)?;
        // Answers that were under way when it healed still teach long round trips.
        while !leads && self.leader_within(&core) > within {
            within = self.leader_within(&core);
            let left = (healed_at + within).saturating_sub(self.queue.now());
            leads = self.reach(left, World::has_leaders)?;
        }
        ensure!(
            leads,
            Live,
            "no leader {} ms after the core {core:?} healed: {}",
            within / MILLIS,
            self.scene()
        );
        self.coverage.add("live", "leader_after_ms", (self.queue.now() - healed_at) / MILLIS);
        // Where round trips made elections slow, the rest of the time begins with the leader.
        let healed_at = healed_at.max(self.queue.now().saturating_sub(LEADER_WITHIN));
        self.hasten_clients(healed_at + SETTLED_WITHIN);
        self.run(self.queue.now().max(healed_at + LOAD_GOES_ON))?;
        self.rest_clients(healed_at)?;
        let left = (healed_at + SETTLED_WITHIN).saturating_sub(self.queue.now());
        let answered = self.reach(left, World::is_answered)?;
        ensure!(
            answered,
            Live,
            "operations without an answer 10 s after the core {core:?} healed: {}",
            self.scene()
        );
        self.audit(healed_at)?;
        ensure!(self.is_answered(), Live, "reads after healing have no answer: {}", self.scene());
        let left = (healed_at + SETTLED_WITHIN).saturating_sub(self.queue.now());
        let equal = self.reach(left, |world| world.is_equal(&core))?;
        ensure!(equal, Live, "replicas differ 10 s after the core {core:?} healed: {}", self.scene());
        self.coverage.add("live", "settled_after_ms", (self.queue.now() - healed_at) / MILLIS);
        self.no_refusals(healed_at)
    }

    /// Everything heals.
    fn all_recover(&mut self) -> Check {
        let healed_at = self.queue.now();
        self.heal(|_| true);
        for at in self.daemons() {
            if matches!(self.hosts[at].process, crate::host::Process::None) {
                self.start_at(at, healed_at);
            }
        }
        if self.demand() == Demand::Nothing {
            self.run(healed_at + SECONDS)?;
            return self.roster_agrees();
        }
        let all: BTreeSet<usize> = self.daemons().collect();
        let equal = self.reach(SETTLED_WITHIN, |world| world.is_equal(&all))?;
        ensure!(equal, Live, "replicas differ 10 s after all healed: {}", self.scene());
        self.roster_agrees()
    }

    /// Lets time pass until something is reached, or for `within`.
    pub(crate) fn reach(&mut self, within: u64, reached: impl Fn(&Self) -> bool) -> Result<bool, Violation> {
        let until = self.queue.now() + within;
        while !reached(self) {
            if self.queue.now() >= until {
                return Ok(false);
            }
            self.run((self.queue.now() + STEP).min(until))?;
        }
        Ok(true)
    }

    /// How long a leader may take: four election timeouts (CONSENSUS, "Election"), as long as the round trips that
    /// were measured until now made them, and 2 s if that is more.
    fn leader_within(&self, core: &BTreeSet<usize>) -> u64 {
        let nodes = core.iter().filter_map(|at| self.hosts[*at].daemon());
        if self.demand() == Demand::Founding {
            return FOUNDED_LATE;
        }
        let timeouts =
            nodes.flat_map(|daemon| daemon.node.groups().map(|group| group.election().election_timeout()));
        // Large values of an old leader are still on their way, in order, before anything about a new one.
        let large = if self.scenario.load.large.0 > 0 { LARGE_BEFORE } else { 0 };
        let least = LEADER_WITHIN + large + self.adoption();
        timeouts.max().map_or(least, |longest| least.max(longest.as_nanos() as u64 * 4))
    }

    /// How long it may take to pull what a leader lacks: piece by piece, each after a round trip.
    fn adoption(&self) -> u64 {
        let lack = |(id, hosts): (&GroupId, &BTreeSet<usize>)| {
            let len = self.record.canons.get(*id).map_or(0, Canon::len);
            let applied = hosts.iter().filter_map(|at| Some(self.replica(*at, *id)?.broadcast().applied().0));
            len.saturating_sub(applied.min().unwrap_or(0))
        };
        let entries = self.lively().iter().map(lack).max().unwrap_or(0);
        let weather = &self.scenario.weather;
        let trip = weather.delay.1 + weather.jitter + 4 * self.scenario.cpu.turn;
        let by_one = self.scenario.limits.chunk < ENTRY_BYTES;
        if by_one { entries * 2 * trip } else { 0 }
    }

    fn hasten_clients(&mut self, deadline: u64) {
        for at in self.clients() {
            if let Some(actor) = self.hosts[at].actor_mut() {
                actor.deadline = Some(deadline);
            }
        }
    }

    /// Clients ask for nothing more.
    fn rest_clients(&mut self, healed_at: u64) -> Check {
        for at in self.clients() {
            if let Some(actor) = self.hosts[at].actor_mut() {
                actor.active = false;
            }
        }
        if self.demand() == Demand::Nothing {
            return self.run(healed_at + 3 * SECONDS);
        }
        Ok(())
    }

    /// Settles what is unknown, and reads every key once more.
    fn audit(&mut self, healed_at: u64) -> Check {
        let lively = self.lively();
        let canons = &self.record.canons;
        let serves = |key: &u32| {
            let group = canons.group_of(self.record.keys[*key as usize].as_bytes());
            group.is_some_and(|group| lively.contains_key(&group))
        };
        let keys: Vec<u32> = (0..self.record.keys.len() as u32).filter(serves).collect();
        let ops = &self.record.history.ops;
        let mut tickets = std::mem::take(&mut self.record.tickets);
        tickets.retain(|(op, _)| keys.contains(&ops[*op].key));
        let auditor = self.auditor();
        if let Some(actor) = self.hosts[auditor].actor_mut() {
            actor.read_all(keys.into_iter());
            actor.resolve_all(tickets);
        }
        self.schedule_turn(auditor);
        let left = (healed_at + SETTLED_WITHIN).saturating_sub(self.queue.now());
        self.reach(left, World::is_answered).map(drop)
    }

    /// What was asked well after healing was done, and not refused or lost.
    fn no_refusals(&self, healed_at: u64) -> Check {
        use crate::history::Status;
        let calm = healed_at + LEADER_WITHIN;
        let lively = self.lively();
        for (at, op) in self.record.history.ops.iter().enumerate() {
            let group = self.record.canons.group_of(self.record.keys[op.key as usize].as_bytes());
            if !group.is_some_and(|group| lively.contains_key(&group)) {
                continue;
            }
            let bad = matches!(op.status, Status::Pending | Status::Failed) && op.start >= calm;
            ensure!(!bad, Live, "operation {at} was asked in a healed cluster and not done: {op:?}");
        }
        Ok(())
    }

    /// How things stand, for reports.
    pub(crate) fn scene(&self) -> String {
        self.scene_with(false)
    }

    /// How things stand, with or without what every replica counted.
    pub(crate) fn scene_with(&self, counted: bool) -> String {
        let mut scene = String::new();
        for at in self.daemons() {
            let host = &self.hosts[at];
            let Some(daemon) = host.daemon() else {
                scene += &format!("\n  {}: no process", host.name);
                continue;
            };
            let waits = daemon.node.status(host.clock.at(self.queue.now())).waits_for;
            scene +=
                &format!("\n  {} {:?}: {:?} {waits}", host.name, daemon.node.id(), daemon.node.standing());
            let members = daemon.node.members().map(|member| format!("{:?}={:?}", member.node, member.state));
            scene += &format!("\n    members {}", members.collect::<Vec<_>>().join(" "));
            if let Some(map) = daemon.node.map() {
                let nodes =
                    map.nodes.iter().map(|record| format!("{:?}={:?}", record.info.node, record.state));
                let nodes = nodes.collect::<Vec<_>>().join(" ");
                scene += &format!(
                    "\n    epoch {} {nodes}, coordinator {:?}",
                    map.epoch,
                    daemon.node.coordinator()
                );
            }
            for group in daemon.node.groups() {
                let b = group.broadcast();
                scene += &format!(
                    "\n    group {} {:?} trusts {:?} live {} promised {:?} accepted {:?} len {} decided {} applied {}",
                    group.id(),
                    b.role(),
                    group.leader(),
                    group.live(),
                    b.promised(),
                    b.accepted_round(),
                    b.len(),
                    b.decided(),
                    b.applied()
                );
                if counted {
                    let counts = b.counters().iter().filter(|(_, count)| *count > 0);
                    counts.for_each(|(name, count)| scene += &format!(" {name}={count}"));
                }
            }
        }
        for at in self.clients() {
            if let Some(actor) = self.hosts[at].actor() {
                scene += &format!("\n  {}: {}", self.hosts[at].name, actor.waits_for());
            }
        }
        scene
    }

    /// The last position that somebody applied in each group, for reports.
    pub(crate) fn entries(&self) -> u64 {
        self.record.canons.iter().map(|(_, canon)| canon.len()).sum()
    }
}
