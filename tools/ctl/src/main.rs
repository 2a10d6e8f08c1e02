//! `haystackctl`: reads and writes a stormy-haystack cluster, and administers it.
//!
//! Data goes to standard output, words for people to standard error. The commands, the JSON shapes and the exit
//! statuses are described in `docs/CLI.md`.

mod cli;
mod clock;
mod commands;
mod context;
mod failure;
mod lines;
mod near;
mod output;

use std::process::ExitCode;

use cli::Asked;
use context::{Context, say};
use failure::{Exit, Failure};

fn main() -> ExitCode {
    let (ended, json) = match cli::parse(std::env::args_os()) {
        Ok(Asked::Text(text)) => (output::line(&text).map(|()| Exit::Done), false),
        Ok(Asked::Command(command, options)) => {
            let json = options.json;
            (Context::new(options).and_then(|context| commands::run(&command, &context)), json)
        }
        Err(failure) => (Err(failure), false),
    };
    ended.unwrap_or_else(|failure| tell(&failure, json)).into()
}

fn tell(failure: &Failure, json: bool) -> Exit {
    say(&failure.message);
    if json {
        // That it cannot be written changes nothing about how the command ended.
        drop(output::json(&failure.to_json()));
    }
    failure.exit
}
