//! Exit statuses, and what is said with them.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use haystack_client::{Error, Refusal, Ticket, Usage, Wait};
use serde_json::{Map, Value, json};

/// The exit statuses, for `--help`.
pub(crate) const EXIT_STATUS: &str = "EXIT STATUS:
    0  done; `status`: ok
    1  no such key, or the CAS found something else; `status`: degraded
    2  wrong command line, or a file that cannot be read, understood or written
    3  refused: nothing was done
    4  unknown: the write may have been applied
    5  unreachable: no daemon, or no leader, answered in time, and nothing was done; `status`: unavailable

What starts with `-` and is no option goes after `--`: haystackctl put -- -5 minus";

/// Where to look when nobody serves.
const STATUS_TELLS: &str = "`haystackctl status` shows what is missing";

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// It is done.
    Done = 0,
    /// There is no such key, the CAS found something else, the cluster is degraded.
    No = 1,
    /// The command line, or a file that it names, is of no use.
    Usage = 2,
    /// A daemon refused it.
    Refused = 3,
    /// A write has no answer and may have been applied.
    Unknown = 4,
    /// Nobody who could do it answered.
    Unreachable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// Its name in JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::No => "no",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Why a command did not do what it was to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the command ends.
    pub(crate) exit: Exit,
    /// A sentence for people, with the cure.
    pub(crate) message: String,
    /// The write to be settled, where its outcome is unknown.
    pub(crate) ticket: Option<Ticket>,
}

/// How an operation was asked, for the words about its failure.
#[derive(Clone, Debug)]
pub(crate) struct Circumstance {
    /// Whether it may change something.
    pub(crate) is_write: bool,
    /// Who was asked.
    pub(crate) addresses: Vec<String>,
    /// Whether a key was used.
    pub(crate) has_key: bool,
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The time limit.
    pub(crate) timeout: Duration,
}

impl Failure {
    /// A failure that ends the command like this.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), ticket: None }
    }

    /// The command line is of no use.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A client's error.
    pub(crate) fn of(error: &Error, how: &Circumstance) -> Self {
        let exit = exit_of(error, how.is_write);
        let asked = || format!("(asked {}, limit {:?})", how.addresses.join(", "), how.timeout);
        let message = match error {
            Error::Unreachable(Wait::Connection) => nobody(how),
            Error::Refused(Refusal::NotLeader | Refusal::NotReady) => {
                format!("no leader of the partition answered in time {}; {STATUS_TELLS}", asked())
            }
            Error::Unreachable(_) | Error::Timeout(_) => format!("{error} {}; {STATUS_TELLS}", asked()),
            Error::Usage(Usage::KeyTooLong { .. } | Usage::ValueTooLong { .. }) => {
                format!("refused: {error}")
            }
            _ => error.to_string(),
        };
        Self { exit, message, ticket: error.ticket().cloned() }
    }

    /// The object that `--json` prints.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = Map::new();
        error.insert("kind".into(), self.exit.word().into());
        error.insert("message".into(), self.message.clone().into());
        if let Some(ticket) = &self.ticket {
            let session = format!("{}.{}", ticket.session.group, ticket.session.index);
            error.insert("session".into(), session.into());
            error.insert("number".into(), ticket.seq.into());
        }
        json!({ "error": error })
    }
}

/// Nobody answered: who was asked, and why that may be.
fn nobody(how: &Circumstance) -> String {
    let key = if how.has_key {
        "is the key the cluster's?"
    } else {
        "does the cluster have a key (then give --key-file)?"
    };
    format!(
        "no daemon answered at {} within {:?}. Does one run there? Is the cluster called `{}` (else give --cluster)? \
         And {key}",
        how.addresses.join(", "),
        how.timeout,
        how.cluster
    )
}

const fn exit_of(error: &Error, is_write: bool) -> Exit {
    match error {
        // Nobody led in time: for whoever waits for the cluster, the same as no answer.
        Error::Refused(Refusal::NotLeader | Refusal::NotReady) => Exit::Unreachable,
        Error::Refused(_) | Error::Busy | Error::NeverApplied => Exit::Refused,
        Error::Unknown(_) => Exit::Unknown,
        Error::SessionExpired { maybe_applied, .. } | Error::HistoryForked { maybe_applied, .. } => {
            if *maybe_applied {
                Exit::Unknown
            } else {
                Exit::Refused
            }
        }
        Error::Unreachable(_) | Error::Timeout(_) => Exit::Unreachable,
        Error::Usage(Usage::KeyTooLong { .. } | Usage::ValueTooLong { .. }) => Exit::Refused,
        Error::Usage(_) => Exit::Usage,
        Error::Io { kind: ErrorKind::InvalidInput, .. } => Exit::Usage,
        Error::Protocol(_) | Error::Io { .. } => {
            if is_write {
                Exit::Unknown
            } else {
                Exit::Unreachable
            }
        }
    }
}

#[cfg(test)]
mod tests;
