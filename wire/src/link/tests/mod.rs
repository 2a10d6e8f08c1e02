//! The links over a small network in virtual time.

mod bounds;
mod flow;
mod gossip;
mod handshake;
mod hostile;
mod net;
mod perfect;
