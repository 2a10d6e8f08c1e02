//! VERNEG and RESET: the two datagrams that a process of any version understands. Hints, never verdicts.

use bytes::BufMut;

use super::{
    CRC_BYTES, ConnectionId, DropReason, LongKind, RESET_HEADER_BYTES, SEALED, TAG_BYTES, VERSION_SHARED,
    Versions, put_shared,
};
use crate::codec::Reader;
use crate::ids::NetworkId;
use crate::keys::{KeyRing, ResetToken};

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
    pub(super) fn peek(flags: u8, unknown: ConnectionId, datagram: &[u8]) -> Result<Self, DropReason> {
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
