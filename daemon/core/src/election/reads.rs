//! Read rounds that wait for a majority.

use std::collections::VecDeque;

use super::peers::{Peers, Seq};

/// Most read rounds that are open at once. At one per wake-up and 100 ms to a majority, that is ten thousand
/// wake-ups per second; beyond, the oldest is left to be covered by its successors.
pub(super) const READ_ROUNDS_LIMIT: usize = 1024;

/// The open read rounds of one leadership, oldest first.
#[derive(Debug, Default)]
pub(super) struct Reads {
    open: VecDeque<Seq>,
}

impl Reads {
    /// Opens a round. Returns how many were pushed out.
    pub(super) fn open(&mut self, seq: Seq) -> u64 {
        let full = self.open.len() == READ_ROUNDS_LIMIT;
        if full {
            self.open.pop_front();
        }
        self.open.push_back(seq);
        u64::from(full)
    }

    /// The oldest round that a majority has confirmed, taken out.
    ///
    /// An answer to a later question was made later too, so it confirms every round before: a lost answer
    /// is made good by any later one. Answers confirmed to an earlier leadership cannot count, for all its
    /// questions are older than the rounds that are open now.
    pub(super) fn confirmed(&mut self, peers: &Peers) -> Option<Seq> {
        let oldest = *self.open.front()?;
        if !peers.majority(|peer| peer.confirmed >= oldest) {
            return None;
        }
        self.open.pop_front()
    }

    /// Gives all open rounds up. Returns how many.
    pub(super) fn clear(&mut self) -> u64 {
        let count = self.open.len() as u64;
        self.open.clear();
        count
    }
}
