//! One association: keys, connection ids, packet numbers, and what is known of the path.

use core::fmt;
use std::net::SocketAddr;

use super::config::base_mtu;
use super::congestion::{AckSample, Controller, NewReno};
use super::loss::{Acked, Sent};
use super::recv::Received;
use super::rtt::Rtt;
use crate::datagram::ConnectionId;
use crate::keys::ResetToken;
use crate::seal::Sealer;
use crate::time::{Duration, Instant};

/// Fair-loss messages that may leave in spite of a full congestion window, per second (LINKS, EPFD).
const EXEMPT_PER_SECOND: u64 = 20;
/// The lowest bit of a responder's connection id, as the initiator writes it, says whether the initiator
/// begins a new session (1) or goes on with the one that the WELCOME named (0). Every datagram says it, so every
/// datagram can stand for the third leg.
const FRESH: u64 = 1;

/// A connection id without what its user says in its lowest bit.
pub(super) const fn base_id(id: ConnectionId) -> ConnectionId {
    ConnectionId(id.0 & !FRESH)
}

/// Whether a user of this connection id begins a new session.
pub(super) const fn is_fresh(id: ConnectionId) -> bool {
    id.0 & FRESH != 0
}

/// The connection id as a user writes it who begins a new session.
pub(super) const fn fresh_id(id: ConnectionId) -> ConnectionId {
    ConnectionId(id.0 | FRESH)
}

/// What a handshake agreed on.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) addr: SocketAddr,
    pub(super) local_id: ConnectionId,
    /// As it is written into datagrams.
    pub(super) remote_id: ConnectionId,
    pub(super) tx: Sealer,
    pub(super) rx: Sealer,
    pub(super) reset_token: Option<ResetToken>,
}

/// An association and the state of its path.
pub(super) struct Path {
    pub(super) agreed: Agreed,
    pub(super) mtu: usize,
    pub(super) sent: Sent,
    pub(super) received: Received,
    pub(super) rtt: Rtt,
    pub(super) congestion: Box<dyn Controller>,
    /// Datagrams to be sent in spite of a full window, since nothing was heard.
    pub(super) probes: u8,
    /// A PING has to go out.
    pub(super) ping: bool,
    /// A PATH_CHALLENGE to answer.
    pub(super) path_response: Option<[u8; 8]>,
    /// Say again that credit is missing.
    pub(super) blocked_at: Option<Instant>,
    pub(super) blocked_for: u32,
    pub(super) blocked_due: bool,
    /// Fair-loss messages that may go in spite of a full window, and since when they are counted.
    exempt: u64,
    exempt_since: Instant,
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Path").field("agreed", &self.agreed).field("rtt", &self.rtt).finish_non_exhaustive()
    }
}

impl Path {
    /// A path about which nothing is known.
    pub(super) fn new(now: Instant, agreed: Agreed) -> Self {
        let mtu = base_mtu(agreed.addr);
        Self {
            agreed,
            mtu,
            sent: Sent::new(now),
            received: Received::default(),
            rtt: Rtt::default(),
            congestion: Box::new(NewReno::new(mtu)),
            probes: 0,
            ping: false,
            path_response: None,
            blocked_at: None,
            blocked_for: 0,
            blocked_due: false,
            exempt: EXEMPT_PER_SECOND,
            exempt_since: now,
        }
    }

    /// Keeps what was learned of the same address under an earlier association.
    pub(super) fn inherit(&mut self, earlier: Self) {
        if earlier.agreed.addr == self.agreed.addr {
            self.rtt = earlier.rtt;
            self.congestion = earlier.congestion;
            self.received.inherit_loss(&earlier.received);
        }
    }

    /// Whether the congestion window has room.
    pub(super) fn is_open(&self) -> bool {
        self.sent.in_flight() < self.congestion.window() && self.sent.has_room()
    }

    /// Whether a fair-loss message may go in spite of a full window.
    pub(super) fn may_exempt(&mut self, now: Instant) -> bool {
        let earned = now.saturating_since(self.exempt_since).as_millis() as u64 * EXEMPT_PER_SECOND / 1000;
        if earned > 0 {
            self.exempt = (self.exempt + earned).min(EXEMPT_PER_SECOND);
            self.exempt_since = now;
        }
        self.exempt > 0
    }

    /// One went.
    pub(super) const fn on_exempted(&mut self) {
        self.exempt = self.exempt.saturating_sub(1);
    }

    /// When [`Path::may_exempt`] turns true.
    pub(super) fn exempt_at(&self) -> Instant {
        self.exempt_since + Duration::from_millis(1000 / EXEMPT_PER_SECOND)
    }

    /// Teaches round trip and congestion control what an acknowledgement said.
    pub(super) fn on_acked(&mut self, now: Instant, acked: &Acked, delay: Duration, in_flight: u64) {
        match acked.rtt {
            Some((rtt, true)) => self.rtt.sample(rtt, delay),
            Some((rtt, false)) if delay < rtt => self.rtt.sample(rtt - delay, Duration::ZERO),
            _ => {}
        }
        self.received.on_known(acked.acknowledged_below);
        if let Some(newest) = acked.newest {
            self.congestion.on_ack(&AckSample {
                now,
                acked: acked.bytes,
                in_flight,
                largest_sent_at: newest.sent_at,
                app_limited: newest.app_limited,
                delivery_rate: newest.delivery_rate,
                min_rtt: self.rtt.min(),
            });
        }
        if acked.spurious > 0 && self.sent.all_spurious(acked.spurious) {
            self.congestion.on_spurious();
        }
    }
}
