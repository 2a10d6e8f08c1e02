//! The core of haystackd: a whole node as a deterministic state machine. No I/O, no clock.
//!
//! [`node::Node`] is the only composer; its siblings below know nothing of each other.

pub mod broadcast;
pub mod config;
pub mod digest;
pub mod directory;
pub mod election;
pub mod group;
pub mod membership;
pub mod mutation;
pub mod node;
pub mod stats;
pub mod store;
