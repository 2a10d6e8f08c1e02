//! Putting a message together from its pieces.

use bytes::{Bytes, BytesMut};

use super::ranges::RangeSet;
use crate::frame::Part;

/// Memory is taken in steps of this many bytes, when something arrives for them, and never from a total that the
/// sender announced (LINKS, classes).
const CHUNK_BYTES: usize = 64 << 10;

/// A message of which some pieces are here.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Bytes from `index * CHUNK_BYTES` on.
    chunks: Vec<Vec<u8>>,
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
        let mut new = 0;
        self.received.insert(offset as u64..end as u64, |fresh| new += (fresh.end - fresh.start) as usize);
        if new > 0 {
            self.write(offset, payload);
        }
        Ok(new)
    }

    fn write(&mut self, mut offset: usize, mut payload: &[u8]) {
        while !payload.is_empty() {
            let (index, start) = (offset / CHUNK_BYTES, offset % CHUNK_BYTES);
            let (now, later) = payload.split_at(payload.len().min(CHUNK_BYTES - start));
            if self.chunks.len() <= index {
                self.chunks.resize_with(index + 1, Vec::new);
            }
            let chunk = &mut self.chunks[index];
            if chunk.len() == start {
                chunk.extend_from_slice(now);
            } else {
                let end = start + now.len();
                if chunk.len() < end {
                    chunk.resize(end, 0);
                }
                chunk[start..end].copy_from_slice(now);
            }
            offset += now.len();
            payload = later;
        }
    }

    /// Bytes received, each counted once.
    pub(super) fn buffered(&self) -> usize {
        self.received.iter().map(|range| (range.end - range.start) as usize).sum()
    }

    /// Whether no piece is missing.
    pub(super) fn is_complete(&self) -> bool {
        let Some((total, _)) = self.end else { return false };
        self.received.len() == 1 && self.received.first().is_some_and(|range| *range == (0..total as u64))
    }

    /// The message.
    ///
    /// # Errors
    /// If it does not have the CRC that the sender told.
    pub(super) fn finish(mut self) -> Result<Bytes, Contradiction> {
        let (total, crc) = self.end.ok_or(Contradiction)?;
        let message = if self.chunks.len() == 1 {
            Bytes::from(core::mem::take(&mut self.chunks[0]))
        } else {
            let mut whole = BytesMut::with_capacity(total);
            for chunk in self.chunks {
                whole.extend_from_slice(&chunk);
            }
            whole.freeze()
        };
        if message.len() == total && crc32fast::hash(&message) == crc {
            Ok(message)
        } else {
            Err(Contradiction)
        }
    }
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
        let held: usize = assembly.chunks.iter().map(|chunk| chunk.capacity() + size_of::<Vec<u8>>()).sum();
        assert!(held <= CHUNK_BYTES, "{held} bytes");
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
