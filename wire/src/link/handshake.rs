//! Handshakes: what calls, answers and hints share. See [`super`] for the exchange.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::answer::HalfOpen;
use super::call::Dial;
use super::config::EndpointConfig;
use super::endpoint::Endpoint;
use super::hint::ResetLimiter;
use super::session::{Link, Party};
use super::{LinkEvent, LinkId};
use crate::codec::DecodeError;
use crate::datagram::{
    ConnectionId, DropReason, HELLO_MIN_BYTES, LongKind, VERSIONS, put_version_negotiation,
};
use crate::ids::LinkEnd;
use crate::keys::Role;
use crate::rng::Rng;
use crate::seal::{CookieKey, LongSealer};
use crate::time::{Duration, Instant};

/// First pause between two HELLOs (LINKS, handshake).
pub(super) const HELLO_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two HELLOs (LINKS, handshake).
pub(super) const HELLO_PAUSE_MAX: Duration = Duration::from_secs(1);
/// What HELLO and WELCOME offer beyond versions: nothing yet.
pub(super) const FEATURES: u64 = 0;

/// All that an endpoint knows of handshakes.
#[derive(Debug)]
pub(super) struct Handshakes {
    pub(super) sealer: LongSealer,
    pub(super) cookies: CookieKey,
    pub(super) dials: BTreeMap<SocketAddr, Dial>,
    pub(super) half_open: BTreeMap<ConnectionId, HalfOpen>,
    /// Whether the timer of the half-open ones is set: there is one for all of them, however they come and go.
    pub(super) half_open_timed: bool,
    pub(super) resets: ResetLimiter,
}

impl Handshakes {
    pub(super) fn new(config: &EndpointConfig, rng: &mut Rng) -> Self {
        let sealer =
            LongSealer::new(config.network, config.local, config.role, config.keys.clone(), rng.bytes())
                .expect("the keys allow the role");
        Self {
            sealer,
            cookies: CookieKey::new(rng.bytes()),
            dials: BTreeMap::new(),
            half_open: BTreeMap::new(),
            half_open_timed: false,
            resets: ResetLimiter::default(),
        }
    }

    /// Whether a half-open handshake or a call bears this id.
    pub(super) fn knows(&self, id: ConnectionId) -> bool {
        self.half_open.contains_key(&id)
    }
}

/// The session that a handshake begins: part of the responder's random, never 0.
pub(super) fn session_of(random_b: &[u8; 16]) -> u64 {
    random_b.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)).max(1)
}

impl Endpoint {
    /// A long datagram.
    pub(super) fn handle_long(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        (version, kind): (u8, u8),
        (dst_cid, src_cid): (ConnectionId, ConnectionId),
    ) {
        if !VERSIONS.contains(version) {
            let padded = datagram.len() >= HELLO_MIN_BYTES;
            if kind == LongKind::Hello as u8 && padded && self.config.accepts {
                return self.refuse_version(from, src_cid, dst_cid);
            }
            self.stats.dropped[DropReason::Version.index()] += 1;
            return;
        }
        let opened = match self.handshakes.sealer.open(datagram) {
            Ok(opened) => opened,
            Err(reason) => {
                self.stats.dropped[reason.index()] += 1;
                return;
            }
        };
        if opened.header.sender() == self.config.local {
            self.stats.drop_conflict += 1;
        } else if opened.header.kind != LongKind::Gossip && self.is_gone(opened.header.sender()) {
            // It gets no link. What it says outside of links may be answered: so it learns that it is gone.
            self.stats.drop_gone += 1;
        } else {
            match opened.header.kind {
                LongKind::Hello => self.handle_hello(now, from, &opened),
                LongKind::Retry => self.handle_retry(from, &opened),
                LongKind::Welcome => self.handle_welcome(now, from, &opened),
                LongKind::Gossip => self.handle_gossip(from, &opened),
                // Every short datagram stands for the third leg, so nobody sends this one.
                LongKind::Confirm | LongKind::Reset | LongKind::VerNeg => {
                    self.stats.dropped[DropReason::Kind.index()] += 1;
                }
            }
        }
    }

    pub(super) fn refuse_version(&mut self, from: SocketAddr, src_cid: ConnectionId, dst_cid: ConnectionId) {
        self.stats.version_mismatch += 1;
        let mut out = Vec::new();
        put_version_negotiation(&mut out, src_cid, dst_cid, VERSIONS);
        self.post(from, out);
    }

    /// The session held with a process, 0 for none.
    pub(super) fn session_with(&self, remote: LinkEnd) -> u64 {
        self.table.by_end.get(&remote).and_then(|id| self.link(*id)).map_or(0, |link| link.session)
    }

    pub(super) fn party(&self, remote: LinkEnd, role: Role) -> Party {
        Party { remote, role, of_client: role != Role::Peer || self.config.role != Role::Peer }
    }

    /// A link with a process that was not known, or has ended its session.
    pub(super) fn begin_session(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        party: Party,
        session: u64,
    ) -> Option<LinkId> {
        if !self.has_room() {
            self.stats.drop_links_full += 1;
            return None;
        }
        let limits = &self.config.limits;
        let id = self.table.insert(|id| Link::new(id, now, party, session, addr, limits));
        self.stats.links += 1;
        self.events.push_back(LinkEvent::Up { link: id, remote: party.remote, role: party.role, addr });
        Some(id)
    }
}

/// A handshake without what it must have.
pub(super) const fn missing() -> DecodeError {
    DecodeError::Truncated("handshake parameters")
}
