//! Uniform total order broadcast: Sequence Paxos, re-specified so that safety never depends on the links.
//! Every message may be lost, repeated, late or reordered.

use bytes::Bytes;

use super::SnapshotId;
use crate::ids::{Ballot, LogIndex};

/// What an entry is, where the broadcast itself has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A command of the group's state machine.
    Command,
    /// The last entry of a view.
    StopSign,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Its meaning to the state machine.
    pub body: Bytes,
}

/// Messages of one view of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BroadcastMessage {
    /// A candidate asks for promises.
    Prepare {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The candidate's decided index.
        decided: LogIndex,
        /// The ballot in which the candidate last accepted.
        accepted_round: Ballot,
        /// The candidate's log length.
        len: LogIndex,
    },
    /// No ballot below this one will be answered. Carries no suffix: the candidate pulls it in chunks.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// The ballot in which the promiser last accepted.
        accepted_round: Ballot,
        /// The promiser's log length.
        len: LogIndex,
        /// The promiser's decided index.
        decided: LogIndex,
    },
    /// The candidate asks a promiser for entries of the promised log.
    Pull {
        /// The candidate's ballot.
        ballot: Ballot,
        /// First entry wanted.
        from: LogIndex,
    },
    /// Entries of the promised log, as many as fit.
    PullReply {
        /// The candidate's ballot.
        ballot: Ballot,
        /// Position of the first entry.
        from: LogIndex,
        /// Set if the promiser has compacted the log below `snapshot.index` (> the position asked for): the
        /// candidate takes this snapshot first, and entries start at its index.
        snapshot: Option<SnapshotId>,
        /// Chained hash of the log below `from`.
        chain: u64,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// A piece of what makes a follower's log equal to the leader's at `end`.
    Sync {
        /// The leader's ballot.
        ballot: Ballot,
        /// Where the follower's log is cut and continued. With a snapshot: its index.
        from: LogIndex,
        /// Length of the log when this Sync is whole.
        end: LogIndex,
        /// The snapshot that stands for everything below `from`, where the leader's log does not reach so far back.
        snapshot: Option<SnapshotId>,
        /// Position of the first entry of this piece.
        first: LogIndex,
        /// Chained hash of the leader's log below `first`.
        chain: u64,
        /// The entries of this piece.
        entries: Vec<Entry>,
        /// The leader's decided index.
        decided: LogIndex,
    },
    /// New entries.
    Accept {
        /// The leader's ballot.
        ballot: Ballot,
        /// Position of the first entry.
        first: LogIndex,
        /// Chained hash of the leader's log below `first`.
        chain: u64,
        /// The entries.
        entries: Vec<Entry>,
        /// The leader's decided index.
        decided: LogIndex,
    },
    /// Everything below `len` is accepted in this ballot.
    Accepted {
        /// The leader's ballot.
        ballot: Ballot,
        /// The follower's log length.
        len: LogIndex,
        /// The first position of a gap that hides buffered entries, to be sent again.
        missing: Option<LogIndex>,
        /// How many bytes of entries the follower can still buffer.
        credit: u64,
    },
    /// The sender has promised a higher ballot.
    Nack {
        /// The ballot promised.
        promised: Ballot,
    },
}
