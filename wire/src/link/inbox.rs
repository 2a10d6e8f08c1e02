//! The receiving half of one class: every message once, and in order where the class says so.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::assembly::Assembly;
use super::config::{ClassLimits, Credit};
use super::ranges::RangeSet;
use crate::frame::{Class, Part, SequenceBits};

/// Messages that arrive whole and in their turn are cut from chunks of this many bytes, so that a message costs no
/// allocation. Who keeps one keeps its chunk.
const ARENA_CHUNK_BYTES: usize = 64 << 10;

/// What it takes to keep an early message, or a piece that waits aside, besides its bytes (judgement: entries of two
/// trees and an allocation, rounded up). It counts against the bound of incomplete messages, which would else be no
/// bound for pieces of a byte each.
const BOOKKEEPING_BYTES: usize = 128;

/// Where delivered messages live until the layer above lets go of them.
#[derive(Debug, Default)]
pub(super) struct Arena(BytesMut);

impl Arena {
    /// A copy of `payload`.
    pub(super) fn copy(&mut self, payload: &[u8]) -> Bytes {
        if payload.is_empty() {
            return Bytes::new();
        }
        if self.0.capacity() < payload.len() {
            self.0 = BytesMut::with_capacity(ARENA_CHUNK_BYTES.max(payload.len()));
        }
        self.0.extend_from_slice(payload);
        self.0.split().freeze()
    }
}

/// What the other end did wrong. It was authenticated: its program is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misdeed {
    /// It sent more than it was granted.
    OverCredit,
    /// A message is longer than its class allows.
    TooLong,
    /// The pieces of a message contradict each other or its CRC.
    Corrupt,
}

/// What became of a message frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// One message or several were delivered.
    Delivered,
    /// It waits for others.
    Kept,
    /// All of it was here before.
    Duplicate,
}

#[derive(Debug)]
enum Early {
    Whole(Bytes),
    Pieces(Assembly),
}

/// The receiving half of a class.
#[derive(Debug)]
pub(super) struct RecvClass {
    limits: ClassLimits,
    ordered: bool,
    /// Every message below was delivered.
    next: u64,
    /// Messages from `next` on that were delivered, where there is no order.
    delivered: RangeSet,
    /// Messages from `next` on that cannot be delivered yet.
    early: BTreeMap<u64, Early>,
    /// Bytes in `early`.
    buffered: usize,
    /// Pieces in `early` that wait aside.
    scattered: usize,
    /// Message bytes received, each counted once.
    received: u64,
    /// What the layer above has fetched.
    consumed: Credit,
    announced: Credit,
    announce: bool,
}

impl RecvClass {
    pub(super) fn new(class: Class, limits: ClassLimits) -> Self {
        let announced = Credit::initial(class);
        let announce = announced.bytes < limits.bytes as u64 || announced.messages < limits.messages;
        Self {
            limits,
            ordered: matches!(class, Class::Broadcast | Class::Bulk),
            next: 0,
            delivered: RangeSet::default(),
            early: BTreeMap::new(),
            buffered: 0,
            scattered: 0,
            received: 0,
            consumed: Credit { bytes: 0, messages: 0 },
            announced,
            announce,
        }
    }

    /// Bytes of messages that cannot be delivered yet, and of what it takes to keep them.
    pub(super) fn buffered(&self) -> usize {
        self.buffered + (self.early.len() + self.scattered) * BOOKKEEPING_BYTES
    }

    /// Whether a frame would have to be kept for others to arrive.
    pub(super) fn keeps(&self, bits: SequenceBits, part: Part) -> bool {
        part != Part::Whole || (self.ordered && bits.nearest(self.next) > self.next)
    }

    /// Takes a message frame in, and calls `deliver` with every message whose turn it now is.
    ///
    /// # Errors
    /// If no sender that keeps the rules sends such a frame.
    pub(super) fn receive(
        &mut self,
        bits: SequenceBits,
        part: Part,
        payload: &[u8],
        arena: &mut Arena,
        mut deliver: impl FnMut(Bytes),
    ) -> Result<Taken, Misdeed> {
        let sequence = bits.nearest(self.next);
        if sequence < self.next || self.delivered.contains(sequence) {
            return Ok(Taken::Duplicate);
        }
        let offset = match part {
            Part::Whole => 0,
            Part::Piece { offset } | Part::Last { offset, .. } => offset as usize,
        };
        if offset + payload.len() > self.limits.message_bytes {
            return Err(Misdeed::TooLong);
        }
        if sequence >= self.announced.messages {
            return Err(Misdeed::OverCredit);
        }
        if part == Part::Whole {
            return self.receive_whole(sequence, payload, arena, deliver);
        }
        let early = self.early.entry(sequence).or_insert_with(|| Early::Pieces(Assembly::default()));
        let Early::Pieces(assembly) = early else { return Ok(Taken::Duplicate) };
        let before = assembly.scattered();
        let new = assembly.insert(part, payload).map_err(|_| Misdeed::Corrupt)?;
        let complete = assembly.is_complete();
        self.scattered = self.scattered - before + assembly.scattered();
        self.buffered += new;
        self.count(new)?;
        if new == 0 {
            return Ok(Taken::Duplicate);
        }
        if !complete || (self.ordered && sequence > self.next) {
            return Ok(Taken::Kept);
        }
        if self.ordered {
            self.deliver_ordered(&mut deliver)?;
        } else {
            let message = self.take_early(sequence)?;
            self.deliver_unordered(sequence, message, &mut deliver);
        }
        Ok(Taken::Delivered)
    }

    fn receive_whole(
        &mut self,
        sequence: u64,
        payload: &[u8],
        arena: &mut Arena,
        mut deliver: impl FnMut(Bytes),
    ) -> Result<Taken, Misdeed> {
        // Pieces of the same message can only be here if it was sent over a narrower path before.
        let (known, scattered) = if self.early.is_empty() {
            (0, 0)
        } else {
            match self.early.get(&sequence) {
                Some(Early::Whole(_)) => return Ok(Taken::Duplicate),
                Some(Early::Pieces(assembly)) => (assembly.buffered(), assembly.scattered()),
                None => (0, 0),
            }
        };
        self.count(payload.len().checked_sub(known).ok_or(Misdeed::Corrupt)?)?;
        if known > 0 {
            self.early.remove(&sequence);
            self.buffered -= known;
            self.scattered -= scattered;
        }
        if !self.ordered {
            self.deliver_unordered(sequence, arena.copy(payload), &mut deliver);
        } else if sequence == self.next {
            deliver(arena.copy(payload));
            self.next += 1;
            self.deliver_ordered(&mut deliver)?;
        } else {
            // Exactly its size: an early message must not hold a chunk of others.
            self.early.insert(sequence, Early::Whole(Bytes::copy_from_slice(payload)));
            self.buffered += payload.len();
            return Ok(Taken::Kept);
        }
        Ok(Taken::Delivered)
    }

    /// Counts new bytes against what was granted.
    fn count(&mut self, new: usize) -> Result<(), Misdeed> {
        self.received += new as u64;
        if self.received > self.announced.bytes { Err(Misdeed::OverCredit) } else { Ok(()) }
    }

    /// Delivers early messages as long as it is their turn.
    fn deliver_ordered(&mut self, deliver: &mut impl FnMut(Bytes)) -> Result<(), Misdeed> {
        while let Some(first) = self.early.first_entry() {
            let ready = match first.get() {
                Early::Whole(_) => true,
                Early::Pieces(assembly) => assembly.is_complete(),
            };
            if *first.key() != self.next || !ready {
                break;
            }
            deliver(self.take_early(self.next)?);
            self.next += 1;
        }
        Ok(())
    }

    fn take_early(&mut self, sequence: u64) -> Result<Bytes, Misdeed> {
        let message = match self.early.remove(&sequence) {
            Some(Early::Whole(message)) => message,
            Some(Early::Pieces(assembly)) => assembly.finish().map_err(|_| Misdeed::Corrupt)?,
            None => return Err(Misdeed::Corrupt),
        };
        self.buffered -= message.len();
        Ok(message)
    }

    fn deliver_unordered(&mut self, sequence: u64, message: Bytes, deliver: &mut impl FnMut(Bytes)) {
        deliver(message);
        if sequence > self.next {
            self.delivered.insert(sequence..sequence + 1, |_| ());
            return;
        }
        self.next += 1;
        if let Some(first) = self.delivered.first()
            && first.start == self.next
        {
            self.next = first.end;
            self.delivered.pop_first();
        }
    }

    /// The layer above has fetched a message: room for others.
    pub(super) fn on_consumed(&mut self, len: usize) -> bool {
        self.consumed.bytes += len as u64;
        self.consumed.messages += 1;
        let target = self.target();
        // A quarter at a time: one credit frame for many messages, long before the sender runs dry.
        if target.bytes - self.announced.bytes >= self.limits.bytes as u64 / 4
            || target.messages - self.announced.messages >= self.limits.messages / 4
        {
            self.announce = true;
        }
        self.announce
    }

    fn target(&self) -> Credit {
        let bytes = self.consumed.bytes + self.limits.bytes as u64;
        let messages = self.next.min(self.consumed.messages) + self.limits.messages;
        Credit { bytes: bytes.max(self.announced.bytes), messages: messages.max(self.announced.messages) }
    }

    /// Say again what is granted: the other end asks, or the last word was lost.
    pub(super) const fn announce_again(&mut self) {
        self.announce = true;
    }

    /// Whether a credit has to be told.
    pub(super) const fn wants_announcement(&self) -> bool {
        self.announce
    }

    /// The credit to tell now.
    pub(super) fn announcement(&mut self) -> Credit {
        self.announced = self.target();
        self.announce = false;
        self.announced
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.delivered.memory() + self.early.len() * 64 + self.buffered
    }

    /// Gives back memory that a busier time needed.
    pub(super) fn tidy(&mut self) {
        self.delivered.shrink();
    }
}
