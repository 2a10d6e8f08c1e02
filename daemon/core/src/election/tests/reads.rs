//! Read rounds: confirmed only by answers made after the read, from a majority that still follows.

use std::collections::BTreeMap;

use haystack_wire::ids::{Ballot, NodeId};
use haystack_wire::message::election::{HeartbeatAck, HeartbeatBody};
use haystack_wire::time::Duration;

use super::world::{World, ms, node};
use crate::election::reads::READ_ROUNDS_LIMIT;
use crate::election::{Election, Output};

fn read(world: &mut World, index: usize) -> u64 {
    let (now, replica) = (world.now, &mut world.replicas[index]);
    let nonce = replica.election.read_round(now, &replica.state);
    world.carry_out(index);
    nonce
}

#[test]
fn a_read_round_is_confirmed_within_one_round_trip() {
    for count in [1, 2, 3, 5] {
        let mut world = World::new(count as u64, count);
        let leader = world.settle();
        let nonce = read(&mut world, leader);
        world.run_until(ms(1), |world| world.replicas[leader].confirmed.contains(&nonce)).unwrap();
    }
}

#[test]
fn many_read_rounds_are_confirmed_once_each_and_in_order() {
    let mut world = World::new(4, 3);
    world.all_links(|link| {
        link.loss = 0.2;
        link.duplication = 0.2;
    });
    let leader = world.settle();
    let mut nonces = Vec::new();
    for _ in 0..1000 {
        nonces.push(read(&mut world, leader));
        world.run(Duration::from_micros(300));
    }
    world.run(ms(500));
    assert_eq!(world.replicas[leader].confirmed, nonces);
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), 1000);
}

#[test]
fn who_does_not_lead_gets_no_confirmation() {
    let mut world = World::new(4, 3);
    let leader = world.settle();
    let follower = (leader + 1) % 3;
    read(&mut world, follower);
    world.run(ms(1000));
    assert!(world.replicas[follower].confirmed.is_empty());
    assert_eq!(world.replicas[follower].election.stats().reads_abandoned, 1);
}

/// No read is confirmed to a leader that a majority had already left when the read arrived. Read rounds begin all
/// the time on whoever believes to lead, while cuts, stalls, loss, repetition and long delays change the leaders.
#[test]
fn a_confirmed_read_was_begun_by_the_leader_of_that_time() {
    let (mut confirmed, mut overtaken) = (0, 0);
    for seed in 0..60 {
        let count = [3, 5][seed as usize % 2];
        let mut world = World::new(seed, count);
        world.all_links(|link| {
            link.loss = 0.1;
            link.duplication = 0.3;
            link.delay = (Duration::from_micros(50), ms(30));
        });
        let mut begun: BTreeMap<(usize, u64), (Ballot, Ballot)> = BTreeMap::new();
        for _ in 0..400 {
            if world.rng.chance(0.05) {
                let cuts: Vec<bool> = (0..count * count).map(|_| world.rng.chance(0.25)).collect();
                world.connect(|a, b| !cuts[a * count + b]);
            }
            if world.rng.chance(0.03) {
                let (who, long) = (world.rng.below(count as u64) as usize, ms(world.rng.below(1500)));
                world.stall(who, long);
            }
            for index in 0..count {
                let replica = &world.replicas[index];
                if let Some(ballot) = replica.state.leading
                    && replica.stalled <= world.now
                {
                    let established = world.established;
                    let nonce = read(&mut world, index);
                    begun.insert((index, nonce), (ballot, established));
                }
            }
            let pause = ms(1 + world.rng.below(30));
            world.run(pause);
        }
        for (index, replica) in world.replicas.iter().enumerate() {
            for nonce in &replica.confirmed {
                let (ballot, established) = begun.remove(&(index, *nonce)).expect("confirmed twice");
                assert!(ballot >= established, "seed {seed}: a stale leader's read was confirmed");
                confirmed += 1;
            }
        }
        overtaken += begun.values().filter(|(ballot, established)| ballot < established).count();
    }
    assert!(confirmed > 5000 && overtaken > 50, "{confirmed} confirmed, {overtaken} by overtaken leaders");
}

/// A leader of three whose messages are taken by hand.
fn led() -> (World, usize, Vec<usize>) {
    let mut world = World::new(11, 3);
    let leader = world.settle();
    let others = (0..3).filter(|index| *index != leader).collect();
    (world, leader, others)
}

fn answer(world: &mut World, leader: usize, from: usize, nonce: u64, promised: Ballot) {
    let state = world.replicas[leader].state;
    let ack = HeartbeatAck {
        nonce,
        promised,
        accepted_round: promised,
        len: state.len,
        decided: state.decided,
        leader: promised,
        quorum_connected: true,
        happy: true,
    };
    let now = world.now;
    world.replicas[leader].election.handle(now, node(from), HeartbeatBody::Answer(ack), &state);
}

fn confirmations(election: &mut Election) -> Vec<u64> {
    let outputs = std::iter::from_fn(|| election.poll_output());
    outputs
        .filter_map(|output| if let Output::Confirmed { nonce } = output { Some(nonce) } else { None })
        .collect()
}

#[test]
fn late_answers_never_confirm_a_later_round() {
    let (mut world, leader, others) = led();
    let (now, state) = (world.now, world.replicas[leader].state);
    let ballot = state.promised;
    let first = world.replicas[leader].election.read_round(now, &state);
    let second = world.replicas[leader].election.read_round(now, &state);
    // Both answer the first, repeatedly: the second stays open.
    for from in [others[0], others[0], others[1], others[1]] {
        answer(&mut world, leader, from, first, ballot);
    }
    assert_eq!(confirmations(&mut world.replicas[leader].election), [first]);
    answer(&mut world, leader, others[0], second, ballot);
    assert_eq!(confirmations(&mut world.replicas[leader].election), [second]);
}

#[test]
fn a_later_answer_confirms_the_rounds_before() {
    let (mut world, leader, others) = led();
    let (now, state) = (world.now, world.replicas[leader].state);
    let nonces: Vec<u64> = (0..3).map(|_| world.replicas[leader].election.read_round(now, &state)).collect();
    answer(&mut world, leader, others[0], nonces[2], state.promised);
    assert_eq!(confirmations(&mut world.replicas[leader].election), nonces);
}

#[test]
fn answers_that_overtake_each_other_count_all_the_same() {
    let mut world = World::new(14, 5);
    let leader = world.settle();
    let (now, state) = (world.now, world.replicas[leader].state);
    let nonces = [(); 2].map(|()| world.replicas[leader].election.read_round(now, &state));
    answer(&mut world, leader, (leader + 1) % 5, nonces[1], state.promised);
    answer(&mut world, leader, (leader + 1) % 5, nonces[0], state.promised);
    answer(&mut world, leader, (leader + 2) % 5, nonces[1], state.promised);
    assert_eq!(confirmations(&mut world.replicas[leader].election), nonces);
}

#[test]
fn answers_under_another_promise_confirm_nothing() {
    let (mut world, leader, others) = led();
    let (now, state) = (world.now, world.replicas[leader].state);
    let nonce = world.replicas[leader].election.read_round(now, &state);
    let mut lower = state.promised;
    lower.n -= 1;
    let higher = Ballot { n: lower.n + 2, ..lower };
    let before = world.replicas[leader].election.stats().drop_other_ballot;
    answer(&mut world, leader, others[0], nonce, lower);
    answer(&mut world, leader, others[1], nonce, higher);
    assert!(confirmations(&mut world.replicas[leader].election).is_empty());
    assert_eq!(world.replicas[leader].election.stats().drop_other_ballot, before + 2);
}

#[test]
fn repeated_answers_of_one_replica_are_no_majority() {
    let mut world = World::new(12, 5);
    let leader = world.settle();
    let (now, state) = (world.now, world.replicas[leader].state);
    let nonce = world.replicas[leader].election.read_round(now, &state);
    let other = (leader + 1) % 5;
    for _ in 0..10 {
        answer(&mut world, leader, other, nonce, state.promised);
    }
    assert!(confirmations(&mut world.replicas[leader].election).is_empty());
    answer(&mut world, leader, (leader + 2) % 5, nonce, state.promised);
    assert_eq!(confirmations(&mut world.replicas[leader].election), [nonce]);
}

#[test]
fn a_new_leadership_of_the_same_replica_owes_nothing_to_the_old() {
    let (mut world, leader, others) = led();
    let (now, old) = (world.now, world.replicas[leader].state);
    let nonce = world.replicas[leader].election.read_round(now, &old);
    let ballot = Ballot { n: old.promised.n + 2, ..old.promised };
    // It led, lost and leads again; the answers to the first leadership's round arrive now.
    let new = crate::election::State { promised: ballot, leading: Some(ballot), ..old };
    world.replicas[leader].state = new;
    answer(&mut world, leader, others[0], nonce, old.promised);
    answer(&mut world, leader, others[1], nonce, old.promised);
    assert!(confirmations(&mut world.replicas[leader].election).is_empty());
    let later = world.replicas[leader].election.read_round(now, &new);
    answer(&mut world, leader, others[0], later, ballot);
    assert_eq!(confirmations(&mut world.replicas[leader].election), [later]);
}

#[test]
fn open_read_rounds_are_bounded() {
    let (mut world, leader, others) = led();
    let (now, state) = (world.now, world.replicas[leader].state);
    let election = &mut world.replicas[leader].election;
    let mut last = 0;
    for _ in 0..READ_ROUNDS_LIMIT + 10 {
        last = election.read_round(now, &state);
        while election.poll_output().is_some() {}
    }
    assert_eq!(election.stats().reads_abandoned, 10);
    answer(&mut world, leader, others[0], last, state.promised);
    let confirmed = confirmations(&mut world.replicas[leader].election);
    assert_eq!((confirmed.len(), confirmed.last()), (READ_ROUNDS_LIMIT, Some(&last)));
}

#[test]
fn read_rounds_do_not_pile_up_before_a_dead_replica() {
    let (mut world, leader, others) = led();
    world.crash(others[0]);
    world.run(ms(1000));
    let (now, state) = (world.now, world.replicas[leader].state);
    world.replicas[leader].election.read_round(now, &state);
    assert_eq!(asked_urgently(&mut world.replicas[leader].election), [node(others[1])]);
}

fn asked_urgently(election: &mut Election) -> Vec<NodeId> {
    let outputs = std::iter::from_fn(|| election.poll_output());
    let urgent = |output| if let Output::Send { to, urgent: true, .. } = output { Some(to) } else { None };
    outputs.filter_map(urgent).collect()
}

#[test]
fn a_replica_that_speaks_again_is_asked_reliably_again() {
    let (mut world, leader, others) = led();
    world.connect(|a, b| a != others[0] && b != others[0]);
    world.run(ms(2000));
    world.connect(|_, _| true);
    world.run(ms(150));
    let (now, state) = (world.now, world.replicas[leader].state);
    world.replicas[leader].election.read_round(now, &state);
    let mut asked = asked_urgently(&mut world.replicas[leader].election);
    asked.sort_unstable();
    assert_eq!(asked, [node(others[0]), node(others[1])]);
}

#[test]
fn questions_of_read_rounds_are_answered_reliably() {
    let mut world = World::new(13, 3);
    world.all_links(|link| link.loss = 0.3);
    let leader = world.settle();
    let mut worst = Duration::ZERO;
    for _ in 0..300 {
        let nonce = read(&mut world, leader);
        let took = world.run_until(ms(2000), |world| world.replicas[leader].confirmed.contains(&nonce));
        worst = worst.max(took.expect("a read round was lost"));
    }
    // Each retransmission of the simulated reliable link costs 50 ms; a heartbeat round may help out sooner.
    assert!(worst <= ms(250), "{worst:?}");
}
