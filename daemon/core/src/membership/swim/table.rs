//! The members that are known, in every order that is asked for without going through all of them.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use haystack_wire::Instant;
use haystack_wire::ids::{Boot, NodeId};
use haystack_wire::message::membership::{Accused, BUCKETS, DigestEntry, Member, MemberState};
use haystack_wire::rng::Rng;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::config::{DEAD_MOST, TOMBSTONES_MOST};

/// A suspicion under way.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    /// When the suspect is told next, or the deadline.
    pub(super) next: Instant,
    /// Who accuses, the first one first.
    pub(super) accusers: Vec<NodeId>,
}

/// A member with what this node alone knows of it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) member: Member,
    /// When it got into its state.
    pub(super) since: Instant,
    pub(super) suspicion: Option<Suspicion>,
    /// Smoothed round trip time and its variation: the link's, if there is one.
    pub(super) path: Option<(Duration, Duration)>,
    /// Whether `path` is a link's.
    pub(super) linked: bool,
    /// Probes of it under way.
    pub(super) flights: Vec<u64>,
    in_order: bool,
}

impl Record {
    pub(super) fn live(&self) -> bool {
        self.member.state <= MemberState::Suspect
    }

    pub(super) fn accused(&self) -> Accused {
        let Member { node, boot, incarnation, .. } = self.member;
        Accused { node, boot, incarnation }
    }
}

/// What is left of a member that left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tombstone {
    pub(super) boot: Boot,
    pub(super) incarnation: u64,
    pub(super) until: Instant,
    /// Proven to have ended: no later life of it is believed either.
    pub(super) proven: bool,
}

/// The part of a digest that a member is in.
pub(super) fn part_of(node: NodeId) -> usize {
    usize::from(node.0[0] >> 2)
}

fn hash_of(whom: Accused) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&whom.node.0);
    hash.update(&whom.boot.0.to_be_bytes());
    hash.update(&whom.incarnation.to_be_bytes());
    hash.digest()
}

/// All other members, and the tombstones.
pub(super) struct Table {
    records: BTreeMap<NodeId, Record>,
    live: usize,
    /// Dead members by the time of their death.
    dead: BTreeSet<(Instant, NodeId)>,
    tombstones: BTreeMap<NodeId, Tombstone>,
    tombstones_by_age: BTreeSet<(Instant, NodeId)>,
    addrs: BTreeMap<SocketAddr, NodeId>,
    names: BTreeSet<(String, NodeId)>,
    /// Live members in the order of their probes, and some that died since it was made.
    order: Vec<NodeId>,
    next: usize,
    /// Where the next round of gossip goes on.
    gossip: usize,
    stale: usize,
    /// Exclusive or over the live members of each part, this node among them.
    hashes: [u64; BUCKETS],
}

impl Table {
    pub(super) fn new(me: Accused) -> Self {
        let mut table = Self {
            records: BTreeMap::new(),
            live: 0,
            dead: BTreeSet::new(),
            tombstones: BTreeMap::new(),
            tombstones_by_age: BTreeSet::new(),
            addrs: BTreeMap::new(),
            names: BTreeSet::new(),
            order: Vec::new(),
            next: 0,
            gossip: 0,
            stale: 0,
            hashes: [0; BUCKETS],
        };
        table.toggle(me);
        table
    }

    /// Takes a live member into its part's hash, or out of it.
    pub(super) fn toggle(&mut self, whom: Accused) {
        self.hashes[part_of(whom.node)] ^= hash_of(whom);
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Record> {
        self.records.get(&node)
    }

    /// For what no other order depends on: path, flights, suspicion.
    pub(super) fn get_mut(&mut self, node: NodeId) -> Option<&mut Record> {
        self.records.get_mut(&node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// How many live members there are.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn is_live_addr(&self, addr: SocketAddr) -> bool {
        self.addrs.contains_key(&addr)
    }

    /// Another live member with the name of `member`.
    pub(super) fn twin(&self, member: &Member) -> Option<NodeId> {
        let mut bearers = self.names.range((member.name.clone(), NodeId::default())..).take(2);
        let other = bearers.find(|(_, node)| *node != member.node)?;
        Some(other.1).filter(|_| other.0 == member.name)
    }

    pub(super) fn hashes(&self) -> &[u64; BUCKETS] {
        &self.hashes
    }

    /// One hash over all parts.
    pub(super) fn hash(&self) -> u64 {
        let mut bytes = [0; BUCKETS * 8];
        for (chunk, hash) in bytes.chunks_exact_mut(8).zip(self.hashes) {
            chunk.copy_from_slice(&hash.to_be_bytes());
        }
        xxh3_64(&bytes)
    }

    /// Records of one part of a digest.
    pub(super) fn part(&self, part: usize) -> impl Iterator<Item = &Record> {
        self.records.range(range_of(part)).map(|(_, record)| record)
    }

    /// Tombstones of one part of a digest.
    pub(super) fn tombstones_in(&self, part: usize) -> impl Iterator<Item = DigestEntry> {
        self.tombstones.range(range_of(part)).map(|(node, tombstone)| DigestEntry {
            node: *node,
            boot: tombstone.boot,
            incarnation: tombstone.incarnation,
            state: MemberState::Left,
        })
    }

    /// A new live member.
    pub(super) fn insert(&mut self, now: Instant, member: Member, rng: &mut Rng) {
        let node = member.node;
        let record = Record {
            member,
            since: now,
            suspicion: None,
            path: None,
            linked: false,
            flights: Vec::new(),
            in_order: false,
        };
        self.link(record, rng);
        debug_assert!(self.records.contains_key(&node));
    }

    /// Changes a member in whatever way.
    pub(super) fn change(
        &mut self,
        now: Instant,
        node: NodeId,
        rng: &mut Rng,
        how: impl FnOnce(&mut Member),
    ) {
        let Some(mut record) = self.unlink(node) else { return };
        let before = record.member.state;
        how(&mut record.member);
        if record.member.state != before {
            record.since = now;
        }
        self.link(record, rng);
        if self.dead.len() > DEAD_MOST
            && let Some((_, oldest)) = self.dead.first().copied()
        {
            self.unlink(oldest);
        }
    }

    fn unlink(&mut self, node: NodeId) -> Option<Record> {
        let record = self.records.remove(&node)?;
        if record.live() {
            self.live -= 1;
            self.toggle(record.accused());
            if self.addrs.get(&record.member.addr) == Some(&node) {
                self.addrs.remove(&record.member.addr);
            }
            self.names.remove(&(record.member.name.clone(), node));
            self.stale += usize::from(record.in_order);
        } else {
            self.dead.remove(&(record.since, node));
        }
        Some(record)
    }

    fn link(&mut self, mut record: Record, rng: &mut Rng) {
        let node = record.member.node;
        if record.live() {
            self.live += 1;
            self.toggle(record.accused());
            self.addrs.insert(record.member.addr, node);
            if !record.member.name.is_empty() {
                self.names.insert((record.member.name.clone(), node));
            }
            if record.in_order {
                self.stale -= 1;
            } else {
                record.in_order = true;
                let at = rng.below(self.order.len() as u64 + 1) as usize;
                self.order.push(node);
                let last = self.order.len() - 1;
                self.order.swap(at, last);
            }
        } else {
            self.dead.insert((record.since, node));
        }
        self.records.insert(node, record);
        if self.stale * 2 > self.order.len() {
            self.tidy();
        }
    }

    /// Takes those that died out of the order.
    fn tidy(&mut self) {
        let before = self.order.len();
        let passed = core::mem::take(&mut self.next);
        let old = core::mem::take(&mut self.order);
        for node in &old {
            self.records.entry(*node).and_modify(|record| record.in_order = false);
        }
        for (at, node) in old.into_iter().enumerate() {
            let Some(record) = self.records.get_mut(&node) else { continue };
            // One that was forgotten and met again is there twice.
            if record.live() && !record.in_order {
                record.in_order = true;
                self.next += usize::from(at < passed);
                self.order.push(node);
            }
        }
        debug_assert!(self.order.len() <= before);
        self.stale = 0;
    }

    /// The next member to probe: each once before any twice, in an order that changes with every round.
    pub(super) fn next_target(&mut self, rng: &mut Rng) -> Option<NodeId> {
        for _ in 0..2 {
            while let Some(node) = self.order.get(self.next).copied() {
                self.next += 1;
                if self.records.get(&node).is_some_and(|record| record.live() && record.flights.is_empty()) {
                    return Some(node);
                }
            }
            self.tidy();
            self.next = 0;
            for at in (1..self.order.len()).rev() {
                self.order.swap(at, rng.below(at as u64 + 1) as usize);
            }
        }
        None
    }

    /// Up to `count` live members, everybody in turn: draws would leave out some in a small cluster.
    pub(super) fn next_live(&mut self, count: usize) -> Vec<NodeId> {
        let mut some = Vec::new();
        // At least half of the order is live.
        for _ in 0..self.order.len().min(4 * count + 8) {
            self.gossip = (self.gossip + 1) % self.order.len();
            let node = self.order[self.gossip];
            if some.len() < count && self.records.get(&node).is_some_and(Record::live) {
                some.push(node);
            }
            if some.len() == count {
                break;
            }
        }
        some
    }

    /// Up to `count` live members at random, none of them `except`.
    pub(super) fn some_live(&self, rng: &mut Rng, count: usize, except: Option<NodeId>) -> Vec<NodeId> {
        let mut some = Vec::new();
        if self.order.is_empty() {
            return some;
        }
        // At least half of the order is live. In a small cluster, draws repeat.
        for _ in 0..8 * count {
            let node = self.order[rng.below(self.order.len() as u64) as usize];
            let live = self.records.get(&node).is_some_and(Record::live);
            if live && Some(node) != except && !some.contains(&node) {
                some.push(node);
                if some.len() == count {
                    break;
                }
            }
        }
        some
    }

    /// The first dead member after the one at `after` that nobody took the place of, in a round; looks at so many.
    pub(super) fn next_dead(&self, after: (Instant, NodeId), looks: usize) -> Option<(Instant, NodeId)> {
        use core::ops::Bound::{Excluded, Unbounded};
        let rest = self.dead.range((Excluded(after), Unbounded));
        rest.chain(&self.dead).take(looks).find(|(_, node)| self.is_alone(*node)).copied()
    }

    fn is_alone(&self, node: NodeId) -> bool {
        self.records.get(&node).is_some_and(|record| !self.is_live_addr(record.member.addr))
    }

    pub(super) fn tombstone(&self, node: NodeId) -> Option<&Tombstone> {
        self.tombstones.get(&node)
    }

    /// Takes a member out, and remembers for a while that it ended.
    pub(super) fn bury(&mut self, node: NodeId, tombstone: Tombstone) -> Option<Record> {
        self.exhume(node);
        self.tombstones.insert(node, tombstone);
        self.tombstones_by_age.insert((tombstone.until, node));
        if self.tombstones.len() > TOMBSTONES_MOST
            && let Some((_, oldest)) = self.tombstones_by_age.first().copied()
        {
            self.exhume(oldest);
        }
        let record = self.unlink(node);
        if self.stale * 2 > self.order.len() {
            self.tidy();
        }
        record
    }

    /// A new life begins.
    pub(super) fn exhume(&mut self, node: NodeId) {
        if let Some(tombstone) = self.tombstones.remove(&node) {
            self.tombstones_by_age.remove(&(tombstone.until, node));
        }
    }

    /// Forgets tombstones whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((until, node)) = self.tombstones_by_age.first().copied()
            && until <= now
        {
            self.exhume(node);
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.records.len(), self.dead.len(), self.tombstones.len(), self.order.len()]
    }
}

fn range_of(part: usize) -> core::ops::RangeInclusive<NodeId> {
    let (mut low, mut high) = ([0; 16], [0xff; 16]);
    low[0] = (part as u8) << 2;
    high[0] = low[0] | 3;
    NodeId(low)..=NodeId(high)
}
