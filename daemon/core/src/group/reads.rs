//! Linearizable reads without an entry in the log.
//!
//! A read waits for a heartbeat round whose nonce was drawn after the read arrived; if a majority answers it
//! with this leader's own ballot promised, no other leader can have decided anything before the round began.
//! Many reads share a round.

use std::collections::VecDeque;

use bytes::Bytes;
use haystack_wire::ids::LogIndex;

use super::Origin;

/// Reads that may wait in one group, the bound of its memory (judgement: 16 rounds of 4,096 clients).
const READS_LIMIT: usize = 65_536;

/// What is read.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// One key.
    Get(Bytes),
    /// A page of keys.
    Scan {
        /// After this key.
        after: Option<Bytes>,
        /// About so many bytes.
        limit: u32,
    },
}

/// A read that waits.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// Who asked.
    pub(super) origin: Origin,
    /// The request's mark.
    pub(super) id: u64,
    /// What is read.
    pub(super) what: What,
}

/// Reads whose round is confirmed.
#[derive(Debug)]
pub(super) struct Asked {
    /// The decided index when the round began.
    pub(super) at: LogIndex,
    /// The reads.
    pub(super) reads: VecDeque<Read>,
}

#[derive(Debug)]
struct Round {
    nonce: u64,
    at: LogIndex,
}

/// The reads of one group at its leader.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Arrived after the current round began.
    waiting: VecDeque<Read>,
    /// Covered by the current round.
    asked: VecDeque<Read>,
    round: Option<Round>,
}

impl Reads {
    /// Takes a read in. The `late` one joins the round that is under way: a mistake, for tests.
    ///
    /// # Errors
    /// If too many wait already.
    pub(super) fn push(&mut self, read: Read, late: bool) -> Result<(), Read> {
        if self.waiting.len() + self.asked.len() >= READS_LIMIT {
            return Err(read);
        }
        if late && self.round.is_some() {
            self.asked.push_back(read);
        } else {
            self.waiting.push_back(read);
        }
        Ok(())
    }

    /// Whether a round should begin now: reads wait, and none is under way. A round whose answers are lost needs no
    /// other: an answer to any later question of the election confirms it too.
    pub(super) fn wants_round(&self) -> bool {
        self.round.is_none() && !self.waiting.is_empty()
    }

    /// A round has begun, after everything that waits had arrived.
    pub(super) fn begin(&mut self, nonce: u64, at: LogIndex) {
        self.asked.append(&mut self.waiting);
        self.round = Some(Round { nonce, at });
    }

    /// The round is confirmed: its reads may be served.
    pub(super) fn confirmed(&mut self, nonce: u64) -> Option<Asked> {
        let round = self.round.take_if(|round| round.nonce == nonce)?;
        Some(Asked { at: round.at, reads: core::mem::take(&mut self.asked) })
    }

    /// Everything that waits, when this replica leads no more.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Read> + use<> {
        self.round = None;
        core::mem::take(&mut self.asked).into_iter().chain(core::mem::take(&mut self.waiting))
    }
}
