//! A founded node, and what the network may hand to it: anything, damaged copies of what its peers said, and strangers
//! with good manners on the link and bad ones above it.
//!
//! The founders are honest and stay. Another daemon, which has no part in their cluster, and a client with all rights say
//! whatever the input says, mostly real messages with some bytes changed. What must hold: who never proved its
//! address gets no more bytes than it sent; no timer and no transmission runs for ever; and when it is over, all groups
//! have their leader as before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use haystack_core::config::Config;
use haystack_core::directory::life::Life;
use haystack_core::node::{Identity, Node, Record};
use haystack_wire::Instant;
use haystack_wire::codec::encode_whole;
use haystack_wire::frame::{Class, Frame, Part, decode_frames};
use haystack_wire::ids::{Boot, Epoch, GroupId, HistoryId, LinkEnd, LogIndex, NodeId, SessionId};
use haystack_wire::keys::{KeyRing, Role};
use haystack_wire::link::{Endpoint, EndpointConfig, Limits};
use haystack_wire::message::admin::AdminRequest;
use haystack_wire::message::client::{Command, Expect, Request, RequestBody, Write};
use haystack_wire::message::directory::DirectoryMessage;
use haystack_wire::message::{ClientMessage, ForwardToken, PeerMessage};
use haystack_wire::rng::Rng;

/// What an input may do at most.
const STEPS_MAX: usize = 48;
/// Wake-ups, and datagrams at once, that no state needs.
const TURNS_MAX: usize = 20_000;
/// Datagrams to the node, and messages in them, that are kept to be used again.
const KEPT_MAX: usize = 64;
/// How many founders there are. If the input says so, one of them never starts and the others wait for it.
const FOUNDERS: u8 = 3;
/// One way of every datagram.
const FLIGHT: Duration = Duration::from_millis(1);
/// How long founding takes at most, and how long after the last offence all is well again.
const SETTLED: Duration = Duration::from_secs(3);
/// Bytes around the frames of a short datagram without a key.
const HEADER: usize = 18;
const CRC: usize = 4;

/// Runs the input.
pub fn node(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(input.byte() & 1 == 0);
    world.pass(SETTLED);
    for _ in 0..STEPS_MAX {
        if input.0.is_empty() {
            break;
        }
        world.step(&mut input);
        world.pass(FLIGHT * 2);
    }
    world.pass(SETTLED);
    world.check();
}

/// Takes what it needs from the front; zeros when nothing is left.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn short(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// As many bytes as a byte says, four times over.
    fn bytes(&mut self) -> &'a [u8] {
        let len = (usize::from(self.byte()) * 4).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }
}

/// Someone with good keys who is no member.
struct Stranger {
    endpoint: Endpoint,
    addr: SocketAddr,
}

struct World {
    now: Instant,
    nodes: Vec<Node>,
    strangers: Vec<Stranger>,
    /// Whether all founders are there.
    is_founded: bool,
    /// Datagrams to the node under test, and where from.
    kept: Vec<(SocketAddr, Vec<u8>)>,
    /// Messages that they carried whole.
    heard: Vec<Bytes>,
    /// Bytes from and to addresses where nobody is.
    books: BTreeMap<SocketAddr, (usize, usize)>,
}

fn founder(number: u8) -> SocketAddr {
    // Not loopback, so that datagrams are small.
    SocketAddr::from(([192, 0, 2, 1 + number], 7400))
}

/// Where nobody is.
fn nowhere(number: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, number & 3], 7400))
}

fn begin(number: u8, now: Instant) -> Node {
    let name = format!("n{number}");
    let mut config = Config::new(&name, founder(number), (0..FOUNDERS).map(founder).collect());
    config.partitions = 2;
    let node = NodeId([number + 1; 16]);
    let mut life = Life::fresh(&name);
    life.begin(node);
    let identity = Identity { node, boot: Boot::default(), life };
    let log = slog::Logger::root(slog::Discard, slog::o!());
    Node::new(config, identity, now, Rng::from_u64(number.into()), log)
}

impl World {
    fn new(is_founded: bool) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let count = if is_founded { FOUNDERS } else { FOUNDERS - 1 };
        let mut world = Self {
            now,
            nodes: (0..count).map(|number| begin(number, now)).collect(),
            strangers: Vec::new(),
            is_founded,
            kept: Vec::new(),
            heard: Vec::new(),
            books: BTreeMap::new(),
        };
        world.invite(Role::Peer);
        world.invite(KeyRing::empty().client_role());
        world
    }

    fn invite(&mut self, role: Role) {
        let number = 10 + self.strangers.len() as u8;
        let config = EndpointConfig {
            local: LinkEnd { node: NodeId([number; 16]), boot: Boot(0) },
            role,
            network: Config::new("", founder(0), Vec::new()).network,
            keys: KeyRing::empty(),
            accepts: role == Role::Peer,
            limits: Limits::default(),
        };
        let mut endpoint = Endpoint::new(config, self.now, Rng::from_u64(number.into()));
        endpoint.connect(self.now, founder(0));
        self.strangers.push(Stranger { endpoint, addr: founder(number) });
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 12 {
            0 | 1 => {
                let message = self.request(input);
                self.say(1, message, input);
            }
            2 | 3 => {
                let message = self.peer_message(input);
                self.say(0, message, input);
            }
            4 => self.say(input.byte(), input.bytes().to_vec(), &mut Input(&[])),
            5 => {
                let (stranger, message) = (input.byte(), input.bytes());
                let stranger = &mut self.strangers[usize::from(stranger & 1)];
                if let Some(link) = stranger.endpoint.link_to(NodeId([1; 16])) {
                    let _ = stranger.endpoint.send_datagram(self.now, link, Bytes::copy_from_slice(message));
                }
            }
            6 => self.hand_in(nowhere(input.byte()), input.bytes().to_vec()),
            7 => self.hand_in(founder(input.byte() & 15), input.bytes().to_vec()),
            8 | 9 => self.again(input),
            10 => self.pass(Duration::from_millis(1 << (input.byte() % 12))),
            _ => {
                let stranger = &mut self.strangers[usize::from(input.byte() & 1)];
                if let Some(link) = stranger.endpoint.link_to(NodeId([1; 16])) {
                    stranger.endpoint.close(self.now, link);
                }
            }
        }
    }

    /// A client's message over few groups, sessions, numbers and keys, so that they meet.
    fn request(&self, input: &mut Input<'_>) -> Vec<u8> {
        let kind = input.byte();
        let group = GroupId(u32::from(input.byte() & 3));
        let key = Bytes::copy_from_slice(&[input.byte() & 7]);
        let session = SessionId { group, index: LogIndex(u64::from(input.byte() & 7)) };
        let (seq, ack_below) = (u64::from(input.byte() & 15), u64::from(input.byte() & 3));
        let value = Bytes::from(vec![kind; usize::from(input.byte())]);
        let write = match kind & 3 {
            0 => Write::Put { key: key.clone(), value },
            1 => Write::Delete { key: key.clone() },
            2 => Write::Cas { key: key.clone(), expect: Expect::Absent, value },
            _ => Write::Cas { key: key.clone(), expect: Expect::Value(value.clone()), value },
        };
        let body = match kind >> 2 & 7 {
            0 => RequestBody::Command(encode_whole(&Command::OpenSession)),
            1 => RequestBody::Command(encode_whole(&Command::Resolve { session, seq, key })),
            2 => {
                RequestBody::Command(encode_whole(&Command::ExpireSessions { sessions: vec![session.index] }))
            }
            5 => RequestBody::Command(encode_whole(&Command::CloseSession { session, ack_below })),
            3 => RequestBody::Get { key, stale: kind & 1 == 0 },
            4 => RequestBody::Scan { after: (kind & 1 == 0).then_some(key), limit: u32::from(kind) },
            _ => RequestBody::Command(encode_whole(&Command::Write { session, seq, ack_below, write })),
        };
        let request = Request { id: seq, group, history: HistoryId(0), body };
        encode_whole(&match kind >> 5 {
            0 => ClientMessage::MapRequest { id: 1, held: Epoch(ack_below) },
            1 => ClientMessage::Admin { id: 2, request: AdminRequest::Status },
            2 => ClientMessage::Admin { id: 3, request: AdminRequest::AbandonOldData },
            _ => ClientMessage::Request(request),
        })
        .to_vec()
    }

    /// What a daemon says: something that the node has heard from its peers, or a client's request passed on.
    fn peer_message(&self, input: &mut Input<'_>) -> Vec<u8> {
        let which = input.byte();
        if which & 3 == 0 {
            let request = self.request(input);
            let mut reader = haystack_wire::codec::Reader::new(&request);
            let Ok(ClientMessage::Request(request)) = haystack_wire::codec::Decode::decode(&mut reader)
            else {
                let pull = DirectoryMessage::MapPull { held: Epoch(0) };
                return encode_whole(&PeerMessage::Directory(pull)).to_vec();
            };
            return encode_whole(&PeerMessage::Forward { token: ForwardToken(which.into()), request })
                .to_vec();
        }
        let at = usize::from(which >> 2).checked_rem(self.heard.len());
        at.map_or_else(Vec::new, |at| self.heard[at].to_vec())
    }

    /// A stranger says this, after as many changes as the input says.
    fn say(&mut self, who: u8, mut message: Vec<u8>, input: &mut Input<'_>) {
        for _ in 0..input.byte() & 3 {
            let at = input.short().checked_rem(message.len());
            let byte = input.byte();
            match at {
                Some(at) if byte == 0 => message.truncate(at),
                Some(at) => message[at] ^= byte,
                None => message.push(byte),
            }
        }
        let class = Class::ALL[usize::from(input.byte() & 3)];
        let stranger = &mut self.strangers[usize::from(who & 1)];
        if let Some(link) = stranger.endpoint.link_to(NodeId([1; 16])) {
            let _ = stranger.endpoint.send(self.now, link, class, message.into());
        }
    }

    /// Something that was said to the node before comes again, perhaps changed, from where it came or from elsewhere.
    fn again(&mut self, input: &mut Input<'_>) {
        let which = usize::from(input.byte()).checked_rem(self.kept.len());
        let Some((from, mut datagram)) = which.map(|at| self.kept[at].clone()) else { return };
        let how = input.byte();
        if how & 1 != 0 {
            let bit = input.short() % (datagram.len() * 8);
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
        if how & 2 != 0 {
            datagram.truncate(input.short() % datagram.len() + 1);
        }
        let from = if how & 4 != 0 { nowhere(how) } else { from };
        self.hand_in(from, datagram);
    }

    fn hand_in(&mut self, from: SocketAddr, mut datagram: Vec<u8>) {
        self.books.entry(from).or_default().0 += datagram.len();
        self.nodes[0].handle_datagram(self.now, from, &mut datagram);
    }

    /// Lets time pass, waking everybody when it wants.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = 0;
        loop {
            self.exchange(end);
            let nodes = self.nodes.iter().filter_map(|node| node.poll_timeout().map(|(at, _)| at));
            let strangers = self.strangers.iter().filter_map(|stranger| stranger.endpoint.poll_timeout());
            let Some(at) = nodes.chain(strangers).min().filter(|at| *at <= end) else { break };
            turns += 1;
            assert!(turns < TURNS_MAX, "{turns} wake-ups in {time:?}");
            self.now = self.now.max(at);
            for node in &mut self.nodes {
                node.handle_timeout(self.now);
            }
            for stranger in &mut self.strangers {
                stranger.endpoint.handle_timeout(self.now);
            }
        }
        self.now = self.now.max(end);
    }

    /// Carries what everybody has to say, and what follows from that, up to this time.
    fn exchange(&mut self, end: Instant) {
        loop {
            let sent = self.collect();
            for (from, to, mut datagram) in sent.iter().cloned() {
                self.deliver(from, to, &mut datagram);
            }
            if sent.is_empty() || self.now >= end {
                return;
            }
            self.now += FLIGHT;
        }
    }

    fn collect(&mut self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let (mut sent, mut buf) = (Vec::new(), Vec::new());
        for (number, node) in (0..).zip(&mut self.nodes) {
            while let Some(Record::Life { lsn, .. }) = node.poll_persist() {
                node.handle_persisted(self.now, lsn);
            }
            while node.poll_event().is_some() {}
            while let Some(transmit) = node.poll_transmit(self.now, &mut buf) {
                assert!(!buf.is_empty() && buf.len() <= 1200, "a datagram of {} bytes", buf.len());
                sent.push((founder(number), transmit.to, buf.clone()));
                assert!(sent.len() < TURNS_MAX, "{} datagrams at one instant", sent.len());
            }
        }
        for stranger in &mut self.strangers {
            while stranger.endpoint.poll_event().is_some() {}
            while let Some(transmit) = stranger.endpoint.poll_transmit(self.now, &mut buf) {
                sent.push((stranger.addr, transmit.to, buf.clone()));
            }
        }
        sent
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, datagram: &mut [u8]) {
        if to == founder(0) {
            self.keep(from, datagram);
        }
        if let Some(at) = (0..self.nodes.len()).find(|at| founder(*at as u8) == to) {
            self.nodes[at].handle_datagram(self.now, from, datagram);
        } else if let Some(stranger) = self.strangers.iter_mut().find(|stranger| stranger.addr == to) {
            stranger.endpoint.handle_datagram(self.now, from, datagram);
        } else if let Some((sent_by_it, sent_to_it)) = self.books.get_mut(&to).filter(|_| from == founder(0))
        {
            *sent_to_it += datagram.len();
            // Founders are called, whether they are there or not.
            let is_called = (0..FOUNDERS).any(|number| founder(number) == to);
            assert!(is_called || *sent_to_it <= *sent_by_it, "{to} gets more than it sent");
        }
    }

    /// Keeps a datagram to the node, and the whole messages in it: nothing is sealed here.
    fn keep(&mut self, from: SocketAddr, datagram: &[u8]) {
        if self.kept.len() == KEPT_MAX {
            self.kept.remove(0);
        }
        self.kept.push((from, datagram.to_vec()));
        let is_peer = (0..self.nodes.len()).any(|at| founder(at as u8) == from);
        if datagram[0] & 0x80 != 0 || !is_peer || datagram.len() < HEADER + CRC {
            return;
        }
        for frame in decode_frames(&datagram[HEADER..datagram.len() - CRC]).flatten() {
            let payload = match frame {
                Frame::Message { part: Part::Whole, payload, .. } | Frame::Datagram(payload) => payload,
                _ => continue,
            };
            let message = Bytes::copy_from_slice(payload);
            if self.heard.len() < KEPT_MAX && !self.heard.contains(&message) {
                self.heard.push(message);
            }
        }
    }

    /// The cluster is as it was.
    fn check(&self) {
        let node = &self.nodes[0];
        assert_eq!(node.cluster().is_some(), self.is_founded);
        if self.is_founded {
            assert_eq!(node.groups().count(), 3);
            for group in node.groups() {
                assert!(group.leader().is_some(), "group {} has no leader", group.id());
            }
        }
    }
}
