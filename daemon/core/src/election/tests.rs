//! Elections among simulated replicas, over a matrix of links, in virtual time.

mod bench;
mod faults;
mod reads;
mod rules;
mod stable;
mod world;
