//! RESET: the word that an association is not known, given and taken as a hint.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::endpoint::Endpoint;
use super::path::base_id;
use crate::datagram::{ConnectionId, Reset, put_reset};
use crate::keys::Role;
use crate::time::{Duration, Instant};

/// RESETs to one address (LINKS, handshake: 10/s).
const PER_SECOND: u32 = 10;
/// Addresses whose RESETs are counted; with more in one second, the others get none.
const ADDRESSES_MAX: usize = 1024;
/// Associations that were replaced by a newer one of the same link, of which datagrams may still be on their way.
const RETIRED_MAX: usize = 256;

/// Which short datagrams out of the blue are answered.
#[derive(Debug, Default)]
pub(super) struct ResetLimiter {
    /// RESETs sent per address in the second that began then.
    sent: BTreeMap<SocketAddr, (Instant, u32)>,
    /// Connection ids whose users are about to learn of a newer one: a RESET would make them call in vain.
    retired: VecDeque<ConnectionId>,
}

impl ResetLimiter {
    /// Notes that a newer association has taken the place of this one.
    pub(super) fn retire(&mut self, id: ConnectionId) {
        if self.retired.len() >= RETIRED_MAX {
            self.retired.pop_front();
        }
        self.retired.push_back(id);
    }

    /// Whether a RESET of `unknown` may go to `to` now; it is counted then.
    fn allow(&mut self, now: Instant, to: SocketAddr, unknown: ConnectionId) -> bool {
        const SECOND: Duration = Duration::from_secs(1);
        if self.retired.contains(&unknown) {
            return false;
        }
        if self.sent.len() >= ADDRESSES_MAX && !self.sent.contains_key(&to) {
            self.sent.retain(|_, (since, _)| *since + SECOND > now);
            if self.sent.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let (since, count) = self.sent.entry(to).or_insert((now, 0));
        if *since + SECOND <= now {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= PER_SECOND
    }
}

impl Endpoint {
    /// Says that a connection id is not known here.
    pub(super) fn send_reset(
        &mut self,
        now: Instant,
        to: SocketAddr,
        unknown: ConnectionId,
        trigger_len: usize,
    ) {
        if !self.config.accepts {
            return;
        }
        let mut out = Vec::new();
        let (network, keys) = (self.config.network, &self.config.keys);
        if self.handshakes.resets.allow(now, to, unknown)
            && put_reset(&mut out, trigger_len, unknown, network, keys)
        {
            self.stats.reset_out += 1;
            self.post(to, out);
        } else {
            self.stats.reset_suppressed += 1;
        }
    }

    /// The other end says that it does not know our association: a hint to ask who is there now.
    pub(super) fn handle_reset(&mut self, now: Instant, from: SocketAddr, reset: &Reset) {
        let network = self.config.network;
        let link = self.table.by_addr.get(&from).and_then(|id| self.link(*id));
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
