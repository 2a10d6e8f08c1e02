//! Trouble on purpose between groups and links, so that tests reach what perfect links hide (FoundationDB's "buggify").
//!
//! Safety of the broadcast must not depend on the links: each of its messages may be lost, repeated, late or
//! overtaken. Between processes whose links hold what they promise that hardly ever happens.

use std::collections::VecDeque;

use bytes::Bytes;
use haystack_wire::ids::NodeId;
use haystack_wire::rng::Rng;

/// Messages that are held back at most; the oldest goes first.
const HELD_MOST: usize = 64;

/// How often messages of groups are mistreated, in millionths. All 0 in a daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buggify {
    /// Lost.
    pub lose: u32,
    /// Sent twice.
    pub repeat: u32,
    /// Held back, so that others overtake them.
    pub hold: u32,
    /// Of those held back, sent at the next occasion.
    pub release: u32,
}

/// Who mistreats them.
#[derive(Debug)]
pub(super) struct Gremlin {
    rates: Buggify,
    rng: Rng,
    held: VecDeque<(NodeId, Bytes)>,
}

impl Gremlin {
    /// Nobody, if there is nothing to do.
    pub(super) fn new(rates: Buggify, rng: &mut Rng) -> Option<Box<Self>> {
        (rates != Buggify::default())
            .then(|| Box::new(Self { rates, rng: rng.fork(), held: VecDeque::new() }))
    }

    fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.rng.below(1_000_000) < u64::from(ppm)
    }

    /// How often a message is to be sent now.
    pub(super) fn copies(&mut self, to: NodeId, bytes: &Bytes) -> usize {
        if self.chance(self.rates.lose) {
            return 0;
        }
        if self.chance(self.rates.hold) {
            if self.held.len() == HELD_MOST {
                self.held.pop_front();
            }
            self.held.push_back((to, bytes.clone()));
            return 0;
        }
        1 + usize::from(self.chance(self.rates.repeat))
    }

    /// A message that was held back for long enough.
    pub(super) fn release(&mut self) -> Option<(NodeId, Bytes)> {
        if self.held.is_empty() || !self.chance(self.rates.release) {
            return None;
        }
        let at = self.rng.below(self.held.len() as u64) as usize;
        self.held.swap_remove_back(at)
    }
}
