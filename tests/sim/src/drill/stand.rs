//! Where drills take place: a founded cluster under steady writes, and a stopwatch.

use std::collections::BTreeSet;

use haystack_core::group::Group;
use haystack_core::mutation::Mutations;
use haystack_wire::ids::GroupId;
use slog::{Logger, o};

use crate::check::{Check, Violation, ensure};
use crate::history::Status;
use crate::net::Trouble;
use crate::scenario::{Contacts, Load, MICROS, MILLIS, Profile, SECONDS, Scenario};
use crate::verdict::{self, Looked};
use crate::world::{Setting, World};

/// Two rounds of 100 ms; the round trips here are too short to stretch them.
const ELECTION_TIMEOUT: u64 = 200 * MILLIS;
/// A write succeeds again within four of them (CONSENSUS, section 1).
const WITHIN: u64 = 4 * ELECTION_TIMEOUT;
/// How long a drill goes on looking before it gives up.
const PATIENCE: u64 = 10 * SECONDS;
const STEP: u64 = 5 * MILLIS;

/// A founded cluster, and what was measured.
pub(super) struct Stand {
    world: World,
    apart: bool,
    /// What broke last, when, and the first operation after it.
    broke: (&'static str, u64, usize),
    pub(super) told: Vec<String>,
}

/// A calm scenario: short round trips, small values, no fault by chance.
fn calm(founders: usize, partitions: u32, apart: bool) -> Scenario {
    let every: Vec<String> = crate::run::faults().map(str::to_owned).collect();
    let mut scenario = Scenario::draw(1, &every, Profile::Swarm);
    let shape = &mut scenario.shape;
    (shape.founders, shape.partitions, shape.zones) = (founders, partitions, 0);
    shape.degree = if founders > 5 { 3 } else { founders as u32 };
    shape.joiners.clear();
    scenario.founding_in_storm = false;
    scenario.faults.fill(0);
    scenario.limits = haystack_core::broadcast::Limits::default();
    scenario.links = haystack_wire::link::Limits::default();
    scenario.weather.delay = (50 * MICROS, 500 * MICROS);
    (scenario.weather.jitter, scenario.weather.bandwidth) = (50 * MICROS, 1_000_000_000);
    scenario.cpu = crate::scenario::Cpu { turn: 5 * MICROS, datagram: MICROS };
    scenario.timer_grid = MILLIS;
    scenario.buffer = 4 << 20;
    scenario.load = Load {
        clients: if apart { founders } else { 3 },
        contacts: if apart { Contacts::Own } else { Contacts::All },
        depth: (16, 16),
        keys: 16 * partitions as usize,
        mix: [0, 1, 0, 0, 0, 0],
        think: 50 * MILLIS,
        small: (8, 16),
        large: (0, 0),
        patience: (500 * MILLIS, 500 * MILLIS),
        resolve: 0,
        close: 0,
    };
    scenario
}

impl Stand {
    pub(super) fn new(founders: usize, partitions: u32, apart: bool) -> Result<Self, Violation> {
        let scenario = calm(founders, partitions, apart);
        let log = Logger::root(slog::Discard, o!());
        let mut world = World::new(Setting { seed: 1, scenario, mutations: Mutations::none(), log });
        let serves = world.reach(3 * SECONDS, World::serves)?;
        ensure!(serves, Live, "the cluster does not serve after 3 s: {}", world.scene());
        // Everybody has met everybody, and every partition has taken writes.
        world.run(world.queue.now() + 2 * SECONDS)?;
        let mut stand = Self { world, apart, broke: ("", 0, 0), told: Vec::new() };
        if apart {
            stand.part_clients();
            stand.pass(SECONDS)?;
        }
        Ok(stand)
    }

    /// Each client reaches only the daemon of its number.
    fn part_clients(&mut self) {
        let (founders, auditor) = (self.world.founders(), self.world.auditor());
        for (number, client) in self.world.clients().enumerate().filter(|(_, client)| *client != auditor) {
            for at in founders.clone().filter(|at| *at != number) {
                self.world.net.trouble(client, at, Trouble::Cut, true);
                self.world.net.trouble(at, client, Trouble::Cut, true);
            }
        }
    }

    /// The host of a group's leader.
    pub(super) fn leader(&self, group: GroupId) -> Result<usize, Violation> {
        let leads = |replica: &Group| replica.id() == group && replica.leads();
        let found = self.world.nodes().find(|(_, node)| node.groups().any(leads));
        ensure!(found.is_some(), Live, "group {group} has no leader before anything broke");
        Ok(found.map_or(0, |(at, _)| at))
    }

    /// The founder after `at`.
    pub(super) fn other(&self, at: usize) -> usize {
        (at + 1) % self.world.founders().end
    }

    /// Whether a founder has a replica of the directory.
    pub(super) fn directs(&self, at: usize) -> bool {
        self.world.replica(at, GroupId::DIRECTORY).is_some()
    }

    /// All founders, from `first` on.
    pub(super) fn row_from(&self, first: usize) -> Vec<usize> {
        let count = self.world.founders().end;
        (0..count).map(|step| (first + step) % count).collect()
    }

    /// Cuts every direction between founders that `cut` names.
    pub(super) fn cut_ways(&mut self, cut: impl Fn(usize, usize) -> bool) {
        for from in self.world.founders() {
            for to in self.world.founders().filter(|to| *to != from && cut(from, *to)) {
                self.world.net.trouble(from, to, Trouble::Cut, true);
            }
        }
    }

    /// Cuts every pair of founders but those that `keep` names.
    pub(super) fn cut_all_but(&mut self, keep: impl Fn(usize, usize) -> bool) {
        self.cut_ways(|a, b| !keep(a, b));
    }

    /// Everything arrives twice from now on.
    pub(super) fn duplicate_all(&mut self) {
        let mut weather = self.world.scenario.weather.calm();
        (weather.duplication, weather.reordered_by) = (1_000_000, MILLIS);
        self.world.net.set_weather(weather);
    }

    /// All founders reach each other again.
    pub(super) fn heal(&mut self) {
        let founders = self.world.founders();
        self.world.net.heal(|host| founders.contains(&host));
    }

    pub(super) fn kill(&mut self, at: usize) {
        self.world.kill(at);
    }

    pub(super) fn pause(&mut self, at: usize, still: bool) {
        self.world.hosts[at].pauses = u32::from(still);
        self.world.schedule_turn(at);
    }

    pub(super) fn pass(&mut self, nanos: u64) -> Check {
        self.world.run(self.world.queue.now() + nanos)
    }

    /// The stopwatch starts.
    pub(super) fn breaks(&mut self, what: &'static str) -> Check {
        self.broke = (what, self.world.queue.now(), self.world.record.history.ops.len());
        Ok(())
    }

    /// In every partition that can live, a write that was begun after the break succeeds in time.
    pub(super) fn serves_in_time(&mut self) -> Check {
        let lively = self.world.lively();
        let parts = self.world.parts().len();
        let groups: Vec<GroupId> =
            lively.keys().copied().filter(|group| *group != GroupId::DIRECTORY).collect();
        let mut slowest = 0;
        for group in &groups {
            let first = self.first_write(|_, _, at| at == *group)?;
            slowest = slowest.max(self.in_time(first, &format!("partition {group}"))?);
        }
        let (what, ..) = self.broke;
        let lost = if lively.len() < parts { ", those without a majority excepted" } else { "" };
        self.tell(&format!(
            "{what}: a write succeeds after {} ms at the latest in each of {} partitions{lost}",
            slowest / MILLIS,
            groups.len()
        ));
        Ok(())
    }

    /// Through every daemon a write that was begun after the break succeeds in time.
    pub(super) fn serves_through_each(&mut self) -> Check {
        let mut slowest = 0;
        for at in self.world.founders() {
            let client = self.world.clients().start + at;
            let first = self.first_write(|world, number, _| {
                world.hosts[client].actor().is_some_and(|actor| actor.numbers().contains(&number))
            })?;
            slowest = slowest.max(self.in_time(first, &format!("n{}", at + 1))?);
        }
        let (what, ..) = self.broke;
        self.tell(&format!(
            "{what}: a write through each of {} daemons succeeds after {} ms at the latest",
            self.world.founders().end,
            slowest / MILLIS
        ));
        Ok(())
    }

    fn tell(&mut self, what: &str) {
        self.told.push(format!(
            "{what}; at most {} ms, four election timeouts of two rounds of 100 ms",
            WITHIN / MILLIS
        ));
    }

    fn in_time(&self, first: Option<u64>, place: &str) -> Result<u64, Violation> {
        let (what, ..) = self.broke;
        let took = first.unwrap_or(PATIENCE);
        ensure!(
            took <= WITHIN,
            Live,
            "{what}: a write at {place} succeeds only after {} ms{}: {}",
            took / MILLIS,
            if first.is_none() { " or never" } else { "" },
            self.world.scene()
        );
        Ok(took)
    }

    /// How long after the break the first write succeeded that was begun after it, of those that `wanted` names by
    /// the client's number and group.
    fn first_write(
        &mut self,
        wanted: impl Fn(&World, u32, GroupId) -> bool,
    ) -> Result<Option<u64>, Violation> {
        let (_, since, from) = self.broke;
        loop {
            let ops = self.world.record.history.ops.iter().skip(from);
            let done = ops.filter(|op| matches!(op.status, Status::Done(_)));
            let done = done.filter(|op| op.group.is_some_and(|group| wanted(&self.world, op.client, group)));
            if let Some(end) = done.filter_map(|op| op.end).min() {
                return Ok(Some(end - since));
            }
            if self.world.queue.now() >= since + PATIENCE {
                return Ok(None);
            }
            self.pass(STEP)?;
        }
    }

    /// All survivors that reach each other name one coordinator within the same time, and it is in office.
    pub(super) fn coordinated(&mut self) -> Check {
        let (what, since, _) = self.broke;
        loop {
            let named: BTreeSet<_> = self
                .world
                .nodes()
                .filter(|(at, _)| self.world.hosts[*at].runs() && !self.is_cut_off(*at))
                .map(|(_, node)| node.coordinator().map(|ballot| ballot.node))
                .collect();
            let in_office = self.world.nodes().filter(|(at, node)| {
                let held = |group: &Group| group.id() == GroupId::DIRECTORY && group.in_office().is_some();
                self.world.hosts[*at].runs() && !self.is_cut_off(*at) && node.groups().any(held)
            });
            let in_office: BTreeSet<_> = in_office.map(|(_, node)| Some(node.id())).collect();
            if named.len() == 1 && named == in_office {
                break;
            }
            ensure!(
                self.world.queue.now() < since + PATIENCE,
                Membership,
                "{what}: the survivors name {named:?}, and in office is {in_office:?}"
            );
            self.pass(STEP)?;
        }
        let took = (self.world.queue.now() - since) / MILLIS;
        self.told.push(format!("{what}: all survivors name the coordinator in office after {took} ms"));
        Ok(())
    }

    /// Whether a founder reaches no other.
    fn is_cut_off(&self, at: usize) -> bool {
        self.world.founders().filter(|other| *other != at).all(|other| self.world.net.is_cut(at, other))
    }

    /// All heals: replicas come to one log, and what clients were told has one order.
    pub(super) fn end(&mut self) -> Check {
        self.world.heal(|_| true);
        if self.apart {
            self.pass(SECONDS)?;
        }
        for at in self.world.clients() {
            if let Some(actor) = self.world.hosts[at].actor_mut() {
                actor.active = false;
            }
        }
        let all: BTreeSet<usize> = self.world.founders().collect();
        let equal = self.world.reach(10 * SECONDS, |world| world.is_equal(&all) && world.is_answered())?;
        ensure!(equal, Live, "replicas differ 10 s after all healed: {}", self.world.scene());
        verdict::check(&self.world.record, &mut Looked::default())
    }
}
