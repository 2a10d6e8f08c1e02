//! `found --abandon-old-data`: after all daemons of a cluster were lost at once, the new processes find in their life
//! files that they belonged to a cluster, and wait for it. This tells every one of them to give it up.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use haystack_client::{AdminReply, AdminRequest, Error, Status, Wait};
use serde_json::{Value, json};

use super::each::ask_each;
use crate::cli::Found;
use crate::clock::Limit;
use crate::context::{Context, say};
use crate::failure::{Exit, Failure};
use crate::output;

/// How long the other daemons are waited for after the first answer (judgement: longer than the 400 ms that a daemon
/// itself waits for others).
const GRACE: Duration = Duration::from_secs(1);

/// What a daemon said to it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Done(String),
    Refused(String),
    Silent(String),
}

/// Tells every founder to give up the cluster that it belonged to.
///
/// # Errors
/// If it is not confirmed, or no daemon answers.
pub(crate) fn found(asked: &Found, context: &Context) -> Result<Exit, Failure> {
    // The daemons know their founders, so that one address is enough.
    let limit = Limit::of(context.timeout);
    let known = known(context, limit).map_err(|error| context.failure(&error, false))?;
    let founders = known.iter().flat_map(|(_, status)| status.founders.iter().cloned());
    let named = known.iter().map(|(address, status)| (address.clone(), own_address(status)));
    let addresses = whom_to_ask(&context.addresses, founders.collect(), &named.collect::<Vec<_>>());
    // A person's time to think does not count.
    let left = limit.left();
    confirm(asked.yes, &addresses)?;
    let mut said: Vec<Said> =
        vec![Said::Silent(silence(&Error::Unreachable(Wait::Connection))); addresses.len()];
    for (place, answer) in ask_each(context, &addresses, &AdminRequest::AbandonOldData, left) {
        said[place] = match answer {
            Ok(AdminReply::Done(what)) => Said::Done(what),
            Ok(AdminReply::Refused(why)) => Said::Refused(why),
            Ok(AdminReply::Status(_) | AdminReply::Events(_)) => {
                Said::Silent("TOLD: it answered something else".to_owned())
            }
            Err(error) => Said::Silent(silence(&error)),
        };
    }
    let answers: Vec<(&String, &Said)> = addresses.iter().zip(&said).collect();
    for (address, said) in &answers {
        say(&match said {
            Said::Done(what) => format!("{address}: {what}"),
            Said::Refused(why) => format!("{address}: REFUSED: {why}"),
            Said::Silent(why) => format!("{address}: {why}. See that it runs, and run this again"),
        });
    }
    let exit = exit(&said);
    if context.json {
        output::json(&shape(&answers, exit))?;
    }
    if exit == Exit::Done {
        say("`haystackctl wait --ready` waits until the new cluster is founded");
    }
    Ok(exit)
}

/// What the daemons at the given addresses say of themselves, those that answer. Once one has, the others have a little
/// while.
///
/// # Errors
/// If none answers: the first reason.
fn known(context: &Context, mut limit: Limit) -> Result<Vec<(String, Status)>, Error> {
    let mut answers = Vec::new();
    let mut reason = None;
    let asked = ask_each(context, &context.addresses, &AdminRequest::Status, context.timeout);
    while let Ok((place, answer)) = asked.recv_timeout(limit.left()) {
        match answer {
            Ok(AdminReply::Status(status)) => {
                answers.push((context.addresses[place].clone(), *status));
                limit = limit.at_most(GRACE);
            }
            Ok(other) => reason = reason.or(Some(Error::Protocol(format!("{other:?}")))),
            Err(error) => reason = reason.or(Some(error)),
        }
    }
    if answers.is_empty() {
        return Err(reason.unwrap_or(Error::Unreachable(Wait::Connection)));
    }
    Ok(answers)
}

/// A daemon without an answer: one that was sent the order may have carried it out.
fn silence(error: &Error) -> String {
    let told = if matches!(error, Error::Unreachable(_)) { "NOT TOLD" } else { "TOLD, perhaps in vain" };
    format!("{told}: {error}")
}

/// The address under which a daemon's peers know it.
fn own_address(status: &Status) -> Option<String> {
    let own = status.nodes.iter().find(|node| node.node == Some(status.node));
    own.map(|node| node.addr.to_string())
}

/// The given addresses, and the founders that are not among them, under the names that they are asked by or know
/// themselves by. Twice told does no harm: what is given up is given up.
fn whom_to_ask(given: &[String], founders: Vec<String>, named: &[(String, Option<String>)]) -> Vec<String> {
    let mut all = given.to_vec();
    for founder in founders {
        let is_asked = named.iter().any(|(given, own)| own.as_ref() == Some(&founder) && all.contains(given));
        if !is_asked && !all.contains(&founder) {
            all.push(founder);
        }
    }
    all
}

fn confirm(yes: bool, addresses: &[String]) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let what = format!(
        "this gives up the cluster that the daemons at {} belonged to, and all its data, for ever",
        addresses.join(", ")
    );
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{what}. Give --yes if that is meant")));
    }
    let mut error = io::stderr().lock();
    let asked = write!(error, "haystackctl: {what}.\nType `yes` to do it: ").and_then(|()| error.flush());
    drop(error);
    let mut answer = String::new();
    let read = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    match read {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        Ok(_) => Err(Failure::usage("nothing was done: it was not confirmed")),
        Err(error) => Err(Failure::usage(format!("nothing was done: cannot ask for confirmation: {error}"))),
    }
}

/// A daemon that was not told leaves more undone than one that refused, which knows of a living cluster.
fn exit(said: &[Said]) -> Exit {
    if said.iter().any(|said| matches!(said, Said::Refused(_))) {
        Exit::Refused
    } else if said.iter().any(|said| matches!(said, Said::Silent(_))) {
        Exit::Unreachable
    } else {
        Exit::Done
    }
}

fn shape(answers: &[(&String, &Said)], exit: Exit) -> Value {
    let daemons: Vec<Value> = answers
        .iter()
        .map(|(address, said)| {
            let (result, message) = match said {
                Said::Done(what) => ("done", what),
                Said::Refused(why) => ("refused", why),
                Said::Silent(why) => ("unreachable", why),
            };
            json!({ "address": address, "result": result, "message": message })
        })
        .collect();
    json!({ "result": exit.word(), "daemons": daemons })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn founders_are_asked_once_under_whatever_name() {
        let given = ["localhost:7400".to_owned(), "127.0.0.1:7401".to_owned()];
        let founders = ["127.0.0.1:7400", "127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7402"];
        let named = [("localhost:7400".to_owned(), Some("127.0.0.1:7400".to_owned()))];
        let all = whom_to_ask(&given, founders.map(str::to_owned).to_vec(), &named);
        assert_eq!(all, ["localhost:7400", "127.0.0.1:7401", "127.0.0.1:7402"]);
    }

    #[test]
    fn it_is_done_only_when_all_have_done_it() {
        let done = || Said::Done("d".into());
        let (refused, silent) = (Said::Refused("r".into()), Said::Silent("s".into()));
        assert_eq!(exit(&[done(), done()]), Exit::Done);
        assert_eq!(exit(&[done(), silent.clone()]), Exit::Unreachable);
        assert_eq!(exit(&[silent, refused, done()]), Exit::Refused);
    }

    #[test]
    fn who_was_perhaps_told_is_not_said_to_be_untold() {
        assert!(silence(&Error::Unreachable(Wait::Connection)).starts_with("NOT TOLD"));
        assert!(silence(&Error::Timeout(Wait::Daemon)).starts_with("TOLD, perhaps in vain"));
    }

    #[test]
    fn the_answers_have_the_documented_shape() {
        let (address, said) = ("a:1".to_owned(), Said::Refused("lives".into()));
        assert_eq!(
            shape(&[(&address, &said)], Exit::Refused),
            json!({
                "result": "refused",
                "daemons": [{ "address": "a:1", "result": "refused", "message": "lives" }]
            })
        );
    }

    #[test]
    fn without_a_terminal_it_must_be_confirmed_beforehand() {
        assert_eq!(confirm(true, &[]), Ok(()));
        if !io::stdin().is_terminal() {
            let failure = confirm(false, &["a:1".to_owned()]).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains("a:1") && failure.message.contains("--yes"));
        }
    }
}
