//! How the partition map is kept fresh, and what the client does with it.

use haystack_wire::ids::{Epoch, NodeId};
use haystack_wire::message::client::Effect;
use haystack_wire::message::directory::NodeState;

use super::fake::{World, ms};
use crate::core::{Answer, Operation};
use crate::error::Error;

/// More nodes than are dialled because a map names them.
const MANY: usize = 20;

fn written(answer: Result<Answer, Error>) {
    assert!(matches!(answer, Ok(Answer::Applied { effect: Effect::Written, .. })), "{answer:?}");
}

fn put(world: &mut World) {
    written(world.call(Operation::put("a", "1"), 5000));
}

/// A cluster whose one partition has replicas on these daemons only, and a client that was given this one.
fn world(seed: u64, daemons: usize, replicas: &[usize], given: usize) -> World {
    let world = World::with(seed, daemons, 1, |config| {
        let addr = config.addresses[given];
        config.addresses = vec![addr];
    });
    let nodes: Vec<NodeId> = replicas.iter().map(|index| world.daemons[*index].node).collect();
    let mut cluster = world.cluster();
    cluster.map().partitions[0].replicas = nodes;
    cluster.group(1).leader = Some(replicas[0]);
    drop(cluster);
    world
}

/// Writes, and runs until every daemon that the map names has told its own.
fn settle(world: &mut World) {
    put(world);
    world.run(100);
}

fn seen(world: &World, daemon: usize) -> usize {
    world.daemons[daemon].seen.len()
}

fn epoch(world: &World) -> Option<Epoch> {
    world.client.map().map(|map| map.epoch)
}

#[test]
fn a_hint_of_a_newer_epoch_fetches_the_map() {
    let mut world = world(1, 3, &[0, 1, 2], 0);
    settle(&mut world);
    assert_eq!(epoch(&world), Some(Epoch(1)));
    world.cluster().map().epoch = Epoch(5);
    settle(&mut world);
    assert_eq!(epoch(&world), Some(Epoch(1)), "the leader serves without a hint: nothing is wrong");
    world.cluster().group(1).leader = Some(1);
    settle(&mut world);
    assert_eq!(epoch(&world), Some(Epoch(5)));
}

#[test]
fn a_daemon_whose_map_is_older_than_its_hint_is_asked_again_by_the_next_hint() {
    let mut world = world(2, 3, &[0, 1, 2], 0);
    settle(&mut world);
    let map = world.cluster().map().clone();
    world.cluster().map().epoch = Epoch(2);
    world.cluster().group(1).leader = Some(1);
    put(&mut world);
    // The answer to the question is an old map.
    world.cluster().map = Some(map);
    world.run(100);
    assert_eq!(epoch(&world), Some(Epoch(1)));
    world.cluster().map().epoch = Epoch(2);
    world.cluster().group(1).leader = Some(2);
    settle(&mut world);
    assert_eq!(epoch(&world), Some(Epoch(2)));
}

#[test]
fn a_forwarder_without_a_replica_leads_straight_to_the_leader() {
    for daemons in [4, MANY] {
        let mut world = world(3, daemons, &[daemons - 1, daemons - 2], 0);
        put(&mut world);
        world.run(10);
        let (forwarder, leader) = (seen(&world, 0), seen(&world, daemons - 1));
        put(&mut world);
        put(&mut world);
        assert_eq!(seen(&world, 0), forwarder, "of {daemons}");
        assert_eq!(seen(&world, daemons - 1), leader + 2, "of {daemons}");
    }
}

#[test]
fn the_nodes_of_the_map_are_asked_when_those_that_were_given_are_gone() {
    for daemons in [4, MANY] {
        let mut world = world(4, daemons, &[daemons - 2, 0], 3);
        // Only the map was asked for, so that no answer has led anywhere.
        world.run(100);
        assert!(world.client.map().is_some());
        world.daemons[3].alive = false;
        let start = world.now;
        put(&mut world);
        assert!(world.now - start < ms(3000), "of {daemons}: {:?}", world.now - start);
    }
}

#[test]
fn of_many_nodes_few_are_called_and_the_dead_give_way_to_the_living() {
    let mut world = world(5, MANY, &[10, 11, 12], 3);
    world.run(100);
    let called = |world: &World| world.client.connected().map(|(node, _)| node.0[0] - 1).collect::<Vec<_>>();
    assert_eq!(called(&world), [3, 0, 1, 2], "the one that was given, then the directory");
    {
        let mut cluster = world.cluster();
        let directory = [5, 6, 7].map(|index: u8| NodeId([index; 16]));
        let map = cluster.map();
        map.epoch = Epoch(2);
        map.directory.replicas = directory.to_vec();
        map.nodes[4].state = NodeState::Down;
        map.nodes[5].state = NodeState::Gone;
    }
    settle(&mut world);
    let now = called(&world);
    assert!(now.contains(&6), "{now:?}");
    assert!(!now.contains(&4) && !now.contains(&5), "{now:?}");
}
