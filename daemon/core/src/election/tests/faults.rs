//! After every fault that leaves one quorum-connected replica: a leader that can decide within four election
//! timeouts, and then no further change.

use haystack_wire::time::Duration;

use super::world::{World, ms};

/// From now on: a working leader within four election timeouts, and the last takeover within five.
fn assert_recovers(world: &mut World, name: &str) -> Duration {
    let timeout = world.timeout();
    let took = world.run_until(4 * timeout, |world| world.worker().is_some());
    let took = took.unwrap_or_else(|| panic!("{name}: no leader in time, takeovers {:?}", world.leads));
    world.run(5 * timeout);
    let leader = world.worker();
    assert!(leader.is_some(), "{name}: the leader was lost again");
    let count = world.leads.len();
    world.run(ms(10_000));
    assert_eq!(world.leads.len(), count, "{name}: churn, {:?}", world.leads);
    assert_eq!(world.worker(), leader, "{name}");
    took
}

/// Only links of `hub` work.
fn star(hub: usize) -> impl Fn(usize, usize) -> bool {
    move |a, b| a == hub || b == hub
}

#[test]
fn a_dead_leader_is_replaced() {
    let mut worst = Duration::ZERO;
    for count in [2, 3, 5] {
        for seed in 0..60 {
            let mut world = World::new(seed, count);
            let leader = world.settle();
            world.crash(leader);
            if count == 2 {
                world.run(ms(10_000));
                assert_eq!(world.leads.len(), 1, "one of two leads nothing");
                continue;
            }
            let took = assert_recovers(&mut world, &format!("{count} replicas, seed {seed}"));
            worst = worst.max(took);
        }
    }
    assert!(worst < ms(600), "{worst:?}");
}

#[test]
fn leaders_that_die_one_after_the_other_are_replaced_down_to_the_majority() {
    for seed in 0..60 {
        let mut world = World::new(seed, 5);
        for _ in 0..2 {
            let leader = world.settle();
            world.crash(leader);
            let pause = ms(world.rng.below(400));
            world.run(pause);
        }
        assert_recovers(&mut world, &format!("seed {seed}"));
    }
}

#[test]
fn quorum_loss_is_survived_by_the_only_hub() {
    for count in [3, 5] {
        for seed in 0..60 {
            let mut world = World::new(seed, count);
            let leader = world.settle();
            let hub = (leader + 1) % count;
            world.connect(star(hub));
            // Of three, the old leader keeps a majority through the hub and stays; of five, it cannot.
            assert_recovers(&mut world, &format!("{count} replicas, seed {seed}"));
            if count == 5 {
                assert_eq!(world.worker(), Some(hub), "seed {seed}");
            } else {
                assert_eq!(world.leads.len(), 1);
            }
        }
    }
}

#[test]
fn constrained_election_is_won_by_the_only_hub_although_its_log_is_behind() {
    for seed in 0..60 {
        let mut world = World::new(seed, 5);
        let leader = world.settle();
        let hub = (leader + 1) % 5;
        // The hub is cut off for a while and misses entries, then it is all that is connected, but to the leader.
        world.connect(|a, b| a != hub && b != hub);
        world.run(ms(2000));
        for (index, replica) in world.replicas.iter_mut().enumerate() {
            if index != hub {
                replica.state.len += 1000;
                replica.state.decided += 1000;
            } else {
                replica.adoption = ms(50);
            }
        }
        world.connect(move |a, b| star(hub)(a, b) && a != leader && b != leader);
        assert_recovers(&mut world, &format!("seed {seed}"));
        assert_eq!(world.worker(), Some(hub), "seed {seed}");
    }
}

#[test]
fn the_chained_cut_disturbs_no_working_leader() {
    for seed in 0..60 {
        // A - B - C with an end as the leader: B follows it happily, the other end must keep still.
        let mut world = World::new(seed, 3);
        let leader = world.settle();
        let middle = (leader + 1) % 3;
        world.connect(star(middle));
        world.run(ms(60_000));
        assert_eq!(world.leads.len(), 1, "seed {seed}");
        assert_eq!(world.worker(), Some(leader), "seed {seed}");
    }
}

#[test]
fn the_chained_cut_at_founding_finds_one_leader() {
    for middle in 0..3 {
        for seed in 0..60 {
            let mut world = World::new(seed, 3);
            world.connect(star(middle));
            assert_recovers(&mut world, &format!("middle {middle}, seed {seed}"));
        }
    }
}

#[test]
fn the_chained_cut_with_a_dead_end_finds_one_leader() {
    for seed in 0..60 {
        let mut world = World::new(seed, 5);
        let leader = world.settle();
        // A chain 0 - 1 - 2 - 3 - 4 of which each knows two neighbours: those with two are quorum-connected.
        world.connect(|a, b| a.abs_diff(b) == 1);
        let took = assert_recovers(&mut world, &format!("seed {seed}, leader {leader}"));
        assert!(took <= 4 * world.timeout());
    }
}

#[test]
fn a_bridge_of_three_groups_leads() {
    for seed in 0..40 {
        // Three pairs and one bridge: only the bridge has a majority of seven.
        let mut world = World::new(seed, 7);
        let leader = world.settle();
        let bridge = (leader + 3) % 7;
        let side = |index: usize| ((index + 7 - bridge) % 7).div_ceil(2);
        world.connect(move |a, b| a == bridge || b == bridge || side(a) == side(b));
        assert_recovers(&mut world, &format!("seven, seed {seed}"));
        assert_eq!(world.worker(), Some(bridge), "seed {seed}");
        // Two pairs and a bridge of five: every replica has three, and the leader stays.
        let mut world = World::new(seed, 5);
        let leader = world.settle();
        let bridge = (leader + 1 + seed as usize % 4) % 5;
        let side = move |index: usize| ((index + 5 - bridge) % 5).div_ceil(2);
        world.connect(move |a, b| a == bridge || b == bridge || side(a) == side(b));
        world.run(ms(30_000));
        assert_eq!(world.leads.len(), 1, "five, seed {seed}");
    }
}

#[test]
fn one_way_cuts_around_the_leader_move_the_leadership() {
    for outgoing in [true, false] {
        for count in [3, 5] {
            for seed in 0..60 {
                let mut world = World::new(seed, count);
                let leader = world.settle();
                world.connect(|from, to| if outgoing { from != leader } else { to != leader });
                let name = format!("{count} replicas, seed {seed}, outgoing {outgoing}");
                assert_recovers(&mut world, &name);
                assert_ne!(world.worker(), Some(leader), "{name}");
            }
        }
    }
}

#[test]
fn a_one_way_cut_of_a_follower_changes_nothing() {
    for outgoing in [true, false] {
        for seed in 0..40 {
            let mut world = World::new(seed, 3);
            let leader = world.settle();
            let follower = (leader + 1) % 3;
            world.connect(|from, to| if outgoing { from != follower } else { to != follower });
            world.run(ms(20_000));
            world.connect(|_, _| true);
            world.run(ms(20_000));
            assert_eq!(world.leads.len(), 1, "seed {seed}, outgoing {outgoing}");
        }
    }
}

#[test]
fn an_isolated_replica_returns_without_deposing_the_leader() {
    for seed in 0..40 {
        let mut world = World::new(seed, 3);
        let leader = world.settle();
        for turn in 0..5 {
            let away = (leader + 1 + turn % 2) % 3;
            world.connect(|a, b| a != away && b != away);
            let gone = ms(50 + world.rng.below(3000));
            world.run(gone);
            world.connect(|_, _| true);
            world.run(ms(2000));
        }
        assert_eq!(world.leads.len(), 1, "seed {seed}");
    }
}

#[test]
fn a_stranded_replica_is_won_back_by_the_leader_itself() {
    for seed in 0..40 {
        let mut world = World::new(seed, 3);
        let leader = world.settle();
        let stranded = (leader + 1) % 3;
        // It had promised a ballot whose maker then gave up: it can never follow the present leader.
        let mut ballot = world.replicas[leader].state.promised;
        ballot.n += 5;
        ballot.node = super::world::node((leader + 2) % 3);
        world.replicas[stranded].state.promised = ballot;
        world.run(ms(1000));
        assert_eq!(world.worker(), Some(leader), "seed {seed}");
        let (_, who, now) = *world.leads.last().unwrap();
        assert_eq!((world.leads.len(), who), (2, leader), "seed {seed}");
        assert!(world.replicas.iter().all(|replica| replica.state.accepted_round == now), "seed {seed}");
        assert_eq!(world.replicas[leader].election.stats().reballots, 1);
    }
}

#[test]
fn a_stuck_leader_is_replaced_and_stays_a_follower() {
    for seed in 0..40 {
        let mut world = World::new(seed, 3);
        let leader = world.settle();
        world.replicas[leader].state.progressing = false;
        let took = world.run_until(4 * world.timeout(), |world| world.leads.len() == 2);
        assert!(took.is_some(), "seed {seed}");
        world.run(ms(10_000));
        assert_eq!(world.leads.len(), 2, "seed {seed}: {:?}", world.leads);
        assert!(world.worker().is_some_and(|worker| worker != leader), "seed {seed}");
    }
}

#[test]
fn a_leader_paused_for_long_returns_as_a_follower() {
    for seed in 0..40 {
        let mut world = World::new(seed, 3);
        let leader = world.settle();
        let pause = ms(2000 + world.rng.below(5000));
        world.stall(leader, pause);
        assert_recovers(&mut world, &format!("seed {seed}"));
        world.run(pause);
        assert!(world.worker().is_some_and(|worker| worker != leader), "seed {seed}");
        assert!(world.leads[1..].iter().all(|(_, who, _)| *who != leader), "seed {seed}");
        assert_eq!(world.replicas[leader].state.leading, None);
    }
}

#[test]
fn a_leader_without_a_quorum_steps_down_and_nobody_leads_until_the_heal() {
    for count in [2, 3, 5] {
        for seed in 0..20 {
            let mut world = World::new(seed, count);
            let leader = world.settle();
            world.connect(|_, _| false);
            world.run(ms(5000));
            assert_eq!(world.replicas[leader].state.leading, None);
            assert!(world.replicas.iter().all(|replica| replica.election.leader().is_none()));
            assert_eq!(world.leads.len(), 1, "nobody leads without a quorum");
            world.connect(|_, _| true);
            assert_recovers(&mut world, &format!("{count} replicas, seed {seed}"));
        }
    }
}

#[test]
fn a_hand_over_results_in_the_new_leader_within_two_round_trips() {
    for count in [2, 3, 5] {
        for seed in 0..40 {
            let mut world = World::new(seed, count);
            let leader = world.settle();
            let to = (leader + 1) % count;
            world.replicas[leader].state.may_lead = false;
            let (now, replica) = (world.now, &mut world.replicas[leader]);
            replica.election.hand_over(now, &replica.state, super::world::node(to));
            world.carry_out(leader);
            let took = world.run_until(ms(100), |world| world.worker() == Some(to)).expect("no hand-over");
            // The word, Prepare, Promise, Sync: two round trips of at most 1 ms.
            assert!(took <= ms(2), "{count} replicas, seed {seed}: {took:?}");
            world.run(ms(10_000));
            assert_eq!(world.leads.len(), 2, "{count} replicas, seed {seed}");
        }
    }
}

#[test]
fn long_links_are_survived_too() {
    for seed in 0..60 {
        let count = [3, 5][seed as usize % 2];
        let mut world = World::new(seed, count);
        world.all_links(|link| {
            link.delay = (ms(30), ms(40));
            link.loss = 0.02;
        });
        world.replicas.iter_mut().for_each(|replica| replica.election.set_rtt(ms(80)));
        world.run(ms(5000));
        let cuts: Vec<bool> = (0..count * count).map(|_| world.rng.chance(0.25)).collect();
        world.connect(|a, b| !cuts[a * count + b]);
        if (0..count).any(|index| world.quorum_connected(index)) {
            assert_recovers(&mut world, &format!("seed {seed}"));
        }
    }
}

/// Any pattern of directed cuts from a good state: whoever is quorum-connected, one works soon and stays.
fn random_cuts(count: usize, seed: u64, density: f64) {
    let mut world = World::new(seed, count);
    world.settle();
    let mut up = vec![vec![true; count]; count];
    loop {
        for row in &mut up {
            row.iter_mut().for_each(|up| *up = !world.rng.chance(density));
        }
        let matrix = up.clone();
        world.connect(move |a, b| matrix[a][b]);
        if (0..count).any(|index| world.quorum_connected(index)) {
            break;
        }
    }
    assert_recovers(&mut world, &format!("{count} replicas, seed {seed}, density {density}, {up:?}"));
    world.connect(|_, _| true);
    assert_recovers(&mut world, &format!("{count} replicas, seed {seed}, density {density}, healed"));
}

#[test]
fn any_directed_cut_that_leaves_a_quorum_connected_replica_is_survived() {
    for count in [3, 4, 5, 7] {
        for seed in 0..40 {
            for density in [0.1, 0.25, 0.4] {
                random_cuts(count, seed, density);
            }
        }
    }
}

#[test]
fn changing_cuts_stalls_and_deaths_are_survived_once_they_end() {
    for seed in 0..80 {
        let count = [3, 5][seed as usize % 2];
        let mut world = World::new(seed, count);
        world.all_links(|link| {
            link.loss = 0.05;
            link.duplication = 0.05;
        });
        for _ in 0..30 {
            let cuts: Vec<bool> = (0..count * count).map(|_| world.rng.chance(0.3)).collect();
            world.connect(|a, b| !cuts[a * count + b]);
            let (who, long) = (world.rng.below(count as u64) as usize, ms(world.rng.below(400)));
            world.stall(who, long);
            let pause = ms(world.rng.below(1500));
            world.run(pause);
        }
        if seed % 3 == 0 {
            let victim = world.rng.below(count as u64) as usize;
            world.crash(victim);
        }
        world.connect(|_, _| true);
        world.all_links(|link| link.loss = 0.0);
        assert_recovers(&mut world, &format!("seed {seed}"));
    }
}
