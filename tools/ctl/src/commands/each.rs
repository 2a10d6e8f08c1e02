//! Asks every daemon by itself, all at the same time.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use haystack_client::{AdminReply, AdminRequest, AdminTarget, Connection, Error, Wait};

use crate::clock::Limit;
use crate::context::Context;

/// The place of the address that was asked, and what it answered.
type Reply = (usize, Result<AdminReply, Error>);

/// Asks a request of the daemon at each address. What comes is the place of the address and the answer, in the order of
/// arrival; every address gives one.
pub(crate) fn ask_each(
    context: &Context,
    addresses: &[String],
    request: &AdminRequest,
    limit: Duration,
) -> Receiver<Reply> {
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
