//! The client of stormy-haystack.

pub mod core;
mod error;

pub use error::{Error, Ticket, Usage, Wait};
