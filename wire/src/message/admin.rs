//! What an administrator asks of a daemon.

use std::net::SocketAddr;

use bytes::BufMut;

use super::directory::Standing;
use super::directory::{FOUNDERS_LIMIT, GROUPS_LIMIT, NAME_LIMIT, NODES_LIMIT, REPLICAS_LIMIT};
use super::format::{
    ADDR_LEAST, Addr, Amount, Boxed, Flag, Format, Many, Maybe, Plain, Text, record, tagged,
};
use crate::codec::{DecodeError, Reader};
use crate::ids::{Ballot, ClusterId, Epoch, GroupId, HistoryId, LogIndex, NodeId, ViewId};

/// Longest sentence for people, in bytes; longer ones are cut.
pub const TEXT_LIMIT: usize = 4096;
/// Longest version or configured address, in bytes.
pub const WORD_LIMIT: usize = 300;
/// Most counters in a status.
pub const COUNTERS_LIMIT: usize = 1024;

/// An administrator's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// How things stand, as this daemon sees them.
    Status,
    /// Give up the cluster named in the life file, and its data, and found anew.
    AbandonOldData,
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
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: u64,
    /// Packets from there that were lost, in parts per million of those it sent.
    pub loss_ppm: u32,
}

/// A group as one of its replicas sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// Its view.
    pub view: ViewId,
    /// The leader's ballot, if one is known and answers.
    pub leader: Option<Ballot>,
    /// The replicas.
    pub replicas: Vec<NodeId>,
    /// How many of them answer.
    pub live: u32,
    /// The answerer's log length.
    pub len: LogIndex,
    /// The answerer's decided index.
    pub decided: LogIndex,
    /// The answerer's applied index.
    pub applied: LogIndex,
    /// Keys in the answerer's store.
    pub keys: u64,
    /// Bytes of keys and values in the answerer's store.
    pub bytes: u64,
    /// Open sessions.
    pub sessions: u64,
}

tagged!(AdminRequest {
    1 => Status,
    2 => AbandonOldData,
});

tagged!(AdminReply {
    1 => Status(status: Boxed),
    2 => Done(what: Text(TEXT_LIMIT)),
    3 => Refused(why: Text(TEXT_LIMIT)),
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
    founders: Many::cut(FOUNDERS_LIMIT, 1, Text(WORD_LIMIT)),
    nodes: Many::cut(NODES_LIMIT, NODE_STATUS_LEAST, Plain),
    groups: Many::cut(GROUPS_LIMIT + 1, GROUP_STATUS_LEAST, Plain),
    counters: Many::cut(COUNTERS_LIMIT, 2, NamedCounter),
});

/// Fewest bytes of a [`NodeStatus`].
const NODE_STATUS_LEAST: usize = 6 + ADDR_LEAST;

record!(NodeStatus {
    node: Maybe(Plain),
    name: Text(NAME_LIMIT),
    addr: Addr,
    up: Flag,
    standing: Maybe(Plain),
    rtt_us: Amount,
    loss_ppm: Amount,
});

/// Fewest bytes of a [`GroupStatus`].
const GROUP_STATUS_LEAST: usize = 11;

record!(GroupStatus {
    group: Plain,
    view: Plain,
    leader: Maybe(Plain),
    replicas: Many::cut(REPLICAS_LIMIT, 16, Plain),
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
