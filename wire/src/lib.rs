//! The wire of stormy-haystack: bytes to meaning and back, and perfect links over UDP.
//!
//! Nothing here does I/O, reads a clock or draws global randomness: time, seed and bytes are arguments.

pub mod codec;
pub mod datagram;
pub mod frame;
pub mod ids;
pub mod keys;
pub mod link;
pub mod message;
pub mod rng;
pub mod seal;
pub mod slot;
pub mod time;

pub use time::Instant;
