//! Datagrams: the bytes around the frames. Big-endian; one UDP port carries everything.
//!
//! # What all versions share
//!
//! A process must be able to tell a stranger of any version that they have no version in common, and that it has
//! forgotten a connection. So this never changes, whatever the version byte says:
//!
//! - Byte 0: bit `80` set on long datagrams, clear on short ones; bit `40` always set. Byte 1: the version.
//! - Short: bytes 2-9 are the destination connection id, chosen by the receiver.
//! - Long: bytes 2-5 are [`MAGIC`], byte 6 is the kind, bytes 7-14 the destination connection id, 15-22 the source
//!   connection id. A HELLO of any version has kind 1 and at least [`HELLO_MIN_BYTES`].
//! - VERNEG (kind 6) and RESET (kind 5) have version 0 and are complete here:
//!
//! | VERNEG | | RESET | |
//! |---|---|---|---|
//! | 0-6 | `c0`, 0, magic, 6 | 0-6 | `c0` or `e0`, 0, magic, 5 |
//! | 7-14 | the HELLO's source id | 7-14 | the id that is not known here, as the trigger's destination |
//! | 15-22 | the HELLO's destination id | 15-18 | `c0`: CRC-32 over the network id and bytes 0-14 |
//! | 23, 24 | lowest, highest version | 15-30 | `e0`: the reset token told in the handshake |
//! | 25-28 | CRC-32 over bytes 0-24 | | |
//!
//! Both are hints: one provokes a HELLO of a common version, the other a HELLO. VERNEG carries no authentication of
//! any kind, since two versions need not share one; it can only pick among versions that both really speak, because
//! the authenticated HELLO and WELCOME name both ranges and an answer other than the highest common version is
//! refused ([`Versions::agree`]).
//!
//! # Version 1
//!
//! | short | | long | |
//! |---|---|---|---|
//! | 0 | flags | 0 | flags |
//! | 1 | version | 1 | version |
//! | 2-9 | destination connection id | 2-5, 6 | magic, kind |
//! | 10-17 | packet number | 7-14, 15-22 | destination, source connection id |
//! | 18- | frames | 23-38 | network id |
//! | end | CRC-32 or tag | 39-54, 55-62 | the sender's node id and boot |
//! | | | 63 | the sender's role: 0 peer, `80` + rights client |
//! | | | 64-79, 80-87 | the sender's process random and its counter |
//! | | | 88-91 | key id, 0 unsealed |
//! | | | 92- | parameters |
//! | | | end | CRC-32 or tag |
//!
//! Flags: `80` long, `40` fixed, `20` sealed, `10` key phase, `08` immediate-ack (short only), the rest sent 0 and
//! ignored, but covered by CRC and tag like every other bit.
//!
//! CRC and tag also cover what is not sent: see [`crate::seal`]. Parameters: u16 type, u16 length, value; types
//! with bit `8000` are critical: who does not know one refuses the datagram. Types `2a00`-`2aff` are never given a
//! meaning: HELLO pads itself with one of them, so that skipping the unknown is exercised by every handshake.

mod hint;
mod parameters;

use bytes::BufMut;
use thiserror::Error;

use crate::codec::{DecodeError, Reader, VARINT_MAX};
use crate::ids::{Boot, LinkEnd, NetworkId, NodeId};
use crate::keys::{KeyId, Rights, Role};

pub use hint::{Reset, put_reset, put_version_negotiation};
pub use parameters::Parameters;
pub(crate) use parameters::put_grease;

/// The version this program speaks by preference.
pub const VERSION: u8 = 1;

/// All versions that this program speaks.
pub const VERSIONS: Versions = Versions { min: 1, max: VERSION };

/// First bytes of a long datagram after flags and version.
pub const MAGIC: [u8; 4] = *b"hays";

/// Bytes before the frames of a short datagram.
pub const SHORT_HEADER_BYTES: usize = 18;

/// Bytes before the parameters of a long datagram.
pub const LONG_HEADER_BYTES: usize = 92;

/// Bytes of the CRC-32 that ends an unsealed datagram.
pub const CRC_BYTES: usize = 4;

/// Bytes of the AEAD tag that ends a sealed datagram.
pub const TAG_BYTES: usize = 16;

/// Least size of a HELLO: an answer to a source that may be forged is never longer than this (LINKS, datagram).
pub const HELLO_MIN_BYTES: usize = 1200;

/// Longest cookie, in bytes.
pub const COOKIE_MAX_BYTES: usize = 64;

pub(crate) const LONG: u8 = 0x80;
pub(crate) const FIXED: u8 = 0x40;
pub(crate) const SEALED: u8 = 0x20;
pub(crate) const KEY_PHASE: u8 = 0x10;
pub(crate) const IMMEDIATE_ACK: u8 = 0x08;

/// The version byte of what all versions share.
const VERSION_SHARED: u8 = 0;
const LONG_SHARED_BYTES: usize = 23;
const VERNEG_BYTES: usize = LONG_SHARED_BYTES + 2 + CRC_BYTES;
const RESET_HEADER_BYTES: usize = 15;

/// Names a connection at its receiver, who draws it at random for every handshake, so that nothing of an earlier
/// association can match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What a long datagram is for. Kinds are only appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LongKind {
    /// First leg of a handshake.
    Hello = 1,
    /// Come again with this cookie.
    Retry = 2,
    /// Second leg.
    Welcome = 3,
    /// Third leg.
    Confirm = 4,
    /// I do not know this connection. A hint. See [`put_reset`].
    Reset = 5,
    /// I do not speak this version. A hint. See [`put_version_negotiation`].
    VerNeg = 6,
    /// A message outside any association.
    Gossip = 7,
}

impl LongKind {
    const ALL: [Self; 7] =
        [Self::Hello, Self::Retry, Self::Welcome, Self::Confirm, Self::Reset, Self::VerNeg, Self::Gossip];

    /// Whether CRC and tag cover the receiver's link end: wherever the sender has heard from it before.
    pub const fn binds_receiver(self) -> bool {
        matches!(self, Self::Retry | Self::Welcome | Self::Confirm)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A range of wire versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest one.
    pub min: u8,
    /// The highest one.
    pub max: u8,
}

impl Versions {
    /// The version to speak with someone of range `other`: the minimum of the maxima, if both speak it.
    pub fn agree(self, other: Self) -> Option<u8> {
        let version = self.max.min(other.max);
        (self.contains(version) && other.contains(version)).then_some(version)
    }

    /// Whether `version` is in the range.
    pub const fn contains(self, version: u8) -> bool {
        self.min <= version && version <= self.max
    }
}

/// Why a datagram was dropped. The peer's fault, the network's, or stale: counted, never an error of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DropReason {
    /// Shorter than its header and trailer, or a HELLO that is not padded.
    #[error("too short")]
    Short,
    /// The fixed bit or the magic is missing: not our protocol.
    #[error("not this protocol")]
    Foreign,
    /// A version that is not spoken here, or not in this association.
    #[error("wrong version")]
    Version,
    /// A kind of long datagram that does not exist.
    #[error("unknown kind")]
    Kind,
    /// Another network's datagram.
    #[error("wrong network")]
    Network,
    /// One's own datagram came back.
    #[error("own datagram")]
    Own,
    /// Not sealed, where everything must be.
    #[error("not sealed")]
    Unsealed,
    /// Sealed, where there is no key.
    #[error("sealed, without a key here")]
    Sealed,
    /// Sealed with a key that is not in the ring.
    #[error("unknown key")]
    UnknownKey,
    /// Sealed with a key phase that does not exist yet.
    #[error("unknown key phase")]
    KeyPhase,
    /// The key does not allow the role, or the role does not allow the datagram.
    #[error("role not allowed")]
    Role,
    /// A packet number that no sender reaches.
    #[error("packet number out of range")]
    PacketNumber,
    /// CRC or tag do not match: damaged, forged, of another association, or the wrong key.
    #[error("not authentic")]
    Authentic,
    /// Authentic, but without meaning.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = 14;

    /// The names of all reasons, by [`DropReason::index`], as counters show them.
    pub const NAMES: [&'static str; Self::COUNT] = [
        "short",
        "foreign",
        "version",
        "kind",
        "network",
        "own",
        "unsealed",
        "sealed",
        "unknown_key",
        "key_phase",
        "role",
        "packet_number",
        "not_authentic",
        "malformed",
    ];

    /// The reason's place in an array of [`DropReason::COUNT`] counters.
    pub const fn index(self) -> usize {
        match self {
            Self::Short => 0,
            Self::Foreign => 1,
            Self::Version => 2,
            Self::Kind => 3,
            Self::Network => 4,
            Self::Own => 5,
            Self::Unsealed => 6,
            Self::Sealed => 7,
            Self::UnknownKey => 8,
            Self::KeyPhase => 9,
            Self::Role => 10,
            Self::PacketNumber => 11,
            Self::Authentic => 12,
            Self::Malformed(_) => 13,
        }
    }
}

/// What can be told from a datagram before it is authenticated: enough to find who can open it. Trust none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peeked {
    /// For the association that drew this connection id: [`crate::seal::Sealer::open`].
    Short {
        /// The receiver's connection id.
        dst_cid: ConnectionId,
        /// The packet number, at most [`VARINT_MAX`].
        packet_number: u64,
    },
    /// For [`crate::seal::LongSealer::open`], if the version is spoken here.
    Long {
        /// The version of all bytes beyond what versions share.
        version: u8,
        /// The kind's byte. A HELLO of a version that is not spoken here deserves a VERNEG.
        kind: u8,
        /// The receiver's connection id, as the sender has it; 0 if it has none.
        dst_cid: ConnectionId,
        /// The sender's connection id.
        src_cid: ConnectionId,
    },
    /// The receiver of a HELLO does not speak its version. Checksum verified, not authenticated.
    VersionNegotiation {
        /// The HELLO's source id.
        dst_cid: ConnectionId,
        /// The HELLO's destination id.
        src_cid: ConnectionId,
        /// What it speaks.
        versions: Versions,
    },
    /// The receiver of a short datagram does not know its connection id.
    Reset(Reset),
}

/// Reads the part of a datagram that needs no key and no state.
///
/// # Errors
/// If it is none of ours.
pub fn peek(datagram: &[u8]) -> Result<Peeked, DropReason> {
    let mut reader = Reader::new(datagram);
    let short = |_| DropReason::Short;
    let flags = reader.u8("flags").map_err(short)?;
    if flags & FIXED == 0 {
        return Err(DropReason::Foreign);
    }
    let version = reader.u8("version").map_err(short)?;
    if flags & LONG == 0 {
        let dst_cid = ConnectionId(reader.u64("connection id").map_err(short)?);
        let packet_number = reader.u64("packet number").map_err(short)?;
        if packet_number > VARINT_MAX {
            return Err(DropReason::PacketNumber);
        }
        return Ok(Peeked::Short { dst_cid, packet_number });
    }
    if reader.array::<4>("magic").map_err(short)? != MAGIC {
        return Err(DropReason::Foreign);
    }
    let kind = reader.u8("kind").map_err(short)?;
    let dst_cid = ConnectionId(reader.u64("connection id").map_err(short)?);
    if version == VERSION_SHARED && kind == LongKind::Reset as u8 {
        return Reset::peek(flags, dst_cid, datagram).map(Peeked::Reset);
    }
    let src_cid = ConnectionId(reader.u64("connection id").map_err(short)?);
    if version != VERSION_SHARED {
        return Ok(Peeked::Long { version, kind, dst_cid, src_cid });
    }
    if kind != LongKind::VerNeg as u8 {
        return Err(DropReason::Kind);
    }
    let versions =
        Versions { min: reader.u8("version").map_err(short)?, max: reader.u8("version").map_err(short)? };
    let crc = reader.u32("crc").map_err(short)?;
    if reader.remaining() > 0 || crc != crc32fast::hash(&datagram[..VERNEG_BYTES - CRC_BYTES]) {
        return Err(DropReason::Authentic);
    }
    Ok(Peeked::VersionNegotiation { dst_cid, src_cid, versions })
}

fn put_shared<B: BufMut>(out: &mut B, flags: u8, version: u8, kind: LongKind, dst_cid: ConnectionId) {
    out.put_slice(&[LONG | FIXED | flags, version]);
    out.put_slice(&MAGIC);
    out.put_u8(kind as u8);
    out.put_u64(dst_cid.0);
}

/// The fixed header of a short datagram.
pub(crate) fn short_header(
    flags: u8,
    version: u8,
    dst_cid: ConnectionId,
    number: u64,
) -> [u8; SHORT_HEADER_BYTES] {
    let mut header = [0; SHORT_HEADER_BYTES];
    header[0] = FIXED | flags;
    header[1] = version;
    header[2..10].copy_from_slice(&dst_cid.0.to_be_bytes());
    header[10..].copy_from_slice(&number.to_be_bytes());
    header
}

/// The header of a long datagram of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongHeader {
    /// What it is for.
    pub kind: LongKind,
    /// The wire version of everything beyond what versions share.
    pub version: u8,
    /// The receiver's connection id, 0 as long as the sender does not know one.
    pub dst_cid: ConnectionId,
    /// The sender's connection id.
    pub src_cid: ConnectionId,
    /// The network.
    pub network: NetworkId,
    /// The sender.
    pub node: NodeId,
    /// The sender's persisted life.
    pub boot: Boot,
    /// What the sender is.
    pub role: Role,
    /// Drawn by the sender's process when it began.
    pub process_random: [u8; 16],
    /// How many long datagrams this process had sent before this one.
    pub counter: u64,
    /// The key it is sealed with, [`KeyId::NONE`] if unsealed.
    pub key_id: KeyId,
}

impl LongHeader {
    /// The sender's link end.
    pub const fn sender(&self) -> LinkEnd {
        LinkEnd { node: self.node, boot: self.boot }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let flags = if self.key_id == KeyId::NONE { 0 } else { SEALED };
        put_shared(out, flags, self.version, self.kind, self.dst_cid);
        out.put_u64(self.src_cid.0);
        out.put_slice(&self.network.0);
        out.put_slice(&self.node.0);
        out.put_u64(self.boot.0);
        out.put_u8(match self.role {
            Role::Peer => 0,
            Role::Client(rights) => 0x80 | rights.bits(),
        });
        out.put_slice(&self.process_random);
        out.put_u64(self.counter);
        out.put_u32(self.key_id.0);
    }

    /// Reads the header of a datagram of a version in [`VERSIONS`]. Nothing of it is authentic yet.
    pub(crate) fn decode(datagram: &[u8]) -> Result<Self, DropReason> {
        let Peeked::Long { version, kind, dst_cid, src_cid } = peek(datagram)? else {
            return Err(DropReason::Kind);
        };
        if !VERSIONS.contains(version) {
            return Err(DropReason::Version);
        }
        let kind = LongKind::from_byte(kind).ok_or(DropReason::Kind)?;
        if matches!(kind, LongKind::Reset | LongKind::VerNeg) {
            return Err(DropReason::Kind);
        }
        if datagram.len() < LONG_HEADER_BYTES {
            return Err(DropReason::Short);
        }
        let mut reader = Reader::new(&datagram[LONG_SHARED_BYTES..]);
        let header = Self {
            kind,
            version,
            dst_cid,
            src_cid,
            network: NetworkId(reader.array("network id")?),
            node: NodeId(reader.array("node id")?),
            boot: Boot(reader.u64("boot")?),
            role: match reader.u8("role")? {
                0 => Role::Peer,
                byte @ 0x80..=0x87 => Role::Client(Rights::from_bits(byte)),
                _ => return Err(DropReason::Role),
            },
            process_random: reader.array("process random")?,
            counter: reader.u64("counter")?,
            key_id: KeyId(reader.u32("key id")?),
        };
        match (datagram[0] & SEALED != 0, header.key_id == KeyId::NONE) {
            (true, true) => Err(DropReason::UnknownKey),
            (false, false) => Err(DropReason::Unsealed),
            _ if datagram[0] & KEY_PHASE != 0 => Err(DropReason::KeyPhase),
            _ => Ok(header),
        }
    }
}

#[cfg(test)]
mod tests;
