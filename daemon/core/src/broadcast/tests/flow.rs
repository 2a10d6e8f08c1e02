//! Batching, windows, repairs, compaction and snapshots: what must be fast, and what must stay bounded.

use std::time::Duration;

use bytes::Bytes;
use haystack_wire::ids::Ballot;
use haystack_wire::message::SnapshotId;
use haystack_wire::message::broadcast::{BroadcastMessage as Message, Entry, EntryKind};

use super::super::{ENTRY_OVERHEAD, Limits, Output, ProposeError, Role};
use super::net::{ballot, entry, id, tiny};
use super::solo::{Said, Solo, accept, accepted, at, carried, prepare, promise, sync};

const MINE: Ballot = Ballot { n: 1, priority: 0, node: haystack_wire::ids::NodeId([1; 16]) };

fn big(size: usize) -> Entry {
    Entry { kind: EntryKind::Command, body: Bytes::from(vec![0; size]) }
}

/// How many entries each message to `node` carries.
fn sent_to(node: usize, said: &Said) -> Vec<usize> {
    said.iter().filter(|(to, _)| to.contains(&node)).map(|(_, message)| carried(message)).collect()
}

#[test]
fn a_group_of_one_decides_with_the_flush() {
    let mut solo = Solo::new(1);
    assert!(solo.lead(1).is_empty());
    assert_eq!(solo.core.role(), Role::Leader { ballot: MINE, ready: true });
    assert!(solo.propose(&[1, 2]).is_empty());
    assert_eq!((solo.core.decided(), solo.core.applied()), (at(2), at(2)));
    assert!(solo.wait(Duration::from_secs(60)).is_empty());
}

#[test]
fn one_turn_is_one_accept_for_all_followers_and_covers_only_what_is_new() {
    let mut solo = Solo::leader(3, 1, Limits::default());
    let said = solo.propose(&[1, 2, 3]);
    assert_eq!(said, [(vec![1, 2], accept(MINE, &[1, 2, 3], 0, 0))]);
    let said = solo.propose(&[4]);
    assert_eq!(said, [(vec![1, 2], accept(MINE, &[1, 2, 3, 4], 3, 0))], "pipelined");
    assert!(solo.say().is_empty(), "an idle turn sends nothing");
    solo.hear(1, accepted(MINE, 4));
    let said = solo.propose(&[5]);
    assert_eq!(said, [(vec![1, 2], accept(MINE, &[1, 2, 3, 4, 5], 4, 4))], "with what is decided");
}

#[test]
fn replies_wait_for_nothing_but_a_majority() {
    let mut solo = Solo::leader(3, 1, Limits::default());
    solo.propose(&[1]);
    solo.core.handle_message(solo.now, id(2), accepted(MINE, 1));
    assert_eq!(solo.core.decided(), at(1), "before any flush, timer or further message");
    assert!(matches!(solo.core.poll_output(), Some(Output::Decided { upto }) if upto == at(1)));
}

#[test]
fn followers_hear_soon_what_is_decided_even_if_nothing_else_goes_out() {
    let mut solo = Solo::leader(3, 1, Limits::default());
    solo.propose(&[1]);
    assert!(solo.hear(1, accepted(MINE, 1)).is_empty());
    solo.hear(2, accepted(MINE, 1));
    let said = solo.wait(Limits::default().announce);
    assert_eq!(said, [(vec![1, 2], accept(MINE, &[1], 1, 1))]);
    assert!(solo.wait(Duration::from_secs(60)).is_empty(), "once");
}

#[test]
fn a_window_bounds_what_is_on_its_way_to_a_slow_follower_and_to_no_other() {
    let mut solo = Solo::leader(3, 1, Limits { window: 10_000, chunk: 2000, ..Limits::default() });
    let mut slow = 0;
    for round in 1..=50 {
        solo.core.propose(big(936)).unwrap();
        slow += sent_to(2, &solo.say()).iter().sum::<usize>();
        slow += sent_to(2, &solo.hear(1, accepted(MINE, round))).iter().sum::<usize>();
        assert_eq!(solo.core.decided(), at(round), "the fast one goes on");
    }
    assert_eq!(slow, 10);
    let said = solo.hear(2, accepted(MINE, 4));
    assert_eq!(sent_to(2, &said), [2, 2], "what was acknowledged makes room");
}

#[test]
fn a_followers_credit_narrows_its_window() {
    let mut solo = Solo::leader(3, 1, Limits::default());
    solo.hear(2, Message::Accepted { ballot: MINE, len: at(0), missing: None, credit: 2200 });
    (0..10).for_each(|_| assert!(solo.core.propose(big(936)).is_ok()));
    let said = solo.say();
    assert_eq!(sent_to(1, &said).iter().sum::<usize>(), 10);
    assert!(sent_to(2, &said).iter().sum::<usize>() <= 10);
    (0..10).for_each(|_| assert!(solo.core.propose(big(936)).is_ok()));
    assert_eq!(sent_to(2, &solo.say()), [], "until it acknowledges");
}

#[test]
fn what_is_in_flight_is_bounded_and_refused_before_it_is_appended() {
    let mut solo = Solo::leader(3, 1, Limits { inflight: 3 * (100 + ENTRY_OVERHEAD), ..Limits::default() });
    (0..3).for_each(|_| assert!(solo.core.propose(big(100)).is_ok()));
    assert_eq!(solo.core.propose(big(0)), Err(ProposeError::Overloaded));
    assert_eq!(solo.core.len(), at(3));
    solo.say();
    solo.hear(1, accepted(MINE, 3));
    assert!(solo.core.propose(big(100_000)).is_ok(), "a single one always fits");
    assert_eq!(solo.core.propose(big(0)), Err(ProposeError::Overloaded));
    assert_eq!(Solo::new(3).core.propose(big(0)), Err(ProposeError::NotLeader));
}

#[test]
fn a_long_round_trip_repeats_no_entry() {
    // Faults 37: endless resending of what is already there. Here nothing is lost, but answers take 450 ms.
    let mut solo = Solo::leader(3, 1, Limits { announce: Duration::from_secs(60), ..Limits::default() });
    let mut total = 0;
    let mut sent = Vec::new();
    for step in 0..200u64 {
        sent.extend(sent_to(2, &solo.propose(&[step])));
        if step >= 45 {
            sent.extend(sent_to(2, &solo.hear(2, accepted(MINE, step - 44))));
        }
        total += 1;
        sent.extend(sent_to(2, &solo.wait(Duration::from_millis(10))));
    }
    assert_eq!(sent.iter().sum::<usize>(), total);
    assert!(sent.len() < total + 20, "and few probes: {}", sent.len() - total);
}

#[test]
fn a_lost_tail_is_found_by_a_probe_and_sent_once() {
    let mut solo = Solo::leader(3, 1, Limits::default());
    solo.propose(&[1, 2, 3]);
    let said = solo.wait(Limits::default().retry_min);
    assert_eq!(
        said,
        [(vec![1, 2], accept(MINE, &[1, 2, 3], 3, 0))],
        "an empty message that will be answered"
    );
    let missing = Message::Accepted { ballot: MINE, len: at(1), missing: Some(at(1)), credit: u64::MAX };
    let said = solo.hear(1, missing.clone());
    assert_eq!(said, [(vec![1], accept(MINE, &[1, 2, 3], 1, 1))]);
    assert_eq!(carried(&said[0].1), 2);
    assert!(solo.hear(1, missing).is_empty(), "the same word twice asks once");
}

#[test]
fn a_heartbeat_repairs_a_lost_tail_a_lost_sync_and_a_lost_promise() {
    let mut solo = Solo::new(3);
    solo.lead(1);
    let pause = Duration::from_millis(150);
    // The candidate's Prepare or the Promise was lost.
    solo.now += pause;
    let said = solo.observe(1, ballot(0, 1), Ballot::default(), 0);
    assert!(said.iter().any(|(to, message)| to.contains(&1) && matches!(message, Message::Prepare { .. })));
    solo.hear(1, promise(MINE, Ballot::default(), 0, 0));
    // The Sync was lost.
    solo.now += pause;
    let said = solo.observe(1, MINE, Ballot::default(), 0);
    assert!(said.contains(&(vec![1], sync(MINE, &[], 0, 0, 0))));
    solo.hear(1, accepted(MINE, 0));
    // The tail was lost.
    solo.propose(&[1]);
    assert!(solo.observe(1, MINE, MINE, 0).is_empty(), "not while it may just be on its way");
    solo.now += pause;
    let said = solo.observe(1, MINE, MINE, 0);
    assert!(said.iter().any(|(to, message)| to.contains(&1) && matches!(message, Message::Accept { .. })));
}

#[test]
fn a_followers_own_view_of_the_leaders_heartbeat_repairs_too() {
    let mut solo = Solo::follower(3, &[1, 2]);
    let one = ballot(1, 1);
    assert!(solo.observe(1, one, one, 4).is_empty(), "the tail may be on its way");
    let said = solo.observe(1, one, one, 4);
    assert!(matches!(said[..], [(_, Message::Accepted { missing: Some(missing), .. })] if missing == at(2)));
    solo.hear(2, prepare(ballot(2, 2)));
    assert!(solo.observe(2, ballot(2, 2), one, 0).is_empty());
    let said = solo.observe(2, ballot(2, 2), one, 0);
    assert_eq!(said, [(vec![2], promise(ballot(2, 2), one, 2, 0))]);
}

#[test]
fn a_link_that_takes_messages_again_is_made_good_at_once() {
    let mut solo = Solo::leader(3, 1, Limits::default());
    solo.propose(&[1, 2]);
    solo.hear(1, accepted(MINE, 2));
    solo.core.dropped(solo.now, id(2));
    let said = solo.say();
    assert!(matches!(&said[..], [(to, Message::Accept { .. })] if to == &[2]));
}

#[test]
fn a_dead_follower_costs_a_small_message_per_second() {
    let mut solo = Solo::leader(3, 1, Limits::default());
    let mut messages = 0;
    let mut entries = 0;
    for round in 1..=6000 {
        let said = solo.propose(&[round]);
        let more = solo.hear(1, accepted(MINE, round));
        let late = solo.wait(Duration::from_millis(10));
        for said in [said, more, late] {
            let sent = sent_to(2, &said);
            entries += sent.iter().sum::<usize>();
            messages += sent.iter().filter(|count| **count == 0).count();
        }
    }
    assert!(entries <= 6000, "nothing is sent twice");
    assert!(messages <= 70, "{messages} probes in a minute");
}

#[test]
fn the_log_keeps_a_tail_and_no_more() {
    let limits = Limits { tail_min: 1000, tail_lagging: 5000, ..Limits::default() };
    let mut solo = Solo::leader(3, 1, limits);
    let kept = |solo: &Solo| solo.core.applied() - solo.core.compacted();
    let weight = 36 + ENTRY_OVERHEAD;
    let mut done = 0;
    let mut run = |solo: &mut Solo, both: bool, count: u64| {
        for _ in 0..count {
            done += 1;
            solo.core.propose(big(36)).unwrap();
            solo.say();
            solo.hear(1, accepted(MINE, done));
            if both {
                solo.hear(2, accepted(MINE, done));
            }
            solo.wait(Duration::from_millis(1));
        }
        assert_eq!(solo.core.applied(), at(done));
    };
    run(&mut solo, true, 100);
    assert_eq!(kept(&solo) * weight, 1000, "a little for everybody");
    run(&mut solo, false, 30);
    assert!(kept(&solo) >= 30, "more for one that lags");
    run(&mut solo, false, 100);
    assert_eq!(kept(&solo) * weight, 5000, "within bounds");
    solo.wait(limits.patience * 2);
    run(&mut solo, false, 20);
    assert_eq!(kept(&solo) * weight, 1000, "and not for one that is silent");
}

#[test]
fn a_follower_behind_the_log_gets_a_snapshot_and_then_the_tail() {
    let limits = Limits { tail_min: 0, tail_lagging: 0, ..Limits::default() };
    let mut solo = Solo::leader(3, 1, limits);
    let frozen = |solo: &Solo| solo.other.iter().filter(|other| **other == Output::Freeze).count();
    // 2 misses everything; a new promise would be the same.
    let mut fresh = Solo::with(3, limits);
    fresh.lead(1);
    fresh.hear(1, promise(MINE, Ballot::default(), 0, 0));
    fresh.hear(1, accepted(MINE, 0));
    fresh.propose(&[1, 2, 3]);
    fresh.hear(1, accepted(MINE, 3));
    assert_eq!(fresh.core.compacted(), at(3));
    assert!(fresh.hear(2, promise(MINE, Ballot::default(), 0, 0)).is_empty());
    assert_eq!(frozen(&fresh), 1);
    let id = SnapshotId { index: at(3), digest: 5, chain: fresh.core.chain(at(3)).unwrap() };
    fresh.core.snapshot_frozen(fresh.now, id);
    let said = fresh.say();
    let [(to, Message::Sync { from, end, snapshot, entries, .. })] = &said[..] else { panic!("{said:?}") };
    assert_eq!((&to[..], *from, *end, *snapshot, entries.len()), (&[2][..], at(3), at(3), Some(id), 0));
    // The tail is held while the transfer goes on, and follows the snapshot.
    fresh.propose(&[4, 5]);
    fresh.hear(1, accepted(MINE, 5));
    assert_eq!((fresh.core.applied(), fresh.core.compacted()), (at(5), at(3)));
    for _ in 0..30 {
        fresh.wait(Duration::from_secs(1));
        fresh.hear(2, Message::Pull { ballot: MINE, from: at(3) });
    }
    assert!(fresh.other.iter().all(|other| !matches!(other, Output::Thaw { .. })), "while it is asked after");
    let said = fresh.hear(2, accepted(MINE, 3));
    assert_eq!(said, [(vec![2], accept(MINE, &[1, 2, 3, 4, 5], 3, 5))]);
    fresh.hear(2, accepted(MINE, 5));
    fresh.wait(limits.patience);
    assert!(fresh.other.contains(&Output::Thaw { snapshot: id }), "and no longer");
    assert_eq!(frozen(&fresh), 1, "no loop of snapshots");
    assert_eq!(frozen(&solo), 0);
    solo.say();
}

#[test]
fn a_snapshot_that_the_state_machine_dropped_is_replaced_by_another() {
    let limits = Limits { tail_min: 0, tail_lagging: 0, ..Limits::default() };
    let mut solo = Solo::with(3, limits);
    solo.lead(1);
    solo.hear(1, promise(MINE, Ballot::default(), 0, 0));
    solo.propose(&[1, 2, 3]);
    solo.hear(1, accepted(MINE, 3));
    solo.hear(2, promise(MINE, Ballot::default(), 0, 0));
    let id = SnapshotId { index: at(3), digest: 5, chain: solo.core.chain(at(3)).unwrap() };
    solo.core.snapshot_frozen(solo.now, id);
    solo.say();
    solo.propose(&[4]);
    solo.hear(1, accepted(MINE, 4));
    solo.other.clear();
    solo.core.snapshot_dropped(solo.now, SnapshotId { digest: 6, ..id });
    solo.say();
    assert!(solo.other.is_empty(), "another one");
    solo.core.snapshot_dropped(solo.now, id);
    solo.say();
    assert_eq!(solo.other, [Output::Thaw { snapshot: id }]);
    solo.hear(2, Message::Pull { ballot: MINE, from: at(3) });
    assert_eq!(solo.other, [Output::Thaw { snapshot: id }, Output::Freeze]);
    let newer = SnapshotId { index: at(4), digest: 7, chain: solo.core.chain(at(4)).unwrap() };
    solo.core.snapshot_frozen(solo.now, newer);
    let said = solo.say();
    assert!(matches!(&said[..], [(_, Message::Sync { snapshot: Some(offered), .. })] if *offered == newer));
}

#[test]
fn a_transfer_under_way_is_not_cut_short_by_the_next_laggard() {
    let limits = Limits { tail_min: 0, tail_lagging: 0, ..Limits::default() };
    let mut solo = Solo::with(5, limits);
    solo.lead(1);
    solo.hear(1, promise(MINE, Ballot::default(), 0, 0));
    solo.hear(2, promise(MINE, Ballot::default(), 0, 0));
    let decide = |solo: &mut Solo, values: &[u64]| {
        solo.propose(values);
        let len = solo.core.len().0;
        solo.hear(1, accepted(MINE, len));
        solo.hear(2, accepted(MINE, len));
    };
    decide(&mut solo, &[1, 2, 3]);
    solo.hear(3, promise(MINE, Ballot::default(), 0, 0));
    let id = SnapshotId { index: at(3), digest: 5, chain: solo.core.chain(at(3)).unwrap() };
    solo.core.snapshot_frozen(solo.now, id);
    solo.say();
    solo.other.clear();
    decide(&mut solo, &[4]);
    let said = solo.hear(4, promise(MINE, Ballot::default(), 0, 0));
    assert!(
        matches!(&said[..], [(_, Message::Sync { snapshot: Some(same), .. })] if *same == id),
        "it is shared"
    );
    assert!(solo.other.is_empty());
}

#[test]
fn a_state_behind_the_stop_sign_is_not_offered() {
    let limits = Limits { tail_min: 0, tail_lagging: 0, ..Limits::default() };
    let mut solo = Solo::with(3, limits);
    solo.lead(1);
    solo.hear(1, promise(MINE, Ballot::default(), 0, 0));
    solo.core.propose(entry(1)).unwrap();
    solo.core.propose(Entry { kind: EntryKind::StopSign, body: Bytes::new() }).unwrap();
    solo.say();
    solo.hear(1, accepted(MINE, 2));
    assert_eq!(solo.core.compacted(), at(2));
    solo.hear(2, promise(MINE, Ballot::default(), 0, 0));
    assert!(!solo.other.contains(&Output::Freeze), "its receiver would not know that the view has ended");
    assert!(solo.core.stopped());
}

#[test]
fn strangers_and_nonsense_are_counted_and_change_nothing() {
    let mut solo = Solo::follower(3, &[1]);
    let stranger = haystack_wire::ids::NodeId([99; 16]);
    solo.core.handle_message(solo.now, stranger, prepare(Ballot { n: 9, priority: 0, node: stranger }));
    solo.hear(1, accept(ballot(7, 1), &[1, 2], 1, 2));
    solo.hear(2, accept(ballot(1, 1), &[1, 2], 1, 2));
    solo.hear(1, accepted(ballot(1, 0), 9));
    solo.hear(1, promise(ballot(1, 0), Ballot::default(), 0, 0));
    let counters = solo.core.counters();
    assert_eq!((counters.drop_stranger, counters.drop_unpromised, counters.drop_misrouted), (1, 1, 1));
    assert_eq!(counters.drop_not_leading, 2);
    assert_eq!((solo.core.len(), solo.core.promised()), (at(1), ballot(1, 1)));
}

#[test]
fn a_nack_alone_makes_nobody_a_candidate_and_only_a_higher_one_deposes() {
    let mut solo = Solo::leader(3, 5, Limits::default());
    solo.hear(1, Message::Nack { promised: ballot(4, 1) });
    solo.hear(1, Message::Nack { promised: ballot(5, 0) });
    assert_eq!(solo.core.role(), Role::Leader { ballot: ballot(5, 0), ready: true });
    assert!(solo.hear(1, Message::Nack { promised: ballot(6, 1) }).is_empty());
    assert_eq!(solo.core.role(), Role::Follower { leader: ballot(5, 0) });
    assert!(solo.wait(Duration::from_secs(10)).is_empty());
}

#[test]
fn tiny_limits_hold_together() {
    let limits = tiny();
    assert!(limits.stage > limits.tail_transfer + limits.inflight);
    let limits = Limits::default();
    assert!(limits.stage > limits.tail_transfer + limits.inflight + limits.chunk);
    assert!(limits.gap >= limits.window, "everything on its way can wait behind a gap");
}

#[test]
fn a_leader_progresses_unless_what_it_sent_waits_for_an_election_timeout() {
    let mut solo = Solo::leader(3, 1, Limits::default());
    let stall = Limits::default().stall;
    solo.wait(stall * 10);
    assert!(solo.core.progressing(solo.now), "nothing waits");
    solo.core.propose(entry(1)).unwrap();
    assert!(solo.core.progressing(solo.now), "nothing that was sent waits");
    solo.say();
    solo.wait(stall / 2);
    assert!(solo.core.progressing(solo.now));
    solo.propose(&[2]);
    solo.wait(stall / 2);
    assert!(!solo.core.progressing(solo.now), "what is sent later gives no respite");
    solo.hear(1, accepted(MINE, 1));
    assert!(solo.core.progressing(solo.now));
    solo.wait(stall);
    assert!(!solo.core.progressing(solo.now));
    assert!(!Solo::follower(3, &[]).core.progressing(solo.now));
}
