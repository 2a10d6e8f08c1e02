//! The whole node as a deterministic state machine: no I/O, no clock, no global randomness.

pub mod broadcast;
pub mod digest;
pub mod mutation;
