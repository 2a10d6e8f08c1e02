//! Restarts, farewells, and two that cannot both be right.

use haystack_wire::ids::{Boot, NodeId};
use haystack_wire::message::membership::{Accused, GossipBody, Member, MemberState, Update};

use super::super::{Conflict, Output};
use super::world::{SECOND, World, addr, seconds};

fn succeeded(world: &World, old: NodeId) -> bool {
    let said = world.nodes.iter().flat_map(|node| &node.said);
    said.into_iter().any(|(_, output)| matches!(output, Output::Succeeded { old: gone, .. } if *gone == old))
}

#[test]
fn a_restarted_process_takes_the_place_of_the_old_one_at_once() {
    for host in [4, 40] {
        let mut world = World::formed(1, 5);
        let old = world.id(4);
        world.crash(4);
        let mut config = world.config(host);
        config.succeeds = vec![old];
        config.name = "n4".to_owned();
        world.start(config);
        let took = world.until(seconds(60), |world| world.complete() && world.buried(4));
        let took = took.expect("the old process stays");
        assert!(took <= 3 * SECOND, "{took:?}");
        assert!(succeeded(&world, old));
        world.run(seconds(60));
        for node in 0..6 {
            assert_eq!(world.conflicts(node), [], "{node}");
        }
    }
}

#[test]
fn a_successor_of_a_process_that_answers_is_reported_and_not_believed() {
    let mut world = World::formed(2, 5);
    let old = world.id(4);
    let mut config = world.config(40);
    config.succeeds = vec![old];
    let new = config.node;
    world.start(config);
    world.run(seconds(60));
    assert_eq!(world.deaths(), []);
    assert!(world.complete());
    let conflict = Conflict::StateDirectory { old, new };
    assert!((0..5).any(|node| world.conflicts(node).contains(&conflict)));
}

#[test]
fn a_copy_is_not_believed_when_the_original_pauses_later() {
    let mut world = World::formed(12, 5);
    let old = world.id(4);
    let mut config = world.config(40);
    config.succeeds = vec![old];
    let new = config.node;
    let copy = world.start(config);
    world.run(seconds(5));
    // Everybody whom it is linked with hears of it, and again.
    let testify = |world: &mut World| {
        for node in [0, 1, 2, 3] {
            world.act(node, |swim, now| swim.succeeded(now, new, &[old]));
        }
    };
    testify(&mut world);
    world.run(seconds(5));
    world.pause(4, seconds(60));
    world.run(seconds(50));
    assert!([0, 1, 2, 3].iter().all(|node| world.sees(*node, 4) == Some(MemberState::Dead)));
    testify(&mut world);
    world.crash(copy);
    let mut config = world.config(40);
    config.succeeds = vec![new, old];
    // Of a later life in the copied directory too.
    world.start(config);
    world.run(seconds(40));
    assert!(!succeeded(&world, old));
    assert!(world.complete());
}

#[test]
fn who_lives_in_a_copied_directory_finds_out_and_testifies_no_more() {
    let mut world = World::formed(13, 5);
    let old = world.id(4);
    let mut config = world.config(40);
    config.succeeds = vec![old];
    let new = config.node;
    let copy = world.start(config);
    world.run(seconds(10));
    assert_eq!(world.conflicts(copy), [Conflict::StateDirectory { old, new }]);
    assert_eq!(world.nodes[copy].swim.succeeds, []);
}

#[test]
fn a_copy_that_joins_where_the_original_is_not_heard_ends_nobody() {
    for seed in 20..30 {
        let mut world = World::formed(seed, 5);
        let old = world.id(4);
        for (one, other) in [(0, 4), (4, 0), (40, 4), (4, 40)] {
            world.cuts.insert((addr(one), addr(other)));
        }
        let mut config = world.config(40);
        config.succeeds = vec![old];
        config.seeds = vec![addr(0)];
        world.start(config);
        world.run(seconds(60));
        assert!(!succeeded(&world, old), "{seed}");
        assert_eq!(world.deaths(), [], "{seed}");
    }
}

#[test]
fn nobody_ends_by_the_silence_of_those_who_might_know() {
    let mut world = World::formed(14, 5);
    let old = world.id(4);
    // One is cut off from all others, and has not noticed yet.
    world.island = [addr(0), addr(40)].into();
    let mut config = world.config(40);
    config.succeeds = vec![old];
    config.seeds = vec![addr(0)];
    world.start(config);
    world.run(seconds(3));
    assert!(!succeeded(&world, old));
    assert_eq!(world.deaths(), []);
}

#[test]
fn a_graceful_leave_spreads_and_never_comes_back() {
    let mut world = World::formed(3, 8);
    world.loss = 0.1;
    let gone = world.id(7);
    let old = Update::Member(world.nodes[7].swim.me().clone());
    world.act(7, |swim, now| swim.leave(now));
    let took = world.until(seconds(20), |world| (0..7).all(|node| world.sees(node, 7).is_none()));
    assert!(took.expect("the farewell does not spread") <= seconds(5));
    world.run(2 * SECOND);
    let before = world.nodes[7].sent;
    // Its old word, and its own traffic, change nothing any more.
    for node in 0..7 {
        let (from, to) = (world.nodes[(node + 1) % 7].addr, world.nodes[node].addr);
        let swim = &world.nodes[(node + 1) % 7].swim;
        let gossip = swim.compose(GossipBody::Delta, vec![old.clone()]);
        world.fly(from, to, gossip);
    }
    world.run(seconds(120));
    assert_eq!(world.nodes[7].sent, before);
    assert!(world.deaths().iter().all(|(_, dead)| *dead != gone));
    assert!((0..7).all(|node| world.sees(node, 7).is_none()));
    let left = |(_, output): &(_, Output)| *output == Output::Left(gone);
    assert!((0..7).all(|node| world.nodes[node].said.iter().filter(|said| left(said)).count() == 1));
}

#[test]
fn who_is_gone_stays_gone_and_learns_it() {
    let mut world = World::formed(4, 5);
    let gone = world.id(4);
    world.act(0, |swim, now| swim.gone(now, gone));
    assert!(world.until(seconds(10), |world| (0..4).all(|node| world.sees(node, 4).is_none())).is_some());
    world.run(seconds(60));
    assert!((0..4).all(|node| world.sees(node, 4).is_none()));
    assert!(world.conflicts(4).iter().any(|conflict| matches!(conflict, Conflict::Gone { .. })));
}

#[test]
fn the_farewell_of_one_that_was_never_met_is_told_once() {
    let mut world = World::formed(9, 3);
    let whom = Accused { node: NodeId([7; 16]), boot: Boot(0), incarnation: 0 };
    for _ in 0..2 {
        let gossip = world.nodes[1].swim.compose(GossipBody::Delta, vec![Update::Left { whom }]);
        world.fly(addr(1), addr(0), gossip);
        world.run(SECOND);
    }
    let said: Vec<_> = world.nodes[0].said.iter().map(|(_, output)| output).collect();
    assert_eq!(said, [&Output::Left(whom.node)]);
    // What the directory says of one that nobody met is no news of the members.
    world.act(0, |swim, now| swim.gone(now, NodeId([8; 16])));
    assert_eq!(world.nodes[0].said.len(), 1);
}

#[test]
fn tombstones_end_after_a_day() {
    let mut world = World::formed(5, 3);
    world.by_bytes = false;
    world.act(2, |swim, now| swim.leave(now));
    world.run(seconds(60));
    let stones = |world: &World| [0, 1].map(|node| world.nodes[node].swim.table.sizes()[2]);
    assert_eq!(stones(&world), [1, 1]);
    world.run(seconds(23 * 3600));
    assert_eq!(stones(&world), [1, 1]);
    world.run(seconds(3700));
    assert_eq!(stones(&world), [0, 0]);
    assert!(world.complete() || world.nodes[0].swim.live() == 2);
}

#[test]
fn a_name_that_two_bear_is_reported() {
    let mut world = World::formed(6, 4);
    let mut config = world.config(9);
    config.name = "n2".to_owned();
    let second = world.start(config);
    world.run(seconds(30));
    let (a, b) = (world.id(2), world.id(second));
    let conflict = Conflict::Name { name: "n2".to_owned(), first: a.min(b), second: a.max(b) };
    for node in 0..5 {
        assert_eq!(world.conflicts(node), std::slice::from_ref(&conflict));
    }
}

#[test]
fn another_address_or_life_of_an_identity_is_reported() {
    let mut world = World::formed(7, 4);
    let copy = |me: &Member, boot, host| Member { boot: Boot(boot), addr: addr(host), ..me.clone() };
    for (at, boot) in [(1, 0), (2, 1)] {
        let me = world.nodes[at].swim.me().clone();
        let update = Update::Member(copy(&me, boot, 77));
        let gossip = world.nodes[0].swim.compose(GossipBody::Delta, vec![update]);
        world.fly(addr(0), addr(at), gossip);
        world.run(SECOND);
        assert_eq!(world.conflicts(at), [Conflict::Identity { node: me.node, addr: addr(77) }]);
    }
    let own = world.nodes[3].swim.compose(GossipBody::Delta, Vec::new());
    world.fly(addr(88), addr(3), own);
    world.run(SECOND);
    assert_eq!(world.conflicts(3), [Conflict::Identity { node: world.id(3), addr: addr(88) }]);
}

#[test]
fn a_later_life_of_one_identity_takes_the_place_of_the_earlier() {
    let mut world = World::formed(8, 4);
    let node = world.id(3);
    world.crash(3);
    let mut config = world.config(3);
    (config.node, config.boot) = (node, Boot(1));
    world.start(config);
    let back = |world: &World| {
        let mut seen = (0..3).map(|at| world.nodes[at].swim.get(node));
        seen.all(|member| {
            member.is_some_and(|member| member.boot == Boot(1) && member.state == MemberState::Alive)
        })
    };
    assert!(world.until(seconds(5), back).is_some());
    // What is said of the earlier life is no news of the later.
    let whom = Accused { node, boot: Boot(0), incarnation: 5 };
    let stale =
        world.nodes[0].swim.compose(GossipBody::Delta, vec![Update::Dead { whom }, Update::Left { whom }]);
    world.fly(addr(0), addr(1), stale);
    world.run(seconds(30));
    assert!(back(&world));
}
