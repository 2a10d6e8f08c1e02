//! Long datagrams: sealed under a key of the process that sends them.

use core::fmt;

use bytes::BufMut;
use crc32fast::Hasher;
use ring::aead::{Aad, LessSafeKey};

use super::{LINK_END_BYTES, SealError, checksum, find, link_end_bytes, nonce, verify_crc};
use crate::codec::{DecodeError, VARINT_MAX};
use crate::datagram::{
    CRC_BYTES, ConnectionId, DropReason, HELLO_MIN_BYTES, LONG_HEADER_BYTES, LongHeader, LongKind,
    Parameters, TAG_BYTES, put_grease,
};
use crate::ids::{LinkEnd, NetworkId};
use crate::keys::{Key, KeyId, KeyRing, Role};

const LABEL_LONG: &[u8] = b"haystack 1 long\0";

/// Where a long datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What it is for: neither RESET nor VERNEG, which are nobody's secret.
    pub kind: LongKind,
    /// The wire version.
    pub version: u8,
    /// The receiver's connection id, 0 if none is known.
    pub dst_cid: ConnectionId,
    /// The sender's own.
    pub src_cid: ConnectionId,
    /// The key: [`LongSealer::active_key`] to begin a handshake, the key of the datagram that is answered otherwise.
    pub key_id: KeyId,
    /// The receiver, for kinds that bind it, and for no other.
    pub receiver: Option<LinkEnd>,
}

/// A long datagram that proved to be authentic, and allowed to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedLong<'a> {
    /// The header.
    pub header: LongHeader,
    /// What it says; what its kind must say is there (see [`LongSealer::seal`]).
    pub parameters: Parameters<'a>,
}

/// Seals and opens the long datagrams of one process.
///
/// There must be one per process life, made with bytes that no other process has: they make the key, and the
/// counter that starts at 0 under it the nonce.
pub struct LongSealer {
    network: NetworkId,
    local: LinkEnd,
    role: Role,
    keys: KeyRing,
    process_random: [u8; 16],
    counter: u64,
    /// Keys to seal with, derived at their first use: at most as many as the ring has.
    derived: Vec<(KeyId, LessSafeKey)>,
}

impl fmt::Debug for LongSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongSealer")
            .field("local", &self.local)
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

impl LongSealer {
    /// A sealer for a process that speaks as `role`. `process_random` must be fresh from a CSPRNG.
    ///
    /// # Errors
    /// If the ring has no key for the role.
    pub fn new(
        network: NetworkId,
        local: LinkEnd,
        role: Role,
        keys: KeyRing,
        process_random: [u8; 16],
    ) -> Result<Self, SealError> {
        keys.active(role).ok_or(SealError::UnknownKey)?;
        Ok(Self { network, local, role, keys, process_random, counter: 0, derived: Vec::new() })
    }

    /// The key with which this process begins handshakes.
    pub fn active_key(&self) -> KeyId {
        self.keys.active(self.role).expect("checked when the sealer was made")
    }

    /// Appends a datagram to `out`; a HELLO is padded to [`HELLO_MIN_BYTES`].
    ///
    /// # Errors
    /// If the ring has no such key, or 2^62 datagrams were sealed. Nothing is appended then.
    ///
    /// # Panics
    /// If the envelope names a receiver for a kind that binds none, or none for one that does; if it is a RESET or a
    /// VERNEG; or if a parameter is over its limit, or missing: versions and random in HELLO and WELCOME, the cookie in
    /// RETRY, the message in GOSSIP.
    pub fn seal(
        &mut self,
        out: &mut Vec<u8>,
        envelope: &Envelope,
        parameters: &Parameters<'_>,
    ) -> Result<(), SealError> {
        let Envelope { kind, version, dst_cid, src_cid, key_id, receiver } = *envelope;
        assert_eq!(kind.binds_receiver(), receiver.is_some(), "{kind:?} to {receiver:?}");
        assert!(!matches!(kind, LongKind::Reset | LongKind::VerNeg), "{kind:?} is not sealed");
        assert!(complete(kind, parameters), "{kind:?} lacks a parameter");
        if self.counter > VARINT_MAX {
            return Err(SealError::Exhausted);
        }
        let key = self.sealing_key(key_id)?;
        let counter = self.counter;
        self.counter += 1;
        let start = out.len();
        let header = LongHeader {
            kind,
            version,
            dst_cid,
            src_cid,
            network: self.network,
            node: self.local.node,
            boot: self.local.boot,
            role: self.role,
            process_random: self.process_random,
            counter,
            key_id,
        };
        header.encode(out);
        parameters.encode(out);
        if kind == LongKind::Hello {
            let trailer = if key.is_some() { TAG_BYTES } else { CRC_BYTES };
            put_grease(out, start, HELLO_MIN_BYTES - trailer, counter);
        }
        match key.map(|index| &self.derived[index].1) {
            None => {
                let crc = checksum(&pseudo_header(receiver), &out[start..]);
                out.put_u32(crc);
            }
            Some(key) => {
                let (header, body) =
                    out[start..].split_first_chunk_mut::<LONG_HEADER_BYTES>().expect("just appended");
                let tag = key
                    .seal_in_place_separate_tag(nonce(counter), Aad::from(long_aad(header, receiver)), body)
                    .expect("a datagram is far shorter than what AES-GCM takes");
                out.extend_from_slice(tag.as_ref());
            }
        }
        Ok(())
    }

    /// The place in `derived` of the key, `None` inside if nothing is sealed.
    fn sealing_key(&mut self, id: KeyId) -> Result<Option<usize>, SealError> {
        let Some(key) = find(&self.keys, id)? else { return Ok(None) };
        let known = self.derived.iter().position(|(derived, _)| *derived == id);
        Ok(Some(known.unwrap_or_else(|| {
            self.derived.push((id, key.secret.derive_aead(&[LABEL_LONG, &self.process_random])));
            self.derived.len() - 1
        })))
    }

    /// Opens a datagram in place; its bytes are of no use afterwards but for what is returned.
    ///
    /// # Errors
    /// If it is not authentic, not for this process, or not what its sender may send.
    pub fn open<'a>(&self, datagram: &'a mut [u8]) -> Result<OpenedLong<'a>, DropReason> {
        let header = LongHeader::decode(datagram)?;
        if header.network != self.network {
            return Err(DropReason::Network);
        }
        if header.node == self.local.node && header.process_random == self.process_random {
            return Err(DropReason::Own);
        }
        if header.kind == LongKind::Hello && datagram.len() < HELLO_MIN_BYTES {
            return Err(DropReason::Short);
        }
        let key = match (self.keys.is_empty(), header.key_id == KeyId::NONE) {
            (true, false) => return Err(DropReason::Sealed),
            (false, true) => return Err(DropReason::Unsealed),
            (true, true) => None,
            (false, false) => Some(self.keys.find(header.key_id).ok_or(DropReason::UnknownKey)?),
        };
        if !self.allows(&header, key) {
            return Err(DropReason::Role);
        }
        let receiver = header.kind.binds_receiver().then_some(self.local);
        let body: &[u8] = match key {
            None => verify_crc(&pseudo_header(receiver), datagram)?
                .get(LONG_HEADER_BYTES..)
                .ok_or(DropReason::Short)?,
            Some(key) => {
                let (head, body) =
                    datagram.split_first_chunk_mut::<LONG_HEADER_BYTES>().ok_or(DropReason::Short)?;
                key.secret
                    .derive_aead(&[LABEL_LONG, &header.process_random])
                    .open_in_place(nonce(header.counter), Aad::from(long_aad(head, receiver)), body)
                    .map_err(|_| DropReason::Authentic)?
            }
        };
        let parameters = Parameters::decode(body)?;
        if !complete(header.kind, &parameters) {
            return Err(DecodeError::Invalid("set of parameters").into());
        }
        Ok(OpenedLong { header, parameters })
    }

    /// Whether the sender may speak as what it says it is, with this key, to this process. Daemons answer clients
    /// with the client's key, so that key must not make a daemon out of a client: a daemon hears the cluster key
    /// from daemons and a client's own key from clients, and a client hears its own key from daemons.
    fn allows(&self, header: &LongHeader, key: Option<&Key>) -> bool {
        let answer = matches!(header.kind, LongKind::Retry | LongKind::Welcome);
        let (allowed, key_role) = match (self.role, header.role) {
            (Role::Peer, Role::Peer) => (true, Role::Peer),
            (Role::Peer, Role::Client(_)) => {
                (matches!(header.kind, LongKind::Hello | LongKind::Confirm), header.role)
            }
            (Role::Client(_), Role::Peer) => (answer, self.role),
            (Role::Client(_), Role::Client(_)) => (false, self.role),
        };
        allowed && key.is_none_or(|key| key.role == key_role)
    }
}

/// Whether everything is there that this kind cannot do without.
const fn complete(kind: LongKind, parameters: &Parameters<'_>) -> bool {
    match kind {
        LongKind::Hello | LongKind::Welcome => parameters.versions.is_some() && parameters.random.is_some(),
        LongKind::Retry => parameters.cookie.is_some(),
        LongKind::Gossip => parameters.message.is_some(),
        LongKind::Confirm | LongKind::Reset | LongKind::VerNeg => true,
    }
}

fn pseudo_header(receiver: Option<LinkEnd>) -> Hasher {
    let mut hasher = Hasher::new();
    if let Some(receiver) = receiver {
        hasher.update(&link_end_bytes(receiver));
    }
    hasher
}

fn long_aad(
    header: &[u8; LONG_HEADER_BYTES],
    receiver: Option<LinkEnd>,
) -> [u8; LONG_HEADER_BYTES + LINK_END_BYTES] {
    let mut aad = [0; LONG_HEADER_BYTES + LINK_END_BYTES];
    aad[..LONG_HEADER_BYTES].copy_from_slice(header);
    // The kind, which is in the header, says whether these are a link end or nothing.
    aad[LONG_HEADER_BYTES..].copy_from_slice(&receiver.map_or([0; LINK_END_BYTES], link_end_bytes));
    aad
}
