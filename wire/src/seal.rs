//! Sealing: nothing of a datagram is believed, or parsed beyond its fixed header, before it is authentic.
//!
//! | | short datagram | long datagram |
//! |---|---|---|
//! | sealed by | AES-256-GCM | AES-256-GCM |
//! | key | one per association and direction, from the key, both link ends, both randoms, network, version | one per process, from the key and its process random |
//! | nonce | packet number | the process's counter |
//! | associated data | the header | the header, and the receiver's link end where the kind binds it |
//! | unsealed: CRC-32 over | what keys are made of, then header and frames | the receiver's link end where the kind binds it, then everything |
//!
//! No nonce is used twice: [`Sealer`] seals ascending packet numbers under a key of its own, and [`LongSealer`]
//! counts under a key that belongs to one process because its random does. A datagram opens only with the key, the
//! direction, the association (both connection attempts' randoms) and the two processes it was sealed for.
//! A CRC keeps honest processes' datagrams apart in the same way, and is no protection against anyone else.

mod cookie;
mod long;

use core::fmt;

use bytes::BufMut;
use crc32fast::Hasher;
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use thiserror::Error;

use crate::codec::VARINT_MAX;
use crate::datagram::{
    CRC_BYTES, ConnectionId, DropReason, IMMEDIATE_ACK, KEY_PHASE, Peeked, SEALED, SHORT_HEADER_BYTES,
    TAG_BYTES, peek, short_header,
};
use crate::ids::{LinkEnd, NetworkId};
use crate::keys::{Key, KeyId, KeyRing};

pub use cookie::{COOKIE_BYTES, COOKIE_LIFETIME, CookieKey};
pub use long::{Envelope, LongSealer, OpenedLong};

const LABEL_ASSOCIATION: &[u8] = b"haystack 1 association\0";

const LINK_END_BYTES: usize = 24;

/// Why a datagram cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// All packet numbers (or counts) of this key are used: shake hands again.
    #[error("no packet number is left under this key")]
    Exhausted,
    /// The ring has no such key.
    #[error("no such key")]
    UnknownKey,
}

/// Everything that makes an association one of its kind; both ends agree on it at the end of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Association {
    /// The wire version agreed on.
    pub version: u8,
    /// The network.
    pub network: NetworkId,
    /// Who sent the HELLO that counted.
    pub initiator: LinkEnd,
    /// Who answered it.
    pub responder: LinkEnd,
    /// The random of that HELLO.
    pub random_a: [u8; 16],
    /// The random of its WELCOME.
    pub random_b: [u8; 16],
}

impl Association {
    /// What keys and CRCs are bound to, in the order in which they take it.
    fn context(&self, from_initiator: bool) -> [u8; 2 + 16 + 2 * LINK_END_BYTES + 32] {
        let (sender, receiver) =
            if from_initiator { (self.initiator, self.responder) } else { (self.responder, self.initiator) };
        let mut context = [0; 2 + 16 + 2 * LINK_END_BYTES + 32];
        let mut out = &mut context[..];
        out.put_slice(&[self.version, u8::from(from_initiator)]);
        out.put_slice(&self.network.0);
        out.put_slice(&link_end_bytes(sender));
        out.put_slice(&link_end_bytes(receiver));
        out.put_slice(&self.random_a);
        out.put_slice(&self.random_b);
        context
    }
}

fn link_end_bytes(end: LinkEnd) -> [u8; LINK_END_BYTES] {
    let mut bytes = [0; LINK_END_BYTES];
    bytes[..16].copy_from_slice(&end.node.0);
    bytes[16..].copy_from_slice(&end.boot.0.to_be_bytes());
    bytes
}

enum Protection {
    /// State of the CRC after the pseudo-header.
    Crc(Hasher),
    Aead(Box<LessSafeKey>),
}

/// Seals, or at the other end opens, the short datagrams of one association in one direction. Neither allocates
/// (sealing: as long as the buffer has room for [`Sealer::overhead`]).
pub struct Sealer {
    protection: Protection,
    version: u8,
    /// Every packet number below is used up.
    next: u64,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("sealed", &self.is_sealed())
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// A short datagram that is being written. [`Sealer::finish`] ends it, once.
#[derive(Debug)]
#[must_use = "a datagram is no datagram before it is finished"]
pub struct Draft {
    start: usize,
    packet_number: u64,
}

impl Draft {
    /// Where the datagram begins in its buffer: truncate to this to give it up.
    pub const fn start(&self) -> usize {
        self.start
    }

    /// Where its frames begin.
    pub const fn frames_start(&self) -> usize {
        self.start + SHORT_HEADER_BYTES
    }
}

/// A short datagram that proved to be authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Its packet number, at most [`VARINT_MAX`]. Whether it was seen before is not known here.
    pub packet_number: u64,
    /// Whether its sender wants an acknowledgement at once.
    pub immediate_ack: bool,
    /// Its frames.
    pub frames: &'a [u8],
}

impl Sealer {
    /// Both directions of an association: what the initiator sends, and what the responder sends. Each end seals with
    /// the one and opens with the other. `key` is the key that sealed the HELLO.
    ///
    /// # Errors
    /// If the ring has no such key; an empty ring has only [`KeyId::NONE`], any other ring does not have it.
    pub fn derive(keys: &KeyRing, key: KeyId, association: &Association) -> Result<(Self, Self), SealError> {
        let key = find(keys, key)?;
        let side = |from_initiator| {
            let context = association.context(from_initiator);
            let protection = match key {
                Some(key) => {
                    Protection::Aead(Box::new(key.secret.derive_aead(&[LABEL_ASSOCIATION, &context])))
                }
                None => {
                    let mut hasher = Hasher::new();
                    hasher.update(&context);
                    Protection::Crc(hasher)
                }
            };
            Self { protection, version: association.version, next: 0 }
        };
        Ok((side(true), side(false)))
    }

    /// Whether datagrams are sealed, and not only checksummed.
    pub const fn is_sealed(&self) -> bool {
        matches!(self.protection, Protection::Aead(_))
    }

    /// Bytes that come after the frames.
    pub const fn trailer(&self) -> usize {
        if self.is_sealed() { TAG_BYTES } else { CRC_BYTES }
    }

    /// Bytes of a datagram besides its frames.
    pub const fn overhead(&self) -> usize {
        SHORT_HEADER_BYTES + self.trailer()
    }

    /// Begins a datagram at the end of `out`. Append its frames and [`Sealer::finish`] it.
    ///
    /// # Errors
    /// If the packet number is 2^62 or more.
    pub fn start(
        &self,
        out: &mut Vec<u8>,
        dst_cid: ConnectionId,
        packet_number: u64,
        immediate_ack: bool,
    ) -> Result<Draft, SealError> {
        if packet_number > VARINT_MAX {
            return Err(SealError::Exhausted);
        }
        let start = out.len();
        let sealed = if self.is_sealed() { SEALED } else { 0 };
        let flags = sealed | if immediate_ack { IMMEDIATE_ACK } else { 0 };
        out.extend_from_slice(&short_header(flags, self.version, dst_cid, packet_number));
        Ok(Draft { start, packet_number })
    }

    /// Ends the datagram with its last frame at the end of `out`: seals it in place and appends the trailer.
    ///
    /// # Panics
    /// If its packet number is not above all before, since a nonce that is used twice gives the key away; or if
    /// `out` is not the buffer that the datagram was begun in.
    pub fn finish(&mut self, out: &mut Vec<u8>, draft: Draft) {
        let Draft { start, packet_number } = draft;
        assert!(packet_number >= self.next, "packet number {packet_number} was used before");
        self.next = packet_number + 1;
        let datagram = &mut out[start..];
        match &self.protection {
            Protection::Crc(pseudo_header) => {
                let crc = checksum(pseudo_header, datagram);
                out.put_u32(crc);
            }
            Protection::Aead(key) => {
                let (header, frames) = datagram
                    .split_first_chunk_mut::<SHORT_HEADER_BYTES>()
                    .expect("the draft began with a header");
                let tag = key
                    .seal_in_place_separate_tag(nonce(packet_number), Aad::from(&*header), frames)
                    .expect("a datagram is far shorter than what AES-GCM takes");
                out.extend_from_slice(tag.as_ref());
            }
        }
    }

    /// Opens a datagram in place. Whatever comes of it, its bytes are of no use afterwards but for the frames
    /// returned: find the association by [`peek`] first, do not try several.
    ///
    /// # Errors
    /// If it is not authentic, or not of this association and direction.
    pub fn open<'a>(&self, datagram: &'a mut [u8]) -> Result<Opened<'a>, DropReason> {
        let Peeked::Short { packet_number, .. } = peek(datagram)? else { return Err(DropReason::Kind) };
        if datagram.len() < self.overhead() {
            return Err(DropReason::Short);
        }
        let flags = datagram[0];
        match (flags & SEALED != 0, self.is_sealed()) {
            (false, true) => return Err(DropReason::Unsealed),
            (true, false) => return Err(DropReason::Sealed),
            _ if flags & KEY_PHASE != 0 => return Err(DropReason::KeyPhase),
            _ if datagram[1] != self.version => return Err(DropReason::Version),
            _ => {}
        }
        let immediate_ack = flags & IMMEDIATE_ACK != 0;
        let frames: &[u8] = match &self.protection {
            Protection::Crc(pseudo_header) => &verify_crc(pseudo_header, datagram)?[SHORT_HEADER_BYTES..],
            Protection::Aead(key) => {
                let (header, frames) =
                    datagram.split_first_chunk_mut::<SHORT_HEADER_BYTES>().ok_or(DropReason::Short)?;
                key.open_in_place(nonce(packet_number), Aad::from(&*header), frames)
                    .map_err(|_| DropReason::Authentic)?
            }
        };
        Ok(Opened { packet_number, immediate_ack, frames })
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn checksum(pseudo_header: &Hasher, bytes: &[u8]) -> u32 {
    let mut hasher = pseudo_header.clone();
    hasher.update(bytes);
    hasher.finalize()
}

/// Everything of `datagram` but its CRC, if that matches.
fn verify_crc<'a>(pseudo_header: &Hasher, datagram: &'a [u8]) -> Result<&'a [u8], DropReason> {
    let (covered, crc) = datagram.split_last_chunk::<CRC_BYTES>().ok_or(DropReason::Short)?;
    if checksum(pseudo_header, covered) == u32::from_be_bytes(*crc) {
        Ok(covered)
    } else {
        Err(DropReason::Authentic)
    }
}

/// The key of this id; `None` inside if nothing is sealed.
fn find(keys: &KeyRing, id: KeyId) -> Result<Option<&Key>, SealError> {
    if keys.is_empty() && id == KeyId::NONE {
        return Ok(None);
    }
    keys.find(id).map(Some).ok_or(SealError::UnknownKey)
}

#[cfg(test)]
mod tests;
