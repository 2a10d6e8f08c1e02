//! Nodes, virtual time, and a network that loses, doubles, reorders and cuts.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use haystack_wire::Instant;
use haystack_wire::codec::{decode_whole, encode_whole};
use haystack_wire::ids::{Boot, ClusterId, NodeId};
use haystack_wire::message::membership::{GOSSIP_LIMIT, Gossip, MemberState, Meta};
use haystack_wire::rng::Rng;

use super::super::{Config, Output, Swim, Timing};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn addr(host: usize) -> SocketAddr {
    SocketAddr::from(([10, (host >> 16) as u8, (host >> 8) as u8, host as u8], 7400))
}

pub(super) struct Process {
    pub(super) swim: Swim,
    pub(super) addr: SocketAddr,
    pub(super) up: bool,
    /// Nothing happens before: the process is stopped, what arrives waits.
    paused: Instant,
    due: Option<Instant>,
    pub(super) said: Vec<(Instant, Output)>,
    pub(super) sent: u64,
    pub(super) bytes: u64,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) nodes: Vec<Process>,
    at: BTreeMap<SocketAddr, usize>,
    due: BTreeSet<(Instant, usize)>,
    flying: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Gossip)>,
    count: u64,
    pub(super) loss: f64,
    pub(super) doubled: f64,
    pub(super) delay: (Duration, Duration),
    /// Directions in which nothing arrives, by addresses of sender and receiver.
    pub(super) cuts: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Addresses of one side, which hear only each other.
    pub(super) island: BTreeSet<SocketAddr>,
    /// Every message as its bytes: slow in large worlds.
    pub(super) by_bytes: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Instant::from_nanos(1_000_000_000),
            rng: Rng::from_u64(seed),
            nodes: Vec::new(),
            at: BTreeMap::new(),
            due: BTreeSet::new(),
            flying: BTreeMap::new(),
            count: 0,
            loss: 0.0,
            doubled: 0.0,
            delay: (Duration::from_micros(200), Duration::from_millis(2)),
            cuts: BTreeSet::new(),
            island: BTreeSet::new(),
            by_bytes: true,
        }
    }

    /// `count` nodes at `addr(0..)` whose seeds are the first three, after they found each other.
    pub(super) fn formed(seed: u64, count: usize) -> Self {
        let mut world = Self::new(seed);
        for _ in 0..count {
            world.add();
        }
        let took = world.until(seconds(120), Self::complete);
        assert!(took.is_some(), "{count} nodes do not find each other");
        world.run(seconds(20));
        world.reset();
        world
    }

    pub(super) fn config(&mut self, host: usize) -> Config {
        Config {
            node: NodeId(self.rng.bytes()),
            boot: Boot(0),
            addr: addr(host),
            versions: (1, 1),
            name: format!("n{host}"),
            meta: Meta { zone: "z1".to_owned(), host: format!("h{host}"), tags: Vec::new() },
            cluster: CLUSTER,
            seeds: (0..3).map(addr).collect(),
            succeeds: Vec::new(),
            founders_hash: 0,
            timing: Timing::default(),
        }
    }

    pub(super) fn add(&mut self) -> usize {
        let config = self.config(self.nodes.len());
        self.start(config)
    }

    pub(super) fn start(&mut self, config: Config) -> usize {
        let (addr, index) = (config.addr, self.nodes.len());
        let swim = Swim::new(config, self.now, self.rng.fork());
        self.at.insert(addr, index);
        self.nodes.push(Process {
            swim,
            addr,
            up: true,
            paused: Instant::ZERO,
            due: None,
            said: Vec::new(),
            sent: 0,
            bytes: 0,
        });
        self.settle(index);
        index
    }

    pub(super) fn id(&self, index: usize) -> NodeId {
        self.nodes[index].swim.me().node
    }

    pub(super) fn crash(&mut self, index: usize) {
        self.nodes[index].up = false;
        if let Some(due) = self.nodes[index].due.take() {
            self.due.remove(&(due, index));
        }
    }

    pub(super) fn pause(&mut self, index: usize, lasts: Duration) {
        self.nodes[index].paused = self.now + lasts;
        self.settle(index);
    }

    /// Another address from now on, on which it tells the others.
    pub(super) fn move_to(&mut self, index: usize, addr: SocketAddr) {
        let old = core::mem::replace(&mut self.nodes[index].addr, addr);
        if self.at.get(&old) == Some(&index) {
            self.at.remove(&old);
        }
        self.at.insert(addr, index);
        self.act(index, |swim, now| swim.set_addr(now, addr));
    }

    pub(super) fn act(&mut self, index: usize, what: impl FnOnce(&mut Swim, Instant)) {
        what(&mut self.nodes[index].swim, self.now);
        self.settle(index);
    }

    pub(super) fn reset(&mut self) {
        for node in &mut self.nodes {
            node.said.clear();
            (node.sent, node.bytes) = (0, 0);
        }
    }

    /// Takes out what a node says, and sees when it is due next.
    fn settle(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].swim.poll_output() {
            match output {
                Output::Send { to, gossip, .. } => self.send(index, to, gossip),
                other => self.nodes[index].said.push((self.now, other)),
            }
        }
        let node = &mut self.nodes[index];
        let due = node.swim.poll_timeout().map(|due| due.max(node.paused)).filter(|_| node.up);
        let before = core::mem::replace(&mut node.due, due);
        if before != due {
            before.map(|due| self.due.remove(&(due, index)));
            due.map(|due| self.due.insert((due, index)));
        }
    }

    fn send(&mut self, index: usize, to: SocketAddr, gossip: Gossip) {
        use haystack_wire::codec::Encode as _;
        let len = gossip.encoded_len();
        assert!(len <= GOSSIP_LIMIT, "{len} bytes in {gossip:?}");
        let gossip = if self.by_bytes {
            let bytes = encode_whole(&gossip);
            assert_eq!(decode_whole::<Gossip>(&bytes, "gossip").as_ref(), Ok(&gossip));
            gossip
        } else {
            gossip
        };
        let node = &mut self.nodes[index];
        node.sent += 1;
        node.bytes += len as u64;
        let from = node.addr;
        let copies = if self.rng.chance(self.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.rng.chance(self.loss) {
                self.fly(from, to, gossip.clone());
            }
        }
    }

    /// Puts a message on the network, from whomever.
    pub(super) fn fly(&mut self, from: SocketAddr, to: SocketAddr, gossip: Gossip) {
        let (least, most) = self.delay;
        let spread = (most - least).as_nanos() as u64;
        let delay = least + Duration::from_nanos(self.rng.below(spread + 1));
        self.count += 1;
        self.flying.insert((self.now + delay, self.count), (from, to, gossip));
    }

    /// The next thing that happens, if it does before `end`.
    fn step(&mut self, end: Instant) -> bool {
        let arrives = self.flying.first_key_value().map(|((at, _), _)| *at);
        let due = self.due.first().map(|(at, _)| *at);
        let Some(next) = arrives.into_iter().chain(due).min().filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        if arrives == Some(next) {
            let ((_, _), (from, to, gossip)) = self.flying.pop_first().unwrap();
            let cut =
                self.cuts.contains(&(from, to)) || self.island.contains(&from) != self.island.contains(&to);
            let Some(index) = self.at.get(&to).copied().filter(|_| !cut) else { return true };
            let node = &mut self.nodes[index];
            if node.up && node.paused > self.now {
                self.count += 1;
                self.flying.insert((node.paused, self.count), (from, to, gossip));
            } else if node.up {
                node.swim.handle(self.now, from, gossip);
                self.settle(index);
            }
        } else {
            let (_, index) = *self.due.first().unwrap();
            self.nodes[index].swim.handle_timeout(self.now);
            self.nodes[index].due = None;
            self.due.pop_first();
            self.settle(index);
        }
        true
    }

    pub(super) fn run(&mut self, lasts: Duration) {
        let end = self.now + lasts;
        while self.step(end) {}
    }

    /// Runs until something holds, looking every 20 ms, for so long at most. How long it took.
    pub(super) fn until(&mut self, most: Duration, holds: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        while self.now - start < most {
            if holds(self) {
                return Some(self.now - start);
            }
            self.run(Duration::from_millis(20));
        }
        None
    }

    pub(super) fn up(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].up)
    }

    pub(super) fn sees(&self, one: usize, other: usize) -> Option<MemberState> {
        self.nodes[one].swim.get(self.id(other)).map(|member| member.state)
    }

    /// Every running node has every other alive, at its right address.
    pub(super) fn complete(&self) -> bool {
        let count = self.up().count();
        self.up().all(|one| {
            let swim = &self.nodes[one].swim;
            swim.live() == count
                && self.up().filter(|other| *other != one).all(|other| {
                    let member = swim.get(self.id(other));
                    member.is_some_and(|member| {
                        member.state == MemberState::Alive && member.addr == self.nodes[other].addr
                    })
                })
        })
    }

    /// Every running node has `gone` as dead, or not at all.
    pub(super) fn buried(&self, gone: usize) -> bool {
        self.up().all(|one| self.sees(one, gone).is_none_or(|state| state >= MemberState::Dead))
    }

    /// What was said of deaths, by whom.
    pub(super) fn deaths(&self) -> Vec<(usize, NodeId)> {
        let mut deaths = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for (_, output) in &node.said {
                if let Output::Dead(dead) = output {
                    deaths.push((index, *dead));
                }
            }
        }
        deaths
    }

    pub(super) fn conflicts(&self, index: usize) -> Vec<super::super::Conflict> {
        let said = self.nodes[index].said.iter();
        said.filter_map(|(_, output)| match output {
            Output::Conflict(conflict) => Some(conflict.clone()),
            _ => None,
        })
        .collect()
    }

    pub(super) fn counter(&self, index: usize, name: &str) -> u64 {
        self.nodes[index].swim.counters().find(|(counter, _)| *counter == name).unwrap().1
    }
}
