//! Random faults over many seeds: whatever is told must agree with what was applied.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use haystack_wire::message::client::{Refusal, Write};

use super::fake::{Act, World, ms};
use crate::core::{Answer, OpId, Operation};
use crate::error::Error;

/// Which writes were applied, by their (unique) value, in how many copies.
fn applied(world: &World) -> BTreeMap<Bytes, usize> {
    let mut counts = BTreeMap::new();
    for group in world.cluster().groups.values() {
        for (_, _, write) in &group.applied {
            if let Write::Put { value, .. } = write {
                *counts.entry(value.clone()).or_insert(0) += 1;
            }
        }
    }
    counts
}

fn disturb(world: &mut World) {
    let count = world.daemons.len() as u64;
    let index = world.rng.below(count) as usize;
    match world.rng.below(12) {
        0 => {
            let addr = world.daemons[index].addr;
            if !world.cut.remove(&addr) {
                world.cut.insert(addr);
            }
        }
        1 => world.cut.clear(),
        2 | 3 => {
            let group = 1 + world.rng.below(2) as u32;
            let leader = world.rng.chance(0.8).then_some(index);
            world.cluster().group(group).leader = leader;
        }
        4 => world.loss = [0.0, 0.1, 0.3][world.rng.below(3) as usize],
        5 => {
            let act = match world.rng.below(6) {
                0 => Act::ServeSilently,
                1 => Act::Ignore,
                2 => Act::Keep,
                3 => Act::Refuse(Refusal::Overloaded),
                4 => Act::Refuse(Refusal::NotReady),
                _ => Act::PointTo(world.rng.below(count) as usize),
            };
            world.daemons[index].habit = act;
        }
        6 | 7 => world.daemons[index].habit = Act::Serve,
        8 => world.release(index),
        9 => {
            let cluster = world.daemons[index].cluster.clone();
            world.restart(index, &cluster);
        }
        10 => {
            let forwards = world.rng.chance(0.5);
            world.cluster().forwards = forwards;
        }
        _ => {
            if world.rng.chance(0.2) {
                let mut cluster = world.cluster();
                let group = cluster.group(1);
                group.sessions.pop_first();
            }
        }
    }
}

fn heal(world: &mut World) {
    world.cut.clear();
    world.loss = 0.0;
    for index in 0..world.daemons.len() {
        world.daemons[index].habit = Act::Serve;
        world.release(index);
    }
    world.cluster().group(1).leader = Some(0);
    world.cluster().group(2).leader = Some(1);
}

fn one_run(seed: u64) -> [u64; 3] {
    let mut world = World::new(seed, 3, 2);
    let mut told: BTreeMap<OpId, Bytes> = BTreeMap::new();
    for n in 0..400_u32 {
        if world.rng.chance(0.3) {
            disturb(&mut world);
        }
        let value = Bytes::from(format!("value-{n}"));
        let key = format!("key-{}", world.rng.below(20));
        let timeout = 300 + world.rng.below(3000);
        let op = world.submit(Operation::put(key, value.clone()), timeout);
        told.insert(op, value);
        let pause = world.rng.below(40);
        world.run(pause);
    }
    heal(&mut world);
    let mut counts = [0; 3];
    let mut unknown = Vec::new();
    let (mut sure, mut never) = (Vec::new(), Vec::new());
    for (op, value) in told {
        match world.finish(op) {
            Ok(Answer::Applied { .. }) => sure.push(value),
            Ok(other) => panic!("seed {seed}: {other:?}"),
            Err(Error::Unknown(ticket)) => unknown.push((ticket, value)),
            Err(error) if error.is_definite() => never.push(value),
            Err(_) => {}
        }
    }
    counts[0] += sure.len() as u64;
    counts[1] += never.len() as u64;
    counts[2] += unknown.len() as u64;
    for (ticket, value) in unknown {
        match world.call(Operation::Resolve(ticket), 10_000) {
            Ok(Answer::Applied { .. }) => sure.push(value),
            Ok(Answer::NeverApplies) => never.push(value),
            Ok(Answer::Expired) => {}
            other => panic!("seed {seed}: a healed cluster resolves: {other:?}"),
        }
    }
    // Late copies of anything may still arrive.
    world.run(10_000);
    let applied = applied(&world);
    assert!(applied.values().all(|count| *count == 1), "seed {seed}: applied twice: {applied:?}");
    for value in sure {
        assert!(applied.contains_key(&value), "seed {seed}: {value:?} was told as applied");
    }
    for value in never {
        assert!(!applied.contains_key(&value), "seed {seed}: {value:?} was told as never applied");
    }
    let start = world.now;
    let last = |world: &mut World| world.call(Operation::put("last", "x"), 10_000);
    let outcome = match last(&mut world) {
        Err(Error::SessionExpired { maybe_applied: false, .. }) => last(&mut world),
        outcome => outcome,
    };
    assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
    assert!(world.now - start < ms(2000), "seed {seed}: slow after healing");
    assert_eq!(world.client.outstanding(), 0);
    counts
}

#[test]
fn what_is_told_agrees_with_what_was_applied() {
    let mut total = [0; 3];
    for seed in 0..100 {
        for (sum, count) in total.iter_mut().zip(one_run(seed)) {
            *sum += count;
        }
    }
    let seen: BTreeSet<bool> = total.iter().map(|count| *count > 0).collect();
    assert_eq!(seen, BTreeSet::from([true]), "each kind of outcome was met: {total:?}");
}
