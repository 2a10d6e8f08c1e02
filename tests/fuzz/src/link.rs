//! The receive path of links: an endpoint, and a stranger with good keys and bad manners.
//!
//! The stranger shakes hands properly (in either direction, as often as the input says) and then sends whatever the
//! input says in datagrams that open. What must hold: whatever the endpoint sends opens and makes sense; an address
//! that never proved itself gets no more bytes than it sent; no timer and no transmission runs for ever.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::datagram::{
    ConnectionId, LongHeader, LongKind, Parameters, Peeked, VERSION, VERSIONS, peek,
};
use haystack_wire::frame::{Class, Extent, Frame, Part, decode_frames, put_ack, put_message};
use haystack_wire::ids::{Boot, LinkEnd, NetworkId, NodeId};
use haystack_wire::keys::{KeyId, KeyRing, Role};
use haystack_wire::link::{Endpoint, EndpointConfig, Limits, LinkEvent, LinkId};
use haystack_wire::rng::Rng;
use haystack_wire::seal::{Association, Envelope, LongSealer, Sealer};

use super::wire::checksummed;

const NETWORK: NetworkId = NetworkId([0x11; 16]);
const HERE: LinkEnd = LinkEnd { node: NodeId([0xaa; 16]), boot: Boot(0) };
/// What an input may do at most: enough for any state, and no waiting for libFuzzer.
const STEPS_MAX: usize = 64;
/// Wake-ups at most in one leap of time, and datagrams at most at one instant: far above what any state needs.
const TURNS_MAX: usize = 20_000;

/// Runs the input.
pub fn link(data: &[u8]) {
    let mut input = Input(data);
    let mode = input.byte();
    let mut duel = Duel::new(mode);
    if mode & 1 == 0 {
        duel.call_here(0, mode & 2 == 0);
    } else {
        let at = address(0);
        duel.endpoint.connect(duel.now, at);
        duel.books.entry(at).or_default().proven = true;
        duel.drain();
    }
    for _ in 0..STEPS_MAX {
        if input.0.is_empty() {
            break;
        }
        duel.step(&mut input);
        duel.drain();
    }
    // Whatever happened, the endpoint comes to rest.
    duel.pass(Duration::from_secs(3));
}

/// Takes what it needs from the front; zeros when nothing is left.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// So many bytes as the next byte says, or as there are.
    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }
}

/// Up to four seconds; once in a while longer than any link of a client lasts in silence.
fn leap(byte: u8) -> Duration {
    if byte == u8::MAX { Duration::from_secs(301) } else { Duration::from_millis(1 << (byte % 13)) }
}

fn address(number: u8) -> SocketAddr {
    // Not loopback, so that datagrams are small.
    SocketAddr::from(([192, 0, 2, 1 + (number & 3)], 7400))
}

/// What went to and came from an address.
#[derive(Default)]
struct Book {
    sent_by_it: usize,
    sent_to_it: usize,
    /// The endpoint had reason to believe that somebody is there.
    proven: bool,
}

/// What one of the stranger's connection ids stands for.
struct Ours {
    to_here: Sealer,
    from_here: Sealer,
    here_id: ConnectionId,
    /// Next packet number.
    next: u64,
    /// Highest ones that arrived, ascending, without doubles.
    heard: Vec<u64>,
}

struct Duel {
    now: Instant,
    endpoint: Endpoint,
    sealer: LongSealer,
    there: LinkEnd,
    /// By connection id, newest last: ids are counted in twos, the lowest bit is the other end's to use.
    ours: BTreeMap<u64, Ours>,
    last_id: u64,
    /// The random of the HELLO under way.
    random_a: [u8; 16],
    answer: Option<LongHeader>,
    answer_random: [u8; 16],
    cookie: Option<Vec<u8>>,
    /// Datagrams that the stranger sent, to be sent again.
    kept: Vec<Vec<u8>>,
    books: BTreeMap<SocketAddr, Book>,
    links: Vec<LinkId>,
}

impl Duel {
    fn new(mode: u8) -> Self {
        // Whose id is lower decides whose HELLO counts.
        let there = LinkEnd { node: NodeId([if mode & 4 == 0 { 0xbb } else { 0x55 }; 16]), boot: Boot(0) };
        let role = if mode & 8 == 0 { Role::Peer } else { KeyRing::empty().client_role() };
        let now = Instant::from_nanos(1_000_000_000);
        let config = EndpointConfig {
            local: HERE,
            role: Role::Peer,
            network: NETWORK,
            keys: KeyRing::empty(),
            accepts: true,
            limits: Limits {
                half_open: 2,
                links: 4,
                assembly_bytes: 1 << 20,
                datagrams: 4,
                ..Limits::default()
            },
        };
        Self {
            now,
            endpoint: Endpoint::new(config, now, Rng::from_u64(7)),
            sealer: LongSealer::new(NETWORK, there, role, KeyRing::empty(), [4; 16])
                .expect("no key is needed"),
            there,
            ours: BTreeMap::new(),
            last_id: 0,
            random_a: [0; 16],
            answer: None,
            answer_random: [0; 16],
            cookie: None,
            kept: Vec::new(),
            books: BTreeMap::new(),
            links: Vec::new(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..=2 => self.say(0, 1, input.bytes()),
            3 => self.say(input.byte(), u64::from(input.short()), input.bytes()),
            4 | 5 => self.message(input),
            6 => self.again(input.byte(), input.byte(), None),
            7 => self.again(input.byte(), input.byte(), Some(input.short())),
            8 => self.hand_in(address(input.byte()), input.bytes().to_vec()),
            9 => self.hand_in(address(input.byte()), checksummed(input.bytes(), NETWORK, HERE)),
            10 => self.pass(leap(input.byte())),
            11 => self.acknowledge(input.byte()),
            12 => self.send(input),
            13 => {
                let message = Bytes::copy_from_slice(input.bytes());
                if let Some(link) = self.links.last() {
                    let _ = self.endpoint.send_datagram(self.now, *link, message);
                }
            }
            14 => self.call_here(input.byte(), input.byte() & 1 == 0),
            _ => self.end(input.byte()),
        }
    }

    fn hand_in(&mut self, from: SocketAddr, mut datagram: Vec<u8>) {
        self.books.entry(from).or_default().sent_by_it += datagram.len();
        self.endpoint.handle_datagram(self.now, from, &mut datagram);
    }

    /// Sends frames over the newest association, `leap` packet numbers on.
    fn say(&mut self, from: u8, leap: u64, frames: &[u8]) {
        let Some(ours) = self.ours.values_mut().next_back() else { return };
        let mut datagram = Vec::new();
        ours.next += leap;
        let number = ours.next;
        ours.next += 1;
        let draft =
            ours.to_here.start(&mut datagram, ours.here_id, number, leap == 0).expect("numbers are small");
        datagram.extend_from_slice(frames);
        ours.to_here.finish(&mut datagram, draft);
        if self.kept.len() == 32 {
            self.kept.remove(0);
        }
        self.kept.push(datagram.clone());
        self.hand_in(address(from), datagram);
    }

    /// A message or a piece of one, well-formed in itself.
    fn message(&mut self, input: &mut Input<'_>) {
        let class = Class::ALL[usize::from(input.byte() & 3)];
        let sequence = u64::from(input.byte() & 15);
        let shape = input.byte();
        let offset = u32::from(input.byte()) << (shape >> 4);
        let payload = input.bytes();
        let part = match shape & 3 {
            1 => Part::Piece { offset },
            2 => Part::Last { offset, crc: u32::from(input.short()) },
            _ => Part::Whole,
        };
        if payload.is_empty() && part != Part::Whole {
            return;
        }
        let mut frame = Vec::new();
        put_message(&mut frame, class, sequence, part, payload, Extent::Rest);
        self.say(0, 0, &frame);
    }

    /// Sends an old datagram once more, perhaps with a bit turned.
    fn again(&mut self, which: u8, from: u8, turn: Option<u16>) {
        if self.kept.is_empty() {
            return;
        }
        let mut datagram = self.kept[usize::from(which) % self.kept.len()].clone();
        if let Some(turn) = turn {
            let bit = usize::from(turn) % (datagram.len() * 8);
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
        self.hand_in(address(from), datagram);
    }

    /// Acknowledges what arrived, but for the packet numbers that the mask leaves out.
    fn acknowledge(&mut self, mask: u8) {
        let Some(ours) = self.ours.values().next_back() else { return };
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for number in ours.heard.iter().rev().filter(|number| mask >> (*number & 7) & 1 == 0) {
            match ranges.last_mut() {
                Some((low, _)) if *low == number + 1 => *low = *number,
                _ => ranges.push((*number, *number)),
            }
        }
        let mut frame = Vec::new();
        put_ack(&mut frame, 1000, u64::from(mask), ranges.into_iter().map(|(low, high)| low..=high));
        self.say(0, 0, &frame);
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let class = Class::ALL[usize::from(input.byte() & 3)];
        let message = Bytes::from(vec![0x5a; usize::from(input.short() & 0x3fff)]);
        if let Some(link) = self.links.last() {
            let _ = self.endpoint.send(self.now, *link, class, message);
        }
    }

    fn end(&mut self, how: u8) {
        let Some(link) = self.links.last().copied() else { return };
        match how & 15 {
            0 => self.endpoint.gone(link),
            1 => self.endpoint.close(self.now, link),
            2 => self.endpoint.disconnect(address(0)),
            3 => self.endpoint.unreachable(self.now, address(0)),
            _ => {
                self.books.entry(address(how)).or_default().proven = true;
                self.endpoint.connect(self.now, address(how));
            }
        }
    }

    /// A whole handshake that the stranger begins; `fresh` says in the third leg that a new session begins.
    fn call_here(&mut self, from: u8, fresh: bool) {
        self.last_id += 2;
        let id = ConnectionId(self.last_id);
        self.random_a = [self.last_id as u8; 16];
        (self.answer, self.cookie) = (None, None);
        for _ in 0..2 {
            let cookie = self.cookie.take();
            let parameters = Parameters {
                versions: Some(VERSIONS),
                features: Some(0),
                random: Some(self.random_a),
                cookie: cookie.as_deref(),
                ..Parameters::default()
            };
            let hello = self.sealed(LongKind::Hello, ConnectionId(0), id, None, &parameters);
            self.hand_in(address(from), hello);
            self.drain();
            if self.cookie.is_none() {
                break;
            }
        }
        let Some(welcome) = self.answer.take().filter(|welcome| welcome.dst_cid == id) else { return };
        let (to_here, from_here) = self.derive(self.there, HERE, self.random_a, self.answer_random);
        let here_id = ConnectionId(welcome.src_cid.0 | u64::from(fresh));
        self.ours.insert(id.0, Ours { to_here, from_here, here_id, next: 0, heard: Vec::new() });
        // From now on the stranger can prove where it is, so bytes to it are its own affair.
        self.books.entry(address(from)).or_default().proven = true;
        self.say(from, 0, &[1]);
        self.drain();
    }

    fn derive(&self, initiator: LinkEnd, responder: LinkEnd, a: [u8; 16], b: [u8; 16]) -> (Sealer, Sealer) {
        let association = Association {
            version: VERSION,
            network: NETWORK,
            initiator,
            responder,
            random_a: a,
            random_b: b,
        };
        Sealer::derive(&KeyRing::empty(), KeyId::NONE, &association).expect("no key is needed")
    }

    fn sealed(
        &mut self,
        kind: LongKind,
        dst_cid: ConnectionId,
        src_cid: ConnectionId,
        receiver: Option<LinkEnd>,
        parameters: &Parameters<'_>,
    ) -> Vec<u8> {
        let envelope = Envelope { kind, version: VERSION, dst_cid, src_cid, key_id: KeyId::NONE, receiver };
        let mut out = Vec::new();
        self.sealer.seal(&mut out, &envelope, parameters).expect("nothing is exhausted");
        out
    }

    /// The endpoint calls: the stranger answers.
    fn answer_call(&mut self, at: SocketAddr, hello: &LongHeader, random_a: [u8; 16]) {
        self.last_id += 2;
        let id = ConnectionId(self.last_id);
        let random_b = [self.last_id as u8; 16];
        let parameters = Parameters {
            versions: Some(VERSIONS),
            random: Some(random_b),
            session: Some(0),
            ..Parameters::default()
        };
        let welcome = self.sealed(LongKind::Welcome, hello.src_cid, id, Some(HERE), &parameters);
        let (from_here, to_here) = self.derive(HERE, self.there, random_a, random_b);
        self.ours
            .insert(id.0, Ours { to_here, from_here, here_id: hello.src_cid, next: 0, heard: Vec::new() });
        self.hand_in(at, welcome);
    }

    /// Lets time pass, waking the endpoint whenever it wants.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = 0;
        while let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= end) {
            turns += 1;
            assert!(turns < TURNS_MAX, "{turns} wake-ups in {time:?}");
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Takes whatever the endpoint has to say, and answers its calls.
    fn drain(&mut self) {
        let mut buf = Vec::new();
        let mut turns = 0;
        loop {
            while let Some(event) = self.endpoint.poll_event() {
                self.hear_of(&event);
            }
            let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut buf) else { break };
            turns += 1;
            assert!(turns < TURNS_MAX, "{turns} datagrams at one instant");
            assert!(!buf.is_empty() && buf.len() <= 1200, "a datagram of {} bytes", buf.len());
            let book = self.books.entry(transmit.to).or_default();
            book.sent_to_it += buf.len();
            assert!(book.proven || book.sent_to_it <= book.sent_by_it, "a stranger gets more than it sent");
            self.listen(transmit.to, &mut buf);
        }
    }

    fn hear_of(&mut self, event: &LinkEvent) {
        match event {
            LinkEvent::Up { link, .. } => self.links.push(*link),
            LinkEvent::Down { link, .. } => {
                assert!(self.links.contains(link), "a link ends that never was");
                self.links.retain(|known| known != link);
            }
            LinkEvent::Deliver { link, .. }
            | LinkEvent::Datagram { link, .. }
            | LinkEvent::Writable { link, .. } => {
                assert!(self.links.contains(link), "news of a link that is not there");
            }
            LinkEvent::Gossip { message, .. } => {
                assert!(message.len() <= 1 << 16, "gossip of {} bytes", message.len());
            }
        }
    }

    /// What the endpoint says opens at the other end and makes sense there.
    fn listen(&mut self, at: SocketAddr, datagram: &mut [u8]) {
        match peek(datagram).expect("the endpoint speaks the protocol") {
            Peeked::Short { dst_cid, .. } => {
                let Some(ours) = self.ours.get_mut(&(dst_cid.0 & !1)) else {
                    panic!("a connection of nobody")
                };
                let opened = ours.from_here.open(datagram).expect("the endpoint seals well");
                for frame in decode_frames(opened.frames) {
                    let frame = frame.expect("the endpoint's frames are well-formed");
                    assert!(!matches!(frame, Frame::Unknown { .. }), "a frame of another version");
                }
                let number = opened.packet_number;
                assert!(ours.heard.last().is_none_or(|last| *last < number), "packet {number} out of order");
                if ours.heard.len() == 4096 {
                    ours.heard.remove(0);
                }
                ours.heard.push(number);
            }
            Peeked::Long { .. } => self.listen_long(at, datagram),
            Peeked::VersionNegotiation { versions, .. } => assert_eq!(versions, VERSIONS),
            Peeked::Reset(_) => {}
        }
    }

    fn listen_long(&mut self, at: SocketAddr, datagram: &mut [u8]) {
        // Answers to what the input made up may be meant for other processes: they do not open.
        let Ok(opened) = self.sealer.open(datagram) else { return };
        let (header, parameters) = (opened.header, opened.parameters);
        match header.kind {
            LongKind::Hello => {
                let random_a = parameters.random.expect("a HELLO has a random");
                self.answer_call(at, &header, random_a);
            }
            LongKind::Retry => self.cookie = parameters.cookie.map(<[u8]>::to_vec),
            LongKind::Welcome => {
                self.answer = Some(header);
                self.answer_random = parameters.random.expect("a WELCOME has a random");
            }
            _ => {}
        }
    }
}
