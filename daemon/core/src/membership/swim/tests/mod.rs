//! The properties of membership, in a world of virtual time and a fair-loss network.

mod crash;
mod flat;
mod hostile;
mod identity;
mod parts;
mod world;
