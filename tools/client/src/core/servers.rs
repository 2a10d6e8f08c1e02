//! The daemons at the other ends of the links: which of them can be asked, and the partition map that they tell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::codec::decode_whole;
use haystack_wire::frame::Class;
use haystack_wire::ids::{Epoch, GroupId, NodeId};
use haystack_wire::keys::Role;
use haystack_wire::link::LinkId;
use haystack_wire::message::directory::{NodeRecord, NodeState, PartitionMap};
use haystack_wire::message::{ClientMessage, ServerMessage};

use super::Client;
use super::groups::Session;
use super::ops::{Key, State};
use crate::error::{Error, Wait};

/// Most addresses that are dialled because a map names them; the daemons forward to the others. A map of few nodes is
/// dialled whole.
const DIAL_LIMIT: usize = 16;
/// Time until a daemon without a map is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Time until a daemon with the map of another cluster, or one that is not valid, is asked again.
const ASK_STRANGER_AGAIN: Duration = Duration::from_secs(1);
/// Time until a daemon that has not answered is asked again.
const ASK_THE_DEAF_AGAIN: Duration = Duration::from_secs(2);
/// Most links that are kept to processes whose address another process has taken.
const DETACHED_LIMIT: usize = 16;

/// The process at the other end of a link.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) node: NodeId,
    /// Where it first answered.
    pub(super) addr: SocketAddr,
    /// Whether it told the map of the cluster that the client works with. Sessions are named by log positions, which
    /// recur in another cluster: nothing is sent to a daemon before it is known to belong to the same.
    member: bool,
    /// Another process answers at its address.
    pub(super) detached: bool,
    /// Since when an attempt on it has no answer, nor any other sign of life.
    suspect: Option<Instant>,
    asking: Asking,
    /// Operations that wait for the link to take more.
    pub(super) blocked: VecDeque<Key>,
}

/// Whether a daemon is asked for its map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    /// It is not.
    No,
    /// It was. It will answer, as links lose nothing, unless it dies: then it does not matter that it is asked again at
    /// this time, but that something is sent, from which the link learns who is at the address now.
    Asked(Instant),
    /// It will be at this time.
    At(Instant),
}

impl Server {
    /// When it is to be asked for its map.
    pub(super) const fn asks_at(&self) -> Option<Instant> {
        match self.asking {
            Asking::At(at) | Asking::Asked(at) if !self.detached => Some(at),
            _ => None,
        }
    }
}

/// How well a daemon is suited to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suited {
    /// Not at all.
    No,
    /// If nobody else is: it does not answer.
    Poorly,
    /// Well.
    Well,
}

impl Client {
    /// How well the daemon at the end of a link is suited to be asked.
    pub(super) fn suited(&self, link: LinkId) -> Suited {
        let Some(server) = self.servers.get(&link) else { return Suited::No };
        match server {
            server if !server.member || server.detached => Suited::No,
            server if self.is_silent(link, server) => Suited::Poorly,
            _ => Suited::Well,
        }
    }

    /// Whether an attempt had no answer, and nothing was heard since it was sent.
    fn is_silent(&self, link: LinkId, server: &Server) -> bool {
        let heard_since = |since| self.endpoint.remote(link).is_some_and(|remote| remote.last_heard > since);
        server.suspect.is_some_and(|since| !heard_since(since))
    }

    pub(super) fn on_up(&mut self, now: Instant, link: LinkId, node: NodeId, role: Role, addr: SocketAddr) {
        if role != Role::Peer {
            self.stats.malformed += 1;
            return self.endpoint.close(now, link);
        }
        let replaced: Vec<LinkId> = self
            .servers
            .iter()
            .filter(|(_, other)| other.addr == addr && !other.detached)
            .map(|(link, _)| *link)
            .collect();
        let server = Server {
            node,
            addr,
            member: false,
            detached: false,
            suspect: None,
            asking: Asking::No,
            blocked: VecDeque::new(),
        };
        self.servers.insert(link, server);
        self.ask(now, link);
        for old in replaced {
            self.stats.replaced += 1;
            if let Some(server) = self.servers.get_mut(&old) {
                server.detached = true;
            }
            self.leave(now, old);
        }
        self.drop_detached();
        self.unpark(now);
    }

    pub(super) fn on_down(&mut self, now: Instant, link: LinkId) {
        if let Some(server) = self.servers.get_mut(&link) {
            server.detached = true;
        }
        self.leave(now, link);
        let Some(server) = self.servers.remove(&link) else { return };
        if self.config.addresses.contains(&server.addr) || self.dialled.contains(&server.addr) {
            self.endpoint.connect(now, server.addr);
        }
    }

    pub(super) fn on_writable(&mut self, now: Instant, link: LinkId) {
        let waiting = self.servers.get_mut(&link).map(|server| core::mem::take(&mut server.blocked));
        self.route_taken(now, waiting.into_iter().flatten());
    }

    pub(super) fn on_message(&mut self, now: Instant, link: LinkId, message: &Bytes) {
        let Some(server) = self.servers.get_mut(&link) else { return };
        server.suspect = None;
        server.detached = false;
        match decode_whole::<ServerMessage>(message, "ServerMessage") {
            Ok(ServerMessage::Reply(reply)) => self.on_reply(now, link, reply),
            Ok(ServerMessage::Map { map, .. }) => self.on_map(now, link, map),
            Ok(ServerMessage::Admin { id, reply }) => self.on_admin(now, id, reply),
            Err(_) => self.stats.malformed += 1,
        }
    }

    /// Notes that an attempt on a link, sent at `since`, has no answer.
    pub(super) fn suspect(&mut self, link: LinkId, since: Instant) {
        let silent = self.endpoint.remote(link).is_none_or(|remote| remote.last_heard <= since);
        if let Some(server) = self.servers.get_mut(&link).filter(|_| silent) {
            server.suspect = Some(since);
        }
    }

    /// Asks a daemon for its map: for any that it has while it is a stranger, later for a newer one.
    pub(super) fn ask(&mut self, now: Instant, link: LinkId) {
        let is_member = self.servers.get(&link).is_some_and(|server| server.member);
        let held = self.map.as_ref().filter(|_| is_member).map_or(Epoch(0), |map| map.epoch);
        self.ask_above(now, link, held);
    }

    /// Asks a daemon for a map above an epoch. Those of another history may count from lower ones.
    pub(super) fn ask_above(&mut self, now: Instant, link: LinkId, held: Epoch) {
        let Some(server) = self.servers.get_mut(&link) else { return };
        if matches!(server.asking, Asking::Asked(again) if again > now) {
            return;
        }
        let message = super::dispatch::pack(&mut self.arena, &ClientMessage::MapRequest { id: 0, held });
        server.asking = match self.endpoint.send(now, link, Class::Client, message) {
            Ok(()) => Asking::Asked(now + ASK_THE_DEAF_AGAIN),
            Err(_) => Asking::At(now + ASK_AGAIN),
        };
    }

    pub(super) fn ask_what_is_due(&mut self, now: Instant) {
        let is_due = |at: Instant| at <= now;
        while let Some(link) = self
            .servers
            .iter()
            .find(|(_, server)| server.asks_at().is_some_and(is_due))
            .map(|(link, _)| *link)
        {
            self.ask(now, link);
        }
    }

    /// Asks for a newer map if a daemon knows of one.
    pub(super) fn note_epoch(&mut self, now: Instant, link: LinkId, epoch: Epoch) {
        if self.map.as_ref().is_some_and(|map| map.epoch < epoch) {
            self.ask(now, link);
        }
    }

    fn on_map(&mut self, now: Instant, link: LinkId, map: Option<PartitionMap>) {
        let Some(server) = self.servers.get_mut(&link) else { return };
        server.asking = Asking::No;
        let Some(map) = map else {
            if !server.member {
                server.asking = Asking::At(now + ASK_AGAIN);
            }
            return;
        };
        let ask_stranger_again = Asking::At(now + ASK_STRANGER_AGAIN);
        if map.validate().is_err() {
            self.stats.malformed += 1;
            server.asking = ask_stranger_again;
            return;
        }
        let held = self.map.as_ref().map(|held| (held.cluster, held.history, held.epoch));
        match held {
            Some((cluster, ..)) if cluster != map.cluster => {
                if self.has_members() {
                    self.stats.foreign_maps += 1;
                    if let Some(server) = self.servers.get_mut(&link) {
                        (server.member, server.asking) = (false, ask_stranger_again);
                    }
                    return;
                }
                self.adopt(now, map);
                self.question_others(now, link);
            }
            Some((_, history, epoch)) if (map.history, map.epoch) <= (history, epoch) => {}
            _ => self.adopt(now, map),
        }
        if let Some(server) = self.servers.get_mut(&link) {
            server.member = true;
        }
        self.unpark(now);
    }

    /// Whether a daemon of the cluster that the client works with can still be asked.
    fn has_members(&self) -> bool {
        self.servers
            .iter()
            .any(|(link, server)| server.member && !server.detached && !self.is_silent(*link, server))
    }

    /// After a change of the cluster every other daemon is a stranger again.
    fn question_others(&mut self, now: Instant, link: LinkId) {
        for (other, server) in &mut self.servers {
            if *other != link {
                server.member = false;
                server.asking = Asking::At(now);
            }
        }
        self.ask_what_is_due(now);
    }

    /// Takes a newer map, or that of another history or cluster: then sessions of the old one are gone.
    fn adopt(&mut self, now: Instant, map: PartitionMap) {
        let forked =
            self.map.as_ref().is_some_and(|held| (held.cluster, held.history) != (map.cluster, map.history));
        self.dial_nodes(now, &map);
        let served: BTreeSet<GroupId> = map.partitions.iter().map(|partition| partition.group).collect();
        self.map = Some(map);
        // Slots may have moved: what was not numbered yet looks for its group again, but not before every session that
        // has ended is gone. Else it would be numbered in one of them, whose name may be another client's by now.
        let mut waiting = VecDeque::new();
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in groups {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            waiting.append(&mut group.queue);
            if forked || !served.contains(&id) {
                let session = core::mem::replace(&mut group.session, Session::None);
                self.groups.remove(&id);
                if let Session::Opening(open) = session {
                    self.discard(open);
                }
            }
        }
        if forked {
            self.fail_sessions(now);
        }
        self.route_taken(now, waiting);
    }

    /// Tells all operations that are bound to the old history.
    fn fail_sessions(&mut self, now: Instant) {
        let Some(history) = self.map.as_ref().map(|map| map.history) else { return };
        let bound: Vec<Key> = self
            .ops
            .iter()
            .filter(|(_, op)| op.session.is_some() || op.is_resolve())
            .map(|(key, _)| key)
            .collect();
        for key in bound {
            self.fail_forked(now, key, history);
        }
    }

    /// Keeps in touch with the nodes of a map, so that the cluster is found when those that were given are gone: with all
    /// if they are few, else with the directory, which knows the way to the others.
    fn dial_nodes(&mut self, now: Instant, map: &PartitionMap) {
        let are_few = map.nodes.len() <= DIAL_LIMIT;
        let is_there = |record: &NodeRecord| match record.state {
            NodeState::Gone => false,
            // In a large map it takes the place of another.
            NodeState::Down => are_few,
            NodeState::Joining | NodeState::Up | NodeState::Suspect | NodeState::Draining => true,
        };
        let there: BTreeMap<NodeId, SocketAddr> = map
            .nodes
            .iter()
            .filter(|record| is_there(record))
            .map(|record| (record.info.node, record.info.addr))
            .collect();
        let is_named = |addr: &SocketAddr| there.values().any(|other| other == addr);
        let (kept, gone): (BTreeSet<_>, BTreeSet<_>) = self.dialled.iter().copied().partition(is_named);
        for addr in gone {
            if !self.config.addresses.contains(&addr) {
                self.endpoint.disconnect(addr);
            }
        }
        self.dialled = kept;
        let directory = map.directory.replicas.iter().filter_map(|node| there.get(node));
        let wanted: Vec<SocketAddr> =
            if are_few { there.values().copied().collect() } else { directory.copied().collect() };
        for addr in wanted {
            if self.dialled.len() < DIAL_LIMIT && self.dialled.insert(addr) {
                self.endpoint.connect(now, addr);
            }
        }
    }

    /// Dials a node that the map names, if few enough are dialled.
    pub(super) fn dial(&mut self, now: Instant, node: NodeId) {
        let Some(map) = &self.map else { return };
        let Some(NodeRecord { info, .. }) = map.record(node) else { return };
        if self.dialled.len() < DIAL_LIMIT && self.dialled.insert(info.addr) {
            self.endpoint.connect(now, info.addr);
        }
    }

    /// Attempts on a link that is gone or detached will hardly be answered: they go elsewhere at once.
    fn leave(&mut self, now: Instant, link: LinkId) {
        self.on_writable(now, link);
        let left: Vec<Key> = self
            .ops
            .iter()
            .filter(|(_, op)| op.link == Some(link) && matches!(op.state, State::Sent(_)))
            .map(|(key, _)| key)
            .collect();
        for key in left {
            if let Some(op) = self.ops.get_mut(key).filter(|op| op.work.may_repeat()) {
                op.turns += 1;
                self.stats.retries += 1;
                self.route_again(now, key);
            }
        }
    }

    fn drop_detached(&mut self) {
        while self.servers.values().filter(|server| server.detached).count() > DETACHED_LIMIT {
            let oldest = self.servers.iter().find(|(_, server)| server.detached).map(|(link, _)| *link);
            let Some(link) = oldest else { return };
            self.servers.remove(&link);
            self.endpoint.gone(link);
        }
    }

    /// Looks for a way again for everything that had none.
    pub(super) fn unpark(&mut self, now: Instant) {
        let waiting = core::mem::take(&mut self.parked);
        self.route_taken(now, waiting);
    }

    /// What an operation waits for that finds no daemon to ask.
    pub(super) fn missing(&self) -> Wait {
        if self.servers.values().any(|server| !server.detached) { Wait::Map } else { Wait::Connection }
    }

    /// Ends an operation that is bound to a history that is not in force any more.
    pub(super) fn fail_forked(&mut self, now: Instant, key: Key, history: haystack_wire::ids::HistoryId) {
        let Some(op) = self.ops.get(key) else { return };
        let maybe_applied = op.is_resolve() || op.may_be_appended();
        let ticket = op.ticket();
        self.complete(now, key, Err(Error::HistoryForked { history, ticket, maybe_applied }));
    }
}
