//! `haystackd` as real processes. Every wait is for an event: a line, a message, an end.
#![allow(clippy::unwrap_used, reason = "a test helper that cannot go on fails its test")]

mod dev;
mod run;
mod support;
