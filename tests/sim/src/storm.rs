//! The consensus storm: in some seeds everything is bent towards what hurts agreement most, one leader after the other
//! while logs differ. Ordinary seeds draw each fault by itself and come there once in thousands.

use std::time::Duration;

use haystack_core::node::Buggify;

use crate::dice::{Dice, Ppm};
use crate::scenario::{Fault, Load, Losses, MICROS, MILLIS, SECONDS, Scenario};

/// Share of seeds that are storms.
const SHARE: Ppm = 200_000;

/// What makes leaders change while their followers' logs differ, with the greatest weights that a storm gives.
const DIVERGING: [(Fault, u32); 11] = [
    (Fault::Carousel, 24),
    (Fault::IsolatePeers, 12),
    (Fault::Depose, 12),
    (Fault::Ambush, 8),
    (Fault::StallSource, 8),
    (Fault::CutOneWay, 6),
    (Fault::CutBothWays, 6),
    (Fault::RandomCuts, 8),
    (Fault::Pause, 4),
    (Fault::SlowNews, 4),
    (Fault::Chain, 2),
];

/// What makes a leader answer that is none any more.
const OUTLIVING: [(Fault, u32); 4] =
    [(Fault::Zombie, 12), (Fault::SlowNews, 4), (Fault::Depose, 2), (Fault::Pause, 2)];

/// Makes a storm of the scenario if its seed is one. The draws are a stream of their own: other seeds stay as they are.
pub(crate) fn brew(seed: u64, always: bool, scenario: &mut Scenario, enabled: &impl Fn(&str) -> bool) {
    let mut dice = Dice::new(seed, "consensus storm");
    let dice = &mut dice;
    if !dice.chance(SHARE) && !always {
        return;
    }
    scenario.consensus_storm = true;
    let outlive = dice.chance(250_000);
    let kinds: &[(Fault, u32)] = if outlive { &OUTLIVING } else { &DIVERGING };
    for (fault, weight) in Fault::ALL.iter().zip(&mut scenario.faults) {
        let most = kinds.iter().find(|(kind, _)| kind == fault).map_or(0, |(_, most)| *most);
        let drawn = if dice.chance(750_000) { dice.range(0, u64::from(most)) as u32 } else { 0 };
        *weight = if enabled(fault.name()) { drawn } else { 0 };
    }
    scenario.losses = Losses::Minority;
    // Where all replicate everything each fault hits every group.
    if dice.chance(800_000) {
        let founders = dice.pick(&[3, 3, 3, 5, 5]).unwrap_or(3);
        (scenario.shape.founders, scenario.shape.degree) = (founders, founders as u32);
        scenario.shape.joiners.clear();
        scenario.shape.partitions = dice.range(1, 2) as u32;
    }
    scenario.founding_in_storm = false;
    scenario.strikes = dice.magnitude(100 * MILLIS, SECONDS);
    scenario.lasts = dice.magnitude(300 * MILLIS, 2 * SECONDS);
    scenario.at_leader = 900_000;
    scenario.weather.delay = (50 * MICROS, dice.magnitude(100 * MICROS, 2 * MILLIS));
    scenario.weather.jitter = dice.below(MILLIS);
    scenario.weather.loss = scenario.weather.loss.min(30_000);
    scenario.weather.burst_begins = 0;
    limits(dice, scenario);
    if enabled("buggify") {
        let mut rate = |most: u64| if dice.chance(700_000) { dice.magnitude(10_000, most) as Ppm } else { 0 };
        scenario.buggify =
            Buggify { lose: rate(400_000), repeat: rate(300_000), hold: rate(400_000), release: 200_000 };
    }
    load(dice, outlive, &mut scenario.load);
}

/// Logs travel in pieces of an entry or two, are compacted at once, and sources are soon given up.
fn limits(dice: &mut Dice, scenario: &mut Scenario) {
    let limits = &mut scenario.limits;
    // An entry is a message of its own, or a few are one.
    let single = dice.coin();
    limits.chunk = if single { 1 } else { dice.magnitude(300, 2 << 10) };
    limits.window = dice.magnitude(1 << 10, 16 << 10);
    limits.gap = dice.magnitude(1 << 10, 16 << 10);
    limits.inflight = 256 << 10;
    // With a tail of nearly nothing whoever missed something needs a snapshot; with a long one, a long Sync.
    (limits.tail_min, limits.tail_lagging) = if dice.coin() {
        (dice.magnitude(128, 1 << 10), dice.magnitude(256, 4 << 10))
    } else {
        (4 << 10, if single { 16 << 10 } else { 64 << 10 })
    };
    limits.tail_transfer = 1 << 20;
    limits.stage = 8 << 20;
    limits.stall = Duration::from_millis(dice.range(150, 500));
}

/// Many operations at once on few keys, so that a leader that is cut off has a long tail of its own.
fn load(dice: &mut Dice, reads: bool, load: &mut Load) {
    load.clients = load.clients.max(3);
    load.keys = dice.range(1, 4) as usize;
    load.depth = (1, dice.range(2, 24));
    load.mix = if reads { [10, 6, 0, 0, 0, 0] } else { [dice.range(0, 4) as u32, 10, 1, 2, 0, 0] };
    let rate = dice.magnitude(300, 3_000);
    load.think = (load.clients as u64 * (load.depth.0 + load.depth.1)) * SECONDS / (2 * rate);
    load.small = (8, dice.magnitude(16, 200));
    load.large = (0, 0);
}
