//! What one seed means: cluster, network, faults and workload, all drawn from it.
//!
//! Swarm testing (Groce et al., ISSTA 2012): each seed enables a random subset of the faults at random rates, because
//! what one fault reaches another one often prevents.

use std::time::Duration;

use haystack_core::broadcast::Limits;
use haystack_core::node::Buggify;
use haystack_wire::frame::Class;
use haystack_wire::link;

use crate::dice::{Dice, Ppm};
use crate::net::Weather;
use crate::shape::Shape;
use crate::{founding, storm};

pub(crate) const MICROS: u64 = 1_000;
pub(crate) const MILLIS: u64 = 1_000_000;
pub(crate) const SECONDS: u64 = 1_000_000_000;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)*) => {
        /// What is done to the system on purpose, at a moment.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Fault {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Fault {
            /// All kinds.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Whether it is of consensus storms only.
            const fn is_of_storms(self) -> bool {
                matches!(self, Self::StallSource | Self::Zombie | Self::Carousel)
            }

            /// The name, as reports and switches know it.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

faults! {
    /// Nothing passes from one daemon to another.
    CutOneWay = "cut_one_way",
    /// Nothing passes between two daemons.
    CutBothWays = "cut_both_ways",
    /// A daemon hears nobody, clients included.
    Deafen = "deafen",
    /// Nobody hears a daemon, clients included.
    Mute = "mute",
    /// A daemon is cut off from the other daemons; clients reach it.
    IsolatePeers = "isolate_peers",
    /// A daemon is cut off from everything.
    Isolate = "isolate",
    /// The daemons fall into two parts, and so do the clients.
    Split = "split",
    /// Two parts with one daemon in both.
    Bridge = "bridge",
    /// Each daemon reaches only its neighbours in a row (CONSENSUS, the chained cut).
    Chain = "chain",
    /// Every daemon but one reaches only that one (quorum-loss).
    Star = "star",
    /// Each direction is cut or not, at random.
    RandomCuts = "random_cuts",
    /// A leader loses one follower, then all: whoever follows it lacks entries or finds one that does.
    Depose = "depose",
    /// A daemon is cut off just when it has begun to lead; others may come back then.
    Ambush = "ambush",
    /// What the other daemons send to one takes long: it hears what was true.
    SlowNews = "slow_news",
    /// A daemon that has just begun to lead hears nothing of another: the source of its adoption, perhaps.
    StallSource = "stall_source",
    /// A leader hears late what was true, and stands still until it is true no longer.
    Zombie = "zombie",
    /// Only one majority of the daemons is linked at a time, and the next one as soon as one of it begins to lead.
    Carousel = "carousel",
    /// A client is cut off from a daemon.
    CutClient = "cut_client",
    /// A direction loses many datagrams.
    Lossy = "lossy",
    /// A direction takes long.
    Slow = "slow",
    /// All directions from a daemon take long.
    SlowHost = "slow_host",
    /// A direction loses large datagrams.
    Squeeze = "squeeze",
    /// A daemon stands still, as after SIGSTOP.
    Pause = "pause",
    /// All daemons stand still together.
    PauseAll = "pause_all",
    /// A daemon computes slowly.
    SlowCpu = "slow_cpu",
    /// A daemon dies; a new process comes to its address later.
    Crash = "crash",
    /// A daemon dies and its state directory is lost; a new process comes to its address later.
    CrashAndWipe = "crash_and_wipe",
    /// A daemon is told to stop, hands leadership over, and ends; a new process comes later.
    Stop = "stop",
    /// A client dies; a new one comes to its address.
    CrashClient = "crash_client",
    /// A client stands still.
    PauseClient = "pause_client",
    /// A daemon's disk is slow.
    SlowDisk = "slow_disk",
    /// Recorded old datagrams arrive again.
    Replay = "replay",
    /// Datagrams that nobody sent arrive, also from addresses that do not exist.
    Forge = "forge",
    /// A daemon's socket buffer is small.
    SmallBuffer = "small_buffer",
}

/// How datagrams are addressed, which decides how large they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressing {
    V4,
    V6,
    Loopback,
}

/// The founders that clients are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contacts {
    /// Some, at random.
    Some,
    /// All.
    All,
    /// Only that of the client's own number.
    Own,
}

/// What clients do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Clients, without the one that reads everything at the end.
    pub(crate) clients: usize,
    /// The founders that a client is told of.
    pub(crate) contacts: Contacts,
    /// Operations that a client has under way at once.
    pub(crate) depth: (u64, u64),
    /// Keys that they share.
    pub(crate) keys: usize,
    /// Shares of get, put, delete, cas, stale get, scan.
    pub(crate) mix: [u32; 6],
    /// Nanoseconds between two operations of one place, on average.
    pub(crate) think: u64,
    /// Length of ordinary values.
    pub(crate) small: (u64, u64),
    /// Share and length of large values.
    pub(crate) large: (Ppm, u64),
    /// Time that an operation has.
    pub(crate) patience: (u64, u64),
    /// Share of unknown writes that are resolved at once.
    pub(crate) resolve: Ppm,
    /// Share of operations before which the client closes its sessions.
    pub(crate) close: Ppm,
}

/// What a process costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    /// Nanoseconds per turn.
    pub(crate) turn: u64,
    /// Nanoseconds per datagram in or out.
    pub(crate) datagram: u64,
}

/// The worst that happens to the daemons of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Losses {
    /// No group loses more than a minority of its replicas.
    Minority,
    /// Nor does the directory, but partitions may.
    Partitions,
    /// Anything may be lost.
    Any,
    /// A majority of the founders is lost at once, and comes back without memory.
    Majority,
    /// All are killed and started again.
    All,
}

/// What a seed is to bring forth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Anything; a consensus storm now and then.
    #[default]
    Swarm,
    /// Consensus storms.
    Storm,
    /// Troubles while a cluster is founded.
    Founding,
}

/// Everything drawn from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) shape: Shape,
    /// Whether all is bent towards what hurts agreement.
    pub(crate) consensus_storm: bool,
    pub(crate) addressing: Addressing,
    pub(crate) sealed: bool,
    pub(crate) limits: Limits,
    pub(crate) links: link::Limits,
    /// How groups' messages are mistreated inside the daemons.
    pub(crate) buggify: Buggify,
    pub(crate) session_ttl: Duration,
    /// The network while it misbehaves.
    pub(crate) weather: Weather,
    /// Whether it misbehaves before the cluster is founded.
    pub(crate) founding_in_storm: bool,
    /// Whether nothing but the founding is looked at.
    pub(crate) founding_only: bool,
    /// Nanoseconds of misbehaviour.
    pub(crate) storm: u64,
    /// Weights of [`Fault::ALL`].
    pub(crate) faults: Vec<u32>,
    /// Nanoseconds between two of them, on average.
    pub(crate) strikes: u64,
    /// Nanoseconds that they last at most.
    pub(crate) lasts: u64,
    /// Share of strikes at a daemon that aim at a leader.
    pub(crate) at_leader: Ppm,
    /// Founders that may be lost for good.
    pub(crate) losses: Losses,
    pub(crate) cpu: Cpu,
    /// Sleeps are rounded up to a multiple of this, as the poller does.
    pub(crate) timer_grid: u64,
    /// Largest clock drift.
    pub(crate) drift: Ppm,
    /// Nanoseconds that a write to disk takes.
    pub(crate) disk: (u64, u64),
    /// Bytes of a socket's buffer.
    pub(crate) buffer: u64,
    pub(crate) load: Load,
}

impl Scenario {
    /// Draws everything from `seed`; faults named in `without` are left out.
    pub(crate) fn draw(seed: u64, without: &[String], profile: Profile) -> Self {
        let mut dice = Dice::new(seed, "scenario");
        let dice = &mut dice;
        let enabled = |name: &str| !without.iter().any(|left_out| left_out == name);
        let mut faults: Vec<u32> = Fault::ALL
            .iter()
            .map(|fault| if !fault.is_of_storms() && dice.coin() { dice.range(1, 8) as u32 } else { 0 })
            .collect();
        for (fault, weight) in Fault::ALL.iter().zip(&mut faults) {
            *weight *= u32::from(enabled(fault.name()));
        }
        let losses = match dice.below(20) {
            0 => Losses::Majority,
            1 => Losses::All,
            2..=4 => Losses::Partitions,
            _ => Losses::Minority,
        };
        let mut drawn = Self {
            shape: Shape::draw(seed, &enabled),
            consensus_storm: false,
            addressing: dice
                .pick(&[Addressing::V4, Addressing::V4, Addressing::V6, Addressing::Loopback])
                .unwrap_or(Addressing::V4),
            sealed: dice.chance(300_000),
            limits: limits(dice),
            links: links(dice),
            buggify: if enabled("buggify") { buggify(dice) } else { Buggify::default() },
            session_ttl: Duration::from_millis(if dice.chance(150_000) {
                dice.range(1_500, 6_000)
            } else {
                900_000
            }),
            weather: weather(dice, &enabled),
            founding_in_storm: dice.chance(400_000) && enabled("founding_in_storm"),
            founding_only: false,
            storm: dice.range(6, 16) * SECONDS,
            faults,
            strikes: dice.magnitude(150 * MILLIS, 3 * SECONDS),
            lasts: dice.magnitude(300 * MILLIS, 6 * SECONDS),
            at_leader: dice.pick(&[0, 300_000, 600_000, 900_000]).unwrap_or(0),
            losses: if enabled("losses") { losses } else { Losses::Minority },
            cpu: Cpu { turn: dice.range(2, 20) * MICROS, datagram: dice.range(500, 5_000) },
            timer_grid: if dice.chance(800_000) { MILLIS } else { 1 },
            drift: if dice.coin() && enabled("drift") { dice.magnitude(50, 20_000) as Ppm } else { 0 },
            disk: (50 * MICROS, dice.magnitude(100 * MICROS, 30 * MILLIS)),
            buffer: dice.magnitude(32 << 10, 4 << 20),
            load: load(dice),
        };
        match profile {
            Profile::Founding => founding::bend(seed, &mut drawn, &enabled),
            _ if !enabled("consensus_storm") => {}
            Profile::Swarm => storm::brew(seed, false, &mut drawn, &enabled),
            Profile::Storm => storm::brew(seed, true, &mut drawn, &enabled),
        }
        drawn
    }
}

/// Small bounds in some seeds, so that chunks, windows, compaction and snapshots are met within seconds.
fn limits(dice: &mut Dice) -> Limits {
    let product = Limits::default();
    match dice.below(4) {
        0 => product,
        1 => Limits { tail_min: 8 << 10, tail_lagging: 64 << 10, tail_transfer: 4 << 20, ..product },
        _ => {
            let inflight = dice.magnitude(16 << 10, 1 << 20);
            let tail_transfer = dice.magnitude(64 << 10, 2 << 20);
            Limits {
                chunk: dice.magnitude(256, 16 << 10),
                window: dice.magnitude(2 << 10, 64 << 10),
                gap: dice.magnitude(1 << 10, 64 << 10),
                inflight,
                tail_min: dice.magnitude(128, 8 << 10),
                tail_lagging: dice.magnitude(256, 32 << 10),
                tail_transfer,
                // One entry of any length may be in flight alone.
                stage: (tail_transfer + inflight) * 2 + (4 << 20),
                patience: Duration::from_millis(dice.range(1_000, 10_000)),
                ..product
            }
        }
    }
}

/// Small windows in some seeds, so that links refuse messages.
fn links(dice: &mut Dice) -> link::Limits {
    let mut limits = link::Limits::default();
    if dice.chance(300_000) {
        // The least that every link grants, and room for the largest single entry.
        for class in [Class::Broadcast, Class::Client] {
            let class = &mut limits.classes[class.index()];
            (class.bytes, class.messages, class.message_bytes) = (512 << 10, 1024, 512 << 10);
        }
    }
    limits
}

fn buggify(dice: &mut Dice) -> Buggify {
    let mut rate = |most: u64| if dice.coin() { dice.magnitude(1_000, most) as Ppm } else { 0 };
    Buggify { lose: rate(100_000), repeat: rate(200_000), hold: rate(200_000), release: 300_000 }
}

fn weather(dice: &mut Dice, enabled: &impl Fn(&str) -> bool) -> Weather {
    let far = dice.pick(&[100 * MICROS, 500 * MICROS, 5 * MILLIS, 30 * MILLIS]).unwrap_or(MILLIS);
    let mut rate = |name: &str, most: u64| {
        let ppm = dice.magnitude(100, most) as Ppm;
        if dice.coin() && enabled(name) { ppm } else { 0 }
    };
    let (loss, burst_begins) = (rate("loss", 300_000), rate("burst", 20_000));
    let (duplication, reordering) = (rate("duplication", 300_000), rate("reordering", 300_000));
    let (corruption, truncation) = (rate("corruption", 50_000), rate("truncation", 20_000));
    Weather {
        delay: (far / 20, far),
        jitter: dice.below(far),
        bandwidth: dice.magnitude(2_000_000, 1_000_000_000),
        queue: 100 * MILLIS,
        loss,
        burst_begins,
        burst_ends: dice.magnitude(10_000, 500_000) as Ppm,
        burst_loss: dice.range(300_000, 1_000_000) as Ppm,
        duplication,
        reordering,
        reordered_by: dice.magnitude(100 * MICROS, 300 * MILLIS),
        corruption,
        truncation,
    }
}

fn load(dice: &mut Dice) -> Load {
    let clients = dice.range(1, 6) as usize;
    let wide = dice.chance(200_000);
    let mut mix = [0; 6];
    let most = [10, 10, 4, 8, 1, 1];
    for (weight, most) in mix.iter_mut().zip(most) {
        *weight = dice.range(0, most) as u32;
    }
    if mix[..4].iter().all(|weight| *weight == 0) {
        mix[0] = 1;
        mix[1] = 1;
    }
    let depth = if dice.chance(100_000) { (1, 64) } else { (1, dice.range(1, 6)) };
    // Operations per second of all together.
    let rate = dice.magnitude(20, 800);
    Load {
        clients,
        contacts: Contacts::Some,
        depth,
        keys: if wide { dice.range(50, 400) } else { dice.range(1, 8) } as usize,
        mix,
        think: (clients as u64 * (depth.0 + depth.1)) * SECONDS / (2 * rate),
        small: (8, dice.magnitude(16, 400)),
        large: if dice.chance(250_000) {
            (dice.magnitude(500, 30_000) as Ppm, dice.magnitude(4 << 10, 300 << 10))
        } else {
            (0, 0)
        },
        patience: (dice.range(100, 800) * MILLIS, dice.range(1_000, 5_000) * MILLIS),
        resolve: dice.pick(&[0, 500_000, 1_000_000]).unwrap_or(0),
        close: if dice.coin() { dice.magnitude(1_000, 200_000) as Ppm } else { 0 },
    }
}
