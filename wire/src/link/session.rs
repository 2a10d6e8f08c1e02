//! One link: the session of two processes, which outlives associations, and at most one association under it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;

use super::config::{Credit, Limits};
#[cfg(test)]
use super::congestion::NewReno;
use super::inbox::{Arena, Misdeed, RecvClass, Taken};
use super::path::Path;
use super::recv::Stale;
use super::rtt::ACK_DELAY_MAX;
use super::send::{Run, SendClass};
use super::stats::LinkStats;
use super::{DownReason, LinkEvent, LinkId};
use crate::datagram::DropReason;
use crate::frame::{Class, Frame, decode_frames};
use crate::ids::LinkEnd;
use crate::keys::Role;
use crate::time::{Duration, Instant};

/// An idle link gives memory back after this (judgement: longer than any pause of a busy link).
const TIDY_AFTER: Duration = Duration::from_secs(1);
/// Longest pause between two BLOCKED frames of a starved class (LINKS, classes: every probe timeout; judgement: not
/// more often than this for ever, when the other end's user does not fetch).
const BLOCKED_MAX: Duration = Duration::from_secs(1);

/// A path that answers no probe is called anew after this silence (judgement: longer than what loss alone does, short
/// enough to find a new process within about a second of its start).
const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// What all links of an endpoint share, lent to one of them.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) stats: &'a mut LinkStats,
    pub(super) arena: &'a mut Arena,
    pub(super) events: &'a mut VecDeque<LinkEvent>,
    /// What the datagram that is being written carries.
    pub(super) runs: &'a mut Vec<Run>,
    pub(super) limits: &'a Limits,
    /// Whether pieces that would have to be kept must be dropped.
    pub(super) assembly_full: bool,
}

/// Why a link ends, found while it was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended(pub(super) DownReason);

/// What the endpoint learns from a datagram beyond the link's own affairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// It was a sign of life.
    pub(super) alive: bool,
}

/// A link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) remote: LinkEnd,
    pub(super) role: Role,
    /// One end is a client: the link may end by itself.
    pub(super) of_client: bool,
    /// Which of the sessions of the two processes this is.
    pub(super) session: u64,
    /// Something was heard in this session: the other end has it too.
    pub(super) confirmed: bool,
    pub(super) send: [SendClass; Class::COUNT],
    pub(super) recv: [RecvClass; Class::COUNT],
    pub(super) datagrams: VecDeque<Bytes>,
    pub(super) path: Option<Box<Path>>,
    pub(super) last_heard: Instant,
    /// When its last association began.
    pub(super) attached: Instant,
    /// Where the other end was last.
    pub(super) addr: SocketAddr,
    /// Deficit round robin over classes 1 to 3.
    pub(super) turn: Turn,
    /// Calls that ended in this link.
    pub(super) dials: Vec<SocketAddr>,
    /// Whether it stands in the endpoint's queue of links that may have something to send.
    pub(super) queued: bool,
    /// The deadline registered for it, not later than [`Link::next_timeout`].
    pub(super) deadline: Option<Instant>,
    tidy_at: Option<Instant>,
}

/// Whose turn it is to fill a datagram.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) class: usize,
    /// The class has not had its quantum in this turn.
    pub(super) fresh: bool,
    pub(super) deficit: [i64; Class::COUNT],
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Party {
    pub(super) remote: LinkEnd,
    pub(super) role: Role,
    pub(super) of_client: bool,
}

impl Link {
    pub(super) fn new(
        id: LinkId,
        now: Instant,
        party: Party,
        session: u64,
        addr: SocketAddr,
        limits: &Limits,
    ) -> Self {
        Self {
            id,
            remote: party.remote,
            role: party.role,
            of_client: party.of_client,
            session,
            confirmed: false,
            send: Class::ALL.map(|class| SendClass::new(class, limits.classes[class.index()])),
            recv: Class::ALL.map(|class| RecvClass::new(class, limits.classes[class.index()])),
            datagrams: VecDeque::new(),
            path: None,
            last_heard: now,
            attached: now,
            addr,
            turn: Turn { class: 1, fresh: true, deficit: [0; Class::COUNT] },
            dials: Vec::new(),
            queued: false,
            deadline: None,
            tidy_at: None,
        }
    }

    /// Messages that were not wholly acknowledged.
    pub(super) fn unacked(&self) -> u64 {
        self.send.iter().map(SendClass::unacked).sum()
    }

    /// Bytes of messages that cannot be delivered yet.
    pub(super) fn buffered(&self) -> usize {
        self.recv.iter().map(RecvClass::buffered).sum()
    }

    /// Goes on over a new association. What was in flight on the old one is sent again; the receiver knows what it has.
    pub(super) fn attach(&mut self, now: Instant, path: Box<Path>) {
        self.addr = path.agreed.addr;
        self.path = Some(path);
        (self.last_heard, self.attached) = (now, now);
        self.recv.iter_mut().for_each(RecvClass::announce_again);
        self.touch(now);
    }

    /// Ends the association, not the session.
    pub(super) fn detach(&mut self) -> Option<Box<Path>> {
        let mut path = self.path.take()?;
        let (send, recv) = (&mut self.send, &mut self.recv);
        path.sent.lose_all(|run| requeue(send, recv, run));
        Some(path)
    }

    fn touch(&mut self, now: Instant) {
        self.tidy_at = Some(now + TIDY_AFTER);
    }

    /// Takes in a short datagram for this link's association.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        context: &mut Context<'_>,
    ) -> Result<Heard, Ended> {
        let Some(path) = self.path.as_deref_mut() else { return Ok(Heard::default()) };
        let opened = match path.agreed.rx.open(datagram) {
            Ok(opened) => opened,
            Err(reason) => {
                context.stats.dropped[reason.index()] += 1;
                return Ok(Heard::default());
            }
        };
        match path.received.stale(opened.packet_number) {
            Some(Stale::Duplicate) => {
                context.stats.drop_duplicate += 1;
                return Ok(Heard::default());
            }
            Some(Stale::Old) => {
                context.stats.drop_old += 1;
                return Ok(Heard::default());
            }
            None => {}
        }
        let refuse = context.assembly_full && self.keeps(opened.frames);
        let Some(path) = self.path.as_deref_mut() else { return Ok(Heard::default()) };
        let mut heard = Heard::default();
        if refuse {
            // Not noted, so not acknowledged: it comes again. A sign of life it is all the same.
            context.stats.drop_assembly_full += 1;
            heard.alive = opened.packet_number >= path.received.next();
        } else {
            heard.alive = path.received.note(now, opened.packet_number);
        }
        if heard.alive {
            self.last_heard = now;
        }
        self.confirmed = true;
        let mut eliciting = false;
        for frame in decode_frames(opened.frames) {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    context.stats.dropped[DropReason::from(error).index()] += 1;
                    return Err(Ended(DownReason::Violation));
                }
            };
            if refuse && matches!(frame, Frame::Message { .. } | Frame::Datagram(_)) {
                continue;
            }
            // Fair-loss messages are not waited for: an acknowledgement rides along, but none is made for them.
            eliciting |= frame.is_ack_eliciting() && !matches!(frame, Frame::Datagram(_));
            self.handle_frame(now, frame, context)?;
        }
        if let Some(path) = self.path.as_deref_mut()
            && eliciting
            && !refuse
        {
            path.received.elicit(now, opened.immediate_ack, &path.rtt);
        }
        self.touch(now);
        Ok(heard)
    }

    /// Whether a datagram has messages that would have to be kept for others to arrive.
    fn keeps(&self, frames: &[u8]) -> bool {
        decode_frames(frames).any(|frame| match frame {
            Ok(Frame::Message { class, sequence, part, .. }) => {
                self.recv[class.index()].keeps(sequence, part)
            }
            _ => false,
        })
    }

    fn handle_frame(
        &mut self,
        now: Instant,
        frame: Frame<'_>,
        context: &mut Context<'_>,
    ) -> Result<(), Ended> {
        match frame {
            Frame::Pad | Frame::Ping | Frame::PathResponse(_) => {}
            Frame::Ack { largest, delay_us, ranges } => {
                self.handle_ack(now, largest, delay_us, ranges.iter(), context)?;
            }
            Frame::Close { .. } => return Err(Ended(DownReason::Closed)),
            Frame::Credit { class, bytes, messages } => {
                self.send[class.index()].on_credit(Credit { bytes, messages });
            }
            Frame::Blocked { class } => self.recv[class.index()].announce_again(),
            Frame::PathChallenge(data) => {
                if let Some(path) = self.path.as_deref_mut() {
                    path.path_response = Some(data);
                }
            }
            Frame::Datagram(payload) => {
                context.stats.fair_loss_in += 1;
                let message = context.arena.copy(payload);
                context.events.push_back(LinkEvent::Datagram { link: self.id, message });
            }
            Frame::Message { class, sequence, part, payload } => {
                let (link, events, stats) = (self.id, &mut *context.events, &mut *context.stats);
                let taken =
                    self.recv[class.index()].receive(sequence, part, payload, context.arena, |message| {
                        stats.messages_in += 1;
                        events.push_back(LinkEvent::Deliver { link, class, message });
                    });
                match taken {
                    Ok(Taken::Delivered | Taken::Kept) => {}
                    Ok(Taken::Duplicate) => context.stats.duplicate_messages += 1,
                    Err(Misdeed::OverCredit | Misdeed::TooLong | Misdeed::Corrupt) => {
                        return Err(Ended(DownReason::Violation));
                    }
                }
            }
            Frame::Unknown { .. } if frame.closes_if_unknown() => return Err(Ended(DownReason::Violation)),
            Frame::Unknown { .. } => context.stats.unknown_frames += 1,
        }
        Ok(())
    }

    fn handle_ack(
        &mut self,
        now: Instant,
        largest: u64,
        delay_us: u64,
        ranges: impl Iterator<Item = core::ops::RangeInclusive<u64>>,
        context: &mut Context<'_>,
    ) -> Result<(), Ended> {
        let Some(path) = self.path.as_deref_mut() else { return Ok(()) };
        let in_flight = path.sent.in_flight();
        let send = &mut self.send;
        let acked = path.sent.on_ack(now, largest, ranges, |run| match run {
            Run::Whole { class, .. } | Run::Piece { class, .. } => send[class.index()].on_arrived(run),
            Run::Credit { .. } => {}
        });
        let Ok(acked) = acked else { return Err(Ended(DownReason::Violation)) };
        context.stats.packets_spuriously_lost += acked.spurious;
        let owed = matches!(acked.rtt, Some((_, true)));
        let delay = Duration::from_micros(delay_us);
        path.on_acked(now, &acked, if owed { delay.min(ACK_DELAY_MAX) } else { delay }, in_flight);
        self.detect_loss(now, context);
        for class in Class::ALL {
            if self.send[class.index()].take_writable() {
                context.events.push_back(LinkEvent::Writable { link: self.id, class });
            }
        }
        Ok(())
    }

    fn detect_loss(&mut self, now: Instant, context: &mut Context<'_>) {
        let Some(path) = self.path.as_deref_mut() else { return };
        let (send, recv) = (&mut self.send, &mut self.recv);
        let lost = path.sent.detect_loss(now, &path.rtt, |run| requeue(send, recv, run));
        context.stats.packets_lost += lost.packets;
        if let Some(newest) = lost.newest
            && path.congestion.on_loss(now, newest)
        {
            path.sent.begin_recovery(lost.packets);
        }
    }

    /// Does what is due. Spurious calls change nothing.
    pub(super) fn handle_timeout(&mut self, now: Instant, context: &mut Context<'_>) -> Result<(), Ended> {
        if self.of_client && self.last_heard + context.limits.client_idle <= now {
            return Err(Ended(DownReason::Idle));
        }
        if let Some(path) = self.path.as_deref_mut() {
            if path.sent.loss_at().is_some_and(|at| at <= now) {
                self.detect_loss(now, context);
            } else if path.sent.probe_at(&path.rtt).is_some_and(|at| at <= now) {
                self.probe(context);
            }
        }
        if let Some(path) = self.path.as_deref_mut()
            && path.blocked_at.is_some_and(|at| at <= now)
        {
            let pause = path.rtt.probe_timeout() * (1 << path.blocked_for.min(8));
            path.blocked_at = Some(now + pause.min(BLOCKED_MAX.max(path.rtt.probe_timeout())));
            path.blocked_for += 1;
            path.blocked_due = true;
        }
        if self.tidy_at.is_some_and(|at| at <= now) {
            self.tidy_at = None;
            self.tidy();
        }
        Ok(())
    }

    fn probe(&mut self, context: &mut Context<'_>) {
        /// Datagrams per probe timeout (LINKS, loss and rate).
        const PROBES: u8 = 2;
        let Some(path) = self.path.as_deref_mut() else { return };
        context.stats.probe_timeouts += 1;
        let (send, recv) = (&mut self.send, &mut self.recv);
        let lost = path.sent.on_probe_timeout(|run| requeue(send, recv, run));
        context.stats.packets_lost += lost.packets;
        if path.sent.is_blackout() {
            path.congestion.on_blackout();
        }
        path.probes = PROBES;
    }

    fn tidy(&mut self) {
        self.send.iter_mut().for_each(SendClass::tidy);
        self.recv.iter_mut().for_each(RecvClass::tidy);
        self.datagrams.shrink_to(0);
        if let Some(path) = self.path.as_deref_mut() {
            path.sent.tidy();
            path.received.tidy();
        }
    }

    /// When [`Link::handle_timeout`] or [`Link::transmit`] has something to do by itself.
    pub(super) fn next_timeout(&mut self, limits: &Limits) -> Option<Instant> {
        let idle = self.of_client.then(|| self.last_heard + limits.client_idle);
        let mut next = [idle, self.tidy_at].into_iter().flatten().min();
        let mut earlier = |at: Option<Instant>| {
            if let Some(at) = at {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        };
        if let Some(path) = self.path.as_deref_mut() {
            earlier(path.sent.loss_at().or_else(|| path.sent.probe_at(&path.rtt)));
            earlier(path.received.due());
            earlier(path.blocked_at);
            if !self.datagrams.is_empty() {
                earlier(Some(path.exempt_at()));
            }
        }
        next
    }

    /// Bytes that the link takes, messages and keys' insides apart.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let path = self.path.as_deref().map_or(0, |path| {
            let keys = 2 * size_of::<ring::aead::LessSafeKey>();
            size_of::<Path>() + size_of::<NewReno>() + keys + path.sent.memory() + path.received.memory()
        });
        let send: usize = self.send.iter().map(SendClass::memory).sum();
        let recv: usize = self.recv.iter().map(RecvClass::memory).sum();
        let queues =
            self.datagrams.capacity() * size_of::<Bytes>() + self.dials.capacity() * size_of::<SocketAddr>();
        size_of::<Self>() + path + send + recv + queues
    }

    /// Whether the path has been dead for long enough to ask who is there now.
    pub(super) fn is_suspect(&self, now: Instant) -> bool {
        let silent = self.last_heard + SUSPECT_AFTER <= now;
        self.path.as_deref().is_none_or(|path| silent && path.sent.is_blackout())
    }
}

/// `run` did not arrive.
fn requeue(send: &mut [SendClass; Class::COUNT], recv: &mut [RecvClass; Class::COUNT], run: &Run) {
    match run {
        Run::Whole { class, .. } | Run::Piece { class, .. } => send[class.index()].on_lost(run),
        Run::Credit { class } => recv[class.index()].announce_again(),
    }
}
