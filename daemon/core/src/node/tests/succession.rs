//! Processes that say that they succeed others, and state directories that were copied.

use super::*;

const COPY: &str = "copy of the state directory of";

/// Three founders and a process that began in a copy of the last one's state directory.
fn copied() -> (World, NodeId, usize) {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let old = world.node(2).id();
    let copy = world.join("copy", &[old]);
    world.pass(Duration::from_secs(5));
    (world, old, copy)
}

fn told(world: &World) -> bool {
    (0..2).any(|at| world.node(at).status(world.now).waits_for.contains(COPY))
}

#[test]
fn the_original_of_a_copied_state_directory_may_pause_and_comes_back() {
    let (mut world, old, copy) = copied();
    assert!(told(&world) && world.node(copy).waits_for().contains(COPY));
    let paused = world.nodes[2].take();
    world.pass(Duration::from_secs(60));
    assert_eq!(world.state_of(old), Some(NodeState::Down), "it may come back");
    world.nodes[2] = paused;
    world.pass(Duration::from_secs(30));
    assert_eq!(world.state_of(old), Some(NodeState::Up));
    assert!(told(&world), "both run again");
    assert_eq!(world.node(copy).standing(), Standing::Member);
}

#[test]
fn the_original_of_a_copied_state_directory_may_be_cut_off_and_comes_back() {
    let (mut world, old, _) = copied();
    world.cut_off(2, true);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.state_of(old), Some(NodeState::Down));
    world.cut_off(2, false);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.state_of(old), Some(NodeState::Up));
}

#[test]
fn a_copied_state_directory_is_told_while_both_run() {
    let (mut world, _, copy) = copied();
    world.nodes[copy] = None;
    world.pass(Duration::from_secs(40));
    assert!(!told(&world));
    let (mut world, old, _) = copied();
    world.nodes[2] = None;
    world.pass(Duration::from_secs(40));
    assert!(!told(&world));
    assert_eq!(world.state_of(old), Some(NodeState::Down), "nobody testified who could know");
    // Whoever begins in the original directory does know.
    let mut config = Config::new("n2", addr(world.nodes.len()), Vec::new());
    config.seeds = vec![addr(0), addr(1)];
    world.add(config, &[old]);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.state_of(old), Some(NodeState::Gone));
}

#[test]
fn who_began_in_a_copy_writes_down_that_its_predecessor_is_none() {
    let (world, old, copy) = copied();
    assert_eq!(world.node(copy).founding.predecessors(), []);
    assert!(!world.node(copy).founding.is_member(old) || world.node(0).founding.successor_of(old).is_none());
}

#[test]
fn a_copy_that_joins_where_the_original_is_not_heard_ends_nobody() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let old = world.node(2).id();
    let copy = world.nodes.len();
    world.cuts = [(0, 2), (2, copy)].into();
    let mut config = Config::new("copy", addr(copy), Vec::new());
    config.seeds = vec![addr(0)];
    world.add(config, &[old]);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.node(1).map().unwrap().record(old).map(|record| record.state), Some(NodeState::Up));
    world.cuts.clear();
    world.pass(Duration::from_secs(10));
    assert!(told(&world));
}

#[test]
fn a_copy_that_joins_one_who_is_cut_off_from_all_ends_nobody() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let old = world.node(2).id();
    world.cuts = [(0, 1), (0, 2), (1, 3), (2, 3)].into();
    // Until it takes all others for dead, and there is nobody left to ask.
    world.pass(Duration::from_secs(60));
    let mut config = Config::new("copy", addr(3), Vec::new());
    config.seeds = vec![addr(0)];
    world.add(config, &[old]);
    world.pass(Duration::from_secs(30));
    world.cuts.clear();
    world.pass(Duration::from_secs(30));
    assert_eq!(world.state_of(old), Some(NodeState::Up));
    assert!(told(&world));
}
