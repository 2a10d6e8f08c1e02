//! Gossip and heartbeats.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{addr, amount, amount32, ballot, cluster, counter, epoch, history, node, text, view};
use crate::ids::Boot;
use crate::message::membership::*;

pub(super) fn state() -> impl Strategy<Value = MemberState> {
    use MemberState::*;
    select(vec![Alive, Suspect, Dead, Left])
}

fn meta() -> impl Strategy<Value = Meta> {
    (text(), text(), vec((text(), text()), 0..4)).prop_map(|(zone, host, tags)| {
        let mut meta = Meta { zone, host, tags };
        meta.cut();
        meta
    })
}

fn member() -> impl Strategy<Value = Member> {
    let who = (node(), counter(), counter(), state());
    let how = (addr(), any::<(u8, u8)>(), text(), meta());
    (who, how).prop_map(|((node, boot, incarnation, state), (addr, versions, name, meta))| Member {
        node,
        boot: Boot(boot),
        incarnation,
        state,
        addr,
        versions,
        name,
        meta,
    })
}

fn beacon() -> impl Strategy<Value = Beacon> {
    (epoch(), history(), view(), ballot()).prop_map(|(epoch, history, view, coordinator)| Beacon {
        epoch,
        history,
        view,
        coordinator,
    })
}

fn accused() -> impl Strategy<Value = Accused> {
    (node(), counter(), counter()).prop_map(|(node, boot, incarnation)| Accused {
        node,
        boot: Boot(boot),
        incarnation,
    })
}

fn update() -> impl Strategy<Value = Update> {
    prop_oneof![
        3 => member().prop_map(Update::Member),
        1 => (accused(), node()).prop_map(|(whom, by)| Update::Suspect { whom, by }),
        1 => accused().prop_map(|whom| Update::Dead { whom }),
        1 => accused().prop_map(|whom| Update::Left { whom }),
    ]
}

fn entry() -> impl Strategy<Value = DigestEntry> {
    (accused(), state()).prop_map(|(whom, state)| DigestEntry {
        node: whom.node,
        boot: whom.boot,
        incarnation: whom.incarnation,
        state,
    })
}

fn body() -> BoxedStrategy<GossipBody> {
    use GossipBody::*;
    prop_oneof![
        (amount(), node()).prop_map(|(sequence, target)| Ping { sequence, target }),
        (amount(), option::of(node())).prop_map(|(sequence, of)| Ack { sequence, of }),
        (amount(), node(), addr()).prop_map(|(sequence, target, addr)| PingReq { sequence, target, addr }),
        amount().prop_map(|sequence| Nack { sequence }),
        (vec(node(), 0..4), any::<u64>(), 0..=GOSSIP_LIMIT as u16)
            .prop_map(|(succeeds, founders_hash, padding)| Join { succeeds, founders_hash, padding }),
        any::<u64>().prop_map(|hash| Digest { hash }),
        vec(any::<u64>(), BUCKETS).prop_map(|hashes| Buckets { hashes }),
        (any::<u64>(), vec(entry(), 0..=ENTRIES_LIMIT))
            .prop_map(|(parts, entries)| Entries { parts, entries }),
        vec(node(), 0..=PULL_LIMIT).prop_map(|nodes| Pull { nodes }),
        Just(Delta),
        Just(Leave),
    ]
    .boxed()
}

pub(in crate::message::tests) fn gossip() -> BoxedStrategy<Gossip> {
    (option::of(cluster()), node(), beacon(), body(), vec(update(), 0..4))
        .prop_map(|(cluster, from, beacon, body, updates)| Gossip { cluster, from, beacon, body, updates })
        .boxed()
}

pub(super) fn beat() -> impl Strategy<Value = Beat> {
    (counter(), option::of(amount32())).prop_map(|(sequence, heard_ms)| Beat { sequence, heard_ms })
}
