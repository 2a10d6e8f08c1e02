//! Uniform total order broadcast: Sequence Paxos, re-specified so that safety never depends on the links.
//! Every message may be lost, repeated, late or reordered.

use bytes::{BufMut, Bytes};

use super::format::{Amount, Fixed, Many, Maybe, Plain, tagged};
use super::{MESSAGE_LIMIT, MESSAGE_ROOM, SnapshotId};
use crate::codec::{Decode, DecodeError, Encode, Reader, put_varint, varint_len};
use crate::ids::{Ballot, LogIndex};

/// Longest body of an entry: a message that carries nothing else fits the links' limit.
pub const ENTRY_LIMIT: usize = MESSAGE_LIMIT - MESSAGE_ROOM;
/// Most entries of one message. A message of 256 KiB, the most that carries more than one entry, holds no more
/// than this, because a command takes at least one byte and its head another.
pub const ENTRIES_LIMIT: usize = 128 * 1024;

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

/// An entry starts with one varint: its length above these bits, its kind in them.
const KIND_BITS: u32 = 3;

impl EntryKind {
    const fn code(self) -> u64 {
        match self {
            Self::Command => 1,
            Self::StopSign => 2,
        }
    }

    const fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::Command),
            2 => Some(Self::StopSign),
            _ => None,
        }
    }
}

impl Entry {
    const fn head(&self) -> u64 {
        ((self.body.len() as u64) << KIND_BITS) | self.kind.code()
    }
}

impl Encode for Entry {
    fn encode<B: BufMut>(&self, out: &mut B) {
        assert!(self.body.len() <= ENTRY_LIMIT, "entry of {} bytes", self.body.len());
        put_varint(out, self.head());
        out.put_slice(&self.body);
    }

    fn encoded_len(&self) -> usize {
        varint_len(self.head()) + self.body.len()
    }
}

impl Decode for Entry {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let head = reader.varint("Entry.kind")?;
        let kind =
            EntryKind::from_code(head & ((1 << KIND_BITS) - 1)).ok_or(DecodeError::Invalid("Entry.kind"))?;
        let len = usize::try_from(head >> KIND_BITS).unwrap_or(usize::MAX);
        if len > ENTRY_LIMIT {
            return Err(DecodeError::TooLong("Entry.body"));
        }
        Ok(Self { kind, body: reader.take_bytes(len, "Entry.body")? })
    }
}

const ENTRIES: Many<Plain> = Many::of(ENTRIES_LIMIT, 1, Plain);

tagged!(BroadcastMessage {
    1 => Prepare { ballot: Plain, decided: Plain, accepted_round: Plain, len: Plain },
    2 => Promise { ballot: Plain, accepted_round: Plain, len: Plain, decided: Plain },
    3 => Pull { ballot: Plain, from: Plain },
    4 => PullReply { ballot: Plain, from: Plain, snapshot: Maybe(Plain), chain: Fixed, entries: ENTRIES },
    5 => Sync {
        ballot: Plain,
        from: Plain,
        end: Plain,
        snapshot: Maybe(Plain),
        first: Plain,
        chain: Fixed,
        decided: Plain,
        entries: ENTRIES,
    },
    6 => Accept { ballot: Plain, first: Plain, chain: Fixed, decided: Plain, entries: ENTRIES },
    7 => Accepted { ballot: Plain, len: Plain, missing: Maybe(Plain), credit: Amount },
    8 => Nack { promised: Plain },
});
