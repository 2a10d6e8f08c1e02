//! `events`: what happened in the cluster, as one daemon saw it.

mod follow;
mod show;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use haystack_client::{AdminTarget, Connection, Error, NodeId, Status};
use haystack_wire::message::admin::EventRecord;
use signal_hook::consts::SIGINT;
use signal_hook::flag;

use crate::cli::Events;
use crate::clock::{now, wall};
use crate::context::{Context, say};
use crate::failure::{Exit, Failure};
use crate::output;
use follow::{Follower, Source, Told};

/// Time between two questions while events are followed (judgement: below what people notice).
const PERIOD: Duration = Duration::from_millis(200);
/// How long the daemon that is followed, or another in its place, may take for an answer (judgement: many round trips).
const PATIENCE: Duration = Duration::from_secs(1);
/// Exit status of a program that Ctrl-C ended, by the custom of shells.
const INTERRUPTED: i32 = 130;

/// Shows what happened, and goes on if that is asked for.
///
/// # Errors
/// If no daemon answers at the start, or standard output takes no more for another reason than that nobody reads.
pub(crate) fn events(asked: &Events, context: &Context) -> Result<Exit, Failure> {
    let stop = on_interrupt()?;
    let mut source = Live { connection: context.open_for_status()?, start: now() };
    source.connection.set_timeout(context.timeout);
    let mut follower = Follower::new(asked.from);
    loop {
        match follower.poll(&mut source) {
            Ok(told) => told.iter().try_for_each(|told| tell(told, &follower, context.json))?,
            Err(error) if !follower.is_lost() => return Err(context.failure(&error, false)),
            // It is said already that the daemon is lost: one will come.
            Err(_) => {}
        }
        if !asked.follow || stop.load(Ordering::Relaxed) || !output::is_read_for(PERIOD) {
            return Ok(Exit::Done);
        }
        source.connection.set_timeout(context.timeout.min(PATIENCE));
    }
}

/// Set by the first Ctrl-C, to end between two lines. A second one ends the tool at once.
fn on_interrupt() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let second = flag::register_conditional_shutdown(SIGINT, INTERRUPTED, Arc::clone(&stop));
    second
        .and_then(|_| flag::register(SIGINT, Arc::clone(&stop)))
        .map_err(|error| Failure::usage(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(stop)
}

fn tell(told: &Told, follower: &Follower, as_json: bool) -> Result<(), Failure> {
    match told {
        Told::Event { seen_by, record } => {
            let time = show::time(wall(), record.age_ms);
            if as_json {
                output::json(&show::json(record, &time, seen_by, follower.names()))
            } else {
                output::line(&show::text(record, &time, follower.names()))
            }
        }
        other => {
            say(&show::notice(other));
            Ok(())
        }
    }
}

/// The cluster.
struct Live {
    connection: Connection,
    start: Instant,
}

impl Source for Live {
    fn status(&mut self) -> Result<Status, Error> {
        self.connection.status()
    }

    fn status_of(&mut self, node: NodeId) -> Result<Status, Error> {
        self.connection.status_of(AdminTarget::Node(node))
    }

    fn events(&mut self, node: NodeId, from: u64) -> Result<Vec<EventRecord>, Error> {
        self.connection.events_of(AdminTarget::Node(node), from)
    }

    fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.start)
    }
}

#[cfg(test)]
mod tests;
