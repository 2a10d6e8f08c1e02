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
/// Bytes of keys in the reads that may wait in one group (judgement: the links' window of one busy client).
const READS_BYTES: usize = 8 << 20;

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

impl What {
    fn bytes(&self) -> usize {
        match self {
            Self::Get(key) => key.len(),
            Self::Scan { after, .. } => after.as_ref().map_or(0, Bytes::len),
        }
    }
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
    /// Bytes of keys in both.
    bytes: usize,
    round: Option<Round>,
}

impl Reads {
    /// Takes a read in. The `late` one joins the round that is under way: a mistake, for tests.
    ///
    /// # Errors
    /// If too many wait already.
    pub(super) fn push(&mut self, read: Read, late: bool) -> Result<(), Read> {
        let bytes = self.bytes + read.what.bytes();
        if self.waiting.len() + self.asked.len() >= READS_LIMIT || bytes > READS_BYTES {
            return Err(read);
        }
        self.bytes = bytes;
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
        let reads = core::mem::take(&mut self.asked);
        self.bytes -= reads.iter().map(|read| read.what.bytes()).sum::<usize>();
        Some(Asked { at: round.at, reads })
    }

    /// Everything that waits, when this replica leads no more.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Read> + use<> {
        self.round = None;
        self.bytes = 0;
        core::mem::take(&mut self.asked).into_iter().chain(core::mem::take(&mut self.waiting))
    }
}

#[cfg(test)]
mod tests {
    use haystack_wire::link::LinkId;

    use super::*;

    fn read(id: u64, bytes: usize) -> Read {
        let origin = Origin { link: LinkId(1), token: None };
        Read { origin, id, what: What::Get(Bytes::from(vec![b'k'; bytes])) }
    }

    #[test]
    fn a_round_covers_what_arrived_before_it_and_only_its_own_nonce_confirms_it() {
        let mut reads = Reads::default();
        reads.push(read(1, 1), false).unwrap();
        assert!(reads.wants_round());
        reads.begin(7, LogIndex(3));
        reads.push(read(2, 1), false).unwrap();
        assert!(!reads.wants_round(), "one round at a time");
        assert!(reads.confirmed(6).is_none(), "an earlier round's nonce");
        let asked = reads.confirmed(7).unwrap();
        assert_eq!((asked.at, asked.reads.len(), asked.reads[0].id), (LogIndex(3), 1, 1));
        assert!(reads.wants_round(), "what arrived later waits for a round of its own");
        assert!(reads.confirmed(7).is_none(), "a round confirms once");
    }

    #[test]
    fn waiting_reads_are_bounded_in_bytes_and_room_comes_back() {
        let mut reads = Reads::default();
        let long = READS_BYTES / 4;
        (0..4).for_each(|id| reads.push(read(id, long), false).unwrap());
        assert_eq!(reads.push(read(4, 1), false).unwrap_err().id, 4);
        reads.begin(1, LogIndex(0));
        assert_eq!(reads.confirmed(1).unwrap().reads.len(), 4);
        reads.push(read(5, long), false).unwrap();
        assert_eq!(reads.drain().count(), 1);
        (0..4).for_each(|id| reads.push(read(id, long), false).unwrap());
    }
}
