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

use bytes::BufMut;
use thiserror::Error;

use crate::codec::{DecodeError, Reader, VARINT_MAX};
use crate::ids::{Boot, LinkEnd, NetworkId, NodeId};
use crate::keys::{KeyId, KeyRing, ResetToken, Rights, Role};

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

/// Appends a VERNEG, the answer to a HELLO of a version outside `versions`, whose connection ids are given. It is
/// always shorter than a HELLO.
pub fn put_version_negotiation(
    out: &mut Vec<u8>,
    hello_src_cid: ConnectionId,
    hello_dst_cid: ConnectionId,
    versions: Versions,
) {
    let start = out.len();
    put_shared(out, 0, VERSION_SHARED, LongKind::VerNeg, hello_src_cid);
    out.put_u64(hello_dst_cid.0);
    out.put_slice(&[versions.min, versions.max]);
    out.put_u32(crc32fast::hash(&out[start..]));
}

/// Appends a RESET for a connection id that is not known here; nothing, and false, unless it is shorter than the
/// datagram of `trigger_len` bytes that named the id, so that two processes which know nothing of each other
/// fall silent.
pub fn put_reset(
    out: &mut Vec<u8>,
    trigger_len: usize,
    unknown: ConnectionId,
    network: NetworkId,
    keys: &KeyRing,
) -> bool {
    let token = keys.reset_token(network, unknown);
    let len = RESET_HEADER_BYTES + if token.is_some() { TAG_BYTES } else { CRC_BYTES };
    if len >= trigger_len {
        return false;
    }
    let flags = if token.is_some() { SEALED } else { 0 };
    let start = out.len();
    put_shared(out, flags, VERSION_SHARED, LongKind::Reset, unknown);
    match token {
        Some(token) => out.put_slice(&token.0),
        None => out.put_u32(reset_crc(network, &out[start..])),
    }
    true
}

fn reset_crc(network: NetworkId, header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&network.0);
    hasher.update(header);
    hasher.finalize()
}

/// A RESET that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The connection id that its sender does not know: ours of the other end, not our own.
    pub unknown: ConnectionId,
    flags: u8,
    proof: Proof,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Crc(u32),
    Token(ResetToken),
}

impl Reset {
    fn peek(flags: u8, unknown: ConnectionId, datagram: &[u8]) -> Result<Self, DropReason> {
        let mut reader = Reader::new(&datagram[RESET_HEADER_BYTES..]);
        let short = |_| DropReason::Short;
        let proof = if flags & SEALED == 0 {
            Proof::Crc(reader.u32("crc").map_err(short)?)
        } else {
            Proof::Token(ResetToken(reader.array("token").map_err(short)?))
        };
        reader.finish("reset").map_err(|_| DropReason::Authentic)?;
        Ok(Self { unknown, flags, proof })
    }

    /// Checks the RESET against what the other end told of itself in the handshake: its reset token, or `None` if
    /// the association is not sealed.
    ///
    /// # Errors
    /// If it is sealed where it must not be, or the other way round, or does not match.
    pub fn verify(&self, network: NetworkId, token: Option<&ResetToken>) -> Result<(), DropReason> {
        let matches = match (self.proof, token) {
            (Proof::Crc(_), Some(_)) => return Err(DropReason::Unsealed),
            (Proof::Token(_), None) => return Err(DropReason::Sealed),
            (Proof::Token(proof), Some(token)) => proof == *token,
            (Proof::Crc(crc), None) => {
                let mut header = [0; RESET_HEADER_BYTES];
                put_shared(&mut &mut header[..], self.flags, VERSION_SHARED, LongKind::Reset, self.unknown);
                crc == reset_crc(network, &header)
            }
        };
        if matches { Ok(()) } else { Err(DropReason::Authentic) }
    }
}

fn put_shared<B: BufMut>(out: &mut B, flags: u8, version: u8, kind: LongKind, dst_cid: ConnectionId) {
    out.put_slice(&[LONG | FIXED | flags, version]);
    out.put_slice(&MAGIC);
    out.put_u8(kind as u8);
    out.put_u64(dst_cid.0);
}

/// The fixed header of a short datagram.
pub(crate) fn put_short_header(
    out: &mut Vec<u8>,
    flags: u8,
    version: u8,
    dst_cid: ConnectionId,
    number: u64,
) {
    out.put_slice(&[FIXED | flags, version]);
    out.put_u64(dst_cid.0);
    out.put_u64(number);
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

const CRITICAL: u16 = 0x8000;
const VERSIONS_TYPE: u16 = CRITICAL | 1;
const FEATURES_TYPE: u16 = 2;
const RANDOM_TYPE: u16 = CRITICAL | 3;
const COOKIE_TYPE: u16 = 4;
const RESET_TOKEN_TYPE: u16 = 5;
const SESSION_TYPE: u16 = CRITICAL | 6;
const MESSAGE_TYPE: u16 = CRITICAL | 7;
/// 256 types that never get a meaning.
const GREASE_TYPE: u16 = 0x2a00;
const PARAMETER_HEADER_BYTES: usize = 4;

/// What a long datagram says beyond its header. Each at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'a> {
    /// The versions its sender speaks. HELLO and WELCOME must have it.
    pub versions: Option<Versions>,
    /// Optional abilities of the sender, as bits.
    pub features: Option<u64>,
    /// The sender's share in the association's keys: random a in a HELLO, random b in a WELCOME.
    pub random: Option<[u8; 16]>,
    /// In a RETRY: to be returned in the next HELLO. At most [`COOKIE_MAX_BYTES`].
    pub cookie: Option<&'a [u8]>,
    /// What will prove a RESET of the sender's connection id; without keys there is none.
    pub reset_token: Option<ResetToken>,
    /// Which of the sessions that the two processes have had the sender means. Opaque here: the link's.
    pub session: Option<u64>,
    /// A message outside any association. At most 65,535 bytes.
    pub message: Option<&'a [u8]>,
}

impl<'a> Parameters<'a> {
    /// Appends the parameters.
    ///
    /// # Panics
    /// If the cookie or the message is too long.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if let Some(versions) = self.versions {
            put_parameter(out, VERSIONS_TYPE, &[versions.min, versions.max]);
        }
        if let Some(features) = self.features {
            put_parameter(out, FEATURES_TYPE, &features.to_be_bytes());
        }
        if let Some(random) = self.random {
            put_parameter(out, RANDOM_TYPE, &random);
        }
        if let Some(cookie) = self.cookie {
            assert!(cookie.len() <= COOKIE_MAX_BYTES, "a cookie of {} bytes", cookie.len());
            put_parameter(out, COOKIE_TYPE, cookie);
        }
        if let Some(token) = self.reset_token {
            put_parameter(out, RESET_TOKEN_TYPE, &token.0);
        }
        if let Some(session) = self.session {
            put_parameter(out, SESSION_TYPE, &session.to_be_bytes());
        }
        if let Some(message) = self.message {
            put_parameter(out, MESSAGE_TYPE, message);
        }
    }

    /// Reads parameters to the end of `bytes`.
    ///
    /// # Errors
    /// If one is unknown and critical, twice there, of the wrong length, or cut short.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut parameters = Self::default();
        while reader.remaining() > 0 {
            let kind = reader.u16("parameter type")?;
            let len = reader.u16("parameter length")?;
            let mut value = Reader::new(reader.take(usize::from(len), "parameter")?);
            match kind {
                VERSIONS_TYPE => {
                    let versions = Versions { min: value.u8("versions")?, max: value.u8("versions")? };
                    once(&mut parameters.versions, versions)?;
                }
                FEATURES_TYPE => once(&mut parameters.features, value.u64("features")?)?,
                RANDOM_TYPE => once(&mut parameters.random, value.array("random")?)?,
                COOKIE_TYPE if usize::from(len) > COOKIE_MAX_BYTES => {
                    return Err(DecodeError::TooLong("cookie"));
                }
                COOKIE_TYPE => once(&mut parameters.cookie, value.take(usize::from(len), "cookie")?)?,
                RESET_TOKEN_TYPE => {
                    once(&mut parameters.reset_token, ResetToken(value.array("reset token")?))?;
                }
                SESSION_TYPE => once(&mut parameters.session, value.u64("session")?)?,
                MESSAGE_TYPE => once(&mut parameters.message, value.take(usize::from(len), "message")?)?,
                _ if kind & CRITICAL != 0 => return Err(DecodeError::Invalid("critical parameter")),
                _ => continue,
            }
            value.finish("parameter")?;
        }
        Ok(parameters)
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), DecodeError> {
    if place.replace(value).is_some() { Err(DecodeError::Invalid("repeated parameter")) } else { Ok(()) }
}

fn put_parameter(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.put_u16(kind);
    out.put_u16(u16::try_from(value.len()).expect("a parameter holds less than 64 KiB"));
    out.put_slice(value);
}

/// Appends a parameter without a meaning that brings what started at `start` to at least `len` bytes.
pub(crate) fn put_grease(out: &mut Vec<u8>, start: usize, len: usize, counter: u64) {
    let missing = (start + len).saturating_sub(out.len());
    if missing > 0 {
        out.put_u16(GREASE_TYPE | (counter & 0xff) as u16);
        let padding = missing.saturating_sub(PARAMETER_HEADER_BYTES);
        out.put_u16(u16::try_from(padding).expect("padding goes up to one datagram"));
        out.put_bytes(0, padding);
    }
}

#[cfg(test)]
mod tests;
