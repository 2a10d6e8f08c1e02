//! What a membership says to the node around it, and what it counts.

use core::net::SocketAddr;

use haystack_wire::ids::NodeId;
use haystack_wire::message::membership::{Beacon, Gossip, Member};

use crate::stats::counters;

/// What is to be done or known. Each call makes a bounded number of them; they are taken out after every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A gossip to send.
    Send {
        /// The receiver's address.
        to: SocketAddr,
        /// The receiver, if known.
        node: Option<NodeId>,
        /// The message, of at most `GOSSIP_LIMIT` bytes.
        gossip: Gossip,
        /// Whether it should go over the perfect link, if there is one.
        reliable: bool,
    },
    /// A member is new, or back.
    Alive(Member),
    /// A live member has another address, name, version or metadata.
    Changed(Member),
    /// A live member does not answer; it may still refute.
    Suspect(NodeId),
    /// A member did not refute in time, or has a successor. It may come back.
    Dead(NodeId),
    /// A member left, whether it was met or not, or one that lived is proven to have ended. It does not come back.
    Left(NodeId),
    /// `old`, which no longer answers, has a successor in its state directory. Follows its `Dead`.
    Succeeded {
        /// The process that ended.
        old: NodeId,
        /// The process that lives in its state directory now.
        by: NodeId,
    },
    /// A newer word of the directory group was heard.
    Beacon {
        /// All that is known now.
        beacon: Beacon,
        /// Who said it.
        from: NodeId,
    },
    /// Two cannot both be right.
    Conflict(Conflict),
}

/// What an administrator must settle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conflict {
    /// Two live members bear one name.
    Name {
        /// The name.
        name: String,
        /// The one of lower identity.
        first: NodeId,
        /// The other one.
        second: NodeId,
    },
    /// Another process speaks with a member's identity, this node's own perhaps, from `addr`.
    Identity {
        /// The identity.
        node: NodeId,
        /// Where the other one is.
        addr: SocketAddr,
    },
    /// A process says that it lives in the state directory of one that still answers: a copied state directory.
    StateDirectory {
        /// The one that answers.
        old: NodeId,
        /// The one that claims to succeed it.
        new: NodeId,
    },
    /// The others took this process for gone for good; `by` said so. Only a new identity helps.
    Gone {
        /// Who said so.
        by: NodeId,
    },
    /// No incarnation is left to refute with: somebody forged them. Only a new identity helps.
    Exhausted,
}

counters! {
    /// Counters of a membership.
    pub(super) struct Counters;

    /// Messages received and looked at.
    received,
    /// Messages sent.
    sent,
    /// Probes begun.
    probes,
    /// Probes that nobody answered.
    probes_failed,
    /// Suspicions of this node that it refuted.
    refuted,
    /// Members suspected.
    suspected,
    /// Members that died.
    died,
    /// Predecessors about whom those that were asked said too little.
    successions_open,
    /// Messages of another cluster.
    drop_cluster,
    /// Messages of a process without a cluster that were no wish to join.
    drop_outsider,
    /// Messages in this node's own name.
    drop_self,
    /// Messages after this node left.
    drop_silent,
    /// Pings for another process.
    drop_not_me,
    /// Answers to no question under way.
    drop_late,
    /// Questions that only a member may ask.
    drop_unknown,
    /// Pages of a digest that are none.
    drop_page,
    /// Members beyond the bound of the table.
    drop_full,
    /// Probes for others beyond their bound.
    drop_relay,
    /// Strangers that were asked who they are.
    invited,
    /// Answers that would have been longer than a stranger's question.
    drop_amplified,
    /// Records left out for now because too many were asked for.
    drop_pages,
    /// Updates that no honest process sends.
    drop_forged,
    /// Accusations by members that count as dead themselves.
    drop_accuser,
    /// Updates of members that left.
    drop_left,
    /// Wishes to join of processes with other founders.
    founders_differ,
}
