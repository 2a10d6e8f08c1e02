//! The broadcast by rule, at random over a small deterministic network, and with planted mistakes.

mod decide;
mod flow;
#[cfg(feature = "mutations")]
mod mutations;
mod net;
mod random;
mod rules;
mod solo;
