//! Directed schedules for the rules from acknowledging on, 6 to 10, by number.

use std::time::Duration;

use bytes::Bytes;
use haystack_wire::ids::Ballot;
use haystack_wire::message::broadcast::{BroadcastMessage as Message, Entry, EntryKind};

use super::super::{Limits, ProposeError, Role};
use super::net::{Net, ballot, entry, id, tiny};
use super::solo::{Said, Solo, accept, accepted, at, prepare, promise, sync};
use crate::mutation::Mutations;

const NEVER: Ballot = Ballot { n: 0, priority: 0, node: haystack_wire::ids::NodeId([0; 16]) };

#[test]
fn rule_6_one_cumulative_acknowledgement_per_turn() {
    let (log, one) = ([1, 2, 3, 4], ballot(1, 1));
    let mut solo = Solo::follower(3, &log[..1]);
    for index in 1..4 {
        let from = id(1);
        solo.core.handle_message(solo.now, from, accept(one, &log[..=index], index, 0));
    }
    let said = solo.say();
    assert!(matches!(said[..], [(_, Message::Accepted { len, .. })] if len == at(4)));
    assert!(solo.say().is_empty(), "an idle turn says nothing");
}

#[test]
fn rule_6_a_heartbeat_never_acknowledges() {
    let mut solo = Solo::leader(3, 1, Limits::default());
    let mine = ballot(1, 0);
    solo.propose(&[1, 2]);
    for _ in 0..5 {
        solo.wait(Duration::from_millis(100));
        solo.observe(1, mine, mine, 2);
        solo.observe(2, mine, mine, 2);
    }
    assert_eq!(solo.core.decided(), at(0));
    solo.hear(1, accepted(mine, 2));
    assert_eq!(solo.core.decided(), at(2));
}

/// Five replicas. 0 leads, and 1's acknowledgement of three entries is late. 2 leads, and the entries are replaced on
/// 1. 0 leads again, with as many entries. The old acknowledgement arrives.
fn an_old_acknowledgement_arrives(mutations: Mutations) -> Net {
    let mut net = Net::new(1, 5, tiny(), mutations);
    let settle = Duration::from_millis(500);
    net.lead(0);
    net.run_for(settle);
    net.cut = (0..5).map(|from| (0..5).map(|to| from.max(to) > 1).collect()).collect();
    net.hold = Some(|message| matches!(message, Message::Accepted { len, .. } if len.0 == 3));
    (1..=3).for_each(|value| assert!(net.propose(0, value)));
    net.run_for(settle);
    let old = net.held.pop().expect("an acknowledgement of three entries");
    assert_eq!((old.0, old.1), (1, 0));
    // 2, 3 and 4 decide something else, and tell 0 and 1.
    net.cut = (0..5).map(|from| (0..5).map(|to| from.min(to) < 2).collect()).collect();
    net.lead(2);
    net.run_for(settle);
    assert!(net.propose(2, 4));
    net.run_for(settle);
    net.cut = vec![vec![false; 5]; 5];
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.core(1).len(), at(1));
    // 0 leads again with a majority, but only 3 takes its new entries.
    net.held.clear();
    net.hold = None;
    net.lead(0);
    net.run_for(settle);
    net.cut = (0..5)
        .map(|from| (0..5).map(|to| ![0, 3].contains(&from) || ![0, 3].contains(&to)).collect())
        .collect();
    (5..=6).for_each(|value| assert!(net.propose(0, value)));
    net.run_for(settle);
    net.deliver(old.0, old.1, old.2);
    net.run_for(settle);
    // Those who never saw the new entries go on without them.
    net.cut = (0..5)
        .map(|from| (0..5).map(|to| [0, 3].contains(&from) || [0, 3].contains(&to)).collect())
        .collect();
    net.lead(1);
    net.run_for(settle);
    assert!(net.propose(1, 7));
    net.run_for(settle);
    net
}

#[test]
fn rule_6_an_acknowledgement_counts_in_its_own_ballot_only() {
    let net = an_old_acknowledgement_arrives(Mutations::none());
    assert_eq!(net.canonical, [4, 7]);
    assert_eq!(net.core(0).counters().drop_not_leading, 1);
}

#[cfg(feature = "mutations")]
#[test]
#[should_panic(expected = "agreement at index 1")]
fn rule_6_without_the_ballot_check_a_decided_entry_is_lost() {
    an_old_acknowledgement_arrives(Mutations::only(crate::mutation::Mutation::AckWithoutBallot));
}

#[test]
fn rule_7_decided_is_what_a_majority_has_in_this_ballot() {
    let mut solo = Solo::leader(5, 1, Limits::default());
    solo.propose(&[1, 2, 3]);
    let mut after = |from, len| {
        solo.hear(from, accepted(ballot(1, 0), len));
        solo.core.decided().0
    };
    assert_eq!(after(1, 3), 0);
    assert_eq!(after(1, 3), 0, "one replica counts once");
    assert_eq!(after(2, 1), 1);
    assert_eq!(after(3, 2), 2);
    assert_eq!(after(2, 0), 2, "acknowledgements are cumulative: an older one takes nothing back");
    assert_eq!(after(4, 3), 3);
}

#[test]
fn rule_7_entries_of_earlier_rounds_are_decided_by_this_ballots_acknowledgements() {
    // Faults 1: an old entry is not decided by being on a majority, but by this ballot's acknowledgements.
    let mut solo = Solo::follower(3, &[1, 2]);
    solo.lead(5);
    solo.hear(1, promise(ballot(5, 0), ballot(1, 1), 2, 0));
    assert_eq!((solo.core.decided(), solo.core.read_floor()), (at(0), Some(at(2))));
    solo.hear(1, accepted(ballot(5, 0), 2));
    assert_eq!(solo.core.decided(), at(2));
}

#[test]
fn rule_8_a_ballot_is_led_once_and_by_its_owner() {
    let mut solo = Solo::leader(3, 4, Limits::default());
    solo.core.step_down(solo.now);
    for n in [4, 3] {
        solo.lead(n);
        assert_eq!(solo.core.role(), Role::Follower { leader: ballot(4, 0) });
    }
    solo.core.lead(solo.now, ballot(9, 1));
    assert_eq!(solo.core.promised(), ballot(4, 0));
    solo.lead(5);
    assert_eq!(solo.core.role(), Role::Leader { ballot: ballot(5, 0), ready: false });
}

#[test]
fn rule_9_nothing_follows_a_stop_sign() {
    let stop = || Entry { kind: EntryKind::StopSign, body: Bytes::from_static(b"stop") };
    let mut solo = Solo::leader(3, 1, Limits::default());
    solo.core.propose(entry(1)).unwrap();
    assert_eq!(solo.core.propose(stop()), Ok(at(1)));
    assert_eq!(solo.core.propose(entry(2)), Err(ProposeError::Stopped));
    assert_eq!(solo.core.propose(stop()), Err(ProposeError::Stopped));
    assert!(solo.core.stopped());
    // A leader that adopts a log that ends in one stops too.
    let mut heir = Solo::new(3);
    heir.hear(1, prepare(ballot(1, 1)));
    let Message::Sync { ballot: one, from, snapshot, first, chain, decided, .. } =
        sync(ballot(1, 1), &[], 0, 0, 0)
    else {
        unreachable!("a Sync was asked for")
    };
    let entries = vec![stop()];
    heir.hear(1, Message::Sync { ballot: one, from, end: at(1), snapshot, first, chain, entries, decided });
    heir.lead(2);
    heir.hear(1, promise(ballot(2, 0), NEVER, 0, 0));
    assert_eq!(heir.core.role(), Role::Leader { ballot: ballot(2, 0), ready: true });
    assert_eq!(heir.core.propose(entry(2)), Err(ProposeError::Stopped));
}

#[test]
fn rule_9_a_decided_stop_sign_is_told_until_it_is_known() {
    // Faults 7: the stop-sign's decide was lost and never sent again.
    let mut solo = Solo::leader(3, 1, Limits::default());
    let mine = ballot(1, 0);
    solo.core.propose(Entry { kind: EntryKind::StopSign, body: Bytes::new() }).unwrap();
    solo.say();
    solo.hear(1, accepted(mine, 1));
    solo.hear(2, accepted(mine, 1));
    solo.wait(Duration::from_secs(1));
    let tells = |said: &Said| {
        said.iter().any(|(to, message)| {
            to.contains(&2) && matches!(message, Message::Accept { decided, .. } if *decided == at(1))
        })
    };
    for _ in 0..3 {
        let said = solo.observe(2, mine, mine, 1);
        assert!(tells(&said), "a follower that has it and does not know it is decided is told");
        solo.hear(2, accepted(mine, 1));
        assert!(solo.wait(Duration::from_secs(1)).is_empty());
    }
}

#[test]
fn rule_10_messages_are_bounded_unless_they_carry_one_entry() {
    let limits = Limits::default();
    let mut solo = Solo::leader(3, 1, limits);
    let sizes = [10, 400_000, 10, 200_000, 50_000, 100_000, 10, 300_000, 300_000];
    for size in sizes {
        let body = Bytes::from(vec![0; size]);
        solo.core.propose(Entry { kind: EntryKind::Command, body }).unwrap();
    }
    let said = solo.say();
    let mut counts = Vec::new();
    for (to, message) in said {
        let Message::Accept { entries, .. } = message else { panic!("an Accept") };
        assert_eq!(to, [1, 2], "one message for both");
        let bytes: usize = entries.iter().map(|entry| entry.body.len()).sum();
        assert!(entries.len() == 1 || bytes <= 256 << 10);
        counts.push(entries.len());
    }
    assert_eq!(counts, [1, 1, 3, 2, 1, 1], "and holds as much as fits");
}
