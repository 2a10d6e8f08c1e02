//! The links over a small network in virtual time.

mod bounds;
mod flow;
mod handshake;
mod hostile;
mod net;
mod perfect;
