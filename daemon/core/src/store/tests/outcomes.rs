//! What clients are told, case by case.

use haystack_wire::message::client::Refusal;

use super::*;

#[test]
fn a_retry_gets_the_original_reply_whatever_happened_since() {
    let (mut log, key) = (Log::new(), key(true, 0));
    let first = write(0, 1, 1, cas(&key, Expect::Absent, "one"));
    assert_eq!(log.apply(&first), applied(1, Effect::Written));
    let delete = write(0, 2, 1, Write::Delete { key: key.clone() });
    assert_eq!(log.apply(&delete), applied(2, Effect::Deleted { previous: Some(version(1)) }));
    log.apply(&write(0, 3, 1, put(&key, "two")));
    assert_eq!(log.apply(&first), applied(1, Effect::Written));
    assert_eq!(log.apply(&delete), applied(2, Effect::Deleted { previous: Some(version(1)) }));
    assert_eq!(log.store.get(&key), found("two", 3));
    assert_eq!(log.store.stats().duplicates, 2);
}

#[test]
fn a_failed_cas_returns_the_actual_value_and_version_also_when_retried() {
    let (mut log, key) = (Log::new(), key(true, 0));
    log.apply(&write(0, 1, 1, put(&key, "one")));
    let failed = write(0, 2, 1, cas(&key, Expect::Value(bytes("zero")), "two"));
    let mismatch = applied(2, Effect::Mismatch { actual: found("one", 1) });
    assert_eq!(log.apply(&failed), mismatch);
    log.apply(&write(0, 3, 1, put(&key, "zero")));
    assert_eq!(log.apply(&failed), mismatch);
    assert_eq!(log.store.get(&key), found("zero", 3));
}

#[test]
fn a_write_below_the_window_never_applies_and_is_not_denied_either() {
    let (mut log, key) = (Log::new(), key(true, 0));
    log.apply(&write(0, 1, 1, put(&key, "one")));
    log.apply(&write(0, 2, 2, put(&key, "two")));
    let digest = log.store.digest();
    assert_eq!(log.apply(&write(0, 1, 1, put(&key, "one"))), Outcome::SessionExpired);
    let resolve = Command::Resolve { session: id(0), seq: 1, key: key.clone() };
    assert_eq!(log.apply(&resolve), Outcome::SessionExpired);
    assert_eq!(log.store.digest(), digest);
    assert_eq!(log.apply(&write(0, 3, 2, put(&key, "three"))), applied(5, Effect::Written));
}

#[test]
fn a_write_beyond_the_window_has_no_effect_until_the_window_moves() {
    let (mut log, key) = (Log::new(), key(true, 0));
    let digest = log.store.digest();
    let far = write(0, 65, 1, put(&key, "far"));
    assert_eq!(log.apply(&far), Outcome::Refused(Refusal::OutOfWindow));
    assert_eq!(log.apply(&write(0, 0, 0, put(&key, "zero"))), Outcome::SessionExpired);
    assert_eq!(log.store.digest(), digest);
    assert_eq!(log.apply(&write(0, 65, 2, put(&key, "far"))), applied(3, Effect::Written));
}

#[test]
fn a_fence_settles_for_ever() {
    let (mut log, key) = (Log::new(), key(true, 0));
    let resolve = Command::Resolve { session: id(0), seq: 2, key: key.clone() };
    assert_eq!(log.apply(&resolve), Outcome::NeverApplies);
    assert_eq!(log.apply(&write(0, 2, 1, put(&key, "late"))), Outcome::NeverApplies);
    assert_eq!(log.apply(&resolve), Outcome::NeverApplies);
    assert_eq!(log.store.get(&key), None);
    log.apply(&write(0, 3, 1, put(&key, "other")));
    let resolve = Command::Resolve { session: id(0), seq: 3, key };
    assert_eq!(log.apply(&resolve), applied(4, Effect::Written));
}

#[test]
fn a_fence_finds_its_place_although_the_window_lags() {
    let (mut log, key) = (Log::new(), key(true, 0));
    for seq in 1..=64 {
        log.apply(&write(0, seq, 1, put(&key, "x")));
    }
    // The client has all replies, and its write 100 (with ack_below 80) was lost.
    let resolve = Command::Resolve { session: id(0), seq: 100, key: key.clone() };
    assert_eq!(log.apply(&resolve), Outcome::NeverApplies);
    assert_eq!(log.apply(&write(0, 100, 80, put(&key, "late"))), Outcome::NeverApplies);
    assert_eq!(log.apply(&write(0, 36, 1, put(&key, "old"))), Outcome::SessionExpired);
    assert_eq!(log.apply(&write(0, 37, 1, put(&key, "x"))), applied(37, Effect::Written));
}

#[test]
fn an_unknown_session_is_an_expired_one() {
    let (mut log, key) = (Log::new(), key(true, 0));
    log.apply(&Command::ExpireSessions { sessions: vec![LogIndex(0), LogIndex(77)] });
    assert_eq!(log.store.sessions(), 0);
    assert_eq!(log.store.stats().sessions_ended, 1);
    assert_eq!(log.apply(&write(0, 1, 1, put(&key, "x"))), Outcome::SessionExpired);
    let resolve = Command::Resolve { session: id(0), seq: 1, key: key.clone() };
    assert_eq!(log.apply(&resolve), Outcome::SessionExpired);
    assert_eq!(log.apply(&Command::OpenSession), Outcome::Opened { session: id(4) });
    let other = SessionId { group: GroupId(9), index: LogIndex(4) };
    let foreign = Command::Write { session: other, seq: 1, ack_below: 1, write: put(&key, "x") };
    assert_eq!(log.apply(&foreign), Outcome::SessionExpired);
    assert!(log.store.is_empty());
}

#[test]
fn a_closed_session_is_gone_with_its_replies_and_closing_it_again_says_the_same() {
    let (mut log, key) = (Log::new(), key(true, 0));
    let before = (log.store.bytes(), log.store.digest());
    log.apply(&Command::OpenSession);
    log.apply(&write(1, 1, 1, put(&key, "one")));
    log.apply(&write(1, 2, 1, cas(&key, Expect::Absent, "two")));
    log.apply(&write(0, 1, 1, Write::Delete { key: key.clone() }));
    log.apply(&write(0, 2, 2, put(&key, "")));
    let close = Command::CloseSession { session: id(1), ack_below: 3 };
    let bytes = log.store.bytes();
    assert_eq!(log.apply(&close), Outcome::SessionExpired);
    assert_eq!(log.store.bytes(), bytes - SESSION_OVERHEAD - 2 * REPLY_OVERHEAD - 3);
    assert_eq!((log.store.sessions(), log.store.stats().sessions_closed), (1, 1));
    assert_eq!(log.apply(&close), Outcome::SessionExpired);
    assert_eq!(log.apply(&write(1, 2, 1, put(&key, "late"))), Outcome::SessionExpired);
    let resolve = Command::Resolve { session: id(1), seq: 2, key: key.clone() };
    assert_eq!(log.apply(&resolve), Outcome::SessionExpired);
    assert_eq!(log.store.get(&key), found("", 5));
    log.apply(&write(0, 3, 3, Write::Delete { key }));
    log.apply(&Command::CloseSession { session: id(0), ack_below: 4 });
    log.apply(&Command::OpenSession);
    assert_eq!(log.store.bytes(), before.0);
    assert_ne!(log.store.digest(), before.1, "another session is open");
}

#[test]
fn a_session_with_a_reply_that_its_client_may_still_ask_for_is_not_closed() {
    let (mut log, key) = (Log::new(), key(true, 0));
    log.apply(&write(0, 1, 1, put(&key, "one")));
    let second = applied(2, Effect::Written);
    assert_eq!(log.apply(&write(0, 2, 2, put(&key, "two"))), second);
    let digest = log.store.digest();
    for ack_below in [0, 1, 2] {
        let close = Command::CloseSession { session: id(0), ack_below };
        assert_eq!(log.apply(&close), Outcome::Refused(Refusal::OutOfWindow), "{ack_below}");
    }
    let foreign = SessionId { group: GroupId(9), index: LogIndex(0) };
    assert_eq!(log.apply(&Command::CloseSession { session: foreign, ack_below: 3 }), Outcome::SessionExpired);
    assert_eq!(log.store.digest(), digest);
    assert_eq!(log.apply(&write(0, 2, 2, put(&key, "two"))), second, "the original reply");
}

#[test]
fn a_slot_of_another_group_changes_nothing_and_keeps_the_number_free() {
    let mut log = Log::new();
    let (own, other) = (key(true, 0), key(false, 0));
    let digest = log.store.digest();
    let refused = Outcome::Refused(Refusal::WrongGroup { slot: slot_of(&other), epoch: Epoch(0) });
    assert_eq!(log.apply(&write(0, 1, 1, put(&other, "x"))), refused);
    assert_eq!(log.apply(&Command::Resolve { session: id(0), seq: 1, key: other }), refused);
    assert_eq!(log.store.digest(), digest);
    assert_eq!(log.apply(&write(0, 1, 1, put(&own, "x"))), applied(3, Effect::Written));
}

#[test]
#[should_panic(expected = "comes after")]
fn an_entry_is_never_applied_twice() {
    let mut store = store();
    let open = body(&Command::OpenSession);
    store.apply(LogIndex(4), &open);
    store.apply(LogIndex(4), &open);
}

#[test]
fn equal_states_of_different_pasts_have_equal_digests() {
    let (a, b) = (key(true, 0), key(true, 1));
    let (mut one, mut two) = (Log::new(), Log::new());
    one.apply(&write(0, 1, 1, put(&a, "old")));
    one.apply(&write(0, 2, 2, put(&b, "x")));
    one.apply(&write(0, 3, 3, put(&a, "y")));
    two.apply(&Command::OpenSession);
    two.apply(&write(0, 2, 2, put(&b, "x")));
    two.apply(&write(0, 3, 3, put(&a, "y")));
    assert_ne!(one.store.digest(), two.store.digest(), "a session more");
    let end = Command::ExpireSessions { sessions: vec![LogIndex(1)] };
    one.apply(&end);
    two.apply(&end);
    assert_eq!(one.store.digest(), two.store.digest());
    let fresh = Store::new(GROUP, FIRST, LAST, Limits::default());
    assert_ne!(fresh.digest(), Store::new(GROUP, FIRST, Slot(9999), Limits::default()).digest());
}

#[test]
fn a_page_has_at_least_one_pair_and_stops_at_its_limit() {
    let mut log = Log::new();
    let mut keys: Vec<_> = (0..40).map(|n| key(true, n)).collect();
    for (n, key) in keys.iter().enumerate() {
        let value = "v".repeat(if n == 7 { 200_000 } else { n });
        log.apply(&write(0, n as u64 + 1, 1, put(key, &value)));
    }
    keys.sort();
    for limit in [0, 1, 50, 1000, usize::MAX] {
        let read: Vec<_> = pairs(&log.store, limit).into_iter().map(|pair| pair.key).collect();
        assert_eq!(read, keys);
    }
    assert_eq!(log.store.scan(None, 1).0.len(), 1);
    assert!(log.store.scan(None, usize::MAX).0.len() == 40);
    assert_eq!(log.store.scan(keys.last().map(|key| &**key), 100), (vec![], false));
}
