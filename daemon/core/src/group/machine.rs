//! The state machine behind a group's log.

use bytes::Bytes;
use haystack_wire::ids::LogIndex;
use haystack_wire::message::client::Outcome;

use crate::directory::machine::DirectoryMachine;
use crate::store::Store;

/// A group's state machine: the directory's or a partition's.
#[derive(Debug)]
pub enum Machine {
    /// Group 0.
    Directory {
        /// Its state.
        machine: DirectoryMachine,
        /// A frozen copy that others may fetch.
        frozen: Option<(LogIndex, u128, Bytes)>,
    },
    /// A partition.
    Data(Store),
}

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

    /// Digest of the whole state: equal at equal positions on every replica.
    pub fn digest(&self) -> u128 {
        match self {
            Self::Directory { machine, .. } => machine.digest(),
            Self::Data(store) => store.digest(),
        }
    }
}
