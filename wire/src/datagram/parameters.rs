//! What a long datagram says beyond its header: type, length, value.

use bytes::BufMut;

use super::{COOKIE_MAX_BYTES, Versions};
use crate::codec::{DecodeError, Reader};
use crate::keys::ResetToken;

pub(super) const CRITICAL: u16 = 0x8000;
pub(super) const VERSIONS_TYPE: u16 = CRITICAL | 1;
pub(super) const FEATURES_TYPE: u16 = 2;
pub(super) const RANDOM_TYPE: u16 = CRITICAL | 3;
pub(super) const COOKIE_TYPE: u16 = 4;
const RESET_TOKEN_TYPE: u16 = 5;
const SESSION_TYPE: u16 = CRITICAL | 6;
const MESSAGE_TYPE: u16 = CRITICAL | 7;
/// 256 types that never get a meaning.
pub(super) const GREASE_TYPE: u16 = 0x2a00;
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
