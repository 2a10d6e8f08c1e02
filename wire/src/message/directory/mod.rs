//! Introduction, founding, and the partition map.

mod codec;
mod map;

use std::net::SocketAddr;

use crate::ids::{ClusterId, Epoch, GroupId, HistoryId, NodeId, Slot, ViewId};

/// Longest name of a node, in bytes.
pub const NAME_LIMIT: usize = 64;
/// Most founders that a list may have.
pub const FOUNDERS_LIMIT: usize = 64;
/// Most nodes in a map.
pub const NODES_LIMIT: usize = 1024;
/// Most groups in a map, the directory not counted.
pub const GROUPS_LIMIT: usize = 1024;
/// Most replicas of a group (judgement: four may fail at once, and each one more makes every write dearer).
pub const REPLICAS_LIMIT: usize = 9;
/// Most predecessors that a life testifies for.
pub const SUCCEEDS_LIMIT: usize = 64;

/// Names a founding list: hash of its proposer and its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListId(pub u64);

/// A process with its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The process.
    pub node: NodeId,
    /// Its configured name.
    pub name: String,
    /// The address that others reach it at.
    pub addr: SocketAddr,
    /// What fails with it at large, a rack or a site, up to [`NAME_LIMIT`] bytes; empty if that is not told. Replicas
    /// of a group are kept in different zones as far as there are any.
    pub zone: String,
    /// The machine that it runs on, up to [`NAME_LIMIT`] bytes; empty if that is not told. Replicas of a group are kept
    /// on different hosts as far as there are any.
    pub host: String,
}

impl NodeInfo {
    /// A process of which neither zone nor host is told.
    pub fn new(node: NodeId, name: &str, addr: SocketAddr) -> Self {
        Self { node, name: name.to_owned(), addr, zone: String::new(), host: String::new() }
    }
}

/// What the directory has decided about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// Admitted, and not heard of by the coordinator yet.
    Joining,
    /// Takes part.
    Up,
    /// Does not answer; may come back.
    Suspect,
    /// Has not answered for as long as the hold-down takes: what it held is to be replaced.
    Down,
    /// Gives its replicas away, to leave.
    Draining,
    /// Proven to have ended: never comes back under this identity.
    Gone,
}

/// A row of the node table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// The process.
    pub info: NodeInfo,
    /// What is decided about it.
    pub state: NodeState,
}

/// Who makes up a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// The view.
    pub view: ViewId,
    /// The replicas, in order of preference for leading.
    pub replicas: Vec<NodeId>,
}

/// A list of processes that found a cluster together, in the order of the configured addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundingList {
    /// The lowest of the processes, which alone counts grants.
    pub proposer: NodeId,
    /// The cluster's id, minted by the proposer.
    pub cluster: ClusterId,
    /// Partition groups to make: 1 to [`GROUPS_LIMIT`].
    pub partitions: u32,
    /// Replicas that every group is to have: 1 to [`REPLICAS_LIMIT`].
    pub degree: u32,
    /// The processes.
    pub founders: Vec<NodeInfo>,
}

/// What a process knows about a founding list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Testimony {
    /// It is founded.
    Founded,
    /// The answerer granted it and knows no more.
    Granted,
    /// The answerer proposed it and still counts.
    Counting,
    /// It is dead: its proposer gave it up, or a listed process never granted it and now never will.
    Dead,
    /// The answerer cannot say.
    Unknown,
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Waits for its founders.
    Founding,
    /// Is a member of a founded cluster.
    Member,
    /// Belongs to a cluster, by its life file, in which it has no vote.
    Standby,
}

/// Messages between daemons outside the groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryMessage {
    /// The first message of every session between daemons, and again when its contents change.
    Introduce {
        /// The sender.
        info: NodeInfo,
        /// Where it stands.
        standing: Standing,
        /// The cluster that it belongs to.
        cluster: Option<ClusterId>,
        /// Its configured founders, hashed: unlike lists cannot found together.
        founders_hash: u64,
        /// Its configured number of partitions; daemons that differ in it cannot found together.
        partitions: u32,
        /// Its configured number of replicas; likewise.
        degree: u32,
        /// The processes whose lives ended before the sender's began, in the same state directory, newest first.
        succeeds: Vec<NodeId>,
    },
    /// The proposer asks for a grant.
    Propose(FoundingList),
    /// The sender grants the list, and will grant no other.
    Grant {
        /// The list.
        list: ListId,
    },
    /// The sender will never grant the list.
    Refuse {
        /// The list.
        list: ListId,
    },
    /// All have granted: the cluster exists.
    Founded(FoundingList),
    /// Asks what the receiver knows about a list.
    Query {
        /// The list.
        list: ListId,
        /// The process of the list for which the receiver is asked to testify: itself or its predecessor.
        subject: NodeId,
        /// The list's proposer.
        proposer: NodeId,
    },
    /// The answer.
    Testify {
        /// The list.
        list: ListId,
        /// For whom.
        subject: NodeId,
        /// What is known.
        testimony: Testimony,
        /// The whole list, where it is founded.
        founded: Option<FoundingList>,
    },
    /// Asks for the partition map if it is newer.
    MapPull {
        /// The epoch that the asker holds.
        held: Epoch,
    },
    /// The partition map.
    Map(PartitionMap),
}

/// Slots and the group that serves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The group.
    pub group: GroupId,
    /// Its view.
    pub view: ViewId,
    /// First slot.
    pub first: Slot,
    /// Last slot, inclusive.
    pub last: Slot,
    /// The replicas, in order of preference for leading.
    pub replicas: Vec<NodeId>,
}

/// The partition map: the first entry that group 0 decides, and what clients and daemons route by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMap {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its history.
    pub history: HistoryId,
    /// The version of the map.
    pub epoch: Epoch,
    /// Replicas that every group is to have: 1 to [`REPLICAS_LIMIT`].
    pub degree: u32,
    /// The directory group.
    pub directory: GroupView,
    /// The node table, by node id. Who is gone stays as long as a group names it.
    pub nodes: Vec<NodeRecord>,
    /// The partitions, by first slot, covering all slots.
    pub partitions: Vec<Partition>,
}
