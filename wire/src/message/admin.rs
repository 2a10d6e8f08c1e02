//! What an administrator asks of a daemon.

use std::net::SocketAddr;

use super::directory::Standing;
use crate::ids::{Ballot, ClusterId, Epoch, GroupId, HistoryId, LogIndex, NodeId, ViewId};

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
    /// Packets lost, in parts per million of those sent.
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
