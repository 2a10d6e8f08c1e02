//! Bytes of what clients and groups say to each other, and of commands.

use bytes::Bytes;

use super::{
    COMMAND_LIMIT, Command, EXPIRE_LIMIT, Effect, Expect, KEY_LIMIT, Outcome, Pair, Refusal, Reply, Request,
    RequestBody, RouteHint, VALUE_LIMIT, Versioned, Write,
};
use crate::codec::encode_whole;
use crate::message::MESSAGE_LIMIT;
use crate::message::format::{Amount, Blob, Counter, Flag, Many, Mark, Maybe, Plain, record, tagged};

/// A key.
const KEY: Blob = Blob(KEY_LIMIT);
/// A value.
const VALUE: Blob = Blob(VALUE_LIMIT);
/// Pairs of a page; the message bounds them.
const PAIRS: Many<Plain> = Many::of(MESSAGE_LIMIT / PAIR_LEAST, PAIR_LEAST, Plain);
/// Fewest bytes of a [`Pair`].
const PAIR_LEAST: usize = 4;

impl RequestBody {
    /// The bytes that [`RequestBody::Command`] carries, and that become the body of a log entry as they are.
    pub fn command(command: &Command) -> Bytes {
        encode_whole(command)
    }
}

tagged!(Command {
    1 => OpenSession,
    2 => Write { session: Plain, seq: Counter, ack_below: Counter, write: Plain },
    3 => Resolve { session: Plain, seq: Counter, key: KEY },
    4 => ExpireSessions { sessions: Many::of(EXPIRE_LIMIT, 1, Plain) },
    5 => CloseSession { session: Plain, ack_below: Counter },
});

tagged!(Write {
    1 => Put { key: KEY, value: VALUE },
    2 => Delete { key: KEY },
    3 => Cas { key: KEY, expect: Plain, value: VALUE },
});

tagged!(Expect {
    1 => Absent,
    2 => Value(value: VALUE),
    3 => Version(version: Plain),
});

record!(Request { id: Mark, group: Plain, history: Plain, body: Plain });

tagged!(RequestBody {
    1 => Command(command: Blob(COMMAND_LIMIT)),
    2 => Get { key: KEY, stale: Flag },
    3 => Scan { after: Maybe(KEY), limit: Amount },
});

record!(Pair { key: KEY, value: VALUE, version: Plain });
record!(Versioned { value: VALUE, version: Plain });
record!(Reply { id: Mark, hint: Maybe(Plain), outcome: Plain });
record!(RouteHint { epoch: Plain, group: Plain, leader: Maybe(Plain) });

tagged!(Outcome {
    1 => Opened { session: Plain },
    2 => Applied { at: Plain, effect: Plain },
    3 => Read { at: Plain, found: Maybe(Plain) },
    4 => Page { at: Plain, pairs: PAIRS, more: Flag },
    5 => Stale { view: Plain, at: Plain, age_ms: Amount, found: Maybe(Plain) },
    6 => NeverApplies,
    7 => SessionExpired,
    8 => Refused(refusal: Plain),
});

tagged!(Effect {
    1 => Written,
    2 => Deleted { previous: Maybe(Plain) },
    3 => Mismatch { actual: Maybe(Plain) },
});

tagged!(Refusal {
    1 => NotLeader,
    2 => WrongGroup { slot: Plain, epoch: Plain },
    3 => Overloaded,
    4 => Full,
    5 => TooLarge { limit: Amount },
    6 => OutOfWindow,
    7 => NotReady,
    8 => Forbidden,
    9 => HistoryForked { history: Plain },
    10 => Malformed,
});
