//! PL1 reliable delivery, PL2 no duplication, PL3 no creation, FIFO: whatever the network does.

use super::super::LinkEvent;
use super::net::*;
use crate::frame::Class;
use crate::rng::Rng;
use crate::time::Duration;

fn random_len(rng: &mut Rng) -> usize {
    match rng.below(20) {
        0 => 0,
        1..=12 => rng.below(300) as usize,
        13..=17 => rng.below(4_000) as usize,
        _ => rng.below(14_000) as usize,
    }
}

fn random_faults(rng: &mut Rng) -> Faults {
    let mut some = |most: f64| if rng.chance(0.5) { rng.below(1000) as f64 / 1000.0 * most } else { 0.0 };
    let (loss, duplication, corruption, replay) = (some(0.4), some(0.3), some(0.1), some(0.1));
    let delay = Duration::from_micros(10 + rng.below(60_000));
    let jitter = if rng.chance(0.5) { Duration::from_micros(rng.below(100_000)) } else { Duration::ZERO };
    Faults { loss, duplication, corruption, delay, jitter, replay }
}

fn all_arrived(net: &Net) -> bool {
    let ends: Vec<_> = net.hosts.iter().map(|host| host.end).collect();
    ends.iter().all(|a| ends.iter().all(|b| net.witness.missing(*a, *b) == 0))
}

/// Random traffic in all classes between three processes over a bad network with cuts; then it heals.
fn storm(seed: u64, sealed: bool) {
    let mut net = Net::new(seed, sealed);
    let setup = net.peer();
    for _ in 0..3 {
        net.add(setup.clone());
    }
    net.faults = random_faults(&mut net.rng);
    for (a, b) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
        net.connect(a, b);
    }
    for _ in 0..60 {
        let pause = Duration::from_micros(net.rng.below(100_000));
        net.run(pause);
        let (a, b) = (net.rng.below(3) as usize, net.rng.below(3) as usize);
        if net.rng.chance(0.2) {
            let cut = (net.hosts[a].addr, net.hosts[b].addr);
            net.cuts.push(cut);
        }
        if net.rng.chance(0.2) {
            net.cuts.clear();
        }
        for _ in 0..net.rng.below(40) {
            let class = Class::ALL[net.rng.below(4) as usize];
            let len = random_len(&mut net.rng);
            if net.send(a, b, class, len).is_err() {
                break;
            }
        }
    }
    net.cuts.clear();
    net.faults.loss = net.faults.loss.min(0.2);
    net.run_until(Duration::from_secs(120), "everything arrives", all_arrived);
    net.run_until(Duration::from_secs(30), "all links up", |net| {
        net.hosts.iter().all(|host| host.links.len() >= 2)
    });
    net.run(2 * SECOND);
    for host in &net.hosts {
        assert_eq!(host.links.len(), 2, "seed {seed}: one Up per pair of processes");
        assert_eq!(host.events.iter().filter(|event| matches!(event, LinkEvent::Down { .. })).count(), 0);
    }
}

#[test]
fn pl1_pl2_pl3_and_fifo_hold_unsealed() {
    (0..60).for_each(|seed| storm(seed, false));
}

#[test]
fn pl1_pl2_pl3_and_fifo_hold_sealed() {
    (1000..1040).for_each(|seed| storm(seed, true));
}
