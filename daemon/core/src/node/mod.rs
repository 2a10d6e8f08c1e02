//! The whole node: links, founding and groups, composed.

mod buggify;
mod client;
mod feed;
mod gather;
mod map;
mod membership;
mod outbox;
mod peer;
mod relay;
mod status;
mod succession;
#[cfg(test)]
mod tests;
mod timers;
mod types;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, ClusterId, Epoch, GroupId, LinkEnd, NodeId};
use haystack_wire::keys::Role;
use haystack_wire::link::{self, Endpoint, EndpointConfig, LinkEvent, LinkId, Transmit};
use haystack_wire::message::admin::ClusterEvent;
use haystack_wire::message::directory::{PartitionMap, Standing};
use haystack_wire::message::membership::Beacon;
use haystack_wire::rng::Rng;
use slog::{Logger, info, o};

use crate::config::Config;
use crate::directory::coordinator::Coordinator;
use crate::directory::founding::{self, Founding};
use crate::directory::placement::directory_replicas;
use crate::group::{Group, Out, Sink};
use crate::membership::detector::{Detector, DetectorTiming};
use crate::membership::swim::{Conflict, Swim};
use crate::stats::Stats;
pub use buggify::Buggify;
use buggify::Gremlin;
use feed::Feed;
use gather::Gather;
use outbox::Outbox;
pub use timers::Source as Wakeup;
use timers::{Source, Timers};
pub use types::{Command, Event, Identity, Lsn, Outlook, Record, Rejected};

/// A stopping node waits so long for others to take its leadership over.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(2);
/// How often a node without a map, or whose peer may have a newer one, asks for it.
const MAP_PULL_PERIOD: Duration = Duration::from_secs(1);
/// How soon a member without any map asks again.
const FIRST_MAP_PULL_PERIOD: Duration = Duration::from_millis(200);
/// Conflicts that are kept to be told; each needs an administrator.
const CONFLICTS_LIMIT: usize = 16;
/// How often a node lets those hear from it that share no group with it, so that both know who is there: thrice within
/// the time after which a silent process counts as gone.
const SIGN_OF_LIFE_PERIOD: Duration = Duration::from_millis(300);
/// Fair-loss messages that wait per link: questions and answers of a round in all of 1,024 groups, at their largest.
const DATAGRAMS_WAITING: usize = 320;
/// A process that its successor declares dead must have been silent for so long since the successor came.
const SUCCESSION_SILENCE: Duration = Duration::from_secs(2);

/// One datagram to send: the buffer handed to [`Node::poll_transmit`] holds it.
pub type Transmission = Transmit;

/// What is known of a link's other end.
#[derive(Clone, Copy, Debug)]
struct Remote {
    node: NodeId,
    role: Role,
    /// Where it was when the link came up.
    addr: SocketAddr,
    /// When it was last heard, as far as the detectors were told.
    heard: Instant,
}

/// A whole node.
///
/// # The driver's contract
/// Call, in this order, in every turn: [`handle_datagram`](Self::handle_datagram) for everything that is ready
/// (up to a bound), [`handle_timeout`](Self::handle_timeout) if its time has come,
/// [`poll_persist`](Self::poll_persist) until `None` (answering each record with
/// [`handle_persisted`](Self::handle_persisted) once it is on disk), [`poll_event`](Self::poll_event) until `None`,
/// [`poll_transmit`](Self::poll_transmit) until `None`; then sleep until [`poll_timeout`](Self::poll_timeout) or
/// input. Time never goes back. Batching follows from this: everything read in one turn leaves in one flush.
#[derive(Debug)]
pub struct Node {
    config: Config,
    identity: LinkEnd,
    log: Logger,
    rng: Rng,
    endpoint: Endpoint,
    links: BTreeMap<LinkId, Remote>,
    founding: Founding,
    groups: BTreeMap<GroupId, Group>,
    map: Option<PartitionMap>,
    /// The cluster for which `swim` gossips.
    gossips: Option<ClusterId>,
    swim: Option<Swim>,
    detector: Detector,
    office: Coordinator,
    beacon: Beacon,
    /// Addresses that the links keep dialling.
    dialled: BTreeSet<SocketAddr>,
    /// What two processes claim that only one can have, in words.
    conflicts: BTreeMap<Conflict, String>,
    gather: Gather,
    feed: Feed,
    /// Leaders that answers to forwarded requests named, for groups of which this node has no replica.
    routes: BTreeMap<GroupId, NodeId>,
    relays: relay::Relays,
    sink: Sink,
    outbox: Outbox,
    /// Groups that may have something to flush.
    dirty: BTreeSet<GroupId>,
    timers: Timers,
    /// Predecessors declared dead by their successors, until they were silent long enough.
    succeeded: Vec<(NodeId, Instant)>,
    /// Links that had no room for the newest introduction.
    unintroduced: BTreeSet<LinkId>,
    leaderless: BTreeSet<GroupId>,
    ready: bool,
    /// Whether founding, membership or detector was told something since they were last asked what they want.
    unsettled: bool,
    stopping: Option<Instant>,
    stopped: bool,
    /// Where this node stands and what it waits for, as last told.
    word: (Standing, String),
    events: VecDeque<Event>,
    stats: Stats,
}

impl Node {
    /// A node that begins its life now.
    ///
    /// # Panics
    /// If `identity.life` has not begun with `identity.node`.
    pub fn new(config: Config, identity: Identity, now: Instant, mut rng: Rng, log: Logger) -> Self {
        let local = LinkEnd { node: identity.node, boot: identity.boot };
        let endpoint = Endpoint::new(
            EndpointConfig {
                local,
                role: Role::Peer,
                network: config.network,
                keys: config.keys.clone(),
                accepts: true,
                limits: link::Limits { datagrams: DATAGRAMS_WAITING, ..config.links },
            },
            now,
            rng.fork(),
        );
        let founding = Founding::new(&config, identity.node, identity.life, now, rng.fork());
        let mut outbox = Outbox::default();
        outbox.gremlin = Gremlin::new(config.buggify, &mut rng);
        let mut node = Self {
            identity: local,
            log: log.new(o!("node" => identity.node.short())),
            rng,
            endpoint,
            links: BTreeMap::new(),
            founding,
            groups: BTreeMap::new(),
            map: None,
            gossips: None,
            swim: None,
            detector: Detector::new(DetectorTiming::default(), now),
            office: Coordinator::new(config.repair_after),
            beacon: Beacon::default(),
            dialled: BTreeSet::new(),
            conflicts: BTreeMap::new(),
            gather: Gather::default(),
            feed: Feed::default(),
            routes: BTreeMap::new(),
            relays: relay::Relays::default(),
            sink: Sink::new(),
            outbox,
            dirty: BTreeSet::new(),
            timers: Timers::default(),
            succeeded: Vec::new(),
            unintroduced: BTreeSet::new(),
            leaderless: BTreeSet::new(),
            ready: false,
            unsettled: false,
            stopping: None,
            stopped: false,
            word: (Standing::Founding, String::new()),
            events: VecDeque::new(),
            stats: Stats::default(),
            config,
        };
        // Who begins with a cluster in its life file belongs to it from now on; nothing else announces that.
        node.note_cluster(now);
        node.wire_up(now);
        node.timers.set(Source::Map, Some(now + MAP_PULL_PERIOD));
        node.timers.set(Source::SignOfLife, Some(now + SIGN_OF_LIFE_PERIOD));
        node.settle(now);
        node
    }

    /// This process.
    pub const fn id(&self) -> NodeId {
        self.identity.node
    }

    /// Counters of the node itself; those of its links are [`Endpoint::stats`].
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Mistreats groups' messages at these rates from now on: for simulations, which end their troubles.
    pub fn set_buggify(&mut self, rates: Buggify) {
        self.outbox.gremlin = Gremlin::new(rates, &mut self.rng);
    }

    /// The links, to look at.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The replicas, to look at.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// The partition map, once it is known.
    pub const fn map(&self) -> Option<&PartitionMap> {
        self.map.as_ref()
    }

    /// The cluster that this node belongs to, as far as that is persisted.
    pub const fn cluster(&self) -> Option<ClusterId> {
        self.founding.cluster()
    }

    /// Where this node stands.
    pub const fn standing(&self) -> Standing {
        self.founding.standing()
    }

    /// Takes one datagram in. It is opened in place.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        self.endpoint.handle_datagram(now, from, datagram);
        self.drain_links(now);
    }

    /// Does what is due. Spurious calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        while let Some(source) = self.timers.due(now) {
            match source {
                Source::Founding => self.founding.handle_timeout(now),
                Source::Group(id) => {
                    if let Some(group) = self.groups.get_mut(&id) {
                        group.set_rtt(majority_rtt(&self.endpoint, self.identity.node, group.replicas()));
                        group.handle_timeout(now, &mut self.sink);
                        self.dirty.insert(id);
                    }
                }
                Source::Map => self.pull_map(now),
                Source::SignOfLife => self.give_signs_of_life(now),
                Source::Members | Source::Detector => self.tick_members(now),
                Source::Office => self.hold_office(now),
                Source::Gather => self.end_gather(now, true),
                Source::Links | Source::Stop => {}
            }
            self.settle(now);
        }
        self.drain_links(now);
        self.check_stopped(now);
    }

    /// Starts what the operator wants.
    ///
    /// # Errors
    /// If it cannot be done now.
    pub fn handle_command(&mut self, now: Instant, command: Command) -> Result<(), Rejected> {
        match command {
            Command::Stop => {
                if self.stopping.is_some() {
                    return Err(Rejected::Stopping);
                }
                self.stopping = Some(now);
                self.timers.set(Source::Stop, Some(now + HAND_OVER_LIMIT));
                let ids: Vec<_> = self.groups.keys().copied().collect();
                for id in ids {
                    if let Some(group) = self.groups.get_mut(&id) {
                        group.hand_over(now, &mut self.sink);
                        self.dirty.insert(id);
                    }
                }
                self.settle(now);
                self.check_stopped(now);
                Ok(())
            }
        }
    }

    /// The record with this number, and all before it, are on disk.
    pub fn handle_persisted(&mut self, now: Instant, upto: Lsn) {
        self.founding.handle_persisted(upto.0);
        self.settle(now);
    }

    /// What must go to disk next.
    pub fn poll_persist(&mut self) -> Option<Record> {
        self.founding.poll_persist().map(|(lsn, bytes)| Record::Life { lsn: Lsn(lsn), bytes })
    }

    /// What the node has to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next datagram to send, written to `buf` (cleared first).
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmission> {
        self.flush(now);
        self.endpoint.poll_transmit(now, buf)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Wakeup)> {
        let links = self.endpoint.poll_timeout().map(|at| (at, Source::Links));
        [self.timers.next(), links].into_iter().flatten().min()
    }

    /// Everything that this turn produced goes into the links, as few messages as possible.
    fn flush(&mut self, now: Instant) {
        loop {
            while let Some(id) = self.dirty.pop_first() {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.flush(now, &mut self.sink);
                    self.timers.set(Source::Group(id), group.poll_timeout());
                }
                self.drain_sink(now);
            }
            if !core::mem::take(&mut self.unsettled) {
                break;
            }
            self.settle(now);
        }
        self.outbox.flush(now, &mut self.endpoint, &mut self.stats);
    }

    fn drain_links(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                LinkEvent::Up { link, remote, role, addr } => self.on_up(now, link, remote.node, role, addr),
                LinkEvent::Down { link, remote, .. } => self.on_down(link, remote.node),
                LinkEvent::Deliver { link, message, .. } | LinkEvent::Datagram { link, message } => {
                    self.on_message(now, link, &message);
                }
                LinkEvent::Writable { link, .. } => self.on_writable(now, link),
                LinkEvent::Gossip { from, sender, message } => self.on_gossip(now, from, sender, &message),
            }
        }
        // Most of what comes is of groups, and wants nothing of the parts that are settled here.
        if core::mem::take(&mut self.unsettled) {
            self.settle(now);
        }
    }

    fn on_message(&mut self, now: Instant, link: LinkId, message: &Bytes) {
        match self.links.get(&link).copied() {
            Some(Remote { role: Role::Peer, node, .. }) => {
                self.on_peer_message(now, link, node, message);
            }
            Some(Remote { role: Role::Client(rights), .. }) => {
                self.on_client_message(now, link, rights, message);
            }
            None => self.stats.drop_no_link += 1,
        }
    }

    fn on_up(&mut self, now: Instant, link: LinkId, node: NodeId, role: Role, addr: SocketAddr) {
        if role == Role::Peer && self.is_given_up(node) {
            // It learns why by gossip, which needs no link.
            return self.endpoint.gone(link);
        }
        self.links.insert(link, Remote { node, role, addr, heard: Instant::ZERO });
        if role == Role::Peer {
            self.unsettled = true;
            self.detector.restarted(now, node);
            self.introduce(now, link);
            self.events.push_back(Event::Peer { node, addr, up: true });
            info!(self.log, "peer is up"; "peer" => node.short(), "addr" => %addr);
        }
    }

    /// Groups whose messages a full link refused find out what is missing, and send it again.
    fn on_writable(&mut self, now: Instant, link: LinkId) {
        let Some(remote) = self.links.get(&link).copied() else { return };
        if self.unintroduced.contains(&link) {
            self.introduce(now, link);
        }
        for id in self.outbox.unblocked(remote.node) {
            if let Some(group) = self.groups.get_mut(&id) {
                group.writable(now, remote.node, &mut self.sink);
                self.dirty.insert(id);
            }
        }
        self.drain_sink(now);
    }

    fn on_down(&mut self, link: LinkId, node: NodeId) {
        let Some(remote) = self.links.remove(&link) else { return };
        self.unintroduced.remove(&link);
        if remote.role == Role::Peer {
            self.unsettled = true;
            self.founding.on_down(node);
            self.events.push_back(Event::Peer { node, addr: remote.addr, up: false });
            info!(self.log, "peer is gone"; "peer" => node.short());
        }
    }

    /// Carries out what founding and groups want, until they are quiet.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some(output) = self.founding.poll_output() {
                self.on_founding(now, output);
            } else if !self.drain_members(now) && self.sink.is_empty() {
                break;
            }
            self.drain_sink(now);
        }
        self.timers.set(Source::Founding, self.founding.poll_timeout());
        let word = (self.founding.standing(), self.waits_for());
        // A member that is not on disk as one yet waits for nobody, but is none either.
        let settled = word.0 == Standing::Member || !word.1.is_empty();
        if settled && word != self.word {
            self.word.clone_from(&word);
            let (standing, waits_for) = word;
            self.events.push_back(Event::Standing { standing, waits_for });
        }
    }

    fn on_founding(&mut self, now: Instant, output: founding::Output) {
        match output {
            founding::Output::Send { to, message } => self.send_directory(now, to, message),
            founding::Output::Announce(..) => {
                self.note_cluster(now);
                let peers: Vec<LinkId> = self.peer_links().collect();
                peers.into_iter().for_each(|link| self.introduce(now, link));
            }
            founding::Output::Founded(list) => {
                info!(self.log, "cluster founded"; "cluster" => list.cluster.short());
                if directory_replicas(&list).contains(&self.id()) {
                    let rng = self.rng.fork();
                    self.add_group(Group::directory(&self.config, self.id(), &list, now, rng));
                    self.timers.set(Source::Office, Some(now));
                }
                self.timers.set(Source::Map, Some(now + FIRST_MAP_PULL_PERIOD));
            }
        }
    }

    fn add_group(&mut self, group: Group) {
        let id = group.id();
        self.timers.set(Source::Group(id), group.poll_timeout());
        self.leaderless.insert(id);
        self.dirty.insert(id);
        self.groups.insert(id, group);
    }

    fn drain_sink(&mut self, now: Instant) {
        while let Some(out) = self.sink.pop_front() {
            match out {
                Out::Broadcast { to, message } => {
                    self.outbox.broadcast(now, &to, &message, &mut self.endpoint, &mut self.stats);
                }
                Out::Bulk { to, message } => {
                    self.outbox.bulk(now, to, &message, &mut self.endpoint, &mut self.stats);
                }
                Out::Heartbeat { to, heartbeat, urgent } => self.outbox.heartbeat(to, heartbeat, urgent),
                Out::Reply { origin, reply } => self.send_reply(now, origin, reply),
                Out::Leader(group, leader) => self.on_leader(now, group, leader),
                Out::Map => self.on_map_decided(now),
                Out::Applied { group, index, chain, digest, body } => {
                    self.events.push_back(Event::Applied { group, index, chain, digest, body });
                }
            }
        }
    }

    fn on_leader(&mut self, now: Instant, group: GroupId, leader: Option<Ballot>) {
        self.events.push_back(Event::Leader { group, leader });
        self.feed.note(now, ClusterEvent::Leader { group, leader });
        if leader.is_some() {
            self.leaderless.remove(&group);
        } else {
            self.leaderless.insert(group);
        }
        self.note_readiness();
    }

    fn epoch(&self) -> Epoch {
        self.map.as_ref().map_or(Epoch(0), |map| map.epoch)
    }

    fn check_stopped(&mut self, now: Instant) {
        let Some(since) = self.stopping.filter(|_| !self.stopped) else { return };
        let leads = self.groups.values().any(|group| {
            group.replicas().len() > 1 && group.leader().is_some_and(|leader| leader.node == self.id())
        });
        if leads && now.saturating_since(since) < HAND_OVER_LIMIT {
            return;
        }
        self.stopped = true;
        self.timers.set(Source::Stop, None);
        // Leadership is handed over: from now on the others need not find out that nobody is here.
        if let Some(swim) = &mut self.swim {
            swim.leave(now);
        }
        self.settle(now);
        let outlook = |group: &Group| Outlook::of(group.replicas().len(), group.live());
        let groups = self.groups.iter().map(|(id, group)| (*id, outlook(group))).collect();
        self.events.push_back(Event::Stopped { groups });
    }
}

/// The round trip to the slowest replica of the fastest majority, this one included.
fn majority_rtt(endpoint: &Endpoint, me: NodeId, replicas: &[NodeId]) -> Duration {
    let others = replicas.iter().filter(|replica| **replica != me);
    let mut rtts: Vec<Duration> = others
        .filter_map(|replica| endpoint.link_to(*replica))
        .filter_map(|link| endpoint.remote(link).map(|remote| remote.srtt))
        .collect();
    rtts.sort_unstable();
    // A majority of n is n / 2 others and this one.
    rtts.get((replicas.len() / 2).saturating_sub(1)).or(rtts.last()).copied().unwrap_or_default()
}
