//! From groups to links: one encoding for several receivers, heartbeats of all groups together.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use haystack_wire::Instant;
use haystack_wire::codec::Encode;
use haystack_wire::frame::Class;
use haystack_wire::ids::{GroupId, NodeId};
use haystack_wire::link::{DATAGRAM_MAX_BYTES, Endpoint, SendError};
use haystack_wire::message::PeerMessage;
use haystack_wire::message::election::GroupHeartbeat;

use super::buggify::Gremlin;
use crate::stats::Stats;

/// Bytes of heartbeats in one datagram: with tag and count below the links' limit.
const DATAGRAM_ROOM: usize = DATAGRAM_MAX_BYTES - 16;
/// Bytes of heartbeats in one reliable message, well below the 16 KiB that class 0 takes (judgement).
const MESSAGE_ROOM: usize = 8 << 10;

/// What waits for the end of the turn.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    heartbeats: BTreeMap<NodeId, Vec<GroupHeartbeat>>,
    urgent: BTreeMap<NodeId, Vec<GroupHeartbeat>>,
    /// Groups whose messages to a process were refused by a full link.
    blocked: BTreeMap<NodeId, BTreeSet<GroupId>>,
    scratch: BytesMut,
    /// Only in tests.
    pub(super) gremlin: Option<Box<Gremlin>>,
}

impl Outbox {
    /// The bytes of `message`, in a buffer that is used again when the links have let go of it.
    pub(super) fn encode<T: Encode>(&mut self, message: &T) -> Bytes {
        message.encode(&mut self.scratch);
        self.scratch.split().freeze()
    }

    /// Sends one message of a group's broadcast to all of `to`.
    pub(super) fn broadcast(
        &mut self,
        now: Instant,
        to: &[NodeId],
        message: &PeerMessage,
        endpoint: &mut Endpoint,
        stats: &mut Stats,
    ) {
        let bytes = self.encode(message);
        for node in to {
            let copies = self.gremlin.as_mut().map_or(1, |gremlin| gremlin.copies(*node, &bytes));
            for _ in 0..copies {
                let sent = send(now, endpoint, stats, *node, Class::Broadcast, bytes.clone());
                if let (Err(SendError::WouldBlock), PeerMessage::Broadcast { group, .. }) = (sent, message) {
                    self.blocked.entry(*node).or_default().insert(*group);
                }
            }
        }
        if let Some((node, bytes)) = self.gremlin.as_mut().and_then(|gremlin| gremlin.release()) {
            let _ = send(now, endpoint, stats, node, Class::Broadcast, bytes);
        }
    }

    /// Takes out the groups whose messages to `node` were refused.
    pub(super) fn unblocked(&mut self, node: NodeId) -> BTreeSet<GroupId> {
        self.blocked.remove(&node).unwrap_or_default()
    }

    /// Sends a part of a snapshot transfer.
    pub(super) fn bulk(
        &mut self,
        now: Instant,
        to: NodeId,
        message: &PeerMessage,
        endpoint: &mut Endpoint,
        stats: &mut Stats,
    ) {
        let bytes = self.encode(message);
        // A piece that does not fit is asked for again.
        let _ = send(now, endpoint, stats, to, Class::Bulk, bytes);
    }

    /// Keeps a heartbeat until the end of the turn.
    pub(super) fn heartbeat(&mut self, to: NodeId, heartbeat: GroupHeartbeat, urgent: bool) {
        let boxes = if urgent { &mut self.urgent } else { &mut self.heartbeats };
        boxes.entry(to).or_default().push(heartbeat);
    }

    /// Sends all heartbeats: rounds that a client waits for reliably, the others as they come.
    pub(super) fn flush(&mut self, now: Instant, endpoint: &mut Endpoint, stats: &mut Stats) {
        for urgent in [true, false] {
            let boxes = core::mem::take(if urgent { &mut self.urgent } else { &mut self.heartbeats });
            let room = if urgent { MESSAGE_ROOM } else { DATAGRAM_ROOM };
            for (to, mut heartbeats) in boxes {
                while !heartbeats.is_empty() {
                    let rest = heartbeats.split_off(fitting(&heartbeats, room));
                    let bytes = self.encode(&PeerMessage::Heartbeats(heartbeats));
                    heartbeats = rest;
                    if urgent {
                        let _ = send(now, endpoint, stats, to, Class::Membership, bytes);
                    } else {
                        match endpoint.link_to(to) {
                            // A heartbeat that does not fit is a heartbeat lost: the next round makes it good.
                            Some(link) => drop(endpoint.send_datagram(now, link, bytes)),
                            None => stats.drop_no_link += 1,
                        }
                    }
                }
            }
        }
    }
}

/// How many of these heartbeats take at most `room` bytes; at least one. Their size grows with logs and ballots.
fn fitting(heartbeats: &[GroupHeartbeat], room: usize) -> usize {
    let sizes = heartbeats.iter().scan(0, |total, heartbeat| {
        *total += heartbeat.encoded_len();
        Some(*total)
    });
    sizes.take_while(|total| *total <= room).count().max(1)
}

/// Sends `bytes` if there is a link with room; every message between groups survives its loss.
pub(super) fn send(
    now: Instant,
    endpoint: &mut Endpoint,
    stats: &mut Stats,
    to: NodeId,
    class: Class,
    bytes: Bytes,
) -> Result<(), SendError> {
    let link = endpoint.link_to(to).ok_or(SendError::Gone);
    let sent = link.and_then(|link| endpoint.send(now, link, class, bytes));
    match &sent {
        Ok(()) => {}
        Err(SendError::WouldBlock) => stats.drop_backpressure += 1,
        Err(_) => stats.drop_no_link += 1,
    }
    sent
}

#[cfg(test)]
mod tests {
    use haystack_wire::ids::{Ballot, LogIndex, ViewId};
    use haystack_wire::message::election::{HEARTBEAT_MOST, HeartbeatAck, HeartbeatBody};

    use super::*;

    /// An answer whose numbers are as large as `magnitude` makes them.
    fn answer(magnitude: u32) -> GroupHeartbeat {
        let number = (1 << magnitude) - 1;
        let ballot = |node| Ballot { n: number, priority: u32::MAX, node: NodeId([node; 16]) };
        let ack = HeartbeatAck {
            nonce: u64::MAX,
            promised: ballot(1),
            accepted_round: ballot(2),
            len: LogIndex(number),
            decided: LogIndex(number),
            leader: ballot(3),
            quorum_connected: true,
            happy: true,
        };
        let (group, view) = (GroupId(1024), ViewId(u32::MAX));
        GroupHeartbeat { group, view, body: HeartbeatBody::Answer(ack) }
    }

    #[test]
    fn heartbeats_fit_their_datagrams_and_messages_however_large_their_numbers_are() {
        for magnitude in [1, 13, 29, 60] {
            let mut heartbeats = vec![answer(magnitude); 1025];
            for room in [DATAGRAM_ROOM, MESSAGE_ROOM] {
                let count = fitting(&heartbeats, room);
                heartbeats.truncate(count);
                let len = PeerMessage::Heartbeats(heartbeats.clone()).encoded_len();
                assert!(len <= room + 16 && (room == MESSAGE_ROOM || len <= DATAGRAM_MAX_BYTES));
                heartbeats = vec![answer(magnitude); 1025];
                assert!(len + HEARTBEAT_MOST > room, "and none is left out");
            }
        }
        assert_eq!(fitting(&[answer(60)], 1), 1);
    }
}
