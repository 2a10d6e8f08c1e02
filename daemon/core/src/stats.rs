//! What a node counts: nothing is dropped without a name.

/// A struct of counters that can be told by name.
macro_rules! counters {
    ($(#[$about:meta])* $vis:vis struct $Counters:ident; $($(#[$doc:meta])* $name:ident,)*) => {
        $(#[$about])*
        ///
        /// Each only grows.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $vis struct $Counters {
            $($(#[$doc])* $vis $name: u64,)*
        }

        impl $Counters {
            /// The counters by name, in a fixed order.
            $vis fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}
pub(crate) use counters;

counters! {
    /// Counters of what a node does itself.
    pub struct Stats;

    /// Messages of peers that could not be decoded.
    drop_malformed,
    /// Messages that only a peer may send, on a client's link.
    drop_not_a_peer,
    /// Messages for a group that this node has no replica of.
    drop_no_group,
    /// Messages of another view, or from a process that is no replica.
    drop_stranger,
    /// Messages between groups that a full link refused; the broadcast sends them again.
    drop_backpressure,
    /// Messages to a process without a link.
    drop_no_link,
    /// Answers that a client's full link refused; the client asks again.
    drop_reply,
    /// Gossip received while this process belongs to no cluster.
    drop_no_cluster,
    /// Requests received from clients.
    requests,
    /// Requests forwarded to a leader.
    forwarded,
}
