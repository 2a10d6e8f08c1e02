//! Asks every daemon by itself.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use haystack_client::{AdminReply, AdminRequest, AdminTarget, Connection, Error, Status, Wait};

use super::health::{Health, judge};
use super::view::View;
use crate::clock::Limit;
use crate::context::Context;

/// How long the others are waited for after the first answer, if that leaves something to be asked (judgement: longer
/// than any round trip, shorter than patience).
const GRACE: Duration = Duration::from_millis(500);

/// What the daemons said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// The answers, with the address that was asked.
    pub(crate) answers: Vec<(String, Status)>,
    /// Those that gave none, and why.
    pub(crate) silent: Vec<(String, Error)>,
}

/// The place of the address that was asked, and what it answered.
type Reply = (usize, Result<AdminReply, Error>);

/// Asks a request of the daemon at each address, all at the same time. What comes is the place of the address and the
/// answer, in the order of arrival; every address gives one.
pub(crate) fn ask_each(
    context: &Context,
    addresses: &[String],
    request: &AdminRequest,
    limit: Duration,
) -> Receiver<Reply> {
    let (sender, receiver) = channel();
    for (place, address) in addresses.iter().enumerate() {
        begin(context, place, address, request, limit, &sender);
    }
    receiver
}

/// Begins to ask one daemon.
fn begin(
    context: &Context,
    place: usize,
    address: &String,
    request: &AdminRequest,
    limit: Duration,
    sender: &Sender<Reply>,
) {
    let options = context.options(std::slice::from_ref(address)).timeout(limit);
    let (sender, request) = (sender.clone(), request.clone());
    // Nobody waits for these threads: each ends by its time limit, or with the process.
    thread::spawn(move || drop(sender.send((place, ask(options, request, limit)))));
}

/// Asks the very daemon that these options lead to, and no other that it names.
fn ask(
    options: haystack_client::Options,
    request: AdminRequest,
    limit: Duration,
) -> Result<AdminReply, Error> {
    let limit = Limit::of(limit);
    let mut connection = Connection::connect(options)?;
    let first = connection.connected().into_iter().next();
    let (node, _) = first.ok_or(Error::Unreachable(Wait::Connection))?;
    connection.set_timeout(limit.left());
    connection.admin(AdminTarget::Node(node), request)
}

/// Asks all how things stand: the given addresses, and those of the nodes that the answers name, so that a daemon which
/// itself knows little still leads to the truth. Ends at the first answer by which all is well, at the latest at the
/// limit; once one has answered, the others have a little while.
pub(crate) fn survey(context: &Context, limit: Duration) -> Survey {
    let mut limit = Limit::of(limit);
    let (sender, answers) = channel();
    let mut asked: Vec<(String, bool)> = Vec::new();
    let ask = |address: &String, limit: Duration, asked: &mut Vec<(String, bool)>| {
        begin(context, asked.len(), address, &AdminRequest::Status, limit, &sender);
        asked.push((address.clone(), false));
    };
    for address in &context.addresses {
        ask(address, limit.left(), &mut asked);
    }
    let mut found = Survey::default();
    while asked.iter().any(|(_, ended)| !ended) {
        let Ok((place, answer)) = answers.recv_timeout(limit.left()) else { break };
        asked[place].1 = true;
        let address = asked[place].0.clone();
        let status = match answer {
            Ok(AdminReply::Status(status)) => *status,
            Ok(AdminReply::Done(said) | AdminReply::Refused(said)) => {
                found.silent.push((address, Error::Protocol(said)));
                continue;
            }
            Err(error) => {
                found.silent.push((address, error));
                continue;
            }
        };
        if found.answers.is_empty() {
            limit = limit.at_most(GRACE);
        }
        if found.answers.iter().any(|(_, other)| other.node == status.node) {
            // The same daemon under another address.
            continue;
        }
        found.answers.push((address, status));
        if View::of(found.clone()).is_ok_and(|view| judge(&view).health == Health::Ok) {
            break;
        }
        for address in learned(&found, &asked) {
            ask(&address, limit.left(), &mut asked);
        }
    }
    let late = asked.into_iter().filter(|(_, ended)| !ended);
    found.silent.extend(late.map(|(address, _)| (address, Error::Unreachable(Wait::Connection))));
    found
}

/// Addresses of nodes that the answers name, that have not answered, and whose address was not asked.
fn learned(found: &Survey, asked: &[(String, bool)]) -> Vec<String> {
    let mut addresses = Vec::new();
    for node in found.answers.iter().flat_map(|(_, status)| &status.nodes) {
        let address = node.addr.to_string();
        let has_answered = found.answers.iter().any(|(_, status)| Some(status.node) == node.node);
        let is_asked = asked.iter().any(|(asked, _)| *asked == address);
        if !has_answered && !is_asked && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::super::tests::status_of;
    use super::*;

    #[test]
    fn nodes_that_an_answer_names_are_asked_once() {
        let answers = vec![("localhost:7401".to_owned(), status_of(1)), ("x".to_owned(), status_of(2))];
        let found = Survey { answers, silent: Vec::new() };
        assert_eq!(learned(&found, &[]), ["127.0.0.3:7400"]);
        assert_eq!(learned(&found, &[("127.0.0.3:7400".to_owned(), false)]), [""; 0]);
    }
}
