//! Which sessions the leader finds idle.

use haystack_wire::time::{Duration, Instant};

use super::*;

const IDLE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

#[test]
fn a_session_is_idle_a_whole_time_after_its_last_use_or_the_leaders_first_look() {
    let mut log = Log::new();
    log.apply(&Command::OpenSession);
    let mut activity = Activity::new(IDLE);
    assert_eq!(activity.idle(at(0), &log.store, 10), vec![]);
    activity.note(at(50), id(1));
    assert_eq!(activity.idle(at(60), &log.store, 10), vec![]);
    assert_eq!(activity.idle(at(61), &log.store, 10), vec![LogIndex(0)]);
    assert_eq!(activity.idle(at(62), &log.store, 10), vec![], "it was told once");
    assert_eq!(activity.idle(at(111), &log.store, 10), vec![LogIndex(1)]);
    assert_eq!(activity.idle(at(123), &log.store, 10), vec![LogIndex(0)], "if it is still there, again");
}

#[test]
fn every_look_is_bounded_and_all_sessions_are_looked_at_in_turn() {
    let mut log = Log::new();
    for _ in 0..24 {
        log.apply(&Command::OpenSession);
    }
    let mut activity = Activity::new(IDLE);
    let mut found = Vec::new();
    for second in 0..20 {
        let idle = activity.idle(at(second * 20), &log.store, 10);
        assert!(idle.len() <= 10);
        found.extend(idle);
        if found.len() >= 25 {
            break;
        }
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, (0..25).map(LogIndex).collect::<Vec<_>>());
}

#[test]
fn notes_of_sessions_that_are_gone_do_not_pile_up() {
    let mut log = Log::new();
    let mut activity = Activity::new(IDLE);
    for index in 0..5000 {
        activity.note(at(1), id(index));
    }
    activity.idle(at(2), &log.store, 10);
    log.apply(&Command::OpenSession);
    assert!(activity.noted() <= 2, "{}", activity.noted());
}
