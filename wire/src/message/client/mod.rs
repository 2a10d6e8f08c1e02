//! What clients ask and are told, and the commands that their writes become in the log.
//!
//! A write travels as a [`Command`]: the leader appends the very bytes that the client sent.

mod codec;

use bytes::Bytes;

use crate::ids::{Epoch, GroupId, HistoryId, LogIndex, NodeId, SessionId, Slot, Version, ViewId};

/// Longest key: 64 KiB.
pub const KEY_LIMIT: usize = 64 * 1024;
/// Longest value that any configuration allows: 1.5 MiB, so that a CAS with an expected and a new value of this size
/// fits one message of class 1 (4 MiB).
pub const VALUE_LIMIT: usize = 1536 * 1024;
/// Longest command, encoded: a CAS with two values of [`VALUE_LIMIT`] and the longest key fits, and as an entry it fits
/// one message of class 1 (4 MiB) with what goes around it.
pub const COMMAND_LIMIT: usize = 4 * 1024 * 1024 - 64 * 1024;
/// Most sessions that one command ends.
pub const EXPIRE_LIMIT: usize = 16 * 1024;
/// How many operations of one session may be under way: the replicated window of remembered replies.
pub const SESSION_WINDOW: u64 = 64;

/// A command of a data group's state machine: the body of a log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Opens a session, whose id is the position of this entry.
    OpenSession,
    /// Writes once per (session, seq), whatever is retried.
    Write {
        /// The session, of this group.
        session: SessionId,
        /// The operation's number in its session, from 1, for ever.
        seq: u64,
        /// Replies below this are not needed any more.
        ack_below: u64,
        /// What to write.
        write: Write,
    },
    /// A fence: settles whether (session, seq) ever applied.
    Resolve {
        /// The session.
        session: SessionId,
        /// The operation's number.
        seq: u64,
        /// The operation's key, which the group must own to answer.
        key: Bytes,
    },
    /// Ends sessions that were idle too long, by the leader's judgement.
    ExpireSessions {
        /// Positions that name the sessions.
        sessions: Vec<LogIndex>,
    },
    /// Ends a session that its client needs no more, if no reply is remembered that it has not acknowledged: the
    /// operation of such a one may still be asked for.
    CloseSession {
        /// The session.
        session: SessionId,
        /// Replies below this are not needed any more, and no number from here on was ever used.
        ack_below: u64,
    },
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets the value.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Removes the key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Sets the value if what is there is as expected.
    Cas {
        /// The key.
        key: Bytes,
        /// What must be there.
        expect: Expect,
        /// The new value.
        value: Bytes,
    },
}

/// What a CAS expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// This value.
    Value(Bytes),
    /// This version.
    Version(Version),
}

/// A client's request to the group that serves a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's mark, unique on its link and below 2^62, returned with the answer.
    pub id: u64,
    /// The group that the client believes responsible.
    pub group: GroupId,
    /// The history that the client knows; one of another history is refused.
    pub history: HistoryId,
    /// What is asked.
    pub body: RequestBody,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// A command for the log, as its encoded bytes; the group validates it before it appends it.
    Command(Bytes),
    /// Reads a key.
    Get {
        /// The key.
        key: Bytes,
        /// Whether any replica may answer from what it has, marked as stale.
        stale: bool,
    },
    /// Reads a page of the group's keys in order, linearizable as one read.
    Scan {
        /// Keys after this one; from the start if absent.
        after: Option<Bytes>,
        /// About how many bytes of keys and values to return; at least one pair is.
        limit: u32,
    },
}

/// A key with what is stored under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Its version.
    pub version: Version,
}

/// A value with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// Its version.
    pub version: Version,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The mark of the request.
    pub id: u64,
    /// Where to send the next request for this group, if the answerer was not the leader.
    pub hint: Option<RouteHint>,
    /// The answer.
    pub outcome: Outcome,
}

/// Who leads a group, as far as the answerer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteHint {
    /// The answerer's map.
    pub epoch: Epoch,
    /// The group.
    pub group: GroupId,
    /// Its leader.
    pub leader: Option<NodeId>,
}

/// The answer itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A session is open.
    Opened {
        /// Its id.
        session: SessionId,
    },
    /// A write was applied at `at`, now or when it was first tried.
    Applied {
        /// The position of the write.
        at: LogIndex,
        /// What it did.
        effect: Effect,
    },
    /// A read saw the state in which everything below `at` was applied.
    Read {
        /// The position of the read.
        at: LogIndex,
        /// What is stored.
        found: Option<Versioned>,
    },
    /// A page was read from the state in which everything below `at` was applied.
    Page {
        /// The position of the read.
        at: LogIndex,
        /// The pairs, in the order of keys.
        pairs: Vec<Pair>,
        /// Whether keys are left after the last one.
        more: bool,
    },
    /// A stale read, from whatever the answerer had applied.
    Stale {
        /// The answerer's view.
        view: ViewId,
        /// The position of the read.
        at: LogIndex,
        /// Milliseconds since the answerer last heard from a leader.
        age_ms: u64,
        /// What was stored.
        found: Option<Versioned>,
    },
    /// The fence says: the operation never applied and never will.
    NeverApplies,
    /// The session is gone: an operation of it may have applied, and will not any more. To a [`Command::CloseSession`]
    /// the answer that it asked for.
    SessionExpired,
    /// Surely nothing was appended.
    Refused(Refusal),
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The value is set.
    Written,
    /// The key is gone. Of what was there only the version is told: a remembered reply would else keep the value in
    /// memory that the delete was to free.
    Deleted {
        /// The version of what was removed.
        previous: Option<Version>,
    },
    /// The CAS found something else and changed nothing.
    Mismatch {
        /// What it found.
        actual: Option<Versioned>,
    },
}

/// Why surely nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The answerer does not lead the group; see the hint.
    NotLeader,
    /// The group does not own the slot.
    WrongGroup {
        /// The slot.
        slot: Slot,
        /// The epoch in which the answerer knows that.
        epoch: Epoch,
    },
    /// Too much is under way: try again after a while.
    Overloaded,
    /// The memory limit is reached: only writes are refused that may grow the data, or the values that remembered
    /// replies hold.
    Full,
    /// A key or value is over its limit of so many bytes.
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// `seq` is outside the session's window, or below what it already acknowledged.
    OutOfWindow,
    /// The cluster is not founded, or this daemon has no part in it yet.
    NotReady,
    /// The client's key does not allow this.
    Forbidden,
    /// The request belongs to another history of the cluster.
    HistoryForked {
        /// The history that is in force.
        history: HistoryId,
    },
    /// The request means nothing to this daemon.
    Malformed,
}
