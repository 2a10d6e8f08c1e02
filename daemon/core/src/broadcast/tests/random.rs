//! Many seeds of random faults over three and five replicas: safety all the time, then a heal and progress.

use std::time::Duration;

use haystack_wire::rng::Rng;

use super::net::{Counted, Faults, Net, STOP, tiny};
use crate::mutation::Mutations;

/// What a run does beside breaking links; the fields are chances per action.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chaos {
    pub(super) count: usize,
    pub(super) faults: Faults,
    pub(super) actions: u64,
    pub(super) lead: f64,
    pub(super) cut: f64,
    pub(super) crash: f64,
    /// A stop-sign, late in the run.
    pub(super) stop: f64,
    /// A crashed process comes back under its old identity, with nothing: forbidden.
    pub(super) amnesia: bool,
    /// A replica leads in a ballot it has used: forbidden.
    pub(super) reuse: bool,
}

impl Chaos {
    /// A swarm: each seed has its own mixture.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut pick = |choices: &[f64]| choices[rng.below(choices.len() as u64) as usize];
        let faults = Faults {
            loss: pick(&[0.0, 0.02, 0.1, 0.3]),
            dup: pick(&[0.0, 0.1, 0.4]),
            delay_us: pick(&[1000.0, 10_000.0, 60_000.0, 250_000.0]) as u64,
            fifo: pick(&[0.0, 0.0, 1.0]) > 0.5,
            lazy_flush: pick(&[0.0, 0.3]),
            fetch_loss: pick(&[0.0, 0.3]),
        };
        Self {
            count: pick(&[3.0, 3.0, 5.0]) as usize,
            faults,
            actions: 300,
            lead: pick(&[0.02, 0.06, 0.15]),
            cut: pick(&[0.0, 0.05, 0.2]),
            crash: pick(&[0.0, 0.01]),
            stop: pick(&[0.0, 0.0, 0.05]),
            amnesia: false,
            reuse: false,
        }
    }
}

/// What a run showed.
#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    pub(super) trace: u64,
    pub(super) decided: usize,
    pub(super) counted: Counted,
}

pub(super) fn run(seed: u64, mutations: Mutations, adjust: impl FnOnce(&mut Chaos)) -> Shown {
    let mut rng = Rng::from_u64(seed);
    let mut chaos = Chaos::draw(&mut rng);
    adjust(&mut chaos);
    let mut net = Net::new(seed ^ 0x5eed, chaos.count, tiny(), mutations);
    net.faults = chaos.faults;
    let mut value = 0;
    for action in 0..chaos.actions {
        act(&mut net, &mut rng, &chaos, &mut value);
        if action > chaos.actions * 4 / 5
            && rng.chance(chaos.stop)
            && let Some(leader) = net.leader()
        {
            value += 1;
            net.propose(leader, STOP + value);
        }
        let pause = rng.below(chaos.faults.delay_us * 2);
        net.run_for(Duration::from_micros(pause));
    }
    // Half of the seeds must get by on timers alone.
    heal(&mut net, &mut rng, &mut value, seed.is_multiple_of(2));
    Shown { trace: net.trace, decided: net.canonical.len(), counted: net.counted() }
}

fn act(net: &mut Net, rng: &mut Rng, chaos: &Chaos, value: &mut u64) {
    let live = net.live();
    let node = live[rng.below(live.len() as u64) as usize];
    if rng.chance(chaos.lead) {
        net.lead(node);
        if chaos.reuse && rng.chance(0.5) {
            let ballot = super::net::ballot(1 + rng.below(3), node);
            net.with(node, |core, now| core.lead(now, ballot));
        }
    }
    if rng.chance(0.01) {
        net.with(node, |core, now| core.step_down(now));
    }
    if rng.chance(0.02) {
        let to = net.ids[rng.below(chaos.count as u64) as usize];
        net.with(node, |core, now| core.dropped(now, to));
    }
    if rng.chance(chaos.cut) {
        let (a, b) = (rng.below(chaos.count as u64) as usize, rng.below(chaos.count as u64) as usize);
        net.cut[a][b] = !net.cut[a][b];
        if rng.chance(0.5) {
            net.cut[b][a] = net.cut[a][b];
        }
    }
    if rng.chance(chaos.cut / 4.0) {
        net.cut = vec![vec![false; chaos.count]; chaos.count];
    }
    if rng.chance(chaos.crash) && live.len() * 2 > chaos.count + 1 {
        net.crash(node);
    }
    if chaos.amnesia && rng.chance(0.03) {
        net.restart_without_memory(node);
    }
    for leader in net.live() {
        for _ in 0..rng.below(4) {
            *value += 1;
            net.propose(leader, *value);
        }
    }
    for from in net.live() {
        let to = rng.below(chaos.count as u64) as usize;
        if to != from && rng.chance(0.5) {
            net.heartbeat(from, to);
        }
    }
}

/// All cuts heal; the crashed stay gone. Every live replica must get everything, old and new.
fn heal(net: &mut Net, rng: &mut Rng, value: &mut u64, heartbeats: bool) {
    let count = net.nodes.len();
    net.faults = Faults::NONE;
    net.cut = vec![vec![false; count]; count];
    let live = net.live();
    let mut wanted: Vec<u64> = Vec::new();
    for round in 0..300 {
        if round % 20 == 0 && net.leader().is_none() {
            net.lead(live[rng.below(live.len() as u64) as usize]);
        }
        net.run_for(Duration::from_millis(100));
        for (from, to) in live.iter().flat_map(|from| live.iter().map(move |to| (*from, *to))) {
            if from != to && heartbeats {
                net.heartbeat(from, to);
            }
        }
        if let Some(leader) = net.leader()
            && wanted.len() < 5
        {
            *value += 1;
            if net.propose(leader, *value) {
                wanted.push(*value);
            }
        }
        // Behind a decided stop-sign there are no more entries, and who needs a snapshot gets it with the next view.
        if net.canonical.last().is_some_and(|last| *last >= STOP)
            && let Some(leader) = net.leader()
            && net.core(leader).applied() == net.core(leader).len()
        {
            return;
        }
        let equal = live.iter().all(|node| net.nodes[*node].as_ref().unwrap().state == net.canonical);
        if equal && wanted.len() == 5 && wanted.iter().all(|value| net.canonical.contains(value)) {
            return;
        }
    }
    let state: Vec<_> = live.iter().map(|node| format!("{:#?}", net.core(*node))).collect();
    panic!("no progress after the heal: {}", state.join("\n"));
}

/// Runs the seeds, and holds that together they reach every rare state.
fn utob_holds(seeds: std::ops::Range<u64>) {
    let mut sum = Counted::new();
    let mut decided = 0;
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let shown = std::panic::catch_unwind(|| run(seed, Mutations::none(), |_| ()));
        let shown = shown.unwrap_or_else(|panic| {
            println!("seed {seed}");
            std::panic::resume_unwind(panic)
        });
        decided += shown.decided;
        for (name, count) in shown.counted {
            *sum.entry(name).or_default() += count;
        }
    }
    println!("{count} seeds, {decided} entries decided, {sum:#?}");
    assert!(decided as u64 > 20 * count, "the faults leave room for decisions");
    // What correct peers and these limits exclude is named here, and has its test among the rules.
    let excluded = [
        "drop_stranger",
        "drop_misrouted",
        "drop_implausible",
        "drop_stage_full",
        "drop_unpromised",
        "drop_sync_below_decided",
    ];
    for (name, count) in &sum {
        assert!(*count > 0 || excluded.contains(name), "{name} was never reached");
    }
}

#[test]
fn utob_holds_under_random_faults_and_progress_resumes_after_the_heal() {
    utob_holds(0..300);
}

#[test]
#[ignore = "takes minutes; the same for a night"]
fn utob_holds_for_many_more_seeds() {
    utob_holds(1_000_000..1_010_000);
}

#[test]
fn one_seed_is_one_run() {
    assert_eq!(run(7, Mutations::none(), |_| ()), run(7, Mutations::none(), |_| ()));
}
