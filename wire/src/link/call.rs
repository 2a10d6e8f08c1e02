//! Calls to addresses: the initiator's side of handshakes.

use std::net::SocketAddr;

use super::endpoint::{Endpoint, Timer};
use super::handshake::{FEATURES, HELLO_PAUSE, HELLO_PAUSE_MAX, Handshakes, missing, session_of};
use super::path::{Agreed, Path, base_id, fresh_id};
use super::session::Party;
use super::{DownReason, LinkId};
use crate::datagram::{ConnectionId, DropReason, LongKind, Parameters, VERSION, VERSIONS, Versions};
use crate::keys::Role;
use crate::seal::{Association, Envelope, OpenedLong, Sealer};
use crate::time::{Duration, Instant};

/// HELLOs that a hint provokes to an address that nobody asked to call (judgement: a few seconds).
const HINTED_HELLOS: u32 = 6;

/// A call in progress.
#[derive(Debug)]
pub(super) struct Call {
    began: Instant,
    local_id: ConnectionId,
    random: [u8; 16],
    cookie: Vec<u8>,
    version: u8,
    pause: Duration,
    hellos: u32,
    /// A RETRY or VERNEG was already followed since the last HELLO that the timer sent.
    followed: bool,
}

/// An address that is called.
#[derive(Debug, Default)]
pub(super) struct Dial {
    /// The layer above asked for it; else a hint did.
    pub(super) wanted: bool,
    pub(super) call: Option<Call>,
    timer: Option<Instant>,
}

impl Endpoint {
    /// Calls this address for ever, until a link with the process there is up, and again whenever it is lost or
    /// another process has taken its place.
    pub fn connect(&mut self, now: Instant, addr: SocketAddr) {
        let dial = self.handshakes.dials.entry(addr).or_default();
        if core::mem::replace(&mut dial.wanted, true) {
            return;
        }
        if let Some(link) = self.table.by_addr.get(&addr).copied() {
            self.satisfy(addr, link);
        } else if dial.call.is_none() {
            self.call(now, addr);
        }
    }

    /// Stops calling this address. A link that is up stays up.
    pub fn disconnect(&mut self, addr: SocketAddr) {
        if let Some(Dial { timer: Some(at), .. }) = self.handshakes.dials.remove(&addr) {
            self.timers.remove(&(at, Timer::Dial(addr)));
        }
    }

    /// The network says that nobody listens at this address (ICMP). A hint: it is asked who is there now.
    pub fn unreachable(&mut self, now: Instant, addr: SocketAddr) {
        if self.handshakes.dials.get(&addr).is_some_and(|dial| dial.wanted && dial.call.is_none())
            && self.table.by_addr.contains_key(&addr)
        {
            self.call(now, addr);
        }
    }

    /// Begins a call with a HELLO at once.
    pub(super) fn call(&mut self, now: Instant, addr: SocketAddr) {
        self.prepare_call(now, addr);
        self.handle_dial_timeout(now, addr);
    }

    fn prepare_call(&mut self, now: Instant, addr: SocketAddr) {
        let (local_id, random) = (self.draw_id(), self.rng.bytes());
        self.handshakes.dials.entry(addr).or_default().call = Some(Call {
            began: now,
            local_id,
            random,
            cookie: Vec::new(),
            version: VERSION,
            pause: HELLO_PAUSE,
            hellos: 0,
            followed: false,
        });
    }

    pub(super) fn set_dial_timer(&mut self, addr: SocketAddr, at: Option<Instant>) {
        let Some(dial) = self.handshakes.dials.get_mut(&addr) else { return };
        if let Some(old) = core::mem::replace(&mut dial.timer, at) {
            self.timers.remove(&(old, Timer::Dial(addr)));
        }
        if let Some(at) = at {
            self.timers.insert((at, Timer::Dial(addr)));
        }
    }

    /// The next HELLO of a call is due.
    pub(super) fn handle_dial_timeout(&mut self, now: Instant, addr: SocketAddr) {
        let Some(dial) = self.handshakes.dials.get_mut(&addr) else { return };
        let wanted = dial.wanted;
        let Some(call) = &mut dial.call else { return };
        call.hellos = call.hellos.saturating_add(1);
        if !wanted && call.hellos > HINTED_HELLOS {
            return self.disconnect(addr);
        }
        call.followed = false;
        let pause = call.pause;
        call.pause = (pause * 2).min(HELLO_PAUSE_MAX);
        // A little apart, so that two who call each other, or many who call one, do not stay in step.
        let jitter = Duration::from_nanos(self.rng.below(pause.as_nanos() as u64 / 8));
        self.set_dial_timer(addr, Some(now + pause + jitter));
        self.send_hello(addr);
    }

    fn send_hello(&mut self, addr: SocketAddr) {
        let Handshakes { sealer, dials, .. } = &mut self.handshakes;
        let Some(call) = dials.get(&addr).and_then(|dial| dial.call.as_ref()) else { return };
        let envelope = Envelope {
            kind: LongKind::Hello,
            version: call.version,
            dst_cid: ConnectionId(0),
            src_cid: call.local_id,
            key_id: sealer.active_key(),
            receiver: None,
        };
        let parameters = Parameters {
            versions: Some(VERSIONS),
            features: Some(FEATURES),
            random: Some(call.random),
            cookie: (!call.cookie.is_empty()).then_some(&call.cookie),
            reset_token: self.config.keys.reset_token(self.config.network, call.local_id),
            ..Parameters::default()
        };
        let mut out = Vec::new();
        if sealer.seal(&mut out, &envelope, &parameters).is_ok() {
            self.stats.hello_out += 1;
            self.post(addr, out);
        }
    }

    /// A call has its answer in this link, or needs none.
    pub(super) fn satisfy(&mut self, addr: SocketAddr, id: LinkId) {
        let Some(dial) = self.handshakes.dials.get_mut(&addr) else { return };
        dial.call = None;
        if !dial.wanted {
            return self.disconnect(addr);
        }
        self.set_dial_timer(addr, None);
        if let Some(link) = self.link_mut(id)
            && !link.dials.contains(&addr)
        {
            link.dials.push(addr);
        }
    }

    /// The link may have ended, or its path be dead: whoever was called to get it is called again.
    pub(super) fn on_suspect(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.link_mut(id) else { return };
        for addr in core::mem::take(&mut link.dials) {
            if self.handshakes.dials.get(&addr).is_some_and(|dial| dial.call.is_none()) {
                self.prepare_call(now, addr);
                self.set_dial_timer(addr, Some(now + HELLO_PAUSE));
            }
        }
    }

    /// The link's path has proven alive after all.
    pub(super) fn on_recovered(&mut self, id: LinkId) {
        if let Some(addr) = self.link(id).map(|link| link.addr) {
            self.satisfy(addr, id);
        }
    }

    pub(super) fn handle_retry(&mut self, from: SocketAddr, opened: &OpenedLong<'_>) {
        let dial = self.handshakes.dials.get_mut(&from);
        let call = dial.and_then(|dial| dial.call.as_mut());
        let (Some(call), Some(cookie)) = (call, opened.parameters.cookie) else {
            self.stats.drop_stale_answer += 1;
            return;
        };
        if call.local_id != opened.header.dst_cid {
            self.stats.drop_stale_answer += 1;
            return;
        }
        call.cookie.clear();
        call.cookie.extend_from_slice(cookie);
        // Once per HELLO of the timer: two processes must not keep each other busy.
        if !core::mem::replace(&mut call.followed, true) {
            self.send_hello(from);
        }
    }

    /// The receiver of our HELLO does not speak its version.
    pub(super) fn handle_version_negotiation(
        &mut self,
        from: SocketAddr,
        dst_cid: ConnectionId,
        versions: Versions,
    ) {
        let dial = self.handshakes.dials.get_mut(&from);
        let call = dial.and_then(|dial| dial.call.as_mut()).filter(|call| call.local_id == dst_cid);
        let Some(call) = call else {
            self.stats.drop_stale_answer += 1;
            return;
        };
        let Some(version) = VERSIONS.agree(versions) else {
            self.stats.version_mismatch += 1;
            return;
        };
        if version != call.version && !core::mem::replace(&mut call.followed, true) {
            call.version = version;
            self.send_hello(from);
        }
    }

    pub(super) fn handle_welcome(&mut self, now: Instant, from: SocketAddr, opened: &OpenedLong<'_>) {
        let OpenedLong { header, parameters } = opened;
        let call = self.handshakes.dials.get(&from).and_then(|dial| dial.call.as_ref());
        let Some(call) = call.filter(|call| call.local_id == header.dst_cid) else {
            self.stats.drop_stale_answer += 1;
            return;
        };
        let (Some(versions), Some(random_b)) = (parameters.versions, parameters.random) else {
            self.stats.dropped[DropReason::Malformed(missing()).index()] += 1;
            return;
        };
        // An answer in another version than both prefer was tampered with.
        if VERSIONS.agree(versions) != Some(header.version) {
            self.stats.dropped[DropReason::Version.index()] += 1;
            return;
        }
        let active = self.handshakes.sealer.active_key();
        if header.role != Role::Peer || header.key_id != active {
            self.stats.dropped[DropReason::Role.index()] += 1;
            return;
        }
        let association = Association {
            version: header.version,
            network: self.config.network,
            initiator: self.config.local,
            responder: header.sender(),
            random_a: call.random,
            random_b,
        };
        let (local_id, began) = (call.local_id, call.began);
        let Ok((tx, rx)) = Sealer::derive(&self.config.keys, active, &association) else { return };
        let told = parameters.session.unwrap_or_default();
        let party = self.party(header.sender(), header.role);
        if self.is_outdated(now, from, party, began) {
            // Asked anew, the other end tells what it holds now.
            self.stats.drop_stale_answer += 1;
            return self.call(now, from);
        }
        let Some((id, fresh)) = self.settle_as_initiator(now, from, party, told, session_of(&random_b))
        else {
            return;
        };
        let remote_id = base_id(header.src_cid);
        let remote_id = if fresh { fresh_id(remote_id) } else { remote_id };
        let agreed = Agreed { addr: from, local_id, remote_id, tx, rx, reset_token: parameters.reset_token };
        let mut path = Box::new(Path::new(now, agreed));
        // The third leg, if there is nothing else to send.
        path.ping = true;
        self.attach(now, id, path);
        self.satisfy(from, id);
    }

    /// Whether the answer to a call that began then may have been given before the link's last handshake, by way of
    /// another address: then the session that it names may not be the one that the other end holds by now, and to believe
    /// it would end a session that lives.
    fn is_outdated(&self, now: Instant, from: SocketAddr, party: Party, began: Instant) -> bool {
        let link = self.table.by_end.get(&party.remote).and_then(|id| self.link(*id));
        link.is_some_and(|link| link.attached > began && (link.addr == from || link.is_suspect(now)))
    }

    /// Which link a WELCOME is for, and whether it begins a new session.
    fn settle_as_initiator(
        &mut self,
        now: Instant,
        from: SocketAddr,
        party: Party,
        told: u64,
        session: u64,
    ) -> Option<(LinkId, bool)> {
        let Some(id) = self.table.by_end.get(&party.remote).copied() else {
            return self.begin_session(now, from, party, session).map(|id| (id, true));
        };
        let link = self.link_mut(id)?;
        if link.role != party.role {
            self.stats.drop_role_changed += 1;
            return None;
        }
        if link.addr != from && !link.is_suspect(now) {
            // One process at two addresses: it is reached already, and the handshake can lapse.
            self.satisfy(from, id);
            return None;
        }
        if link.session == told {
            return Some((id, false));
        }
        if !link.confirmed {
            link.session = session;
            return Some((id, true));
        }
        self.end(now, id, DownReason::Replaced);
        self.begin_session(now, from, party, session).map(|id| (id, true))
    }
}
