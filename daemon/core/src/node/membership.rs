//! Membership put to work: who is there, whom to be linked with, where the coordinator is, and what it decides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::codec::decode_whole;
use haystack_wire::datagram::VERSIONS;
use haystack_wire::frame::Class;
use haystack_wire::ids::{Ballot, GroupId, LinkEnd, NodeId};
use haystack_wire::message::PeerMessage;
use haystack_wire::message::admin::ClusterEvent;
use haystack_wire::message::directory::{DirectoryMessage, NodeInfo, NodeState, PartitionMap};
use haystack_wire::message::membership::{Beacon, Gossip, Member, MemberState, Meta};
use slog::{info, warn};

use super::timers::Source;
use super::{Event, Node};
use crate::directory::coordinator::{Health, Sighting};
use crate::membership::detector;
use crate::membership::swim::{self, Conflict, Swim};

/// How often a coordinator looks after nodes (judgement: little beside the seconds that a suspicion takes).
const OFFICE_PERIOD: Duration = Duration::from_millis(200);
/// Up to so many members every two are linked; in larger clusters those that share a group, and all with the
/// directory (LINKS, "Failure detector").
const ALL_PAIRS_MOST: usize = 16;

/// A member as the directory describes nodes.
pub(super) fn info(member: &Member) -> NodeInfo {
    NodeInfo {
        node: member.node,
        name: member.name.clone(),
        addr: member.addr,
        zone: member.meta.zone.clone(),
        host: member.meta.host.clone(),
    }
}

impl Node {
    /// The ballot in which the directory is led, as far as the word of it has come.
    pub fn coordinator(&self) -> Option<Ballot> {
        (self.beacon.coordinator != Ballot::default()).then_some(self.beacon.coordinator)
    }

    /// The members that this node knows, itself included. Of them only itself can have left.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.swim.iter().flat_map(|swim| std::iter::once(swim.me()).chain(swim.members()))
    }

    /// The failure detector, to look at.
    pub const fn detector(&self) -> &detector::Detector {
        &self.detector
    }

    /// The names of seeds and founders were resolved again. None at all is the silence of a name server, and no news.
    pub fn set_seeds(&mut self, now: Instant, founders: Vec<SocketAddr>, seeds: Vec<SocketAddr>) {
        if self.config.founders.len() == founders.len() && !founders.is_empty() && self.founding.is_settled()
        {
            self.config.founders = founders;
        }
        if !seeds.is_empty() {
            self.config.seeds = seeds;
        }
        let seeds = self.seeds();
        if let Some(swim) = &mut self.swim {
            swim.set_seeds(now, seeds);
        }
        self.wire_up(now);
        self.settle(now);
    }

    /// This host is reached at another address from now on.
    pub fn set_addr(&mut self, now: Instant, addr: SocketAddr) {
        if self.config.advertise == addr {
            return;
        }
        self.config.advertise = addr;
        if let Some(swim) = &mut self.swim {
            swim.set_addr(now, addr);
        }
        self.settle(now);
    }

    /// Whether names should be resolved again, because this node hears nobody.
    pub fn wants_seeds(&self) -> bool {
        self.swim
            .as_ref()
            .map_or(!self.config.seeds.is_empty() || self.config.founders.is_empty(), Swim::wants_seeds)
    }

    fn seeds(&self) -> Vec<SocketAddr> {
        let all = self.config.founders.iter().chain(&self.config.seeds);
        let distinct: BTreeSet<SocketAddr> =
            all.copied().filter(|addr| *addr != self.config.advertise).collect();
        distinct.into_iter().collect()
    }

    /// Membership begins when this process belongs to a cluster, and ends when it gives that up.
    pub(super) fn note_cluster(&mut self, now: Instant) {
        let cluster = self.founding.cluster();
        if cluster == self.gossips {
            return;
        }
        if self.gossips.is_some() {
            // What was known was of the cluster that is given up. Its epoch and ballots are above those of the next one.
            self.map = None;
            self.beacon = Beacon::default();
            self.routes.clear();
            self.note_readiness();
        }
        self.gossips = cluster;
        self.swim = None;
        self.conflicts.clear();
        let Some(cluster) = cluster else { return self.wire_up(now) };
        let mut meta = Meta {
            zone: self.config.zone.clone(),
            host: self.config.host.clone(),
            tags: self.config.tags.clone(),
        };
        meta.cut();
        let config = swim::Config {
            node: self.id(),
            boot: self.identity.boot,
            addr: self.config.advertise,
            versions: (VERSIONS.min, VERSIONS.max),
            name: self.config.name.clone(),
            meta,
            cluster,
            seeds: self.seeds(),
            succeeds: self.founding.predecessors(),
            founders_hash: self.founding.founders_hash(),
            timing: swim::Timing::default(),
        };
        let rng = self.rng.fork();
        self.swim = Some(Swim::new(config, now, rng));
        self.raise_beacon(now);
        self.wire_up(now);
    }

    /// A gossip outside any link.
    pub(super) fn on_gossip(&mut self, now: Instant, from: SocketAddr, sender: LinkEnd, message: &Bytes) {
        match decode_whole::<PeerMessage>(message, "gossip") {
            Ok(PeerMessage::Gossip(gossip)) if gossip.from == sender.node => {
                self.take_gossip(now, from, *gossip);
            }
            _ => self.stats.drop_malformed += 1,
        }
    }

    pub(super) fn take_gossip(&mut self, now: Instant, from: SocketAddr, gossip: Gossip) {
        self.unsettled = true;
        match &mut self.swim {
            Some(swim) => swim.handle(now, from, gossip),
            // Whoever belongs to no cluster has nothing to say; founding goes over links.
            None => self.stats.drop_no_cluster += 1,
        }
    }

    /// Probes, suspicions and heartbeats are due.
    pub(super) fn tick_members(&mut self, now: Instant) {
        self.note_signs(now);
        if let Some(swim) = &mut self.swim {
            swim.handle_timeout(now);
        }
        self.detector.handle_timeout(now);
    }

    /// What the links heard counts for both detectors, whatever it was.
    fn note_signs(&mut self, now: Instant) {
        let peers: Vec<_> = self.peer_links().collect();
        for link in peers {
            let Some(remote) = self.endpoint.remote(link) else { continue };
            let Some(known) = self.links.get_mut(&link) else { continue };
            if core::mem::replace(&mut known.heard, remote.last_heard) == remote.last_heard {
                continue;
            }
            let node = known.node;
            self.detector.path(node, remote.srtt, remote.rttvar);
            self.detector.heard(now, node);
            if let Some(swim) = &mut self.swim {
                swim.link_state(node, remote.srtt, remote.rttvar);
                swim.heard(remote.last_heard, node);
            }
        }
    }

    /// Carries out what membership and detector want; true if there was anything.
    pub(super) fn drain_members(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(output) = self.swim.as_mut().and_then(Swim::poll_output) {
            any = true;
            self.on_swim(now, output);
        }
        while let Some(output) = self.detector.poll_output() {
            any = true;
            self.on_detector(now, output);
        }
        self.timers.set(Source::Members, self.swim.as_ref().and_then(Swim::poll_timeout));
        self.timers.set(Source::Detector, self.detector.poll_timeout());
        any
    }

    fn on_detector(&mut self, now: Instant, output: detector::Output) {
        match output {
            detector::Output::Send { to, beat } => {
                let bytes = self.outbox.encode(&PeerMessage::Beat(beat));
                if let Some(link) = self.endpoint.link_to(to) {
                    let _ = self.endpoint.send_datagram(now, link, bytes);
                }
            }
            detector::Output::Suspect(node) => self.tell(now, ClusterEvent::Suspect { node }),
            detector::Output::Restore(node) => self.tell(now, ClusterEvent::Restore { node }),
            detector::Output::OneWay { node, deaf } => {
                if deaf {
                    warn!(self.log, "a peer is heard that does not hear this node"; "peer" => node.short());
                } else {
                    info!(self.log, "a peer hears this node again"; "peer" => node.short());
                }
            }
        }
    }

    fn on_swim(&mut self, now: Instant, output: swim::Output) {
        match output {
            swim::Output::Send { to, node, gossip, reliable } => {
                self.send_gossip(now, to, node, gossip, reliable);
            }
            swim::Output::Alive(member) => {
                self.tell(now, ClusterEvent::Alive { info: info(&member) });
                self.wire_up(now);
            }
            swim::Output::Changed(_) => self.wire_up(now),
            // Told when it is confirmed: a doubt that is refuted is no news.
            swim::Output::Suspect(_) => {}
            swim::Output::Dead(node) => {
                self.tell(now, ClusterEvent::Dead { node });
                // It did answer when its successor came; now that it does not, the testimony stands.
                let testified = self
                    .conflicts
                    .keys()
                    .any(|conflict| matches!(conflict, Conflict::StateDirectory { old, .. } if *old == node));
                self.forget_conflicts_of(node);
                if testified {
                    self.note_proven_end(now, node);
                } else if let Some(by) = self.founding.successor_of(node)
                    && let Some(swim) = &mut self.swim
                {
                    swim.succeeded(now, by, &[node]);
                }
            }
            swim::Output::Left(node) => {
                self.tell(now, ClusterEvent::Left { node });
                self.forget_conflicts_of(node);
                self.wire_up(now);
            }
            swim::Output::Succeeded { old, by } => {
                info!(self.log, "a process has a successor"; "peer" => old.short(), "successor" => by.short());
                self.note_proven_end(now, old);
            }
            swim::Output::Beacon { beacon, from } => self.on_beacon(now, beacon, Some(from)),
            swim::Output::Conflict(conflict) => self.on_conflict(now, conflict),
        }
    }

    fn send_gossip(
        &mut self,
        now: Instant,
        to: SocketAddr,
        node: Option<NodeId>,
        gossip: Gossip,
        reliable: bool,
    ) {
        let bytes = self.outbox.encode(&PeerMessage::Gossip(Box::new(gossip)));
        let link = node.filter(|_| reliable).and_then(|node| self.endpoint.link_to(node));
        let sent =
            link.is_some_and(|link| self.endpoint.send(now, link, Class::Membership, bytes.clone()).is_ok());
        if !sent && self.endpoint.send_gossip(to, &bytes).is_err() {
            self.stats.drop_backpressure += 1;
        }
    }

    /// A process does not answer, and its successor has testified: that is more than a suspicion, and everybody is to
    /// know.
    pub(super) fn note_proven_end(&mut self, now: Instant, node: NodeId) {
        if let Some(swim) = &mut self.swim {
            swim.gone(now, node);
        }
        self.wire_up(now);
    }

    /// Whether a process left or is proven to have ended, whatever the directory has decided about it so far.
    fn has_ended(&self, node: NodeId) -> bool {
        self.swim.as_ref().is_some_and(|swim| swim.has_ended(node))
    }

    /// A process has ended: what only one of two can have is the other's.
    fn forget_conflicts_of(&mut self, ended: NodeId) {
        self.conflicts.retain(|conflict, _| match conflict {
            Conflict::Name { first, second, .. } => *first != ended && *second != ended,
            Conflict::StateDirectory { old, new } => *old != ended && *new != ended,
            Conflict::Identity { .. } | Conflict::Gone { .. } | Conflict::Exhausted => true,
        });
    }

    fn on_conflict(&mut self, now: Instant, conflict: Conflict) {
        let name = |node: NodeId| {
            let member = self.swim.as_ref().and_then(|swim| swim.get(node));
            member.map_or_else(|| node.short(), |member| format!("{} at {}", member.name, member.addr))
        };
        let word = match &conflict {
            Conflict::Name { name: taken, first, second } => format!(
                "two daemons are called `{taken}`: {} and {}. Give one of them another name",
                name(*first),
                name(*second)
            ),
            Conflict::Identity { node, addr } => format!(
                "another process at {addr} speaks under the identity of {}. Stop one of the two",
                name(*node)
            ),
            Conflict::StateDirectory { old, new } => format!(
                "{} has a copy of the state directory of {}, which still runs. Stop it, and start it with a state \
                 directory of its own",
                name(*new),
                name(*old)
            ),
            Conflict::Gone { by } => format!(
                "the cluster has given this process up ({} says so). Restart this daemon: it joins as a new process",
                name(*by)
            ),
            Conflict::Exhausted => {
                "this process cannot refute any more that it is dead: somebody forges gossip. \
                                    Restart this daemon, and change the cluster key"
                    .to_owned()
            }
        };
        if self.conflicts.insert(conflict, word.clone()).is_none() {
            warn!(self.log, "conflict"; "what" => &word);
            self.tell(now, ClusterEvent::Conflict(word));
        }
        if self.conflicts.len() > super::CONFLICTS_LIMIT {
            self.conflicts.pop_first();
        }
    }

    /// The word of the directory, from this node's own replica or from others.
    fn on_beacon(&mut self, now: Instant, beacon: Beacon, from: Option<NodeId>) {
        let before = self.beacon;
        self.beacon.merge(&beacon);
        if self.beacon.coordinator != before.coordinator {
            let leader = self.beacon.coordinator;
            info!(self.log, "the coordinator is known"; "coordinator" => leader.node.short());
            self.tell(now, ClusterEvent::Coordinator { leader });
        }
        if self.beacon.epoch > self.epoch() && !self.groups.contains_key(&GroupId::DIRECTORY) {
            self.pull_map_from(now, from);
        }
    }

    /// Says what this node knows of the directory by itself.
    pub(super) fn raise_beacon(&mut self, now: Instant) {
        let mut beacon = Beacon { epoch: self.epoch(), ..self.beacon };
        if let Some(group) = self.groups.get(&GroupId::DIRECTORY)
            && let Some((ballot, _)) = group.in_office()
        {
            let history = self.map.as_ref().map(|map| map.history).unwrap_or_default();
            beacon = Beacon { history, view: group.view(), coordinator: ballot, ..beacon };
        }
        self.on_beacon(now, beacon, None);
        if let Some(swim) = &mut self.swim {
            swim.set_beacon(now, self.beacon);
        }
    }

    /// Asks for the map: `from`, else a replica of the directory, else whoever is there.
    pub(super) fn pull_map_from(&mut self, now: Instant, from: Option<NodeId>) {
        let held = self.epoch();
        let linked = |node: &NodeId| self.endpoint.link_to(*node).is_some() && self.hears(now, *node);
        let directory = self.map.iter().flat_map(|map| map.directory.replicas.iter().copied());
        let members =
            self.links.values().map(|remote| remote.node).filter(|node| self.founding.is_member(*node));
        let source = from.into_iter().chain(directory).chain(members).find(|node| linked(node));
        if let Some(source) = source {
            self.send_directory(now, source, DirectoryMessage::MapPull { held });
        }
    }

    /// The coordinator, if it is this node, looks after the others.
    pub(super) fn hold_office(&mut self, now: Instant) {
        let Some(group) = self.groups.get(&GroupId::DIRECTORY) else { return };
        self.timers.set(Source::Office, Some(now + OFFICE_PERIOD));
        let Some((_, directory)) = group.in_office() else { return self.office.resign() };
        let mut sightings = BTreeMap::new();
        for member in self.members() {
            let speaks = member.versions.0 <= VERSIONS.max && VERSIONS.min <= member.versions.1;
            let health = match member.state {
                // Only this node itself: the members forget others that left.
                MemberState::Left => Health::Ended,
                MemberState::Alive
                    if speaks || directory.map().is_some_and(|map| map.record(member.node).is_some()) =>
                {
                    Health::Alive
                }
                MemberState::Alive | MemberState::Suspect => Health::Doubtful,
                MemberState::Dead => Health::Silent,
            };
            sightings.insert(member.node, Sighting { info: info(member), health });
        }
        let table = directory.map().into_iter().flat_map(|map| &map.nodes);
        for record in table.filter(|record| self.has_ended(record.info.node)) {
            sightings.insert(record.info.node, Sighting { info: record.info.clone(), health: Health::Ended });
        }
        let commands = self.office.judge(now, directory, &sightings);
        let Some(group) = self.groups.get_mut(&GroupId::DIRECTORY) else { return };
        for command in &commands {
            group.propose_directory(command);
        }
        if !commands.is_empty() {
            self.dirty.insert(GroupId::DIRECTORY);
        }
        self.raise_beacon(now);
    }

    /// What a new map says of nodes: those that are gone end here too.
    pub(super) fn note_node_table(
        &mut self,
        now: Instant,
        before: Option<&PartitionMap>,
        map: &PartitionMap,
    ) {
        let state = |map: &PartitionMap, node| map.record(node).map(|record| record.state);
        let old = before.iter().flat_map(|map| &map.nodes).map(|record| record.info.node);
        let nodes: BTreeSet<NodeId> = old.chain(map.nodes.iter().map(|record| record.info.node)).collect();
        for node in nodes {
            let (was, is) = (before.and_then(|map| state(map, node)), state(map, node));
            if was == is {
                continue;
            }
            let is = is.unwrap_or(NodeState::Gone);
            self.tell(now, ClusterEvent::Decided { node, state: is });
            if is == NodeState::Gone && node != self.id() {
                if let Some(swim) = &mut self.swim {
                    swim.gone(now, node);
                }
                if let Some(link) = self.endpoint.link_to(node) {
                    self.endpoint.gone(link);
                }
            }
        }
        self.tell(now, ClusterEvent::Map { epoch: map.epoch });
    }

    /// Dials whom this node should be linked with, and nobody else.
    pub(super) fn wire_up(&mut self, now: Instant) {
        let me = self.id();
        let mut wanted: BTreeSet<SocketAddr> = BTreeSet::new();
        let mut watched: BTreeSet<NodeId> = BTreeSet::new();
        let gone = |node: NodeId| {
            let record = self.map.as_ref().and_then(|map| map.record(node));
            record.is_some_and(|record| record.state == NodeState::Gone) || self.has_ended(node)
        };
        let mut addrs: BTreeMap<NodeId, SocketAddr> = BTreeMap::new();
        if let Some(map) = &self.map {
            addrs.extend(map.nodes.iter().map(|record| (record.info.node, record.info.addr)));
        }
        let members = self.swim.iter().flat_map(|swim| swim.members());
        addrs.extend(members.map(|member| (member.node, member.addr)));
        addrs.retain(|node, _| *node != me && !gone(*node));
        let few = addrs.len() < ALL_PAIRS_MOST;
        let mut shared: BTreeSet<NodeId> =
            self.groups.values().flat_map(|group| group.replicas().iter().copied()).collect();
        let mut linked = shared.clone();
        linked.extend(self.map.iter().flat_map(|map| map.directory.replicas.iter().copied()));
        if self.groups.contains_key(&GroupId::DIRECTORY) {
            linked.extend(addrs.keys().copied());
        }
        for (node, addr) in &addrs {
            if few || linked.contains(node) {
                wanted.insert(*addr);
            }
        }
        shared.remove(&me);
        watched.extend(addrs.keys().copied().filter(|node| few || shared.contains(node)));
        self.detector.set_peers(now, watched.into_iter());
        if self.map.is_none() {
            wanted.extend(self.seeds());
        }
        wanted.remove(&self.config.advertise);
        for addr in wanted.difference(&self.dialled) {
            self.endpoint.connect(now, *addr);
        }
        for addr in self.dialled.difference(&wanted) {
            self.endpoint.disconnect(*addr);
        }
        self.dialled = wanted;
    }

    /// Something happened that administrators follow.
    pub(super) fn tell(&mut self, now: Instant, event: ClusterEvent) {
        self.feed.note(now, event.clone());
        self.events.push_back(Event::Cluster(event));
    }
}
