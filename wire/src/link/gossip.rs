//! Messages to an address, outside any link: fair-loss, sealed like a handshake, from process to whoever is there.
//!
//! Membership needs them before there is a link, and without paying for one between every two of a thousand nodes.
//! What a receiver does with one may cost no more than it did: nothing here is remembered, and a replay is not told
//! apart from a repetition.

use std::net::SocketAddr;

use bytes::Bytes;

use super::endpoint::Endpoint;
use super::{LinkEvent, SendError};
use crate::datagram::{ConnectionId, LongKind, Parameters, VERSION};
use crate::seal::{Envelope, OpenedLong};

/// Longest gossip, in bytes: with header and seal it fits the 1,200 B that every path carries.
pub const GOSSIP_MAX_BYTES: usize = 1088;
/// Gossip that waits for the layer above; what comes on top is dropped (judgement: each takes a microsecond or two).
pub(super) const GOSSIP_WAITING: usize = 1024;

impl Endpoint {
    /// Sends a message to whatever process is at `to`. It may be lost, repeated or overtaken.
    ///
    /// # Errors
    /// [`SendError::TooLong`] over [`GOSSIP_MAX_BYTES`]; [`SendError::WouldBlock`] if it cannot be sealed any more.
    pub fn send_gossip(&mut self, to: SocketAddr, message: &[u8]) -> Result<(), SendError> {
        if message.len() > GOSSIP_MAX_BYTES {
            return Err(SendError::TooLong);
        }
        let envelope = Envelope {
            kind: LongKind::Gossip,
            version: VERSION,
            dst_cid: ConnectionId(0),
            src_cid: ConnectionId(0),
            key_id: self.handshakes.sealer.active_key(),
            receiver: None,
        };
        let parameters = Parameters { message: Some(message), ..Parameters::default() };
        let mut out = Vec::with_capacity(GOSSIP_MAX_BYTES + 128);
        self.handshakes.sealer.seal(&mut out, &envelope, &parameters).map_err(|_| SendError::WouldBlock)?;
        self.stats.gossip_out += 1;
        self.post(to, out);
        Ok(())
    }

    pub(super) fn handle_gossip(&mut self, from: SocketAddr, opened: &OpenedLong<'_>) {
        let Some(message) = opened.parameters.message else { return };
        if self.gossip_waiting >= GOSSIP_WAITING {
            self.stats.drop_gossip_full += 1;
            return;
        }
        self.stats.gossip_in += 1;
        self.gossip_waiting += 1;
        let message = Bytes::copy_from_slice(message);
        self.events.push_back(LinkEvent::Gossip { from, sender: opened.header.sender(), message });
    }
}
