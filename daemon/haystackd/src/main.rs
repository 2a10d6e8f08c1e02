//! `haystackd`: the daemon of stormy-haystack.
//!
//! All that decides anything is in `haystack-core`, which does no I/O. Here are the clock, the socket, the disk, the
//! signals, and the words for people.

mod cli;
mod clock;
mod config;
mod dev;
mod error;
mod event_loop;
mod life;
mod logging;
mod random;
mod report;
mod resolver;
mod run;
mod socket;
mod stopped;

use std::io::Write as _;
use std::process::ExitCode;

use cli::{Asked, Cli};
use error::Failure;

fn main() -> ExitCode {
    match cli::parse().and_then(start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if matches!(failure, Failure::Logged(_)) {
                return ExitCode::from(&failure);
            }
            // Not `eprintln!`, which would turn a closed standard error into a crash.
            let _ = writeln!(std::io::stderr(), "haystackd: {failure}");
            ExitCode::from(&failure)
        }
    }
}

fn start(asked: Asked) -> Result<(), Failure> {
    let Asked::Command(command) = asked else { return Ok(()) };
    match command {
        Cli::Run(options) => run::run(*options),
        Cli::Dev(options) => dev::dev(&options),
        Cli::CheckConfig { file } => run::check_config(&file),
    }
}
