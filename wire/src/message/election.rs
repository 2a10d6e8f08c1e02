//! Ballot leader election and read rounds: nonced heartbeats of a group.

use crate::ids::{Ballot, GroupId, LogIndex, ViewId};

/// One group's part of a heartbeat message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeartbeat {
    /// The group.
    pub group: GroupId,
    /// The view.
    pub view: ViewId,
    /// The body.
    pub body: HeartbeatBody,
}

/// A round's question, its answer, or the hint of a leader that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatBody {
    /// A round's question.
    Ask(Heartbeat),
    /// A round's answer.
    Answer(HeartbeatAck),
    /// The leader of `ballot` stops on purpose and asks the receiver to take over at once.
    HandOver {
        /// The ballot in which the sender leads.
        ballot: Ballot,
    },
}

/// A round's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// New for every round, so that a late answer can never count for a later one. Its lowest bit asks for the
    /// answer as a reliable message.
    pub nonce: u64,
    /// The highest leader's ballot that the asker knows; before anybody led, the highest claim to lead, with
    /// n = 0.
    pub ballot: Ballot,
    /// The asker's log length; repairs a lost tail, never acknowledges.
    pub len: LogIndex,
    /// The asker's decided index.
    pub decided: LogIndex,
}

/// A round's answer, true at the moment it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAck {
    /// The round's nonce.
    pub nonce: u64,
    /// What the answerer has promised.
    pub promised: Ballot,
    /// The ballot in which the answerer last accepted.
    pub accepted_round: Ballot,
    /// The answerer's log length; never an acknowledgement.
    pub len: LogIndex,
    /// The answerer's decided index.
    pub decided: LogIndex,
    /// The highest leader's ballot that the answerer knows.
    pub leader: Ballot,
    /// Whether a majority answered the answerer's own last round.
    pub quorum_connected: bool,
    /// Whether the answerer leads well or follows a leader that does.
    pub happy: bool,
}
