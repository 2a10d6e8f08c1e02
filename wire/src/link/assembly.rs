//! Putting a message together from its pieces.

use std::collections::BTreeMap;

use bytes::Bytes;
use crc32fast::Hasher;

use super::ranges::RangeSet;
use crate::frame::Part;

/// Memory is taken in steps of at least this many bytes once a message is that long, when something arrives for it, and
/// never from a total that the sender announced (LINKS, classes).
const STEP_BYTES: usize = 64 << 10;

/// A message of which some pieces are here.
///
/// Pieces come almost in order, so the message grows at its end, and its CRC with it; what comes early waits aside.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// The message up to the first byte that is missing.
    head: Vec<u8>,
    crc: Hasher,
    /// Pieces behind that byte, by their offset; none overlaps another.
    early: BTreeMap<usize, Vec<u8>>,
    received: RangeSet,
    /// Length and CRC-32, known with the last piece.
    end: Option<(usize, u32)>,
}

/// Pieces that contradict each other, or the CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contradiction;

impl Assembly {
    /// Takes a piece in; returns how many of its bytes were new.
    ///
    /// # Errors
    /// If the piece contradicts the message's end.
    pub(super) fn insert(&mut self, part: Part, payload: &[u8]) -> Result<usize, Contradiction> {
        let (offset, last) = match part {
            Part::Whole => return Err(Contradiction),
            Part::Piece { offset } => (offset as usize, None),
            Part::Last { offset, crc } => (offset as usize, Some(crc)),
        };
        let end = offset + payload.len();
        let highest = self.received.iter().next_back().map_or(0, |range| range.end as usize);
        match (self.end, last) {
            (Some(known), Some(crc)) if known != (end, crc) => return Err(Contradiction),
            (Some((total, _)), None) if end > total => return Err(Contradiction),
            (None, Some(_)) if highest > end => return Err(Contradiction),
            (None, Some(crc)) => self.end = Some((end, crc)),
            _ => {}
        }
        let Self { head, crc, early, received, .. } = self;
        let mut new = 0;
        // Only what is new is kept, so that pieces that overlap take no more memory than is counted.
        received.insert(offset as u64..end as u64, |fresh| {
            let (start, end) = (fresh.start as usize, fresh.end as usize);
            let bytes = &payload[start - offset..end - offset];
            new += bytes.len();
            if start == head.len() {
                append(head, crc, bytes);
            } else {
                early.insert(start, bytes.to_vec());
            }
        });
        while let Some(first) = early.first_entry()
            && *first.key() == head.len()
        {
            append(head, crc, &first.remove());
        }
        Ok(new)
    }

    /// Bytes received, each counted once.
    pub(super) fn buffered(&self) -> usize {
        self.received.iter().map(|range| (range.end - range.start) as usize).sum()
    }

    /// Pieces that wait aside.
    pub(super) fn scattered(&self) -> usize {
        self.early.len()
    }

    /// Whether no piece is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.end.is_some_and(|(total, _)| self.head.len() == total)
    }

    /// The message.
    ///
    /// # Errors
    /// If it does not have the CRC that the sender told.
    pub(super) fn finish(self) -> Result<Bytes, Contradiction> {
        let (total, crc) = self.end.ok_or(Contradiction)?;
        if self.head.len() == total && self.crc.finalize() == crc {
            Ok(Bytes::from(self.head))
        } else {
            Err(Contradiction)
        }
    }
}

/// Appends `bytes` to the message up to the first byte that is missing.
fn append(head: &mut Vec<u8>, crc: &mut Hasher, bytes: &[u8]) {
    let missing = (head.len() + bytes.len()).saturating_sub(head.capacity());
    if missing > 0 && head.len() >= STEP_BYTES {
        head.reserve_exact(missing.max(STEP_BYTES).max(head.len() / 2));
    }
    head.extend_from_slice(bytes);
    crc.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn pieces_in_any_order_and_number_give_the_message() {
        for seed in 0..40 {
            let mut rng = Rng::from_u64(seed);
            let total = 1 + rng.below(200_000) as usize;
            let message: Vec<u8> = (0..total).map(|at| (at * 31 + seed as usize) as u8).collect();
            let crc = crc32fast::hash(&message);
            let mut pieces = Vec::new();
            let mut at = 0;
            while at < total {
                let len = (1 + rng.below(9_000) as usize).min(total - at);
                pieces.push((at, len));
                at += len;
            }
            pieces.extend(pieces.clone());
            let mut assembly = Assembly::default();
            let mut new = 0;
            while !pieces.is_empty() {
                let (offset, len) = pieces.swap_remove(rng.below(pieces.len() as u64) as usize);
                let bytes = &message[offset..offset + len];
                let offset = offset as u32;
                let last = offset as usize + len == total;
                let part = if last { Part::Last { offset, crc } } else { Part::Piece { offset } };
                new += assembly.insert(part, bytes).unwrap();
                assert_eq!(assembly.buffered(), new);
                assert_eq!(assembly.is_complete(), new == total);
            }
            assert_eq!(assembly.finish().unwrap(), message);
        }
    }

    #[test]
    fn one_far_piece_takes_no_memory_for_what_is_missing() {
        let mut assembly = Assembly::default();
        assembly.insert(Part::Piece { offset: 16 << 20 }, &[7; 100]).unwrap();
        let early: usize = assembly.early.values().map(Vec::capacity).sum();
        assert_eq!((assembly.head.capacity(), early), (0, 100));
    }

    #[test]
    fn pieces_that_overlap_take_no_more_memory_than_is_counted() {
        let mut assembly = Assembly::default();
        let mut counted = 0;
        for offset in 1..2000 {
            counted += assembly.insert(Part::Piece { offset }, &[7; 1000]).unwrap();
        }
        let kept: usize = assembly.early.values().map(Vec::capacity).sum();
        assert_eq!((kept, assembly.buffered()), (counted, counted));
        counted +=
            assembly.insert(Part::Last { offset: 0, crc: crc32fast::hash(&[7; 3000]) }, &[7; 3000]).unwrap();
        assert_eq!(counted, 3000);
        assert_eq!(assembly.finish().unwrap(), &[7; 3000][..]);
    }

    #[test]
    fn contradictions_are_refused() {
        let mut assembly = Assembly::default();
        assembly.insert(Part::Last { offset: 10, crc: 1 }, &[0; 10]).unwrap();
        assert_eq!(assembly.insert(Part::Piece { offset: 15 }, &[0; 6]), Err(Contradiction));
        assert_eq!(assembly.insert(Part::Last { offset: 10, crc: 2 }, &[0; 10]), Err(Contradiction));
        assert_eq!(assembly.insert(Part::Last { offset: 5, crc: 1 }, &[0; 10]), Err(Contradiction));
        assembly.insert(Part::Piece { offset: 0 }, &[0; 10]).unwrap();
        assert!(assembly.is_complete());
        assert_eq!(assembly.finish(), Err(Contradiction), "the CRC is wrong");
        let mut assembly = Assembly::default();
        assembly.insert(Part::Piece { offset: 15 }, &[0; 6]).unwrap();
        assert_eq!(assembly.insert(Part::Last { offset: 10, crc: 1 }, &[0; 10]), Err(Contradiction));
    }
}
