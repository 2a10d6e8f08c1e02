//! What an election counts.

use crate::stats::counters;

counters! {
    /// Counters of one election, from its start.
    pub struct Stats;

    /// Rounds begun.
    rounds,
    /// Rounds without a good result that were not counted, because they ended late or were too short.
    rounds_void,
    /// Questions sent again within their round, because an answer was missing.
    asks_repeated,
    /// Questions answered.
    answers,
    /// Takeovers, re-ballots and accepted hand-overs included.
    takeovers,
    /// Takeovers by a healthy leader, to win back a replica that had promised a higher ballot.
    reballots,
    /// Takeovers at the old leader's request.
    hand_overs,
    /// Times the leader was told to step down.
    step_downs,
    /// Read rounds confirmed.
    reads_confirmed,
    /// Read rounds begun without leading, or given up because the leadership changed or too many were open.
    reads_abandoned,
    /// Dropped: the sender is no replica of this view.
    drop_not_replica,
    /// Dropped: an answer to a nonce that was never sent.
    drop_unknown_nonce,
    /// Dropped as a sign of life: an answer to an earlier round. Read rounds of that time may still count it.
    drop_stale_nonce,
    /// Dropped: an answer that tells nothing new in its round.
    drop_duplicate,
    /// Dropped: a ballot that no replica of this view can have made.
    drop_bad_ballot,
    /// Not counted for reads: an answer whose promise is not to the leader's own ballot.
    drop_other_ballot,
    /// Dropped: a hand-over by anyone but the leader that is followed here, or while leading is not possible.
    drop_hand_over,
}
