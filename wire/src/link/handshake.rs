//! Handshakes: calls to addresses, half-open handshakes, RESET and version hints. See [`super`] for the exchange.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::config::EndpointConfig;
use super::endpoint::{Endpoint, Timer};
use super::link::{Link, Party};
use super::path::{Agreed, Path, base_id, fresh_id, is_fresh};
use super::{DownReason, LinkEvent, LinkId};
use crate::datagram::{
    ConnectionId, DropReason, HELLO_MIN_BYTES, LongHeader, LongKind, Parameters, Reset, VERSION, VERSIONS,
    Versions, put_reset, put_version_negotiation,
};
use crate::ids::LinkEnd;
use crate::keys::{KeyId, ResetToken, Role};
use crate::rng::Rng;
use crate::seal::{Association, CookieKey, Envelope, LongSealer, OpenedLong, Sealer};
use crate::time::{Duration, Instant};

/// First pause between two HELLOs (LINKS, handshake).
const HELLO_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two HELLOs (LINKS, handshake).
const HELLO_PAUSE_MAX: Duration = Duration::from_secs(1);
/// HELLOs that a hint provokes to an address that nobody asked to call (judgement: a few seconds).
const HINTED_HELLOS: u32 = 6;
/// A half-open handshake is forgotten after this (LINKS, EPFD: delays are assumed to be below 10 s).
const HALF_OPEN_KEPT: Duration = Duration::from_secs(10);
/// RESETs to one address (LINKS, handshake: 10/s).
const RESETS_PER_SECOND: u32 = 10;
/// Addresses whose RESETs are counted; with more in one second, no more are answered.
const RESET_ADDRESSES_MAX: usize = 1024;

/// What HELLO and WELCOME offer beyond versions: nothing yet.
const FEATURES: u64 = 0;

/// A call in progress.
#[derive(Debug)]
struct Call {
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
struct Dial {
    /// The layer above asked for it; else a hint did.
    wanted: bool,
    call: Option<Call>,
    timer: Option<Instant>,
}

/// A handshake that waits for its third leg.
#[derive(Debug)]
struct HalfOpen {
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

/// All that an endpoint knows of handshakes.
#[derive(Debug)]
pub(super) struct Handshakes {
    sealer: LongSealer,
    cookies: CookieKey,
    dials: BTreeMap<SocketAddr, Dial>,
    half_open: BTreeMap<ConnectionId, HalfOpen>,
    /// RESETs sent per address in the second that began then.
    resets: BTreeMap<SocketAddr, (Instant, u32)>,
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
            resets: BTreeMap::new(),
        }
    }

    /// Whether a half-open handshake or a call bears this id.
    pub(super) fn knows(&self, id: ConnectionId) -> bool {
        self.half_open.contains_key(&id)
    }
}

/// The session that a handshake begins: part of the responder's random, never 0.
fn session_of(random_b: &[u8; 16]) -> u64 {
    random_b.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)).max(1)
}

impl Endpoint {
    /// Calls this address for ever, until a link with the process there is up, and again whenever it is lost or
    /// another process has taken its place.
    pub fn connect(&mut self, now: Instant, addr: SocketAddr) {
        let dial = self.handshakes.dials.entry(addr).or_default();
        if core::mem::replace(&mut dial.wanted, true) {
            return;
        }
        if let Some(link) = self.by_addr.get(&addr).copied() {
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
            && self.by_addr.contains_key(&addr)
        {
            self.call(now, addr);
        }
    }

    /// Begins a call with a HELLO at once.
    fn call(&mut self, now: Instant, addr: SocketAddr) {
        self.prepare_call(addr);
        self.handle_dial_timeout(now, addr);
    }

    fn prepare_call(&mut self, addr: SocketAddr) {
        let (local_id, random) = (self.draw_id(), self.rng.bytes());
        self.handshakes.dials.entry(addr).or_default().call = Some(Call {
            local_id,
            random,
            cookie: Vec::new(),
            version: VERSION,
            pause: HELLO_PAUSE,
            hellos: 0,
            followed: false,
        });
    }

    fn set_dial_timer(&mut self, addr: SocketAddr, at: Option<Instant>) {
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
    fn satisfy(&mut self, addr: SocketAddr, id: LinkId) {
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
                self.prepare_call(addr);
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
        } else if self.is_gone(opened.header.sender()) {
            self.stats.drop_gone += 1;
        } else {
            match opened.header.kind {
                LongKind::Hello => self.handle_hello(now, from, &opened),
                LongKind::Retry => self.handle_retry(from, &opened),
                LongKind::Welcome => self.handle_welcome(now, from, &opened),
                // Every short datagram stands for the third leg, so nobody sends this one.
                LongKind::Confirm | LongKind::Reset | LongKind::VerNeg | LongKind::Gossip => {
                    self.stats.dropped[DropReason::Kind.index()] += 1;
                }
            }
        }
    }

    fn refuse_version(&mut self, from: SocketAddr, src_cid: ConnectionId, dst_cid: ConnectionId) {
        self.stats.version_mismatch += 1;
        let mut out = Vec::new();
        put_version_negotiation(&mut out, src_cid, dst_cid, VERSIONS);
        self.post(from, out);
    }

    /// Whether a HELLO is not to be followed; counted.
    fn ignore_hello(&mut self, from: SocketAddr, header: &LongHeader) -> bool {
        let remote = header.sender();
        let known = self.by_end.get(&remote).copied();
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

    fn handle_hello(&mut self, now: Instant, from: SocketAddr, opened: &OpenedLong<'_>) {
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
        if !self.by_end.contains_key(&remote) && !self.has_room() {
            self.stats.drop_links_full += 1;
            return;
        }
        // Ours, of the higher node id, waits: theirs is under way.
        if let Some(dial) = self.handshakes.dials.get(&from)
            && dial.call.is_some()
        {
            self.set_dial_timer(from, Some(now + HELLO_PAUSE_MAX));
        }
        let of_sender = |half: &HalfOpen| half.from == from && half.remote == remote;
        let known = self.handshakes.half_open.iter().find(|(_, half)| of_sender(half));
        if let Some((local_id, half)) = known {
            let local_id = *local_id;
            if half.remote_id == header.src_cid && half.random_a == random_a {
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
        if self.handshakes.half_open.is_empty() {
            self.timers.insert((half.expires, Timer::HalfOpen));
        }
        self.handshakes.half_open.insert(local_id, half);
        self.stats.half_open = self.handshakes.half_open.len() as u64;
        self.send_welcome(local_id);
    }

    /// The session held with a process, 0 for none.
    fn session_with(&self, remote: LinkEnd) -> u64 {
        self.by_end.get(&remote).and_then(|id| self.link(*id)).map_or(0, |link| link.session)
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

    fn handle_retry(&mut self, from: SocketAddr, opened: &OpenedLong<'_>) {
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

    fn handle_welcome(&mut self, now: Instant, from: SocketAddr, opened: &OpenedLong<'_>) {
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
        let local_id = call.local_id;
        let Ok((tx, rx)) = Sealer::derive(&self.config.keys, active, &association) else { return };
        let told = parameters.session.unwrap_or_default();
        let party = self.party(header.sender(), header.role);
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

    fn party(&self, remote: LinkEnd, role: Role) -> Party {
        Party { remote, role, of_client: role != Role::Peer || self.config.role != Role::Peer }
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
        let Some(id) = self.by_end.get(&party.remote).copied() else {
            return self.begin_session(now, from, party, session).map(|id| (id, true));
        };
        let link = self.link_mut(id)?;
        if link.role != party.role {
            self.stats.drop_role_changed += 1;
            return None;
        }
        if link.addr != from && !link.is_suspect() {
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

    /// A link with a process that was not known, or has ended its session.
    fn begin_session(
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
        let id = self.next_id();
        self.insert(Link::new(id, now, party, session, addr, &self.config.limits));
        self.events.push_back(LinkEvent::Up { link: id, remote: party.remote, role: party.role, addr });
        Some(id)
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
        if let Some(id) = self.by_end.get(&half.remote).copied()
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
        if let Some(at) = self.handshakes.half_open.values().map(|half| half.expires).min() {
            self.timers.insert((at, Timer::HalfOpen));
        }
    }

    fn send_reset(&mut self, now: Instant, to: SocketAddr, unknown: ConnectionId, trigger_len: usize) {
        if !self.config.accepts {
            return;
        }
        let resets = &mut self.handshakes.resets;
        let second = Duration::from_secs(1);
        if resets.len() >= RESET_ADDRESSES_MAX && !resets.contains_key(&to) {
            resets.retain(|_, (since, _)| *since + second > now);
        }
        let room = resets.len() < RESET_ADDRESSES_MAX || resets.contains_key(&to);
        let allowed = room && {
            let (since, count) = resets.entry(to).or_insert((now, 0));
            if *since + second <= now {
                (*since, *count) = (now, 0);
            }
            *count += 1;
            *count <= RESETS_PER_SECOND
        };
        let mut out = Vec::new();
        let (network, keys) = (self.config.network, &self.config.keys);
        if allowed && put_reset(&mut out, trigger_len, unknown, network, keys) {
            self.stats.reset_out += 1;
            self.post(to, out);
        } else {
            self.stats.reset_suppressed += 1;
        }
    }

    /// The other end says that it does not know our association: a hint to ask who is there now.
    pub(super) fn handle_reset(&mut self, now: Instant, from: SocketAddr, reset: &Reset) {
        let network = self.config.network;
        let link = self.by_addr.get(&from).and_then(|id| self.link(*id));
        let path = link.and_then(|link| link.path.as_deref());
        let (Some(link), Some(path)) = (link, path) else {
            self.stats.drop_stale_reset += 1;
            return;
        };
        if base_id(path.agreed.remote_id) != reset.unknown {
            self.stats.drop_stale_reset += 1;
            return;
        }
        if let Err(reason) = reset.verify(network, path.agreed.reset_token.as_ref()) {
            self.stats.dropped[reason.index()] += 1;
            return;
        }
        let client = link.role != Role::Peer;
        self.stats.reset_in += 1;
        let called = self.handshakes.dials.get(&from).is_some_and(|dial| dial.call.is_some());
        // Clients answer no HELLO: they call themselves.
        if !client && !called {
            self.call(now, from);
        }
    }
}

/// A handshake without what it must have.
const fn missing() -> crate::codec::DecodeError {
    crate::codec::DecodeError::Truncated("handshake parameters")
}
