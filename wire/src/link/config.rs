//! What an endpoint is told at its start, and the numbers that bound it.

use std::net::SocketAddr;

use crate::frame::{Class, MESSAGE_MAX_BYTES};
use crate::ids::{LinkEnd, NetworkId};
use crate::keys::{KeyRing, Role};
use crate::time::Duration;

/// Longest message of [`super::Endpoint::send_datagram`], in bytes: fits any path together with an acknowledgement.
pub const DATAGRAM_MAX_BYTES: usize = 1100;

/// Largest datagram where nothing is known of the path, in bytes (RFC 9000, section 14).
const MTU_ANY: usize = 1200;
/// Largest datagram to this host itself, in bytes (judgement: its MTU is 65,536, and cost is per datagram).
const MTU_LOOPBACK: usize = 16 << 10;

/// Largest datagram that is sent to `addr` before its path is measured, in bytes.
pub fn base_mtu(addr: SocketAddr) -> usize {
    if addr.ip().to_canonical().is_loopback() { MTU_LOOPBACK } else { MTU_ANY }
}

/// How far one class may go, per link and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassLimits {
    /// Bytes that a sender keeps until they are acknowledged, and that a receiver takes before they are fetched.
    pub bytes: usize,
    /// Messages, likewise.
    pub messages: u64,
    /// Longest message, in bytes.
    pub message_bytes: usize,
}

/// Bytes and messages that may be sent in a class, counted from the session's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credit {
    pub(super) bytes: u64,
    pub(super) messages: u64,
}

impl Credit {
    /// What every receiver of this wire version grants before it says anything: no class has to wait for a credit to
    /// begin. Both ends must know the same numbers.
    pub(super) const fn initial(class: Class) -> Self {
        match class {
            Class::Membership => Self { bytes: 64 << 10, messages: 256 },
            Class::Broadcast | Class::Client | Class::Bulk => Self { bytes: 256 << 10, messages: 1024 },
        }
    }
}

/// The bounds of an endpoint. The defaults are those of the product; tests use smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Windows of the classes, by [`Class::index`] (LINKS, classes).
    pub classes: [ClassLimits; Class::COUNT],
    /// Bytes of incomplete and early messages of all links together. Over it, only one link at a time goes on, so
    /// that one message after another is completed.
    pub assembly_bytes: usize,
    /// Links at most. Over it, processes that are not known yet are not answered.
    pub links: usize,
    /// Handshakes at most that wait for their third leg.
    pub half_open: usize,
    /// A link of a client ends when nothing new was heard for this long. Links of peers never end by themselves.
    pub client_idle: Duration,
    /// Fair-loss messages that wait per link; the oldest is dropped for a newer one.
    pub datagrams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            classes: [
                ClassLimits { bytes: 64 << 10, messages: 1024, message_bytes: 32 << 10 },
                ClassLimits { bytes: 4 << 20, messages: 16_384, message_bytes: 4 << 20 },
                ClassLimits { bytes: 8 << 20, messages: 16_384, message_bytes: 4 << 20 },
                ClassLimits { bytes: 32 << 20, messages: 4096, message_bytes: MESSAGE_MAX_BYTES },
            ],
            assembly_bytes: 512 << 20,
            links: 16_384,
            half_open: 128,
            client_idle: Duration::from_secs(5 * 60),
            datagrams: 64,
        }
    }
}

impl Limits {
    /// # Panics
    /// If a window is smaller than what is granted before it is announced, or than the longest message: such a
    /// message would never get through.
    pub(super) fn check(&self) {
        for class in Class::ALL {
            let (limits, initial) = (self.classes[class.index()], Credit::initial(class));
            assert!(limits.bytes as u64 >= initial.bytes, "class {class:?}: window below the initial credit");
            assert!(limits.messages >= initial.messages, "class {class:?}: window below the initial credit");
            assert!(limits.message_bytes <= limits.bytes, "class {class:?}: messages longer than the window");
            assert!(limits.message_bytes <= MESSAGE_MAX_BYTES, "class {class:?}: messages over 16 MiB");
        }
    }
}

/// What an endpoint is.
#[derive(Debug)]
pub struct EndpointConfig {
    /// This process.
    pub local: LinkEnd,
    /// What this process is: a peer, or a client of daemons.
    pub role: Role,
    /// The network; datagrams of others are dropped.
    pub network: NetworkId,
    /// The keys; empty for an unsealed network.
    pub keys: KeyRing,
    /// Whether handshakes of others are answered. Daemons do, clients do not.
    pub accepts: bool,
    /// All bounds.
    pub limits: Limits,
}
