//! The eventually perfect failure detector (EPFD) among nodes that share a group.
//!
//! # What it promises
//! In the terms of Cachin, Guerraoui, Rodrigues (2nd edition, 2.6.4), among processes that watch each other:
//!
//! - **EPFD1, strong completeness:** a process that crashed is suspected, at most [`DetectorTiming::floor_limit`] or
//!   20 heartbeats and the path's delay (itself below 10 s) after it was last heard, and for ever.
//! - **EPFD2, eventual strong accuracy:** if messages are eventually delayed by less than 10 s, and not lost in rows
//!   that last longer, there is a time after which no correct process is suspected. Every mistake raises the floor of
//!   the peer's timeout by a step, and it never falls again in this process's life, not even while the peer is not
//!   watched; so there are at most (`floor_limit` - `floor`) / `step` mistakes about a peer. Floors that decay
//!   would allow infinitely many.
//!
//! A silence of more than 10 s is a cut, and raises no floor: a partition must not leave the detector slow.
//!
//! # How
//! Each node sends each peer a heartbeat ([`Beat`]) every 100 ms, with a sequence number. Any packet of a peer counts
//! as a sign of life. The timeout is D = max(floor, n h + srtt + 4 rttvar), where n is the number of heartbeats whose
//! loss in a row is expected once a year at the loss that is measured: 5, 7, 9, 12, 16 at 1, 5, 10, 20, 30 %, at most
//! 20. The loss is measured on arrival only, from gaps in the sequence; gaps that a suspicion or a stall of this
//! process lies in do not count. So silence itself never raises the timeout, and a crashed peer cannot put off its
//! detection. Deadlines move without effort: each peer has one entry in an ordered set, looked at when it is due, and
//! put back if the peer was heard meanwhile.
//!
//! # Both ends of a one-way cut
//! A heartbeat says how long ago its sender last heard the receiver. If A's packets do not reach B, B suspects A, and
//! A learns from B's heartbeats that B does not hear it: [`Output::OneWay`].
//!
//! # A process that was not running
//! blames nobody. The driver reads its sockets before it lets timeouts be judged; the detector notices by its own
//! heartbeat timer that it was late by more than half a heartbeat, and adds the lateness to the time of every peer: all instants
//! inside are of a clock that stands still while the process does.
//!
//! # Use
//! The election takes suspicions as hints. Nothing that must be safe may rest on them.

mod loss;
mod peer;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use haystack_wire::Instant;
use haystack_wire::ids::NodeId;
use haystack_wire::message::membership::Beat;
use haystack_wire::time::Duration;

use loss::{Arrival, ROW_MOST};
use peer::Peer;
pub use stats::Stats;

/// Most peers that a detector watches: the members that a membership is planned for (DESIGN, "Scale").
pub const PEERS_LIMIT: usize = 1_024;
/// Raised floors of peers no longer watched that are remembered, in peers.
pub const FLOORS_LIMIT: usize = 1_024;
/// The longest delay assumed. Longer silences are cuts (LINKS, "Failure detector").
pub const DELAY_LIMIT: Duration = Duration::from_secs(10);
/// Shortest distance of heartbeats: links exempt 20 datagrams a second and peer from congestion control, and ticks
/// may lie half a heartbeat apart.
pub const HEARTBEAT_LEAST: Duration = Duration::from_millis(100);
/// Longest "last heard from you" that a heartbeat tells.
pub const ECHO_LIMIT: Duration = Duration::from_secs(60);

/// The times of a detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectorTiming {
    /// Distance of heartbeats, h; at least [`HEARTBEAT_LEAST`].
    pub heartbeat: Duration,
    /// Least timeout of a peer about which no mistake was made.
    pub floor: Duration,
    /// By how much a mistake raises the floor of its peer. (Judgement: one hiccup must not cost much, and a peer that
    /// stalls 2 s at a time should be understood after less than ten.)
    pub step: Duration,
    /// Highest floor.
    pub floor_limit: Duration,
}

impl Default for DetectorTiming {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            floor: Duration::from_millis(500),
            step: Duration::from_millis(200),
            floor_limit: DELAY_LIMIT,
        }
    }
}

/// What a detector wants done, or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a heartbeat, as a fair-loss datagram of class 0.
    Send {
        /// To this peer.
        to: NodeId,
        /// The heartbeat.
        beat: Beat,
    },
    /// The peer is suspected to have crashed.
    Suspect(NodeId),
    /// It is not, after all.
    Restore(NodeId),
    /// Whether the peer hears this node, by what it says itself, has changed. Not told again by a suspicion, during
    /// which nothing is known of it: what was told last stands until the peer's echo says otherwise.
    OneWay {
        /// The peer.
        node: NodeId,
        /// Whether it hears nothing of this node, while this node hears it.
        deaf: bool,
    },
}

/// The failure detector of one node. See the module's documentation.
///
/// After every call the outputs must be taken by [`Detector::poll_output`] until there are none: a call produces at
/// most three per peer.
#[derive(Debug)]
pub struct Detector {
    timing: DetectorTiming,
    peers: BTreeMap<NodeId, Peer>,
    /// When each peer's silence is looked at next, in waking time; suspected ones are not in it.
    checks: BTreeSet<(Instant, NodeId)>,
    /// Raised floors of those not watched now.
    floors: BTreeMap<NodeId, Duration>,
    outputs: VecDeque<Output>,
    stats: Stats,
    /// When heartbeats are due; nothing without peers.
    next_beat: Option<Instant>,
    /// How long this process was not running.
    stalled: Duration,
    /// Until when this is counted.
    credited: Instant,
    /// Waking time at the latest call: the driver's time without `stalled`. Never goes back.
    awake: Instant,
    /// Waking time at the end of the last stall.
    woken: Instant,
}

impl Detector {
    /// A detector that watches nobody yet.
    ///
    /// # Panics
    /// If heartbeats come faster than [`HEARTBEAT_LEAST`], or the floor is above its limit, or that above
    /// [`DELAY_LIMIT`].
    pub fn new(timing: DetectorTiming, now: Instant) -> Self {
        assert!(
            timing.heartbeat >= HEARTBEAT_LEAST,
            "heartbeats are exempt from congestion control, so they are few"
        );
        assert!(
            timing.floor <= timing.floor_limit && timing.floor_limit <= DELAY_LIMIT,
            "longer silences are cuts"
        );
        assert!(timing.step > Duration::ZERO, "mistakes must come to an end");
        Self {
            timing,
            peers: BTreeMap::new(),
            checks: BTreeSet::new(),
            floors: BTreeMap::new(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
            next_beat: None,
            stalled: Duration::ZERO,
            credited: now,
            awake: now,
            woken: now,
        }
    }

    /// Watches exactly these peers from now on, this node never among them. A new one gets a full timeout of grace,
    /// and the floor that earlier mistakes about it have raised. Peers above [`PEERS_LIMIT`] are not watched.
    pub fn set_peers(&mut self, now: Instant, peers: impl Iterator<Item = NodeId>) {
        let awake = self.wake(now);
        let mut wanted: BTreeSet<NodeId> = peers.collect();
        while wanted.len() > PEERS_LIMIT {
            wanted.pop_last();
            self.stats.drop_too_many_peers += 1;
        }
        let unwanted = self.peers.keys().filter(|node| !wanted.contains(node));
        for node in unwanted.copied().collect::<Vec<_>>() {
            self.unwatch(node);
        }
        for node in wanted {
            if !self.peers.contains_key(&node) {
                self.watch(awake, node);
            }
        }
        if self.peers.is_empty() {
            self.next_beat = None;
        } else if self.next_beat.is_none() {
            self.next_beat = Some(next_tick(now, self.timing.heartbeat));
            self.credited = now;
        }
    }

    /// Takes a sign of life: any valid packet of the peer, newer than all of it before.
    pub fn heard(&mut self, now: Instant, from: NodeId) {
        let awake = self.wake(now);
        self.alive(awake, from);
    }

    /// Takes a heartbeat. The packet that it came in may have been told by [`Detector::heard`] before, or not.
    pub fn handle(&mut self, now: Instant, from: NodeId, beat: Beat) {
        let awake = self.wake(now);
        let woken = self.woken + self.timing.heartbeat;
        let Some(peer) = self.peers.get_mut(&from) else {
            self.stats.drop_not_watched += 1;
            return;
        };
        self.stats.beats_heard += 1;
        // What a stalled process missed is what did not fit its socket's buffer any more: the newest.
        let excused = peer.excused || peer.suspected || peer.beat_at <= woken;
        let arrival = peer.loss.arrive(beat.sequence, excused);
        peer.set_timeout(self.timing.heartbeat);
        match arrival {
            Arrival::Newest { excused } => {
                self.stats.gaps_excused += u64::from(excused);
                (peer.excused, peer.beat_at) = (false, awake);
                self.alive(awake, from);
                self.take_echo(awake, from, beat.heard_ms);
            }
            Arrival::Old => {
                self.stats.drop_stale_beat += 1;
                self.advance_check(from);
            }
        }
    }

    /// Takes what the peer's link measures.
    pub fn path(&mut self, node: NodeId, srtt: Duration, rttvar: Duration) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.path = srtt.saturating_add(rttvar.saturating_mul(4)).min(DELAY_LIMIT);
        peer.set_timeout(self.timing.heartbeat);
        self.advance_check(node);
    }

    /// Notes that another process, with a sequence of its own, speaks under the peer's identity now: the peer was
    /// restarted with its durable state. Floor and loss belong to the path, and stay.
    pub fn restarted(&mut self, now: Instant, node: NodeId) {
        let awake = self.wake(now);
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.loss.restart();
        peer.since = awake;
    }

    /// Does what is due. Spurious calls do nothing.
    ///
    /// If the caller comes late by more than half a heartbeat, it must have handed in all that its sockets held, by
    /// [`Detector::heard`] and [`Detector::handle`], before; the lateness is credited to every peer.
    pub fn handle_timeout(&mut self, now: Instant) {
        let awake = self.wake(now);
        while let Some(&(check, node)) = self.checks.first()
            && check <= awake
        {
            self.checks.pop_first();
            self.judge(awake, node);
        }
        if self.next_beat.is_some_and(|due| due <= now) {
            self.send_beats(awake);
            self.next_beat = Some(next_tick(now, self.timing.heartbeat));
        }
    }

    /// When [`Detector::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let check = self.checks.first().map(|(check, _)| *check + self.stalled);
        self.next_beat.into_iter().chain(check).min()
    }

    /// The next output, in the order in which they came about.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether the peer is suspected. Those that are not watched are not.
    pub fn suspects(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.suspected)
    }

    /// The silence after which the peer is suspected, D; zero for those not watched.
    pub fn timeout(&self, node: NodeId) -> Duration {
        self.peers.get(&node).map_or(Duration::ZERO, |peer| peer.timeout)
    }

    /// Heartbeats of the peer that get lost, in millionths.
    pub fn loss_ppm(&self, node: NodeId) -> u32 {
        self.peers.get(&node).map_or(0, |peer| peer.loss.ppm())
    }

    /// The watched peers, in their order.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.peers.keys().copied()
    }

    /// The counters by name, in a fixed order.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.stats.iter()
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Waking time now. Notices and credits lateness; the heartbeats' timer shows it, whose instants only this
    /// detector sets.
    fn wake(&mut self, now: Instant) -> Instant {
        let late = self.next_beat.map_or(Duration::ZERO, |due| now - due.max(self.credited));
        if late > self.timing.heartbeat / 2 {
            self.stats.stalls += 1;
            self.stalled = self.stalled.saturating_add(late);
            self.credited = now;
            self.awake = self.awake.max(now - self.stalled);
            self.woken = self.awake;
        } else {
            self.awake = self.awake.max(now - self.stalled);
        }
        self.awake
    }

    fn watch(&mut self, awake: Instant, node: NodeId) {
        let floor = self.floors.remove(&node).unwrap_or(self.timing.floor);
        let mut peer = Peer::new(awake, floor);
        peer.set_timeout(self.timing.heartbeat);
        peer.check = peer.deadline();
        self.checks.insert((peer.check, node));
        self.peers.insert(node, peer);
    }

    fn unwatch(&mut self, node: NodeId) {
        let Some(peer) = self.peers.remove(&node) else { return };
        self.checks.remove(&(peer.check, node));
        if peer.floor > self.timing.floor {
            self.floors.insert(node, peer.floor);
        }
        if self.floors.len() > FLOORS_LIMIT
            && let Some(lowest) = self.floors.iter().min_by_key(|(_, floor)| **floor).map(|(node, _)| *node)
        {
            self.floors.remove(&lowest);
            self.stats.floors_forgotten += 1;
        }
    }

    fn alive(&mut self, awake: Instant, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else {
            self.stats.drop_not_watched += 1;
            return;
        };
        let silence = awake - peer.heard;
        let first = !std::mem::replace(&mut peer.ever, true);
        peer.heard = awake;
        if !std::mem::replace(&mut peer.suspected, false) {
            self.advance_check(node);
            return;
        }
        self.stats.restores += 1;
        if first {
            self.stats.late_starts += 1;
        } else if silence > DELAY_LIMIT {
            self.stats.cuts += 1;
        } else {
            self.stats.mistakes += 1;
            peer.floor = (peer.floor + self.timing.step).min(self.timing.floor_limit);
        }
        peer.set_timeout(self.timing.heartbeat);
        peer.since = awake;
        peer.check = peer.deadline();
        self.checks.insert((peer.check, node));
        self.outputs.push_back(Output::Restore(node));
    }

    /// Looks at the peer's silence earlier, if its timeout became shorter. Later is left to [`Detector::judge`], so
    /// that a packet of a peer moves nothing.
    fn advance_check(&mut self, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let deadline = peer.deadline();
        if !peer.suspected && deadline < peer.check {
            self.checks.remove(&(peer.check, node));
            self.checks.insert((deadline, node));
            peer.check = deadline;
        }
    }

    fn judge(&mut self, awake: Instant, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let deadline = peer.deadline();
        if deadline > awake {
            peer.check = deadline;
            self.checks.insert((deadline, node));
            return;
        }
        (peer.suspected, peer.excused) = (true, true);
        self.stats.suspicions += 1;
        self.outputs.push_back(Output::Suspect(node));
    }

    fn take_echo(&mut self, awake: Instant, node: NodeId, heard_ms: Option<u32>) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        // The loss in the peer's direction is not known here: the most patience there is, lest a lossy path flap.
        let patience = peer.timeout.max(self.timing.heartbeat * ROW_MOST + peer.path);
        let hears = heard_ms.is_some_and(|age| Duration::from_millis(u64::from(age)) <= patience);
        let deaf = !hears && (peer.deaf || awake - peer.since.max(self.woken) > patience);
        if deaf != peer.deaf {
            peer.deaf = deaf;
            self.stats.one_ways += u64::from(deaf);
            self.outputs.push_back(Output::OneWay { node, deaf });
        }
    }

    fn send_beats(&mut self, awake: Instant) {
        for (node, peer) in &mut self.peers {
            peer.sent += 1;
            let age = Some(awake - peer.heard).filter(|age| peer.ever && *age <= ECHO_LIMIT);
            let heard_ms = age.and_then(|age| u32::try_from(age.as_millis()).ok());
            self.outputs.push_back(Output::Send { to: *node, beat: Beat { sequence: peer.sent, heard_ms } });
        }
        self.stats.beats_sent += self.peers.len() as u64;
    }
}

/// The first multiple of `heartbeat` that is more than half of one after `now`: ticks of the elections on the same
/// node lie there too, and their datagrams are shared.
fn next_tick(now: Instant, heartbeat: Duration) -> Instant {
    let step = u64::try_from(heartbeat.as_nanos()).unwrap_or(u64::MAX).max(1);
    let count = now.as_nanos().saturating_add(step / 2) / step;
    Instant::from_nanos(count.saturating_add(1).saturating_mul(step))
}
