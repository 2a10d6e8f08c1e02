//! Why messages were dropped, and how often rare states were reached.

use crate::stats::counters;

counters! {
    /// Counters of one group's broadcast, since its start.
    pub struct Counters;

    /// Dropped: from a node that is no replica of the view.
    drop_stranger,
    /// Dropped: the sender does not own the ballot it speaks in.
    drop_misrouted,
    /// Dropped and answered by a Nack: of a ballot below the promised one.
    drop_old_ballot,
    /// Dropped: of a ballot that was never promised here.
    drop_unpromised,
    /// Dropped: an Accept before the Sync of its ballot was whole.
    drop_unsynced,
    /// Dropped: an answer to a ballot in which this replica does not lead (any more), or not yet.
    drop_not_leading,
    /// Dropped: an answer that was had before, or that belongs to nothing asked.
    drop_repeated,
    /// Dropped: positions that contradict each other or the promise they belong to.
    drop_implausible,
    /// Dropped: a Sync that starts below the decided index and brings no newer snapshot.
    drop_sync_below_decided,
    /// Dropped: a piece of a Sync that a newer one has replaced.
    drop_sync_replaced,
    /// Dropped: a piece that does not continue what is staged.
    drop_piece_gap,
    /// Dropped: more than may be staged.
    drop_stage_full,
    /// Dropped: more than may be buffered behind a gap.
    drop_gap_full,
    /// Dropped: a Pull of a log that is no longer the promised one.
    drop_pull_unpromised,
    /// Times this replica asked for promises.
    campaigns,
    /// Times this replica adopted the log and was ready to propose.
    elected,
    /// Adoptions that took entries of another replica.
    adopted_entries,
    /// Adoptions that took a snapshot of another replica.
    adopted_snapshot,
    /// Promises disregarded because their log could not be had in time.
    promises_disregarded,
    /// Times this replica stopped leading because of a higher ballot.
    deposed,
    /// Times this replica stopped leading because no majority's log could be had.
    gave_up,
    /// Syncs taken whole.
    synced,
    /// Syncs taken whole that cut off undecided entries.
    synced_truncating,
    /// Syncs taken whole that came with a snapshot.
    synced_snapshot,
    /// Accepts that had to wait behind a gap.
    gap_buffered,
    /// Buffered Accepts that joined the log once the gap was closed.
    gap_filled,
    /// Accepts or late Syncs that repeated entries.
    overlapped,
    /// Times a follower's send position went back to a missing entry.
    rewound,
    /// Probes of a silent follower.
    probes,
    /// Prepares sent again.
    prepares_again,
    /// Snapshots that became unusable or unneeded.
    thawed,
    /// Times the kept part of the log moved past what a follower was to be sent next.
    outrun,
    /// Followers that needed a snapshot.
    snapshot_plans,
    /// Proposals refused because too much was in flight.
    overloaded,
    /// Entries compacted away.
    compacted,
}
