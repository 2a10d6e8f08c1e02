//! Bytes and words of strangers and liars.

use core::net::SocketAddr;

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::codec::{Encode as _, decode_whole, encode_whole};
use haystack_wire::ids::{Ballot, Boot, Epoch, HistoryId, NodeId, ViewId};
use haystack_wire::message::COUNTER_LIMIT;
use haystack_wire::message::membership::{
    Accused, BUCKETS, Beacon, Gossip, GossipBody, Member, MemberState, Update,
};
use haystack_wire::rng::Rng;

use super::super::{Conflict, DEAD_MOST, INCARNATION_MOST, MEMBERS_MOST, Output, TOMBSTONES_MOST};
use super::world::{CLUSTER, World, addr, seconds};

fn from(node: NodeId, body: GossipBody, updates: Vec<Update>) -> Gossip {
    Gossip { cluster: Some(CLUSTER), from: node, beacon: Beacon::default(), body, updates }
}

fn stranger(world: &mut World, host: usize) -> Member {
    Member {
        node: NodeId(world.rng.bytes()),
        boot: Boot(0),
        incarnation: 0,
        state: MemberState::Alive,
        addr: addr(host),
        versions: (1, 1),
        name: String::new(),
        meta: Default::default(),
    }
}

#[test]
fn forged_incarnations_kill_nobody() {
    for incarnation in [INCARNATION_MOST, INCARNATION_MOST + 1, COUNTER_LIMIT, 1 << 20] {
        let mut world = World::formed(1, 5);
        let node = world.id(4);
        let whom = Accused { node, boot: Boot(0), incarnation };
        let me = world.nodes[4].swim.me().clone();
        for to in 0..5 {
            let lies = vec![
                Update::Suspect { whom, by: world.id(1) },
                Update::Dead { whom },
                Update::Member(Member { incarnation, addr: addr(99), ..me.clone() }),
            ];
            world.fly(addr(1), addr(to), from(world.id(1), GossipBody::Delta, lies));
        }
        world.run(seconds(60));
        assert!(world.complete(), "{incarnation}");
        assert!(world.deaths().iter().all(|(_, dead)| *dead == node));
    }
}

#[test]
fn the_verdict_of_a_suspect_is_at_most_a_suspicion() {
    let mut world = World::formed(8, 5);
    world.island.insert(addr(1));
    let suspected = |world: &World| world.sees(0, 1) == Some(MemberState::Suspect);
    assert!(world.until(seconds(10), suspected).is_some());
    let whom = Accused { node: world.id(2), boot: Boot(0), incarnation: 0 };
    let lie = from(world.id(1), GossipBody::Delta, vec![Update::Dead { whom }]);
    let now = world.now;
    world.nodes[0].swim.handle(now, addr(1), lie);
    assert_eq!(world.sees(0, 2), Some(MemberState::Suspect));
    world.run(seconds(5));
    assert_eq!(world.sees(0, 2), Some(MemberState::Alive));
}

#[test]
fn a_lie_within_reach_is_refuted() {
    let mut world = World::formed(2, 5);
    let whom = Accused { node: world.id(4), boot: Boot(0), incarnation: 60_000 };
    world.fly(addr(1), addr(0), from(world.id(1), GossipBody::Delta, vec![Update::Dead { whom }]));
    assert!(world.until(seconds(10), |world| world.sees(0, 4) == Some(MemberState::Dead)).is_some());
    assert!(world.until(seconds(10), World::complete).is_some());
    assert!(world.nodes[4].swim.me().incarnation > 60_000);
}

#[test]
fn who_has_no_incarnation_left_says_so() {
    let mut world = World::formed(3, 3);
    let node = world.id(2);
    let whom = Accused { node, boot: Boot(0), incarnation: INCARNATION_MOST };
    for _ in 0..2 {
        world.fly(addr(1), addr(2), from(world.id(1), GossipBody::Delta, vec![Update::Dead { whom }]));
    }
    world.run(seconds(5));
    assert_eq!(world.conflicts(2), [Conflict::Exhausted]);
    assert_eq!(world.nodes[2].swim.me().incarnation, 0);
}

#[test]
fn floods_of_strangers_take_bounded_memory() {
    let mut world = World::formed(4, 3);
    world.by_bytes = false;
    let liar = world.id(1);
    for host in 0..6000 {
        let member = stranger(&mut world, 1000 + host);
        let whom = Accused { node: NodeId(world.rng.bytes()), boot: Boot(0), incarnation: 0 };
        let update = match host % 3 {
            0 => Update::Left { whom },
            _ => Update::Member(member.clone()),
        };
        world.fly(addr(1), addr(0), from(liar, GossipBody::Delta, vec![update]));
        let ping = GossipBody::Ping { sequence: 1, target: world.id(0) };
        world.fly(addr(1000 + host), addr(0), from(member.node, ping, vec![]));
        let relay = GossipBody::PingReq { sequence: 1, target: member.node, addr: member.addr };
        world.fly(addr(1), addr(0), from(liar, relay, vec![]));
    }
    let bounded = |world: &World| {
        let [records, dead, tombstones, order] = world.nodes[0].swim.table.sizes();
        assert!(records <= MEMBERS_MOST + DEAD_MOST && dead <= DEAD_MOST);
        assert!(tombstones <= TOMBSTONES_MOST && order <= 2 * (MEMBERS_MOST + DEAD_MOST));
        assert!(world.nodes[0].swim.queue.len() <= super::super::QUEUE_MOST);
        assert!(world.nodes[0].swim.flights.len() <= 1024);
    };
    for _ in 0..10 {
        world.run(seconds(1));
        bounded(&world);
    }
    assert!(world.counter(0, "drop_full") > 0 && world.counter(0, "drop_relay") > 0);
    assert_eq!(world.sees(0, 2), Some(MemberState::Alive));
}

#[test]
fn a_stranger_gets_no_more_bytes_than_it_sent() {
    let mut world = World::formed(5, 3);
    let member = stranger(&mut world, 50);
    let me = world.id(0);
    let word = vec![Update::Member(member.clone())];
    let join = |padding| GossipBody::Join { succeeds: vec![], founders_hash: 0, padding };
    let bodies = [
        GossipBody::Ping { sequence: 1 << 40, target: me },
        GossipBody::Digest { hash: 1 },
        GossipBody::Buckets { hashes: vec![1; BUCKETS] },
        GossipBody::Entries { parts: u64::MAX, entries: vec![] },
        GossipBody::Pull { nodes: vec![me; 9] },
        GossipBody::Pull { nodes: vec![] },
        GossipBody::PingReq { sequence: 1, target: me, addr: member.addr },
        GossipBody::Delta,
        GossipBody::Leave,
    ];
    let coordinator = Ballot { n: 1 << 40, priority: 9, node: me };
    let beacon = Beacon { epoch: Epoch(1 << 50), history: HistoryId(0), view: ViewId(1 << 20), coordinator };
    world.act(0, |swim, now| swim.set_beacon(now, beacon));
    let unknown = bodies.into_iter().map(|body| from(member.node, body, vec![]));
    let joins = [join(0), join(900)].map(|body| from(member.node, body, word.clone()));
    let outsiders =
        [join(0), join(900)].map(|body| Gossip { cluster: None, ..from(member.node, body, word.clone()) });
    for gossip in unknown.chain(outsiders).chain(joins) {
        let asked = gossip.encoded_len();
        let swim = &mut world.nodes[0].swim;
        swim.handle(world.now, addr(66), gossip.clone());
        let mut answered = 0;
        while let Some(output) = swim.poll_output() {
            if let Output::Send { to, gossip, .. } = output {
                answered += if to == addr(66) { gossip.encoded_len() } else { 0 };
            }
        }
        assert!(answered <= asked, "{answered} bytes for {asked}: {gossip:?}");
    }
}

/// What the first node answers a stranger at `addr(66)`.
fn answers(world: &mut World, gossip: Gossip) -> Vec<GossipBody> {
    let swim = &mut world.nodes[0].swim;
    swim.handle(world.now, addr(66), gossip);
    let outputs = core::iter::from_fn(|| swim.poll_output());
    let to_stranger = outputs.filter_map(|output| match output {
        Output::Send { to, gossip, .. } if to == addr(66) => Some(gossip.body),
        _ => None,
    });
    to_stranger.collect()
}

#[test]
fn a_stranger_is_asked_who_it_is_unless_it_was_or_can_be_no_member() {
    let mut world = World::formed(9, 3);
    let member = stranger(&mut world, 66);
    let whom = Accused { node: world.id(0), boot: Boot(0), incarnation: 0 };
    let digest = || GossipBody::Digest { hash: 1 };
    let accusation = || from(member.node, GossipBody::Delta, vec![Update::Suspect { whom, by: member.node }]);
    let invitation = || GossipBody::Pull { nodes: vec![] };
    assert_eq!(answers(&mut world, from(member.node, digest(), vec![])), [invitation()]);
    assert_eq!(answers(&mut world, accusation()), [invitation()]);
    // Two that do not know each other must not ask each other for ever, nor about a record that is not believed.
    assert_eq!(answers(&mut world, from(member.node, invitation(), vec![])), []);
    let nowhere = Update::Member(Member { addr: SocketAddr::from(([10, 0, 0, 9], 0)), ..member.clone() });
    assert_eq!(answers(&mut world, from(member.node, GossipBody::Delta, vec![nowhere])), []);
    // A farewell is the last word.
    let left = Update::Left { whom: Accused { node: member.node, ..whom } };
    assert_eq!(answers(&mut world, from(member.node, GossipBody::Leave, vec![left])), []);
    assert_eq!(answers(&mut world, from(member.node, digest(), vec![])), []);
}

#[test]
fn a_member_that_is_asked_who_it_is_says_so() {
    let mut world = World::formed(10, 3);
    let me = world.nodes[0].swim.me().clone();
    let invitation = from(world.id(1), GossipBody::Pull { nodes: vec![] }, vec![]);
    let swim = &mut world.nodes[0].swim;
    swim.handle(world.now, addr(1), invitation);
    let Some(Output::Send { to, gossip, .. }) = swim.poll_output() else { panic!("no answer") };
    assert_eq!((to, gossip.updates), (addr(1), vec![Update::Member(me)]));
    assert_eq!(swim.poll_output(), None);
}

#[test]
fn a_process_without_a_cluster_learns_which_one_this_is_and_nothing_else_happens() {
    let mut world = World::formed(6, 3);
    let member = stranger(&mut world, 50);
    let body = GossipBody::Join { succeeds: vec![], founders_hash: 0, padding: 500 };
    let join = Gossip { cluster: None, ..from(member.node, body, vec![Update::Member(member.clone())]) };
    world.nodes[0].swim.handle(world.now, addr(50), join);
    let answer = world.nodes[0].swim.poll_output();
    assert!(
        matches!(answer, Some(Output::Send { to, gossip, .. }) if to == addr(50) && gossip.cluster == Some(CLUSTER))
    );
    assert!(world.nodes[0].swim.get(member.node).is_none());
}

/// Any message that decodes, with identities that mean something here.
#[test]
fn no_bytes_stop_a_node() {
    let mut world = World::formed(7, 4);
    let mut rng = Rng::from_u64(7);
    let ids: Vec<_> = (0..4).map(|node| world.id(node)).collect();
    let me = world.nodes[1].swim.me().clone();
    let whom = Accused { node: ids[2], boot: Boot(1), incarnation: 3 };
    let samples = [
        GossipBody::Ping { sequence: 5, target: ids[0] },
        GossipBody::Ack { sequence: 5, of: Some(ids[2]) },
        GossipBody::PingReq { sequence: 5, target: ids[3], addr: addr(3) },
        GossipBody::Nack { sequence: 9 },
        GossipBody::Join { succeeds: vec![ids[0], ids[3]], founders_hash: 5, padding: 20 },
        GossipBody::Digest { hash: 5 },
        GossipBody::Buckets { hashes: vec![5; BUCKETS] },
        GossipBody::Entries { parts: u64::MAX, entries: world.nodes[1].swim.entries_of(3) },
        GossipBody::Pull { nodes: ids.clone() },
        GossipBody::Leave,
    ];
    let mut taken = 0;
    for round in 0..20_000 {
        let body = samples[round % samples.len()].clone();
        let by = ids[rng.below(4) as usize];
        let updates = vec![
            Update::Member(me.clone()),
            Update::Suspect { whom, by },
            Update::Dead { whom },
            Update::Left { whom },
        ];
        let mut bytes = encode_whole(&from(ids[1], body, updates)).to_vec();
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
        let Ok(gossip) = decode_whole::<Gossip>(&Bytes::from(bytes), "gossip") else { continue };
        taken += 1;
        let swim = &mut world.nodes[0].swim;
        swim.handle(world.now, addr(rng.below(5) as usize), gossip);
        world.now += core::time::Duration::from_millis(7);
        swim.handle_timeout(world.now);
        while let Some(output) = swim.poll_output() {
            if let Output::Send { gossip, .. } = output {
                assert!(decode_whole::<Gossip>(&encode_whole(&gossip), "gossip").is_ok());
            }
        }
    }
    assert!(taken > 5000);
    assert!(world.nodes[0].swim.poll_timeout() > Some(Instant::ZERO));
}
