//! The broadcast under a small deterministic network, by rule and at random, and with planted mistakes.

#[cfg(feature = "mutations")]
mod mutations;
mod net;
mod random;
