//! `status` and `wait`: how things stand, by the first daemon that answers.

mod facts;
mod health;
mod show;
mod survey;
mod view;

use std::time::Duration;

use haystack_client::{Connection, Error};

use crate::cli::Status as Asked;
use crate::clock::{Limit, pause};
use crate::context::{Context, say};
use crate::failure::{Exit, Failure};
use crate::output;
use health::Health;
use survey::{Survey, survey};

pub(crate) use facts::lag;
pub(crate) use health::{group_name, who};
pub(crate) use show::{coordinator_json, group_json, member_word, standing_word, state_word};
pub(crate) use view::View;

/// Time between two looks at a cluster that is waited for (judgement: below what people notice).
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// After this long without an answer a person is told what is waited for.
const SOON: Duration = Duration::from_secs(1);
/// Most time that one look takes while a cluster is waited for.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// Shows how things stand.
///
/// # Errors
/// If no daemon answers.
pub(crate) fn status(asked: &Asked, context: &Context) -> Result<Exit, Failure> {
    let mut connection = context.open_for_status()?;
    let view = match look(&mut connection, context.timeout) {
        Ok(view) => view,
        Err(error) => return unseen(&context.failure(&error, false), context),
    };
    let report = health::judge(&view);
    if context.json {
        output::json(&show::json(&view, &report))?;
    } else {
        output::line(&show::text(&view, &report, asked.groups))?;
    }
    Ok(report.health.exit())
}

/// Asks how things stand, for another command than `status`.
///
/// # Errors
/// If no daemon answers.
pub(crate) fn ask(context: &Context) -> Result<View, Failure> {
    let mut connection = context.open_for_status()?;
    look(&mut connection, context.timeout).map_err(|error| context.failure(&error, false))
}

/// Asks one daemon how things stand as it sees them, and no other even if that one knows little.
///
/// # Errors
/// If no daemon answers.
pub(crate) fn ask_one(context: &Context) -> Result<View, Failure> {
    let mut connection = context.open_for_status()?;
    let status = connection.status().map_err(|error| context.failure(&error, false))?;
    let answers = vec![(survey::address_of(&connection, &status), status)];
    View::of(Survey { answers, silent: Vec::new() }).map_err(|error| context.failure(&error, false))
}

/// Asks how things stand.
///
/// # Errors
/// If no daemon answers.
fn look(connection: &mut Connection, limit: Duration) -> Result<View, Error> {
    let soon = View::of(survey(connection, limit.min(SOON)));
    if soon.is_ok() || limit <= SOON {
        return soon;
    }
    say(&format!("waiting: no daemon answers yet (up to {limit:?})"));
    View::of(survey(connection, limit - SOON))
}

/// No daemon answers: for whoever asks for the health, that is one.
fn unseen(failure: &Failure, context: &Context) -> Result<Exit, Failure> {
    say(&failure.message);
    if context.json {
        output::json(&show::unseen(failure))?;
    }
    Ok(Health::Unavailable.exit())
}

/// Waits until every group has a leader and every founder is a member.
///
/// # Errors
/// If it is not so within the time limit; says what was missing.
pub(crate) fn wait_ready(context: &Context) -> Result<Exit, Failure> {
    let limit = Limit::of(context.timeout);
    let mut connection = context.open_for_status()?;
    let mut told = String::new();
    loop {
        let seen = look(&mut connection, limit.left().min(LOOK_LIMIT));
        let missing = match &seen {
            Ok(view) => health::missing(view).join("; "),
            Err(_) => format!("no daemon answers at {}", context.addresses.join(", ")),
        };
        if let (Ok(view), true) = (&seen, missing.is_empty()) {
            if context.json {
                output::json(&show::json(view, &health::judge(view)))?;
            }
            return Ok(Exit::Done);
        }
        let failure = match seen {
            Ok(_) => {
                Failure::new(Exit::Unreachable, format!("not ready within {:?}: {missing}", context.timeout))
            }
            Err(error) => context.failure(&error, false),
        };
        if limit.left() <= LOOK_PERIOD * 2 {
            // Too little for a fair look.
            return Err(failure);
        }
        if missing != told {
            say(&format!("waiting: {missing}"));
            told = missing;
        }
        pause(LOOK_PERIOD);
    }
}

impl Health {
    /// The exit status of `status`.
    const fn exit(self) -> Exit {
        match self {
            Self::Ok => Exit::Done,
            Self::Degraded => Exit::No,
            Self::Unavailable => Exit::Unreachable,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
