//! What a node and its driver say to each other, and what is known of a link.

use std::net::SocketAddr;

use bytes::Bytes;
use haystack_wire::ids::{Ballot, Boot, GroupId, LogIndex, NodeId};
use haystack_wire::message::admin::ClusterEvent;
use haystack_wire::message::directory::Standing;

use crate::directory::life::Life;

/// Who this process is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// New for every life in memory mode.
    pub node: NodeId,
    /// 0 in memory mode.
    pub boot: Boot,
    /// The life file, in which this life has begun.
    pub life: Life,
}

/// Number of a record to persist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

/// What must be on disk before the node speaks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The whole new contents of the life file.
    Life {
        /// The record's number, to be handed to [`super::Node::handle_persisted`].
        lsn: Lsn,
        /// The contents.
        bytes: Vec<u8>,
    },
}

/// What the operator of the process wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Hand leadership over, then say [`Event::Stopped`].
    Stop,
}

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The node is stopping already.
    #[error("the daemon is stopping already")]
    Stopping,
}

/// What the node has to tell its driver. Nothing depends on its being heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Every group has a leader that answers: the node serves.
    Ready,
    /// Some group has no leader that answers any more.
    NotReady,
    /// Where the node stands and what it waits for changed.
    Standing {
        /// Where it stands.
        standing: Standing,
        /// What it waits for; empty for a member.
        waits_for: String,
    },
    /// A process is linked, or its link ended.
    Peer {
        /// The process.
        node: NodeId,
        /// Where it is.
        addr: SocketAddr,
        /// Whether it came or went.
        up: bool,
    },
    /// A group's trusted leader changed.
    Leader {
        /// The group.
        group: GroupId,
        /// The leader's ballot, if one answers.
        leader: Option<Ballot>,
    },
    /// Something happened in the cluster.
    Cluster(ClusterEvent),
    /// An entry was applied; only with `Config::observe`.
    Applied {
        /// The group.
        group: GroupId,
        /// The entry's position.
        index: LogIndex,
        /// Chained hash of the log up to and with the entry.
        chain: u64,
        /// Digest of the state after it.
        digest: u128,
        /// The entry's body.
        body: Bytes,
    },
    /// Leadership is handed over, or nobody took it in time: the process may end.
    Stopped {
        /// What that means for each group that has a replica here, in the order of their numbers.
        groups: Vec<(GroupId, Outlook)>,
    },
}

/// What is left of a group when one of its replicas stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    /// A majority, also after one more stop.
    Fine,
    /// A majority, but not after one more stop.
    LastMajority,
    /// No majority: what it stored is lost.
    Lost,
}

impl Outlook {
    /// Of a group of `replicas` of which `live` answer, the one that stops included.
    pub(super) const fn of(replicas: usize, live: usize) -> Self {
        let (left, majority) = (live.saturating_sub(1), replicas / 2 + 1);
        if left < majority {
            Self::Lost
        } else if left == majority {
            Self::LastMajority
        } else {
            Self::Fine
        }
    }
}
