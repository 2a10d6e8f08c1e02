//! Which daemon is asked, and how that changes.

use bytes::Bytes;
use haystack_wire::ids::{Epoch, GroupId, SessionId};
use haystack_wire::message::admin::{AdminReply, AdminRequest};
use haystack_wire::message::client::{Command, Effect, Refusal, SESSION_WINDOW};

use super::fake::{Act, STATUS, World, key_of, ms, value};
use crate::core::{AdminTarget, Answer, Operation};
use crate::error::Error;

fn written(answer: Result<Answer, Error>) {
    assert!(matches!(answer, Ok(Answer::Applied { effect: Effect::Written, .. })), "{answer:?}");
}

#[test]
fn a_hint_leads_to_the_leader_and_is_remembered() {
    let mut world = World::new(1, 3, 1);
    world.cluster().group(1).leader = Some(2);
    written(world.call(Operation::put("a", "1"), 5000));
    let seen = |world: &World| world.daemons.iter().map(|daemon| daemon.seen.len()).collect::<Vec<_>>();
    let before = seen(&world);
    written(world.call(Operation::put("a", "2"), 5000));
    assert_eq!(value(world.call(Operation::get("a"), 5000)), Some(Bytes::from("2")));
    let after = seen(&world);
    assert_eq!((after[0], after[1], after[2]), (before[0], before[1], before[2] + 2));
}

#[test]
fn a_daemon_that_does_not_forward_costs_one_more_hop_and_no_pause() {
    let mut world = World::new(2, 3, 1);
    world.cluster().forwards = false;
    written(world.call(Operation::put("a", "1"), 5000));
    world.cluster().group(1).leader = Some(1);
    let start = world.now;
    let op = world.submit(Operation::put("a", "2"), 5000);
    let completion = world.complete(op);
    assert_eq!(completion.attempts, 2);
    assert!(world.now - start < ms(10), "{:?}", world.now - start);
}

#[test]
fn daemons_that_point_at_each_other_are_not_asked_in_a_tight_loop() {
    let mut world = World::new(3, 2, 1);
    world.daemons[0].habit = Act::PointTo(1);
    world.daemons[1].habit = Act::PointTo(0);
    assert_eq!(world.call(Operation::get("a"), 3000), Err(Error::Refused(Refusal::NotLeader)));
    assert!(world.daemons[0].seen.len() + world.daemons[1].seen.len() < 80);
}

#[test]
fn a_leader_that_dies_is_left_within_a_second_and_the_write_applies_once() {
    let mut world = World::new(4, 3, 1);
    written(world.call(Operation::put("a", "1"), 5000));
    world.daemons[0].script.push_back(Act::ServeSilently);
    let op = world.submit(Operation::put("a", "2"), 5000);
    world.run(10);
    world.daemons[0].alive = false;
    world.cluster().group(1).leader = Some(1);
    let start = world.now;
    written(world.finish(op));
    assert!(world.now - start < ms(1000));
    assert_eq!(world.cluster().group(1).applied.len(), 2);
    let start = world.now;
    for n in 0..10 {
        written(world.call(Operation::put("a", n.to_string()), 5000));
    }
    assert!(world.now - start < ms(100), "the dead daemon is not tried again and again");
}

#[test]
fn a_dead_daemon_costs_the_other_groups_that_it_led_nothing_more() {
    let mut world = World::new(16, 3, 2);
    let map = world.cluster().map().clone();
    world.cluster().group(2).leader = Some(0);
    for group in [1, 2] {
        written(world.call(Operation::put(key_of(&map, group, 0), "1"), 5000));
    }
    world.daemons[0].alive = false;
    world.cluster().group(1).leader = Some(1);
    world.cluster().group(2).leader = Some(1);
    written(world.call(Operation::put(key_of(&map, 1, 0), "2"), 5000));
    let start = world.now;
    written(world.call(Operation::put(key_of(&map, 2, 0), "2"), 5000));
    assert!(world.now - start < ms(100), "{:?}", world.now - start);
}

#[test]
fn what_a_vanished_process_was_asked_is_asked_of_another_at_once() {
    // Far less than the time after which silence alone would lead elsewhere.
    let mut world = World::with(17, 3, 1, |config| {
        (config.timeouts.retry, config.timeouts.retry_most) = (ms(60_000), ms(60_000));
    });
    written(world.call(Operation::put("a", "1"), 5000));
    world.daemons[0].script.push_back(Act::Ignore);
    let op = world.submit(Operation::put("a", "2"), 100_000);
    let other = world.submit(Operation::get("a"), 100_000);
    let cluster = world.daemons[0].cluster.clone();
    world.restart(0, &cluster);
    world.cluster().group(1).leader = Some(1);
    let start = world.now;
    written(world.finish(op));
    world.finish(other).unwrap();
    assert!(world.now - start < ms(2000), "{:?}", world.now - start);
}

#[test]
fn a_refusal_of_an_attempt_that_was_given_up_changes_nothing_for_the_next() {
    let mut world = World::new(18, 2, 1);
    written(world.call(Operation::put("a", "1"), 5000));
    world.daemons.iter_mut().for_each(|daemon| daemon.habit = Act::Keep);
    let op = world.submit(Operation::put("a", "2"), 20_000);
    world.run(300);
    world.release_as(0, &Act::Refuse(Refusal::NotLeader));
    world.run(100);
    world.release(1);
    let completion = world.complete(op);
    written(completion.outcome);
    assert_eq!(completion.attempts, 2);
}

#[test]
fn a_client_that_was_forgotten_by_the_daemons_makes_itself_known_again() {
    let mut world = World::new(19, 3, 1);
    written(world.call(Operation::put("a", "1"), 5000));
    world.run(20 * 60 * 1000);
    let start = world.now;
    written(world.call(Operation::put("a", "2"), 5000));
    assert!(world.now - start < ms(1000), "{:?}", world.now - start);
}

#[test]
fn a_new_process_at_an_old_address_is_taken_for_what_it_is() {
    let mut world = World::new(5, 3, 1);
    written(world.call(Operation::put("a", "1"), 5000));
    world.daemons[0].script.push_back(Act::Ignore);
    let op = world.submit(Operation::put("a", "2"), 20_000);
    world.run(10);
    let cluster = world.daemons[0].cluster.clone();
    world.restart(0, &cluster);
    world.daemons[0].habit = Act::Refuse(Refusal::NotReady);
    world.cluster().group(1).leader = Some(1);
    written(world.finish(op));
    for n in 0..10 {
        written(world.call(Operation::put("a", n.to_string()), 5000));
    }
    assert_eq!(world.cluster().group(1).applied.len(), 12);
}

#[test]
fn a_moved_slot_is_followed_under_the_session_of_the_first_attempt() {
    let mut world = World::new(6, 3, 2);
    let key = key_of(world.cluster().map(), 1, 0);
    written(world.call(Operation::put(key.clone(), "1"), 5000));
    let session = world.cluster().group(1).applied[0].0;
    // The whole of group 1 is served by group 2 now, which knows the sessions of group 1.
    {
        let mut cluster = world.cluster();
        let sessions = cluster.group(1).sessions.clone();
        let group = cluster.group(2);
        group.len = 100;
        group.sessions.extend(sessions);
        let map = cluster.map();
        map.epoch = Epoch(2);
        map.partitions.swap(0, 1);
        let (first, last) = (map.partitions[1].first, map.partitions[1].last);
        (map.partitions[1].first, map.partitions[1].last) = (map.partitions[0].first, map.partitions[0].last);
        (map.partitions[0].first, map.partitions[0].last) = (first, last);
    }
    let op = world.submit(Operation::put(key.clone(), "2"), 5000);
    let completion = world.complete(op);
    written(completion.outcome);
    assert_eq!((completion.group, completion.session), (GroupId(2), Some((session, 2))));
    let op = world.submit(Operation::put(key.clone(), "3"), 5000);
    let completion = world.complete(op);
    written(completion.outcome);
    assert_eq!(completion.session.map(|(SessionId { group, .. }, seq)| (group, seq)), Some((GroupId(2), 1)));
    assert_eq!(world.client.map().map(|map| map.epoch), Some(Epoch(2)));
}

#[test]
fn each_group_has_a_session_of_its_own() {
    let mut world = World::new(7, 3, 8);
    let map = world.cluster().map().clone();
    let ops: Vec<_> = (0..400)
        .map(|n| world.submit(Operation::put(key_of(&map, n % 8 + 1, n), n.to_string()), 5000))
        .collect();
    for op in ops {
        written(world.finish(op));
    }
    assert_eq!(world.client.stats().sessions, 8);
    assert!(world.daemons.iter().all(|daemon| !daemon.seen.is_empty()), "leaders are spread");
}

#[test]
fn another_cluster_in_the_place_of_the_old_one_is_told_and_never_sees_an_old_session() {
    let mut world = World::new(8, 3, 1);
    written(world.call(Operation::put("a", "1"), 5000));
    world.daemons.iter_mut().for_each(|daemon| daemon.habit = Act::Ignore);
    let op = world.submit(Operation::put("a", "2"), 20_000);
    world.run(10);
    world.refound(1);
    let told = world.finish(op);
    assert!(matches!(told, Err(Error::HistoryForked { maybe_applied: true, .. })), "{told:?}");
    written(world.call(Operation::put("a", "3"), 5000));
    let commands: Vec<Command> = world.daemons.iter().flat_map(super::fake::Daemon::commands).collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert!(commands.contains(&Command::OpenSession));
    assert!(world.cluster().group(1).applied.iter().all(|(_, seq, _)| *seq == 1));
}

#[test]
fn writes_that_wait_for_a_place_in_a_window_never_take_it_into_another_cluster() {
    let mut world = World::new(8, 3, 1);
    written(world.call(Operation::put("a", "1"), 5000));
    world.daemons.iter_mut().for_each(|daemon| daemon.habit = Act::Ignore);
    let window = SESSION_WINDOW as usize;
    let ops: Vec<_> =
        (0..2 * window).map(|n| world.submit(Operation::put("a", n.to_string()), 20_000)).collect();
    world.run(10);
    world.refound(1);
    let (sent, waiting) = ops.split_at(window);
    for op in sent {
        let told = world.finish(*op);
        assert!(matches!(told, Err(Error::HistoryForked { maybe_applied: true, .. })), "{told:?}");
    }
    for op in waiting {
        written(world.finish(*op));
    }
    let commands: Vec<Command> = world.daemons.iter().flat_map(super::fake::Daemon::commands).collect();
    let opened = commands.iter().filter(|command| **command == Command::OpenSession).count();
    assert_eq!((opened, commands.len()), (1, 1 + window), "{commands:?}");
    assert_eq!(world.cluster().group(1).applied.len(), window);
}

#[test]
fn a_stranger_among_the_daemons_is_not_asked() {
    let mut world = World::new(9, 3, 1);
    world.cluster().group(1).leader = Some(2);
    written(world.call(Operation::put("a", "1"), 5000));
    let mut other = World::new(10, 3, 1);
    other.refound(1);
    let cluster = other.daemons[0].cluster.clone();
    world.restart(2, &cluster);
    world.cluster().group(1).leader = Some(1);
    for n in 0..20 {
        written(world.call(Operation::put("a", n.to_string()), 5000));
    }
    assert!(world.daemons[2].seen.is_empty());
    assert!(world.client.stats().foreign_maps > 0);
}

#[test]
fn a_page_follows_a_page_until_the_group_is_read() {
    let mut world = World::new(11, 3, 2);
    let map = world.cluster().map().clone();
    for n in 0..20 {
        written(world.call(Operation::put(key_of(&map, 2, n), "v"), 5000));
    }
    let (mut after, mut keys) = (None, 0);
    loop {
        let scan = Operation::Scan { group: GroupId(2), after: after.clone(), limit: 50 };
        let Ok(Answer::Page { pairs, more, .. }) = world.call(scan, 5000) else { panic!("no page") };
        keys += pairs.len();
        after = pairs.last().map(|pair| pair.key.clone());
        if !more {
            break;
        }
    }
    assert_eq!(keys, 20);
    let scan = Operation::Scan { group: GroupId(9), after: None, limit: 50 };
    assert!(matches!(world.call(scan, 5000), Err(Error::Usage(_))));
}

#[test]
fn an_admin_request_goes_where_it_is_sent_and_an_order_goes_once() {
    let mut world = World::new(12, 3, 1);
    let deadline = world.now + ms(4000);
    let target = AdminTarget::Address(world.daemons[1].addr);
    let op = world.client.submit_admin(world.now, target, STATUS, deadline).unwrap();
    let Ok(Answer::Admin(reply)) = world.finish(op) else { panic!("no answer") };
    assert_eq!(*reply, AdminReply::Done("Status at 1".into()));
    let target = AdminTarget::Node(world.daemons[2].node);
    world.daemons[2].script.push_back(Act::Ignore);
    let op = world.client.submit_admin(world.now, target, AdminRequest::AbandonOldData, deadline).unwrap();
    let completion = world.complete(op);
    assert!(matches!(completion.outcome, Err(Error::Timeout(_))));
    assert_eq!(completion.attempts, 1);
}

#[test]
fn a_status_is_asked_of_whoever_answers() {
    let mut world = World::new(13, 3, 1);
    world.cluster().map = None;
    world.daemons[0].alive = false;
    world.daemons[1].script.push_back(Act::Ignore);
    let op = world.client.submit_admin(world.now, AdminTarget::Any, STATUS, world.now + ms(4000)).unwrap();
    assert!(matches!(world.finish(op), Ok(Answer::Admin(_))));
}

#[test]
fn a_stale_read_spreads_over_the_replicas() {
    let mut world = World::new(14, 3, 1);
    written(world.call(Operation::put("a", "1"), 5000));
    world.run(100);
    world.daemons.iter_mut().for_each(|daemon| daemon.seen.clear());
    let ops: Vec<_> =
        (0..30).map(|_| world.submit(Operation::Get { key: "a".into(), stale: true }, 5000)).collect();
    for op in ops {
        world.finish(op).unwrap();
    }
    assert!(world.daemons.iter().all(|daemon| daemon.seen.len() >= 5));
}

#[test]
fn a_one_second_cut_from_every_daemon_is_outlived() {
    let mut world = World::new(15, 3, 1);
    written(world.call(Operation::put("a", "1"), 5000));
    world.cut = world.daemons.iter().map(|daemon| daemon.addr).collect();
    let op = world.submit(Operation::put("a", "2"), 10_000);
    world.run(1000);
    world.cut.clear();
    let start = world.now;
    written(world.finish(op));
    assert!(world.now - start < ms(1500), "{:?}", world.now - start);
}
