//! Asks every daemon by itself.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use haystack_client::{AdminReply, AdminRequest, AdminTarget, Connection, Error, Status, Wait};

use crate::clock::Limit;
use crate::context::Context;

use super::health::{Health, judge};
use super::view::View;

/// How long the others are waited for after the first answer that leaves something to be asked (judgement: longer than
/// any round trip, shorter than patience).
const GRACE: Duration = Duration::from_millis(500);

/// What the daemons said.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// The answers, with the address that was asked.
    pub(crate) answers: Vec<(String, Status)>,
    /// Those that gave none, and why.
    pub(crate) silent: Vec<(String, Error)>,
}

/// Asks a request of the daemon at each address, all at the same time. What comes is the place of the address and the
/// answer, in the order of arrival; every address gives one.
pub(crate) fn ask_each(
    context: &Context,
    addresses: &[String],
    request: &AdminRequest,
    limit: Duration,
) -> Receiver<(usize, Result<AdminReply, Error>)> {
    let (sender, receiver) = channel();
    for (place, address) in addresses.iter().enumerate() {
        let options = context.options(std::slice::from_ref(address)).timeout(limit);
        let (sender, request) = (sender.clone(), request.clone());
        // Nobody waits for these threads: each ends by its time limit, or with the process.
        thread::spawn(move || drop(sender.send((place, ask(options, request, limit)))));
    }
    receiver
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

/// Asks all how things stand. Ends at the first answer by which all is well, at the latest at the limit; once one has
/// answered, the others have a little while.
pub(crate) fn survey(context: &Context, limit: Duration) -> Survey {
    let addresses = &context.addresses;
    let answers = ask_each(context, addresses, &AdminRequest::Status, limit);
    let mut limit = Limit::of(limit);
    let mut found = Survey { answers: Vec::new(), silent: Vec::new() };
    let mut open: Vec<bool> = vec![true; addresses.len()];
    while let Ok((place, answer)) = answers.recv_timeout(limit.left()) {
        open[place] = false;
        match answer {
            Ok(AdminReply::Status(status)) => {
                if found.answers.is_empty() {
                    limit = limit.at_most(GRACE);
                }
                found.answers.push((addresses[place].clone(), *status));
                if View::of(found.clone()).is_ok_and(|view| judge(&view).health == Health::Ok) {
                    break;
                }
            }
            Ok(AdminReply::Done(said) | AdminReply::Refused(said)) => {
                found.silent.push((addresses[place].clone(), Error::Protocol(said)));
            }
            Err(error) => found.silent.push((addresses[place].clone(), error)),
        }
    }
    let late = addresses.iter().zip(open).filter(|(_, open)| *open).map(|(address, _)| address.clone());
    found.silent.extend(late.map(|address| (address, Error::Unreachable(Wait::Connection))));
    found
}
