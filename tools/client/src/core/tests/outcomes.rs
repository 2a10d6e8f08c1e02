//! What an operation is told, whatever happened to its attempts (CONSENSUS, clients; FAULTS 20 to 22).

use bytes::Bytes;
use haystack_wire::ids::{Epoch, GroupId, HistoryId};
use haystack_wire::message::client::{Command, Effect, Expect, Refusal, SESSION_WINDOW};

use super::fake::{Act, World, ms, value};
use crate::core::{Answer, Operation};
use crate::error::{Error, Usage, Wait};

fn effect(answer: Result<Answer, Error>) -> Effect {
    match answer.unwrap() {
        Answer::Applied { effect, .. } => effect,
        other => panic!("not applied: {other:?}"),
    }
}

fn put(key: &str, value: &str) -> Operation {
    Operation::put(key.to_owned(), value.to_owned())
}

#[test]
fn operations_are_answered_in_one_session_per_group() {
    let mut world = World::new(1, 3, 1);
    assert_eq!(effect(world.call(put("a", "1"), 5000)), Effect::Written);
    assert_eq!(value(world.call(Operation::get("a"), 5000)), Some(Bytes::from("1")));
    let mismatch = effect(world.call(Operation::cas("a", Expect::Absent, "2"), 5000));
    assert!(matches!(mismatch, Effect::Mismatch { actual: Some(actual) } if actual.value == "1"));
    let expect = Expect::Value(Bytes::from("1"));
    let Ok(Answer::Applied { at, effect: Effect::Written }) =
        world.call(Operation::cas("a", expect, "2"), 5000)
    else {
        panic!("must be written")
    };
    let deleted = effect(world.call(Operation::delete("a"), 5000));
    assert_eq!(deleted, Effect::Deleted { previous: Some(at) });
    assert_eq!(value(world.call(Operation::get("a"), 5000)), None);
    assert_eq!(world.client.stats().sessions, 1);
    assert_eq!(world.cluster().group(1).sessions.len(), 1);
}

#[test]
fn a_lost_reply_is_asked_for_again_under_the_same_number_and_the_write_applies_once() {
    let mut world = World::new(2, 3, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.daemons[0].script.push_back(Act::ServeSilently);
    let op = world.submit(put("a", "1"), 5000);
    let completion = world.complete(op);
    assert_eq!(completion.attempts, 2);
    assert!(matches!(completion.outcome, Ok(Answer::Applied { effect: Effect::Written, .. })));
    let applied = world.cluster().group(1).applied.len();
    assert_eq!(applied, 2);
    let numbers: Vec<u64> = world
        .daemons
        .iter()
        .flat_map(super::fake::Daemon::commands)
        .filter_map(|command| match command {
            Command::Write { seq, .. } => Some(seq),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [1, 2, 2]);
}

#[test]
fn a_write_without_any_answer_is_unknown_and_a_resolve_finds_the_lost_reply() {
    let mut world = World::new(3, 3, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.daemons.iter_mut().for_each(|daemon| daemon.habit = Act::ServeSilently);
    let Err(Error::Unknown(ticket)) = world.call(put("a", "1"), 3000) else { panic!("must be unknown") };
    world.daemons.iter_mut().for_each(|daemon| daemon.habit = Act::Serve);
    let resolved = world.call(Operation::Resolve(ticket), 5000);
    assert_eq!(effect(resolved), Effect::Written);
    assert_eq!(world.cluster().group(1).applied.len(), 2);
}

#[test]
fn a_resolve_fences_a_write_that_is_still_under_way_somewhere() {
    let mut world = World::new(4, 1, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.daemons[0].habit = Act::Keep;
    let Err(Error::Unknown(ticket)) = world.call(put("a", "1"), 600) else { panic!("must be unknown") };
    world.daemons[0].habit = Act::Serve;
    assert_eq!(world.call(Operation::Resolve(ticket.clone()), 5000), Ok(Answer::NeverApplies));
    world.release(0);
    world.run(100);
    assert_eq!(value(world.call(Operation::get("a"), 5000)), Some(Bytes::from("0")));
    assert_eq!(world.call(Operation::Resolve(ticket), 5000), Ok(Answer::NeverApplies));
}

#[test]
fn a_refusal_is_told_only_if_every_attempt_was_refused() {
    let mut world = World::new(5, 1, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.daemons[0].habit = Act::Refuse(Refusal::Full);
    assert_eq!(world.call(put("a", "1"), 5000), Err(Error::Refused(Refusal::Full)));
    world.daemons[0].script.push_back(Act::Keep);
    let op = world.submit(put("a", "2"), 3000);
    let completion = world.complete(op);
    assert!(completion.attempts > 2);
    assert!(matches!(completion.outcome, Err(Error::Unknown(_))), "{completion:?}");
    world.daemons[0].habit = Act::Serve;
    world.release(0);
    assert_eq!(value(world.call(Operation::get("a"), 5000)), Some(Bytes::from("2")));
}

#[test]
fn a_refusal_that_may_pass_is_retried_until_the_deadline() {
    let mut world = World::new(6, 1, 1);
    world.daemons[0].script.extend(vec![Act::Refuse(Refusal::Overloaded); 6]);
    let op = world.submit(put("a", "1"), 5000);
    let completion = world.complete(op);
    assert_eq!(completion.attempts, 1, "the session took the refusals");
    world.daemons[0].habit = Act::Refuse(Refusal::Overloaded);
    let start = world.now;
    assert_eq!(world.call(put("a", "2"), 2000), Err(Error::Refused(Refusal::Overloaded)));
    assert!(world.now - start >= ms(2000));
    assert!(world.daemons[0].seen.len() < 30, "with growing pauses");
}

#[test]
fn a_session_is_closed_once_every_operation_of_it_is_answered() {
    let mut world = World::new(11, 3, 1);
    world.call(put("a", "0"), 5000).unwrap();
    let op = world.submit(put("a", "1"), 5000);
    world.client.close_sessions(world.now, world.now + ms(1000));
    assert_eq!(world.client.closing(), 0, "an operation is under way");
    world.finish(op).unwrap();
    world.client.close_sessions(world.now, world.now + ms(1000));
    assert_eq!((world.client.closing(), world.client.outstanding()), (1, 0));
    world.run(100);
    assert_eq!((world.client.closing(), world.cluster().group(1).sessions.len()), (0, 0));
    let commands = world.daemons.iter().flat_map(super::fake::Daemon::commands);
    let closes: Vec<Command> =
        commands.filter(|command| matches!(command, Command::CloseSession { .. })).collect();
    assert!(matches!(closes[..], [Command::CloseSession { ack_below: 3, .. }]), "{closes:?}");
    assert_eq!(effect(world.call(put("a", "2"), 5000)), Effect::Written);
    assert_eq!(world.client.stats().sessions, 2);
}

#[test]
fn a_session_with_an_unknown_outcome_is_closed_only_after_that_is_settled() {
    let mut world = World::new(12, 1, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.daemons[0].habit = Act::ServeSilently;
    let Err(Error::Unknown(ticket)) = world.call(put("a", "1"), 600) else { panic!("must be unknown") };
    world.daemons[0].habit = Act::Serve;
    world.client.close_sessions(world.now, world.now + ms(1000));
    assert_eq!(world.client.closing(), 0);
    assert_eq!(effect(world.call(Operation::Resolve(ticket), 5000)), Effect::Written);
    world.client.close_sessions(world.now, world.now + ms(1000));
    world.run(100);
    assert!(world.cluster().group(1).sessions.is_empty());
}

#[test]
fn the_end_of_a_session_that_nobody_answers_is_given_up_in_time_and_without_a_word() {
    let mut world = World::new(13, 1, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.daemons[0].habit = Act::Ignore;
    world.client.close_sessions(world.now, world.now + ms(200));
    world.run(250);
    assert_eq!((world.client.closing(), world.client.outstanding(), world.done.len()), (0, 0, 0));
}

#[test]
fn a_session_that_was_idle_for_long_is_closed_for_a_new_one() {
    let mut world = World::new(14, 1, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.run(61_000);
    world.call(put("a", "1"), 5000).unwrap();
    world.run(100);
    assert_eq!((world.client.stats().sessions, world.cluster().group(1).sessions.len()), (2, 1));
}

#[test]
fn a_refused_write_acknowledges_more_when_it_is_sent_again() {
    let mut world = World::new(15, 1, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.daemons[0].script.extend([Act::Keep, Act::Refuse(Refusal::Overloaded)]);
    let first = world.submit(put("a", "1"), 5000);
    let second = world.submit(put("a", "2"), 5000);
    world.run(5);
    world.release(0);
    world.finish(first).unwrap();
    world.finish(second).unwrap();
    let sent: Vec<(u64, u64)> = world.daemons[0]
        .commands()
        .into_iter()
        .filter_map(|command| match command {
            Command::Write { seq, ack_below, .. } => Some((seq, ack_below)),
            _ => None,
        })
        .collect();
    assert_eq!(sent, [(1, 1), (2, 2), (3, 2), (3, 3)]);
}

#[test]
fn an_expired_session_is_told_and_later_writes_use_a_new_one() {
    let mut world = World::new(7, 1, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.cluster().group(1).sessions.clear();
    let told = world.call(put("a", "1"), 5000);
    assert!(matches!(told, Err(Error::SessionExpired { maybe_applied: false, .. })), "{told:?}");
    assert_eq!(effect(world.call(put("a", "2"), 5000)), Effect::Written);
    assert_eq!(world.client.stats().sessions, 2);
    world.daemons[0].script.push_back(Act::ServeSilently);
    let op = world.submit(put("a", "3"), 5000);
    world.run(50);
    world.cluster().group(1).sessions.clear();
    let told = world.finish(op);
    assert!(matches!(told, Err(Error::SessionExpired { maybe_applied: true, .. })), "{told:?}");
}

#[test]
fn writes_that_were_never_sent_under_an_expired_session_just_use_the_next() {
    let mut world = World::new(8, 1, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.cluster().group(1).sessions.clear();
    let ops: Vec<_> = (0..100).map(|n| world.submit(put("a", &n.to_string()), 5000)).collect();
    let outcomes: Vec<_> = ops.into_iter().map(|op| world.finish(op)).collect();
    let expired = outcomes.iter().filter(|told| matches!(told, Err(Error::SessionExpired { .. }))).count();
    assert_eq!(expired, SESSION_WINDOW as usize);
    assert_eq!(outcomes.iter().filter(|told| told.is_ok()).count(), 100 - expired);
}

#[test]
fn an_idle_session_is_not_trusted() {
    let mut world = World::with(9, 1, 1, |config| config.timeouts.session_idle = ms(500));
    world.call(put("a", "0"), 5000).unwrap();
    world.run(1000);
    world.cluster().group(1).sessions.clear();
    assert_eq!(effect(world.call(put("a", "1"), 5000)), Effect::Written);
}

#[test]
fn a_window_of_writes_is_under_way_and_the_rest_waits() {
    let mut world = World::new(10, 1, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.daemons[0].habit = Act::Keep;
    let ops: Vec<_> = (0..200).map(|n| world.submit(put("a", &n.to_string()), 20_000)).collect();
    world.run(100);
    assert_eq!(world.daemons[0].commands().len(), 2 + SESSION_WINDOW as usize);
    world.daemons[0].habit = Act::Serve;
    world.release(0);
    for op in ops {
        assert_eq!(effect(world.finish(op)), Effect::Written);
    }
    assert_eq!(world.client.stats().sessions, 1);
    assert_eq!(world.cluster().group(1).applied.len(), 201);
    assert!(world.cluster().group(1).sessions.values().all(|session| session.replies.len() <= 64));
}

#[test]
fn unknown_writes_do_not_block_a_session_for_ever_and_stay_resolvable() {
    let mut world = World::new(11, 1, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.daemons[0].habit = Act::ServeSilently;
    let Err(Error::Unknown(ticket)) = world.call(put("lost", "1"), 600) else { panic!("must be unknown") };
    world.daemons[0].habit = Act::Serve;
    for n in 0..200 {
        assert_eq!(effect(world.call(put("a", &n.to_string()), 5000)), Effect::Written);
    }
    assert_eq!((world.client.stats().sessions, world.client.stats().sessions_stuck), (2, 1));
    assert_eq!(effect(world.call(Operation::Resolve(ticket), 5000)), Effect::Written);
}

#[test]
fn an_answer_after_the_end_is_ignored() {
    let mut world = World::new(12, 1, 1);
    world.call(put("a", "0"), 5000).unwrap();
    world.daemons[0].habit = Act::Keep;
    assert!(matches!(world.call(put("a", "1"), 200), Err(Error::Unknown(_))));
    assert_eq!(world.call(Operation::get("a"), 200), Err(Error::Timeout(Wait::Answer(GroupId(1)))));
    world.daemons[0].habit = Act::Serve;
    world.release(0);
    world.run(100);
    assert_eq!(world.client.stats().late, 2);
    assert_eq!(effect(world.call(put("a", "2"), 5000)), Effect::Written);
}

#[test]
fn nothing_sent_is_told_apart_from_nothing_answered() {
    let mut world = World::new(13, 1, 1);
    world.daemons[0].alive = false;
    assert_eq!(world.call(put("a", "1"), 1000), Err(Error::Unreachable(Wait::Connection)));
    assert_eq!(world.call(Operation::get("a"), 1000), Err(Error::Unreachable(Wait::Connection)));
    world.daemons[0].alive = true;
    let map = world.cluster().map.take();
    assert_eq!(world.call(put("a", "1"), 3000), Err(Error::Unreachable(Wait::Map)));
    world.cluster().map = map;
    assert_eq!(effect(world.call(put("a", "1"), 5000)), Effect::Written);
    world.daemons[0].habit = Act::Ignore;
    assert!(matches!(world.call(Operation::get("a"), 1000), Err(Error::Timeout(_))));
}

#[test]
fn what_is_late_at_the_start_is_not_sent() {
    let mut world = World::new(17, 1, 1);
    world.call(put("a", "1"), 5000).unwrap();
    assert_eq!(world.call(put("a", "2"), 0), Err(Error::Unreachable(Wait::Nothing)));
    world.run(100);
    assert_eq!(value(world.call(Operation::get("a"), 5000)), Some(Bytes::from("1")));
}

#[test]
fn a_forked_history_is_told_even_if_its_epochs_count_anew() {
    let mut world = World::new(18, 1, 1);
    world.cluster().map().epoch = Epoch(7);
    world.call(put("a", "0"), 5000).unwrap();
    world.daemons[0].script.push_back(Act::Ignore);
    let lost = world.submit(put("a", "1"), 5000);
    world.run(10);
    {
        let mut cluster = world.cluster();
        (cluster.map().history, cluster.map().epoch) = (HistoryId(1), Epoch(2));
        let group = cluster.group(1);
        group.sessions.clear();
        group.len += 1 << 40;
    }
    let refused = world.call(put("a", "2"), 5000);
    assert!(matches!(refused, Err(Error::HistoryForked { maybe_applied: false, .. })), "{refused:?}");
    let told = world.finish(lost);
    assert!(
        matches!(told, Err(Error::HistoryForked { history: HistoryId(1), maybe_applied: true, .. })),
        "{told:?}"
    );
    assert_eq!(value(world.call(Operation::get("a"), 5000)), Some(Bytes::from("0")));
    assert_eq!(effect(world.call(put("a", "3"), 5000)), Effect::Written);
}

#[test]
fn what_is_too_large_is_refused_at_once_by_name() {
    let mut world = World::with(14, 1, 1, |config| (config.limits.key, config.limits.value) = (4, 8));
    let deadline = world.now;
    let mut submit = |operation| world.client.submit(deadline, operation, deadline).unwrap_err();
    assert_eq!(submit(put("12345", "")), Error::Usage(Usage::KeyTooLong { bytes: 5, limit: 4 }));
    assert_eq!(submit(put("1", "123456789")), Error::Usage(Usage::ValueTooLong { bytes: 9, limit: 8 }));
    let expect = Expect::Value(Bytes::from("123456789"));
    assert_eq!(
        submit(Operation::cas("1", expect, "")),
        Error::Usage(Usage::ValueTooLong { bytes: 9, limit: 8 })
    );
}

#[test]
fn more_operations_than_the_limit_are_refused_as_busy_until_some_are_handed_back() {
    let mut world = World::with(15, 1, 1, |config| config.limits.operations = 10);
    let deadline = world.now + ms(5000);
    for n in 0..10 {
        world.client.submit(world.now, put("a", &n.to_string()), deadline).unwrap();
    }
    assert_eq!(world.client.submit(world.now, put("a", "x"), deadline), Err(Error::Busy));
    world.run(200);
    assert_eq!(world.client.outstanding(), 0);
    world.client.submit(world.now, put("a", "x"), deadline).unwrap();
}

#[test]
fn bytes_under_way_are_bounded_but_one_large_operation_passes() {
    let mut world = World::with(16, 1, 1, |config| config.limits.bytes = 100);
    let deadline = world.now + ms(5000);
    let large = put("a", &"x".repeat(1000));
    world.client.submit(world.now, large.clone(), deadline).unwrap();
    assert_eq!(world.client.submit(world.now, large.clone(), deadline), Err(Error::Busy));
    world.run(200);
    world.client.submit(world.now, large, deadline).unwrap();
}
