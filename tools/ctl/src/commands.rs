//! The commands.

mod coordinator;
mod dump;
mod each;
mod events;
mod found;
mod get;
mod key;
mod load;
mod locate;
mod members;
mod node;
mod partitions;
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
        Command::Status(asked) => status::status(asked, context),
        Command::Members(_) => members::members(context),
        Command::Partitions(asked) => partitions::partitions(asked, context),
        Command::Coordinator(_) => coordinator::coordinator(context),
        Command::Where(asked) => locate::locate(asked, context),
        Command::Events(asked) => events::events(asked, context),
        Command::Wait(_) => status::wait_ready(context),
        Command::Load(asked) => load::load(asked, context),
        Command::Dump(_) => dump::dump(context),
        Command::Key(asked) => key::key(&asked.command, context),
        Command::Found(asked) => found::found(asked, context),
    }
}
