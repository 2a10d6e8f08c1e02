//! Directed schedules, by number of the rule that they hold.

use haystack_wire::ids::Ballot;
use haystack_wire::message::broadcast::BroadcastMessage as Message;

use super::super::{Limits, Output, Role};
use super::net::{ballot, entry, id, tiny};
use super::solo::{
    Said, Solo, accept, accepted, at, carried, chain_of, prepare, promise, sync, sync_on_snapshot,
};

const NEVER: Ballot = Ballot { n: 0, priority: 0, node: haystack_wire::ids::NodeId([0; 16]) };

#[test]
fn rule_1_promises_grow_and_the_same_ballot_is_answered_alike() {
    let mut solo = Solo::follower(3, &[10, 11]);
    let (high, low) = (ballot(5, 2), ballot(4, 1));
    let first = solo.hear(2, prepare(high));
    assert_eq!(first, [(vec![2], promise(high, ballot(1, 1), 2, 0))]);
    assert_eq!(solo.hear(2, prepare(high)), first, "again, alike");
    assert_eq!(solo.hear(1, prepare(low)), [(vec![1], Message::Nack { promised: high })]);
    assert_eq!(solo.core.promised(), high);
    assert!(solo.hear(1, prepare(ballot(9, 2))).is_empty(), "nobody asks in another's name");
    assert_eq!(solo.core.promised(), high);
}

#[test]
fn rule_1_a_candidate_promises_itself_first() {
    let mut solo = Solo::new(3);
    solo.lead(3);
    assert_eq!(solo.core.promised(), ballot(3, 0));
    assert_eq!(solo.hear(1, prepare(ballot(2, 1))), [(vec![1], Message::Nack { promised: ballot(3, 0) })]);
    assert_eq!(solo.core.role(), Role::Leader { ballot: ballot(3, 0), ready: false });
    solo.hear(1, prepare(ballot(4, 1)));
    assert_eq!(solo.core.role(), Role::Follower { leader: ballot(4, 1) });
}

#[test]
fn rule_1_a_late_prepare_resets_nothing() {
    // Faults 8: a stale promise record after a repeated Prepare.
    let mut solo = Solo::follower(3, &[10, 11]);
    assert_eq!(solo.hear(1, prepare(ballot(1, 1))).len(), 1);
    let said = solo.hear(1, prepare(ballot(1, 1)));
    assert!(matches!(&said[..], [(to, Message::Accepted { len, .. })] if to == &[1] && *len == at(2)));
    let mut leader = Solo::leader(3, 1, Limits::default());
    leader.propose(&[1, 2]);
    leader.hear(1, accepted(ballot(1, 0), 2));
    assert!(leader.hear(1, promise(ballot(1, 0), NEVER, 0, 0)).is_empty(), "a late Promise neither");
    assert_eq!(leader.core.decided(), at(2));
}

#[test]
fn rule_2_the_greatest_round_is_adopted_before_the_greatest_length() {
    let mut solo = Solo::new(5);
    solo.lead(9);
    solo.hear(1, promise(ballot(9, 0), ballot(2, 1), 7, 0));
    let said = solo.hear(2, promise(ballot(9, 0), ballot(3, 2), 2, 0));
    assert_eq!(said, [(vec![2], Message::Pull { ballot: ballot(9, 0), from: at(0) })]);
}

#[test]
fn rule_2_an_adoption_is_staged() {
    let mut solo = Solo::follower(3, &[1, 2, 3]);
    solo.lead(9);
    let log = [1, 20, 30, 40];
    let said = solo.hear(2, promise(ballot(9, 0), ballot(3, 2), 4, 0));
    assert_eq!(said, [(vec![2], Message::Pull { ballot: ballot(9, 0), from: at(0) })]);
    let reply = |from: usize, to: usize| Message::PullReply {
        ballot: ballot(9, 0),
        from: at(from as u64),
        snapshot: None,
        chain: chain_of(&log[..from]),
        entries: log[from..to].iter().map(|value| entry(*value)).collect(),
    };
    assert!(solo.hear(1, reply(0, 4)).is_empty(), "entries come from one promiser");
    assert!(solo.hear(2, reply(2, 4)).is_empty(), "and without a hole");
    let said = solo.hear(2, reply(0, 2));
    assert_eq!(said, [(vec![2], Message::Pull { ballot: ballot(9, 0), from: at(2) })]);
    assert_eq!(solo.core.accepted_round(), ballot(1, 1));
    assert_eq!(solo.core.chain(at(3)), Some(chain_of(&[1, 2, 3])), "the own log is as it was promised");
    solo.hear(2, reply(0, 2));
    solo.hear(2, reply(2, 4));
    assert_eq!(solo.core.role(), Role::Leader { ballot: ballot(9, 0), ready: true });
    assert_eq!(solo.core.chain(at(4)), Some(chain_of(&log)));
    assert_eq!((solo.core.accepted_round(), solo.core.read_floor()), (ballot(9, 0), Some(at(4))));
}

#[test]
fn rule_2_a_stalled_source_no_longer_counts() {
    let mut solo = Solo::new(5);
    solo.lead(9);
    solo.hear(1, promise(ballot(9, 0), ballot(3, 1), 4, 0));
    solo.hear(2, promise(ballot(9, 0), ballot(2, 2), 4, 0));
    let stall = Limits::default().stall;
    let said = solo.wait(stall);
    assert_eq!(solo.core.counters().promises_disregarded, 1);
    assert!(
        !said.iter().any(|(to, message)| to.contains(&2) && matches!(message, Message::Pull { .. })),
        "the next best log is not taken: with the lost promise gone there is no majority"
    );
    // Another promise in the same ballot makes one again.
    let said = solo.hear(3, promise(ballot(9, 0), ballot(2, 2), 5, 0));
    assert_eq!(said, [(vec![3], Message::Pull { ballot: ballot(9, 0), from: at(0) })]);
    // If that source stalls too, and nobody else promises, it is over.
    solo.wait(stall * 2);
    assert_eq!(solo.core.role(), Role::Follower { leader: ballot(9, 0) });
}

#[test]
fn rule_2_a_promise_of_the_disregarded_source_counts_when_it_comes_again() {
    let mut solo = Solo::new(3);
    solo.lead(9);
    solo.hear(1, promise(ballot(9, 0), ballot(3, 1), 4, 0));
    let said = solo.wait(Limits::default().stall);
    assert!(said.iter().any(|(to, message)| to.contains(&1) && matches!(message, Message::Prepare { .. })));
    let said = solo.hear(1, promise(ballot(9, 0), ballot(3, 1), 4, 0));
    assert_eq!(said, [(vec![1], Message::Pull { ballot: ballot(9, 0), from: at(0) })]);
}

#[test]
fn rule_2_a_pull_is_answered_only_by_the_promised_log() {
    let log = [1, 2, 3];
    let mut solo = Solo::follower(3, &log);
    let pull = |ballot| Message::Pull { ballot, from: at(1) };
    assert_eq!(solo.hear(1, pull(ballot(1, 1))), [(vec![1], Message::Nack { promised: ballot(1, 1) })]);
    assert_eq!(solo.hear(2, pull(ballot(5, 2))), [(vec![2], Message::Nack { promised: ballot(1, 1) })]);
    solo.hear(2, prepare(ballot(5, 2)));
    let said = solo.hear(2, pull(ballot(5, 2)));
    assert_eq!(carried(&said[0].1), 2);
    solo.hear(1, prepare(ballot(6, 1)));
    assert_eq!(solo.hear(2, pull(ballot(5, 2))), [(vec![2], Message::Nack { promised: ballot(6, 1) })]);
}

#[test]
fn rule_3_a_sync_starts_where_the_logs_may_differ() {
    let start = |round: Ballot, len, decided| {
        let mut solo = Solo::follower(5, &[1, 2, 3, 4]);
        solo.lead(9);
        solo.hear(1, promise(ballot(9, 0), NEVER, 0, 0));
        solo.hear(2, promise(ballot(9, 0), NEVER, 0, 0));
        let said = solo.hear(3, promise(ballot(9, 0), round, len, decided));
        match &said[..] {
            [(_, Message::Sync { from, end, .. })] => {
                assert_eq!(*end, at(4));
                from.0
            }
            _ => panic!("{said:?}"),
        }
    };
    assert_eq!(start(ballot(1, 1), 2, 1), 2, "the same round, shorter: from its end");
    assert_eq!(start(ballot(1, 1), 9, 1), 4, "the same round, longer: from the end of the adopted log");
    assert_eq!(start(ballot(0, 3), 4, 1), 1, "another round: from what is decided");
    assert_eq!(start(ballot(2, 1), 9, 1), 1, "a later round that was not adopted: the same");
}

#[test]
fn rule_3_a_leader_that_sees_more_decided_than_it_has_steps_down() {
    let mut solo = Solo::leader(5, 3, Limits::default());
    let mut fresh = Solo::new(5);
    fresh.lead(3);
    fresh.hear(1, promise(ballot(3, 0), NEVER, 0, 0));
    fresh.hear(2, promise(ballot(3, 0), NEVER, 0, 0));
    assert_eq!(fresh.core.role(), solo.core.role());
    fresh.hear(3, promise(ballot(3, 0), NEVER, 2, 2));
    assert_eq!(fresh.core.role(), Role::Follower { leader: ballot(3, 0) });
    solo.hear(1, promise(ballot(3, 0), NEVER, 2, 2));
    assert_eq!(
        solo.core.role(),
        Role::Leader { ballot: ballot(3, 0), ready: true },
        "a late one changes nothing"
    );
}

#[test]
fn rule_4_a_sync_is_taken_whole_or_not_at_all() {
    let mut solo = Solo::follower(3, &[1, 2, 3]);
    let (log, two) = ([1, 20, 30, 40, 50], ballot(2, 2));
    assert!(solo.hear(2, sync(two, &log, 0, 0, 5)).is_empty(), "it was not promised");
    solo.hear(2, prepare(two));
    let said = solo.hear(2, sync(two, &log, 0, 0, 2));
    assert_eq!(said, [(vec![2], Message::Pull { ballot: two, from: at(2) })], "how much is staged");
    let said = solo.hear(2, sync(two, &log, 0, 4, 5));
    assert_eq!(said, [(vec![2], Message::Pull { ballot: two, from: at(2) })], "a hole is not staged");
    assert_eq!(solo.core.accepted_round(), ballot(1, 1));
    assert_eq!(solo.core.chain(at(3)), Some(chain_of(&[1, 2, 3])));
    solo.hear(2, sync(two, &log, 0, 1, 3));
    let said = solo.hear(2, sync(two, &log, 0, 3, 5));
    assert!(matches!(said[..], [(_, Message::Accepted { ballot, len, missing: None, .. })]
        if ballot == two && len == at(5)));
    assert_eq!((solo.core.accepted_round(), solo.core.chain(at(5))), (two, Some(chain_of(&log))));
}

#[test]
fn rule_4_a_late_word_of_an_earlier_sync_does_not_hold_up_the_present_one() {
    let first = |said: &Said| match said[..] {
        [(ref to, Message::Sync { first, .. })] if to[..] == [2] => first.0,
        _ => panic!("{said:?}"),
    };
    let mut solo = Solo::follower(3, &[1, 2, 3, 4]);
    solo.lead(9);
    solo.hear(1, promise(ballot(9, 0), ballot(1, 1), 4, 0));
    let said = solo.hear(2, promise(ballot(9, 0), NEVER, 0, 0));
    assert_eq!(first(&said), 0);
    solo.hear(1, accepted(ballot(9, 0), 4));
    // Said when more was staged, of a Sync that another one has replaced since.
    solo.hear(2, Message::Pull { ballot: ballot(9, 0), from: at(3) });
    let probe: Said = solo
        .wait(Limits::default().retry_min * 2)
        .into_iter()
        .filter(|(to, _)| to.contains(&2))
        .take(1)
        .collect();
    assert_eq!(first(&probe), 3);
    let said = solo.hear(2, Message::Pull { ballot: ballot(9, 0), from: at(0) });
    assert_eq!(first(&said), 0, "the answer to the probe is believed");
}

#[test]
fn rule_4_within_a_round_a_sync_only_extends() {
    let (log, one) = ([1, 2, 3, 4], ballot(1, 1));
    let mut solo = Solo::follower(3, &log);
    for (base, first, last) in [(0, 0, 2), (1, 1, 1), (0, 0, 4), (2, 3, 4)] {
        let said = solo.hear(1, sync(one, &log, base, first, last));
        assert!(matches!(said[..], [(_, Message::Accepted { len, .. })] if len == at(4)));
    }
    let (_, message) = sync_on_snapshot(one, &log, 3);
    solo.hear(1, message);
    assert_eq!(solo.core.chain(at(4)), Some(chain_of(&log)));
    assert!(
        solo.other.iter().all(|output| !matches!(output, Output::Fetch { .. })),
        "a snapshot of what is there"
    );
    solo.hear(1, sync(one, &[1, 2, 3, 4, 5], 2, 2, 5));
    assert_eq!(solo.core.len(), at(5));
}

#[test]
fn rule_4_what_is_staged_dies_with_the_promise_but_a_fetched_snapshot_stays() {
    let mut solo = Solo::follower(3, &[1]);
    let log = [1, 2, 3, 4, 5, 6];
    solo.hear(2, prepare(ballot(2, 2)));
    let node = id(2);
    let (id, message) = sync_on_snapshot(ballot(2, 2), &log, 4);
    solo.hear(2, message);
    assert!(solo.other.contains(&Output::Fetch { from: node, snapshot: id }));
    solo.hear(1, prepare(ballot(3, 1)));
    solo.other.clear();
    solo.core.snapshot_fetched(solo.now, id);
    assert_eq!(solo.say(), []);
    assert_eq!(
        (solo.core.len(), solo.core.accepted_round()),
        (at(1), ballot(1, 1)),
        "no other way than a Sync"
    );
    let (_, message) = sync_on_snapshot(ballot(3, 1), &log, 4);
    let said = solo.hear(1, message);
    assert!(matches!(said[..], [(_, Message::Accepted { len, .. })] if len == at(6)));
    assert!(solo.other.contains(&Output::Install { snapshot: id }));
    assert!(solo.other.iter().all(|output| !matches!(output, Output::Fetch { .. })), "it was at hand");
    assert_eq!((solo.core.applied(), solo.core.decided(), solo.core.compacted()), (at(4), at(4), at(4)));
    solo.core.snapshot_fetched(solo.now, id);
    assert_eq!(solo.core.counters().drop_repeated, 1, "faults 15: the same snapshot twice");
}

#[test]
fn rule_4_a_sync_below_what_is_decided_is_refused() {
    let (log, two) = ([1, 2, 3, 4], ballot(2, 2));
    let mut solo = Solo::follower(3, &log[..3]);
    solo.hear(1, accept(ballot(1, 1), &log[..3], 3, 3));
    assert_eq!(solo.core.decided(), at(3));
    solo.hear(2, prepare(two));
    assert!(solo.hear(2, sync(two, &log, 1, 1, 4)).is_empty());
    assert!(solo.hear(2, sync_on_snapshot(two, &log, 3).1).is_empty(), "a snapshot that is no newer");
    assert_eq!(solo.core.counters().drop_sync_below_decided, 2);
    solo.hear(2, sync(two, &log, 3, 3, 4));
    assert_eq!(solo.core.accepted_round(), two);
}

#[test]
fn rule_4_a_snapshot_that_was_lost_is_asked_for_again() {
    let mut solo = Solo::follower(3, &[1]);
    solo.hear(2, prepare(ballot(2, 2)));
    let (id, message) = sync_on_snapshot(ballot(2, 2), &[1, 2, 3], 2);
    let fetches =
        |solo: &Solo| solo.other.iter().filter(|other| matches!(other, Output::Fetch { .. })).count();
    solo.hear(2, message.clone());
    solo.hear(2, message.clone());
    assert_eq!(fetches(&solo), 1);
    solo.core.snapshot_lost(solo.now, id);
    solo.hear(2, message);
    assert_eq!(fetches(&solo), 2);
    solo.core.snapshot_fetched(solo.now, id);
    solo.say();
    assert_eq!(solo.core.len(), at(3));
}

#[test]
fn rule_5_a_gap_is_buffered_asked_for_and_filled() {
    let (log, one) = ([1, 2, 3, 4, 5, 6], ballot(1, 1));
    let mut solo = Solo::follower(3, &log[..1]);
    let asks = |said: Said| match said[..] {
        [(_, Message::Accepted { len, missing, .. })] => (len.0, missing.map(|missing| missing.0)),
        _ => panic!("{said:?}"),
    };
    assert_eq!(
        asks(solo.hear(1, accept(one, &log[..4], 3, 4))),
        (1, Some(1)),
        "never across the gap (rule 6)"
    );
    assert_eq!(asks(solo.hear(1, accept(one, &log, 5, 4))), (1, Some(1)));
    assert_eq!(solo.core.decided(), at(1), "and decided only as far as the log goes (rule 7)");
    assert_eq!(asks(solo.hear(1, accept(one, &log[..3], 1, 4))), (4, Some(4)));
    assert_eq!(asks(solo.hear(1, accept(one, &log[..5], 2, 4))), (6, None));
    assert_eq!(solo.core.chain(at(6)), Some(chain_of(&log)));
    assert_eq!(solo.core.decided(), at(4));
}

#[test]
fn rule_5_the_gap_buffer_is_bounded_and_keeps_what_is_near() {
    let log: Vec<u64> = (0..40).collect();
    let mut solo = Solo::with(3, tiny());
    solo.follows(ballot(1, 1), &log[..1]);
    let mut credits = Vec::new();
    for index in (2..40).rev() {
        let said = solo.hear(1, accept(ballot(1, 1), &log[..=index], index, 0));
        let [(_, Message::Accepted { credit, .. })] = said[..] else { panic!("{said:?}") };
        credits.push(credit);
    }
    assert!(solo.core.counters().drop_gap_full == 0, "the far ones make room for the near ones");
    assert!(credits.iter().any(|credit| *credit < tiny().gap / 4));
    solo.hear(1, accept(ballot(1, 1), &log[..2], 1, 0));
    assert!(solo.core.len() > at(4), "the near ones are there");
    let len = solo.core.len().0 as usize;
    solo.hear(1, accept(ballot(1, 1), &log, len, 0));
    assert_eq!(solo.core.chain(at(40)), Some(chain_of(&log)));
}

#[test]
fn rule_5_an_overlap_never_truncates() {
    let (log, one) = ([1, 2, 3, 4], ballot(1, 1));
    let mut solo = Solo::follower(3, &log);
    for (first, last) in [(0, 2), (1, 4), (3, 4), (0, 0)] {
        let said = solo.hear(1, accept(one, &log[..last], first, 0));
        assert!(matches!(said[..], [(_, Message::Accepted { len, missing: None, .. })] if len == at(4)));
    }
    assert_eq!(solo.core.chain(at(4)), Some(chain_of(&log)));
}

#[test]
#[should_panic(expected = "two logs of one ballot differ below 3")]
fn rule_5_an_overlap_that_differs_is_a_bug_and_ends_the_process() {
    let mut solo = Solo::follower(3, &[1, 2, 3, 4]);
    solo.hear(1, accept(ballot(1, 1), &[1, 2, 9], 2, 0));
}

#[test]
fn rule_5_an_accept_before_the_sync_is_whole_is_not_taken() {
    let (log, two) = ([1, 20, 30], ballot(2, 2));
    let mut solo = Solo::follower(3, &[1, 2, 3]);
    solo.hear(2, prepare(two));
    assert!(solo.hear(2, accept(two, &log, 2, 3)).is_empty());
    assert_eq!((solo.core.decided(), solo.core.accepted_round()), (at(0), ballot(1, 1)), "rule 7");
    assert_eq!(solo.core.counters().drop_unsynced, 1);
}
