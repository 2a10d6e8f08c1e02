//! The client against fake daemons, over real links, in virtual time.

mod chaos;
pub(crate) mod fake;
mod outcomes;
mod routing;
