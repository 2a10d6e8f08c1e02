//! Other daemons: introductions, groups' messages, the map.

use std::collections::BTreeSet;

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::codec::decode_whole;
use haystack_wire::frame::Class;
use haystack_wire::ids::{GroupId, NodeId};
use haystack_wire::keys::{Rights, Role};
use haystack_wire::link::LinkId;
use haystack_wire::message::PeerMessage;
use haystack_wire::message::directory::{DirectoryMessage, Standing};

use slog::warn;

use super::timers::Source;
use super::{FIRST_MAP_PULL_PERIOD, MAP_PULL_PERIOD, Node, SIGN_OF_LIFE_PERIOD};
use crate::group::Origin;

impl Node {
    pub(super) fn on_peer_message(&mut self, now: Instant, link: LinkId, from: NodeId, message: &Bytes) {
        let message = match decode_whole(message, "peer message") {
            Ok(message) => message,
            Err(_) => {
                self.stats.drop_malformed += 1;
                return;
            }
        };
        match message {
            PeerMessage::Broadcast { group: id, view, message } => {
                let Some(group) = self.groups.get_mut(&id) else {
                    self.stats.drop_no_group += 1;
                    return;
                };
                if group.on_broadcast(now, from, view, message, &mut self.sink) {
                    self.dirty.insert(id);
                } else {
                    self.stats.drop_stranger += 1;
                }
            }
            PeerMessage::Heartbeats(heartbeats) => {
                for heartbeat in &heartbeats {
                    let Some(group) = self.groups.get_mut(&heartbeat.group) else {
                        self.stats.drop_no_group += 1;
                        continue;
                    };
                    if group.on_heartbeat(now, from, heartbeat, &mut self.sink) {
                        self.dirty.insert(heartbeat.group);
                    } else {
                        self.stats.drop_stranger += 1;
                    }
                }
            }
            PeerMessage::SnapshotPull { group: id, .. } | PeerMessage::SnapshotChunk { group: id, .. } => {
                let Some(group) = self.groups.get_mut(&id) else {
                    self.stats.drop_no_group += 1;
                    return;
                };
                if group.on_bulk(now, from, message, &mut self.sink) {
                    self.dirty.insert(id);
                } else {
                    self.stats.drop_stranger += 1;
                }
            }
            PeerMessage::Directory(message) => self.on_directory(now, link, from, message),
            PeerMessage::Forward { token, request } => {
                // The forwarder has checked its client's rights.
                self.on_request(now, Origin { link, token: Some(token) }, Rights::ALL, &request);
            }
            PeerMessage::Forwarded { token, reply } => self.on_forwarded(now, token, reply),
            PeerMessage::Gossip(gossip) if gossip.from == from => {
                if let Some(remote) = self.endpoint.remote(link) {
                    self.take_gossip(now, remote.addr, *gossip);
                }
            }
            // Nobody speaks for another on its own link.
            PeerMessage::Gossip(_) => self.stats.drop_stranger += 1,
            PeerMessage::Beat(beat) => {
                self.unsettled = true;
                self.detector.handle(now, from, beat);
            }
            PeerMessage::ReportPull { mark } => self.on_report_pull(now, link, mark),
            PeerMessage::Report { mark, replicas } => self.on_report(now, from, mark, replicas),
        }
        self.drain_sink(now);
    }

    fn on_directory(&mut self, now: Instant, link: LinkId, from: NodeId, message: DirectoryMessage) {
        match message {
            DirectoryMessage::Introduce { ref succeeds, standing, cluster, .. } => {
                if let Some(remote) = self.endpoint.remote(link) {
                    self.founding.on_introduce(now, from, remote.addr, &message);
                }
                if let Some(why) = self.founding.differs_from(from) {
                    warn!(self.log, "no founding together with a founder: make the configurations alike"; "why" => why);
                }
                self.note_succession(now, link, from, succeeds);
                if cluster == self.founding.cluster()
                    && let Some(swim) = &mut self.swim
                {
                    // Everybody asks the predecessor by itself, as long as it would answer if it lived.
                    swim.succeeded(now, from, succeeds);
                }
                if standing == Standing::Member && self.map.is_none() {
                    self.send_directory(now, from, DirectoryMessage::MapPull { held: self.epoch() });
                }
            }
            DirectoryMessage::MapPull { held } => {
                if let Some(map) = self.map.clone().filter(|map| map.epoch > held) {
                    self.send_directory(now, from, DirectoryMessage::Map(map));
                }
            }
            DirectoryMessage::Map(map) => {
                // Only one who has no replica of the directory learns the map this way.
                let ours = self.founding.cluster() == Some(map.cluster);
                if ours && !self.groups.contains_key(&GroupId::DIRECTORY) {
                    self.adopt_map(now, map);
                }
            }
            other => self.founding.on_message(now, from, other),
        }
        self.settle(now);
    }

    pub(super) fn peer_links(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.links.iter().filter(|(_, remote)| remote.role == Role::Peer).map(|(link, _)| *link)
    }

    pub(super) fn introduce(&mut self, now: Instant, link: LinkId) {
        let message = PeerMessage::Directory(self.founding.introduction());
        let bytes = self.outbox.encode(&message);
        // In order with the introductions before it; what a full link refuses is said when it has room.
        if self.endpoint.send(now, link, Class::Broadcast, bytes).is_ok() {
            self.unintroduced.remove(&link);
        } else {
            self.stats.drop_backpressure += 1;
            self.unintroduced.insert(link);
        }
    }

    pub(super) fn send_directory(&mut self, now: Instant, to: NodeId, message: DirectoryMessage) {
        let bytes = self.outbox.encode(&PeerMessage::Directory(message));
        // Founding asks again for what it needs.
        let _ = super::outbox::send(now, &mut self.endpoint, &mut self.stats, to, Class::Broadcast, bytes);
    }

    /// An empty heartbeat message to all that the failure detector does not watch. Fair-loss, so that nothing piles up
    /// before a dead link.
    pub(super) fn give_signs_of_life(&mut self, now: Instant) {
        self.timers.set(Source::SignOfLife, Some(now + SIGN_OF_LIFE_PERIOD));
        let bytes = self.outbox.encode(&PeerMessage::Heartbeats(Vec::new()));
        let watched: BTreeSet<NodeId> = self.detector.peers().collect();
        let peers: Vec<_> =
            self.peer_links().filter_map(|link| Some((link, self.links.get(&link)?.node))).collect();
        for (link, node) in peers {
            if !watched.contains(&node) {
                let _ = self.endpoint.send_datagram(now, link, bytes.clone());
            }
            // A link outlives its process: founding must not take the one for the other.
            self.founding.on_heard(now, node, self.hears(now, node));
        }
        self.settle(now);
    }

    /// Asks a member for the map if this one may be old, and looks after processes that were declared dead.
    pub(super) fn pull_map(&mut self, now: Instant) {
        let period = if self.map.is_none() && self.founding.cluster().is_some() {
            FIRST_MAP_PULL_PERIOD
        } else {
            MAP_PULL_PERIOD
        };
        self.timers.set(Source::Map, Some(now + period));
        self.end_predecessors(now);
        self.ask_silent_predecessors(now);
        let behind = self.map.is_none() || self.beacon.epoch > self.epoch();
        if behind && self.founding.cluster().is_some() && !self.groups.contains_key(&GroupId::DIRECTORY) {
            self.pull_map_from(now, None);
        }
    }
}
