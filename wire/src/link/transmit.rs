//! Writing a link's next datagram: acknowledgement, credits, fair-loss messages, class 0, then classes 1 to 3 in
//! deficit round robin.

use std::net::SocketAddr;

use super::inbox::RecvClass;
use super::loss::Outgoing;
use super::path::Path;
use super::send::{Filled, Run, SendClass};
use super::session::{Context, Link};
use crate::frame::{Class, Extent, Frame, datagram_len, put_ack, put_datagram, strip_last_length};
use crate::time::{Duration, Instant};

/// Bytes that classes 1 to 3 may send per turn: 8:3:1 (LINKS, classes).
const QUANTUM_BYTES: [i64; Class::COUNT] = [0, 8 << 10, 3 << 10, 1 << 10];
/// When nothing was heard for this long, fair-loss messages ask for an acknowledgement: else nobody would
/// notice that another process lives at the address now.
const SILENCE: Duration = Duration::from_secs(1);
/// Up to this payload, the last frame's length is left out: above, moving the payload costs more than two bytes are
/// worth (judgement).
const STRIP_MAX_BYTES: usize = 512;

/// What may be sent now.
struct Occasion {
    messages: bool,
    datagrams: bool,
    exempt: bool,
    control: bool,
    probe: bool,
    /// Ask for an acknowledgement, whatever else is in the datagram.
    ping: bool,
}

impl Occasion {
    const fn any(&self) -> bool {
        self.messages || self.datagrams || self.control || self.probe
    }
}

impl Link {
    /// Writes the next datagram into `out`, which is empty, and returns where it goes; `None` if there is none.
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        out: &mut Vec<u8>,
        context: &mut Context<'_>,
    ) -> Option<SocketAddr> {
        let occasion = self.occasion(now)?;
        let path = self.path.as_deref_mut()?;
        let room = path.mtu - path.agreed.tx.trailer();
        let number = path.sent.next();
        // Exhausted after 2^62 packets: the association falls silent, and a new handshake follows.
        let draft = path.agreed.tx.start(out, path.agreed.remote_id, number, occasion.probe).ok()?;
        let frames_start = draft.frames_start();
        context.runs.clear();
        let acknowledges = put_acknowledgement(path, now, out, room);
        let acks_end = out.len();
        let mut eliciting = self.put_control(occasion.ping, out, context.runs);
        let (mut last_payload, mut full) = (None, false);
        if occasion.datagrams {
            (last_payload, full) = self.put_datagrams(out, room);
            if last_payload.is_some() && occasion.exempt {
                self.path.as_deref_mut()?.on_exempted();
            }
        }
        if occasion.messages && !full {
            last_payload = self.put_messages(out, room, room - frames_start, context.runs).or(last_payload);
        }
        if out.len() == frames_start {
            // What waited to be sent again has arrived meanwhile.
            out.clear();
            return None;
        }
        let path = self.path.as_deref_mut()?;
        eliciting |= !context.runs.is_empty();
        path.probes = path.probes.saturating_sub(1);
        if let Some(start) = last_payload
            && out.len() - start <= STRIP_MAX_BYTES
        {
            strip_last_length(out, start);
        }
        if out.len() == acks_end {
            context.stats.ack_only_out += 1;
        }
        path.agreed.tx.finish(out, draft);
        path.sent.push(now, Outgoing { bytes: out.len(), eliciting, acknowledges }, context.runs);
        Some(path.agreed.addr)
    }

    /// What may be sent now; `None` if nothing.
    fn occasion(&mut self, now: Instant) -> Option<Occasion> {
        let path = self.path.as_deref_mut()?;
        let open = path.is_open();
        let probe = path.probes > 0 && path.sent.has_room();
        let ready = self.send.iter().any(SendClass::is_ready);
        if open && !ready {
            path.sent.set_app_limited();
        }
        let blocked = self.send.iter().any(SendClass::is_blocked);
        if !blocked {
            path.blocked_at = None;
            path.blocked_for = 0;
            path.blocked_due = false;
        } else if path.blocked_at.is_none() {
            path.blocked_at = Some(now + path.rtt.probe_timeout());
        }
        let waiting = !self.datagrams.is_empty();
        let datagrams = waiting && (open || path.may_exempt(now));
        let silent = datagrams && self.last_heard + SILENCE < now && !path.sent.awaits();
        let occasion = Occasion {
            messages: (open || probe) && ready,
            datagrams,
            exempt: !open,
            ping: path.ping || probe || silent,
            control: path.ping
                || path.blocked_due
                || path.path_response.is_some()
                || self.recv.iter().any(RecvClass::wants_announcement),
            probe,
        };
        (occasion.any() || path.received.wants_datagram(now)).then_some(occasion)
    }

    /// Appends credits and what belongs to the path. True if something asks for an acknowledgement.
    fn put_control(&mut self, ping: bool, out: &mut Vec<u8>, runs: &mut Vec<Run>) -> bool {
        let Some(path) = self.path.as_deref_mut() else { return false };
        let start = out.len();
        if ping {
            Frame::Ping.encode(out);
            path.ping = false;
        }
        for class in Class::ALL {
            let recv = &mut self.recv[class.index()];
            if recv.wants_announcement() {
                let credit = recv.announcement();
                Frame::Credit { class, bytes: credit.bytes, messages: credit.messages }.encode(out);
                runs.push(Run::Credit { class });
            }
            if path.blocked_due && self.send[class.index()].is_blocked() {
                Frame::Blocked { class }.encode(out);
            }
        }
        path.blocked_due = false;
        if let Some(data) = path.path_response.take() {
            Frame::PathResponse(data).encode(out);
        }
        out.len() > start
    }

    /// Appends fair-loss messages, oldest first. Where the last one starts, and whether nothing may follow.
    fn put_datagrams(&mut self, out: &mut Vec<u8>, room: usize) -> (Option<usize>, bool) {
        let mut last = None;
        while let Some(message) = self.datagrams.front() {
            let space = room - out.len();
            let delimited = datagram_len(message.len(), Extent::Delimited) <= space;
            if !delimited && datagram_len(message.len(), Extent::Rest) > space {
                break;
            }
            last = Some(out.len());
            put_datagram(out, message, if delimited { Extent::Delimited } else { Extent::Rest });
            self.datagrams.pop_front();
            if !delimited {
                return (last, true);
            }
        }
        (last, false)
    }

    /// Appends messages of all classes. Where the last frame starts.
    fn put_messages(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        datagram: usize,
        runs: &mut Vec<Run>,
    ) -> Option<usize> {
        let mut last = None;
        loop {
            let start = out.len();
            match self.send[0].fill(out, room - start, datagram, runs) {
                Filled::Frame { full } => {
                    last = Some(start);
                    if full {
                        return last;
                    }
                }
                Filled::NoRoom => return last,
                Filled::Nothing => break,
            }
        }
        let mut idle = 1;
        while idle < Class::COUNT {
            let class = self.turn.class;
            if self.turn.fresh {
                self.turn.deficit[class] += QUANTUM_BYTES[class];
                self.turn.fresh = false;
            }
            idle = if self.send[class].is_ready() { 1 } else { idle + 1 };
            while self.turn.deficit[class] > 0 {
                let start = out.len();
                match self.send[class].fill(out, room - start, datagram, runs) {
                    Filled::Frame { full } => {
                        last = Some(start);
                        self.turn.deficit[class] -= (out.len() - start) as i64;
                        if full {
                            return last;
                        }
                    }
                    Filled::NoRoom => return last,
                    // What is not used is not saved up.
                    Filled::Nothing => self.turn.deficit[class] = 0,
                }
            }
            self.turn.class = class % (Class::COUNT - 1) + 1;
            self.turn.fresh = true;
        }
        last
    }
}

/// Appends an acknowledgement if there is news. Highest packet number acknowledged plus 1, or 0.
fn put_acknowledgement(path: &mut Path, now: Instant, out: &mut Vec<u8>, room: usize) -> u64 {
    if !path.received.has_news() {
        return 0;
    }
    let delay = path.received.delay_us(now);
    let space = room - out.len();
    if put_ack(out, space, delay, path.received.ranges()) == 0 {
        return 0;
    }
    path.received.on_reported();
    path.received.next()
}
