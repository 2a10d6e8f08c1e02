//! Single rules, by hand-made messages.

use haystack_wire::ids::{Ballot, LogIndex, NodeId};
use haystack_wire::message::election::{Heartbeat, HeartbeatAck, HeartbeatBody};
use haystack_wire::rng::Rng;
use haystack_wire::time::Duration;

use super::bench::{Bench, ack, ballot};
use super::world::{ROUND, ms, node};
use crate::election::{N_LIMIT, Output};

#[test]
fn an_answer_says_how_things_stand_at_that_moment() {
    let mut bench = Bench::new(3).follows(3, 1);
    let answer = bench.answer_to(2, ballot(4, 2));
    let state = bench.state;
    assert_eq!((answer.nonce, answer.promised, answer.leader), (99, state.promised, ballot(4, 2)));
    assert_eq!(
        (answer.len, answer.decided, answer.accepted_round),
        (state.len, state.decided, Ballot::default())
    );
    assert!(!answer.happy && !answer.quorum_connected);
    bench.ack(1, ballot(3, 1), true);
    let answer = bench.answer_to(2, Ballot::default());
    assert!(answer.happy && answer.quorum_connected, "good news are told at once");
}

#[test]
fn a_follower_is_happy_only_with_a_leader_that_still_leads_it_and_says_so() {
    for (promised, happy, expected) in
        [(ballot(3, 1), true, true), (ballot(3, 1), false, false), (ballot(4, 2), true, false)]
    {
        let mut bench = Bench::new(3).follows(3, 1);
        bench.ack(1, promised, happy);
        assert_eq!(bench.election.leader().is_some(), expected);
    }
    let mut bench = Bench::new(3).follows(3, 1);
    bench.ack(2, ballot(3, 1), true);
    assert_eq!(bench.election.leader(), None, "another follower's happiness is not the leader's");
}

#[test]
fn nobody_takes_over_while_a_neighbour_is_happy() {
    let mut bench = Bench::new(3).follows(3, 1);
    for _ in 0..20 {
        bench.ack(2, ballot(3, 1), true);
        bench.end_round();
    }
    assert!(bench.led().is_empty());
}

#[test]
fn two_rounds_of_unhappiness_lead_to_a_takeover_above_all_that_was_seen() {
    let mut bench = Bench::new(3).follows(3, 1);
    let mut seen = ack(bench.nonce(), ballot(3, 1), false);
    seen.leader = ballot(9, 1);
    bench.handle(2, HeartbeatBody::Answer(seen));
    let learned = bench.now;
    for _ in 0..5 {
        bench.ack(2, ballot(3, 1), false);
        bench.end_round();
    }
    assert_eq!(bench.led()[0], Ballot { n: 10, priority: 5, node: node(0) });
    assert!(bench.now > learned + 2 * ROUND);
}

#[test]
fn an_ask_a_promise_and_an_answer_each_raise_the_next_ballot() {
    for which in 0..4 {
        let mut bench = Bench::new(3).follows(3, 1);
        let mut seen = ack(bench.nonce(), ballot(3, 1), false);
        match which {
            0 => _ = bench.answer_to(2, ballot(40, 2)),
            1 => bench.state.promised = ballot(40, 2),
            2 => seen.promised = ballot(40, 2),
            _ => seen.leader = ballot(40, 2),
        }
        bench.handle(2, HeartbeatBody::Answer(seen));
        for _ in 0..5 {
            bench.ack(2, bench.state.promised, false);
            bench.end_round();
        }
        assert_eq!(bench.led()[0].n, 41, "case {which}");
    }
}

#[test]
fn every_higher_ballot_renews_the_patience() {
    let mut bench = Bench::new(3).follows(3, 1);
    for n in 4..40 {
        bench.ack(2, ballot(n, 2), false);
        bench.end_round();
    }
    assert!(bench.led().is_empty(), "each new leader gets its two rounds");
}

#[test]
fn patience_starts_again_when_a_ballot_rises_before_the_takeover() {
    let mut bench = Bench::new(3).follows(3, 1);
    while bench.election.takeover.is_none() {
        bench.ack(2, ballot(3, 1), false);
        bench.end_round();
    }
    assert!(bench.led().is_empty());
    // The word of a new leader comes in the jitter: two whole rounds must pass after it, and more jitter.
    bench.answer_to(2, ballot(4, 2));
    let risen = bench.now;
    while bench.led().is_empty() {
        bench.ack(2, ballot(4, 2), false);
        let at = bench.election.poll_timeout().unwrap();
        bench.now = at;
        bench.tick();
    }
    assert!(bench.now >= risen + 2 * ROUND, "{:?}", bench.now - risen);
}

/// A replica of three that would take over at the end of its jitter.
fn about_to_take_over() -> Bench {
    let mut bench = Bench::new(3).follows(3, 1);
    while bench.election.takeover.is_none() {
        bench.ack(2, ballot(3, 1), false);
        bench.end_round();
    }
    bench
}

#[test]
fn what_is_heard_in_the_jitter_counts() {
    let finish = |mut bench: Bench| {
        bench.now = bench.election.takeover.unwrap();
        bench.tick();
        bench.led().len()
    };
    assert_eq!(finish(about_to_take_over()), 1);

    let mut neighbour = about_to_take_over();
    neighbour.ack(2, ballot(3, 1), true);
    assert_eq!(finish(neighbour), 0);

    let mut leader = about_to_take_over();
    let mut word = ack(leader.nonce(), ballot(3, 1), true);
    word.leader = Ballot::default();
    leader.handle(1, HeartbeatBody::Answer(word));
    assert_eq!(finish(leader), 0);

    let mut standing_down = about_to_take_over();
    standing_down.state.may_lead = false;
    assert_eq!(finish(standing_down), 0);
}

#[test]
fn happiness_with_a_leader_of_the_past_stops_nobody() {
    let mut bench = Bench::new(3).follows(9, 1);
    for _ in 0..5 {
        bench.ack(2, ballot(3, 2), true);
        bench.end_round();
    }
    assert_eq!(bench.led()[0].n, 10);
}

#[test]
fn a_takeover_asks_everybody_at_once() {
    let mut bench = about_to_take_over();
    bench.outputs.clear();
    bench.now = bench.election.takeover.unwrap();
    bench.tick();
    let ballot = bench.led()[0];
    let asks = |output: &&Output| matches!(output, Output::Send { body: HeartbeatBody::Ask(ask), .. } if ask.ballot == ballot);
    assert_eq!(bench.outputs[0], Output::Lead { ballot });
    assert_eq!(
        bench.election.opened, bench.now,
        "in a new round, whose answers are all made after the takeover"
    );
    assert_eq!(bench.outputs.iter().filter(asks).count(), 2);
}

#[test]
fn nobody_leads_beyond_the_highest_credible_number() {
    let mut bench = Bench::new(3).follows(N_LIMIT, 1);
    for _ in 0..10 {
        bench.ack(2, bench.state.promised, false);
        bench.end_round();
    }
    assert!(bench.led().is_empty());
}

#[test]
fn a_replica_that_stands_down_does_not_found() {
    let mut bench = Bench::new(3);
    bench.state.may_lead = false;
    for _ in 0..10 {
        bench.ack(1, Ballot::default(), false);
        bench.ack(2, Ballot::default(), false);
        bench.end_round();
    }
    assert!(bench.led().is_empty());
    bench.state.may_lead = true;
    bench.ack(1, Ballot::default(), false);
    bench.ack(2, Ballot::default(), false);
    assert_eq!(bench.led().len(), 1);
}

#[test]
fn a_stranded_replica_is_given_two_rounds_and_nothing_by_a_leader_that_stands_down() {
    for may_lead in [true, false] {
        let mut bench = Bench::new(3).follows(3, 0);
        bench.state.leading = Some(ballot(3, 0));
        bench.state.may_lead = may_lead;
        for round in 0..4 {
            assert_eq!(bench.led().len(), usize::from(may_lead && round >= 2), "round {round}");
            if bench.led().is_empty() {
                bench.ack(1, ballot(3, 0), true);
                bench.ack(2, ballot(6, 2), false);
            }
            bench.end_round();
        }
    }
}

#[test]
fn a_role_in_a_ballot_that_is_promised_no_more_is_no_role() {
    let mut bench = Bench::new(3).follows(5, 1);
    bench.state.leading = Some(ballot(3, 0));
    let nonce = bench.election.read_round(bench.now, &bench.state);
    bench.handle(1, HeartbeatBody::Answer(ack(nonce, ballot(3, 0), true)));
    bench.handle(2, HeartbeatBody::Answer(ack(nonce, ballot(3, 0), true)));
    assert!(!bench.outputs.contains(&Output::Confirmed { nonce }));
    assert_eq!(bench.election.leader(), None);
}

#[test]
fn nobody_takes_over_without_a_majority_or_while_standing_down() {
    let mut alone = Bench::new(5).follows(3, 1);
    let mut standing_down = Bench::new(3).follows(3, 1);
    standing_down.state.may_lead = false;
    for _ in 0..10 {
        alone.ack(2, ballot(3, 1), false);
        alone.ack(2, ballot(3, 1), false);
        standing_down.ack(2, ballot(3, 1), false);
        alone.end_round();
        standing_down.end_round();
    }
    assert!(alone.led().is_empty() && standing_down.led().is_empty());
}

#[test]
fn answers_count_once_per_replica() {
    let mut bench = Bench::new(5).follows(3, 0);
    bench.state.leading = Some(ballot(3, 0));
    for _ in 0..10 {
        // One of four links works, and everything on it arrives four times.
        for _ in 0..4 {
            bench.ack(2, ballot(3, 0), true);
        }
        bench.end_round();
    }
    assert_eq!(bench.election.live(), 2);
    assert!(bench.stepped_down());
    assert_eq!(bench.election.leader(), None);
    assert_eq!(bench.election.stats().drop_duplicate, 30);
}

#[test]
fn a_leader_counts_only_promises_to_its_own_ballot() {
    let mut bench = Bench::new(5).follows(3, 0);
    bench.state.leading = Some(ballot(3, 0));
    for from in 1..5 {
        bench.ack(from, ballot(2, 4), true);
    }
    assert_eq!(bench.election.leader(), None);
    for _ in 0..5 {
        for from in 1..5 {
            bench.ack(from, ballot(2, 4), true);
        }
        bench.end_round();
    }
    assert!(!bench.stepped_down(), "connected, and no higher ballot: Prepare will be sent again");
    assert!(bench.led().is_empty());
    bench.ack(1, ballot(3, 0), true);
    bench.ack(2, ballot(3, 0), true);
    assert_eq!(bench.election.leader(), Some(ballot(3, 0)));
}

#[test]
fn an_unhappy_leader_steps_down_after_two_rounds_when_it_knows_a_higher_ballot() {
    let mut bench = Bench::new(3).follows(3, 0);
    bench.state.leading = Some(ballot(3, 0));
    bench.ack(1, ballot(3, 0), true);
    bench.end_round();
    for round in 0..2 {
        assert!(!bench.stepped_down(), "round {round}");
        bench.ack(1, ballot(6, 2), false);
        bench.ack(2, ballot(6, 2), false);
        bench.end_round();
    }
    assert!(bench.stepped_down());
}

#[test]
fn a_stuck_leader_that_is_connected_does_not_take_over_from_itself() {
    let mut bench = Bench::new(3).follows(3, 0);
    bench.state.leading = Some(ballot(3, 0));
    bench.state.progressing = false;
    for _ in 0..20 {
        bench.ack(1, ballot(3, 0), false);
        bench.ack(2, ballot(3, 0), false);
        bench.end_round();
    }
    assert!(bench.led().is_empty() && !bench.stepped_down());
    assert!(!bench.answer_to(1, Ballot::default()).happy);
}

#[test]
fn an_overdue_replica_claims_nothing() {
    let mut bench = Bench::new(3).follows(3, 0);
    bench.state.leading = Some(ballot(3, 0));
    bench.ack(1, ballot(3, 0), true);
    bench.end_round();
    assert!(bench.answer_to(1, Ballot::default()).happy);
    // A stall: the question is answered before the timeout is judged.
    bench.now = bench.election.closes + ROUND;
    let answer = bench.answer_to(1, Ballot::default());
    assert!(!answer.happy && !answer.quorum_connected);
    bench.tick();
    assert_eq!(bench.election.stats().rounds_void, 1);
    assert!(!bench.answer_to(1, Ballot::default()).happy, "nor before a new answer");
    bench.ack(1, ballot(3, 0), true);
    assert!(bench.answer_to(1, Ballot::default()).happy);
}

#[test]
fn what_was_heard_before_a_long_stall_is_claimed_no_more_after_it() {
    let mut bench = Bench::new(3).follows(3, 0);
    bench.state.leading = Some(ballot(3, 0));
    bench.ack(1, ballot(3, 0), true);
    bench.now = bench.election.closes + ROUND;
    assert!(bench.answer_to(1, Ballot::default()).happy, "two periods old at most");
    bench.now += ms(1);
    let answer = bench.answer_to(1, Ballot::default());
    assert!(!answer.happy && !answer.quorum_connected);
}

#[test]
fn lasting_lateness_is_judged_all_the_same() {
    let mut bench = Bench::new(3).follows(3, 0);
    bench.state.leading = Some(ballot(3, 0));
    for _ in 0..8 {
        bench.now = bench.election.closes + ms(60);
        bench.tick();
    }
    assert!(bench.stepped_down());
}

#[test]
fn a_hand_over_is_taken_only_from_the_leader_that_is_followed() {
    let ready = |count| {
        let mut bench = Bench::new(count).follows(3, 1);
        bench.ack(1, ballot(3, 1), true);
        bench
    };
    let mut bench = ready(3);
    bench.handle(1, HeartbeatBody::HandOver { ballot: ballot(3, 1) });
    assert_eq!(bench.led(), [Ballot { n: 4, priority: 5, node: node(0) }]);
    // The same word again, before the replica has even carried the takeover out.
    bench.handle(1, HeartbeatBody::HandOver { ballot: ballot(3, 1) });
    assert_eq!(bench.led().len(), 1);

    let refused = |prepare: &dyn Fn(&mut Bench), from: usize, word: Ballot, count: usize| {
        let mut bench = ready(count);
        prepare(&mut bench);
        bench.handle(from, HeartbeatBody::HandOver { ballot: word });
        assert!(bench.led().is_empty());
        assert_eq!(bench.election.stats().drop_hand_over, 1);
    };
    refused(&|_| {}, 2, ballot(3, 1), 3);
    refused(&|_| {}, 1, ballot(2, 1), 3);
    refused(&|_| {}, 1, ballot(4, 1), 3);
    refused(&|bench| _ = bench.answer_to(1, ballot(4, 1)), 1, ballot(4, 1), 3);
    refused(&|bench| _ = bench.answer_to(1, ballot(4, 1)), 1, ballot(3, 1), 3);
    refused(&|bench| bench.state.may_lead = false, 1, ballot(3, 1), 3);
    refused(&|bench| bench.state.promised = ballot(5, 2), 1, ballot(3, 1), 3);
    // Of five, one answer is no majority.
    refused(&|_| {}, 1, ballot(3, 1), 5);
}

#[test]
fn only_a_leader_hands_over_and_only_to_a_replica() {
    let mut bench = Bench::new(3).follows(3, 0);
    bench.outputs.clear();
    bench.election.hand_over(bench.now, &bench.state, node(1));
    bench.state.leading = Some(ballot(3, 0));
    bench.election.hand_over(bench.now, &bench.state, node(0));
    bench.election.hand_over(bench.now, &bench.state, node(9));
    bench.drain();
    assert!(bench.outputs.is_empty());
    bench.election.hand_over(bench.now, &bench.state, node(2));
    bench.drain();
    let body = HeartbeatBody::HandOver { ballot: ballot(3, 0) };
    assert_eq!(bench.outputs, [Output::Send { to: node(2), body, urgent: true }]);
}

#[test]
fn what_no_replica_can_have_sent_is_dropped_and_counted() {
    let mut bench = Bench::new(3).follows(3, 1);
    let (nonce, good) = (bench.nonce(), ballot(3, 1));
    bench.handle(7, HeartbeatBody::Answer(ack(nonce, good, true)));
    bench.handle(0, HeartbeatBody::Answer(ack(nonce, good, true)));
    bench.handle(1, HeartbeatBody::Answer(ack(nonce.wrapping_add(2), good, true)));
    bench.handle(1, HeartbeatBody::Answer(ack(nonce.wrapping_sub(2), good, true)));
    bench.handle(1, HeartbeatBody::Answer(ack(nonce, ballot(N_LIMIT + 1, 1), true)));
    bench.handle(1, HeartbeatBody::Answer(ack(nonce, ballot(u64::MAX, 1), true)));
    bench.handle(1, HeartbeatBody::Answer(ack(nonce, ballot(4, 8), true)));
    let ask = Heartbeat { nonce: 1, ballot: ballot(4, 8), len: LogIndex::ZERO, decided: LogIndex::ZERO };
    bench.outputs.clear();
    bench.handle(1, HeartbeatBody::Ask(ask));
    assert!(bench.outputs.is_empty());
    let stats = bench.election.stats();
    assert_eq!((stats.drop_not_replica, stats.drop_unknown_nonce, stats.drop_bad_ballot), (2, 2, 4));
    assert_eq!(bench.election.leader(), None);
    assert_eq!(bench.election.highest, good);
}

#[test]
fn stale_answers_are_no_sign_of_life_but_their_ballots_are_known() {
    let mut bench = Bench::new(3).follows(3, 1);
    let nonce = bench.nonce();
    bench.end_round();
    bench.end_round();
    bench.handle(1, HeartbeatBody::Answer(ack(nonce, ballot(5, 1), true)));
    assert_eq!(bench.election.stats().drop_stale_nonce, 1);
    assert_eq!(bench.election.live(), 1);
    assert_eq!(bench.election.highest, ballot(5, 1));
}

#[test]
fn within_a_round_later_promises_replace_earlier_ones_whatever_the_order_of_arrival() {
    let led = || {
        let mut bench = Bench::new(3).follows(3, 0);
        bench.state.leading = Some(ballot(3, 0));
        bench
    };
    let mut bench = led();
    bench.ack(1, ballot(2, 1), false);
    assert_eq!(bench.election.leader(), None);
    bench.ack(1, ballot(3, 0), false);
    assert_eq!(bench.election.leader(), Some(ballot(3, 0)));
    bench.ack(1, ballot(2, 1), true);
    assert_eq!(bench.election.leader(), Some(ballot(3, 0)), "reordering takes no promise back");
}

#[test]
fn a_word_of_happiness_stands_for_its_round() {
    let mut bench = Bench::new(3).follows(3, 1);
    bench.ack(1, ballot(3, 1), true);
    let mut later = ack(bench.nonce(), ballot(3, 1), false);
    later.len += 1;
    bench.handle(1, HeartbeatBody::Answer(later));
    assert_eq!(bench.election.leader(), Some(ballot(3, 1)));
    let observed = bench.outputs.iter().filter(|output| matches!(output, Output::Observed { .. })).count();
    assert_eq!(observed, 2, "but what else it says is told on");
    bench.end_round();
    bench.ack(1, ballot(3, 1), false);
    assert_eq!(bench.election.leader(), None);
}

#[test]
fn anything_at_all_is_survived_within_bounds() {
    let mut rng = Rng::from_u64(5);
    let mut bench = Bench::new(5).follows(3, 1);
    for turn in 0..50_000u64 {
        let mut any = |bench: &Bench| Ballot {
            n: [0, 1, 3, N_LIMIT, u64::MAX, bench.election.highest.n][rng.below(6) as usize],
            priority: rng.below(3) as u32 * 1_000_000,
            node: [node(rng.below(7) as usize), NodeId::default()][usize::from(rng.chance(0.1))],
        };
        let (one, two) = (any(&bench), any(&bench));
        let nonce = [rng.u64(), bench.nonce(), bench.nonce() ^ 1, bench.nonce().wrapping_sub(2)]
            [rng.below(4) as usize];
        let body = match rng.below(3) {
            0 => HeartbeatBody::Ask(Heartbeat {
                nonce,
                ballot: one,
                len: LogIndex(u64::MAX),
                decided: LogIndex(1),
            }),
            1 => HeartbeatBody::Answer(HeartbeatAck { leader: two, ..ack(nonce, one, rng.chance(0.5)) }),
            _ => HeartbeatBody::HandOver { ballot: one },
        };
        bench.handle(rng.below(7) as usize, body);
        if turn % 5 == 0 {
            bench.now += Duration::from_micros(rng.below(60_000));
            bench.tick();
        }
        assert!(bench.outputs.len() < 64, "{} outputs in a turn", bench.outputs.len());
        for led in bench.led() {
            assert!(led > bench.state.promised && led.n <= N_LIMIT);
            bench.state.promised = led;
            bench.state.leading = Some(led);
        }
        bench.outputs.clear();
    }
    assert!(bench.election.stats().drop_bad_ballot > 1000);
    assert!(bench.election.outputs.capacity() <= 64);
}

#[test]
fn counters_have_names() {
    let bench = Bench::new(3);
    let rounds = bench.election.stats().iter().find(|(name, _)| *name == "rounds");
    assert_eq!(rounds, Some(("rounds", 1)));
}
