//! Cookies: proof that someone receives what is sent to its address, kept by the someone.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use bytes::BufMut;
use ring::hmac;

use super::{LINK_END_BYTES, link_end_bytes};
use crate::ids::LinkEnd;
use crate::time::{Duration, Instant};

/// How long a cookie is good for: several tries of a HELLO (100 ms, doubling to 1 s) over a slow path.
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(10);

/// Bytes of a cookie: when it was made, and a MAC.
pub const COOKIE_BYTES: usize = 8 + 32;

/// Makes and knows again the cookies of RETRY, without remembering any: a cookie that comes back proves that its
/// bearer receives what is sent to its address.
pub struct CookieKey(hmac::Key);

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey(..)")
    }
}

impl CookieKey {
    /// A key of this process alone, from a CSPRNG.
    pub fn new(random: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random))
    }

    /// A cookie for `initiator`, who says it is at `addr`.
    pub fn mint(&self, now: Instant, addr: SocketAddr, initiator: LinkEnd) -> [u8; COOKIE_BYTES] {
        let made = now.as_nanos().to_be_bytes();
        let mut cookie = [0; COOKIE_BYTES];
        cookie[..8].copy_from_slice(&made);
        cookie[8..].copy_from_slice(hmac::sign(&self.0, &cookie_context(made, addr, initiator)).as_ref());
        cookie
    }

    /// Whether `cookie` was made here for the same initiator at the same address, within [`COOKIE_LIFETIME`].
    pub fn check(&self, now: Instant, addr: SocketAddr, initiator: LinkEnd, cookie: &[u8]) -> bool {
        let Some((made, mac)) = cookie.split_first_chunk::<8>() else { return false };
        let age = now.as_nanos().checked_sub(u64::from_be_bytes(*made));
        age.is_some_and(|age| Duration::from_nanos(age) <= COOKIE_LIFETIME)
            && hmac::verify(&self.0, &cookie_context(*made, addr, initiator), mac).is_ok()
    }
}

fn cookie_context(made: [u8; 8], addr: SocketAddr, initiator: LinkEnd) -> [u8; 8 + 18 + LINK_END_BYTES] {
    let ip = match addr.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut context = [0; 8 + 18 + LINK_END_BYTES];
    let mut out = &mut context[..];
    out.put_slice(&made);
    out.put_slice(&ip.octets());
    out.put_u16(addr.port());
    out.put_slice(&link_end_bytes(initiator));
    context
}
