//! Answers to calls: the responder's side of handshakes.

use std::net::SocketAddr;

use super::endpoint::{Endpoint, Timer};
use super::handshake::{FEATURES, HELLO_PAUSE_MAX, Handshakes, missing, session_of};
use super::path::{Agreed, Path, base_id, is_fresh};
use super::{DownReason, LinkId};
use crate::datagram::{ConnectionId, DropReason, LongHeader, LongKind, Parameters, VERSION, VERSIONS};
use crate::ids::LinkEnd;
use crate::keys::{KeyId, ResetToken, Role};
use crate::seal::{Association, Envelope, OpenedLong, Sealer};
use crate::time::{Duration, Instant};

/// A half-open handshake is forgotten after this (LINKS, EPFD: delays are assumed to be below 10 s).
const HALF_OPEN_KEPT: Duration = Duration::from_secs(10);

/// A handshake that waits for its third leg.
#[derive(Debug)]
pub(super) struct HalfOpen {
    from: SocketAddr,
    remote: LinkEnd,
    role: Role,
    key: KeyId,
    version: u8,
    remote_id: ConnectionId,
    random_a: [u8; 16],
    random_b: [u8; 16],
    /// The session that the WELCOME named, 0 for none.
    told: u64,
    reset_token: Option<ResetToken>,
    expires: Instant,
    tx: Sealer,
    rx: Sealer,
}

impl Endpoint {
    /// Whether a HELLO is not to be followed; counted.
    fn ignore_hello(&mut self, from: SocketAddr, header: &LongHeader) -> bool {
        let remote = header.sender();
        let known = self.table.by_end.get(&remote).copied();
        let other_role = known.and_then(|id| self.link(id)).is_some_and(|link| link.role != header.role);
        let calling = self.handshakes.dials.get(&from).is_some_and(|dial| dial.call.is_some());
        let peers = self.config.role == Role::Peer && header.role == Role::Peer;
        let counter = if !self.config.accepts {
            &mut self.stats.drop_not_accepting
        } else if other_role {
            &mut self.stats.drop_role_changed
        } else if peers && calling && self.config.local.node < remote.node {
            &mut self.stats.drop_simultaneous
        } else {
            return false;
        };
        *counter += 1;
        true
    }

    pub(super) fn handle_hello(&mut self, now: Instant, from: SocketAddr, opened: &OpenedLong<'_>) {
        let OpenedLong { header, parameters } = opened;
        if self.ignore_hello(from, header) {
            return;
        }
        let (Some(versions), Some(random_a)) = (parameters.versions, parameters.random) else {
            self.stats.dropped[DropReason::Malformed(missing()).index()] += 1;
            return;
        };
        let Some(version) = VERSIONS.agree(versions) else {
            return self.refuse_version(from, header.src_cid, header.dst_cid);
        };
        let remote = header.sender();
        let cookie = parameters.cookie.unwrap_or_default();
        if !self.handshakes.cookies.check(now, from, remote, cookie) {
            return self.send_retry(now, from, header);
        }
        if !self.table.by_end.contains_key(&remote) && !self.has_room() {
            self.stats.drop_links_full += 1;
            return;
        }
        // Ours, of the higher node id, waits: theirs is under way.
        if let Some(dial) = self.handshakes.dials.get(&from)
            && dial.call.is_some()
        {
            self.set_dial_timer(from, Some(now + HELLO_PAUSE_MAX));
        }
        // One per process, wherever it calls from: what a WELCOME says of the session that is held stays true until its
        // third leg, since no other handshake of the same process can come in between.
        let known = self.handshakes.half_open.iter().find(|(_, half)| half.remote == remote);
        if let Some((local_id, half)) = known {
            let local_id = *local_id;
            if half.from == from && half.remote_id == header.src_cid && half.random_a == random_a {
                return self.send_welcome(local_id);
            }
            self.handshakes.half_open.remove(&local_id);
        } else if self.handshakes.half_open.len() >= self.config.limits.half_open {
            self.stats.half_open_full += 1;
            return self.send_retry(now, from, header);
        }
        self.begin_half_open(now, from, header, version, random_a, parameters.reset_token);
    }

    fn begin_half_open(
        &mut self,
        now: Instant,
        from: SocketAddr,
        header: &LongHeader,
        version: u8,
        random_a: [u8; 16],
        reset_token: Option<ResetToken>,
    ) {
        let remote = header.sender();
        let random_b = self.rng.bytes();
        let association = Association {
            version,
            network: self.config.network,
            initiator: remote,
            responder: self.config.local,
            random_a,
            random_b,
        };
        let Ok((rx, tx)) = Sealer::derive(&self.config.keys, header.key_id, &association) else { return };
        let local_id = self.draw_id();
        let told = self.session_with(remote);
        let half = HalfOpen {
            from,
            remote,
            role: header.role,
            key: header.key_id,
            version,
            remote_id: header.src_cid,
            random_a,
            random_b,
            told,
            reset_token,
            expires: now + HALF_OPEN_KEPT,
            tx,
            rx,
        };
        if !core::mem::replace(&mut self.handshakes.half_open_timed, true) {
            self.timers.insert((half.expires, Timer::HalfOpen));
        }
        self.handshakes.half_open.insert(local_id, half);
        self.stats.half_open = self.handshakes.half_open.len() as u64;
        self.send_welcome(local_id);
    }

    fn send_retry(&mut self, now: Instant, from: SocketAddr, header: &LongHeader) {
        let cookie = self.handshakes.cookies.mint(now, from, header.sender());
        let envelope = Envelope {
            kind: LongKind::Retry,
            version: VERSION,
            dst_cid: header.src_cid,
            src_cid: ConnectionId(0),
            key_id: header.key_id,
            receiver: Some(header.sender()),
        };
        let parameters = Parameters { cookie: Some(&cookie), ..Parameters::default() };
        let mut out = Vec::new();
        if self.handshakes.sealer.seal(&mut out, &envelope, &parameters).is_ok() {
            self.stats.retry_out += 1;
            self.post(from, out);
        }
    }

    fn send_welcome(&mut self, local_id: ConnectionId) {
        let Handshakes { sealer, half_open, .. } = &mut self.handshakes;
        let Some(half) = half_open.get(&local_id) else { return };
        let envelope = Envelope {
            kind: LongKind::Welcome,
            version: half.version,
            dst_cid: half.remote_id,
            src_cid: local_id,
            key_id: half.key,
            receiver: Some(half.remote),
        };
        let parameters = Parameters {
            versions: Some(VERSIONS),
            features: Some(FEATURES),
            random: Some(half.random_b),
            reset_token: self.config.keys.reset_token(self.config.network, local_id),
            session: Some(half.told),
            ..Parameters::default()
        };
        let (to, mut out) = (half.from, Vec::new());
        if sealer.seal(&mut out, &envelope, &parameters).is_ok() {
            self.stats.welcome_out += 1;
            self.post(to, out);
        }
    }

    /// A short datagram for a connection that no link bears: the third leg of a handshake, or out of the blue.
    pub(super) fn handle_unknown(
        &mut self,
        now: Instant,
        from: SocketAddr,
        dst_cid: ConnectionId,
        datagram: &mut [u8],
    ) {
        let local_id = base_id(dst_cid);
        let Some(half) = self.handshakes.half_open.get(&local_id) else {
            self.stats.drop_unknown_connection += 1;
            return self.send_reset(now, from, local_id, datagram.len());
        };
        if half.from != from {
            self.stats.drop_unknown_connection += 1;
            return;
        }
        // Opened twice, here on a copy: nothing is changed before it has proven authentic.
        if let Err(reason) = half.rx.open(&mut datagram.to_vec()) {
            self.stats.dropped[reason.index()] += 1;
            return;
        }
        let Some(half) = self.handshakes.half_open.remove(&local_id) else { return };
        self.stats.half_open = self.handshakes.half_open.len() as u64;
        let Some(id) = self.settle_as_responder(now, &half, is_fresh(dst_cid)) else { return };
        let agreed = Agreed {
            addr: from,
            local_id,
            remote_id: half.remote_id,
            tx: half.tx,
            rx: half.rx,
            reset_token: half.reset_token,
        };
        self.attach(now, id, Box::new(Path::new(now, agreed)));
        self.satisfy(from, id);
        self.handle_short(now, id, datagram);
    }

    /// Which link a third leg is for.
    fn settle_as_responder(&mut self, now: Instant, half: &HalfOpen, fresh: bool) -> Option<LinkId> {
        if self.session_with(half.remote) != half.told || (!fresh && half.told == 0) {
            self.stats.drop_outdated_handshake += 1;
            return None;
        }
        let session = session_of(&half.random_b);
        let party = self.party(half.remote, half.role);
        if let Some(id) = self.table.by_end.get(&half.remote).copied()
            && let Some(link) = self.link_mut(id)
        {
            if !fresh {
                return Some(id);
            }
            if !link.confirmed {
                link.session = session;
                return Some(id);
            }
            self.end(now, id, DownReason::Replaced);
        }
        self.begin_session(now, half.from, party, session)
    }

    /// Half-open handshakes whose time is over.
    pub(super) fn expire_half_open(&mut self, now: Instant) {
        let before = self.handshakes.half_open.len();
        self.handshakes.half_open.retain(|_, half| half.expires > now);
        self.stats.half_open_expired += (before - self.handshakes.half_open.len()) as u64;
        self.stats.half_open = self.handshakes.half_open.len() as u64;
        let next = self.handshakes.half_open.values().map(|half| half.expires).min();
        self.handshakes.half_open_timed = next.is_some();
        self.timers.extend(next.map(|at| (at, Timer::HalfOpen)));
    }
}
