//! Founding seeds: starts, crashes, restarts, cuts and heavy loss while a cluster is being founded, and little else. Out
//! of one list come never two clusters, and always one if all founders live and no state directory was lost.

use std::collections::BTreeSet;

use haystack_core::broadcast::Limits;
use haystack_core::node::Buggify;
use haystack_wire::ids::GroupId;
use haystack_wire::link;

use crate::check::{Check, ensure};
use crate::dice::{Dice, Ppm};
use crate::parts::Demand;
use crate::phases::FOUNDED_LATE;
use crate::scenario::{Contacts, Fault, Load, Losses, MILLIS, SECONDS, Scenario};
use crate::world::World;

/// What may happen, with the greatest weight of each.
const TROUBLES: [(Fault, u32); 16] = [
    (Fault::Crash, 16),
    (Fault::Stop, 3),
    (Fault::CrashAndWipe, 4),
    (Fault::CutOneWay, 6),
    (Fault::CutBothWays, 6),
    (Fault::Deafen, 3),
    (Fault::Mute, 3),
    (Fault::Isolate, 4),
    (Fault::Split, 6),
    (Fault::Bridge, 3),
    (Fault::Star, 2),
    (Fault::RandomCuts, 6),
    (Fault::Pause, 4),
    (Fault::Slow, 3),
    (Fault::SlowDisk, 4),
    (Fault::Replay, 2),
];

/// Makes a founding of the scenario.
pub(crate) fn bend(seed: u64, scenario: &mut Scenario, enabled: &impl Fn(&str) -> bool) {
    let mut dice = Dice::new(seed, "founding");
    let dice = &mut dice;
    scenario.founding_in_storm = true;
    scenario.founding_only = true;
    scenario.consensus_storm = false;
    scenario.shape.partitions = dice.range(1, 2) as u32;
    scenario.shape.joiners.truncate(1);
    // Lost state directories excuse what is to be shown.
    let wipes = dice.chance(150_000);
    for (fault, weight) in Fault::ALL.iter().zip(&mut scenario.faults) {
        let most = TROUBLES.iter().find(|(kind, _)| kind == fault).map_or(0, |(_, most)| *most);
        let drawn = if dice.coin() { dice.range(0, u64::from(most)) as u32 } else { 0 };
        let wanted = enabled(fault.name()) && (wipes || *fault != Fault::CrashAndWipe);
        *weight = if wanted { drawn } else { 0 };
    }
    // Where any number may be lost, nothing may be left that serves; but one cluster it is.
    scenario.losses = if dice.coin() && enabled("losses") { Losses::Any } else { Losses::Minority };
    scenario.storm = dice.range(2 * SECONDS, 6 * SECONDS);
    scenario.strikes = dice.magnitude(40 * MILLIS, 600 * MILLIS);
    scenario.lasts = dice.magnitude(100 * MILLIS, 3 * SECONDS);
    scenario.at_leader = 0;
    let loss = if dice.coin() { 400_000 } else { dice.magnitude(1_000, 400_000) as Ppm };
    scenario.weather.loss = if enabled("loss") { loss } else { 0 };
    scenario.weather.burst_begins = 0;
    scenario.limits = Limits::default();
    scenario.links = link::Limits::default();
    scenario.buggify = Buggify::default();
    scenario.load = Load {
        clients: 1,
        contacts: Contacts::Some,
        depth: (1, 1),
        keys: 2,
        mix: [1, 1, 0, 0, 0, 0],
        think: 200 * MILLIS,
        small: (8, 16),
        large: (0, 0),
        patience: (SECONDS, SECONDS),
        resolve: 0,
        close: 0,
    };
}

impl World {
    /// The course of a founding seed once its storm is over: everything heals at once.
    pub(crate) fn founding_ends(&mut self) -> Check {
        let healed_at = self.queue.now();
        self.heal(|_| true);
        for at in self.daemons() {
            if matches!(self.hosts[at].process, crate::host::Process::None) {
                self.start_at(at, healed_at);
            }
        }
        let before = if self.parts().is_empty() { "founding_after_healing" } else { "founding_before" };
        self.coverage.add("founding", before, 1);
        if self.nemesis.wiped {
            self.coverage.add("founding", "state_directory_lost", 1);
            return self.run(healed_at + FOUNDED_LATE);
        }
        let one = self.reach(FOUNDED_LATE, World::is_one_cluster)?;
        ensure!(
            one,
            Founding,
            "{} s after all healed the founders do not make up one cluster: {}",
            FOUNDED_LATE / SECONDS,
            self.scene()
        );
        self.coverage.add("founding", "one_after_ms", (self.queue.now() - healed_at) / MILLIS);
        if self.demand() != Demand::Service || !self.lively().contains_key(&GroupId::DIRECTORY) {
            self.coverage.add("founding", "directory_lost", 1);
            return Ok(());
        }
        let left = (healed_at + FOUNDED_LATE).saturating_sub(self.queue.now());
        let serves = self.reach(left, World::has_leaders)?;
        ensure!(
            serves,
            Live,
            "{} s after all healed the founded cluster does not serve: {}",
            FOUNDED_LATE / SECONDS,
            self.scene()
        );
        self.coverage.add("founding", "serves_after_ms", (self.queue.now() - healed_at) / MILLIS);
        Ok(())
    }

    /// Whether every founder belongs to a cluster; that it is the same is looked at all the time.
    fn is_one_cluster(&self) -> bool {
        let belong: BTreeSet<usize> =
            self.nodes().filter(|(_, node)| node.cluster().is_some()).map(|(at, _)| at).collect();
        self.founders().all(|at| belong.contains(&at))
    }
}
