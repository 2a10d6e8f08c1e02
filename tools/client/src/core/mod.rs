//! The client without I/O: datagrams and time in, datagrams and times out.
//!
//! The blocking driver and the simulator call the same methods of [`Client`], whose documentation is their
//! contract.

mod answers;
mod config;
mod dispatch;
mod groups;
mod operation;
mod ops;
mod servers;
mod stats;
mod wheel;
mod window;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use haystack_wire::Instant;
use haystack_wire::frame::Class;
use haystack_wire::ids::{Boot, GroupId, LinkEnd, NodeId};
use haystack_wire::link::{Endpoint, EndpointConfig, LinkEvent, LinkId, LinkStats, Transmit};
use haystack_wire::message::admin::AdminRequest;
use haystack_wire::message::client::{COMMAND_LIMIT, Write};
use haystack_wire::message::directory::PartitionMap;
use haystack_wire::rng::Rng;

use crate::error::{Error, Usage};
use groups::Group;
use ops::{Key, Op, Ops, State};
use servers::Server;
use wheel::Wheel;

pub use config::{Config, Limits, OPERATIONS_LIMIT, Timeouts};
pub use operation::{AdminTarget, Answer, Completion, OpId, Operation};
pub use stats::{AnswerTime, Stats};

use operation::{Work, expected};

/// Room in a message for what stands around its keys and values: 256 B.
const MESSAGE_ROOM: usize = 256;

/// A client of the store, without I/O.
///
/// # Driving it
///
/// There are four kinds of methods:
/// - *getters*, which change nothing;
/// - *commands*: [`submit`](Self::submit), [`submit_admin`](Self::submit_admin),
///   [`close_sessions`](Self::close_sessions), [`close`](Self::close);
/// - *inputs*: [`handle_datagram`](Self::handle_datagram) for each datagram received, and
///   [`handle_timeout`](Self::handle_timeout) at the time that [`poll_timeout`](Self::poll_timeout) names, or at any
///   other: spurious calls do nothing;
/// - *outputs*: [`poll_transmit`](Self::poll_transmit) until it has no more datagram,
///   [`poll_completion`](Self::poll_completion) until it has no more completion, then `poll_timeout`.
///
/// After any number of commands and inputs the driver drains the outputs once: operations submitted together then
/// share datagrams. Time never goes back.
///
/// # What it promises
///
/// Each submitted operation ends in exactly one [`Completion`], by its deadline (and the few milliseconds of a timer's
/// granularity) at the latest. A write is numbered once in one session and keeps its (session, number) however often
/// it is sent and wherever it is redirected to, so that it is applied at most once. [`Error`] says what is known
/// of an operation that has no answer.
///
/// Operations under way together have no order among each other, whatever the order of submission.
pub struct Client {
    config: Config,
    endpoint: Endpoint,
    /// Longest message that links and logs take.
    message_bytes: usize,
    rng: Rng,
    ops: Ops,
    wheel: Wheel,
    map: Option<PartitionMap>,
    groups: BTreeMap<GroupId, Group>,
    servers: BTreeMap<LinkId, Server>,
    /// Addresses dialled because the map names them.
    dialled: BTreeSet<SocketAddr>,
    /// Operations that wait for a daemon or a map.
    parked: VecDeque<Key>,
    completions: VecDeque<Completion>,
    /// Operations of the caller that are not handed back yet.
    held: usize,
    /// Sessions being closed.
    closing: usize,
    /// Bytes of the caller's operations under way.
    held_bytes: usize,
    /// What messages are written into; shared by many, so that none allocates for itself.
    arena: BytesMut,
    /// Candidates of a choice; kept for its memory.
    scratch: Vec<LinkId>,
    answer_time: AnswerTime,
    stats: Stats,
}

impl Client {
    /// A client that dials its addresses from now on. `rng` must be seeded from the system, or by a simulator.
    ///
    /// # Errors
    /// If there is no address.
    pub fn new(mut config: Config, now: Instant, mut rng: Rng) -> Result<Self, Error> {
        if config.addresses.is_empty() {
            return Err(Usage::NoAddress.into());
        }
        config.limits.operations = config.limits.operations.clamp(1, OPERATIONS_LIMIT);
        let node = NodeId(rng.bytes());
        let limits = haystack_wire::link::Limits::default();
        let message_bytes = limits.classes[Class::Client.index()].message_bytes.min(COMMAND_LIMIT);
        let endpoint = EndpointConfig {
            local: LinkEnd { node, boot: Boot(0) },
            role: config.keys.client_role(),
            network: config.network,
            keys: config.keys.clone(),
            accepts: false,
            limits,
        };
        let mut endpoint = Endpoint::new(endpoint, now, rng.fork());
        for addr in &config.addresses {
            endpoint.connect(now, *addr);
        }
        Ok(Self {
            config,
            endpoint,
            message_bytes,
            rng,
            ops: Ops::default(),
            wheel: Wheel::new(now),
            map: None,
            groups: BTreeMap::new(),
            servers: BTreeMap::new(),
            dialled: BTreeSet::new(),
            parked: VecDeque::new(),
            completions: VecDeque::new(),
            held: 0,
            closing: 0,
            held_bytes: 0,
            arena: BytesMut::new(),
            scratch: Vec::new(),
            answer_time: AnswerTime::default(),
            stats: Stats::default(),
        })
    }

    /// Begins an operation.
    ///
    /// # Errors
    /// [`Error::Usage`] if it can never succeed, [`Error::Busy`] if as much is under way as the limits allow: then hand
    /// back completions first.
    pub fn submit(&mut self, now: Instant, operation: Operation, deadline: Instant) -> Result<OpId, Error> {
        self.check(&operation)?;
        self.admit(now, Op::new(Work::User(operation), deadline, GroupId::DIRECTORY))
    }

    /// Begins an administrator's request. One that may be repeated goes to another daemon if `target` allows it and the
    /// first does not answer.
    ///
    /// # Errors
    /// [`Error::Busy`] as in [`submit`](Self::submit).
    pub fn submit_admin(
        &mut self,
        now: Instant,
        target: AdminTarget,
        request: AdminRequest,
        deadline: Instant,
    ) -> Result<OpId, Error> {
        self.admit(now, Op::new(Work::Admin { target, request }, deadline, GroupId::DIRECTORY))
    }

    /// Takes the end of an operation.
    pub fn poll_completion(&mut self) -> Option<Completion> {
        let completion = self.completions.pop_front()?;
        self.held -= 1;
        Some(completion)
    }

    /// Takes a datagram that arrived. Its bytes are decrypted in place.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        self.endpoint.handle_datagram(now, from, datagram);
        self.handle_events(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.handle_events(now);
        self.ask_what_is_due(now);
        while let Some(place) = self.wheel.pop(now) {
            if let Some(key) = self.ops.key_at(place) {
                self.wake(now, key);
            }
        }
    }

    /// Takes the next datagram to send, whole in `buf`.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.endpoint.poll_transmit(now, buf)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, unless something else happens first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let asking = self.servers.values().filter_map(Server::asks_at).min();
        [self.endpoint.poll_timeout(), self.wheel.next(), asking].into_iter().flatten().min()
    }

    /// Ends the sessions that are not needed any more, and tries to tell their groups until `deadline`: else these
    /// would remember their last replies, with the values in them, until they find the sessions idle. Later writes
    /// open new ones. A session stays if an operation of it is under way, or has an unknown outcome, which the group
    /// must be able to settle.
    pub fn close_sessions(&mut self, now: Instant, deadline: Instant) {
        let is_over = |group: &Group| group.queue.is_empty() && group.is_answered();
        let over: Vec<GroupId> =
            self.groups.iter().filter(|(_, group)| is_over(group)).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.end_session(now, id, deadline));
    }

    /// How many sessions are being closed, as far as is known.
    pub const fn closing(&self) -> usize {
        self.closing
    }

    /// Ends all links politely; the driver sends what that leaves to send. What is under way gets no answer any more.
    pub fn close(&mut self, now: Instant) {
        for link in self.servers.keys() {
            self.endpoint.close(now, *link);
        }
        let mut addresses: Vec<SocketAddr> = self.config.addresses.clone();
        addresses.extend(&self.dialled);
        for addr in addresses {
            self.endpoint.disconnect(addr);
        }
    }

    /// The partition map, once a daemon has told it.
    pub const fn map(&self) -> Option<&PartitionMap> {
        self.map.as_ref()
    }

    /// Whether the limits allow an operation now, in addition to those under way.
    pub fn has_room(&self, operation: &Operation) -> bool {
        self.has_room_for(operation.bytes())
    }

    /// Operations submitted and not handed back.
    pub const fn outstanding(&self) -> usize {
        self.held
    }

    /// The processes that answered a handshake, and where.
    pub fn connected(&self) -> impl Iterator<Item = (NodeId, SocketAddr)> {
        self.servers.values().filter(|server| !server.detached).map(|server| (server.node, server.addr))
    }

    /// Where daemons are looked for, beside the nodes that the map names.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.config.addresses
    }

    /// Counters of what happened.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Counters of the links: traffic, losses, drops by reason.
    pub fn link_stats(&self) -> &LinkStats {
        self.endpoint.stats()
    }

    /// How long answers take.
    pub const fn answer_time(&self) -> &AnswerTime {
        &self.answer_time
    }

    fn check(&self, operation: &Operation) -> Result<(), Usage> {
        let limits = &self.config.limits;
        let key = match operation {
            Operation::Scan { after, .. } => after.as_ref(),
            other => other.key(),
        };
        let key_bytes = key.map_or(0, Bytes::len);
        if key_bytes > limits.key {
            return Err(Usage::KeyTooLong { bytes: key_bytes, limit: limits.key });
        }
        // All of an operation travels in one message.
        let room = self.message_bytes.saturating_sub(MESSAGE_ROOM + key_bytes);
        let value = |bytes: usize, limit: usize| match bytes {
            bytes if bytes > limit => Err(Usage::ValueTooLong { bytes, limit }),
            _ => Ok(()),
        };
        let Operation::Write(write) = operation else { return Ok(()) };
        match write {
            Write::Put { value: new, .. } => value(new.len(), limits.value.min(room)),
            Write::Delete { .. } => Ok(()),
            Write::Cas { expect, value: new, .. } => {
                let old = expected(expect).map_or(0, Bytes::len);
                value(new.len().max(old), limits.value)?;
                value(new.len() + old, room)
            }
        }
    }

    const fn has_room_for(&self, bytes: usize) -> bool {
        let limits = &self.config.limits;
        let is_alone = self.held_bytes == 0;
        self.held < limits.operations && (is_alone || self.held_bytes.saturating_add(bytes) <= limits.bytes)
    }

    fn admit(&mut self, now: Instant, op: Op) -> Result<OpId, Error> {
        if !self.has_room_for(op.bytes) {
            self.stats.busy += 1;
            return Err(Error::Busy);
        }
        self.held += 1;
        self.held_bytes += op.bytes;
        self.stats.submitted += 1;
        let is_late = op.deadline <= now;
        let key = self.ops.insert(op);
        if is_late {
            self.expire(now, key)
        } else {
            self.route(now, key)
        }
        Ok(key.id())
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                LinkEvent::Up { link, remote, role, addr } => self.on_up(now, link, remote.node, role, addr),
                LinkEvent::Down { link, .. } => self.on_down(now, link),
                LinkEvent::Deliver { link, message, .. } => self.on_message(now, link, &message),
                LinkEvent::Writable { link, .. } => self.on_writable(now, link),
                LinkEvent::Datagram { .. } | LinkEvent::Gossip { .. } => self.stats.malformed += 1,
            }
        }
    }

    /// An operation's time has come: its deadline, its next attempt, or the end of the wheel's reach.
    fn wake(&mut self, now: Instant, key: Key) {
        let Some(op) = self.ops.get(key) else { return };
        if now >= op.deadline {
            return self.expire(now, key);
        }
        if now < op.wake {
            return self.wheel.arm(key.place, op.wake.min(op.deadline));
        }
        match op.state {
            State::Sent(since) => self.on_silence(now, key, since),
            State::Blocked(_) => self.on_blocked_too_long(now, key),
            State::Resting | State::Idle | State::Parked(_) | State::Queued => self.route_again(now, key),
        }
    }
}
