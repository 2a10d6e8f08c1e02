//! The links of one process: which datagram belongs to which, and who has something to send.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;

use super::config::{DATAGRAM_MAX_BYTES, EndpointConfig};
use super::handshake::Handshakes;
use super::inbox::Arena;
use super::path::base_id;
use super::send::Run;
use super::session::{Context, Ended};
use super::stats::LinkStats;
use super::table::{LINKS_MAX, Table};
use super::{DownReason, LinkEvent, LinkId, Remote, SendError, Transmit};
use crate::datagram::{Peeked, peek};
use crate::frame::Class;
use crate::ids::{LinkEnd, NodeId};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Datagrams in a row for one link before it is another one's turn (judgement: a burst that GSO can take at once).
const BURST: u32 = 16;
/// Processes proven dead that are remembered. Their ids are random and never drawn again, so forgetting one after this
/// many others costs nothing but a useless handshake.
const GONE_MAX: usize = 4096;
/// How long a link may go on alone over the bound of incomplete messages without getting on.
const OVER_CAP: Duration = Duration::from_secs(1);
/// Codes of CLOSE frames.
const CLOSE_POLITE: u8 = 0;
const CLOSE_VIOLATION: u8 = 1;

/// What has a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A call to an address.
    Dial(SocketAddr),
    /// Handshakes half done.
    HalfOpen,
    /// A link.
    Link(LinkId),
}

/// The links of one process.
///
/// # The driver's contract
///
/// Hand in everything that has arrived ([`Endpoint::handle_datagram`]) and, when its time has come, call
/// [`Endpoint::handle_timeout`]; fetch all events ([`Endpoint::poll_event`]) and let the layer above answer; then
/// send what [`Endpoint::poll_transmit`] gives until it gives nothing, and wait no longer than
/// [`Endpoint::poll_timeout`] says. So acknowledgements ride along with answers, and all that is for one peer
/// shares datagrams. Time never goes back. Addresses must be given in one form: an IPv4 peer of a dual-stack socket
/// either always mapped or never. Messages count as taken from the network only once they are fetched: who does not
/// fetch slows the sender down.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) config: EndpointConfig,
    pub(super) rng: Rng,
    pub(super) stats: LinkStats,
    pub(super) events: VecDeque<LinkEvent>,
    pub(super) handshakes: Handshakes,
    pub(super) table: Table,
    pub(super) gone: BTreeSet<LinkEnd>,
    gone_order: VecDeque<LinkEnd>,
    pub(super) ready: VecDeque<LinkId>,
    burst: u32,
    pub(super) timers: BTreeSet<(Instant, Timer)>,
    due: Vec<Timer>,
    pub(super) outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Gossip among the events.
    pub(super) gossip_waiting: usize,
    arena: Arena,
    runs: Vec<Run>,
    /// Bytes that all links keep for others to arrive.
    pub(super) kept: usize,
    /// The link that goes on although `kept` is over its bound, and until when without progress.
    pub(super) over_cap: Option<(LinkId, Instant)>,
}

impl Endpoint {
    /// An endpoint without links.
    ///
    /// # Panics
    /// If the limits contradict each other, or the keys do not allow the role.
    pub fn new(config: EndpointConfig, _now: Instant, mut rng: Rng) -> Self {
        config.limits.check();
        assert!(config.limits.links <= LINKS_MAX, "more links than places");
        let handshakes = Handshakes::new(&config, &mut rng);
        Self {
            config,
            rng,
            stats: LinkStats::default(),
            events: VecDeque::new(),
            handshakes,
            table: Table::default(),
            gone: BTreeSet::new(),
            gone_order: VecDeque::new(),
            ready: VecDeque::new(),
            burst: 0,
            timers: BTreeSet::new(),
            due: Vec::new(),
            outbox: VecDeque::new(),
            gossip_waiting: 0,
            arena: Arena::default(),
            runs: Vec::new(),
            kept: 0,
            over_cap: None,
        }
    }

    /// Ends a link politely: the other end is told, once. What is not acknowledged by now may be lost.
    pub fn close(&mut self, now: Instant, link: LinkId) {
        self.say_close(link, CLOSE_POLITE);
        self.end(now, link, DownReason::ClosedHere);
    }

    /// The process at the other end is proven dead: ends the link and refuses the process for ever.
    pub fn gone(&mut self, link: LinkId) {
        let Some(found) = self.link(link) else { return };
        let (remote, now) = (found.remote, found.last_heard);
        if self.gone.insert(remote) {
            self.gone_order.push_back(remote);
            if self.gone_order.len() > GONE_MAX
                && let Some(oldest) = self.gone_order.pop_front()
            {
                self.gone.remove(&oldest);
            }
        }
        self.end(now, link, DownReason::Gone);
    }

    /// Takes a message; nothing that was taken is dropped before the link ends.
    ///
    /// # Errors
    /// If it was not taken. Nothing has happened then.
    pub fn send(
        &mut self,
        _now: Instant,
        link: LinkId,
        class: Class,
        message: Bytes,
    ) -> Result<(), SendError> {
        if message.len() > self.config.limits.classes[class.index()].message_bytes {
            return Err(SendError::TooLong);
        }
        let found = self.table.get_mut(link).ok_or(SendError::Gone)?;
        if !found.send[class.index()].push(message) {
            self.stats.would_block += 1;
            return Err(SendError::WouldBlock);
        }
        self.stats.messages_out += 1;
        if !core::mem::replace(&mut found.queued, true) {
            self.ready.push_back(link);
        }
        Ok(())
    }

    /// Takes a message that is sent once. Of too many that wait, the oldest is dropped.
    ///
    /// # Errors
    /// If the link has ended, or the message is over [`DATAGRAM_MAX_BYTES`].
    pub fn send_datagram(&mut self, _now: Instant, link: LinkId, message: Bytes) -> Result<(), SendError> {
        if message.len() > DATAGRAM_MAX_BYTES {
            return Err(SendError::TooLong);
        }
        let most = self.config.limits.datagrams;
        let found = self.link_mut(link).ok_or(SendError::Gone)?;
        if found.path.is_none() {
            self.stats.fair_loss_dropped += 1;
            return Ok(());
        }
        found.datagrams.push_back(message);
        let full = found.datagrams.len() > most;
        if full {
            found.datagrams.pop_front();
        }
        self.stats.fair_loss_dropped += u64::from(full);
        self.stats.fair_loss_out += 1;
        self.enqueue(link);
        Ok(())
    }

    /// Bytes that [`Endpoint::send`] would take now in one message, as far as the window goes.
    pub fn capacity(&self, link: LinkId, class: Class) -> usize {
        self.link(link).map_or(0, |link| link.send[class.index()].capacity())
    }

    /// The link to a process; with several lives of one node, the latest.
    pub fn link_to(&self, node: NodeId) -> Option<LinkId> {
        let from = LinkEnd { node, boot: crate::ids::Boot(0) };
        let to = LinkEnd { node, boot: crate::ids::Boot(u64::MAX) };
        self.table.by_end.range(from..=to).next_back().map(|(_, link)| *link)
    }

    /// What is known about the other end.
    pub fn remote(&self, link: LinkId) -> Option<Remote> {
        let link = self.link(link)?;
        let path = link.path.as_deref();
        let rtt = path.map(|path| path.rtt).unwrap_or_default();
        Some(Remote {
            end: link.remote,
            role: link.role,
            addr: link.addr,
            last_heard: link.last_heard,
            srtt: rtt.smoothed(),
            rttvar: rtt.variation(),
            loss_ppm: path.map_or(0, |path| path.received.loss_ppm()),
            established: path.is_some(),
        })
    }

    /// Takes in a datagram. Its bytes are of no use afterwards.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        self.stats.datagrams_in += 1;
        self.stats.bytes_in += datagram.len() as u64;
        match peek(datagram) {
            Ok(Peeked::Short { dst_cid, .. }) => match self.table.by_id.get(&base_id(dst_cid).0) {
                Some(link) => self.handle_short(now, *link, datagram),
                None => self.handle_unknown(now, from, dst_cid, datagram),
            },
            Ok(Peeked::Long { version, kind, dst_cid, src_cid }) => {
                self.handle_long(now, from, datagram, (version, kind), (dst_cid, src_cid));
            }
            Ok(Peeked::VersionNegotiation { dst_cid, versions, .. }) => {
                self.handle_version_negotiation(from, dst_cid, versions);
            }
            Ok(Peeked::Reset(reset)) => self.handle_reset(now, from, &reset),
            Err(reason) => self.stats.dropped[reason.index()] += 1,
        }
    }

    /// A short datagram for the link that drew its connection id.
    pub(super) fn handle_short(&mut self, now: Instant, id: LinkId, datagram: &mut [u8]) {
        let len = datagram.len();
        let assembly_full = self.kept + len > self.config.limits.assembly_bytes && !self.may_exceed(now, id);
        let Some(link) = self.table.get_mut(id) else { return };
        let (kept, suspect) = (link.buffered(), link.is_suspect(now));
        let mut context = Context {
            stats: &mut self.stats,
            arena: &mut self.arena,
            events: &mut self.events,
            runs: &mut self.runs,
            limits: &self.config.limits,
            assembly_full,
        };
        let result = link.handle(now, datagram, &mut context);
        let kept_now = link.buffered();
        if !core::mem::replace(&mut link.queued, true) {
            self.ready.push_back(id);
        }
        self.kept = self.kept - kept + kept_now;
        if let Some((owner, until)) = &mut self.over_cap
            && *owner == id
            && kept_now != kept
        {
            *until = now + OVER_CAP;
        }
        match result {
            Ok(heard) if heard.alive && suspect => self.on_recovered(id),
            Ok(_) => {}
            Err(Ended(reason)) => {
                if reason == DownReason::Violation {
                    self.stats.violations += 1;
                    self.say_close(id, CLOSE_VIOLATION);
                }
                self.end(now, id, reason);
            }
        }
    }

    /// Over the bound of incomplete messages, one link goes on, so that at least its messages are completed; another
    /// one when it is done or does not get on.
    fn may_exceed(&mut self, now: Instant, id: LinkId) -> bool {
        match self.over_cap {
            Some((owner, until)) if owner != id && until > now => false,
            Some((owner, _)) if owner == id => true,
            _ => {
                self.over_cap = Some((id, now + OVER_CAP));
                true
            }
        }
    }

    /// Does what is due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut due = core::mem::take(&mut self.due);
        while let Some((at, timer)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            due.push(timer);
        }
        for timer in due.drain(..) {
            match timer {
                Timer::Link(id) => self.handle_link_timeout(now, id),
                Timer::Dial(addr) => self.handle_dial_timeout(now, addr),
                Timer::HalfOpen => self.expire_half_open(now),
            }
        }
        self.due = due;
    }

    fn handle_link_timeout(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.table.get_mut(id) else { return };
        if link.id != id {
            return;
        }
        link.deadline = None;
        let mut context = Context {
            stats: &mut self.stats,
            arena: &mut self.arena,
            events: &mut self.events,
            runs: &mut self.runs,
            limits: &self.config.limits,
            assembly_full: false,
        };
        match link.handle_timeout(now, &mut context) {
            Ok(()) => {
                let suspect = link.is_suspect(now);
                // The next deadline is registered once it has sent what is due.
                self.enqueue(id);
                if suspect {
                    self.on_suspect(now, id);
                }
            }
            Err(Ended(reason)) => self.end(now, id, reason),
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        let event = self.events.pop_front()?;
        self.gossip_waiting -= usize::from(matches!(event, LinkEvent::Gossip { .. }));
        if let LinkEvent::Deliver { link, class, message } = &event
            && let Some(found) = self.table.get_mut(*link)
            && found.id == *link
            && found.recv[class.index()].on_consumed(message.len())
            && !core::mem::replace(&mut found.queued, true)
        {
            self.ready.push_back(*link);
        }
        Some(event)
    }

    /// Writes the next datagram to be sent into `buf`, over whatever was there.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        buf.clear();
        let transmit = self.next_transmit(now, buf)?;
        self.stats.datagrams_out += 1;
        self.stats.bytes_out += buf.len() as u64;
        Some(transmit)
    }

    fn next_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Transmit> {
        if let Some((to, datagram)) = self.outbox.pop_front() {
            buf.extend_from_slice(&datagram);
            return Some(Transmit { to });
        }
        while let Some(id) = self.ready.front().copied() {
            if self.burst >= BURST {
                self.burst = 0;
                self.ready.rotate_left(1);
                continue;
            }
            let found = self.table.get_mut(id);
            if let Some(link) = found
                && link.id == id
            {
                let mut context = Context {
                    stats: &mut self.stats,
                    arena: &mut self.arena,
                    events: &mut self.events,
                    runs: &mut self.runs,
                    limits: &self.config.limits,
                    assembly_full: false,
                };
                if let Some(to) = link.transmit(now, buf, &mut context) {
                    self.burst += 1;
                    return Some(Transmit { to });
                }
                link.queued = false;
                self.arm(id);
            }
            self.burst = 0;
            self.ready.pop_front();
        }
        None
    }

    /// When to call [`Endpoint::handle_timeout`] next. May be earlier than needed, never later.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The counters.
    pub const fn stats(&self) -> &LinkStats {
        &self.stats
    }
}
