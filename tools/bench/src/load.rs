//! Closed-loop load: every connection keeps so many operations under way, each on a socket of its own.

use std::collections::HashMap;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant as Wall};

use bytes::{Bytes, BytesMut};
use haystack_client::core::{Answer, Client, Config, OpId, Operation};
use haystack_wire::Instant;
use haystack_wire::message::client::{Effect, Expect};
use haystack_wire::rng::Rng;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::relay;
use crate::report::Measured;

/// An operation without an answer for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// All connections look at their timers so often; between, only those that were spoken to.
const TIMERS: Duration = Duration::from_millis(1);
/// How often the live line is written.
const LIVE: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// What is measured, for the report.
    pub(crate) name: String,
    /// Connections.
    pub(crate) connections: usize,
    /// Operations that each keeps under way.
    pub(crate) outstanding: usize,
    /// Bytes of each value.
    pub(crate) value: usize,
    /// Different keys.
    pub(crate) keys: u64,
    /// Operations after which it ends, even before its time.
    pub(crate) operations: u64,
    /// Shares of get, put and cas, which add up to anything above 0.
    pub(crate) mix: (u32, u32, u32),
    /// How long.
    pub(crate) duration: Duration,
    /// How to reach the cluster.
    pub(crate) client: Config,
}

struct Member {
    client: Client,
    socket: UdpSocket,
    /// When each operation was sent, and in which of the places it is under way.
    sent: HashMap<OpId, (Wall, usize)>,
    /// Each place has a key that it alone writes by CAS: what that holds.
    owned: Vec<Option<Bytes>>,
    out: Vec<u8>,
    blocked: Option<SocketAddr>,
}

/// Runs the load to its end.
///
/// # Errors
/// If the system refuses sockets, or the cluster cannot be reached.
#[expect(clippy::disallowed_methods, reason = "a benchmark is where time is measured")]
pub(crate) fn run(load: &Load) -> Result<Measured, String> {
    let origin = Wall::now();
    let now = || Instant::from_nanos(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let mut fleet = Fleet::new(load, now())?;
    fleet.connect(&now)?;
    fleet.measure(load, &now)
}

struct Fleet {
    poll: Poll,
    members: Vec<Member>,
    rng: Rng,
    inbound: Vec<u8>,
    value: BytesMut,
    counter: u64,
}

impl Fleet {
    fn new(load: &Load, now: Instant) -> Result<Self, String> {
        let poll = Poll::new().map_err(|error| format!("opening an event queue: {error}"))?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| format!("drawing a seed: {error}"))?;
        let mut rng = Rng::from_seed(seed);
        let mut members = Vec::with_capacity(load.connections);
        for token in 0..load.connections {
            let any = match load.client.addresses.first() {
                Some(SocketAddr::V6(_)) => "[::]:0",
                _ => "0.0.0.0:0",
            };
            let any: SocketAddr = any.parse().map_err(|error| format!("{any}: {error}"))?;
            let mut socket = relay::bind(any).map_err(|error| format!("opening a socket: {error}"))?;
            poll.registry()
                .register(&mut socket, Token(token), Interest::READABLE)
                .map_err(|error| format!("watching a socket: {error}"))?;
            let client =
                Client::new(load.client.clone(), now, rng.fork()).map_err(|error| error.to_string())?;
            members.push(Member {
                client,
                socket,
                sent: HashMap::new(),
                owned: vec![None; load.outstanding],
                out: Vec::with_capacity(65_536),
                blocked: None,
            });
        }
        Ok(Self { poll, members, rng, inbound: vec![0; 65_536], value: BytesMut::new(), counter: 0 })
    }

    /// Lets every connection write once to every partition, so that links, map and sessions are there before
    /// anything is measured.
    fn connect(&mut self, now: &dyn Fn() -> Instant) -> Result<(), String> {
        let mut waiting = 0;
        for member in 0..self.members.len() {
            for key in 0..64_u32 {
                let operation =
                    Operation::put(format!("bench-warm-{member}-{key}").into_bytes(), Bytes::new());
                let at = now();
                let submitted = self.members[member].client.submit(at, operation, at + PATIENCE);
                submitted.map_err(|error| error.to_string())?;
                waiting += 1;
            }
        }
        let mut failed = None;
        while waiting > 0 {
            self.turn(now)?;
            for member in &mut self.members {
                while let Some(completion) = member.client.poll_completion() {
                    waiting -= 1;
                    failed = completion.outcome.err().or(failed);
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(format!("the cluster does not serve: {error}")))
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark is where time is measured")]
    fn measure(&mut self, load: &Load, now: &dyn Fn() -> Instant) -> Result<Measured, String> {
        let mut measured = Measured::new(&load.name);
        let live = io::stderr().is_terminal();
        let (begin, mut shown) = (Wall::now(), Wall::now());
        for member in 0..self.members.len() {
            for slot in 0..load.outstanding {
                self.submit(load, member, slot, now())?;
            }
        }
        while begin.elapsed() < load.duration && measured.done < load.operations {
            self.turn(now)?;
            for member in 0..self.members.len() {
                while let Some(completion) = self.members[member].client.poll_completion() {
                    let Some((sent, slot)) = self.members[member].sent.remove(&completion.op) else {
                        continue;
                    };
                    match completion.outcome {
                        Ok(Answer::Applied { effect: Effect::Mismatch { actual }, .. }) => {
                            measured.failed += 1;
                            self.members[member].owned[slot] = actual.map(|actual| actual.value);
                        }
                        Ok(_) => measured.record(sent.elapsed()),
                        Err(_) => measured.failed += 1,
                    }
                    self.submit(load, member, slot, now())?;
                }
            }
            self.flush(now)?;
            if live && shown.elapsed() >= LIVE {
                shown = Wall::now();
                measured.took = begin.elapsed();
                eprint!("\r{}", measured.line());
                // A terminal that went away ends nothing.
                let _ = io::stderr().flush();
            }
        }
        measured.took = begin.elapsed();
        if live {
            eprintln!();
        }
        Ok(measured)
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark is where time is measured")]
    fn submit(&mut self, load: &Load, member: usize, slot: usize, now: Instant) -> Result<(), String> {
        let (get, put, cas) = load.mix;
        let pick = self.rng.below(u64::from(get + put + cas).max(1)) as u32;
        self.counter += 1;
        let counter = self.counter;
        let key = || Bytes::from(format!("bench-k-{:08}", counter % load.keys.max(1)));
        let operation = if pick < get {
            Operation::get(key())
        } else {
            let key = if pick < get + put {
                key()
            } else {
                Bytes::from(format!("bench-cas-{member:03}-{slot:03}"))
            };
            self.value.resize(load.value, b'v');
            let number = counter.to_be_bytes();
            let mark = number.len().min(load.value);
            self.value[..mark].copy_from_slice(&number[..mark]);
            let value = self.value.split().freeze();
            if pick < get + put {
                Operation::put(key, value)
            } else {
                let owned = &mut self.members[member].owned[slot];
                let expect = owned.replace(value.clone()).map_or(Expect::Absent, Expect::Value);
                Operation::cas(key, expect, value)
            }
        };
        let member = &mut self.members[member];
        let op = member.client.submit(now, operation, now + PATIENCE).map_err(|error| error.to_string())?;
        member.sent.insert(op, (Wall::now(), slot));
        Ok(())
    }

    /// Sends what there is to send, waits, takes in what came.
    fn turn(&mut self, now: &dyn Fn() -> Instant) -> Result<(), String> {
        self.flush(now)?;
        let mut events = Events::with_capacity(1_024);
        match self.poll.poll(&mut events, Some(TIMERS)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(format!("waiting: {error}")),
            _ => {}
        }
        if events.is_empty() {
            for member in &mut self.members {
                member.client.handle_timeout(now());
            }
        }
        for event in &events {
            let member = &mut self.members[event.token().0];
            while let Some((len, from)) = relay::receive(&member.socket, &mut self.inbound)
                .map_err(|error| format!("receiving: {error}"))?
            {
                member.client.handle_datagram(now(), from, &mut self.inbound[..len]);
            }
            member.client.handle_timeout(now());
        }
        Ok(())
    }

    fn flush(&mut self, now: &dyn Fn() -> Instant) -> Result<(), String> {
        for member in &mut self.members {
            loop {
                let to = match member.blocked.take() {
                    Some(to) => to,
                    None => match member.client.poll_transmit(now(), &mut member.out) {
                        Some(transmit) => transmit.to,
                        None => break,
                    },
                };
                match member.socket.send_to(&member.out, to) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        member.blocked = Some(to);
                        break;
                    }
                    // Refused or unreachable is lost on the way, which the links repair.
                    Ok(_) | Err(_) => {}
                }
            }
        }
        Ok(())
    }
}
