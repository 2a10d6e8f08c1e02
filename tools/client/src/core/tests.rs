//! The client against fake daemons, over real links, in virtual time.

mod chaos;
mod fake;
mod outcomes;
mod routing;
