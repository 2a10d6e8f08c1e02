//! What can go wrong with an operation, told so that the caller knows what may have happened.

use std::fmt;
use std::io;

use bytes::Bytes;
use haystack_wire::ids::{GroupId, HistoryId, SessionId};
use haystack_wire::message::client::Refusal;
use thiserror::Error;

/// Names a write whose outcome is not known, so that it can be settled by a `Resolve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The session under which the write was sent.
    pub session: SessionId,
    /// Its number in the session.
    pub seq: u64,
    /// Its key.
    pub key: Bytes,
}

/// Why an operation has no answer.
///
/// | variant | was the write applied? |
/// |---|---|
/// | `Refused`, `Unreachable`, `Usage`, `Busy`, `NeverApplied` | surely not |
/// | `SessionExpired`, `HistoryForked` | only if `maybe_applied` |
/// | `Unknown` | perhaps, or it will be yet: [`Ticket`] settles it |
/// | `Protocol`, `Io` in the middle of a call | perhaps |
/// | `Timeout` | not a write: a read, a `Resolve` or an admin request without an answer |
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Every attempt was refused before anything was appended. This was the last reason.
    #[error("refused: {}", Reason(.0))]
    Refused(Refusal),
    /// A write was sent and at least one attempt has no answer: it may have been applied, or may be yet.
    #[error("the outcome is unknown: the write may have been applied, or may be yet (session {}.{}, number {})",
        .0.session.group, .0.session.index, .0.seq)]
    Unknown(Ticket),
    /// The session under which the write was sent has expired. It will not be applied any more. Later writes use
    /// a new session.
    #[error("the client session expired; the write was {}", Perhaps(*.maybe_applied))]
    SessionExpired {
        /// The write.
        ticket: Ticket,
        /// Whether an attempt without an answer may have been applied before.
        maybe_applied: bool,
    },
    /// The cluster's history was forked by a recovery with data loss, or another cluster stands in its place.
    #[error("the cluster continues in another history ({history}); the write was {}", Perhaps(*.maybe_applied))]
    HistoryForked {
        /// The history in force.
        history: HistoryId,
        /// The write, if it was sent under a session.
        ticket: Option<Ticket>,
        /// Whether it may have been applied in the old history.
        maybe_applied: bool,
    },
    /// A fence has settled that the write never applies.
    #[error("the write was given up by a resolve and never applies")]
    NeverApplied,
    /// Nothing was ever sent.
    #[error("nothing was sent in time: waited for {0}")]
    Unreachable(Wait),
    /// A read, a `Resolve` or an admin request was sent and has no answer. Nothing was written by it.
    #[error("no answer in time: waited for {0}")]
    Timeout(Wait),
    /// The request cannot be asked like this.
    #[error(transparent)]
    Usage(#[from] Usage),
    /// Too many operations of this client are under way already.
    #[error("too many operations are under way")]
    Busy,
    /// A daemon answered something else than what was asked; its words.
    #[error("a daemon answered out of turn: {0}")]
    Protocol(String),
    /// The operating system refused something that the client needs.
    #[error("{doing}: {reason}")]
    Io {
        /// What the client was doing.
        doing: &'static str,
        /// The kind of the error.
        kind: io::ErrorKind,
        /// The system's words.
        reason: String,
    },
}

impl Error {
    /// The write to settle by a `Resolve`, if its outcome is unknown.
    pub const fn ticket(&self) -> Option<&Ticket> {
        match self {
            Self::Unknown(ticket) => Some(ticket),
            _ => None,
        }
    }

    /// Whether the operation surely changed nothing and never will.
    pub const fn is_definite(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Protocol(_) | Self::Io { .. } => false,
            Self::SessionExpired { maybe_applied, .. } | Self::HistoryForked { maybe_applied, .. } => {
                !*maybe_applied
            }
            Self::Refused(_)
            | Self::NeverApplied
            | Self::Unreachable(_)
            | Self::Timeout(_)
            | Self::Usage(_)
            | Self::Busy => true,
        }
    }

    pub(crate) fn io(doing: &'static str, error: &io::Error) -> Self {
        Self::Io { doing, kind: error.kind(), reason: error.to_string() }
    }
}

/// A request that cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Usage {
    /// The key is too long.
    #[error("the key has {bytes} bytes, more than the {limit} that are allowed")]
    KeyTooLong {
        /// Its bytes.
        bytes: usize,
        /// The bytes allowed.
        limit: usize,
    },
    /// The value, or the value that a CAS expects, is too long.
    #[error("the value has {bytes} bytes, more than the {limit} that are allowed")]
    ValueTooLong {
        /// Its bytes.
        bytes: usize,
        /// The bytes allowed.
        limit: usize,
    },
    /// No address was given to connect to.
    #[error("no address to connect to was given")]
    NoAddress,
    /// The map has no such group, so that there is nothing to scan.
    #[error("no partition is served by group {0}")]
    NoPartition(GroupId),
}

/// What an operation waited for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: its time was over at the start.
    Nothing,
    /// A daemon that answers at all.
    Connection,
    /// A daemon that knows the partition map: the cluster may not be founded yet.
    Map,
    /// A client session of the group.
    Session(GroupId),
    /// A place in the window of operations under way in the group's session.
    Window(GroupId),
    /// A place in the send window of a link.
    Link,
    /// An answer of the group's leader.
    Answer(GroupId),
    /// A daemon's answer.
    Daemon,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing, as the time was over at the start"),
            Self::Connection => f.write_str("a daemon to answer"),
            Self::Map => f.write_str("the partition map (is the cluster founded?)"),
            Self::Session(group) => write!(f, "a client session of partition {group}"),
            Self::Window(group) => write!(f, "earlier operations on partition {group}"),
            Self::Link => f.write_str("the link to take more bytes"),
            Self::Answer(group) => write!(f, "partition {group} to answer"),
            Self::Daemon => f.write_str("the daemon to answer"),
        }
    }
}

struct Perhaps(bool);

impl fmt::Display for Perhaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "perhaps applied" } else { "not applied" })
    }
}

struct Reason<'a>(&'a Refusal);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Refusal::NotLeader => f.write_str("the partition has no leader that answers; is a majority up?"),
            Refusal::WrongGroup { slot, epoch } => {
                write!(f, "slot {slot} is served by another partition since epoch {epoch}")
            }
            Refusal::Overloaded => f.write_str("the partition is overloaded; try again later"),
            Refusal::Full => f.write_str(
                "the partition's memory limit is reached: keys, values, open sessions and the replies that are \
                 remembered for them count; delete something, end idle clients, or raise `memory_limit` in the \
                 configuration of the daemons",
            ),
            Refusal::TooLarge { limit } => write!(
                f,
                "the value is over the limit of {limit} bytes: make it shorter, or raise `value_limit` in the \
                 configuration of the daemons"
            ),
            Refusal::OutOfWindow => f.write_str("the operation's number is outside its session's window"),
            Refusal::NotReady => f.write_str("the cluster is not ready; see `haystackctl status`"),
            Refusal::Forbidden => f.write_str("the key file does not allow this"),
            Refusal::HistoryForked { history } => write!(f, "the cluster continues in history {history}"),
            Refusal::Malformed => f.write_str("the daemon does not understand the request; is it older?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use haystack_wire::ids::LogIndex;

    fn ticket() -> Ticket {
        Ticket {
            session: SessionId { group: GroupId(2), index: LogIndex(9) },
            seq: 4,
            key: Bytes::from_static(b"k"),
        }
    }

    #[test]
    fn only_what_may_have_been_applied_is_indefinite() {
        assert!(!Error::Unknown(ticket()).is_definite());
        assert!(!Error::SessionExpired { ticket: ticket(), maybe_applied: true }.is_definite());
        assert!(Error::SessionExpired { ticket: ticket(), maybe_applied: false }.is_definite());
        assert!(Error::Refused(Refusal::Full).is_definite());
        assert!(Error::Unreachable(Wait::Connection).is_definite());
    }

    #[test]
    fn messages_name_the_cure_and_what_was_waited_for() {
        assert_eq!(
            Error::Unknown(ticket()).to_string(),
            "the outcome is unknown: the write may have been applied, or may be yet (session 2.9, number 4)"
        );
        let full = Error::Refused(Refusal::Full).to_string();
        assert!(full.contains("replies that are remembered") && full.contains("delete something"), "{full}");
        assert!(Error::Unreachable(Wait::Map).to_string().contains("is the cluster founded?"));
        assert!(
            Error::from(Usage::KeyTooLong { bytes: 9, limit: 8 }).to_string().contains("more than the 8")
        );
    }
}
