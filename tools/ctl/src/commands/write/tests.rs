use std::collections::VecDeque;

use haystack_client::{GroupId, LogIndex};
use haystack_wire::ids::SessionId;

use serde_json::json;

use super::*;

const AT: Version = Version { group: GroupId(2), index: LogIndex(40) };

fn ticket() -> Ticket {
    Ticket { session: SessionId { group: GroupId(2), index: LogIndex(9) }, seq: 4, key: "k".into() }
}

/// Answers writes and resolves with what it was given, in order.
#[derive(Default)]
struct Script {
    writes: VecDeque<Result<(Version, Effect), Error>>,
    resolves: VecDeque<Result<Resolved, Error>>,
    limits: Vec<Duration>,
}

impl Writer for Script {
    fn write(&mut self, _: &Write, limit: Duration) -> Result<(Version, Effect), Error> {
        self.limits.push(limit);
        self.writes.pop_front().expect("one write more than expected")
    }

    fn resolve(&mut self, asked: &Ticket, limit: Duration) -> Result<Resolved, Error> {
        assert_eq!(*asked, ticket());
        self.limits.push(limit);
        self.resolves.pop_front().expect("one resolve more than expected")
    }
}

fn run(
    timeout: Duration,
    writes: impl Into<VecDeque<Result<(Version, Effect), Error>>>,
    resolves: impl Into<VecDeque<Result<Resolved, Error>>>,
) -> (Result<(Version, Effect), Unsettled>, Script) {
    let mut script = Script { writes: writes.into(), resolves: resolves.into(), limits: Vec::new() };
    let put = Write::Put { key: "k".into(), value: "v".into() };
    let end = settle(&mut script, &put, timeout);
    assert!(script.writes.is_empty() && script.resolves.is_empty(), "the script is not played to its end");
    (end, script)
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_lost_answer_is_asked_for_within_the_rest_of_the_time() {
    let applied = Resolved::Applied { at: AT, effect: Effect::Written };
    let (end, script) = run(LONG, [Err(Error::Unknown(ticket()))], [Ok(applied)]);
    assert_eq!(end, Ok((AT, Effect::Written)));
    assert!(script.limits[0] <= LONG.mul_f64(0.75) && script.limits[1] > LONG.mul_f64(0.75));
}

#[test]
fn what_never_applies_is_written_again_only_while_there_is_time() {
    let unknown = || Err(Error::Unknown(ticket()));
    let (end, _) = run(LONG, [unknown(), Ok((AT, Effect::Written))], [Ok(Resolved::NeverApplies)]);
    assert_eq!(end, Ok((AT, Effect::Written)));
    let (end, _) = run(Duration::from_millis(1), [unknown()], [Ok(Resolved::NeverApplies)]);
    assert_eq!(end, Err(Unsettled::GivenUp(ticket())));
}

#[test]
fn what_may_have_been_applied_is_never_written_again() {
    let (end, _) = run(LONG, [Err(Error::Unknown(ticket()))], [Ok(Resolved::Expired)]);
    assert_eq!(end, Err(Unsettled::Expired(ticket())));
    let expired = Error::SessionExpired { ticket: ticket(), maybe_applied: true };
    assert_eq!(run(LONG, [Err(expired)], []).0, Err(Unsettled::Expired(ticket())));
    let silence = Error::Timeout(haystack_client::Wait::Answer(GroupId(2)));
    let (end, _) = run(LONG, [Err(Error::Unknown(ticket()))], [Err(silence)]);
    assert_eq!(end, Err(Unsettled::Error(Error::Unknown(ticket()))));
}

#[test]
fn an_expired_session_under_which_nothing_was_applied_costs_a_new_one() {
    let expired = Error::SessionExpired { ticket: ticket(), maybe_applied: false };
    let (end, _) = run(LONG, [Err(expired), Ok((AT, Effect::Written))], []);
    assert_eq!(end, Ok((AT, Effect::Written)));
}

#[test]
fn what_was_not_sent_in_its_share_of_the_time_gets_the_rest() {
    let away = || Err(Error::Unreachable(haystack_client::Wait::Connection));
    let (end, _) =
        run(LONG, [away(), Err(Error::Refused(Refusal::NotLeader)), Ok((AT, Effect::Written))], []);
    assert_eq!(end, Ok((AT, Effect::Written)));
    let (end, _) = run(Duration::from_millis(1), [away()], []);
    assert_eq!(end, Err(Unsettled::Error(Error::Unreachable(haystack_client::Wait::Connection))));
}

#[test]
fn a_refusal_ends_it() {
    let (end, _) = run(LONG, [Err(Error::Refused(Refusal::Full))], []);
    assert_eq!(end, Err(Unsettled::Error(Error::Refused(Refusal::Full))));
}

#[test]
fn writes_have_the_documented_shapes() {
    let found = Versioned { value: "old".into(), version: AT };
    assert_eq!(
        deleted(b"k", AT, Some(AT)),
        json!({ "key": "k", "deleted": true, "version": "2.40", "previous": { "version": "2.40" } })
    );
    assert_eq!(
        deleted(b"k", AT, None),
        json!({ "key": "k", "deleted": false, "version": "2.40", "previous": null })
    );
    assert_eq!(swapped(b"k", AT), json!({ "key": "k", "swapped": true, "version": "2.40" }));
    assert_eq!(
        mismatch(b"k", Some(&found)),
        json!({ "key": "k", "swapped": false, "actual": { "value": "old", "version": "2.40" } })
    );
    assert_eq!(mismatch(b"k", None), json!({ "key": "k", "swapped": false, "actual": null }));
}

#[test]
fn a_mismatch_says_what_is_there() {
    let found = Versioned { value: "old".into(), version: AT };
    let said = found_instead(b"k", Some(&found));
    assert_eq!(said, "nothing was changed: the value of `k` is `old`, version 2.40");
    assert_eq!(found_instead(b"k", None), "nothing was changed: there is no key `k`");
}
