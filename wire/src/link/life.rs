//! The life of links: put on associations and taken off, queued, timed and ended.

use std::net::SocketAddr;

use super::endpoint::{Endpoint, Timer};
use super::path::{Path, base_id};
use super::session::Link;
use super::{DownReason, LinkEvent, LinkId};
use crate::datagram::ConnectionId;
use crate::frame::Frame;
use crate::ids::LinkEnd;
use crate::time::Instant;

/// Handshake datagrams that wait to be sent (judgement: more than one wake-up's worth of HELLOs).
const OUTBOX_MAX: usize = 1024;

impl Endpoint {
    pub(super) fn link(&self, link: LinkId) -> Option<&Link> {
        self.table.get(link)
    }

    pub(super) fn link_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.table.get_mut(link)
    }

    /// Whether there is room for one more link.
    pub(super) fn has_room(&self) -> bool {
        self.table.len() < self.config.limits.links
    }

    pub(super) fn is_gone(&self, remote: LinkEnd) -> bool {
        self.gone.contains(&remote)
    }

    /// Puts a link on a new association at its address; whoever was there is there no more.
    pub(super) fn attach(&mut self, now: Instant, id: LinkId, mut path: Box<Path>) {
        if let Some(old) = self.detach(now, id) {
            self.handshakes.resets.retire(base_id(old.agreed.local_id));
            path.inherit(*old);
        }
        let (addr, local) = (path.agreed.addr, path.agreed.local_id);
        if let Some(other) = self.table.by_addr.get(&addr).copied() {
            self.detach(now, other);
        }
        self.table.by_addr.insert(addr, id);
        self.table.by_id.insert(base_id(local).0, id);
        if let Some(link) = self.link_mut(id) {
            link.attach(now, path);
        }
        self.stats.handshakes += 1;
        self.enqueue(id);
    }

    /// Takes a link off its association; its messages wait for another one.
    pub(super) fn detach(&mut self, now: Instant, id: LinkId) -> Option<Box<Path>> {
        let link = self.link_mut(id)?;
        let path = link.detach()?;
        let dropped = link.datagrams.len() as u64;
        link.datagrams.clear();
        self.stats.fair_loss_dropped += dropped;
        self.table.by_id.remove(&base_id(path.agreed.local_id).0);
        if self.table.by_addr.get(&path.agreed.addr) == Some(&id) {
            self.table.by_addr.remove(&path.agreed.addr);
        }
        self.on_suspect(now, id);
        Some(path)
    }

    /// Ends a link and tells the layer above.
    pub(super) fn end(&mut self, now: Instant, id: LinkId, reason: DownReason) {
        self.detach(now, id);
        let Some(link) = self.link_mut(id) else { return };
        let (remote, unacked, kept) = (link.remote, link.unacked(), link.buffered());
        self.kept -= kept;
        if self.over_cap.is_some_and(|(owner, _)| owner == id) {
            self.over_cap = None;
        }
        self.on_suspect(now, id);
        if let Some(at) = self.link_mut(id).and_then(|link| link.deadline) {
            self.timers.remove(&(at, Timer::Link(id)));
        }
        self.table.remove(id);
        self.stats.links -= 1;
        self.events.push_back(LinkEvent::Down { link: id, remote, unacked, reason });
    }

    /// Tells the other end, once, that the link ends.
    pub(super) fn say_close(&mut self, id: LinkId, code: u8) {
        let mut out = Vec::new();
        let Some(path) = self.link_mut(id).and_then(|link| link.path.as_deref_mut()) else { return };
        let number = path.sent.next();
        let Ok(draft) = path.agreed.tx.start(&mut out, path.agreed.remote_id, number, false) else { return };
        Frame::Close { code }.encode(&mut out);
        path.agreed.tx.finish(&mut out, draft);
        let to = path.agreed.addr;
        self.post(to, out);
    }

    /// Queues a datagram that belongs to no association.
    pub(super) fn post(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        if self.outbox.len() >= OUTBOX_MAX {
            self.stats.drop_outbox_full += 1;
        } else {
            self.outbox.push_back((to, datagram));
        }
    }

    /// The link may have something to send.
    pub(super) fn enqueue(&mut self, id: LinkId) {
        if let Some(link) = self.link_mut(id)
            && !core::mem::replace(&mut link.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Registers the link's deadline, if it is earlier than the one registered. A deadline that moved back is left: to
    /// wake up once in vain is cheaper than to move it with every packet.
    pub(super) fn arm(&mut self, id: LinkId) {
        let Some(link) = self.table.get_mut(id) else { return };
        let Some(at) = link.next_timeout(&self.config.limits) else { return };
        match link.deadline {
            Some(known) if known <= at => return,
            Some(known) => {
                self.timers.remove(&(known, Timer::Link(id)));
            }
            None => {}
        }
        link.deadline = Some(at);
        self.timers.insert((at, Timer::Link(id)));
    }

    /// A connection id that nothing here bears; its lowest bit is 0.
    pub(super) fn draw_id(&mut self) -> ConnectionId {
        loop {
            let id = base_id(ConnectionId(self.rng.u64()));
            if id.0 != 0 && !self.table.by_id.contains_key(&id.0) && !self.handshakes.knows(id) {
                return id;
            }
        }
    }
}
