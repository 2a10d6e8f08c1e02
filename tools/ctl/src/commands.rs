//! The commands.

mod get;
mod key;
mod status;
mod write;

use crate::cli::Command;
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// Does a command.
///
/// # Errors
/// What kept it from being done.
pub(crate) fn run(command: &Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Get(asked) => get::get(asked, context),
        Command::Put(asked) => write::put(asked, context),
        Command::Delete(asked) => write::delete(asked, context),
        Command::Cas(asked) => write::cas(asked, context),
        Command::Status(_) => status::status(context),
        Command::Wait(_) => status::wait_ready(context),
        Command::Load(_) => Err(Failure::usage("this version cannot do that yet")),
        Command::Dump(_) => Err(Failure::usage("this version cannot do that yet")),
        Command::Key(asked) => key::key(&asked.command, context),
        Command::Found(_) => Err(Failure::usage("this version cannot do that yet")),
    }
}
