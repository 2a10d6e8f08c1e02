//! `haystackd` as real processes. Every wait is for an event: a line, a message, an end.

mod dev;
mod run;
mod support;
