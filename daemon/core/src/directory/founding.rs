//! Founding: from N processes that know a list of addresses to one cluster, and never two.
//!
//! A list is founded iff all its N processes grant it. One grant per process; the lowest id proposes and alone
//! counts; it persists `founded` before it acts or tells. Before granting, every founder's address is asked
//! whether a cluster exists already. A list is dead only if its proposer gave it up before `founded` was
//! persisted (a successor that finds the list without `founded` in the life file testifies so), or if a listed
//! process that never granted it says so and refuses it for ever.
//!
//! Why N of N: with `expect = N` of any hosts, six daemons cut 3|3 found two clusters (CONSENSUS, section 4).

mod changes;
mod sight;
mod testimony;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use haystack_wire::Instant;
use haystack_wire::ids::{ClusterId, NodeId};
use haystack_wire::message::directory::{
    DirectoryMessage, FoundingList, NodeInfo, NodeState, PartitionMap, Standing,
};
use haystack_wire::rng::Rng;
use xxhash_rust::xxh3::Xxh3;

use super::life::{Grant, Life, list_id};
use crate::config::Config;
use sight::Seen;

/// How often a waiting process asks the others what became of its list (judgement: fast enough for a person).
const QUERY_PERIOD: Duration = Duration::from_millis(500);
/// So long a granted list may wait before that is worth a warning (judgement: far above what a founding takes).
const PATIENCE: Duration = Duration::from_secs(5);

/// Where this process stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Granted nothing; looks for the other founders, or for a cluster that exists.
    Seeking,
    /// Proposed the list and counts.
    Counting { list: FoundingList, grants: BTreeSet<NodeId> },
    /// Granted the list, in this life or in an earlier one, and waits to learn what becomes of it.
    Granted { list: FoundingList },
    /// In the cluster's node table.
    Member { cluster: ClusterId },
    /// Belongs to a cluster that has not admitted this process.
    Standby { cluster: ClusterId },
}

/// What the founding wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this message.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: DirectoryMessage,
    },
    /// Introduce this process to everyone again: where it stands has changed, and that is persisted.
    Announce(Standing, Option<ClusterId>),
    /// The cluster is founded and this process is a member: start group 0 among those who are to make it up.
    Founded(FoundingList),
}

/// The state machine of founding for one process.
#[derive(Debug)]
pub struct Founding {
    me: NodeInfo,
    config: Config,
    founders_hash: u64,
    life: Life,
    phase: Phase,
    /// Where this process stands as far as it is persisted: nothing else is ever told.
    told: (Standing, Option<ClusterId>),
    seen: BTreeMap<NodeId, Seen>,
    /// Clusters that this very process granted and was then told to give up.
    given_up: Vec<ClusterId>,
    /// A proposal that waits until every founder was asked for an existing cluster.
    proposal: Option<FoundingList>,
    next_query: Instant,
    /// Since when this process waits for what becomes of a list that it granted, and whether that is long.
    granted: (Instant, bool),
    rng: Rng,
    lsn: u64,
    persisted: u64,
    unsaved: bool,
    out: VecDeque<(u64, Output)>,
}

impl Founding {
    /// Takes up where the life file ends.
    ///
    /// # Panics
    /// If `life` has not begun with this process.
    pub fn new(config: &Config, node: NodeId, life: Life, now: Instant, rng: Rng) -> Self {
        assert_eq!(life.nodes.last(), Some(&node), "the life file must know this process before it speaks");
        let phase = match &life.grant {
            Grant::None => Phase::Seeking,
            Grant::Granted { list, .. } => Phase::Granted { list: list.clone() },
            Grant::Founded { list: FoundingList { cluster, .. } } | Grant::Joined { cluster } => {
                Phase::Standby { cluster: *cluster }
            }
        };
        let mut founding = Self {
            me: config.info(node),
            founders_hash: founders_hash(&config.founders),
            config: config.clone(),
            life,
            told: told(&phase),
            phase,
            seen: BTreeMap::new(),
            given_up: Vec::new(),
            proposal: None,
            next_query: now,
            granted: (now, false),
            rng,
            lsn: 0,
            persisted: 0,
            unsaved: false,
            out: VecDeque::new(),
        };
        founding.give_up_inherited();
        founding.reconsider(now);
        founding
    }

    /// Rule (a): a successor of the proposer that finds the list without `founded` gives it up for good.
    fn give_up_inherited(&mut self) {
        let Phase::Granted { list } = &self.phase else { return };
        if list.proposer != self.me.node && self.life.knows(list.proposer) {
            let list = list_id(list);
            self.drop_grant(list);
        }
    }

    /// The first message to a peer.
    pub fn introduction(&self) -> DirectoryMessage {
        DirectoryMessage::Introduce {
            info: self.me.clone(),
            standing: self.told.0,
            cluster: self.told.1,
            founders_hash: self.founders_hash,
            partitions: self.config.partitions,
            degree: self.config.replicas,
            succeeds: self.life.predecessors().collect(),
        }
    }

    /// Where this process stands, as far as it is persisted.
    pub const fn standing(&self) -> Standing {
        self.told.0
    }

    /// The cluster that this process belongs to, as far as it is persisted.
    pub const fn cluster(&self) -> Option<ClusterId> {
        self.told.1
    }

    /// Whether nothing of founding or joining is open any more.
    pub const fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Member { .. } | Phase::Standby { .. })
    }

    /// The processes that ended before this one began, in the same state directory, newest first.
    pub fn predecessors(&self) -> Vec<NodeId> {
        self.life.predecessors().collect()
    }

    /// Hash of the configured founders.
    pub const fn founders_hash(&self) -> u64 {
        self.founders_hash
    }

    /// Looks at everything known and takes the next step, if there is one.
    fn reconsider(&mut self, now: Instant) {
        match &self.phase {
            Phase::Seeking => {
                let existing = self.seen.values().find(|seen| seen.standing == Standing::Member && seen.up);
                if let Some(cluster) = existing.and_then(|seen| seen.cluster) {
                    self.proposal = None;
                    self.life.grant = Grant::Joined { cluster };
                    self.save();
                    self.enter(Phase::Standby { cluster });
                } else if self.all_founders_ready() {
                    self.grant_or_propose(now);
                }
            }
            Phase::Counting { list, .. } => {
                // A listed process was replaced before it granted: the list can never be whole.
                let replaced = list.founders.iter().any(|founder| {
                    founder.node != self.me.node
                        && self.seen_at(founder.addr).is_some_and(|seen| seen.info.node != founder.node)
                });
                if replaced {
                    self.give_up(list.clone());
                }
            }
            Phase::Granted { .. } | Phase::Member { .. } | Phase::Standby { .. } => {}
        }
    }

    /// How many partitions, and replicas of each, this process would found.
    const fn terms(&self) -> (u32, u32) {
        (self.config.partitions, self.config.replicas)
    }

    fn all_founders_ready(&self) -> bool {
        // A daemon without founders only joins.
        !self.config.founders.is_empty()
            && self.namesake().is_none()
            && self.config.founders.iter().filter(|addr| **addr != self.me.addr).all(|addr| {
                self.seen_at(*addr).is_some_and(|seen| {
                    seen.up
                        && seen.standing == Standing::Founding
                        && seen.founders_hash == self.founders_hash
                        && seen.terms == self.terms()
                })
            })
    }

    fn grant_or_propose(&mut self, now: Instant) {
        if let Some(list) = self.proposal.take() {
            self.consider(now, list);
            return;
        }
        let mut founders = Vec::with_capacity(self.config.founders.len());
        for addr in &self.config.founders {
            if *addr == self.me.addr {
                founders.push(self.me.clone());
            } else if let Some(seen) = self.seen_at(*addr) {
                founders.push(NodeInfo { addr: *addr, ..seen.info.clone() });
            }
        }
        let lowest = founders.iter().map(|founder| founder.node).min();
        if lowest != Some(self.me.node) || founders.len() != self.config.founders.len() {
            return;
        }
        let list = FoundingList {
            proposer: self.me.node,
            cluster: ClusterId(self.rng.bytes()),
            partitions: self.config.partitions,
            degree: self.config.replicas,
            founders,
        };
        self.life.grant = Grant::Granted { list: list.clone(), by: self.me.node };
        self.save();
        self.tell_all(&list, &DirectoryMessage::Propose(list.clone()));
        let grants = BTreeSet::from([self.me.node]);
        self.enter(Phase::Counting { list, grants });
        self.count(now);
    }

    /// A message from `from`, introductions excepted.
    pub fn on_message(&mut self, now: Instant, from: NodeId, message: DirectoryMessage) {
        match message {
            DirectoryMessage::Propose(list) => self.on_propose(now, from, list),
            DirectoryMessage::Grant { list: id } => {
                if let Phase::Counting { list, grants } = &mut self.phase
                    && list_id(list) == id
                    && list.founders.iter().any(|founder| founder.node == from)
                {
                    grants.insert(from);
                    self.count(now);
                }
            }
            DirectoryMessage::Refuse { list: id } => {
                if let Phase::Counting { list, .. } = &self.phase
                    && list_id(list) == id
                    && list.founders.iter().any(|founder| founder.node == from)
                {
                    self.give_up(list.clone());
                }
            }
            DirectoryMessage::Founded(list) => self.on_founded(list),
            DirectoryMessage::Query { list, subject, proposer } => {
                self.on_query(from, list, subject, proposer)
            }
            DirectoryMessage::Testify { list, subject, testimony, founded } => {
                self.on_testify(now, list, subject, testimony, founded);
            }
            DirectoryMessage::Introduce { .. }
            | DirectoryMessage::MapPull { .. }
            | DirectoryMessage::Map(_) => {}
        }
    }

    fn on_propose(&mut self, now: Instant, from: NodeId, list: FoundingList) {
        let id = list_id(&list);
        let sound = list.proposer == from
            && (list.partitions, list.degree) == self.terms()
            && list.founders.iter().map(|founder| founder.node).min() == Some(from)
            && list.founders.iter().any(|founder| founder.node == self.me.node)
            && founders_hash(&list.founders.iter().map(|founder| founder.addr).collect::<Vec<_>>())
                == self.founders_hash;
        if !sound || self.life.refused.contains(&id) {
            self.send(from, DirectoryMessage::Refuse { list: id });
            return;
        }
        match &self.phase {
            Phase::Seeking => {
                self.proposal = Some(list);
                self.reconsider(now);
            }
            Phase::Granted { list: granted } if list_id(granted) == id => {
                self.send(from, DirectoryMessage::Grant { list: id });
            }
            // Not now: what we granted or proposed may turn out dead, and the proposer asks again. A refusal
            // is for ever, and would make lists die of the lists before them.
            Phase::Granted { .. } | Phase::Counting { .. } => {}
            Phase::Member { .. } | Phase::Standby { .. } => {
                self.send(from, DirectoryMessage::Refuse { list: id });
            }
        }
    }

    /// Grants a proposal now that no founder's address knows of a cluster.
    fn consider(&mut self, now: Instant, list: FoundingList) {
        let id = list_id(&list);
        if self.life.refused.contains(&id) {
            self.send(list.proposer, DirectoryMessage::Refuse { list: id });
            return;
        }
        self.life.grant = Grant::Granted { list: list.clone(), by: self.me.node };
        self.save();
        self.send(list.proposer, DirectoryMessage::Grant { list: id });
        self.next_query = now + QUERY_PERIOD;
        self.granted = (now, false);
        self.enter(Phase::Granted { list });
    }

    fn count(&mut self, now: Instant) {
        let Phase::Counting { list, grants } = &self.phase else { return };
        if grants.len() < list.founders.len() {
            return;
        }
        let list = list.clone();
        self.life.grant = Grant::Founded { list: list.clone() };
        self.save();
        self.tell_all(&list, &DirectoryMessage::Founded(list.clone()));
        self.next_query = now + QUERY_PERIOD;
        self.become_member(list);
    }

    fn on_founded(&mut self, list: FoundingList) {
        let known = matches!(&self.phase, Phase::Granted { list: granted } if *granted == list);
        if !known {
            return;
        }
        self.life.grant = Grant::Founded { list: list.clone() };
        self.save();
        if list.founders.iter().any(|founder| founder.node == self.me.node) {
            self.become_member(list);
        } else {
            // A predecessor's grant was counted: this process takes its place only by admission.
            self.enter(Phase::Standby { cluster: list.cluster });
        }
    }

    fn become_member(&mut self, list: FoundingList) {
        let cluster = list.cluster;
        self.push(Output::Founded(list));
        self.enter(Phase::Member { cluster });
    }

    /// The cluster's map was read: whoever it lists is a member.
    pub fn on_map(&mut self, map: &PartitionMap) {
        if let Phase::Standby { cluster } = self.phase
            && cluster == map.cluster
            && !self.gave_up(cluster)
            && map.record(self.me.node).is_some_and(|record| record.state != NodeState::Gone)
        {
            self.enter(Phase::Member { cluster });
        }
    }

    /// Asks, now and then, what became of a list that is not settled.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.next_query {
            return;
        }
        self.next_query = now + QUERY_PERIOD;
        self.granted.1 = now.saturating_since(self.granted.0) >= PATIENCE;
        match &self.phase {
            Phase::Granted { list } => {
                let (id, proposer) = (list_id(list), list.proposer);
                let subjects: Vec<_> =
                    list.founders.iter().map(|founder| (founder.node, founder.addr)).collect();
                for (subject, addr) in subjects {
                    let asked = self.seen_at(addr).filter(|seen| seen.up).map(|seen| seen.info.node);
                    if let Some(to) = asked {
                        self.send(to, DirectoryMessage::Query { list: id, subject, proposer });
                    }
                }
            }
            Phase::Counting { list, grants } => {
                let (list, grants) = (list.clone(), grants.clone());
                for founder in list.founders.iter().filter(|founder| !grants.contains(&founder.node)) {
                    self.send(founder.node, DirectoryMessage::Propose(list.clone()));
                }
            }
            // A list that died leaves nothing to wait for: try again.
            Phase::Seeking => self.reconsider(now),
            Phase::Member { .. } | Phase::Standby { .. } => {}
        }
    }

    /// When `handle_timeout` is due: only while something is unsettled.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.is_settled()).then_some(self.next_query)
    }

    /// The life file's next contents with their number, if they changed.
    pub fn poll_persist(&mut self) -> Option<(u64, Vec<u8>)> {
        core::mem::take(&mut self.unsaved).then(|| (self.lsn, self.life.encode()))
    }

    /// The life file holds everything up to `lsn`.
    pub fn handle_persisted(&mut self, lsn: u64) {
        self.persisted = self.persisted.max(lsn);
    }

    /// The next thing to do, once what it promises is persisted.
    pub fn poll_output(&mut self) -> Option<Output> {
        let (lsn, _) = self.out.front()?;
        if *lsn > self.persisted {
            return None;
        }
        let (_, output) = self.out.pop_front()?;
        if let Output::Announce(standing, cluster) = output {
            self.told = (standing, cluster);
        }
        Some(output)
    }

    fn save(&mut self) {
        self.lsn += 1;
        self.unsaved = true;
    }

    fn enter(&mut self, phase: Phase) {
        let (standing, cluster) = told(&phase);
        self.phase = phase;
        self.push(Output::Announce(standing, cluster));
    }

    fn push(&mut self, output: Output) {
        self.out.push_back((self.lsn, output));
    }

    fn send(&mut self, to: NodeId, message: DirectoryMessage) {
        self.push(Output::Send { to, message });
    }

    fn tell_all(&mut self, list: &FoundingList, message: &DirectoryMessage) {
        let me = self.me.node;
        for founder in list.founders.iter().filter(|founder| founder.node != me) {
            self.push(Output::Send { to: founder.node, message: message.clone() });
        }
    }
}

/// What a phase looks like from outside.
const fn told(phase: &Phase) -> (Standing, Option<ClusterId>) {
    match phase {
        Phase::Member { cluster } => (Standing::Member, Some(*cluster)),
        Phase::Standby { cluster } => (Standing::Standby, Some(*cluster)),
        Phase::Seeking | Phase::Counting { .. } | Phase::Granted { .. } => (Standing::Founding, None),
    }
}

/// Hash of a list of founders, whatever its order.
fn founders_hash(founders: &[SocketAddr]) -> u64 {
    let sorted: BTreeSet<String> = founders.iter().map(SocketAddr::to_string).collect();
    let mut hash = Xxh3::new();
    for addr in sorted {
        hash.update(addr.as_bytes());
        hash.update(b"\n");
    }
    hash.digest()
}

#[cfg(test)]
mod tests;
