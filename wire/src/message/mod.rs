//! What the parts of the system say to each other. Links carry one message per MSG frame.

pub mod admin;
pub mod broadcast;
pub mod client;
pub mod directory;
pub mod election;
mod format;
pub mod membership;

use bytes::{BufMut, Bytes};

use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::frame::MESSAGE_MAX_BYTES;
use crate::ids::{Epoch, GroupId, LogIndex, ViewId};
use admin::{AdminReply, AdminRequest, ReplicaReport};
use broadcast::BroadcastMessage;
use client::{Reply, Request};
use directory::{DirectoryMessage, PartitionMap};
use election::GroupHeartbeat;
pub use format::COUNTER_LIMIT;
use format::{Blob, Boxed, Counter, Fixed, Flag, Many, Mark, Maybe, Plain, record, tagged};
use membership::{Beat, Gossip};

/// Longest message that links carry: 16 MiB.
pub const MESSAGE_LIMIT: usize = MESSAGE_MAX_BYTES;
/// Room that is left in a message for what stands around its one big byte string: 64 KiB.
pub const MESSAGE_ROOM: usize = 64 * 1024;
/// Most heartbeats in one message: every group that a map may have, and the directory.
pub const HEARTBEATS_LIMIT: usize = directory::GROUPS_LIMIT + 1;

/// What one daemon tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Consensus of one view of one group. Class 1.
    Broadcast {
        /// The group.
        group: GroupId,
        /// The view whose ballots and quorums are meant.
        view: ViewId,
        /// The body.
        message: BroadcastMessage,
    },
    /// Election rounds and read rounds of all groups that the two nodes share, together. Class 0.
    Heartbeats(Vec<GroupHeartbeat>),
    /// Asks for a piece of a frozen snapshot. Class 3.
    SnapshotPull {
        /// The group.
        group: GroupId,
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Byte offset in its canonical encoding.
        offset: u64,
    },
    /// A piece of a frozen snapshot, or, empty before the end, the word that it is gone. Class 3.
    SnapshotChunk {
        /// The group.
        group: GroupId,
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Byte offset of `bytes`.
        offset: u64,
        /// Whether the snapshot ends with these bytes.
        last: bool,
        /// The piece.
        bytes: Bytes,
    },
    /// Founding, introduction, the partition map. Class 1: an older introduction must not come after a newer one.
    Directory(DirectoryMessage),
    /// A client's request, sent on to where the forwarder believes the leader is. Class 2.
    Forward {
        /// The forwarder's own mark for where the answer goes, returned as it is.
        token: ForwardToken,
        /// The request.
        request: Request,
    },
    /// Asks what replicas the receiver has and how they stand. Class 2.
    ReportPull {
        /// The asker's mark, returned.
        mark: u64,
    },
    /// The answer. Class 2.
    Report {
        /// The mark of the question.
        mark: u64,
        /// The replicas.
        replicas: Vec<ReplicaReport>,
    },
    /// The answer to a forwarded request. Class 2.
    Forwarded {
        /// The mark of the request.
        token: ForwardToken,
        /// The answer.
        reply: Reply,
    },
    /// Membership. Class 0.
    Gossip(Box<Gossip>),
    /// A heartbeat of the failure detector. Class 0, fair-loss.
    Beat(Beat),
}

/// Where the answer to a forwarded request goes. Opaque to everyone but its maker, which so keeps no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForwardToken(pub u64);

/// A state at a log position: everything below `index` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// Entries below this are in the state.
    pub index: LogIndex,
    /// Digest of the state's canonical encoding: same index, same digest, same bytes.
    pub digest: u128,
    /// Chained hash of the log below `index`, so that the log can go on from here.
    pub chain: u64,
}

/// What a client tells a daemon. Class 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// An operation on the store.
    Request(Request),
    /// Asks for the partition map, if it is newer than the given epoch.
    MapRequest {
        /// The client's mark, returned.
        id: u64,
        /// The epoch that the client holds; 0 for none.
        held: Epoch,
    },
    /// An administrator's request.
    Admin {
        /// The client's mark, returned.
        id: u64,
        /// The request.
        request: AdminRequest,
    },
}

/// What a daemon tells a client. Class 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// The answer to a request.
    Reply(Reply),
    /// The partition map, or nothing if the client's is current or the cluster is not founded.
    Map {
        /// The mark of the request.
        id: u64,
        /// The map.
        map: Option<PartitionMap>,
    },
    /// The answer to an administrator's request.
    Admin {
        /// The mark of the request.
        id: u64,
        /// The answer.
        reply: AdminReply,
    },
}

tagged!(PeerMessage {
    1 => Broadcast { group: Plain, view: Plain, message: Plain },
    2 => Heartbeats(heartbeats: Many::of(HEARTBEATS_LIMIT, election::HEARTBEAT_LEAST, Plain)),
    3 => SnapshotPull { group: Plain, snapshot: Plain, offset: Counter },
    4 => SnapshotChunk {
        group: Plain,
        snapshot: Plain,
        offset: Counter,
        last: Flag,
        bytes: Blob(MESSAGE_LIMIT - MESSAGE_ROOM),
    },
    5 => Directory(message: Plain),
    6 => Forward { token: Plain, request: Plain },
    7 => Forwarded { token: Plain, reply: Plain },
    10 => ReportPull { mark: Mark },
    11 => Report { mark: Mark, replicas: Many::of(HEARTBEATS_LIMIT, admin::REPORT_LEAST, Plain) },
    8 => Gossip(gossip: Boxed),
    9 => Beat(beat: Plain),
});

tagged!(ClientMessage {
    1 => Request(request: Plain),
    2 => MapRequest { id: Mark, held: Plain },
    3 => Admin { id: Mark, request: Plain },
});

tagged!(ServerMessage {
    1 => Reply(reply: Plain),
    2 => Map { id: Mark, map: Maybe(Plain) },
    3 => Admin { id: Mark, reply: Plain },
});

record!(SnapshotId { index: Plain, digest: Fixed, chain: Fixed });

impl Encode for ForwardToken {
    fn encode<B: BufMut>(&self, out: &mut B) {
        out.put_u64(self.0);
    }
    fn encoded_len(&self) -> usize {
        8
    }
}

impl Decode for ForwardToken {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u64("ForwardToken").map(Self)
    }
}

#[cfg(test)]
mod tests;
