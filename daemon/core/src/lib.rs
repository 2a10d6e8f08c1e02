//! The whole node of stormy-haystack as a deterministic state machine: no I/O, no clock, no global randomness.

pub mod election;
