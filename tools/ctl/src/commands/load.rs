//! `load`: puts every line of a file.

mod engine;
mod flight;
mod input;
mod progress;
mod report;

use std::fs::File;
use std::io::{self, Read};

use haystack_client::Connection;

use crate::cli::Load;
use crate::context::{Context, say};
use crate::failure::{Exit, Failure};
use crate::output;
use engine::Engine;
use progress::Progress;

/// Puts every line of a file, and says what it did.
///
/// # Errors
/// If the file cannot be opened, or no daemon answers. What happens later is in the report.
pub(crate) fn load(asked: &Load, context: &Context) -> Result<Exit, Failure> {
    let name = asked.file.display().to_string();
    let (input, size): (Box<dyn Read + Send>, Option<u64>) = if name == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let cannot = |error: io::Error| Failure::usage(format!("cannot read {name}: {error}"));
        let file = File::open(&asked.file).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if metadata.is_dir() {
            return Err(Failure::usage(format!("cannot read {name}: it is a directory")));
        }
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let mut connection = connect(context)?;
    let mut progress = Progress::new(size);
    let report = Engine::new(&mut connection, input::start(input), &mut progress).run();
    progress.finish();
    let stop = report.stop.as_ref().map(|stop| context.failure(&stop.error, true));
    let exit = report.exit(stop.as_ref());
    say(&report.text(stop.as_ref(), &name));
    if context.json {
        output::json(&report.to_json(stop.as_ref(), exit))?;
    }
    Ok(exit)
}

/// Waits for a daemon and for the map, so that a cluster that is not there is told once and not for every line.
fn connect(context: &Context) -> Result<Connection, Failure> {
    let mut connection = context.open()?;
    connection.map().map_err(|error| context.failure(&error, false))?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
