//! Perfect links over UDP, without I/O: bytes and time in, bytes and times out.
//!
//! Per pair of processes a link holds (Cachin, Guerraoui, Rodrigues, section 2.4): PL1 reliable delivery (if neither
//! crashes, every message arrives, however long the network misbehaves), PL2 no duplication, PL3 no creation; and
//! FIFO order within classes 1 and 3.
//!
//! # Life of a link
//!
//! ```text
//! initiator                                   responder
//!   | HELLO(random a)                    ---->  |  padded to 1200 bytes; nothing is remembered
//!   |  <----                     RETRY(cookie)  |  a MAC over the source address and the time
//!   | HELLO(random a, cookie)            ---->  |  one of at most 128 half-open handshakes
//!   |  <----   WELCOME(random b, held session)  |  the initiator's side is up
//!   | any short datagram                 ---->  |  third leg: only now an older association is replaced
//! ```
//!
//! A *session* belongs to two processes and holds message sequences and what was received; an *association* belongs to
//! one handshake and holds keys, connection ids, packet numbers and the path. The WELCOME names the session that
//! the responder holds with the initiator. If the initiator holds the same, both go on with it, and nothing is
//! delivered twice or left out. If it holds another one of which it never heard anything, the responder never
//! took that one up, and its messages go over into the new one. Otherwise one end has ended the session
//! (the idle link of a client, a close): both begin a new one, and both layers above are told by
//! [`LinkEvent::Down`] and [`LinkEvent::Up`]. The lowest bit of the responder's connection id, as the initiator writes
//! it, tells which of the two it is, so that every datagram can stand for the third leg, whichever is lost. A long
//! CONFIRM is therefore never sent.
//!
//! The session's number is part of the responder's random, so both ends know it without another message.
//!
//! Two processes that call each other at once: the HELLO of the lower node id wins, the other one is ignored while its
//! receiver calls itself. A third leg that finds the session changed since its WELCOME is dropped, so that even
//! crossed handshakes never mix two sessions.
//!
//! # Ends
//!
//! Links between peers end only by [`Endpoint::gone`] or [`Endpoint::close`], or when the other end breaks the
//! rules: a timeout would break PL1 between correct processes. Links of clients end after five idle minutes.

mod answer;
mod assembly;
mod call;
mod config;
mod congestion;
mod endpoint;
mod gossip;
mod handshake;
mod hint;
mod inbox;
mod life;
mod loss;
mod path;
mod ranges;
mod recv;
mod rtt;
mod send;
mod session;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod transmit;

use std::net::SocketAddr;

use bytes::Bytes;
use thiserror::Error;

pub use config::{ClassLimits, DATAGRAM_MAX_BYTES, EndpointConfig, Limits, base_mtu};
pub use endpoint::Endpoint;
pub use gossip::GOSSIP_MAX_BYTES;
pub use stats::LinkStats;

use crate::frame::Class;
use crate::ids::LinkEnd;
use crate::keys::Role;
use crate::time::{Duration, Instant};

/// A link, as its endpoint names it. Never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// The other end closed it.
    Closed,
    /// [`Endpoint::close`].
    ClosedHere,
    /// The link of a client, and nothing new was heard for [`Limits::client_idle`].
    Idle,
    /// [`Endpoint::gone`].
    Gone,
    /// The other end had ended the session, and a new one has begun.
    Replaced,
    /// The other end, or this one in its eyes, broke the rules of the wire.
    Violation,
}

/// What happened on a link. Events come in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A session with a process began, with all sequences at 0. Nothing of an earlier one follows.
    Up {
        /// The link.
        link: LinkId,
        /// The process at the other end.
        remote: LinkEnd,
        /// What it is, proven by the key of its handshake.
        role: Role,
        /// Where it is.
        addr: SocketAddr,
    },
    /// The session ended; the id is never used again.
    Down {
        /// The link.
        link: LinkId,
        /// The process at the other end.
        remote: LinkEnd,
        /// Messages sent of which it is not known whether they arrived.
        unacked: u64,
        /// Why.
        reason: DownReason,
    },
    /// A message, exactly once; in order on classes 1 and 3.
    Deliver {
        /// The link.
        link: LinkId,
        /// The class it was sent in.
        class: Class,
        /// The message. A slice of a chunk shared with others: copy what is kept for long.
        message: Bytes,
    },
    /// A fair-loss message: perhaps lost, never repeated within an association.
    Datagram {
        /// The link.
        link: LinkId,
        /// The message.
        message: Bytes,
    },
    /// After a [`SendError::WouldBlock`]: there is room again.
    Writable {
        /// The link.
        link: LinkId,
        /// The class.
        class: Class,
    },
    /// A message of [`Endpoint::send_gossip`]: perhaps repeated, perhaps old.
    Gossip {
        /// Where it seems to come from. Nothing proves that the sender is there.
        from: SocketAddr,
        /// Who sealed it.
        sender: LinkEnd,
        /// The message, a copy of its own.
        message: Bytes,
    },
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The window is full. Nothing happened; [`LinkEvent::Writable`] follows when there is room.
    #[error("the window is full")]
    WouldBlock,
    /// There is no such link any more.
    #[error("the link has ended")]
    Gone,
    /// Over the class's limit: would never be taken.
    #[error("the message is longer than its class allows")]
    TooLong,
}

/// What is known about the other end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The process.
    pub end: LinkEnd,
    /// What it is.
    pub role: Role,
    /// Where it is, or was last.
    pub addr: SocketAddr,
    /// When a packet above all before last arrived: replays do not keep a dead process alive.
    pub last_heard: Instant,
    /// Smoothed round trip; 100 ms before the first sample.
    pub srtt: Duration,
    /// Variation of the round trip.
    pub rttvar: Duration,
    /// Inbound loss rate in parts per million, from gaps in what arrives. Silence does not raise it.
    pub loss_ppm: u32,
    /// Whether there is an association; without one, messages wait.
    pub established: bool,
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The address.
    pub to: SocketAddr,
}
