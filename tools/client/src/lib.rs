//! The client of stormy-haystack: a partitioned, replicated key-value store that answers linearizably.
//!
//! Two layers:
//! - [`Connection`] is what applications use: blocking calls with time limits, and pipelining, over a UDP socket.
//! - [`core::Client`] is the same without I/O, a state machine that takes datagrams and time, for drivers of another
//!   kind and for simulations.
//!
//! # What is promised
//!
//! A write that is acknowledged is applied exactly once, however often it had to be sent and whoever led. If the
//! answer is not known, the caller is told so ([`Error::Unknown`]) and can settle it ([`Connection::resolve`]). A failure
//! is only called definite if nothing can have been applied, see the table of [`Error`].
//!
//! ```no_run
//! // Needs a running cluster, for instance `haystackd dev`.
//! # fn main() -> Result<(), haystack_client::Error> {
//! use haystack_client::{Connection, Operation, Options};
//!
//! let mut connection = Connection::connect(Options::new(["127.0.0.1:7400"]))?;
//! let lines = (0..10_000).map(|n| Operation::put(format!("line-{n}"), n.to_string()));
//! for outcome in connection.pipeline(lines)? {
//!     outcome?;
//! }
//! # Ok(())
//! # }
//! ```

mod blocking;
pub mod core;
mod error;

pub use blocking::{CasOutcome, Connection, DEFAULT_PORT, Deleted, Options, Page, Resolved, StaleRead};
pub use core::{AdminTarget, Answer, Completion, Limits, OpId, Operation, Timeouts};
pub use error::{Error, Ticket, Usage, Wait};

pub use haystack_wire::ids::{DEFAULT_CLUSTER_NAME, GroupId, LogIndex, NodeId, Version};
pub use haystack_wire::keys::{KeyError, KeyRing};
pub use haystack_wire::message::admin::{AdminReply, AdminRequest, GroupStatus, NodeStatus, Status};
pub use haystack_wire::message::client::{Effect, Expect, Pair, Refusal, Versioned, Write};
pub use haystack_wire::message::directory::PartitionMap;
