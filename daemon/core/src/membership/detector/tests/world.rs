//! Some detectors that watch each other.

use std::collections::{BTreeMap, BTreeSet};

use haystack_wire::Instant;
use haystack_wire::ids::NodeId;
use haystack_wire::message::membership::Beat;
use haystack_wire::rng::Rng;
use haystack_wire::time::Duration;

use crate::membership::detector::{Detector, DetectorTiming, Output};

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn at(millis: u64) -> Instant {
    Instant::ZERO + ms(millis)
}

pub(super) fn id(node: usize) -> NodeId {
    NodeId([node as u8; 16])
}

/// What a detector told, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) by: usize,
    pub(super) about: usize,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Suspect,
    Restore,
    Deaf(bool),
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Detector>,
    pub(super) told: Vec<Told>,
    /// Heartbeats sent, by sender and receiver.
    pub(super) sent: BTreeMap<(usize, usize), u64>,
    /// Share of datagrams lost.
    pub(super) loss: f64,
    /// Shortest and longest delay of a datagram.
    pub(super) delay: (Duration, Duration),
    /// Directions that let nothing through.
    pub(super) cuts: BTreeSet<(usize, usize)>,
    pub(super) crashed: BTreeSet<usize>,
    /// Those that are not running, until when.
    stalled: BTreeMap<usize, Instant>,
    flying: BTreeMap<(Instant, u64), (usize, usize, Beat)>,
    flown: u64,
    rng: Rng,
}

impl World {
    pub(super) fn new(seed: u64, count: usize) -> Self {
        let nodes = (0..count).map(|node| {
            let mut detector = Detector::new(DetectorTiming::default(), Instant::ZERO);
            detector.set_peers(Instant::ZERO, (0..count).filter(|peer| *peer != node).map(id));
            detector
        });
        Self {
            now: Instant::ZERO,
            nodes: nodes.collect(),
            told: Vec::new(),
            sent: BTreeMap::new(),
            loss: 0.0,
            delay: (ms(1), ms(1)),
            cuts: BTreeSet::new(),
            crashed: BTreeSet::new(),
            stalled: BTreeMap::new(),
            flying: BTreeMap::new(),
            flown: 0,
            rng: Rng::from_u64(seed),
        }
    }

    /// Stops a node for so long. What arrives meanwhile waits for it.
    pub(super) fn stall(&mut self, node: usize, span: Duration) {
        self.stalled.insert(node, self.now + span);
    }

    pub(super) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(next) = self.next().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.deliver();
            for node in 0..self.nodes.len() {
                if self.runs(node) && self.nodes[node].poll_timeout().is_some_and(|due| due <= self.now) {
                    self.nodes[node].handle_timeout(self.now);
                    self.drain(node);
                }
            }
        }
        self.now = until;
    }

    /// Tells what was said since the last call.
    pub(super) fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    pub(super) fn suspects(&self, by: usize, about: usize) -> bool {
        self.nodes[by].suspects(id(about))
    }

    fn runs(&self, node: usize) -> bool {
        !self.crashed.contains(&node) && self.stalled.get(&node).is_none_or(|until| *until <= self.now)
    }

    fn next(&self) -> Option<Instant> {
        let free = |node: usize| self.stalled.get(&node).copied().unwrap_or(Instant::ZERO);
        let timers = (0..self.nodes.len())
            .filter(|node| !self.crashed.contains(node))
            .filter_map(|node| Some(self.nodes[node].poll_timeout()?.max(free(node))));
        let flying = self.flying.iter().map(|((at, _), (_, to, _))| (*at).max(free(*to)));
        timers.chain(flying).min()
    }

    fn deliver(&mut self) {
        let due: Vec<_> = self
            .flying
            .iter()
            .filter(|((at, _), (_, to, _))| *at <= self.now && (self.runs(*to) || self.crashed.contains(to)))
            .map(|(key, flight)| (*key, *flight))
            .collect();
        for (key, (from, to, beat)) in due {
            self.flying.remove(&key);
            if !self.crashed.contains(&to) {
                self.nodes[to].handle(self.now, id(from), beat);
                self.drain(to);
            }
        }
    }

    fn drain(&mut self, by: usize) {
        while let Some(output) = self.nodes[by].poll_output() {
            let (about, what) = match output {
                Output::Send { to, beat } => {
                    self.send(by, usize::from(to.0[0]), beat);
                    continue;
                }
                Output::Suspect(node) => (node, What::Suspect),
                Output::Restore(node) => (node, What::Restore),
                Output::OneWay { node, deaf } => (node, What::Deaf(deaf)),
            };
            self.told.push(Told { at: self.now, by, about: usize::from(about.0[0]), what });
        }
    }

    fn send(&mut self, from: usize, to: usize, beat: Beat) {
        *self.sent.entry((from, to)).or_default() += 1;
        if self.cuts.contains(&(from, to)) || self.rng.chance(self.loss) {
            return;
        }
        let (shortest, longest) = self.delay;
        let spread = (longest - shortest).as_nanos() as u64;
        let delay = shortest + Duration::from_nanos(self.rng.below(spread + 1));
        self.flown += 1;
        self.flying.insert((self.now + delay, self.flown), (from, to, beat));
    }
}
