//! The other replicas and their newest answers: one per `NodeId`, so that repeated answers never count twice.

use haystack_wire::ids::{Ballot, LogIndex, NodeId};
use haystack_wire::message::election::HeartbeatAck;

/// A position in the sequence of this election's nonces, from 1. 0 stands for none.
pub(super) type Seq = u64;

/// Rounds without an answer after which a replica is taken for silent: it is asked once per round, without
/// repetition, and not by reliable messages, which would pile up before a dead link.
pub(super) const SILENT_ROUNDS: u8 = 4;

/// Another replica.
#[derive(Debug)]
pub(super) struct Peer {
    /// Who.
    pub(super) node: NodeId,
    /// The newest question of ours that it answered.
    pub(super) answered: Seq,
    /// The newest question of ours that it answered while promised to the ballot we lead in.
    pub(super) confirmed: Seq,
    /// The newest question of ours that it answered only after its round, and the round in which it did.
    late: (Seq, Seq),
    /// Rounds in a row without its answer.
    pub(super) silent: u8,
    /// Its promise in that answer.
    pub(super) promised: Ballot,
    /// The highest leader's ballot that it knew.
    pub(super) leader: Ballot,
    /// Whether it was happy.
    pub(super) happy: bool,
    /// Where it last accepted, its log length and its decided index: told on, never judged here.
    position: (Ballot, LogIndex, LogIndex),
}

impl Peer {
    fn new(node: NodeId) -> Self {
        let none = Ballot::default();
        Self {
            node,
            answered: 0,
            confirmed: 0,
            late: (0, 0),
            silent: 0,
            promised: none,
            leader: none,
            happy: false,
            position: (none, LogIndex::ZERO, LogIndex::ZERO),
        }
    }

    /// Notes an answer that came after its round, in `round`; repetitions of earlier answers say nothing.
    pub(super) fn take_late(&mut self, seq: Seq, round: Seq) {
        if seq > self.answered.max(self.late.0) {
            self.late = (seq, round);
        }
    }

    /// Whether it answered in this round, be it to a question of an earlier one.
    pub(super) fn speaks(&self, round: Seq) -> bool {
        self.answered >= round || self.late.1 == round
    }

    /// Takes up an answer to question `seq`, unless it tells nothing that a newer or equal one has not told.
    ///
    /// A question may be answered twice with different truths, since questions are repeated within a round.
    /// Promises only grow, which orders the two; a word of happiness stands until the next question.
    pub(super) fn take(&mut self, seq: Seq, ack: &HeartbeatAck) -> bool {
        let position = (ack.accepted_round, ack.len, ack.decided);
        let news = seq > self.answered
            || seq == self.answered
                && ack.promised >= self.promised
                && (ack.promised > self.promised || ack.happy && !self.happy || position > self.position);
        if !news {
            return false;
        }
        let same_promise = seq == self.answered && ack.promised == self.promised;
        self.happy = ack.happy || same_promise && self.happy;
        self.answered = seq;
        self.silent = 0;
        self.promised = ack.promised;
        self.leader = ack.leader;
        self.position = position;
        true
    }
}

/// The other replicas of a view.
#[derive(Debug)]
pub(super) struct Peers {
    peers: Vec<Peer>,
    majority: usize,
}

impl Peers {
    /// The replicas without `me`.
    ///
    /// # Panics
    /// If `me` is not exactly once in `replicas`, or another is there twice.
    pub(super) fn new(me: NodeId, replicas: &[NodeId]) -> Self {
        let mut nodes = replicas.to_vec();
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), replicas.len(), "a replica is named twice");
        assert!(nodes.contains(&me), "only a replica takes part in an election");
        let peers = replicas.iter().filter(|node| **node != me).map(|node| Peer::new(*node)).collect();
        Self { peers, majority: replicas.len() / 2 + 1 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.iter_mut()
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.node == node)
    }

    pub(super) fn get_mut(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.node == node)
    }

    /// How many replicas, this one counted, are this one or satisfy `test`.
    pub(super) fn count(&self, test: impl Fn(&Peer) -> bool) -> usize {
        1 + self.peers.iter().filter(|peer| test(peer)).count()
    }

    /// Whether a majority, this replica counted in, satisfies `test`.
    pub(super) fn majority(&self, test: impl Fn(&Peer) -> bool) -> bool {
        self.count(test) >= self.majority
    }
}
