//! What a membership is told at its start, and its bounds.

use core::net::SocketAddr;
use core::time::Duration;

use haystack_wire::ids::{Boot, ClusterId, NodeId};
use haystack_wire::message::membership::Meta;

/// Most live members that are known besides this one; more are a counted drop. The map holds as many nodes.
pub const MEMBERS_MOST: usize = 1023;
/// Most dead members that are remembered to be asked whether they are back; the longest dead are forgotten first.
pub const DEAD_MOST: usize = 1024;
/// Most tombstones of members that left; the oldest are forgotten first (judgement: four whole clusters a day).
pub const TOMBSTONES_MOST: usize = 4096;
/// Most updates that wait to be spread: one for each member, and the accusers of some. The most often sent are dropped.
pub const QUEUE_MOST: usize = 2048;
/// Most probes on behalf of others at once.
pub const RELAYS_MOST: usize = 256;
/// Most probes of predecessors at once.
pub const SUCCESSIONS_MOST: usize = 64;
/// Most testimonies that are remembered as refuted; the oldest are forgotten first (judgement: each is a copied state
/// directory that somebody started).
pub const REFUTED_MOST: usize = 256;
/// Most seeds that are kept.
pub const SEEDS_MOST: usize = 64;
/// Most pairs of members with one name that are watched at once.
pub const DOUBLES_MOST: usize = 64;
/// Most conflicts that are remembered as reported.
pub const REPORTED_MOST: usize = 64;
/// Highest incarnation and boot that are believed: one refutation each microsecond for nine years. Leaves room to
/// refute, and to count on without overflow.
pub const INCARNATION_MOST: u64 = 1 << 48;
/// Most that the words of third parties may raise an incarnation or boot at once; more is believed of the member
/// alone, so that nobody else makes it run out of them.
pub const LEAP_MOST: u64 = 1 << 16;
/// Most datagrams of records that answer one page of a digest.
pub const PAGES_MOST: usize = 8;
/// Most datagrams of records in each period of gossip, to everybody: 160 kB/s.
pub const PAGES_PER_PERIOD: u32 = 32;

/// Times and counts. The defaults are those of the design: SWIM (Das et al. 2002), Lifeguard (Dadgar et al. 2017).
#[derive(Clone, Debug)]
pub struct Timing {
    /// Between two probes at full health.
    pub period: Duration,
    /// Shortest wait for an answer to a direct try.
    pub try_floor: Duration,
    /// Longest wait for an answer to a direct try at full health, and the wait before anything was measured.
    pub try_ceiling: Duration,
    /// Direct tries of a probe, at most 4.
    pub tries: u32,
    /// Members that are asked to probe when the direct tries failed.
    pub indirect: usize,
    /// Highest local health multiplier, 0 being full health.
    pub health_most: u32,
    /// Shortest suspicion in a cluster of up to ten; times the decimal logarithm of the number of nodes.
    pub suspicion: Duration,
    /// How many times longer a suspicion is that nobody confirms.
    pub suspicion_stretch: u32,
    /// Most independent confirmations that shorten a suspicion.
    pub confirmations: usize,
    /// Between two rounds of gossip while there is news.
    pub gossip_period: Duration,
    /// Members that a round of gossip goes to.
    pub gossip_fanout: usize,
    /// How often an update is sent, times the rounded-up decimal logarithm of the number of nodes.
    pub piggyback: u32,
    /// Between two comparisons with a random member.
    pub digest_period: Duration,
    /// Between two questions to a dead member or a seed that is no live member.
    pub ask_period: Duration,
    /// Between two attempts to join, at first.
    pub join_period: Duration,
    /// How long a member that left is remembered as such.
    pub tombstone: Duration,
    /// How long two members may bear one name before it is reported: a restarted process has its old name.
    pub name_hold: Duration,
    /// Rounds of gossip in which a leaving node says so.
    pub leave_rounds: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(1),
            try_floor: Duration::from_millis(50),
            try_ceiling: Duration::from_millis(300),
            tries: 3,
            indirect: 3,
            health_most: 8,
            suspicion: Duration::from_secs(4),
            suspicion_stretch: 6,
            confirmations: 3,
            gossip_period: Duration::from_millis(200),
            gossip_fanout: 3,
            piggyback: 4,
            digest_period: Duration::from_secs(30),
            ask_period: Duration::from_secs(10),
            join_period: Duration::from_secs(1),
            tombstone: Duration::from_secs(24 * 3600),
            name_hold: Duration::from_secs(10),
            leave_rounds: 4,
        }
    }
}

impl Timing {
    /// Shortest suspicion among `nodes` nodes.
    pub(super) fn suspicion_least(&self, nodes: usize) -> Duration {
        self.suspicion.mul_f64((nodes.max(1) as f64).log10().max(1.0))
    }

    /// Confirmations that bring a suspicion among `nodes` nodes down to its shortest: of all but the suspect and
    /// the first accuser, at most three.
    pub(super) fn confirmations_among(&self, nodes: usize) -> usize {
        self.confirmations.min(nodes.saturating_sub(2))
    }

    /// How long a suspicion lasts that `confirmed` others share. Where nobody can confirm, it is the shortest.
    pub(super) fn suspicion_for(&self, nodes: usize, confirmed: usize) -> Duration {
        let least = self.suspicion_least(nodes);
        let needed = self.confirmations_among(nodes);
        if confirmed >= needed {
            return least;
        }
        let most = least * self.suspicion_stretch;
        let share = ((confirmed + 1) as f64).ln() / ((needed + 1) as f64).ln();
        most - (most - least).mul_f64(share)
    }

    /// How often an update is sent among `nodes` nodes.
    pub(super) fn sends_among(&self, nodes: usize) -> u32 {
        let digits = ((nodes + 1) as f64).log10().ceil().max(1.0);
        self.piggyback * digits as u32
    }
}

/// A membership's beginning.
#[derive(Clone, Debug)]
pub struct Config {
    /// This process.
    pub node: NodeId,
    /// Its persisted life.
    pub boot: Boot,
    /// The address that others reach it at.
    pub addr: SocketAddr,
    /// Lowest and highest wire version that it speaks.
    pub versions: (u8, u8),
    /// Its configured name.
    pub name: String,
    /// Its metadata. Tags that do not fit stay behind.
    pub meta: Meta,
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// Addresses to join at, now and whenever a part of the cluster is out of reach.
    pub seeds: Vec<SocketAddr>,
    /// Processes that lived in its state directory before it, newest first.
    pub succeeds: Vec<NodeId>,
    /// Hash of its list of founders, 0 without one.
    pub founders_hash: u64,
    /// Times and counts.
    pub timing: Timing,
}
