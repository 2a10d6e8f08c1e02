//! The client against fake daemons, over real links, in virtual time.

mod chaos;
pub(crate) mod cluster;
mod fake;
mod map;
mod outcomes;
mod routing;
