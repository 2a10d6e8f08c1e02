//! What a node counts: nothing is dropped without a name.

/// Counters of one node. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages of peers that could not be decoded.
    pub drop_malformed: u64,
    /// Messages that only a peer may send, on a client's link.
    pub drop_not_a_peer: u64,
    /// Messages for a group that this node has no replica of.
    pub drop_no_group: u64,
    /// Messages of another view, or from a process that is no replica.
    pub drop_stranger: u64,
    /// Messages between groups that a full link refused; the broadcast sends them again.
    pub drop_backpressure: u64,
    /// Messages to a process without a link.
    pub drop_no_link: u64,
    /// Answers that a client's full link refused; the client asks again.
    pub drop_reply: u64,
    /// Gossip received while this process belongs to no cluster.
    pub drop_no_cluster: u64,
    /// Requests received from clients.
    pub requests: u64,
    /// Requests forwarded to a leader.
    pub forwarded: u64,
}

impl Stats {
    /// The counters by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("node.drop_malformed", self.drop_malformed),
            ("node.drop_not_a_peer", self.drop_not_a_peer),
            ("node.drop_no_group", self.drop_no_group),
            ("node.drop_stranger", self.drop_stranger),
            ("node.drop_backpressure", self.drop_backpressure),
            ("node.drop_no_link", self.drop_no_link),
            ("node.drop_reply", self.drop_reply),
            ("node.drop_no_cluster", self.drop_no_cluster),
            ("node.requests", self.requests),
            ("node.forwarded", self.forwarded),
        ]
        .into_iter()
    }
}
