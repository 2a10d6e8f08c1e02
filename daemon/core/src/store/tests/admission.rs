//! What the leader lets into the log.

use haystack_wire::message::client::Refusal;

use super::*;

fn admit(store: &Store, command: &Command) -> Result<Admitted, Refusal> {
    store.admit(&body(command), &Pending::default())
}

/// What is appended; any other answer is none.
fn appended(store: &Store, command: &Command) -> Option<Admission> {
    match admit(store, command) {
        Ok(Admitted::Append(admission)) => Some(admission),
        _ => None,
    }
}

#[test]
fn a_write_is_admitted_with_its_slot_its_session_and_an_upper_bound_of_growth() {
    let (mut log, key) = (Log::new(), key(true, 0));
    for (seq, command) in [put(&key, "value"), cas(&key, Expect::Absent, "v"), put(&key, "longer value")]
        .into_iter()
        .enumerate()
    {
        let command = write(0, seq as u64 + 1, 1, command);
        let admission = appended(&log.store, &command).unwrap();
        assert_eq!((admission.slot, admission.session), (Some(slot_of(&key)), Some(id(0))));
        let before = log.store.bytes();
        log.apply(&command);
        assert!(log.store.bytes() <= before + admission.growth);
    }
}

#[test]
fn what_is_settled_is_answered_without_an_entry() {
    let (mut log, key) = (Log::new(), key(true, 0));
    let first = write(0, 1, 1, put(&key, "x"));
    let outcome = log.apply(&first);
    assert_eq!(admit(&log.store, &first), Ok(Admitted::Answer(outcome.clone())));
    let resolve = Command::Resolve { session: id(0), seq: 1, key: key.clone() };
    assert_eq!(admit(&log.store, &resolve), Ok(Admitted::Answer(outcome)));
    let resolve = Command::Resolve { session: id(0), seq: 2, key: key.clone() };
    assert!(appended(&log.store, &resolve).is_some());
    log.apply(&write(0, 2, 2, put(&key, "y")));
    let resolve = Command::Resolve { session: id(0), seq: 1, key: key.clone() };
    assert_eq!(admit(&log.store, &resolve), Ok(Admitted::Answer(Outcome::SessionExpired)));
    log.apply(&Command::ExpireSessions { sessions: vec![LogIndex(0)] });
    assert_eq!(admit(&log.store, &first), Ok(Admitted::Answer(Outcome::SessionExpired)));
    let unseen = write(log.next, 1, 1, put(&key, "x"));
    assert!(appended(&log.store, &unseen).is_some(), "its opening may be decided and not applied here");
}

#[test]
fn a_close_is_admitted_if_it_loses_no_reply_and_answered_if_the_session_is_gone() {
    let (mut log, key) = (Log::new(), key(true, 0));
    log.store.set_limits(Limits { memory: 0, ..Limits::default() });
    log.apply(&write(0, 1, 1, put(&key, "x")));
    let close = |ack_below| Command::CloseSession { session: id(0), ack_below };
    assert_eq!(admit(&log.store, &close(1)), Err(Refusal::OutOfWindow));
    let admission = appended(&log.store, &close(2)).unwrap();
    assert_eq!((admission.growth, admission.session), (0, None));
    log.apply(&close(2));
    assert_eq!(admit(&log.store, &close(2)), Ok(Admitted::Answer(Outcome::SessionExpired)));
    let unseen = Command::CloseSession { session: id(log.next), ack_below: 1 };
    assert!(appended(&log.store, &unseen).is_some(), "its opening may be decided and not applied here");
}

#[test]
fn numbers_outside_the_window_are_refused() {
    let (mut log, key) = (Log::new(), key(true, 0));
    log.apply(&write(0, 10, 10, put(&key, "x")));
    for (seq, ack_below) in [(0, 0), (9, 1), (11, 12), (74, 10), (74, 1)] {
        let command = write(0, seq, ack_below, put(&key, "x"));
        assert_eq!(admit(&log.store, &command), Err(Refusal::OutOfWindow), "{seq} {ack_below}");
    }
    assert!(appended(&log.store, &write(0, 74, 11, put(&key, "x"))).is_some());
    assert!(appended(&log.store, &write(0, 73, 1, put(&key, "x"))).is_some());
}

#[test]
fn what_means_nothing_or_is_not_for_clients_or_for_others_is_refused() {
    let log = Log::new();
    let garbage = Bytes::from_static(b"\xff\x00");
    assert_eq!(log.store.admit(&garbage, &Pending::default()), Err(Refusal::Malformed));
    let expire = Command::ExpireSessions { sessions: vec![LogIndex(0)] };
    assert_eq!(admit(&log.store, &expire), Err(Refusal::Forbidden));
    let other = key(false, 0);
    let refused = Err(Refusal::WrongGroup { slot: slot_of(&other), epoch: Epoch(0) });
    assert_eq!(admit(&log.store, &write(0, 1, 1, put(&other, "x"))), refused);
    assert_eq!(admit(&log.store, &Command::Resolve { session: id(0), seq: 1, key: other }), refused);
}

#[test]
fn keys_and_values_over_the_limits_are_refused_with_the_limit() {
    let mut log = Log::new();
    log.store.set_limits(Limits { key: 5, value: 3, ..Limits::default() });
    let (long, short) = (key(true, 5000), bytes("k"));
    assert_eq!(admit(&log.store, &write(0, 1, 1, put(&long, "x"))), Err(Refusal::TooLarge { limit: 5 }));
    let too_large = Err(Refusal::TooLarge { limit: 3 });
    assert_eq!(admit(&log.store, &write(0, 1, 1, put(&short, "four"))), too_large);
    assert_eq!(admit(&log.store, &write(0, 1, 1, cas(&short, Expect::Absent, "four"))), too_large);
    let expect = Expect::Value(bytes("four"));
    assert_eq!(admit(&log.store, &write(0, 1, 1, cas(&short, expect, "x"))), too_large);
}

#[test]
fn at_the_memory_limit_only_growth_is_refused_and_the_limit_lifts_by_itself() {
    let (mut log, a, b) = (Log::new(), key(true, 0), key(true, 1));
    log.apply(&write(0, 1, 1, put(&a, "12345")));
    let memory = log.store.bytes();
    log.store.set_limits(Limits { memory, ..Limits::default() });
    let ok = |log: &Log, write_: Write| appended(&log.store, &write(0, 2, 2, write_)).is_some();
    assert_eq!(admit(&log.store, &write(0, 2, 2, put(&b, ""))), Err(Refusal::Full));
    assert_eq!(admit(&log.store, &write(0, 2, 2, put(&a, "123456"))), Err(Refusal::Full));
    assert_eq!(admit(&log.store, &write(0, 2, 2, cas(&b, Expect::Absent, ""))), Err(Refusal::Full));
    assert!(ok(&log, put(&a, "54321")));
    assert!(ok(&log, put(&a, "1")));
    assert!(ok(&log, Write::Delete { key: a.clone() }));
    log.apply(&write(0, 2, 2, Write::Delete { key: a.clone() }));
    assert!(appended(&log.store, &write(0, 3, 3, put(&a, "12345"))).is_some());
}

#[test]
fn a_deleted_value_is_not_kept_by_the_reply() {
    let (mut log, key) = (Log::new(), key(true, 0));
    let large = "x".repeat(100_000);
    for round in 0..8 {
        log.apply(&Command::OpenSession);
        let session = log.next - 1;
        log.apply(&write(session, 1, 1, put(&key, &large)));
        let delete = log.apply(&write(session, 2, 1, Write::Delete { key: key.clone() }));
        let previous = Some(version(session + 1));
        assert_eq!(delete, applied(session + 2, Effect::Deleted { previous }));
        assert!(log.store.bytes() < 10_000, "{} bytes after round {round}", log.store.bytes());
    }
}

#[test]
fn what_is_pending_counts() {
    let (mut log, key) = (Log::new(), key(true, 0));
    let command = body(&write(0, 1, 1, put(&key, "x")));
    let memory = log.store.bytes() + 100;
    log.store.set_limits(Limits { memory, sessions: 3, ..Limits::default() });
    let mut pending = Pending::default();
    let Ok(Admitted::Append(admission)) = log.store.admit(&command, &pending) else {
        panic!("there is room")
    };
    pending.add(&admission);
    assert_eq!(log.store.admit(&command, &pending), Err(Refusal::Full));
    pending.remove(&admission);
    assert!(log.store.admit(&command, &pending).is_ok());

    let open = body(&Command::OpenSession);
    for _ in 0..2 {
        let Ok(Admitted::Append(admission)) = log.store.admit(&open, &pending) else {
            panic!("there is room")
        };
        pending.add(&admission);
    }
    assert_eq!(log.store.admit(&open, &pending), Err(Refusal::Overloaded));
}

#[test]
fn a_session_that_holds_too_many_values_in_replies_waits_until_it_acknowledges() {
    let (mut log, key) = (Log::new(), key(true, 0));
    log.store.set_limits(Limits { pinned: 1300, ..Limits::default() });
    let large = "x".repeat(600);
    log.apply(&write(0, 1, 1, put(&key, &large)));
    for seq in 2..4 {
        log.apply(&write(0, seq, 1, cas(&key, Expect::Absent, "y")));
    }
    let fail = || cas(&key, Expect::Absent, "y");
    assert_eq!(admit(&log.store, &write(0, 4, 1, fail())), Err(Refusal::Overloaded));
    assert!(appended(&log.store, &write(0, 4, 1, Write::Delete { key: key.clone() })).is_some());
    assert!(appended(&log.store, &write(0, 4, 1, put(&key, "y"))).is_some());
    assert!(appended(&log.store, &write(0, 4, 3, fail())).is_some());
    log.apply(&Command::OpenSession);
    assert!(appended(&log.store, &write(3 + 1, 1, 1, fail())).is_some(), "others do not wait");
}

/// Admits as a leader would that applies nothing, until it refuses.
fn fill(store: &Store, mut commands: impl Iterator<Item = Command>) -> (Vec<Command>, Refusal) {
    let (mut pending, mut taken) = (Pending::default(), Vec::new());
    loop {
        let command = commands.next().expect("the limit is reached before");
        match store.admit(&body(&command), &pending) {
            Ok(Admitted::Append(admission)) => {
                pending.add(&admission);
                taken.push(command);
            }
            Ok(Admitted::Answer(outcome)) => panic!("{outcome:?}"),
            Err(refusal) => return (taken, refusal),
        }
    }
}

#[test]
fn failed_cas_fill_the_memory_up_to_the_limit_and_are_then_refused_before_they_are_appended() {
    let (mut log, large_key, other) = (Log::new(), key(true, 0), key(true, 1));
    let large = "x".repeat(10_000);
    log.apply(&write(0, 1, 1, put(&large_key, &large)));
    let memory = log.store.bytes() + 35_000;
    log.store.set_limits(Limits { memory, ..Limits::default() });
    let fail = |seq, ack_below| write(0, seq, ack_below, cas(&large_key, Expect::Absent, "y"));
    let (taken, refusal) = fill(&log.store, (2..).map(|seq| fail(seq, 1)));
    assert_eq!((taken.len(), refusal), (3, Refusal::Full));
    taken.iter().for_each(|command| drop(log.apply(command)));
    assert!(log.store.bytes() <= memory);
    assert_eq!(admit(&log.store, &fail(5, 1)), Err(Refusal::Full));
    assert_eq!(admit(&log.store, &write(0, 5, 1, put(&other, &large))), Err(Refusal::Full));
    // What does not grow goes on, and so does what frees as much as it takes.
    assert!(appended(&log.store, &write(0, 5, 1, Write::Delete { key: large_key.clone() })).is_some());
    assert!(appended(&log.store, &write(0, 5, 1, put(&large_key, &large))).is_some());
    let expect = Expect::Value(bytes(&large));
    assert!(appended(&log.store, &write(0, 5, 1, cas(&large_key, expect, "z"))).is_some());
    assert!(appended(&log.store, &Command::OpenSession).is_some());
    assert!(appended(&log.store, &fail(5, 3)).is_some());
    log.apply(&write(0, 5, 5, Write::Delete { key: other.clone() }));
    assert!(appended(&log.store, &write(0, 6, 6, put(&other, &large))).is_some(), "it lifted by itself");
}

#[test]
fn what_an_acknowledgement_frees_is_promised_once() {
    let (mut log, large_key) = (Log::new(), key(true, 0));
    let large = "x".repeat(10_000);
    log.apply(&write(0, 1, 1, put(&large_key, &large)));
    log.apply(&write(0, 2, 1, cas(&large_key, Expect::Absent, "y")));
    log.apply(&write(0, 3, 1, cas(&large_key, Expect::Absent, "y")));
    let memory = log.store.bytes();
    log.store.set_limits(Limits { memory, ..Limits::default() });
    let puts = (4..).map(|seq| write(0, seq, 4, put(&key(true, seq as usize), &"x".repeat(15_000))));
    let (taken, refusal) = fill(&log.store, puts);
    assert_eq!((taken.len(), refusal), (1, Refusal::Full));
    log.apply(&taken[0]);
    assert!(log.store.bytes() <= memory);
}

#[test]
fn a_cas_counts_the_longest_value_that_may_be_there_when_it_is_applied() {
    let (mut log, key) = (Log::new(), key(true, 0));
    log.apply(&write(0, 1, 1, put(&key, "small")));
    let memory = log.store.bytes() + 35_000;
    log.store.set_limits(Limits { memory, ..Limits::default() });
    let grow = [write(0, 2, 1, put(&key, &"x".repeat(10_000)))];
    let fails = (3..).map(|seq| write(0, seq, 1, cas(&key, Expect::Value(bytes("small")), "y")));
    let (taken, refusal) = fill(&log.store, grow.into_iter().chain(fails));
    assert_eq!((taken.len(), refusal), (3, Refusal::Full));
    taken.iter().for_each(|command| drop(log.apply(command)));
    assert!(log.store.bytes() <= memory);
}

#[test]
fn the_values_under_way_count_for_their_session() {
    let (mut log, key) = (Log::new(), key(true, 0));
    log.store.set_limits(Limits { pinned: 1300, ..Limits::default() });
    log.apply(&write(0, 1, 1, put(&key, &"x".repeat(600))));
    let (taken, refusal) =
        fill(&log.store, (2..).map(|seq| write(0, seq, 1, cas(&key, Expect::Absent, "y"))));
    assert_eq!((taken.len(), refusal), (2, Refusal::Overloaded));
}
