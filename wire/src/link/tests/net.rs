//! A small network in virtual time: endpoints, faults, and a witness of what was sent and delivered.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};

use super::super::*;
use crate::frame::Class;
use crate::ids::{Boot, LinkEnd, NetworkId, NodeId};
use crate::keys::{KeyRing, Rights, Role, new_cluster_key};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const NETWORK: NetworkId = NetworkId([9; 16]);

/// What the network does to datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) loss: f64,
    pub(super) duplication: f64,
    pub(super) corruption: f64,
    /// Delay in either direction, and how much more it may be.
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    /// Chance that a recorded older datagram is sent once more, to the same receiver from the same address.
    pub(super) replay: f64,
}

/// One process.
pub(super) struct Host {
    pub(super) endpoint: Endpoint,
    pub(super) end: LinkEnd,
    pub(super) addr: SocketAddr,
    /// Events that are not deliveries.
    pub(super) events: Vec<LinkEvent>,
    pub(super) datagrams: Vec<Bytes>,
    pub(super) links: Vec<LinkId>,
    /// Whether events are fetched.
    pub(super) fetching: bool,
    pub(super) sent: u64,
}

/// A datagram that was sent.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

impl Host {
    pub(super) fn downs(&self, wanted: DownReason) -> usize {
        self.events
            .iter()
            .filter(|event| matches!(event, LinkEvent::Down { reason, .. } if *reason == wanted))
            .count()
    }
}

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) hosts: Vec<Host>,
    pub(super) faults: Faults,
    /// More addresses of hosts. They answer from the address that was asked.
    pub(super) aliases: Vec<(SocketAddr, usize)>,
    /// What goes to the first address leaves from the second.
    pub(super) routes: Vec<(SocketAddr, SocketAddr)>,
    /// Directions that swallow everything.
    pub(super) cuts: Vec<(SocketAddr, SocketAddr)>,
    /// Everything that was sent, if recorded.
    pub(super) record: Option<Vec<Wire>>,
    queue: BTreeMap<(Instant, u64), Wire>,
    queued: u64,
    old: Vec<Wire>,
    pub(super) witness: Witness,
    /// Timeouts are handled at every occasion, whether due or not.
    pub(super) spurious: bool,
    /// Hash of all that was put on the wire, and when.
    pub(super) trace: u64,
    keys: String,
}

/// Who sent what to whom, and what of it was delivered.
#[derive(Default)]
pub(super) struct Witness {
    sent: BTreeMap<(LinkEnd, LinkEnd, Class), Vec<u32>>,
    delivered: BTreeMap<(LinkEnd, LinkEnd, Class), Vec<bool>>,
    /// Numbers from which on delivery is waited for.
    floor: BTreeMap<(LinkEnd, LinkEnd, Class), usize>,
    pub(super) deliveries: u64,
}

/// A message that names itself.
pub(super) fn message(number: u64, len: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(len.max(8));
    bytes.put_u64(number);
    while bytes.len() < len {
        let at = bytes.len() as u64;
        bytes.put_u8((number.wrapping_mul(31) ^ at.wrapping_mul(7) ^ (at >> 8)) as u8);
    }
    bytes.freeze()
}

impl Witness {
    pub(super) fn sent(&self, from: LinkEnd, to: LinkEnd, class: Class) -> u64 {
        self.sent.get(&(from, to, class)).map_or(0, |sent| sent.len() as u64)
    }

    fn on_sent(&mut self, from: LinkEnd, to: LinkEnd, class: Class, message: &Bytes) {
        self.sent.entry((from, to, class)).or_default().push(crc32fast::hash(message));
    }

    /// PL2, PL3 and FIFO.
    fn on_delivered(&mut self, from: LinkEnd, to: LinkEnd, class: Class, message: &Bytes) {
        let mut number = [0; 8];
        number.copy_from_slice(&message[..8]);
        let number = u64::from_be_bytes(number) as usize;
        let sent = self.sent.get(&(from, to, class)).expect("PL3: nothing was sent there");
        assert_eq!(
            sent.get(number).copied(),
            Some(crc32fast::hash(message)),
            "PL3: message {number} of {class:?}"
        );
        let delivered = self.delivered.entry((from, to, class)).or_default();
        if matches!(class, Class::Broadcast | Class::Bulk) {
            // Gaps are for PL1 to find.
            assert!(delivered.len() <= number, "FIFO of {class:?}: {number} after {}", delivered.len());
        }
        if delivered.len() <= number {
            delivered.resize(number + 1, false);
        }
        assert!(
            !core::mem::replace(&mut delivered[number], true),
            "PL2: message {number} of {class:?} twice"
        );
        self.deliveries += 1;
    }

    pub(super) fn delivered(&self, from: LinkEnd, to: LinkEnd, class: Class) -> usize {
        self.delivered.get(&(from, to, class)).map_or(0, |all| all.iter().filter(|one| **one).count())
    }

    /// What was sent by now is no longer waited for: sessions have ended under it.
    pub(super) fn forget_missing(&mut self) {
        self.floor = self.sent.iter().map(|(key, sent)| (*key, sent.len())).collect();
    }

    /// PL1: what is missing between the two.
    pub(super) fn missing(&self, from: LinkEnd, to: LinkEnd) -> usize {
        let missing = |class: &Class| {
            let key = (from, to, *class);
            let floor = self.floor.get(&key).copied().unwrap_or(0);
            let sent = self.sent.get(&key).map_or(0, Vec::len);
            let delivered =
                self.delivered.get(&key).map_or(0, |all| all.iter().skip(floor).filter(|one| **one).count());
            sent - floor.min(sent) - delivered
        };
        Class::ALL.iter().map(missing).sum()
    }
}

/// How a process is set up.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) role: Role,
    pub(super) accepts: bool,
    pub(super) limits: Limits,
    pub(super) keys: KeyRing,
}

impl Net {
    /// `sealed` networks have a cluster key.
    pub(super) fn new(seed: u64, sealed: bool) -> Self {
        let mut rng = Rng::from_u64(seed);
        let keys = if sealed { new_cluster_key(rng.bytes()) } else { String::new() };
        Self {
            now: Instant::ZERO + SECOND,
            rng,
            hosts: Vec::new(),
            faults: Faults { delay: MS, ..Faults::default() },
            aliases: Vec::new(),
            routes: Vec::new(),
            cuts: Vec::new(),
            record: None,
            queue: BTreeMap::new(),
            queued: 0,
            old: Vec::new(),
            witness: Witness::default(),
            spurious: false,
            trace: 0,
            keys,
        }
    }

    pub(super) fn keys(&self) -> KeyRing {
        if self.keys.is_empty() { KeyRing::empty() } else { KeyRing::from_file_text(&self.keys).unwrap() }
    }

    pub(super) fn client_keys(&self) -> KeyRing {
        match self.keys().client_key(Rights::ALL) {
            Some(text) => KeyRing::from_file_text(&text).unwrap(),
            None => KeyRing::empty(),
        }
    }

    pub(super) fn peer(&self) -> Setup {
        Setup { role: Role::Peer, accepts: true, limits: Limits::default(), keys: self.keys() }
    }

    pub(super) fn client(&self) -> Setup {
        Setup {
            role: Role::Client(Rights::ALL),
            accepts: false,
            limits: Limits::default(),
            keys: self.client_keys(),
        }
    }

    fn endpoint(&mut self, setup: Setup) -> (Endpoint, LinkEnd) {
        let end = LinkEnd { node: NodeId(self.rng.bytes()), boot: Boot(0) };
        let Setup { role, accepts, limits, keys } = setup;
        let config = EndpointConfig { local: end, role, network: NETWORK, keys, accepts, limits };
        let rng = self.rng.fork();
        (Endpoint::new(config, self.now, rng), end)
    }

    pub(super) fn add(&mut self, setup: Setup) -> usize {
        let at = self.hosts.len();
        self.add_at(setup, format!("10.0.0.{}:7400", at + 1).parse().unwrap())
    }

    pub(super) fn add_at(&mut self, setup: Setup, addr: SocketAddr) -> usize {
        let (endpoint, end) = self.endpoint(setup);
        self.hosts.push(Host {
            endpoint,
            end,
            addr,
            events: Vec::new(),
            datagrams: Vec::new(),
            links: Vec::new(),
            fetching: true,
            sent: 0,
        });
        self.hosts.len() - 1
    }

    /// Ends the process and begins a new one at its address.
    pub(super) fn restart(&mut self, host: usize, setup: Setup) {
        let (endpoint, end) = self.endpoint(setup);
        let host = &mut self.hosts[host];
        host.endpoint = endpoint;
        host.end = end;
        host.links.clear();
        host.events.clear();
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) {
        let (now, addr) = (self.now, self.hosts[to].addr);
        self.hosts[from].endpoint.connect(now, addr);
        self.flush();
    }

    /// The link of one host to another's process, if it is up.
    pub(super) fn link(&self, from: usize, to: usize) -> Option<LinkId> {
        self.hosts[from].endpoint.link_to(self.hosts[to].end.node)
    }

    /// Whether one host's link to another's process has an association.
    pub(super) fn is_established(&self, from: usize, to: usize) -> bool {
        let remote = self.link(from, to).and_then(|link| self.hosts[from].endpoint.remote(link));
        remote.is_some_and(|remote| remote.established && remote.addr == self.hosts[to].addr)
    }

    pub(super) fn stats(&self, host: usize) -> &LinkStats {
        self.hosts[host].endpoint.stats()
    }

    /// Sends the next message of a class over the link, with a length.
    pub(super) fn send(&mut self, from: usize, to: usize, class: Class, len: usize) -> Result<(), SendError> {
        let link = self.link(from, to).ok_or(SendError::Gone)?;
        let (me, peer) = (self.hosts[from].end, self.hosts[to].end);
        let message = message(self.witness.sent(me, peer, class), len);
        self.hosts[from].endpoint.send(self.now, link, class, message.clone())?;
        self.witness.on_sent(me, peer, class, &message);
        Ok(())
    }

    /// A fair-loss message on every link.
    pub(super) fn heartbeats(&mut self) {
        for host in &mut self.hosts {
            for link in &host.links {
                let _ = host.endpoint.send_datagram(self.now, *link, Bytes::from_static(b"alive"));
            }
        }
    }

    /// Fetches events and puts everything that is to be sent on the wire.
    pub(super) fn flush(&mut self) {
        for at in 0..self.hosts.len() {
            self.fetch(at);
            let mut buf = Vec::new();
            let from = self.hosts[at].addr;
            while let Some(transmit) = self.hosts[at].endpoint.poll_transmit(self.now, &mut buf) {
                self.hosts[at].sent += 1;
                self.put_on_wire(Wire { from, to: transmit.to, bytes: buf.clone() });
            }
        }
    }

    /// What one host says now goes out from another of its addresses.
    fn flush_as(&mut self, at: usize, from: SocketAddr) {
        let usual = core::mem::replace(&mut self.hosts[at].addr, from);
        self.flush();
        self.hosts[at].addr = usual;
    }

    /// Loses all that is on its way.
    pub(super) fn drop_queue(&mut self) {
        self.queue.clear();
    }

    fn fetch(&mut self, at: usize) {
        while self.hosts[at].fetching
            && let Some(event) = self.hosts[at].endpoint.poll_event()
        {
            let host = &mut self.hosts[at];
            match event {
                LinkEvent::Deliver { link, class, message } => {
                    let from = host.endpoint.remote(link).expect("delivered on a link that is up").end;
                    self.witness.on_delivered(from, host.end, class, &message);
                }
                LinkEvent::Datagram { message, .. } => host.datagrams.push(message),
                LinkEvent::Up { link, .. } => {
                    host.links.push(link);
                    host.events.push(event);
                }
                other => host.events.push(other),
            }
        }
    }

    fn put_on_wire(&mut self, mut wire: Wire) {
        wire.from = self.routes.iter().find(|(to, _)| *to == wire.to).map_or(wire.from, |(_, from)| *from);
        let sum = self.now.as_nanos() ^ u64::from(crc32fast::hash(&wire.bytes)) << 20;
        self.trace = self.trace.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17) ^ sum;
        if let Some(record) = &mut self.record {
            record.push(wire.clone());
        }
        if self.faults.replay > 0.0 {
            if self.old.len() < 2000 {
                self.old.push(wire.clone());
            } else {
                let at = self.rng.below(2000) as usize;
                self.old[at] = wire.clone();
            }
            if self.rng.chance(self.faults.replay) {
                let at = self.rng.below(self.old.len() as u64) as usize;
                self.schedule(self.old[at].clone());
            }
        }
        if self.cuts.contains(&(wire.from, wire.to)) || self.rng.chance(self.faults.loss) {
            return;
        }
        if self.rng.chance(self.faults.duplication) {
            self.schedule(wire.clone());
        }
        if self.rng.chance(self.faults.corruption) {
            let bit = self.rng.below(wire.bytes.len() as u64 * 8) as usize;
            wire.bytes[bit / 8] ^= 1 << (bit % 8);
            if self.rng.chance(0.3) {
                let len = self.rng.below(wire.bytes.len() as u64) as usize;
                wire.bytes.truncate(len);
            }
        }
        self.schedule(wire);
    }

    fn schedule(&mut self, wire: Wire) {
        let jitter = self.rng.below(self.faults.jitter.as_nanos() as u64 + 1);
        let at = self.now + self.faults.delay + Duration::from_nanos(jitter);
        self.queue.insert((at, self.queued), wire);
        self.queued += 1;
    }

    /// Hands a datagram in as if it came from `from`.
    pub(super) fn inject(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        let now = self.now;
        self.hosts[to].endpoint.handle_datagram(now, from, &mut bytes.to_vec());
    }

    /// When something happens next.
    fn next(&self) -> Option<Instant> {
        let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
        let timeouts = self.hosts.iter().filter_map(|host| host.endpoint.poll_timeout());
        timeouts.chain(arrival).min()
    }

    /// Lets time pass up to the next event, at most to `until`. False once there is nothing before it.
    pub(super) fn step(&mut self, until: Instant) -> bool {
        self.flush();
        let Some(next) = self.next().filter(|next| *next <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        while let Some(((at, _), _)) = self.queue.first_key_value()
            && *at <= self.now
        {
            let (_, wire) = self.queue.pop_first().unwrap();
            let alias = self.aliases.iter().find(|(addr, _)| *addr == wire.to).map(|(_, host)| *host);
            let receiver = alias.or_else(|| self.hosts.iter().position(|host| host.addr == wire.to));
            if let Some(host) = receiver {
                self.inject(host, wire.from, &wire.bytes);
                if alias.is_some() {
                    self.flush_as(host, wire.to);
                }
            }
        }
        for host in &mut self.hosts {
            if self.spurious || host.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                host.endpoint.handle_timeout(self.now);
            }
        }
        self.flush();
        // An acknowledgement can make a probe due at once; but that is then sent.
        for _ in 0..3 {
            for host in &mut self.hosts {
                if host.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                    host.endpoint.handle_timeout(self.now);
                }
            }
            self.flush();
        }
        for host in &self.hosts {
            let next = host.endpoint.poll_timeout();
            assert!(next.is_none_or(|at| at > self.now), "a driver would be busy for nothing");
        }
        true
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
    }

    /// Runs until `done`, and fails after `limit`.
    pub(super) fn run_until(
        &mut self,
        limit: Duration,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Duration {
        let start = self.now;
        while !done(self) {
            assert!(self.step(start + limit), "not within {limit:?}: {what}");
        }
        self.now - start
    }

    /// Two hosts with a link between them.
    pub(super) fn pair(seed: u64, sealed: bool) -> Self {
        let mut net = Self::new(seed, sealed);
        let setup = net.peer();
        net.add(setup.clone());
        net.add(setup);
        net.connect(0, 1);
        net.run_until(SECOND, "up", |net| net.link(0, 1).is_some() && net.link(1, 0).is_some());
        net.run(SECOND);
        net
    }

    /// Cuts both directions.
    pub(super) fn cut(&mut self, a: usize, b: usize) {
        let (a, b) = (self.hosts[a].addr, self.hosts[b].addr);
        self.cuts.extend([(a, b), (b, a)]);
    }
}
