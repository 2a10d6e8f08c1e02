//! Deterministic simulation of whole clusters: the very daemons and clients of the product, under virtual time, with
//! everything that can go wrong drawn from one seed.
//!
//! A run founds a cluster, breaks the network and the processes in every way that its seed enables while clients work,
//! heals a part that should suffice, demands progress of it, heals the rest, and looks at what clients were told. All
//! the while every replica is held against one canonical history ([`check`]).

mod actor;
mod births;
pub mod check;
mod coverage;
mod daemon;
mod dice;
mod directed;
mod drill;
mod faults;
mod founding;
mod history;
mod host;
pub mod membership;
mod net;
mod packets;
mod parts;
mod phases;
mod queue;
mod report;
mod roster;
mod run;
mod scenario;
mod shape;
mod soak;
mod storm;
mod value;
mod verdict;
mod world;

pub use coverage::Coverage;
pub use directed::Schedule;
pub use drill::Drill;
pub use report::Report;
pub use run::{Options, faults, run};
pub use scenario::Profile;
pub use soak::{Soak, shrink, soak};
