//! Membership by gossip: SWIM with Lifeguard.
//!
//! Every node probes one member each second, in an order that changes with every round; who does not answer three
//! direct tries nor three others' is suspected, and declared dead unless it refutes. News ride on the back of what is
//! sent anyway, and on rounds of gossip while there are any. What gossip misses, a comparison of hashes finds. Dead
//! members and seeds are asked for ever whether they are back, so that the parts of a cluster always find together.
//!
//! Nothing here changes a group's voters: a suspicion is a hint.

mod config;
mod merge;
mod output;
mod probe;
mod queue;
mod succession;
mod sync;
mod table;
mod timers;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use haystack_wire::Instant;
use haystack_wire::codec::Encode as _;
use haystack_wire::ids::{Boot, ClusterId, NodeId};
use haystack_wire::message::membership::{
    Accused, Beacon, GOSSIP_LIMIT, Gossip, GossipBody, Member, MemberState, UPDATES_LIMIT, Update,
};
use haystack_wire::rng::Rng;

pub use config::*;
use output::Counters;
pub use output::{Conflict, Output};
use probe::Flight;
use queue::Queue;
use sync::Sync;
use table::{Record, Table};
use timers::{Timer, Timers};

/// A call of `handle_timeout` that is this late comes from a process that stood still.
const STOOD_STILL: Duration = Duration::from_millis(250);

/// One node's view of who is in its cluster.
pub struct Swim {
    me: Member,
    cluster: ClusterId,
    founders_hash: u64,
    succeeds: Vec<NodeId>,
    timing: Timing,
    rng: Rng,
    table: Table,
    queue: Queue,
    timers: Timers,
    flights: BTreeMap<u64, Flight>,
    next_flight: u64,
    /// Probes for others and of predecessors among the flights.
    relays: usize,
    successions: usize,
    /// Testimonies that answers refuted: who answered, and its successor that is none.
    refuted: VecDeque<(NodeId, NodeId)>,
    health: u32,
    beacon: Beacon,
    /// How often the beacon is still to be sent for its own sake.
    beacon_sends: u32,
    gossiping: bool,
    sync: Sync,
    /// Pairs of one name, and when to look at them again.
    doubles: VecDeque<(Instant, NodeId, NodeId)>,
    reported: BTreeSet<Conflict>,
    /// Rounds that are left of saying farewell.
    leaving: Option<u32>,
    silent: bool,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl core::fmt::Debug for Swim {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Swim").field("me", &self.me).field("live", &self.live()).finish_non_exhaustive()
    }
}

impl Swim {
    /// A node of `config.cluster` that knows nobody yet, and joins through its seeds.
    pub fn new(config: Config, now: Instant, mut rng: Rng) -> Self {
        let Config { node, boot, addr, versions, mut name, mut meta, .. } = config;
        meta.cut();
        let mut end = name.len().min(haystack_wire::message::directory::NAME_LIMIT);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        let state = MemberState::Alive;
        let me = Member { node, boot, incarnation: 0, state, addr, versions, name, meta };
        let mut swim = Self {
            table: Table::new(Accused { node, boot, incarnation: 0 }),
            me,
            cluster: config.cluster,
            founders_hash: config.founders_hash,
            succeeds: config.succeeds,
            // Answers to an earlier life must not count.
            next_flight: rng.u64() >> 32,
            rng,
            queue: Queue::default(),
            timers: Timers::default(),
            flights: BTreeMap::new(),
            relays: 0,
            successions: 0,
            refuted: VecDeque::new(),
            health: 0,
            beacon: Beacon::default(),
            beacon_sends: 0,
            gossiping: false,
            sync: Sync::default(),
            doubles: VecDeque::new(),
            reported: BTreeSet::new(),
            leaving: None,
            silent: false,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            timing: config.timing,
        };
        swim.set_seeds(now, config.seeds);
        let Timing { period, digest_period, ask_period, .. } = swim.timing;
        // Each at a random phase, so that nodes that start together do not all speak at once.
        for (timer, period) in
            [(Timer::Probe, period), (Timer::Digest, digest_period), (Timer::Ask, ask_period)]
        {
            let due = now + swim.share(period);
            swim.timers.set(due, timer);
        }
        swim.timers.set(now, Timer::Join);
        swim
    }

    fn share(&mut self, of: Duration) -> Duration {
        of.mul_f64(self.rng.below(1 << 20) as f64 / f64::from(1 << 20))
    }

    /// A gossip from a datagram or a link.
    pub fn handle(&mut self, now: Instant, from_addr: SocketAddr, gossip: Gossip) {
        if self.silent {
            self.counters.drop_silent += 1;
            return;
        }
        let from = gossip.from;
        match gossip.cluster {
            Some(cluster) if cluster != self.cluster => {
                self.counters.drop_cluster += 1;
                return;
            }
            None => {
                self.on_outsider(from_addr, &gossip);
                return;
            }
            Some(_) => {}
        }
        if from == self.me.node {
            self.counters.drop_self += 1;
            // A seed may be this node's own address by another name, and a predecessor's is its own.
            if from_addr != self.me.addr && !matches!(gossip.body, GossipBody::Join { .. }) {
                self.report(Conflict::Identity { node: from, addr: from_addr });
            }
            return;
        }
        self.counters.received += 1;
        self.sync.heard = Some(now);
        self.sync.lonely = false;
        self.hear_beacon(now, from, &gossip.beacon);
        let question = match gossip.body {
            GossipBody::Join { .. } => gossip.encoded_len(),
            _ => 0,
        };
        let stranger = self.table.get(from).is_none() && Self::may_be_invited(&gossip);
        for update in gossip.updates {
            self.learn(now, from, update);
        }
        if stranger {
            self.invite(from, from_addr);
        }
        self.on_body(now, from, from_addr, gossip.body, question);
    }

    fn on_body(
        &mut self,
        now: Instant,
        from: NodeId,
        from_addr: SocketAddr,
        body: GossipBody,
        question: usize,
    ) {
        match body {
            GossipBody::Ping { sequence, target } => self.on_ping(now, from, from_addr, sequence, target),
            GossipBody::Ack { sequence, of } => self.on_ack(now, from, sequence, of),
            GossipBody::PingReq { sequence, target, addr } => {
                self.on_ping_req(now, from, from_addr, sequence, target, addr);
            }
            GossipBody::Nack { sequence } => self.on_nack(from, sequence),
            GossipBody::Join { succeeds, founders_hash, .. } => {
                self.on_join(now, from, from_addr, &succeeds, founders_hash, question);
            }
            GossipBody::Digest { hash } => self.on_digest(now, from, hash),
            GossipBody::Buckets { hashes } => self.on_buckets(now, from, &hashes),
            GossipBody::Entries { parts, entries } => self.on_entries(now, from, parts, &entries),
            GossipBody::Pull { nodes } => self.on_pull(now, from, &nodes),
            GossipBody::Delta | GossipBody::Leave => {}
        }
    }

    /// What became due. A call too early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = self.timers.first().map_or(Duration::ZERO, |due| now.saturating_since(due));
        if late >= STOOD_STILL {
            for (node, next) in self.timers.postpone(late) {
                let suspicion = self.table.get_mut(node).and_then(|record| record.suspicion.as_mut());
                if let Some(suspicion) = suspicion {
                    suspicion.next = next;
                    suspicion.deadline += late;
                }
            }
        }
        while let Some(timer) = self.timers.due(now) {
            match timer {
                Timer::Probe => self.probe_next(now),
                Timer::Gossip => self.gossip(now),
                Timer::Digest => self.compare(now),
                Timer::Resync => self.resync(now),
                Timer::Ask => self.ask(now),
                Timer::Join => self.join(now),
                Timer::Names => self.look_at_names(now),
                Timer::Leave => self.say_farewell(now),
                Timer::Flight(id) => self.on_flight_due(now, id),
                Timer::Suspicion(node) => self.on_suspicion_due(now, node),
            }
        }
    }

    /// When `handle_timeout` is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first()
    }

    /// The next thing to do or know.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// This node as it describes itself.
    pub fn me(&self) -> &Member {
        &self.me
    }

    /// All other members that are not known to have left, the dead ones among them, by identity.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.table.iter().map(|record| &record.member)
    }

    /// A member other than this node, if it is not known to have left.
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.table.get(node).map(|record| &record.member)
    }

    /// Whether a process left, or is proven to have ended, not long ago.
    pub fn has_ended(&self, node: NodeId) -> bool {
        self.table.tombstone(node).is_some()
    }

    /// Live members, this node and suspects among them.
    pub fn live(&self) -> usize {
        self.table.live() + 1
    }

    /// The local health multiplier: 0 if this node's own probes and answers are in time, 8 at worst.
    pub fn health(&self) -> u32 {
        self.health
    }

    /// All that is known of the directory group.
    pub fn beacon(&self) -> Beacon {
        self.beacon
    }

    /// This node's own knowledge of the directory group; what is newer is spread at once.
    pub fn set_beacon(&mut self, now: Instant, beacon: Beacon) {
        if self.beacon.merge(&beacon) {
            self.spread_beacon(now);
        }
    }

    fn hear_beacon(&mut self, now: Instant, from: NodeId, beacon: &Beacon) {
        if self.beacon.merge(beacon) {
            self.outputs.push_back(Output::Beacon { beacon: self.beacon, from });
            self.spread_beacon(now);
        }
    }

    fn spread_beacon(&mut self, now: Instant) {
        self.beacon_sends = self.timing.sends_among(self.live());
        self.start_gossip(now);
    }

    /// The addresses to join at, anew. At most [`SEEDS_MOST`] count.
    pub fn set_seeds(&mut self, now: Instant, mut seeds: Vec<SocketAddr>) {
        seeds.truncate(SEEDS_MOST);
        let new = seeds.iter().any(|seed| !self.sync.seeds.contains(seed));
        self.sync.seeds = seeds;
        if new && self.wants_seeds() {
            self.start_joining(now);
        }
    }

    /// This node's own address changed.
    pub fn set_addr(&mut self, now: Instant, addr: SocketAddr) {
        if self.me.addr != addr {
            self.me.addr = addr;
            self.raise_incarnation(now, self.me.incarnation);
        }
    }

    /// Says farewell to a few members, several times, and is silent afterwards.
    pub fn leave(&mut self, now: Instant) {
        if self.leaving.is_none() && !self.silent {
            self.me.state = MemberState::Left;
            self.leaving = Some(self.timing.leave_rounds);
            self.say_farewell(now);
        }
    }

    fn say_farewell(&mut self, now: Instant) {
        let left = self.leaving.unwrap_or(0);
        if left == 0 {
            self.silent = true;
            self.timers.clear();
            self.flights.clear();
            return;
        }
        self.leaving = Some(left - 1);
        for node in self.table.next_live(self.timing.gossip_fanout) {
            // Once over the link; later rounds reach those that have none, or whose link is slow.
            let reliable = left == self.timing.leave_rounds;
            let updates = vec![Update::Left { whom: self.own() }];
            self.tell(node, GossipBody::Leave, updates, reliable);
        }
        self.timers.set(now + self.timing.gossip_period, Timer::Leave);
    }

    /// `node` is proven to have ended, whatever it says: a successor testified, or the directory recorded it.
    pub fn gone(&mut self, now: Instant, node: NodeId) {
        if node == self.me.node {
            return;
        }
        let whom = self.table.get(node).map(Record::accused);
        let whom = whom.unwrap_or(Accused { node, boot: Boot(0), incarnation: 0 });
        self.end(now, whom, true);
    }

    /// Whether `node` left, or is proven to have ended, within a day.
    pub fn remembers_end_of(&self, node: NodeId) -> bool {
        self.table.tombstone(node).is_some()
    }

    /// Whether `node` is proven to have ended.
    pub fn is_proven_gone(&self, node: NodeId) -> bool {
        self.table.tombstone(node).is_some_and(|tombstone| tombstone.proven)
    }

    /// What the link to `node` measured.
    pub fn link_state(&mut self, node: NodeId, srtt: Duration, rttvar: Duration) {
        if let Some(record) = self.table.get_mut(node) {
            record.path = Some((srtt, rttvar));
            record.linked = true;
        }
    }

    /// Whether this node hears nobody, so that the names of its seeds should be resolved again.
    pub fn wants_seeds(&self) -> bool {
        !self.silent && (self.sync.lonely || self.table.live() == 0)
    }

    /// Counters by name.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        self.counters.iter()
    }

    fn own(&self) -> Accused {
        Accused { node: self.me.node, boot: self.me.boot, incarnation: self.me.incarnation }
    }

    fn report(&mut self, conflict: Conflict) {
        if self.reported.contains(&conflict) {
            return;
        }
        if self.reported.len() == REPORTED_MOST {
            self.reported.pop_first();
        }
        self.reported.insert(conflict.clone());
        self.outputs.push_back(Output::Conflict(conflict));
    }

    fn start_gossip(&mut self, now: Instant) {
        if !self.gossiping && self.leaving.is_none() {
            self.gossiping = true;
            self.timers.set(now + self.timing.gossip_period, Timer::Gossip);
        }
    }

    fn spread(&mut self, now: Instant, update: Update) {
        self.queue.push(update);
        self.start_gossip(now);
    }

    fn gossip(&mut self, now: Instant) {
        self.gossiping = false;
        let some = self.table.next_live(self.timing.gossip_fanout);
        // With nobody there the news wait for somebody.
        if some.is_empty() || self.leaving.is_some() {
            return;
        }
        for node in some {
            if self.queue.is_empty() && self.beacon_sends == 0 {
                return;
            }
            self.beacon_sends = self.beacon_sends.saturating_sub(1);
            self.tell(node, GossipBody::Delta, Vec::new(), false);
        }
        if !self.queue.is_empty() || self.beacon_sends > 0 {
            self.start_gossip(now);
        }
    }

    /// To a member at its own address, with what else there is to say.
    fn tell(&mut self, node: NodeId, body: GossipBody, updates: Vec<Update>, reliable: bool) {
        let Some(record) = self.table.get(node) else { return };
        let (to, state) = (record.member.addr, record.member.state);
        let mut gossip = self.compose(body, updates);
        self.load(&mut gossip, state);
        self.send(to, Some(node), gossip, reliable);
    }

    fn compose(&self, body: GossipBody, updates: Vec<Update>) -> Gossip {
        Gossip { cluster: Some(self.cluster), from: self.me.node, beacon: self.beacon, body, updates }
    }

    /// To one that is no member, or not there: without the word of the directory, which has any length, so that no
    /// answer is longer than its question.
    fn send_stranger(&mut self, to: SocketAddr, node: NodeId, body: GossipBody, updates: Vec<Update>) {
        let beacon = Beacon::default();
        let gossip = Gossip { cluster: Some(self.cluster), from: self.me.node, beacon, body, updates };
        self.send(to, Some(node), gossip, false);
    }

    /// Puts as many news on the back of `gossip` as fit, to one that is in this `state`.
    fn load(&mut self, gossip: &mut Gossip, state: MemberState) {
        if self.queue.is_empty() || state >= MemberState::Dead {
            return;
        }
        let room = GOSSIP_LIMIT.saturating_sub(gossip.encoded_len());
        // From 64 on, their count takes a second byte.
        let count = (UPDATES_LIMIT - 1).saturating_sub(gossip.updates.len());
        // What one is told that may have ended counts as told to nobody: among three, all the sends of an accusation
        // would be spent on the accused.
        let sends = (state == MemberState::Alive).then(|| self.timing.sends_among(self.live()));
        self.queue.take(room, count, sends, &mut gossip.updates);
    }

    fn send(&mut self, to: SocketAddr, node: Option<NodeId>, gossip: Gossip, reliable: bool) {
        debug_assert!(gossip.encoded_len() <= GOSSIP_LIMIT);
        self.counters.sent += 1;
        self.outputs.push_back(Output::Send { to, node, gossip, reliable });
    }
}

#[cfg(test)]
mod tests;
