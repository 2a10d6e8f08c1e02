//! What a failure detector counts.

use crate::stats::counters;

counters! {
    /// Counters of one detector, from its start.
    pub struct Stats;

    /// Heartbeats sent.
    beats_sent,
    /// Heartbeats taken.
    beats_heard,
    /// Suspicions raised.
    suspicions,
    /// Suspicions taken back.
    restores,
    /// Suspicions that were wrong: the peer was silent for no longer than the assumed delay. Each raised a floor,
    /// unless the floor was at its limit.
    mistakes,
    /// Suspicions that ended after a longer silence, which is a cut and no mistake.
    cuts,
    /// Suspicions that ended with the first word ever heard of the peer: it was not there yet.
    late_starts,
    /// Times this process came back late to its work, and credited the lateness to every peer.
    stalls,
    /// Times a peer's echo began to show that it does not hear this node.
    one_ways,
    /// Gaps in a peer's sequence that did not count as loss: they span a suspicion, or a stall of this process.
    gaps_excused,
    /// Raised floors of peers no longer watched that were forgotten for want of room.
    floors_forgotten,
    /// Dropped: the sender is not watched.
    drop_not_watched,
    /// Dropped as a sign of life: a heartbeat older than the newest of its sender. A late one still fills its gap.
    drop_stale_beat,
    /// Not watched: more peers were named than a detector watches.
    drop_too_many_peers,
}
