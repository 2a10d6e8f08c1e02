//! A small deterministic network of replicas with their state machines, and the checks that always run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, LogIndex, NodeId};
use haystack_wire::message::SnapshotId;
use haystack_wire::message::broadcast::{BroadcastMessage, Entry, EntryKind};
use haystack_wire::rng::Rng;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::super::{Broadcast, Config, Counters, ENTRY_OVERHEAD, Limits, Observed, Output, Role};
use crate::mutation::Mutations;

/// What goes wrong, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) loss: f64,
    pub(super) dup: f64,
    /// Longest delay of a message, in microseconds.
    pub(super) delay_us: u64,
    /// Keeps messages of one sender and receiver in order.
    pub(super) fifo: bool,
    /// Chance that a turn goes on before it is flushed.
    pub(super) lazy_flush: f64,
    /// Chance that a snapshot's transfer fails.
    pub(super) fetch_loss: f64,
}

impl Faults {
    pub(super) const NONE: Self =
        Self { loss: 0.0, dup: 0.0, delay_us: 1000, fifo: true, lazy_flush: 0.0, fetch_loss: 0.0 };
}

/// Limits so small that chunks, windows, gaps, compaction and snapshots happen within a few entries.
pub(super) fn tiny() -> Limits {
    let entries = |count: u64| count * (ENTRY_OVERHEAD + 8);
    Limits {
        chunk: entries(2),
        window: entries(8),
        gap: entries(6),
        inflight: entries(24),
        tail_min: entries(2),
        tail_lagging: entries(10),
        tail_transfer: entries(20),
        stage: entries(100),
        patience: Duration::from_secs(2),
        ..Limits::default()
    }
}

/// A replica with its state machine: the list of all values applied.
pub(super) struct Replica {
    pub(super) core: Broadcast,
    pub(super) state: Vec<u64>,
    frozen: Option<(SnapshotId, Vec<u64>)>,
    fetching: Option<(NodeId, SnapshotId)>,
    fetched: Option<(SnapshotId, Vec<u64>)>,
    seen: (Ballot, Ballot, LogIndex),
}

#[derive(Clone, Debug)]
enum Event {
    Deliver { from: usize, to: usize, message: BroadcastMessage },
    Seen { from: usize, to: usize, seen: Observed },
    Flush(usize),
    Frozen { node: usize, snapshot: SnapshotId },
    Fetched { node: usize, from: NodeId, snapshot: SnapshotId },
}

/// All replicas, what is on its way between them, and the one history that all must agree on.
pub(super) struct Net {
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) ids: Vec<NodeId>,
    pub(super) nodes: Vec<Option<Replica>>,
    pub(super) faults: Faults,
    /// `cut[from][to]`: nothing passes.
    pub(super) cut: Vec<Vec<bool>>,
    pub(super) canonical: Vec<u64>,
    pub(super) proposed: BTreeSet<u64>,
    /// Outgoing messages that match are kept here instead of sent.
    pub(super) hold: Option<fn(&BroadcastMessage) -> bool>,
    pub(super) held: Vec<(usize, usize, BroadcastMessage)>,
    pub(super) trace: u64,
    pub(super) steps: u64,
    config: Config,
    chains: Vec<u64>,
    queue: BTreeMap<(Instant, u64), Event>,
    last_arrival: BTreeMap<(usize, usize), Instant>,
    sequence: u64,
    top: u64,
    dead: Counted,
}

/// Sums of counters.
pub(super) type Counted = BTreeMap<&'static str, u64>;

pub(super) fn add(into: &mut Counted, counters: &Counters) {
    for (name, count) in counters.iter() {
        *into.entry(name).or_default() += count;
    }
}

pub(super) fn id(index: usize) -> NodeId {
    NodeId([index as u8 + 1; 16])
}

pub(super) fn ballot(n: u64, node: usize) -> Ballot {
    Ballot { n, priority: 0, node: id(node) }
}

/// Values from here on make stop-signs.
pub(super) const STOP: u64 = 1 << 60;

/// An entry of 8 to 39 bytes that carries `value`.
pub(super) fn entry(value: u64) -> Entry {
    let mut body = value.to_be_bytes().to_vec();
    body.resize(8 + (value % 32) as usize, 0);
    let kind = if value < STOP { EntryKind::Command } else { EntryKind::StopSign };
    Entry { kind, body: Bytes::from(body) }
}

pub(super) fn value(entry: &Entry) -> u64 {
    u64::from_be_bytes(entry.body[..8].try_into().expect("entries of this test begin with their value"))
}

impl Net {
    pub(super) fn new(seed: u64, count: usize, limits: Limits, mutations: Mutations) -> Self {
        let ids: Vec<NodeId> = (0..count).map(id).collect();
        let config = Config { me: ids[0], replicas: ids.clone(), limits, mutations };
        let mut net = Self {
            rng: Rng::from_u64(seed),
            now: Instant::from_nanos(1_000_000_000),
            nodes: Vec::new(),
            faults: Faults::NONE,
            cut: vec![vec![false; count]; count],
            canonical: Vec::new(),
            proposed: BTreeSet::new(),
            hold: None,
            held: Vec::new(),
            trace: seed,
            steps: 0,
            config,
            chains: vec![crate::digest::EMPTY],
            queue: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            sequence: 0,
            top: 0,
            dead: Counted::new(),
            ids,
        };
        net.nodes = (0..count).map(|node| Some(net.replica(node))).collect();
        net
    }

    fn replica(&self, node: usize) -> Replica {
        Replica {
            core: Broadcast::new(Config { me: self.ids[node], ..self.config.clone() }, self.now),
            state: Vec::new(),
            frozen: None,
            fetching: None,
            fetched: None,
            seen: Default::default(),
        }
    }

    pub(super) fn core(&self, node: usize) -> &Broadcast {
        &self.nodes[node].as_ref().expect("a live node").core
    }

    pub(super) fn live(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_some()).collect()
    }

    /// The process is gone for ever.
    pub(super) fn crash(&mut self, node: usize) {
        if let Some(replica) = self.nodes[node].take() {
            add(&mut self.dead, replica.core.counters());
        }
    }

    /// Forbidden: a process without memory under an old identity.
    pub(super) fn restart_without_memory(&mut self, node: usize) {
        self.nodes[node] = Some(self.replica(node));
    }

    pub(super) fn counted(&self) -> Counted {
        let mut sum = self.dead.clone();
        self.nodes.iter().flatten().for_each(|replica| add(&mut sum, replica.core.counters()));
        sum
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(1 + self.rng.below(self.faults.delay_us))
    }

    /// Calls a method of a replica, ends the turn (now or soon), and does what it puts out.
    pub(super) fn with<T>(
        &mut self,
        node: usize,
        call: impl FnOnce(&mut Broadcast, Instant) -> T,
    ) -> Option<T> {
        let now = self.now;
        let result = call(&mut self.nodes[node].as_mut()?.core, now);
        if self.rng.chance(self.faults.lazy_flush) {
            let at = now + self.delay();
            self.schedule(at, Event::Flush(node));
        } else {
            self.nodes[node].as_mut()?.core.flush(now);
        }
        self.drain(node);
        self.check(node);
        Some(result)
    }

    fn drain(&mut self, node: usize) {
        while let Some(replica) = &mut self.nodes[node] {
            let Some(output) = replica.core.poll_output() else { break };
            match output {
                Output::Send { to, message } => {
                    for to in to {
                        let to = self.ids.iter().position(|id| *id == to).expect("a replica");
                        self.send(node, to, message.clone());
                    }
                }
                Output::Decided { upto } => self.apply(node, upto),
                Output::Freeze => self.freeze(node),
                Output::Thaw { snapshot } => {
                    if replica.frozen.as_ref().is_some_and(|(id, _)| *id == snapshot) {
                        replica.frozen = None;
                    }
                }
                Output::Fetch { from, snapshot } => {
                    replica.fetching = Some((from, snapshot));
                    replica.fetched = None;
                    let at = self.now + self.delay() * 10;
                    self.schedule(at, Event::Fetched { node, from, snapshot });
                }
                Output::Install { snapshot } => {
                    let (id, state) = replica.fetched.take().expect("only what was fetched is installed");
                    assert_eq!(id, snapshot);
                    assert_eq!(replica.core.applied(), snapshot.index);
                    assert!(state.len() > replica.state.len(), "a snapshot never takes the state back");
                    replica.state = state;
                    self.agree(node, 0);
                }
                Output::Role(role) => assert_eq!(role, replica.core.role()),
            }
        }
    }

    /// UTOB2-5: what is applied was proposed, once, and is the same everywhere, in the same order.
    fn agree(&mut self, node: usize, from: usize) {
        let state = &self.nodes[node].as_ref().expect("a live node").state;
        for (index, value) in state.iter().enumerate().skip(from) {
            match self.canonical.get(index) {
                Some(known) => assert_eq!(known, value, "agreement at index {index}, node {node}"),
                None => {
                    assert_eq!(self.canonical.len(), index);
                    assert!(
                        self.canonical.last().is_none_or(|last| *last < STOP),
                        "nothing follows a stop-sign"
                    );
                    assert!(self.proposed.contains(value), "no creation: {value}");
                    assert!(!self.canonical.contains(value), "no duplication: {value}");
                    self.canonical.push(*value);
                    self.chains.push(crate::digest::chain(self.chains[index], &entry(*value)));
                }
            }
        }
    }

    fn apply(&mut self, node: usize, upto: LogIndex) {
        let Some(replica) = &mut self.nodes[node] else { return };
        let from = replica.state.len();
        for index in from as u64..upto.0 {
            let entry =
                replica.core.entry(LogIndex(index)).expect("what is decided and not applied is there");
            replica.state.push(value(entry));
        }
        replica.core.applied_to(upto);
        self.agree(node, from);
    }

    fn freeze(&mut self, node: usize) {
        let Some(replica) = &mut self.nodes[node] else { return };
        let index = LogIndex(replica.state.len() as u64);
        assert_eq!(index, replica.core.applied());
        let bytes: Vec<u8> = replica.state.iter().flat_map(|value| value.to_be_bytes()).collect();
        let chain = replica.core.chain(index).expect("the log reaches back to what is applied");
        let snapshot = SnapshotId { index, digest: xxh3_128(&bytes), chain };
        replica.frozen = Some((snapshot, replica.state.clone()));
        if self.rng.chance(0.5) {
            replica.core.snapshot_frozen(self.now, snapshot);
            replica.core.flush(self.now);
        } else {
            let at = self.now + self.delay();
            self.schedule(at, Event::Frozen { node, snapshot });
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, message: BroadcastMessage) {
        assert_ne!(from, to, "nobody writes to himself");
        self.check_size(&message);
        if self.hold.is_some_and(|hold| hold(&message)) {
            self.held.push((from, to, message));
            return;
        }
        let copies = 1 + usize::from(self.rng.chance(self.faults.dup));
        for _ in 0..copies {
            if self.cut[from][to] || self.rng.chance(self.faults.loss) {
                continue;
            }
            let mut at = self.now + self.delay();
            if self.faults.fifo {
                let last = self.last_arrival.entry((from, to)).or_default();
                at = at.max(*last + Duration::from_nanos(1));
                *last = at;
            }
            self.schedule(at, Event::Deliver { from, to, message: message.clone() });
        }
    }

    /// Rule 10.
    fn check_size(&self, message: &BroadcastMessage) {
        let (BroadcastMessage::Accept { entries, .. }
        | BroadcastMessage::Sync { entries, .. }
        | BroadcastMessage::PullReply { entries, .. }) = message
        else {
            return;
        };
        let weight: u64 = entries.iter().map(|entry| entry.body.len() as u64 + ENTRY_OVERHEAD).sum();
        assert!(entries.len() <= 1 || weight <= self.config.limits.chunk, "rule 10");
    }

    /// BAL, LOG, MEM.
    fn check(&mut self, node: usize) {
        let Some(replica) = &mut self.nodes[node] else { return };
        let core = &replica.core;
        let seen = (core.promised(), core.accepted_round(), core.decided());
        assert!(seen.0 >= replica.seen.0, "a promise never goes back");
        assert!(seen.1 >= replica.seen.1, "an accepted round never goes back");
        assert!(seen.2 >= replica.seen.2, "what is decided stays decided");
        replica.seen = seen;
        assert_eq!(replica.state.len() as u64, core.applied().0);
        if let (Some(chain), Some(known)) =
            (core.chain(core.decided()), self.chains.get(core.decided().0 as usize))
        {
            assert_eq!(chain, *known, "decided logs have one chain");
        }
        let limits = &self.config.limits;
        let kept: u64 = (core.compacted().0..core.applied().0)
            .filter_map(|index| core.entry(LogIndex(index)))
            .map(|entry| entry.body.len() as u64 + ENTRY_OVERHEAD)
            .sum();
        assert!(kept <= limits.tail_transfer.max(limits.tail_lagging), "the applied tail is bounded");
        self.trace = xxh3_64_with_seed(format!("{:?}", (node, seen, core.len())).as_bytes(), self.trace);
    }

    /// Proposes `value` at `node`, if it leads.
    pub(super) fn propose(&mut self, node: usize, value: u64) -> bool {
        self.proposed.insert(value);
        self.with(node, |core, _| core.propose(entry(value))).is_some_and(|result| result.is_ok())
    }

    /// A ballot above all before.
    pub(super) fn next_ballot(&mut self, node: usize) -> Ballot {
        self.top += 1;
        ballot(self.top, node)
    }

    pub(super) fn lead(&mut self, node: usize) {
        let ballot = self.next_ballot(node);
        self.with(node, |core, now| core.lead(now, ballot));
    }

    /// What a heartbeat of `from` tells `to`.
    pub(super) fn heartbeat(&mut self, from: usize, to: usize) {
        let Some(replica) = &self.nodes[from] else { return };
        let core = &replica.core;
        let seen = Observed {
            promised: core.promised(),
            accepted_round: core.accepted_round(),
            len: core.len(),
            decided: core.decided(),
        };
        if !self.cut[from][to] && !self.rng.chance(self.faults.loss) {
            let at = self.now + self.delay();
            self.schedule(at, Event::Seen { from, to, seen });
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => {
                let from = self.ids[from];
                self.with(to, |core, now| core.handle_message(now, from, message));
            }
            Event::Seen { from, to, seen } => {
                let from = self.ids[from];
                self.with(to, |core, now| core.observe(now, from, seen));
            }
            Event::Flush(node) => {
                self.with(node, |core, now| core.flush(now));
            }
            Event::Frozen { node, snapshot } => {
                self.with(node, |core, now| core.snapshot_frozen(now, snapshot));
            }
            Event::Fetched { node, from, snapshot } => self.fetched(node, from, snapshot),
        }
    }

    fn fetched(&mut self, node: usize, from: NodeId, snapshot: SnapshotId) {
        let source = self.ids.iter().position(|id| *id == from).expect("a replica");
        let reachable = !self.cut[source][node] && !self.cut[node][source];
        let lost = !reachable || self.rng.chance(self.faults.fetch_loss);
        let frozen = self.nodes[source].as_ref().and_then(|replica| replica.frozen.clone());
        let Some(replica) = &mut self.nodes[node] else { return };
        if replica.fetching != Some((from, snapshot)) {
            return;
        }
        replica.fetching = None;
        match frozen.filter(|(id, _)| *id == snapshot && !lost) {
            Some(frozen) => {
                replica.fetched = Some(frozen);
                self.with(node, |core, now| core.snapshot_fetched(now, snapshot));
            }
            None => {
                self.with(node, |core, now| core.snapshot_lost(now, snapshot));
            }
        }
    }

    /// Lets everything happen that happens until `until`.
    pub(super) fn run_until(&mut self, until: Instant) {
        loop {
            let timer =
                self.live().into_iter().filter_map(|node| Some((self.core(node).poll_timeout()?, node)));
            let timer = timer.min();
            let event = self.queue.first_key_value().map(|(key, _)| *key);
            let at = timer.map(|(at, _)| at).into_iter().chain(event.map(|(at, _)| at)).min();
            let Some(at) = at.filter(|at| *at <= until) else { break };
            self.steps += 1;
            self.now = self.now.max(at);
            match (timer, event) {
                (Some((due, node)), _) if due <= at => {
                    self.with(node, |core, now| core.handle_timeout(now));
                }
                (_, Some(key)) => {
                    let event = self.queue.remove(&key).expect("just seen");
                    self.handle(event);
                }
                _ => break,
            }
        }
        self.now = self.now.max(until);
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// The ready leader with the highest ballot, if it is also the highest promise anywhere.
    pub(super) fn leader(&self) -> Option<usize> {
        let live = self.live();
        let top = live.iter().map(|node| self.core(*node).promised()).max()?;
        live.into_iter().find(|node| self.core(*node).role() == Role::Leader { ballot: top, ready: true })
    }

    /// Gives `to` a message of `from`, now.
    pub(super) fn deliver(&mut self, from: usize, to: usize, message: BroadcastMessage) {
        self.handle(Event::Deliver { from, to, message });
    }
}
