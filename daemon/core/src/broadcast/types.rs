//! What the broadcast is told, what it tells, and its limits.

use std::time::Duration;

use haystack_wire::ids::{Ballot, LogIndex, NodeId};
use haystack_wire::message::SnapshotId;
use haystack_wire::message::broadcast::BroadcastMessage;
use thiserror::Error;

use crate::mutation::Mutations;

/// What an entry weighs beside its body, in bytes: its record in memory, which is more than its framing on the
/// wire. All byte limits below count weights, so one measure bounds both.
pub const ENTRY_OVERHEAD: u64 = 64;

/// Bytes of a class 1 message that are not entries: ballots, indexes, chains, a snapshot id, rounded up.
pub const HEADER_BYTES: u64 = 512;

/// Bounds of one group's broadcast. "Weight" is an entry's body length plus [`ENTRY_OVERHEAD`], in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Weight of the entries in one message, unless it carries a single one (rule 10: 256 KiB with the header).
    pub chunk: u64,
    /// Weight that may be on its way to one follower, unacknowledged (the class 1 window of a link).
    pub window: u64,
    /// Weight of Accepts that a follower holds behind a gap.
    pub gap: u64,
    /// Weight of proposed and not yet decided entries before `propose` says Overloaded.
    pub inflight: u64,
    /// Weight of applied entries that every replica keeps, for followers that missed a little. Entries are slices
    /// of the buffers they arrived in, so the tail of an idle group can pin those: at most what was received while
    /// its entries arrived.
    pub tail_min: u64,
    /// Weight of applied entries that a leader keeps for a follower that lags and is heard from.
    pub tail_lagging: u64,
    /// Weight of applied entries that are kept while a snapshot is on its way to someone. A transfer that takes
    /// longer than writing so much begins anew (counted as `outrun`): a slow follower never holds up the others.
    pub tail_transfer: u64,
    /// Weight of entries staged for one Sync or one adoption. Above `tail_transfer` + `inflight`.
    pub stage: u64,
    /// First pause before something unanswered is sent again; doubles up to `retry_max`.
    pub retry_min: Duration,
    /// Longest pause before something unanswered is sent again.
    pub retry_max: Duration,
    /// How long the source of an adoption may stay silent: an election timeout (rule 2).
    pub stall: Duration,
    /// How long followers may wait to hear that something was decided when nothing else goes to them.
    pub announce: Duration,
    /// How long a silent follower keeps a tail or a frozen snapshot alive.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            chunk: (256 << 10) - HEADER_BYTES,
            window: 4 << 20,
            gap: 4 << 20,
            inflight: 16 << 20,
            tail_min: 256 << 10,
            tail_lagging: 16 << 20,
            tail_transfer: 256 << 20,
            stage: 320 << 20,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(1),
            stall: Duration::from_millis(500),
            announce: Duration::from_millis(5),
            patience: Duration::from_secs(10),
        }
    }
}

/// Who is who, and the bounds.
#[derive(Clone, Debug)]
pub struct Config {
    /// This replica.
    pub me: NodeId,
    /// All replicas of the view, this one among them.
    pub replicas: Vec<NodeId>,
    /// The bounds.
    pub limits: Limits,
    /// Rules broken on purpose: empty but in tests.
    pub mutations: Mutations,
}

impl Config {
    /// A replica with the default limits.
    pub fn new(me: NodeId, replicas: Vec<NodeId>) -> Self {
        Self { me, replicas, limits: Limits::default(), mutations: Mutations::none() }
    }
}

/// What a replica is, at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads, or tries to.
    Leader {
        /// Its ballot.
        ballot: Ballot,
        /// Whether it has a majority's promises and has adopted the log: it may propose.
        ready: bool,
    },
    /// It follows.
    Follower {
        /// The highest ballot promised; the default one if none ever was, its own one after it stopped leading.
        leader: Ballot,
    },
}

/// A peer's state as a heartbeat or its ack told it, all of it true at one moment. A hint for repairs, never an
/// acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What the peer has promised.
    pub promised: Ballot,
    /// The ballot in which it last accepted.
    pub accepted_round: Ballot,
    /// Its log length.
    pub len: LogIndex,
    /// Its decided index.
    pub decided: LogIndex,
}

/// Why an entry was surely not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// This replica does not lead, or has not adopted the log yet.
    #[error("this replica does not lead")]
    NotLeader,
    /// The log ends in a stop-sign: the view is over.
    #[error("the view has ended")]
    Stopped,
    /// Too much is proposed and not decided.
    #[error("too much is in flight")]
    Overloaded,
}

/// What the composer must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send the same message to each. Losing, repeating, delaying or reordering it is safe; if a link refuses it,
    /// drop it and call [`super::Broadcast::dropped`] once the link takes messages again.
    Send {
        /// The receivers.
        to: Vec<NodeId>,
        /// The message.
        message: BroadcastMessage,
    },
    /// Everything below `upto` is decided: apply it and call `applied_to`.
    Decided {
        /// Exclusive.
        upto: LogIndex,
    },
    /// Freeze the applied state, at `applied()`, and call `snapshot_frozen`. One at a time; hold it until
    /// [`Output::Thaw`].
    Freeze,
    /// The frozen snapshot is no longer offered to anyone: let it go.
    Thaw {
        /// The snapshot that `snapshot_frozen` named.
        snapshot: SnapshotId,
    },
    /// Fetch this snapshot's chunks, and call `snapshot_fetched` or `snapshot_lost`. It replaces an earlier Fetch;
    /// chunks already at hand of the same snapshot stay good, whoever they came from.
    Fetch {
        /// Who has it.
        from: NodeId,
        /// What.
        snapshot: SnapshotId,
    },
    /// Replace the state machine by this fetched snapshot now, before any other call: `applied()` is already its
    /// index.
    Install {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// The role changed.
    Role(Role),
}
