//! What a client can ask, and what it is told.

use std::net::SocketAddr;

use bytes::Bytes;
use haystack_wire::ids::{GroupId, LogIndex, NodeId, SessionId, Version, ViewId};
use haystack_wire::message::admin::{AdminReply, AdminRequest};
use haystack_wire::message::client::{Effect, Expect, Pair, Versioned, Write};

use crate::error::{Error, Ticket};

/// Names an operation of one client from its submission to its completion; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub(crate) u64);

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads a key.
    Get {
        /// The key.
        key: Bytes,
        /// Whether any replica may answer from what it has, marked as stale.
        stale: bool,
    },
    /// Writes a key, once.
    Write(Write),
    /// Reads a page of a partition's keys in order.
    Scan {
        /// The partition's group, from the map.
        group: GroupId,
        /// Keys after this one; from the start if absent.
        after: Option<Bytes>,
        /// About how many bytes of keys and values to return; at least one pair is.
        limit: u32,
    },
    /// Settles a write whose outcome is unknown: afterwards it was applied, and the answer is the one that was
    /// lost, or it never will be.
    Resolve(Ticket),
}

impl Operation {
    /// Reads `key`, linearizably.
    pub fn get(key: impl Into<Bytes>) -> Self {
        Self::Get { key: key.into(), stale: false }
    }

    /// Sets `key` to `value`.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Write(Write::Put { key: key.into(), value: value.into() })
    }

    /// Removes `key`.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Write(Write::Delete { key: key.into() })
    }

    /// Sets `key` to `value` if what is there is as expected.
    pub fn cas(key: impl Into<Bytes>, expect: Expect, value: impl Into<Bytes>) -> Self {
        Self::Write(Write::Cas { key: key.into(), expect, value: value.into() })
    }

    /// The key that decides which group serves it.
    pub(super) const fn key(&self) -> Option<&Bytes> {
        match self {
            Self::Get { key, .. } => Some(key),
            Self::Write(write) => Some(write_key(write)),
            Self::Resolve(ticket) => Some(&ticket.key),
            Self::Scan { .. } => None,
        }
    }

    /// Bytes of keys and values that it holds.
    pub(super) fn bytes(&self) -> usize {
        let more = match self {
            Self::Write(Write::Put { value, .. }) => value.len(),
            Self::Write(Write::Cas { expect, value, .. }) => {
                value.len() + expected(expect).map_or(0, Bytes::len)
            }
            Self::Scan { after, .. } => after.as_ref().map_or(0, Bytes::len),
            Self::Write(Write::Delete { .. }) | Self::Get { .. } | Self::Resolve(_) => 0,
        };
        self.key().map_or(0, Bytes::len) + more
    }
}

/// To which daemon an admin request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminTarget {
    /// Any that answers.
    Any,
    /// The one at this address, one of those that the client was given.
    Address(SocketAddr),
    /// This process.
    Node(NodeId),
}

/// An answer. Positions are indexes of the log of the completion's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The write was applied at `at`, now or when it was first tried.
    Applied {
        /// The version that the write made, or, where it changed nothing, where that was decided.
        at: Version,
        /// What it did.
        effect: Effect,
    },
    /// The read saw the state in which everything below `at` was applied.
    Read {
        /// The position of the read.
        at: LogIndex,
        /// What is stored.
        found: Option<Versioned>,
    },
    /// The page was read from the state in which everything below `at` was applied.
    Page {
        /// The position of the read.
        at: LogIndex,
        /// The pairs, in the order of keys.
        pairs: Vec<Pair>,
        /// Whether keys are left after the last one.
        more: bool,
    },
    /// A stale read.
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
    /// A `Resolve` settled that the write was never applied and never will be.
    NeverApplies,
    /// A `Resolve` came too late: the session has expired. The write may have been applied, and will not be any
    /// more.
    Expired,
    /// The answer to an admin request.
    Admin(Box<AdminReply>),
}

/// The end of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which.
    pub op: OpId,
    /// How it ended.
    pub outcome: Result<Answer, Error>,
    /// How often it was sent.
    pub attempts: u32,
    /// The group that answered, or was asked last; the directory's for admin requests and for what never got so
    /// far.
    pub group: GroupId,
    /// The session and number of a write, if it was given one: for checkers of exactly-once.
    pub session: Option<(SessionId, u64)>,
}

/// What the client keeps of an operation under way.
#[derive(Debug)]
pub(super) enum Work {
    User(Operation),
    Admin {
        target: AdminTarget,
        request: AdminRequest,
    },
    /// Opens a session of its group.
    Open,
    /// Closes a session of its group.
    Close,
}

impl Work {
    /// The key that decides which group serves it.
    pub(super) fn key(&self) -> Option<&Bytes> {
        match self {
            Self::User(operation) => operation.key(),
            Self::Admin { .. } | Self::Open | Self::Close => None,
        }
    }

    /// Whether it must be numbered in a session before it is sent.
    pub(super) const fn needs_session(&self) -> bool {
        matches!(self, Self::User(Operation::Write(_)))
    }

    /// Whether it may be sent a second time: everything but an admin's order.
    pub(super) const fn may_repeat(&self) -> bool {
        !matches!(self, Self::Admin { request: AdminRequest::AbandonOldData, .. })
    }

    /// Bytes of keys and values that it holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::User(operation) => operation.bytes(),
            Self::Admin { .. } | Self::Open | Self::Close => 0,
        }
    }
}

/// The key of a write.
pub(super) const fn write_key(write: &Write) -> &Bytes {
    match write {
        Write::Put { key, .. } | Write::Delete { key } | Write::Cas { key, .. } => key,
    }
}

/// The value that a CAS expects, if it is one.
pub(super) const fn expected(expect: &Expect) -> Option<&Bytes> {
    match expect {
        Expect::Value(value) => Some(value),
        Expect::Absent | Expect::Version(_) => None,
    }
}
