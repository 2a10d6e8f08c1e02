//! The sending half of one class: messages waiting, in flight, and to be sent again.
//!
//! A message is kept as the `Bytes` it was given until all of it is acknowledged, and copied once per transmission,
//! into the datagram. Exactness lives in the message sequence; packets only report which runs of
//! messages they carried.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::config::{ClassLimits, Credit};
use super::ranges::RangeSet;
use crate::frame::{Class, Extent, Part, message_len, message_room, put_message};

/// A piece of a message is not worth a frame below this many bytes (judgement).
const PIECE_MIN: usize = 64;
/// Credit left over is not worth a piece of a message below this many bytes (judgement).
const CREDIT_PIECE_MIN: u64 = 1024;

/// What one packet carried, so that an acknowledgement or a loss can be led back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// Whole messages with consecutive sequences.
    Whole { class: Class, first: u64, count: u32 },
    /// Bytes of one message.
    Piece { class: Class, sequence: u64, offset: u32, len: u32 },
    /// The credit of a class.
    Credit { class: Class },
}

/// What came of a try to append a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// Nothing waits, or no credit is left.
    Nothing,
    /// Something waits, but the datagram has no room for it.
    NoRoom,
    /// A frame was appended.
    Frame {
        /// Its payload ends with the datagram: nothing may follow.
        full: bool,
    },
}

#[derive(Debug)]
struct Message {
    bytes: Bytes,
    /// CRC-32 of all of it, once a piece of it was sent.
    crc: Option<u32>,
    acked: bool,
}

/// The sending half of a class.
#[derive(Debug)]
pub(super) struct SendClass {
    class: Class,
    limits: ClassLimits,
    /// Sequence of the message at the front of the queue.
    base: u64,
    queue: VecDeque<Message>,
    /// The first message that was not wholly sent yet, and how much of it was.
    next: u64,
    next_offset: usize,
    /// Bytes not acknowledged.
    buffered: usize,
    /// Message bytes sent, each counted once.
    sent_bytes: u64,
    credit: Credit,
    resend: VecDeque<Run>,
    /// Acknowledged pieces of messages.
    pieces: BTreeMap<u64, RangeSet>,
    /// A message of this size was refused and the layer above waits for room.
    refused: Option<usize>,
}

impl SendClass {
    pub(super) fn new(class: Class, limits: ClassLimits) -> Self {
        Self {
            class,
            limits,
            base: 0,
            queue: VecDeque::new(),
            next: 0,
            next_offset: 0,
            buffered: 0,
            sent_bytes: 0,
            credit: Credit::initial(class),
            resend: VecDeque::new(),
            pieces: BTreeMap::new(),
            refused: None,
        }
    }

    /// Bytes that would be taken now.
    pub(super) fn capacity(&self) -> usize {
        if self.queue.len() >= self.limits.messages as usize {
            return 0;
        }
        self.limits.bytes.saturating_sub(self.buffered)
    }

    /// Messages that were not wholly acknowledged.
    pub(super) fn unacked(&self) -> u64 {
        self.queue.iter().filter(|message| !message.acked).count() as u64
    }

    /// Takes a message, or notes that the layer above waits.
    pub(super) fn push(&mut self, message: Bytes) -> bool {
        if message.len() > self.capacity() || self.queue.len() >= self.limits.messages as usize {
            self.refused = Some(self.refused.map_or(message.len(), |len| len.max(message.len())));
            return false;
        }
        self.buffered += message.len();
        self.queue.push_back(Message { bytes: message, crc: None, acked: false });
        true
    }

    /// True once after a refusal, when there is room again; not for a trickle of it.
    pub(super) fn take_writable(&mut self) -> bool {
        let Some(len) = self.refused else { return false };
        let room = len.max(self.limits.bytes / 8).min(self.limits.bytes);
        let places = self.limits.messages as usize - self.limits.messages as usize / 8;
        let writable = self.capacity() >= room && self.queue.len() < places.max(1);
        if writable {
            self.refused = None;
        }
        writable
    }

    /// The other end lets us send up to `credit`. Credits only grow: an older one that arrives late changes nothing.
    pub(super) fn on_credit(&mut self, credit: Credit) {
        self.credit.bytes = self.credit.bytes.max(credit.bytes);
        self.credit.messages = self.credit.messages.max(credit.messages);
    }

    /// How many bytes of the next new message may be sent; `None` if there is none, or no credit.
    fn allowed(&self) -> Option<usize> {
        let message = self.queue.get((self.next - self.base) as usize)?;
        if self.next >= self.credit.messages {
            return None;
        }
        let rest = message.bytes.len() - self.next_offset;
        let credit = self.credit.bytes.saturating_sub(self.sent_bytes);
        if rest as u64 <= credit {
            Some(rest)
        } else {
            (credit >= CREDIT_PIECE_MIN).then_some(credit as usize)
        }
    }

    /// Whether something can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        !self.resend.is_empty() || self.allowed().is_some()
    }

    /// Whether only the other end's credit holds new messages back.
    pub(super) fn is_blocked(&self) -> bool {
        self.next < self.base + self.queue.len() as u64 && self.allowed().is_none()
    }

    /// Appends one frame of at most `room` bytes; an empty datagram would have had room for `datagram` bytes.
    pub(super) fn fill(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        datagram: usize,
        runs: &mut Vec<Run>,
    ) -> Filled {
        while let Some(run) = self.resend.front().copied() {
            let Some((sequence, offset, end)) = self.missing(run) else {
                self.resend.pop_front();
                continue;
            };
            let Some((len, full)) = self.put(out, sequence, offset..end, room, datagram, runs) else {
                return Filled::NoRoom;
            };
            self.resend.pop_front();
            if let Run::Whole { class, first, count } = run
                && sequence + 1 < first + u64::from(count)
            {
                let count = (first + u64::from(count) - sequence - 1) as u32;
                self.resend.push_front(Run::Whole { class, first: sequence + 1, count });
            }
            if offset + len < end {
                let (offset, len) = ((offset + len) as u32, (end - offset - len) as u32);
                self.resend.push_front(Run::Piece { class: self.class, sequence, offset, len });
            }
            return Filled::Frame { full };
        }
        let Some(allowed) = self.allowed() else { return Filled::Nothing };
        let (sequence, start) = (self.next, self.next_offset);
        let Some((len, full)) = self.put(out, sequence, start..start + allowed, room, datagram, runs) else {
            return Filled::NoRoom;
        };
        self.sent_bytes += len as u64;
        self.next_offset += len;
        if self.next_offset == self.queue[(sequence - self.base) as usize].bytes.len() {
            self.next += 1;
            self.next_offset = 0;
        }
        Filled::Frame { full }
    }

    /// The first bytes of `run` that were not acknowledged meanwhile: sequence, from, to.
    fn missing(&self, run: Run) -> Option<(u64, usize, usize)> {
        match run {
            Run::Whole { first, count, .. } => {
                let unacked = |sequence: &u64| !self.queue[(sequence - self.base) as usize].acked;
                let sequence = (first.max(self.base)..first + u64::from(count)).find(unacked)?;
                Some((sequence, 0, self.queue[(sequence - self.base) as usize].bytes.len()))
            }
            Run::Piece { sequence, offset, len, .. } => {
                let at = sequence.checked_sub(self.base)? as usize;
                if self.queue[at].acked {
                    return None;
                }
                let (mut start, end) = (u64::from(offset), u64::from(offset) + u64::from(len));
                if let Some(acked) = self.pieces.get(&sequence)
                    && let Some(range) = acked.iter().find(|range| range.start <= start && start < range.end)
                {
                    start = range.end;
                }
                (start < end).then_some((sequence, start as usize, end as usize))
            }
            Run::Credit { .. } => None,
        }
    }

    /// Appends a frame with as many bytes of `range` of a message as fit, and returns how many, and whether nothing
    /// may follow; `None` if it is not worth it.
    fn put(
        &mut self,
        out: &mut Vec<u8>,
        sequence: u64,
        range: core::ops::Range<usize>,
        room: usize,
        datagram: usize,
        runs: &mut Vec<Run>,
    ) -> Option<(usize, bool)> {
        let class = self.class;
        let message = &mut self.queue[(sequence - self.base) as usize];
        let total = message.bytes.len();
        if range == (0..total) {
            for extent in [Extent::Delimited, Extent::Rest] {
                if message_len(Part::Whole, total, extent) <= room {
                    put_message(out, class, sequence, Part::Whole, &message.bytes, extent);
                    note_whole(runs, class, sequence);
                    return Some((total, extent == Extent::Rest));
                }
            }
            let fits_alone = message_len(Part::Whole, total, Extent::Rest) <= datagram;
            if fits_alone && room < datagram / 4 {
                return None;
            }
        }
        if room < PIECE_MIN {
            return None;
        }
        let crc = *message.crc.get_or_insert_with(|| crc32fast::hash(&message.bytes));
        let offset = range.start as u32;
        let last = Part::Last { offset, crc };
        let (part, len) = match message_room(last, room, Extent::Rest) {
            Some(most) if range.end == total && most >= range.len() => (last, range.len()),
            _ => {
                let piece = Part::Piece { offset };
                // A piece that reaches the end would have been the last one: leave that a byte.
                let most = message_room(piece, room, Extent::Rest)?.min(total - range.start - 1);
                (piece, most.min(range.len()))
            }
        };
        if len == 0 {
            return None;
        }
        let delimited = message_len(part, len, Extent::Delimited) <= room;
        let extent = if delimited { Extent::Delimited } else { Extent::Rest };
        put_message(out, class, sequence, part, &message.bytes[range.start..range.start + len], extent);
        runs.push(Run::Piece { class, sequence, offset, len: len as u32 });
        Some((len, !delimited))
    }

    /// `run` has arrived.
    pub(super) fn on_arrived(&mut self, run: &Run) {
        match *run {
            Run::Whole { first, count, .. } => {
                for sequence in first.max(self.base)..first + u64::from(count) {
                    self.on_message_arrived(sequence);
                }
            }
            Run::Piece { sequence, offset, len, .. } => {
                let Some(at) = sequence.checked_sub(self.base) else { return };
                let message = &self.queue[at as usize];
                if message.acked {
                    return;
                }
                let total = message.bytes.len() as u64;
                let pieces = self.pieces.entry(sequence).or_default();
                pieces.insert(u64::from(offset)..u64::from(offset) + u64::from(len), |_| ());
                if pieces.first().is_some_and(|range| *range == (0..total)) {
                    self.on_message_arrived(sequence);
                }
            }
            Run::Credit { .. } => {}
        }
        while self.queue.front().is_some_and(|message| message.acked) {
            self.queue.pop_front();
            self.base += 1;
        }
    }

    fn on_message_arrived(&mut self, sequence: u64) {
        let message = &mut self.queue[(sequence - self.base) as usize];
        if !message.acked {
            message.acked = true;
            self.buffered -= message.bytes.len();
            message.bytes = Bytes::new();
            if message.crc.is_some() {
                self.pieces.remove(&sequence);
            }
        }
    }

    /// `run` is lost and has to be sent again.
    pub(super) fn on_lost(&mut self, run: &Run) {
        // Neighbours become one again, so that a long burst of losses is a short queue.
        if let (Some(Run::Whole { first, count, .. }), Run::Whole { first: new_first, count: new_count, .. }) =
            (self.resend.back_mut(), run)
            && *first + u64::from(*count) == *new_first
            && let Some(sum) = count.checked_add(*new_count)
        {
            *count = sum;
            return;
        }
        self.resend.push_back(*run);
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let pieces: usize = self.pieces.values().map(|ranges| 64 + ranges.memory()).sum();
        self.queue.capacity() * size_of::<Message>() + self.resend.capacity() * size_of::<Run>() + pieces
    }

    /// Gives back memory that a busier time needed.
    pub(super) fn tidy(&mut self) {
        self.queue.shrink_to(0);
        self.resend.shrink_to(0);
    }
}

fn note_whole(runs: &mut Vec<Run>, class: Class, sequence: u64) {
    if let Some(Run::Whole { class: last, first, count }) = runs.last_mut()
        && *last == class
        && *first + u64::from(*count) == sequence
    {
        *count += 1;
    } else {
        runs.push(Run::Whole { class, first: sequence, count: 1 });
    }
}
