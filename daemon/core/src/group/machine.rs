//! The state machine behind a group's log.

use bytes::{Bytes, BytesMut};
use haystack_wire::ids::{GroupId, LogIndex, Slot};
use haystack_wire::message::client::Outcome;
use xxhash_rust::xxh3::xxh3_128;

use crate::directory::machine::DirectoryMachine;
use crate::store::{Chunk, FrozenId, Limits, Restore, Store};

/// Largest state of a directory: a map of 1,024 groups and nodes takes less than a tenth of it (judgement).
const DIRECTORY_MAX: usize = 4 << 20;

/// A group's state machine: the directory's or a partition's.
#[derive(Debug)]
pub enum Machine {
    /// Group 0.
    Directory {
        /// Its state.
        machine: DirectoryMachine,
        /// A frozen copy that others may fetch.
        frozen: Option<(FrozenId, Bytes)>,
    },
    /// A partition.
    Data(Store),
}

/// What a fresh machine of the same group is made from, to collect a snapshot into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) group: GroupId,
    pub(super) slots: Option<(Slot, Slot, Limits)>,
}

/// A snapshot that is being collected.
#[derive(Debug)]
pub(super) enum Collected {
    /// Of a directory.
    Directory { id: FrozenId, bytes: BytesMut },
    /// Of a partition.
    Data(Box<Restore>),
}

/// The snapshot cannot be used: damaged, too large, or not what was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unusable;

/// What applying an entry came to.
#[derive(Debug)]
pub enum Applied {
    /// Nothing that anybody waits for.
    Nothing,
    /// The partition map changed.
    Map,
    /// An answer to whoever proposed the entry.
    Outcome(Outcome),
}

impl Machine {
    /// An empty directory.
    pub fn directory() -> Self {
        Self::Directory { machine: DirectoryMachine::default(), frozen: None }
    }

    /// Applies the entry at `index`.
    pub fn apply(&mut self, index: LogIndex, body: &Bytes) -> Applied {
        match self {
            Self::Directory { machine, .. } => {
                if machine.apply(body) {
                    Applied::Map
                } else {
                    Applied::Nothing
                }
            }
            Self::Data(store) => Applied::Outcome(store.apply(index, body)),
        }
    }

    /// Freezes the state, at which everything below `index` is applied, or names the one that is frozen already.
    pub(super) fn freeze(&mut self, index: LogIndex) -> FrozenId {
        match self {
            Self::Directory { machine, frozen } => {
                let (id, _) = frozen.get_or_insert_with(|| {
                    let bytes = machine.snapshot();
                    (FrozenId { index, digest: xxh3_128(&bytes) }, bytes)
                });
                *id
            }
            Self::Data(store) => store.freeze(index),
        }
    }

    /// Lets the frozen state go.
    pub(super) fn thaw(&mut self) {
        match self {
            Self::Directory { frozen, .. } => *frozen = None,
            Self::Data(store) => store.thaw(),
        }
    }

    /// Whether this state is still frozen: a partition drops it when too much has changed since.
    pub(super) fn is_frozen(&self, id: FrozenId) -> bool {
        match self {
            Self::Directory { frozen, .. } => frozen.as_ref().is_some_and(|(frozen, _)| *frozen == id),
            Self::Data(store) => store.frozen() == Some(id),
        }
    }

    /// A piece of the frozen state.
    pub(super) fn piece(&mut self, id: FrozenId, offset: u64, limit: usize) -> Chunk {
        match self {
            Self::Directory { frozen: Some((frozen, bytes)), .. } if *frozen == id => {
                match usize::try_from(offset).ok().filter(|offset| *offset <= bytes.len()) {
                    Some(offset) => Chunk::Bytes { bytes: bytes.slice(offset..), last: true },
                    None => Chunk::Gone,
                }
            }
            Self::Directory { .. } => Chunk::Gone,
            Self::Data(store) => store.chunk(id, offset, limit),
        }
    }

    /// Digest of the whole state: equal at equal positions on every replica.
    pub fn digest(&self) -> u128 {
        match self {
            Self::Directory { machine, .. } => machine.digest(),
            Self::Data(store) => store.digest(),
        }
    }
}

impl Collected {
    /// Begins to collect the snapshot `id`.
    pub(super) fn new(shape: &Shape, id: FrozenId) -> Self {
        match shape.slots {
            None => Self::Directory { id, bytes: BytesMut::new() },
            Some((first, last, limits)) => {
                Self::Data(Box::new(Restore::new(shape.group, first, last, limits, id)))
            }
        }
    }

    /// How many bytes are at hand.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Directory { bytes, .. } => bytes.len() as u64,
            Self::Data(restore) => restore.offset(),
        }
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Unusable> {
        match self {
            Self::Directory { bytes, .. } => {
                if bytes.len() + piece.len() > DIRECTORY_MAX {
                    return Err(Unusable);
                }
                bytes.extend_from_slice(piece);
                Ok(())
            }
            Self::Data(restore) => {
                let offset = restore.offset();
                restore.push(offset, piece).map(drop).map_err(|_| Unusable)
            }
        }
    }

    /// The machine, if the snapshot is whole and what was announced.
    pub(super) fn finish(self) -> Result<Machine, Unusable> {
        match self {
            Self::Directory { id, bytes } => {
                let bytes = bytes.freeze();
                if xxh3_128(&bytes) != id.digest {
                    return Err(Unusable);
                }
                let machine = DirectoryMachine::restore(&bytes).map_err(|_| Unusable)?;
                Ok(Machine::Directory { machine, frozen: None })
            }
            Self::Data(restore) => restore.finish().map(Machine::Data).map_err(|_| Unusable),
        }
    }
}
