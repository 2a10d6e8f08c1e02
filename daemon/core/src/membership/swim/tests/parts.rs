//! Partitions, moves, and clusters that are none of each other's business.

use haystack_wire::ids::{Ballot, ClusterId, Epoch, HistoryId, ViewId};
use haystack_wire::message::membership::{Beacon, GOSSIP_LIMIT, MemberState};

use super::super::Output;
use super::world::{World, addr, seconds};

#[test]
fn a_partition_of_an_hour_heals_by_itself() {
    for seed in 0..3 {
        let mut world = World::formed(seed, 7);
        world.by_bytes = false;
        world.loss = 0.05;
        // The seeds are all on one side.
        world.island.extend((3..7).map(addr));
        world.run(seconds(3600));
        for (one, other) in [(0, 3), (6, 2)] {
            assert_eq!(world.sees(one, other), Some(MemberState::Dead));
        }
        assert_eq!(world.sees(0, 1), Some(MemberState::Alive));
        assert_eq!(world.sees(5, 6), Some(MemberState::Alive));
        world.island.clear();
        let took = world.until(seconds(60), World::complete);
        assert!(took.is_some(), "the parts do not find each other");
    }
}

#[test]
fn parts_without_seeds_heal_too() {
    let mut world = World::formed(5, 4);
    for node in 0..4 {
        world.act(node, |swim, now| swim.set_seeds(now, Vec::new()));
    }
    world.island.extend([addr(2), addr(3)]);
    world.run(seconds(600));
    assert_eq!(world.sees(0, 2), Some(MemberState::Dead));
    world.island.clear();
    assert!(world.until(seconds(60), World::complete).is_some());
}

#[test]
fn a_node_that_was_cut_off_alone_joins_again() {
    let mut world = World::formed(6, 5);
    world.island.insert(addr(0));
    world.run(seconds(300));
    assert!(world.nodes[0].swim.wants_seeds());
    assert!(!world.nodes[1].swim.wants_seeds());
    world.island.clear();
    assert!(world.until(seconds(40), World::complete).is_some());
    assert!(!world.nodes[0].swim.wants_seeds());
}

#[test]
fn two_clusters_with_each_others_seeds_never_merge() {
    let mut world = World::new(7);
    for host in 0..6 {
        let mut config = world.config(host);
        config.seeds = (0..6).map(addr).collect();
        config.cluster = ClusterId([host as u8 % 2; 16]);
        world.start(config);
    }
    world.run(seconds(120));
    for (one, other) in [(0, 1), (3, 4), (5, 2)] {
        assert_eq!(world.sees(one, other), None);
    }
    for node in 0..6 {
        assert_eq!(world.nodes[node].swim.live(), 3);
        assert!(world.counter(node, "drop_cluster") > 0);
    }
}

#[test]
fn a_wish_to_join_is_no_proof_that_its_sender_knows_this_node() {
    let mut world = World::new(11);
    world.cuts.insert((addr(0), addr(1)));
    for (host, seed) in [(0, 1), (1, 0)] {
        let mut config = world.config(host);
        config.seeds = vec![addr(seed)];
        world.start(config);
    }
    assert!(world.until(seconds(2), |world| world.sees(0, 1).is_some()).is_some());
    // From now on all depends on the one that was asked, and that nobody has answered.
    world.act(1, |swim, now| swim.set_seeds(now, Vec::new()));
    world.cuts.clear();
    assert!(world.until(seconds(3), World::complete).is_some());
}

#[test]
fn who_joined_through_one_that_forgets_it_becomes_known_to_all() {
    for seed in 13..16 {
        let mut world = World::formed(seed, 4);
        // The only one that was asked tells nobody, and ends.
        world.cuts.extend((1..4).map(|other| (addr(0), addr(other))));
        let mut config = world.config(4);
        config.seeds = vec![addr(0)];
        world.start(config);
        let knows = |world: &World| (0..4).all(|other| world.sees(4, other).is_some());
        assert!(world.until(seconds(10), knows).is_some());
        world.crash(0);
        let took = world.until(seconds(60), |world| (1..4).all(|other| world.sees(other, 4).is_some()));
        assert!(took.is_some(), "it stays invisible");
    }
}

#[test]
fn a_seed_that_others_found_stops_looking_for_others() {
    let mut world = World::new(12);
    for (host, seed) in [(0, 9), (1, 0)] {
        let mut config = world.config(host);
        config.seeds = vec![addr(seed)];
        world.start(config);
    }
    assert!(world.until(seconds(2), World::complete).is_some());
    world.run(seconds(3));
    world.reset();
    world.run(seconds(20));
    let asked = world.nodes[0].bytes / GOSSIP_LIMIT as u64;
    assert!(asked < 10, "{} bytes, as if it asked each second", world.nodes[0].bytes);
}

#[test]
fn a_node_that_moves_is_found_at_its_new_address() {
    let mut world = World::formed(8, 5);
    world.move_to(3, addr(300));
    assert!(world.until(seconds(10), World::complete).is_some());
    assert_eq!(world.deaths(), []);
    let changed =
        |(_, output): &(_, Output)| matches!(output, Output::Changed(member) if member.addr == addr(300));
    assert!((0..3).all(|node| world.nodes[node].said.iter().any(changed)));
}

#[test]
fn a_cluster_that_moves_as_a_whole_finds_itself_through_its_seeds() {
    let mut world = World::formed(9, 6);
    // A farm of machines gets new addresses while nobody hears anybody.
    world.loss = 1.0;
    for node in 0..6 {
        world.move_to(node, addr(600 + node));
    }
    world.run(seconds(90));
    world.loss = 0.0;
    assert!((0..6).all(|node| world.nodes[node].swim.wants_seeds()));
    for node in 0..6 {
        world.act(node, |swim, now| swim.set_seeds(now, vec![addr(600), addr(601)]));
    }
    assert!(world.until(seconds(40), World::complete).is_some());
}

#[test]
fn a_beacon_reaches_everybody_and_only_the_newest_stays() {
    let mut world = World::formed(10, 32);
    let beacon = |epoch, view| Beacon {
        epoch: Epoch(epoch),
        history: HistoryId(0),
        view: ViewId(view),
        coordinator: Ballot { n: 3, priority: 0, node: Default::default() },
    };
    world.act(9, |swim, now| swim.set_beacon(now, beacon(5, 1)));
    world.act(20, |swim, now| swim.set_beacon(now, beacon(4, 2)));
    let all = |world: &World| world.nodes.iter().all(|node| node.swim.beacon() == beacon(5, 2));
    let took = world.until(seconds(10), all).expect("the beacon does not get everywhere");
    assert!(took <= seconds(3), "{took:?}");
    let heard = |(_, output): &(_, Output)| matches!(output, Output::Beacon { beacon: heard, .. } if *heard == beacon(5, 2));
    assert!(world.nodes.iter().all(|node| node.said.iter().any(heard)));
}
