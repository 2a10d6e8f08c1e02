//! The links over a small network in virtual time.

mod net;
mod perfect;
