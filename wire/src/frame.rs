//! Frames: what one datagram carries, decoded without a copy.
//!
//! | kind | frame | bytes after the kind |
//! |---|---|---|
//! | `00` | PAD | none; a run of them is yielded once |
//! | `01` | PING | none |
//! | `02` | ACK | largest v, delay in us v, ranges u8 (1-32), length v, then (gap v, length v) per further range |
//! | `04` | CLOSE | code u8 |
//! | `08`-`0b` | CREDIT of class 0-3 | bytes v, messages v: absolute, since the session began |
//! | `0c`-`0f` | BLOCKED of class 0-3 | none |
//! | `10` | PATH_CHALLENGE | 8 bytes |
//! | `11` | PATH_RESPONSE | 8 bytes |
//! | `12` | DGRAM up to the datagram's end | payload |
//! | `13` | DGRAM | length v, payload |
//! | `20`-`3f` | MSG: `001c cppd` | sequence u32, part, length v if `d`, payload |
//! | `40`-`ff` | later frames | length v, body: even kinds are skipped, odd ones close the session |
//!
//! `v` is a varint of RFC 9000, section 16. In a MSG kind `cc` is the class, `d` says that a length stands before
//! the payload (else it ends with the datagram), and `pp` is the [`Part`]: 0 whole, 1 piece (offset v), 2 last piece
//! (offset v, CRC-32 of the whole message u32). ACK ranges are coded as in RFC 9000, section 19.3.1.
//!
//! A frame kind below `40` that is not in the table, or bytes that do not fit it, can only come from a broken
//! program: the datagram was authenticated before.

mod ack;

use bytes::BufMut;

#[cfg(doc)]
use crate::codec::VARINT_MAX;
use crate::codec::{DecodeError, Reader, put_varint, varint_len};

pub use ack::{ACK_RANGES_MAX, AckRanges, AckRangesIter, put_ack};

/// Largest message of any class, in bytes (LINKS, classes: 16 MiB).
pub const MESSAGE_MAX_BYTES: usize = 16 << 20;

const PAD: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const CLOSE: u8 = 0x04;
const CREDIT: u8 = 0x08;
const BLOCKED: u8 = 0x0c;
const PATH_CHALLENGE: u8 = 0x10;
const PATH_RESPONSE: u8 = 0x11;
const DGRAM_REST: u8 = 0x12;
const DGRAM: u8 = 0x13;
const MSG: u8 = 0x20;
const MSG_LAST_KIND: u8 = 0x3f;
const MSG_DELIMITED: u8 = 1;
/// From here on every frame says its length, so that kinds of later versions can be skipped.
const LENGTH_PREFIXED: u8 = 0x40;

/// A traffic class: messages of one never wait for messages of a later one more than the scheduler says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Heartbeats, election, gossip: always first.
    Membership = 0,
    /// Consensus, in order.
    Broadcast = 1,
    /// Clients and forwarding, unordered.
    Client = 2,
    /// Snapshots, in order.
    Bulk = 3,
}

impl Class {
    /// How many classes there are.
    pub const COUNT: usize = 4;

    /// All classes, in the order of their index.
    pub const ALL: [Self; Self::COUNT] = [Self::Membership, Self::Broadcast, Self::Client, Self::Bulk];

    /// The class's place in an array of [`Class::COUNT`].
    pub const fn index(self) -> usize {
        self as usize
    }

    const fn bits(self) -> u8 {
        self as u8
    }

    const fn from_bits(bits: u8) -> Self {
        Self::ALL[(bits & 3) as usize]
    }
}

/// The low 32 bits of a message sequence, all that travels.
///
/// A receiver knows which sequence to expect to within far less than 2^31: the packet window (16,384 packets of at
/// most 64 KiB) bounds how old a message frame can be, the credits how new. Four bytes for ever, where a
/// varint would take eight from the 2^30th message on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequenceBits(pub u32);

impl SequenceBits {
    /// What travels of `sequence`.
    pub const fn of(sequence: u64) -> Self {
        Self(sequence as u32)
    }

    /// The sequence nearest to `expected` that has these bits.
    pub const fn nearest(self, expected: u64) -> u64 {
        let ahead = self.0.wrapping_sub(expected as u32);
        let behind = (expected as u32).wrapping_sub(self.0);
        if behind < ahead && behind as u64 <= expected {
            expected - behind as u64
        } else {
            expected.wrapping_add(ahead as u64)
        }
    }
}

/// Which part of its message a MSG frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Bytes from `offset` on, not the last ones.
    Piece {
        /// Position in the message, in bytes.
        offset: u32,
    },
    /// Bytes from `offset` to the message's end.
    Last {
        /// Position in the message, in bytes.
        offset: u32,
        /// CRC-32 of the whole message: guards the putting together, not the wire.
        crc: u32,
    },
}

impl Part {
    const fn bits(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Piece { .. } => 1 << 1,
            Self::Last { .. } => 2 << 1,
        }
    }

    const fn len(self) -> usize {
        match self {
            Self::Whole => 0,
            Self::Piece { offset } => varint_len(offset as u64),
            Self::Last { offset, .. } => varint_len(offset as u64) + 4,
        }
    }
}

/// Whether a payload says its length or ends with its datagram, which saves up to two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The length stands before the payload; other frames may follow.
    Delimited,
    /// The payload ends with the datagram: must be its last frame.
    Rest,
}

impl Extent {
    const fn len(self, payload: usize) -> usize {
        match self {
            Self::Delimited => varint_len(payload as u64),
            Self::Rest => 0,
        }
    }
}

/// One frame, borrowed from its datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Nothing, any number of times.
    Pad,
    /// Asks for an acknowledgement.
    Ping,
    /// What has arrived.
    Ack {
        /// Highest packet number acknowledged.
        largest: u64,
        /// How long its arrival was held back, in microseconds.
        delay_us: u64,
        /// All packet numbers acknowledged, highest range first.
        ranges: AckRanges<'a>,
    },
    /// The sender ends the session.
    Close {
        /// Why; codes belong to the link.
        code: u8,
    },
    /// How far the other end may send in a class, counted from the session's beginning.
    Credit {
        /// The class.
        class: Class,
        /// Message bytes in all.
        bytes: u64,
        /// Messages in all.
        messages: u64,
    },
    /// The sender has more to send in a class than its credit allows.
    Blocked {
        /// The class.
        class: Class,
    },
    /// To be returned on the same path.
    PathChallenge([u8; 8]),
    /// A challenge returned.
    PathResponse([u8; 8]),
    /// A message that is sent once.
    Datagram(&'a [u8]),
    /// A message of a class, or a part of one.
    Message {
        /// The class.
        class: Class,
        /// The message's number within its class and session.
        sequence: SequenceBits,
        /// Which part this is.
        part: Part,
        /// The bytes; never empty unless [`Part::Whole`].
        payload: &'a [u8],
    },
    /// A frame of a later version.
    Unknown {
        /// Its kind, from `0x40` on.
        kind: u8,
        /// Its bytes.
        body: &'a [u8],
    },
}

impl Frame<'_> {
    /// Whether the other end owes an acknowledgement for a packet with this frame (RFC 9002, section 2).
    pub const fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Pad | Self::Ack { .. } | Self::Close { .. })
    }

    /// Whether a receiver that does not know this frame must close the session.
    pub const fn closes_if_unknown(&self) -> bool {
        matches!(self, Self::Unknown { kind, .. } if *kind & 1 == 1)
    }

    /// Bytes that [`Frame::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Pad | Self::Ping | Self::Blocked { .. } => 1,
            Self::Ack { largest, delay_us, ranges } => {
                1 + varint_len(*largest) + varint_len(*delay_us) + ranges.encoded_len()
            }
            Self::Close { .. } => 2,
            Self::Credit { bytes, messages, .. } => 1 + varint_len(*bytes) + varint_len(*messages),
            Self::PathChallenge(_) | Self::PathResponse(_) => 9,
            Self::Datagram(payload) => datagram_len(payload.len(), Extent::Delimited),
            Self::Message { part, payload, .. } => message_len(*part, payload.len(), Extent::Delimited),
            Self::Unknown { body, .. } => 1 + varint_len(body.len() as u64) + body.len(),
        }
    }

    /// Appends the frame; payloads say their length. [`put_message`], [`put_datagram`] and [`put_ack`] do what
    /// this cannot: payloads up to the datagram's end, and ranges that are not encoded yet.
    ///
    /// # Panics
    /// If a number is over [`VARINT_MAX`], or an unknown kind is below `0x40`.
    pub fn encode<B: BufMut>(&self, out: &mut B) {
        match self {
            Self::Pad => out.put_u8(PAD),
            Self::Ping => out.put_u8(PING),
            Self::Ack { largest, delay_us, ranges } => {
                out.put_u8(ACK);
                put_varint(out, *largest);
                put_varint(out, *delay_us);
                ranges.encode(out);
            }
            Self::Close { code } => out.put_slice(&[CLOSE, *code]),
            Self::Credit { class, bytes, messages } => {
                out.put_u8(CREDIT | class.bits());
                put_varint(out, *bytes);
                put_varint(out, *messages);
            }
            Self::Blocked { class } => out.put_u8(BLOCKED | class.bits()),
            Self::PathChallenge(data) => {
                out.put_u8(PATH_CHALLENGE);
                out.put_slice(data);
            }
            Self::PathResponse(data) => {
                out.put_u8(PATH_RESPONSE);
                out.put_slice(data);
            }
            Self::Datagram(payload) => put_datagram(out, payload, Extent::Delimited),
            Self::Message { class, sequence, part, payload } => {
                put_message(out, *class, u64::from(sequence.0), *part, payload, Extent::Delimited);
            }
            Self::Unknown { kind, body } => {
                assert!(*kind >= LENGTH_PREFIXED, "kinds below 0x40 have no length");
                out.put_u8(*kind);
                put_varint(out, body.len() as u64);
                out.put_slice(body);
            }
        }
    }
}

/// Bytes that [`put_message`] appends for a payload of `payload_len` bytes.
pub const fn message_len(part: Part, payload_len: usize, extent: Extent) -> usize {
    1 + 4 + part.len() + extent.len(payload_len) + payload_len
}

/// The longest payload for which [`message_len`] is at most `room` bytes; `None` if the frame does not fit at all.
pub const fn message_room(part: Part, room: usize, extent: Extent) -> Option<usize> {
    let Some(left) = room.checked_sub(1 + 4 + part.len()) else { return None };
    payload_room(left, extent)
}

/// The longest payload for which [`datagram_len`] is at most `room` bytes; `None` if the frame does not fit at all.
pub const fn datagram_room(room: usize, extent: Extent) -> Option<usize> {
    let Some(left) = room.checked_sub(1) else { return None };
    payload_room(left, extent)
}

const fn payload_room(left: usize, extent: Extent) -> Option<usize> {
    if matches!(extent, Extent::Rest) {
        return Some(left);
    }
    let Some(mut payload) = left.checked_sub(1) else { return None };
    // At most three steps down: a length is at most seven bytes longer than the one assumed.
    while varint_len(payload as u64) + payload > left {
        payload -= 1;
    }
    Some(payload)
}

/// Appends a MSG frame.
///
/// # Panics
/// If the part reaches past [`MESSAGE_MAX_BYTES`], or a piece is empty.
pub fn put_message<B: BufMut>(
    out: &mut B,
    class: Class,
    sequence: u64,
    part: Part,
    payload: &[u8],
    extent: Extent,
) {
    assert!(part_fits(part, payload.len()), "a message of over 16 MiB, or an empty piece of one");
    let delimited = if extent == Extent::Delimited { MSG_DELIMITED } else { 0 };
    out.put_u8(MSG | class.bits() << 3 | part.bits() | delimited);
    out.put_u32(SequenceBits::of(sequence).0);
    match part {
        Part::Whole => {}
        Part::Piece { offset } => put_varint(out, u64::from(offset)),
        Part::Last { offset, crc } => {
            put_varint(out, u64::from(offset));
            out.put_u32(crc);
        }
    }
    put_payload(out, payload, extent);
}

/// Bytes that [`put_datagram`] appends for a payload of `payload_len` bytes.
pub const fn datagram_len(payload_len: usize, extent: Extent) -> usize {
    1 + extent.len(payload_len) + payload_len
}

/// Appends a DGRAM frame.
pub fn put_datagram<B: BufMut>(out: &mut B, payload: &[u8], extent: Extent) {
    out.put_u8(if extent == Extent::Delimited { DGRAM } else { DGRAM_REST });
    put_payload(out, payload, extent);
}

fn put_payload<B: BufMut>(out: &mut B, payload: &[u8], extent: Extent) {
    if extent == Extent::Delimited {
        put_varint(out, payload.len() as u64);
    }
    out.put_slice(payload);
}

/// Appends `count` PAD frames.
pub fn put_padding<B: BufMut>(out: &mut B, count: usize) {
    out.put_bytes(PAD, count);
}

/// If the frame that was appended to `out` at `start` is a delimited MSG or DGRAM, and the last one of its
/// datagram, takes its length out again: for a sender that learns only afterwards that nothing follows.
pub fn strip_last_length(out: &mut Vec<u8>, start: usize) {
    let kind = out[start];
    let mut reader = Reader::new(&out[start..]);
    let Ok(Frame::Message { payload, .. } | Frame::Datagram(payload)) = decode_frame(&mut reader) else {
        return;
    };
    if reader.remaining() > 0 || kind & 1 == 0 {
        return;
    }
    let (end, len) = (out.len(), payload.len());
    let saved = varint_len(len as u64);
    out.copy_within(end - len.., end - len - saved);
    out.truncate(end - saved);
    // In both frames the lowest bit of the kind says that there is a length.
    out[start] = kind & !1;
}

const fn part_fits(part: Part, payload_len: usize) -> bool {
    match part {
        Part::Whole => payload_len <= MESSAGE_MAX_BYTES,
        Part::Piece { offset } | Part::Last { offset, .. } => {
            payload_len > 0
                && payload_len <= MESSAGE_MAX_BYTES
                && offset as usize <= MESSAGE_MAX_BYTES - payload_len
        }
    }
}

/// The frames of an opened datagram. After the first error there are no more.
pub const fn decode_frames(frames: &[u8]) -> Frames<'_> {
    Frames { reader: Reader::new(frames) }
}

/// Walks the frames of a datagram.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.remaining() == 0 {
            return None;
        }
        let frame = decode_frame(&mut self.reader);
        if frame.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(frame)
    }
}

fn decode_frame<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, DecodeError> {
    let kind = reader.u8("frame kind")?;
    Ok(match kind {
        PAD => {
            let run = reader.rest().iter().take_while(|byte| **byte == PAD).count();
            reader.take(run, "padding")?;
            Frame::Pad
        }
        PING => Frame::Ping,
        ACK => {
            let largest = reader.varint("ack largest")?;
            let delay_us = reader.varint("ack delay")?;
            Frame::Ack { largest, delay_us, ranges: AckRanges::decode(reader, largest)? }
        }
        CLOSE => Frame::Close { code: reader.u8("close code")? },
        0x08..=0x0b => Frame::Credit {
            class: Class::from_bits(kind),
            bytes: reader.varint("credit bytes")?,
            messages: reader.varint("credit messages")?,
        },
        0x0c..=0x0f => Frame::Blocked { class: Class::from_bits(kind) },
        PATH_CHALLENGE => Frame::PathChallenge(reader.array("path challenge")?),
        PATH_RESPONSE => Frame::PathResponse(reader.array("path response")?),
        DGRAM_REST => Frame::Datagram(rest(reader)?),
        DGRAM => Frame::Datagram(delimited(reader)?),
        MSG..=MSG_LAST_KIND => decode_message(kind, reader)?,
        LENGTH_PREFIXED.. => Frame::Unknown { kind, body: delimited(reader)? },
        _ => return Err(DecodeError::Invalid("frame kind")),
    })
}

fn decode_message<'a>(kind: u8, reader: &mut Reader<'a>) -> Result<Frame<'a>, DecodeError> {
    let sequence = SequenceBits(reader.u32("message sequence")?);
    let part = match kind >> 1 & 3 {
        0 => Part::Whole,
        1 => Part::Piece { offset: decode_offset(reader)? },
        2 => Part::Last { offset: decode_offset(reader)?, crc: reader.u32("message crc")? },
        _ => return Err(DecodeError::Invalid("message part")),
    };
    let payload = if kind & MSG_DELIMITED == 0 { rest(reader)? } else { delimited(reader)? };
    if !part_fits(part, payload.len()) {
        return Err(DecodeError::Invalid("message part"));
    }
    Ok(Frame::Message { class: Class::from_bits(kind >> 3), sequence, part, payload })
}

fn decode_offset(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    Ok(reader.size(MESSAGE_MAX_BYTES, "message offset")? as u32)
}

fn rest<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    reader.take(reader.remaining(), "payload")
}

fn delimited<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let len = reader.size(MESSAGE_MAX_BYTES, "payload length")?;
    reader.take(len, "payload")
}

#[cfg(test)]
mod tests;
