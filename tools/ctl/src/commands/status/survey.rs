//! Asks one daemon, which asks the others; and further ones only where the first may not know enough.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use haystack_client::{AdminTarget, Connection, Error, NodeId, Status};
use haystack_wire::message::directory::Standing;

use super::health::{Health, judge};
use super::view::View;
use crate::clock::Limit;

/// How long other daemons are asked, should the first say that data is not served: it may be the one that is cut off
/// (judgement: a few of the 400 ms that a daemon itself waits for the others).
const SECOND_OPINIONS: Duration = Duration::from_secs(2);
/// How long one of them is waited for (judgement: the same 400 ms, and a round trip or two).
const SECOND_OPINION: Duration = Duration::from_millis(700);
/// How long one is waited for that has not answered a handshake by then (judgement: a few round trips around the world).
const STRANGER: Duration = Duration::from_millis(400);

/// What the daemons said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// The answers, with the address that was asked. The first daemon that answers is mostly the only one.
    pub(crate) answers: Vec<(String, Status)>,
    /// Those that were asked and gave none, and why.
    pub(crate) silent: Vec<(String, Error)>,
}

/// Who can be asked: a connection, or a test.
pub(crate) trait Daemons {
    /// How things stand, by the first that answers.
    fn any(&mut self, limit: Duration) -> Result<Status, Error>;
    /// How things stand, by the one at this address.
    fn at(&mut self, address: SocketAddr, limit: Duration) -> Result<Status, Error>;
    /// Where a daemon is known to answer.
    fn connected(&self) -> Vec<(NodeId, SocketAddr)>;
    /// Where daemons were said to be.
    fn given(&self) -> Vec<SocketAddr>;
}

impl Daemons for Connection {
    fn any(&mut self, limit: Duration) -> Result<Status, Error> {
        self.set_timeout(limit);
        self.status()
    }

    fn at(&mut self, address: SocketAddr, limit: Duration) -> Result<Status, Error> {
        self.set_timeout(limit);
        self.status_of(AdminTarget::Address(address))
    }

    fn connected(&self) -> Vec<(NodeId, SocketAddr)> {
        Self::connected(self)
    }

    fn given(&self) -> Vec<SocketAddr> {
        self.addresses()
    }
}

/// Asks how things stand. The first answer is enough if by it all data is served, or it has the word of most nodes; else
/// the other daemons that were given, and those that the answers name, are asked too for a little while.
pub(crate) fn survey(daemons: &mut impl Daemons, limit: Duration) -> Survey {
    let limit = Limit::of(limit);
    let mut found = Survey::default();
    match daemons.any(limit.left()) {
        Ok(status) => found.answers.push((address_of(daemons, &status), status)),
        Err(error) => {
            found.silent.push((String::new(), error));
            return found;
        }
    }
    let limit = limit.at_most(SECOND_OPINIONS);
    let mut asked: BTreeSet<SocketAddr> = BTreeSet::new();
    while !is_enough(&found) && !limit.left().is_zero() {
        let Some(address) = next(daemons, &found, &asked) else { break };
        asked.insert(address);
        let is_linked = daemons.connected().iter().any(|(_, linked)| *linked == address);
        let patience = if is_linked { SECOND_OPINION } else { STRANGER };
        match daemons.at(address, limit.left().min(patience)) {
            Ok(status) if found.answers.iter().all(|(_, other)| other.node != status.node) => {
                found.answers.push((address.to_string(), status));
            }
            // The same daemon under another address.
            Ok(_) => {}
            Err(error) => found.silent.push((address.to_string(), error)),
        }
    }
    found
}

fn is_enough(found: &Survey) -> bool {
    let sees_most = |view: &View| {
        let members = || view.nodes.iter().filter(|row| row.standing == Some(Standing::Member));
        let told = members().filter(|row| row.reported).count();
        view.base.standing == Standing::Member && told > members().count() / 2
    };
    View::of(found.clone()).is_ok_and(|view| judge(&view).health < Health::Unavailable || sees_most(&view))
}

/// The address at which the answerer was asked.
pub(super) fn address_of(daemons: &impl Daemons, status: &Status) -> String {
    let linked = daemons.connected().into_iter().find(|(node, _)| *node == status.node);
    let own = || status.nodes.iter().find(|row| row.node == Some(status.node)).map(|row| row.addr);
    linked.map(|(_, address)| address).or_else(own).map_or_else(String::new, |address| address.to_string())
}

/// Whom to ask next: those that are known to answer first, then those that were given, then whom the answers name.
fn next(daemons: &impl Daemons, found: &Survey, asked: &BTreeSet<SocketAddr>) -> Option<SocketAddr> {
    let has_answered = |node| found.answers.iter().any(|(_, status)| status.node == node);
    let connected = daemons.connected();
    let known: BTreeSet<SocketAddr> =
        connected.iter().filter(|(node, _)| has_answered(*node)).map(|(_, address)| *address).collect();
    let named = found.answers.iter().flat_map(|(_, status)| &status.nodes);
    let named = named.filter(|row| !row.node.is_some_and(has_answered)).map(|row| row.addr);
    let all = connected.iter().map(|(_, address)| *address).chain(daemons.given()).chain(named);
    all.into_iter().find(|address| !known.contains(address) && !asked.contains(address))
}

#[cfg(test)]
mod tests;
