//! Joining, comparing with others what is known, and asking the lost whether they are back.

use core::net::SocketAddr;
use std::collections::BTreeSet;

use haystack_wire::Instant;
use haystack_wire::codec::Encode as _;
use haystack_wire::ids::NodeId;
use haystack_wire::message::directory::SUCCEEDS_LIMIT;
use haystack_wire::message::membership::{
    Accused, BUCKETS, DigestEntry, ENTRIES_LIMIT, GOSSIP_LIMIT, Gossip, GossipBody, MemberState, PULL_LIMIT,
    UPDATES_LIMIT, Update,
};

use super::Swim;
use super::config::{MEMBERS_MOST, PAGES_MOST, PAGES_PER_PERIOD};
use super::table::{Record, part_of};
use super::timers::Timer;

/// Seeds that are asked at once.
const SEEDS_AT_ONCE: usize = 3;
/// Attempts to join before they get rarer (judgement: nodes that start together are up within these).
const EAGER_TRIES: u32 = 20;
/// Comparisons that may change nothing before they wait for the next regular one: an answer may be lost.
const RESYNCS: u32 = 4;
/// Dead members that are looked at for one whose address nobody has taken.
const DEAD_LOOKS: usize = 32;
/// How long after joining what others tell is taken for known to everybody.
const SETTLING: core::time::Duration = core::time::Duration::from_secs(5);

/// How long after joining a node compares each second.
const YOUTH: core::time::Duration = core::time::Duration::from_secs(30);

/// How this node stands to the rest.
pub(super) struct Sync {
    pub(super) seeds: Vec<SocketAddr>,
    /// When anybody of the cluster was heard.
    pub(super) heard: Option<Instant>,
    /// Whether nobody was for a while.
    pub(super) lonely: bool,
    /// Since when somebody is known to know this node.
    joined: Option<Instant>,
    joining: bool,
    tries: u32,
    next_seed: usize,
    /// The dead member that was asked last.
    asked: (Instant, NodeId),
    asks: u64,
    resyncing: bool,
    /// Comparisons that changed nothing, and the hash that they found.
    fruitless: u32,
    hash: u64,
    /// Records sent in the period since then, in datagrams.
    pages: (Instant, u32),
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            seeds: Vec::new(),
            heard: None,
            lonely: true,
            joined: None,
            joining: true,
            tries: 0,
            next_seed: 0,
            asked: (Instant::ZERO, NodeId::default()),
            asks: 0,
            resyncing: false,
            fruitless: 0,
            hash: 0,
            pages: (Instant::ZERO, 0),
        }
    }
}

impl Sync {
    /// Somebody knows this node whom it knows too.
    pub(super) fn note_known(&mut self, now: Instant) {
        self.joined.get_or_insert(now);
    }

    pub(super) fn settled(&self, now: Instant) -> bool {
        self.joined.is_some_and(|since| now >= since + SETTLING)
    }
}

impl Swim {
    pub(super) fn start_joining(&mut self, now: Instant) {
        self.sync.tries = 0;
        if !self.sync.joining {
            self.sync.joining = true;
            self.timers.set(now, Timer::Join);
        }
    }

    /// Nobody is left: the cluster may have moved to where the seeds are now.
    pub(super) fn if_alone(&mut self, now: Instant) {
        if self.table.live() == 0 {
            self.sync.joined = None;
            self.start_joining(now);
        }
    }

    pub(super) fn join(&mut self, now: Instant) {
        if self.sync.joined.is_some() || self.leaving.is_some() {
            self.sync.joining = false;
            return;
        }
        for _ in 0..SEEDS_AT_ONCE.min(self.sync.seeds.len()) {
            if let Some(seed) = self.next_seed() {
                self.ask_to_join(seed);
            }
        }
        self.sync.tries += 1;
        let rarer = 1 << self.sync.tries.saturating_sub(EAGER_TRIES).min(8);
        let wait = (self.timing.join_period * rarer).min(self.timing.ask_period);
        self.timers.set(now + wait, Timer::Join);
    }

    /// The next seed where no live member is.
    fn next_seed(&mut self) -> Option<SocketAddr> {
        for _ in 0..self.sync.seeds.len() {
            self.sync.next_seed = (self.sync.next_seed + 1) % self.sync.seeds.len();
            let seed = self.sync.seeds[self.sync.next_seed];
            if seed != self.me.addr && (self.sync.joined.is_none() || !self.table.is_live_addr(seed)) {
                return Some(seed);
            }
        }
        None
    }

    fn ask_to_join(&mut self, seed: SocketAddr) {
        let join =
            |succeeds, padding| GossipBody::Join { succeeds, founders_hash: self.founders_hash, padding };
        let mut gossip = self.compose(join(Vec::new(), 0), vec![Update::Member(self.me.clone())]);
        let room = (GOSSIP_LIMIT - gossip.encoded_len()) / 16;
        // Two bytes are kept for their count and that of the padding.
        let most = room.saturating_sub(1).min(SUCCEEDS_LIMIT);
        let succeeds: Vec<_> = self.succeeds.iter().take(most).copied().collect();
        gossip.body = join(succeeds.clone(), 0);
        let padding = GOSSIP_LIMIT.saturating_sub(gossip.encoded_len() + 1);
        gossip.body = join(succeeds, padding as u16);
        self.send(seed, None, gossip, false);
    }

    /// A process without a cluster learns which one this is, and nothing else happens.
    pub(super) fn on_outsider(&mut self, from_addr: SocketAddr, gossip: &Gossip) {
        if matches!(gossip.body, GossipBody::Join { .. }) && gossip.from != self.me.node {
            self.answer_join(from_addr, gossip.from, gossip.encoded_len());
        } else {
            self.counters.drop_outsider += 1;
        }
    }

    fn answer_join(&mut self, to: SocketAddr, node: NodeId, question: usize) {
        let body = GossipBody::Digest { hash: self.table.hash() };
        let answer = self.compose(body, vec![Update::Member(self.me.clone())]);
        if answer.encoded_len() <= question {
            self.send(to, Some(node), answer, false);
        } else {
            self.counters.drop_amplified += 1;
        }
    }

    pub(super) fn on_join(
        &mut self,
        now: Instant,
        from: NodeId,
        from_addr: SocketAddr,
        succeeds: &[NodeId],
        founders_hash: u64,
        question: usize,
    ) {
        if founders_hash != 0 && self.founders_hash != 0 && founders_hash != self.founders_hash {
            self.counters.founders_differ += 1;
        }
        if self.table.get(from).is_none() {
            if self.table.tombstone(from).is_some() {
                self.remind(from, from_addr);
            }
            return;
        }
        self.succeeded(now, from, succeeds);
        self.answer_join(from_addr, from, question);
    }

    /// Tells a process that it counts as gone, in no more bytes than it sent.
    pub(super) fn remind(&mut self, node: NodeId, addr: SocketAddr) {
        let Some(tombstone) = self.table.tombstone(node) else { return };
        let whom = Accused { node, boot: tombstone.boot, incarnation: tombstone.incarnation };
        self.send_stranger(addr, node, GossipBody::Delta, vec![Update::Left { whom }]);
    }

    /// Whether the sender of `gossip` may be asked who it is, if it is no member: it sent more than that takes, and no
    /// answer. So two that do not know each other do not ask each other for ever, nor does one whose word of itself is
    /// not believed get a second question.
    pub(super) fn may_be_invited(gossip: &Gossip) -> bool {
        let introduces = |update: &Update| matches!(update, Update::Member(own) if own.node == gossip.from);
        match &gossip.body {
            GossipBody::Digest { .. }
            | GossipBody::Buckets { .. }
            | GossipBody::Entries { .. }
            | GossipBody::PingReq { .. } => true,
            GossipBody::Pull { nodes } => !nodes.is_empty(),
            GossipBody::Delta => !gossip.updates.is_empty() && !gossip.updates.iter().any(introduces),
            GossipBody::Ping { .. }
            | GossipBody::Ack { .. }
            | GossipBody::Nack { .. }
            | GossipBody::Join { .. }
            | GossipBody::Leave => false,
        }
    }

    /// Asks a process that nobody here knows who it is, in no more bytes than it sent.
    pub(super) fn invite(&mut self, node: NodeId, addr: SocketAddr) {
        let unknown = self.table.get(node).is_none() && self.table.tombstone(node).is_none();
        if unknown && self.leaving.is_none() && self.table.live() < MEMBERS_MOST {
            self.counters.invited += 1;
            self.send_stranger(addr, node, GossipBody::Pull { nodes: Vec::new() }, Vec::new());
        }
    }

    /// Compares with a random member.
    pub(super) fn compare(&mut self, now: Instant) {
        self.timers.set(now + self.timing.digest_period, Timer::Digest);
        self.table.expire(now);
        self.send_digest();
    }

    fn send_digest(&mut self) {
        if let Some(node) = self.table.some_live(&mut self.rng, 1, None).first() {
            let body = GossipBody::Digest { hash: self.table.hash() };
            self.tell(*node, body, Vec::new(), true);
        }
    }

    /// Compares soon again, for a difference takes more than one page.
    fn resync_soon(&mut self, now: Instant) {
        if !self.sync.resyncing {
            self.sync.resyncing = true;
            let most = if self.young(now) { self.timing.join_period } else { self.timing.digest_period };
            let wait = self.timing.gossip_period * (1 << self.sync.fruitless.min(8));
            self.timers.set(now + wait.min(most), Timer::Resync);
        }
    }

    /// Nodes that start together know little to tell each other: for a while, each compares often.
    fn young(&self, now: Instant) -> bool {
        self.sync.joined.is_none_or(|since| now < since + YOUTH)
    }

    pub(super) fn resync(&mut self, now: Instant) {
        self.sync.resyncing = false;
        let hash = self.table.hash();
        let changed = core::mem::replace(&mut self.sync.hash, hash) != hash;
        self.sync.fruitless = if changed { 0 } else { self.sync.fruitless + 1 };
        self.send_digest();
        if self.sync.fruitless < RESYNCS || self.young(now) {
            self.resync_soon(now);
        }
    }

    /// Asks a dead member, or a seed where no live member is, whether it is back. For ever: a partition ends some day.
    pub(super) fn ask(&mut self, now: Instant) {
        self.timers.set(now + self.timing.ask_period, Timer::Ask);
        if self.leaving.is_some() {
            return;
        }
        let silence =
            self.sync.heard.is_none_or(|heard| now.saturating_since(heard) >= self.timing.ask_period);
        self.sync.lonely = silence;
        self.sync.asks += 1;
        let dead_first = self.sync.asks.is_multiple_of(2);
        if dead_first && self.ask_dead() {
            return;
        }
        if !self.ask_seed() && !dead_first {
            self.ask_dead();
        }
    }

    fn ask_dead(&mut self) -> bool {
        let Some(next) = self.table.next_dead(self.sync.asked, DEAD_LOOKS) else { return false };
        self.sync.asked = next;
        let accusation = self.table.get(next.1).and_then(Self::accusation);
        let body = GossipBody::Digest { hash: self.table.hash() };
        self.tell(next.1, body, accusation.into_iter().collect(), false);
        true
    }

    fn ask_seed(&mut self) -> bool {
        let seed = if self.sync.joining { None } else { self.next_seed() };
        seed.inspect(|seed| self.ask_to_join(*seed)).is_some()
    }

    /// Whether `from` may ask for more than a stranger. It knows this node, so this node has joined.
    fn acquainted(&mut self, now: Instant, from: NodeId) -> bool {
        let known = self.table.get(from).is_some();
        if known {
            self.sync.note_known(now);
        } else {
            self.counters.drop_unknown += 1;
        }
        known
    }

    /// An answer to a member at its own address, with what it must refute.
    fn answer(&mut self, node: NodeId, body: GossipBody) {
        let accusation = self.table.get(node).and_then(Self::accusation);
        self.tell(node, body, accusation.into_iter().collect(), true);
    }

    pub(super) fn on_digest(&mut self, now: Instant, from: NodeId, hash: u64) {
        if self.acquainted(now, from) && hash != self.table.hash() {
            let hashes = self.table.hashes().to_vec();
            self.answer(from, GossipBody::Buckets { hashes });
            self.resync_soon(now);
        }
    }

    pub(super) fn on_buckets(&mut self, now: Instant, from: NodeId, hashes: &[u64]) {
        if !self.acquainted(now, from) {
            return;
        }
        if hashes.len() != BUCKETS {
            self.counters.drop_page += 1;
            return;
        }
        let own = self.table.hashes();
        // The emptiest parts first: there is most to learn, and many fit a page.
        let mut differing: Vec<_> = (0..BUCKETS)
            .filter(|part| own[*part] != hashes[*part])
            .map(|part| (self.entries_of(part), part))
            .collect();
        if differing.is_empty() {
            return;
        }
        differing.sort_by_key(|(entries, _)| entries.len());
        let (mut parts, mut page) = (0, Vec::new());
        let room = GOSSIP_LIMIT - self.compose(GossipBody::Delta, Vec::new()).encoded_len() - 64;
        let mut left = room;
        for (entries, part) in differing {
            let len: usize = entries.iter().map(DigestEntry::encoded_len).sum();
            let fits = len <= left && page.len() + entries.len() <= ENTRIES_LIMIT;
            if !fits && !page.is_empty() {
                break;
            }
            parts |= 1 << part;
            for entry in entries {
                let len = entry.encoded_len();
                if page.len() < ENTRIES_LIMIT && len <= left {
                    left -= len;
                    page.push(entry);
                }
            }
        }
        self.answer(from, GossipBody::Entries { parts, entries: page });
        self.resync_soon(now);
    }

    /// Members of a part, the live ones first.
    pub(super) fn entries_of(&self, part: usize) -> Vec<DigestEntry> {
        let entry = |whom: Accused, state| DigestEntry {
            node: whom.node,
            boot: whom.boot,
            incarnation: whom.incarnation,
            state,
        };
        let mut entries: Vec<_> =
            self.table.part(part).map(|record| entry(record.accused(), record.member.state)).collect();
        if part_of(self.me.node) == part {
            entries.push(entry(self.own(), self.me.state));
        }
        entries.sort_by_key(|entry| entry.state);
        entries.extend(self.table.tombstones_in(part));
        entries
    }

    pub(super) fn on_entries(&mut self, now: Instant, from: NodeId, parts: u64, entries: &[DigestEntry]) {
        if !self.acquainted(now, from) {
            return;
        }
        let (mut give, mut pull, mut named) = (Vec::new(), Vec::new(), BTreeSet::new());
        for entry in entries.iter().filter(|entry| parts >> part_of(entry.node) & 1 == 1) {
            if named.insert(entry.node) {
                self.weigh(now, from, entry, &mut give, &mut pull);
            }
        }
        // From a random part on, so that what many ask for comes to them in pieces that differ.
        let start = self.rng.below(BUCKETS as u64) as usize;
        for part in (0..BUCKETS).map(|part| (part + start) % BUCKETS).filter(|part| parts >> part & 1 == 1) {
            let unnamed = self.table.part(part).filter(|record| record.live());
            let unnamed = unnamed.filter(|record| !named.contains(&record.member.node));
            give.extend(unnamed.map(|record| Update::Member(record.member.clone())));
            if part_of(self.me.node) == part && !named.contains(&self.me.node) {
                give.push(Update::Member(self.me.clone()));
            }
        }
        self.hand_out(now, from, give);
        pull.truncate(PULL_LIMIT);
        if !pull.is_empty() {
            self.answer(from, GossipBody::Pull { nodes: pull });
        }
    }

    /// One member as `from` sees it, against what is known here.
    fn weigh(
        &mut self,
        now: Instant,
        from: NodeId,
        entry: &DigestEntry,
        give: &mut Vec<Update>,
        pull: &mut Vec<NodeId>,
    ) {
        let whom = Accused { node: entry.node, boot: entry.boot, incarnation: entry.incarnation };
        if whom.node == self.me.node {
            // What is believed of this node is learned like every accusation.
            match entry.state {
                MemberState::Alive => {}
                MemberState::Suspect | MemberState::Dead => {
                    self.learn(now, from, Update::Suspect { whom, by: from });
                }
                MemberState::Left => self.learn(now, from, Update::Left { whom }),
            }
            if (whom.boot, whom.incarnation) < (self.me.boot, self.me.incarnation) {
                give.push(Update::Member(self.me.clone()));
            }
            return;
        }
        if entry.state == MemberState::Left {
            if self.table.get(whom.node).is_some() {
                self.learn(now, from, Update::Left { whom });
            }
            return;
        }
        if let Some(tombstone) = self.table.tombstone(whom.node).filter(|tomb| tomb.boot >= whom.boot) {
            let whom = Accused { boot: tombstone.boot, incarnation: tombstone.incarnation, ..whom };
            give.push(Update::Left { whom });
            return;
        }
        let there = entry.state <= MemberState::Suspect;
        let Some(record) = self.table.get(whom.node) else {
            if there {
                pull.push(whom.node);
            }
            return;
        };
        let (here, known) = (record.live(), record.accused());
        let order = (whom.boot, whom.incarnation).cmp(&(known.boot, known.incarnation));
        if order.is_lt() {
            give.extend(Self::testimony(record, self.me.node));
        } else if order.is_gt() && there {
            pull.push(whom.node);
        } else if here && !there {
            // After a partition each side has buried the other: the dead get a chance to refute.
            self.learn(now, from, Update::Suspect { whom, by: from });
        } else if order.is_eq() && there && !here {
            give.extend(Self::testimony(record, self.me.node));
        }
    }

    /// What this node says of a member to one who believes otherwise.
    fn testimony(record: &Record, me: NodeId) -> Option<Update> {
        if record.live() {
            Some(Update::Member(record.member.clone()))
        } else {
            Some(Update::Suspect { whom: record.accused(), by: me })
        }
    }

    pub(super) fn on_pull(&mut self, now: Instant, from: NodeId, nodes: &[NodeId]) {
        if nodes.is_empty() {
            // The asker does not know this node.
            self.tell(from, GossipBody::Delta, vec![Update::Member(self.me.clone())], true);
            return;
        }
        if !self.acquainted(now, from) {
            return;
        }
        let mut give = Vec::new();
        for node in nodes {
            if *node == self.me.node {
                give.push(Update::Member(self.me.clone()));
            } else if let Some(record) = self.table.get(*node).filter(|record| record.live()) {
                give.push(Update::Member(record.member.clone()));
            }
        }
        self.hand_out(now, from, give);
    }

    /// Records in as many datagrams as may be.
    fn hand_out(&mut self, now: Instant, to: NodeId, updates: Vec<Update>) {
        let room = GOSSIP_LIMIT - self.compose(GossipBody::Delta, Vec::new()).encoded_len() - 1;
        let (mut page, mut left, mut pages) = (Vec::new(), room, 0);
        let mut updates = updates.into_iter().peekable();
        while let Some(update) = updates.next() {
            left -= update.encoded_len();
            page.push(update);
            let full =
                page.len() == UPDATES_LIMIT || updates.peek().is_none_or(|next| next.encoded_len() > left);
            if !full {
                continue;
            }
            if pages == PAGES_MOST || !self.may_send_page(now) {
                self.counters.drop_pages += 1;
                return;
            }
            pages += 1;
            left = room;
            self.tell(to, GossipBody::Delta, core::mem::take(&mut page), true);
        }
    }

    fn may_send_page(&mut self, now: Instant) -> bool {
        if now.saturating_since(self.sync.pages.0) >= self.timing.gossip_period {
            self.sync.pages = (now, 0);
        }
        self.sync.pages.1 += 1;
        self.sync.pages.1 <= PAGES_PER_PERIOD
    }
}
