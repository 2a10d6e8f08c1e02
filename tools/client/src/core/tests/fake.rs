//! Fake daemons that share one truth instead of agreeing on it, and the network between them and a client.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::codec::{decode_whole, encode_whole};
use haystack_wire::frame::Class;
use haystack_wire::ids::{Boot, Epoch, GroupId, LinkEnd, NetworkId, NodeId};
use haystack_wire::keys::{KeyRing, Role};
use haystack_wire::link::{Endpoint, EndpointConfig, LinkEvent, LinkId};
use haystack_wire::message::admin::{AdminReply, AdminRequest};
use haystack_wire::message::client::{Command, Outcome, Refusal, Reply, Request, RequestBody, RouteHint};
use haystack_wire::message::directory::PartitionMap;
use haystack_wire::message::{ClientMessage, ServerMessage};
use haystack_wire::rng::Rng;
use haystack_wire::slot::slot_of;

use super::cluster::Cluster;
use crate::core::{Answer, Client, Completion, Config, OpId, Operation};
use crate::error::Error;

/// What a daemon does with a request instead of serving it.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Serves it as usual.
    Serve,
    /// Does what is asked, and its answer is lost with whoever should have sent it.
    ServeSilently,
    /// Loses the request.
    Ignore,
    /// Keeps the request until [`World::release`].
    Keep,
    /// Refuses it.
    Refuse(Refusal),
    /// Refuses it as not being the leader, naming this daemon.
    PointTo(usize),
}

/// A fake daemon.
pub(super) struct Daemon {
    pub(super) node: NodeId,
    pub(super) addr: SocketAddr,
    pub(super) cluster: Rc<RefCell<Cluster>>,
    pub(super) alive: bool,
    /// What it does with the next requests, one act per request.
    pub(super) script: VecDeque<Act>,
    /// What it does with requests after the script.
    pub(super) habit: Act,
    /// Requests that arrived.
    pub(super) seen: Vec<Request>,
    kept: Vec<(LinkId, Request)>,
    endpoint: Endpoint,
}

impl Daemon {
    /// The commands among the requests that arrived.
    pub(super) fn commands(&self) -> Vec<Command> {
        let commands = self.seen.iter().filter_map(|request| match &request.body {
            RequestBody::Command(bytes) => Some(decode_whole(bytes, "Command").unwrap()),
            _ => None,
        });
        commands.collect()
    }
}

type Flight = (SocketAddr, SocketAddr, Vec<u8>);

/// Fake daemons, one client, and the network between them.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) client: Client,
    pub(super) daemons: Vec<Daemon>,
    pub(super) done: BTreeMap<OpId, Completion>,
    /// Addresses that nothing reaches or leaves.
    pub(super) cut: BTreeSet<SocketAddr>,
    /// Share of datagrams lost and of datagrams doubled.
    pub(super) loss: f64,
    pub(super) rng: Rng,
    flights: BTreeMap<(Instant, u64), Flight>,
    flown: u64,
    buf: Vec<u8>,
}

/// One way, in milliseconds.
const DELAY_MS: u64 = 1;

pub(super) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, index as u8 + 1], 7400))
}

fn client_addr() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 200], 50_000))
}

fn endpoint(node: NodeId, now: Instant, rng: &mut Rng) -> Endpoint {
    let config = EndpointConfig {
        local: LinkEnd { node, boot: Boot(0) },
        role: Role::Peer,
        network: NetworkId::of_cluster("haystack"),
        keys: KeyRing::empty(),
        accepts: true,
        limits: Default::default(),
    };
    Endpoint::new(config, now, rng.fork())
}

impl World {
    /// A cluster of `daemons` daemons and `partitions` partitions, and a client that knows all their addresses.
    pub(super) fn new(seed: u64, daemons: usize, partitions: u32) -> Self {
        Self::with(seed, daemons, partitions, |_| {})
    }

    pub(super) fn with(seed: u64, daemons: usize, partitions: u32, change: impl Fn(&mut Config)) -> Self {
        let mut rng = Rng::from_u64(seed);
        let now = Instant::ZERO + ms(1000);
        let nodes: Vec<(NodeId, SocketAddr)> =
            (0..daemons).map(|index| (NodeId([index as u8 + 1; 16]), addr(index))).collect();
        let cluster = Rc::new(RefCell::new(Cluster::new(1, partitions, &nodes)));
        let daemons =
            nodes.iter().map(|(node, addr)| daemon(*node, *addr, &cluster, now, &mut rng)).collect();
        let mut config = Config::new(nodes.iter().map(|(_, addr)| *addr).collect());
        change(&mut config);
        let client = Client::new(config, now, rng.fork()).unwrap();
        Self {
            now,
            client,
            daemons,
            done: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss: 0.0,
            rng,
            flights: BTreeMap::new(),
            flown: 0,
            buf: Vec::new(),
        }
    }

    pub(super) fn cluster(&self) -> std::cell::RefMut<'_, Cluster> {
        self.daemons[0].cluster.borrow_mut()
    }

    /// Replaces a daemon by a new process at its address, of this cluster.
    pub(super) fn restart(&mut self, index: usize, cluster: &Rc<RefCell<Cluster>>) {
        let node = NodeId(self.rng.bytes());
        let addr = self.daemons[index].addr;
        self.daemons[index] = daemon(node, addr, cluster, self.now, &mut self.rng);
    }

    /// Another cluster of new processes at the same addresses.
    pub(super) fn refound(&mut self, partitions: u32) {
        let nodes: Vec<(NodeId, SocketAddr)> =
            self.daemons.iter().map(|daemon| (NodeId(self.rng.bytes()), daemon.addr)).collect();
        let cluster = Rc::new(RefCell::new(Cluster::new(2, partitions, &nodes)));
        self.daemons = nodes
            .iter()
            .map(|(node, addr)| daemon(*node, *addr, &cluster, self.now, &mut self.rng))
            .collect();
    }

    pub(super) fn submit(&mut self, operation: Operation, timeout_ms: u64) -> OpId {
        self.client.submit(self.now, operation, self.now + ms(timeout_ms)).unwrap()
    }

    /// Submits, and runs until it is done.
    pub(super) fn call(&mut self, operation: Operation, timeout_ms: u64) -> Result<Answer, Error> {
        let op = self.submit(operation, timeout_ms);
        self.finish(op)
    }

    /// Runs until an operation is done.
    pub(super) fn finish(&mut self, op: OpId) -> Result<Answer, Error> {
        self.complete(op).outcome
    }

    pub(super) fn complete(&mut self, op: OpId) -> Completion {
        let limit = self.now + Duration::from_secs(120);
        while !self.done.contains_key(&op) {
            assert!(self.step(limit), "{op:?} never ends");
        }
        self.done.remove(&op).unwrap()
    }

    /// Runs for a while.
    pub(super) fn run(&mut self, millis: u64) {
        let limit = self.now + ms(millis);
        while self.step(limit) {}
        self.now = limit;
    }

    /// What happens next, if it happens before `limit`.
    fn step(&mut self, limit: Instant) -> bool {
        self.drain();
        let flight = self.flights.keys().next().map(|(at, _)| *at);
        let timers = self
            .daemons
            .iter()
            .filter(|daemon| daemon.alive)
            .filter_map(|daemon| daemon.endpoint.poll_timeout());
        let Some(next) = timers.chain(self.client.poll_timeout()).chain(flight).min() else { return false };
        if next > limit {
            return false;
        }
        self.now = self.now.max(next);
        while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (from, to, mut bytes) = entry.remove();
            self.land(from, to, &mut bytes);
        }
        self.client.handle_timeout(self.now);
        for daemon in self.daemons.iter_mut().filter(|daemon| daemon.alive) {
            daemon.endpoint.handle_timeout(self.now);
        }
        self.drain();
        true
    }

    fn land(&mut self, from: SocketAddr, to: SocketAddr, bytes: &mut [u8]) {
        if to == client_addr() {
            return self.client.handle_datagram(self.now, from, bytes);
        }
        let now = self.now;
        if let Some(daemon) = self.daemons.iter_mut().find(|daemon| daemon.addr == to && daemon.alive) {
            daemon.endpoint.handle_datagram(now, from, bytes);
        }
    }

    fn drain(&mut self) {
        for index in 0..self.daemons.len() {
            if self.daemons[index].alive {
                self.serve(index);
                while let Some(transmit) = self.daemons[index].endpoint.poll_transmit(self.now, &mut self.buf)
                {
                    self.fly(self.daemons[index].addr, transmit.to);
                }
            }
        }
        while let Some(transmit) = self.client.poll_transmit(self.now, &mut self.buf) {
            self.fly(client_addr(), transmit.to);
        }
        while let Some(completion) = self.client.poll_completion() {
            assert!(self.done.insert(completion.op, completion).is_none(), "an operation ends once");
        }
    }

    fn fly(&mut self, from: SocketAddr, to: SocketAddr) {
        if self.cut.contains(&from) || self.cut.contains(&to) || self.rng.chance(self.loss) {
            return;
        }
        let copies = if self.rng.chance(self.loss) { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = if self.loss > 0.0 { self.rng.below(5_000_000) } else { 0 };
            let at = self.now + ms(DELAY_MS) + Duration::from_nanos(jitter);
            self.flown += 1;
            self.flights.insert((at, self.flown), (from, to, self.buf.clone()));
        }
    }

    fn serve(&mut self, index: usize) {
        while let Some(event) = self.daemons[index].endpoint.poll_event() {
            if let LinkEvent::Deliver { link, message, .. } = event {
                match decode_whole(&message, "ClientMessage").unwrap() {
                    ClientMessage::Request(request) => {
                        self.daemons[index].seen.push(request.clone());
                        let daemon = &mut self.daemons[index];
                        let act = daemon.script.pop_front().unwrap_or_else(|| daemon.habit.clone());
                        self.act(index, link, request, act);
                    }
                    ClientMessage::MapRequest { id, held } => {
                        let cluster = self.daemons[index].cluster.borrow();
                        let map = cluster.map.clone().filter(|map| map.epoch > held);
                        drop(cluster);
                        self.answer(index, link, &ServerMessage::Map { id, map });
                    }
                    ClientMessage::Admin { id, request } => {
                        let name = format!("{request:?} at {index}");
                        let act = self.daemons[index].script.pop_front();
                        if !matches!(act, Some(Act::Ignore)) {
                            self.answer(
                                index,
                                link,
                                &ServerMessage::Admin { id, reply: AdminReply::Done(name) },
                            );
                        }
                    }
                }
            }
        }
    }

    fn act(&mut self, index: usize, link: LinkId, request: Request, act: Act) {
        let refuse = |refusal| (None, Outcome::Refused(refusal));
        let (hint, outcome) = match act {
            Act::Serve => match self.lead(index, &request) {
                Some(answer) => answer,
                None => return,
            },
            Act::ServeSilently => return drop(self.lead(index, &request)),
            Act::Ignore => return,
            Act::Keep => return self.daemons[index].kept.push((link, request)),
            Act::Refuse(refusal) => refuse(refusal),
            Act::PointTo(other) => {
                let leader = Some(self.daemons[other].node);
                let hint = RouteHint { epoch: Epoch(0), group: request.group, leader };
                (Some(hint), Outcome::Refused(Refusal::NotLeader))
            }
        };
        self.answer(index, link, &ServerMessage::Reply(Reply { id: request.id, hint, outcome }));
    }

    /// Serves a request as the leader, or passes it on to the leader.
    fn lead(&mut self, index: usize, request: &Request) -> Option<(Option<RouteHint>, Outcome)> {
        let mut cluster = self.daemons[index].cluster.borrow_mut();
        let Some(epoch) = cluster.map.as_ref().map(|map| map.epoch) else {
            return Some((None, Outcome::Refused(Refusal::NotReady)));
        };
        let leader = cluster.groups.get(&request.group).and_then(|group| group.leader);
        let named = leader.map(|leader| self.daemons[leader].node);
        let hint = RouteHint { epoch, group: request.group, leader: named };
        match leader {
            Some(leader) if leader == index => Some((None, cluster.perform(request))),
            Some(leader) if cluster.forwards => {
                self.daemons[leader].alive.then(|| (Some(hint), cluster.perform(request)))
            }
            _ => Some((Some(hint), Outcome::Refused(Refusal::NotLeader))),
        }
    }

    fn answer(&mut self, index: usize, link: LinkId, message: &ServerMessage) {
        let sent = self.daemons[index].endpoint.send(self.now, link, Class::Client, encode_whole(message));
        assert!(sent.is_ok(), "{sent:?}");
    }

    /// Serves what a daemon kept.
    pub(super) fn release(&mut self, index: usize) {
        self.release_as(index, &Act::Serve);
    }

    /// Does something with what a daemon kept.
    pub(super) fn release_as(&mut self, index: usize, act: &Act) {
        for (link, request) in core::mem::take(&mut self.daemons[index].kept) {
            self.act(index, link, request, act.clone());
        }
    }
}

fn daemon(
    node: NodeId,
    addr: SocketAddr,
    cluster: &Rc<RefCell<Cluster>>,
    now: Instant,
    rng: &mut Rng,
) -> Daemon {
    Daemon {
        node,
        addr,
        cluster: Rc::clone(cluster),
        alive: true,
        script: VecDeque::new(),
        habit: Act::Serve,
        seen: Vec::new(),
        kept: Vec::new(),
        endpoint: endpoint(node, now, rng),
    }
}

/// A key of a group, by trial.
pub(super) fn key_of(map: &PartitionMap, group: u32, number: u32) -> Bytes {
    let keys = (0..).map(|trial| format!("key-{number}-{trial}"));
    let mut fitting = keys.filter(|key| map.group_of(slot_of(key.as_bytes())) == Some(GroupId(group)));
    fitting.next().unwrap().into()
}

/// The value that a read found.
pub(super) fn value(answer: Result<Answer, Error>) -> Option<Bytes> {
    match answer.unwrap() {
        Answer::Read { found, .. } => found.map(|found| found.value),
        other => panic!("no read: {other:?}"),
    }
}

/// The admin request of the tests.
pub(super) const STATUS: AdminRequest = AdminRequest::Status;
