//! What must not happen while nothing is wrong.

use haystack_wire::message::election::HeartbeatBody;
use haystack_wire::time::Duration;

use super::bench::{Bench, ack, ballot};
use super::world::{World, ms, node};
use crate::election::Output;

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// Ten minutes of one configuration, after founding: no second takeover and nobody steps down.
fn assert_no_churn(mut world: World, name: &str) {
    let leader = world.settle();
    world.run(minutes(10));
    assert_eq!(world.leads.len(), 1, "{name}: {:?}", world.leads);
    assert!(world.step_downs.is_empty(), "{name}: {:?}", world.step_downs);
    assert_eq!(world.worker(), Some(leader), "{name}");
}

#[test]
fn one_leader_stays_for_ten_minutes_of_good_links() {
    for count in [1, 2, 3, 5] {
        assert_no_churn(World::new(count as u64, count), &format!("{count} replicas"));
    }
}

#[test]
fn one_leader_stays_for_ten_minutes_of_five_percent_loss() {
    for count in [2, 3, 5] {
        for seed in 0..3 {
            let mut world = World::new(seed, count);
            world.all_links(|link| link.loss = 0.05);
            assert_no_churn(world, &format!("{count} replicas, seed {seed}"));
        }
    }
}

#[test]
fn duplicated_and_reordered_heartbeats_change_nothing() {
    for count in [2, 3, 5] {
        let mut world = World::new(count as u64, count);
        world.all_links(|link| {
            link.duplication = 0.3;
            link.loss = 0.02;
            link.delay = (Duration::from_micros(50), ms(20));
        });
        assert_no_churn(world, &format!("{count} replicas"));
    }
}

#[test]
fn rounds_stretch_with_the_round_trip() {
    for (count, half) in [(3, 40), (5, 120)] {
        let mut world = World::new(half, count);
        world.all_links(|link| {
            link.delay = (ms(half), ms(half + half / 8));
            link.loss = 0.02;
        });
        for replica in &mut world.replicas {
            replica.election.set_rtt(ms(2 * half + half / 4));
        }
        world.run(ms(10_000));
        let leader = world.worker().expect("a leader over long links");
        let (leads, step_downs) = (world.leads.len(), world.step_downs.len());
        world.run(minutes(10));
        assert_eq!((world.leads.len(), world.step_downs.len()), (leads, step_downs), "{half} ms");
        assert_eq!(world.worker(), Some(leader));
    }
}

#[test]
fn rounds_take_four_round_trips_or_the_configured_time() {
    let timeout = |rtt| {
        let mut bench = Bench::new(3);
        bench.election.set_rtt(rtt);
        bench.end_round();
        bench.election.election_timeout()
    };
    assert_eq!(timeout(Duration::ZERO), ms(250));
    assert_eq!(timeout(ms(25)), ms(250));
    assert_eq!(timeout(ms(30)), 5 * ms(125) / 2);
    assert_eq!(timeout(ms(100)), ms(1000));
    assert_eq!(timeout(Duration::MAX), ms(25_000));
}

#[test]
fn answers_that_are_late_even_for_the_longest_round_keep_nobody_leading() {
    let mut bench = Bench::new(3).follows(3, 0);
    bench.state.leading = Some(ballot(3, 0));
    for round in 0..12 {
        assert!(round > 8 || !bench.stepped_down(), "the round was too short: it is not counted");
        let late = bench.nonce();
        bench.end_round();
        bench.handle(1, HeartbeatBody::Answer(ack(late, ballot(3, 0), true)));
    }
    assert_eq!(bench.election.election_timeout(), ms(25_000));
    assert!(bench.stepped_down());
}

#[test]
fn rounds_lengthen_by_themselves_when_all_answers_come_late() {
    for count in [2, 3, 5] {
        let mut world = World::new(count as u64, count);
        world.settle();
        let short = world.timeout();
        // Nobody tells the round trip, which is suddenly 300 ms in rounds of 100 ms.
        world.all_links(|link| link.delay = (ms(150), ms(160)));
        world.run(ms(6000));
        let leader = world.worker().expect("a leader in spite of late answers");
        let leads = world.leads.len();
        world.run(minutes(10));
        assert_eq!((world.worker(), world.leads.len()), (Some(leader), leads), "{count} replicas");
        // And they shorten again.
        world.all_links(|link| link.delay = (ms(1), ms(2)));
        world.run(minutes(5));
        assert_eq!(world.timeout(), short);
        assert_eq!((world.worker(), world.leads.len()), (Some(leader), leads), "{count} replicas");
    }
}

#[test]
fn the_preferred_replica_leads_first() {
    for count in [1, 2, 3, 5] {
        for seed in 0..50 {
            let mut world = World::new(seed, count);
            world.all_links(|link| link.loss = 0.05 * (seed % 3) as f64);
            let took = world.run_until(ms(1000), |world| world.worker().is_some());
            assert!(took.is_some(), "{count} replicas, seed {seed}");
            assert_eq!(world.leads.len(), 1, "{count} replicas, seed {seed}");
            assert_eq!(world.worker(), Some(count - 1), "{count} replicas, seed {seed}");
        }
    }
}

#[test]
fn founding_takes_a_few_round_trips_where_all_answer() {
    for seed in 0..50 {
        let mut world = World::new(seed, 3);
        let took = world.run_until(ms(1000), |world| world.worker().is_some()).unwrap();
        assert!(took <= ms(40), "seed {seed}: {took:?}");
    }
}

#[test]
fn another_leads_when_the_preferred_replica_is_not_there() {
    for seed in 0..50 {
        let mut world = World::new(seed, 3);
        world.crash(2);
        let took = world.run_until(4 * world.timeout(), |world| world.worker().is_some());
        assert!(took.is_some(), "seed {seed}");
        assert_eq!(world.worker(), Some(1), "seed {seed}: the next by priority");
    }
}

#[test]
fn staggered_starts_found_once_a_majority_is_there_and_late_comers_follow() {
    for seed in 0..50 {
        let mut world = World::with_starts(seed, &[ms(0), ms(700 + seed), ms(3000), ms(3900), ms(9000)]);
        world.run(ms(2900));
        assert!(world.leads.is_empty(), "two of five lead nothing");
        let took = world.run_until(ms(100) + 4 * world.timeout(), |world| world.worker().is_some());
        assert!(took.is_some(), "seed {seed}");
        world.run(ms(1000));
        let leader = world.worker().unwrap();
        world.run(ms(20_000));
        assert_eq!(world.worker(), Some(leader), "seed {seed}");
        let ballot = world.replicas[leader].state.promised;
        let follows =
            |world: &World| world.replicas.iter().all(|replica| replica.state.accepted_round == ballot);
        assert!(follows(&world), "seed {seed}: late comers follow");
    }
}

#[test]
fn everybody_trusts_the_leader_and_counts_the_living() {
    let mut world = World::new(7, 5);
    let leader = world.settle();
    let ballot = world.replicas[leader].state.promised;
    world.crash((leader + 1) % 5);
    world.run(ms(500));
    for replica in world.replicas.iter().filter(|replica| replica.alive) {
        assert_eq!(replica.election.leader(), Some(ballot));
        assert_eq!(replica.election.live(), 4);
        assert!(!replica.election.answers(node((leader + 1) % 5)));
        assert!(replica.election.answers(node(leader)));
    }
}

#[test]
fn stalls_of_observers_condemn_nobody() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3);
        let leader = world.settle();
        for turn in 0..60 {
            let observer = (leader + 1 + turn % 2) % 3;
            let length = ms(20 + world.rng.below(1500));
            world.stall(observer, length);
            world.run(ms(2000));
        }
        assert_eq!(world.leads.len(), 1, "seed {seed}");
    }
}

#[test]
fn short_stalls_of_the_leader_do_not_depose_it() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3);
        let leader = world.settle();
        for _ in 0..60 {
            let length = ms(20 + world.rng.below(120));
            world.stall(leader, length);
            world.run(ms(1000));
        }
        assert_eq!(world.leads.len(), 1, "seed {seed}");
        assert!(world.step_downs.is_empty());
    }
}

#[test]
fn idle_rounds_cost_two_messages_per_pair_and_direction_and_no_memory() {
    let mut world = World::new(1, 3);
    world.settle();
    let capacities = |world: &World| -> Vec<usize> {
        world.replicas.iter().map(|replica| replica.election.outputs.capacity()).collect()
    };
    let (before, memory) = (world.messages, capacities(&world));
    world.run(ms(100_000));
    let per_round = (world.messages - before) as f64 / 1000.0;
    assert!((11.9..=12.1).contains(&per_round), "{per_round} messages per round");
    assert_eq!(capacities(&world), memory);
    assert!(world.replicas.iter().all(|replica| replica.election.stats().asks_repeated < 20));
}

#[test]
fn the_dead_and_lasting_trouble_are_asked_about_once_per_round() {
    // One of three is dead; or three of five are, and the others can do nothing about it.
    for (count, dead) in [(3, 1), (5, 3)] {
        let mut world = World::new(1, count);
        let leader = world.settle();
        (1..=dead).for_each(|away| world.crash((leader + away) % count));
        world.run(ms(3000));
        let repeated = |world: &World| -> u64 {
            let alive = world.replicas.iter().filter(|replica| replica.alive);
            alive.map(|replica| replica.election.stats().asks_repeated).sum()
        };
        let before = repeated(&world);
        world.run(ms(10_000));
        assert_eq!(repeated(&world), before, "{count} replicas");
    }
}

#[test]
fn the_rounds_of_all_groups_of_a_node_end_together() {
    let mut world = World::new(3, 3);
    world.run(ms(1000));
    for replica in &world.replicas {
        assert_eq!(replica.election.closes.as_nanos() % 100_000_000, 0);
    }
}

#[test]
fn spurious_timeouts_are_no_ops() {
    let mut world = World::new(9, 3);
    world.settle();
    let now = world.now;
    for replica in &mut world.replicas {
        let before = (*replica.election.stats(), replica.election.poll_timeout());
        assert!(replica.election.poll_timeout() > Some(now));
        replica.election.handle_timeout(now, &replica.state);
        assert_eq!(replica.election.poll_output(), None::<Output>);
        assert_eq!((*replica.election.stats(), replica.election.poll_timeout()), before);
    }
}
