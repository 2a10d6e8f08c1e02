//! Crashes are confirmed in time, and nobody else dies.

use core::time::Duration;

use haystack_wire::message::membership::MemberState;

use super::super::{Output, Timing};
use super::world::{SECOND, World, seconds};

/// From the crash to the last survivor's word: a round of probes at worst, the probe itself, the suspicion at its
/// longest, and its spreading.
fn bound(nodes: usize) -> Duration {
    let timing = Timing::default();
    let round = if nodes <= 8 { seconds(nodes as u64) } else { 4 * SECOND };
    round + 2 * SECOND + timing.suspicion_for(nodes, 0) + 2 * SECOND
}

#[test]
fn a_crash_is_confirmed_everywhere_within_the_bound() {
    for nodes in [2, 3, 5, 32] {
        for seed in 0..4 {
            let mut world = World::formed(seed, nodes);
            world.crash(nodes - 1);
            let took = world.until(seconds(120), |world| world.buried(nodes - 1));
            let took = took.expect("nobody sees the crash");
            println!("{nodes} nodes: a crash is known everywhere after {took:?}");
            assert!(took <= bound(nodes), "{nodes} nodes took {took:?}");
            let dead = world.id(nodes - 1);
            assert!(world.deaths().iter().all(|(_, who)| *who == dead));
        }
    }
}

#[test]
fn with_several_accusers_a_crash_is_confirmed_long_before_the_longest_suspicion() {
    let mut world = World::formed(1, 5);
    world.crash(4);
    let took = world.until(seconds(120), |world| world.buried(4)).unwrap();
    assert!(took < seconds(14), "{took:?}");
}

#[test]
fn a_crash_is_confirmed_under_loss() {
    let mut world = World::formed(2, 5);
    world.loss = 0.3;
    world.doubled = 0.05;
    world.run(seconds(60));
    world.crash(4);
    let took = world.until(seconds(200), |world| world.buried(4)).expect("nobody sees the crash");
    assert!(took <= 2 * bound(5), "{took:?}");
}

/// Among three, where one may crash and the other two have only each other to tell, the longest suspicion is 24 s.
#[test]
fn an_accusation_under_loss_is_not_spent_on_the_accused() {
    for seed in 0..300 {
        let mut world = lossy(seed, 0.3, 3);
        world.run(seconds(20));
        world.crash(2);
        let took = world.until(seconds(60), |world| world.buried(2)).expect("nobody sees the crash");
        assert!(took < seconds(16), "{seed}: the survivors did not hear each other's accusations, {took:?}");
    }
}

fn lossy(seed: u64, loss: f64, nodes: usize) -> World {
    let mut world = World::formed(seed, nodes);
    world.by_bytes = false;
    (world.loss, world.doubled) = (loss, 0.02);
    world.delay = (Duration::from_millis(1), Duration::from_millis(40));
    world
}

#[test]
fn nobody_dies_of_loss() {
    for seed in 0..2 {
        let mut world = lossy(seed, 0.3, 5);
        world.run(seconds(2 * 3600));
        assert_eq!(world.deaths(), []);
        assert!((0..5).any(|node| world.counter(node, "refuted") > 0), "nothing was tried");
    }
}

#[test]
#[ignore = "minutes of work: days at 30 % loss without a perfect link to help"]
fn nobody_dies_of_loss_in_days() {
    for (seed, nodes) in [(1, 5), (2, 5), (3, 5), (4, 3), (5, 2), (6, 9)] {
        let mut world = lossy(seed, 0.3, nodes);
        world.run(seconds(24 * 3600));
        let refuted: u64 = (0..nodes).map(|node| world.counter(node, "refuted")).sum();
        println!("{nodes} nodes: {refuted} refuted, deaths {:?}", world.deaths());
        assert_eq!(world.deaths(), []);
    }
}

#[test]
#[ignore = "prints how long crashes take to be known under loss"]
fn detection_under_loss() {
    for (loss, nodes) in [(0.0, 5), (0.1, 5), (0.3, 5), (0.0, 128), (0.3, 128)] {
        let mut took = Vec::new();
        for seed in 0..20 {
            let mut world = lossy(seed, loss, nodes);
            world.run(seconds(60));
            world.reset();
            world.crash(nodes - 1);
            let start = world.now;
            world.until(seconds(300), |world| world.buried(nodes - 1)).unwrap();
            let said = world.nodes.iter().flat_map(|node| &node.said);
            let dead = said.filter(|(_, output)| matches!(output, Output::Dead(_)));
            took.push((dead.map(|(at, _)| *at - start).min(), world.now - start));
        }
        let firsts: std::collections::BTreeSet<_> = took.iter().map(|(first, _)| *first).collect();
        let lasts: std::collections::BTreeSet<_> = took.iter().map(|(_, last)| *last).collect();
        let middle = |set: Vec<Duration>| (set[set.len() / 2], set[set.len() - 1]);
        let firsts = middle(firsts.into_iter().flatten().collect());
        println!(
            "{nodes} nodes, loss {loss}: first {firsts:?}, all {:?}",
            middle(lasts.into_iter().collect())
        );
    }
}

#[test]
fn a_suspect_that_lives_refutes_and_is_alive_everywhere() {
    let mut world = World::formed(3, 5);
    let victim = world.nodes[4].addr;
    let others: Vec<_> = world.nodes[..4].iter().map(|node| node.addr).collect();
    world.island.insert(victim);
    world.run(seconds(4));
    assert!((0..4).any(|node| world.counter(node, "suspected") > 0));
    world.island.clear();
    assert!(world.until(seconds(10), World::complete).is_some());
    world.run(seconds(60));
    assert!(world.complete());
    assert_eq!(world.deaths(), []);
    assert!(world.nodes[4].swim.me().incarnation > 0);
    // A cut in one direction with one other is got round.
    world.cuts.insert((victim, others[0]));
    world.run(seconds(600));
    assert_eq!(world.deaths(), []);
}

#[test]
fn a_node_that_hears_nobody_kills_nobody() {
    for seed in 0..4 {
        let mut world = World::formed(10 + seed, 5);
        let deaf = world.id(4);
        let others: Vec<_> = world.nodes[..4].iter().map(|node| node.addr).collect();
        world.cuts.extend(others.iter().map(|other| (*other, world.nodes[4].addr)));
        world.run(seconds(600));
        assert!((0..4).all(|node| world.sees(node, 4) == Some(MemberState::Dead)));
        assert!(world.deaths().iter().all(|(by, dead)| *by == 4 || *dead == deaf));
        assert!((0..4).any(|node| world.counter(node, "drop_accuser") > 0));
        world.cuts.clear();
        assert!(world.until(seconds(40), World::complete).is_some());
    }
}

#[test]
fn a_node_that_nobody_hears_dies_and_comes_back() {
    let mut world = World::formed(15, 5);
    let others: Vec<_> = world.nodes[..4].iter().map(|node| node.addr).collect();
    world.cuts.extend(others.iter().map(|other| (world.nodes[4].addr, *other)));
    assert!(
        world
            .until(seconds(40), |world| (0..4).all(|node| world.sees(node, 4) == Some(MemberState::Dead)))
            .is_some()
    );
    world.run(seconds(600));
    world.cuts.clear();
    assert!(world.until(seconds(40), World::complete).is_some());
}

#[test]
fn a_process_that_stood_still_buries_nobody_and_comes_back() {
    let mut world = World::formed(4, 5);
    for pause in [3, 20, 90] {
        world.reset();
        world.pause(4, seconds(pause));
        world.run(seconds(pause));
        assert!(world.until(seconds(40), World::complete).is_some(), "after {pause} s");
        assert!(world.deaths().iter().all(|(by, _)| *by != 4), "after {pause} s");
    }
}
