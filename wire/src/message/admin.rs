//! What an administrator asks of a daemon.

use std::net::SocketAddr;

use bytes::BufMut;

use super::directory::{
    FOUNDERS_LIMIT, GROUPS_LIMIT, NAME_LIMIT, NODES_LIMIT, NodeInfo, NodeState, REPLICAS_LIMIT, Standing,
};
use super::format::{
    ADDR_LEAST, Addr, Amount, Boxed, Counter, Flag, Format, Many, Maybe, Plain, Text, record, tagged,
};
use super::membership::MemberState;
use crate::codec::{DecodeError, Reader};
use crate::ids::{Ballot, ClusterId, Epoch, GroupId, HistoryId, LogIndex, NodeId, Slot, ViewId};

/// Longest sentence for people, in bytes; longer ones are cut.
pub const TEXT_LIMIT: usize = 4096;
/// Longest version or configured address, in bytes.
pub const WORD_LIMIT: usize = 300;
/// Most events in an answer.
pub const EVENTS_LIMIT: usize = 1024;
/// Most counters in a status.
pub const COUNTERS_LIMIT: usize = 1024;

/// An administrator's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// How things stand, as this daemon sees them.
    Status,
    /// Give up the cluster named in the life file, and its data, and found anew.
    AbandonOldData,
    /// What happened in the cluster, as this daemon saw it, from the event of this number on; 0 for all that it keeps.
    Events {
        /// The first number wanted.
        from: u64,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminReply {
    /// How things stand.
    Status(Box<Status>),
    /// Done; what happens next, in a sentence.
    Done(String),
    /// Refused; why and what to do, in a sentence.
    Refused(String),
    /// What happened, oldest first. Numbers that are missing at the beginning were forgotten.
    Events(Vec<EventRecord>),
}

/// Something that happened in the cluster, as one daemon saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Its number, one more than the one before it; they begin with 1 in every life.
    pub number: u64,
    /// How long ago it was, in milliseconds.
    pub age_ms: u64,
    /// What it was.
    pub event: ClusterEvent,
}

/// What happens in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterEvent {
    /// A node is alive, new or again.
    Alive {
        /// The node.
        info: NodeInfo,
    },
    /// The failure detector of this daemon suspects a node that shares a group with it.
    Suspect {
        /// The node.
        node: NodeId,
    },
    /// It does no longer.
    Restore {
        /// The node.
        node: NodeId,
    },
    /// The members take a node for dead.
    Dead {
        /// The node.
        node: NodeId,
    },
    /// A node left on purpose.
    Left {
        /// The node.
        node: NodeId,
    },
    /// The directory decided something about a node.
    Decided {
        /// The node.
        node: NodeId,
        /// What.
        state: NodeState,
    },
    /// A group's leader changed, of those that this daemon has a replica of.
    Leader {
        /// The group.
        group: GroupId,
        /// The new one; none if nobody answers.
        leader: Option<Ballot>,
    },
    /// A group's view changed.
    View {
        /// The group.
        group: GroupId,
        /// The new one.
        view: ViewId,
    },
    /// Another coordinator.
    Coordinator {
        /// The ballot in which it leads the directory.
        leader: Ballot,
    },
    /// A new partition map.
    Map {
        /// Its version.
        epoch: Epoch,
    },
    /// Two processes claim what only one can have; a sentence.
    Conflict(String),
}

impl ClusterEvent {
    /// The word for it, which the output of the tools is documented to hold.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Alive { .. } => "alive",
            Self::Suspect { .. } => "suspect",
            Self::Restore { .. } => "restore",
            Self::Dead { .. } => "dead",
            Self::Left { .. } => "left",
            Self::Decided { .. } => "decided",
            Self::Leader { .. } => "leader",
            Self::View { .. } => "view",
            Self::Coordinator { .. } => "coordinator",
            Self::Map { .. } => "map",
            Self::Conflict(_) => "conflict",
        }
    }
}

/// How things stand, as one daemon sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The answerer.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its version, `MAJOR.MINOR.PATCH`.
    pub version: String,
    /// Where it stands.
    pub standing: Standing,
    /// Why, and what it waits for; empty if all is well.
    pub waits_for: String,
    /// The cluster.
    pub cluster: Option<ClusterId>,
    /// Its history.
    pub history: HistoryId,
    /// The version of its map.
    pub epoch: Epoch,
    /// Replicas that every group is to have; 0 before there is a map.
    pub degree: u32,
    /// The coordinator that it knows of, by the ballot in which it leads the directory.
    pub coordinator: Option<Ballot>,
    /// The configured founders.
    pub founders: Vec<String>,
    /// The nodes that it knows, itself included.
    pub nodes: Vec<NodeStatus>,
    /// The groups, the directory first.
    pub groups: Vec<GroupStatus>,
    /// Counters by name, for people: drops by reason, traffic.
    pub counters: Vec<(String, u64)>,
}

/// A node as another sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The process; unknown until its first handshake.
    pub node: Option<NodeId>,
    /// Its name; empty until it is known.
    pub name: String,
    /// Its address.
    pub addr: SocketAddr,
    /// Whether it answers.
    pub up: bool,
    /// Where it says it stands, once it said so.
    pub standing: Option<Standing>,
    /// What the directory has decided about it, if it is in the node table.
    pub state: Option<NodeState>,
    /// What the members take it for, if it is one.
    pub member: Option<MemberState>,
    /// Whether it told of its replicas when it was asked for this status.
    pub reported: bool,
    /// Its zone; empty if it has none.
    pub zone: String,
    /// Its host; empty if that is not told.
    pub host: String,
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: u64,
    /// Packets from there that were lost, in parts per million of those it sent.
    pub loss_ppm: u32,
}

/// A group, put together from what its replicas report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// The slots that it serves; none for the directory.
    pub slots: Option<SlotRange>,
    /// Its view.
    pub view: ViewId,
    /// The leader's ballot: the highest that a replica reports and whose leader reports that it leads.
    pub leader: Option<Ballot>,
    /// Its replicas, in order of preference for leading.
    pub replicas: Vec<ReplicaStatus>,
}

/// Slots next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// The first.
    pub first: Slot,
    /// The last, inclusive.
    pub last: Slot,
}

/// A replica of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The node that holds it.
    pub node: NodeId,
    /// What it reports; none if its node did not answer, or has no such replica.
    pub report: Option<ReplicaReport>,
}

/// What a node tells of one of its replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaReport {
    /// The group.
    pub group: GroupId,
    /// Its view.
    pub view: ViewId,
    /// The leader that it follows, or the ballot in which it leads.
    pub leader: Option<Ballot>,
    /// How many replicas answered its last round, itself included.
    pub live: u32,
    /// The length of its log.
    pub len: LogIndex,
    /// Its decided index.
    pub decided: LogIndex,
    /// Its applied index.
    pub applied: LogIndex,
    /// Keys in its store.
    pub keys: u64,
    /// Bytes of keys and values in its store.
    pub bytes: u64,
    /// Open sessions.
    pub sessions: u64,
}

tagged!(AdminRequest {
    1 => Status,
    2 => AbandonOldData,
    3 => Events { from: Counter },
});

tagged!(AdminReply {
    1 => Status(status: Boxed),
    2 => Done(what: Text(TEXT_LIMIT)),
    3 => Refused(why: Text(TEXT_LIMIT)),
    4 => Events(events: Many::cut(EVENTS_LIMIT, EVENT_LEAST, Plain)),
});

/// Fewest bytes of an [`EventRecord`].
const EVENT_LEAST: usize = 4;

record!(EventRecord { number: Counter, age_ms: Amount, event: Plain });

tagged!(ClusterEvent {
    1 => Alive { info: Plain },
    2 => Suspect { node: Plain },
    3 => Restore { node: Plain },
    4 => Dead { node: Plain },
    5 => Left { node: Plain },
    6 => Decided { node: Plain, state: Plain },
    7 => Leader { group: Plain, leader: Maybe(Plain) },
    8 => View { group: Plain, view: Plain },
    9 => Coordinator { leader: Plain },
    10 => Map { epoch: Plain },
    11 => Conflict(what: Text(TEXT_LIMIT)),
});

record!(Status {
    node: Plain,
    name: Text(NAME_LIMIT),
    version: Text(WORD_LIMIT),
    standing: Plain,
    waits_for: Text(TEXT_LIMIT),
    cluster: Maybe(Plain),
    history: Plain,
    epoch: Plain,
    degree: Amount,
    coordinator: Maybe(Plain),
    founders: Many::cut(FOUNDERS_LIMIT, 1, Text(WORD_LIMIT)),
    nodes: Many::cut(NODES_LIMIT, NODE_STATUS_LEAST, Plain),
    groups: Many::cut(GROUPS_LIMIT + 1, GROUP_STATUS_LEAST, Plain),
    counters: Many::cut(COUNTERS_LIMIT, 2, NamedCounter),
});

/// Fewest bytes of a [`NodeStatus`].
const NODE_STATUS_LEAST: usize = 11 + ADDR_LEAST;

record!(NodeStatus {
    node: Maybe(Plain),
    name: Text(NAME_LIMIT),
    addr: Addr,
    up: Flag,
    standing: Maybe(Plain),
    state: Maybe(Plain),
    member: Maybe(Plain),
    reported: Flag,
    zone: Text(NAME_LIMIT),
    host: Text(NAME_LIMIT),
    rtt_us: Amount,
    loss_ppm: Amount,
});

/// Fewest bytes of a [`GroupStatus`].
const GROUP_STATUS_LEAST: usize = 5;

record!(GroupStatus {
    group: Plain,
    slots: Maybe(Plain),
    view: Plain,
    leader: Maybe(Plain),
    replicas: Many::cut(REPLICAS_LIMIT, 17, Plain),
});

record!(SlotRange { first: Plain, last: Plain });
record!(ReplicaStatus { node: Plain, report: Maybe(Plain) });

/// Fewest bytes of a [`ReplicaReport`].
pub(super) const REPORT_LEAST: usize = 10;

record!(ReplicaReport {
    group: Plain,
    view: Plain,
    leader: Maybe(Plain),
    live: Amount,
    len: Plain,
    decided: Plain,
    applied: Plain,
    keys: Amount,
    bytes: Amount,
    sessions: Amount,
});

/// A counter with its name.
struct NamedCounter;

impl Format<(String, u64)> for NamedCounter {
    fn len(&self, (name, count): &(String, u64)) -> usize {
        Text(NAME_LIMIT).len(name) + Amount.len(count)
    }
    fn put<B: BufMut>(&self, (name, count): &(String, u64), out: &mut B) {
        Text(NAME_LIMIT).put(name, out);
        Amount.put(count, out);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<(String, u64), DecodeError> {
        Ok((Text(NAME_LIMIT).get(reader, field)?, Amount.get(reader, field)?))
    }
}
