//! PL1 reliable delivery, PL2 no duplication, PL3 no creation, FIFO: whatever the network does.

use std::net::SocketAddr;

use super::super::{DownReason, LinkEvent};
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

/// Cuts, heals and new handshakes of processes that know each other already.
fn disturb(net: &mut Net, a: usize, b: usize) {
    if net.rng.chance(0.2) {
        let cut = (net.hosts[a].addr, net.hosts[b].addr);
        net.cuts.push(cut);
    }
    if net.rng.chance(0.2) {
        net.cuts.clear();
    }
    if net.rng.chance(0.2) {
        let (now, addr) = (net.now, net.hosts[b].addr);
        net.hosts[a].endpoint.unreachable(now, addr);
    }
}

fn send_some(net: &mut Net, a: usize, b: usize) {
    for _ in 0..net.rng.below(40) {
        let class = Class::ALL[net.rng.below(4) as usize];
        let len = random_len(&mut net.rng);
        if net.send(a, b, class, len).is_err() {
            break;
        }
    }
}

/// Random traffic in all classes between three processes over a bad network with cuts; then it heals.
fn storm(seed: u64, sealed: bool) -> u64 {
    storm_in(Net::new(seed, sealed), seed)
}

fn storm_in(mut net: Net, seed: u64) -> u64 {
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
        disturb(&mut net, a, b);
        send_some(&mut net, a, b);
    }
    net.cuts.clear();
    net.faults.loss = net.faults.loss.min(0.2);
    net.run_until(120 * SECOND, "everything arrives", all_arrived);
    net.run_until(30 * SECOND, "all links up", |net| net.hosts.iter().all(|host| host.links.len() >= 2));
    net.run(2 * SECOND);
    for host in &net.hosts {
        assert_eq!(host.links.len(), 2, "seed {seed}: one Up per pair of processes");
        assert!(!host.events.iter().any(|event| matches!(event, LinkEvent::Down { .. })), "seed {seed}");
    }
    net.trace
}

#[test]
fn pl1_pl2_pl3_and_fifo_hold_unsealed() {
    (0..80).for_each(|seed| {
        storm(seed, false);
    });
}

#[test]
fn pl1_pl2_pl3_and_fifo_hold_sealed() {
    (1000..1050).for_each(|seed| {
        storm(seed, true);
    });
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 4] {
        assert_eq!(storm(seed, false), storm(seed, false));
    }
}

#[test]
fn timeouts_handled_in_vain_change_nothing() {
    for seed in 5..15 {
        let mut net = Net::new(seed, false);
        net.spurious = true;
        assert_eq!(storm_in(net, seed), storm(seed, false), "seed {seed}");
    }
}

/// Processes that end at any moment, with new ones at their addresses, and clients that close.
fn churn(seed: u64, sealed: bool) {
    let mut net = Net::new(seed, sealed);
    let (peer, client) = (net.peer(), net.client());
    let setups = [peer.clone(), peer.clone(), peer, client];
    for setup in &setups {
        net.add(setup.clone());
    }
    net.faults = random_faults(&mut net.rng);
    let calls = [(0, 1), (1, 0), (0, 2), (2, 1), (3, 0), (3, 1), (3, 2)];
    for (a, b) in calls {
        net.connect(a, b);
    }
    for _ in 0..80 {
        let pause = Duration::from_micros(net.rng.below(200_000));
        net.run(pause);
        let (a, b) = (net.rng.below(4) as usize, net.rng.below(4) as usize);
        disturb(&mut net, a, b);
        send_some(&mut net, a, b);
        if net.rng.chance(0.1) {
            let dead = net.hosts[a].end.node;
            net.restart(a, setups[a].clone());
            for (from, to) in calls {
                if from == a {
                    net.connect(from, to);
                }
            }
            // Somebody may learn for sure that the old process is gone.
            if let Some(link) = net.hosts[b].endpoint.link_to(dead)
                && net.rng.chance(0.5)
            {
                net.hosts[b].endpoint.gone(link);
            }
        }
        if net.rng.chance(0.05)
            && let Some(link) = net.link(3, b)
        {
            let now = net.now;
            net.hosts[3].endpoint.close(now, link);
        }
    }
    net.cuts.clear();
    net.faults = Faults { delay: net.faults.delay, ..Faults::default() };
    let up = |net: &Net| calls.iter().all(|(a, b)| net.is_established(*a, *b) && net.is_established(*b, *a));
    // Who has nothing to say to a process does not notice its end: there are heartbeats.
    for _ in 0..200 {
        net.heartbeats();
        net.run(50 * MS);
    }
    assert!(up(&net), "seed {seed}: everyone reaches everyone");
    // A new session has taken the place of whatever the closed ones lost: all of a new batch arrives.
    net.witness.forget_missing();
    for (a, b) in calls {
        for class in Class::ALL {
            (0..5).for_each(|_| {
                let _ = net.send(a, b, class, 700);
                let _ = net.send(b, a, class, 700);
            });
        }
    }
    net.run_until(60 * SECOND, "a new batch arrives", all_arrived);
    assert!(net.hosts.iter().all(|host| host.downs(DownReason::Violation) == 0), "seed {seed}");
}

#[test]
fn sessions_never_mix_when_processes_come_and_go_unsealed() {
    (2000..2080).for_each(|seed| churn(seed, false));
}

#[test]
fn sessions_never_mix_when_processes_come_and_go_sealed() {
    (3000..3040).for_each(|seed| churn(seed, true));
}

/// Two processes call each other at addresses that do not show who is who, so that neither call gives way.
#[test]
fn crossed_handshakes_do_not_mix_sessions() {
    for seed in 4000..4060 {
        let mut net = Net::new(seed, seed % 2 == 0);
        let setup = net.peer();
        net.add(setup.clone());
        net.add(setup);
        let now = net.now;
        for (host, alias) in [(0, "10.1.0.1:7400"), (1, "10.1.0.2:7400")] {
            let alias = alias.parse().unwrap();
            net.aliases.push((alias, host));
            net.hosts[1 - host].endpoint.connect(now, alias);
        }
        net.faults.jitter = net.rng.below(3) as u32 * MS;
        net.faults.loss = net.rng.below(3) as f64 * 0.1;
        for _ in 0..40 {
            net.run(MS);
            send_some(&mut net, 0, 1);
            send_some(&mut net, 1, 0);
        }
        net.run_until(30 * SECOND, "up", |net| net.hosts.iter().all(|host| !host.links.is_empty()));
        net.run_until(120 * SECOND, "everything arrives", all_arrived);
        for host in &net.hosts {
            let down = host.events.iter().any(|event| matches!(event, LinkEvent::Down { .. }));
            assert!(host.links.len() == 1 && !down, "seed {seed}: {:?}", host.events);
        }
    }
}

#[test]
fn a_message_of_16_mib_arrives_over_a_bad_path() {
    let mut net = Net::pair(5, false);
    net.faults = Faults { loss: 0.02, duplication: 0.02, delay: MS, jitter: MS, ..Faults::default() };
    net.send(0, 1, Class::Bulk, 16 << 20).unwrap();
    net.send(0, 1, Class::Broadcast, 100).unwrap();
    net.run_until(60 * SECOND, "16 MiB", all_arrived);
}

#[test]
fn a_link_between_peers_outlives_any_silence() {
    let mut net = Net::pair(6, true);
    net.cut(0, 1);
    net.send(0, 1, Class::Broadcast, 100).unwrap();
    net.run(24 * 3600 * SECOND);
    net.cuts.clear();
    net.run_until(2 * SECOND, "the message of yesterday", all_arrived);
    assert!(net.hosts.iter().all(|host| host.links.len() == 1 && host.events.len() == 1));
}

/// Two hosts of two addresses each, with a way between the first ones and a way between the second ones.
fn two_ways(seed: u64) -> (Net, [SocketAddr; 2], [SocketAddr; 2]) {
    let mut net = Net::new(seed, true);
    let setup = net.peer();
    net.add(setup.clone());
    net.add(setup);
    let (here, there) = (net.hosts[0].addr, net.hosts[1].addr);
    let (other_here, other_there) = ("10.1.0.1:7400".parse().unwrap(), "10.1.0.2:7400".parse().unwrap());
    net.aliases.extend([(other_here, 0), (other_there, 1)]);
    net.routes.push((other_there, other_here));
    (net, [here, there], [other_here, other_there])
}

/// One host calls the other over both ways, and the answer over the second way comes late, when the first way has
/// carried messages and nothing back: the session that it names is not the one that is held by then.
fn late_answer_over_another_way(seed: u64, confirmed: bool) {
    let (mut net, [here, there], [other_here, other_there]) = two_ways(seed);
    let now = net.now;
    net.hosts[0].endpoint.connect(now, other_there);
    net.record = Some(Vec::new());
    net.run_until(SECOND, "half open", |net| net.stats(1).half_open == 1);
    net.drop_queue();
    let answer = net.record.take().unwrap().pop().unwrap();
    assert_eq!((answer.from, answer.to), (other_there, other_here));
    net.cuts.push((other_there, other_here));
    net.connect(0, 1);
    net.run_until(SECOND, "up here", |net| net.is_established(0, 1));
    if confirmed {
        net.run(10 * MS);
    }
    net.cuts.push((there, here));
    for class in Class::ALL {
        net.send(0, 1, class, 100).unwrap();
    }
    net.run(4 * SECOND);
    assert_eq!(net.witness.deliveries, 4);
    net.inject(0, answer.from, &answer.bytes);
    net.run(SECOND);
    net.cuts.clear();
    net.run(5 * SECOND);
    for (from, to) in [(0, 1), (1, 0)] {
        net.send(from, to, Class::Client, 100).unwrap();
    }
    net.run(5 * SECOND);
    assert_eq!(net.witness.deliveries, 6);
    assert!(net.hosts.iter().all(|host| host.events.len() == 1), "one session from beginning to end");
}

#[test]
fn an_answer_that_comes_late_over_another_way_neither_ends_nor_doubles_a_session() {
    for seed in 0..4 {
        late_answer_over_another_way(seed, false);
        late_answer_over_another_way(seed, true);
    }
}

#[test]
fn a_third_leg_that_comes_late_over_another_way_doubles_nothing() {
    for seed in 0..4 {
        let (mut net, [here, there], [_, other_there]) = two_ways(seed);
        net.connect(0, 1);
        net.run_until(SECOND, "up here", |net| net.is_established(0, 1));
        net.drop_queue();
        net.cut(0, 1);
        net.record = Some(Vec::new());
        net.send(0, 1, Class::Broadcast, 100).unwrap();
        net.flush();
        let late = net.record.take().unwrap().pop().unwrap();
        assert_eq!((late.from, late.to), (here, there));
        net.run(3 * SECOND);
        let (now, before) = (net.now, net.stats(1).welcome_out);
        net.hosts[0].endpoint.connect(now, other_there);
        net.run_until(SECOND, "an answer over the other way", |net| net.stats(1).welcome_out > before);
        net.inject(1, late.from, &late.bytes);
        net.run(5 * SECOND);
        net.cuts.clear();
        net.run(5 * SECOND);
        assert_eq!(net.witness.deliveries, 1);
        assert!(net.hosts.iter().all(|host| host.events.len() == 1), "one session from beginning to end");
    }
}
