//! Uniform total order broadcast of one view of one group: Sequence Paxos, where safety never depends on the
//! links. Every message may be lost, repeated, late or reordered.

mod types;

pub use types::{Config, ENTRY_OVERHEAD, HEADER_BYTES, Limits, Observed, Output, ProposeError, Role};
