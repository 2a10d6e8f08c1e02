use haystack_client::{GroupId, LogIndex};
use haystack_wire::ids::{HistoryId, SessionId};

use super::*;

fn how(is_write: bool) -> Circumstance {
    Circumstance {
        is_write,
        addresses: vec!["127.0.0.1:9".into(), "store:7400".into()],
        has_key: false,
        cluster: "orders".into(),
        timeout: Duration::from_secs(3),
    }
}

fn ticket() -> Ticket {
    Ticket { session: SessionId { group: GroupId(2), index: LogIndex(9) }, seq: 4, key: "k".into() }
}

fn io() -> Error {
    Error::Io { doing: "receiving", kind: ErrorKind::Other, reason: "x".into() }
}

#[test]
fn every_error_has_the_exit_status_of_what_may_have_happened() {
    let expired = |maybe_applied| Error::SessionExpired { ticket: ticket(), maybe_applied };
    let forked = |maybe_applied| Error::HistoryForked { history: HistoryId(1), ticket: None, maybe_applied };
    let cases = [
        (Error::Refused(Refusal::Full), Exit::Refused),
        (Error::Refused(Refusal::Forbidden), Exit::Refused),
        (Error::Refused(Refusal::TooLarge { limit: 1 }), Exit::Refused),
        (Error::Refused(Refusal::NotLeader), Exit::Unreachable),
        (Error::Refused(Refusal::NotReady), Exit::Unreachable),
        (Error::Unknown(ticket()), Exit::Unknown),
        (expired(true), Exit::Unknown),
        (expired(false), Exit::Refused),
        (forked(true), Exit::Unknown),
        (forked(false), Exit::Refused),
        (Error::NeverApplied, Exit::Refused),
        (Error::Unreachable(Wait::Map), Exit::Unreachable),
        (Error::Timeout(Wait::Answer(GroupId(1))), Exit::Unreachable),
        (Usage::KeyTooLong { bytes: 2, limit: 1 }.into(), Exit::Refused),
        (Usage::NoAddress.into(), Exit::Usage),
        (Error::Busy, Exit::Refused),
        (Error::Protocol("x".into()), Exit::Unknown),
        (io(), Exit::Unknown),
    ];
    for (error, exit) in cases {
        assert_eq!(Failure::of(&error, &how(true)).exit, exit, "{error:?}");
        assert_eq!(error.is_definite(), exit != Exit::Unknown, "{error:?}");
    }
    assert_eq!(Failure::of(&io(), &how(false)).exit, Exit::Unreachable);
    assert_eq!(Failure::of(&Error::Protocol("x".into()), &how(false)).exit, Exit::Unreachable);
}

#[test]
fn who_was_asked_and_what_was_waited_for_is_said() {
    let said = Failure::of(&Error::Unreachable(Wait::Connection), &how(false)).message;
    for word in ["127.0.0.1:9, store:7400", "3s", "`orders`", "--key-file"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let said = Failure::of(&Error::Refused(Refusal::NotLeader), &how(true)).message;
    for word in ["no leader", "store:7400", "3s", "haystackctl status"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let said = Failure::of(&Error::Unreachable(Wait::Map), &how(false)).message;
    for word in ["partition map", "store:7400", "3s", "haystackctl status"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn an_unknown_outcome_names_session_and_number() {
    let failure = Failure::of(&Error::Unknown(ticket()), &how(true));
    assert!(failure.message.contains("session 2.9, number 4"), "{}", failure.message);
    let json = failure.to_json();
    assert_eq!(json["error"]["kind"], "unknown");
    assert_eq!((&json["error"]["session"], &json["error"]["number"]), (&"2.9".into(), &4.into()));
    let plain = Failure::usage("no").to_json();
    assert_eq!(plain, json!({ "error": { "kind": "usage", "message": "no" } }));
}
