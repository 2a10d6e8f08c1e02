//! Planted mistakes: switches that each break one rule, so that the tests can show they notice.
//!
//! Without the feature `mutations` no switch can be set and `mutated!` is the constant `false`.

/// One broken rule (the design's list of mistakes that must be caught).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mutation {
    /// Rule 5: an Accept that overlaps the log cuts it.
    OverlapTruncates,
    /// Rule 6: a follower acknowledges what lies behind a gap.
    AckAcrossGap,
    /// Rule 7: the decided index is believed by a follower whose log is not the leader's yet.
    DecideUnsynced,
    /// Rule 3: the start of a Sync forgets that the adopted log may be shorter than the follower's.
    SyncStartWithoutMin,
    /// Rule 2: the longest log is adopted, whatever its round.
    AdoptByLength,
    /// Rule 4: `accepted_round` is set, and the log cut, by the first piece of a Sync.
    AcceptedRoundEarly,
    /// Rule 4: a Sync of the same round cuts the log.
    LateSyncTruncates,
    /// Rule 4: a candidate writes pulled pieces into its log as they come.
    AdoptUnstaged,
    /// Rule 4: a snapshot is installed as soon as it is at hand.
    SnapshotOutsideSync,
    /// Rule 1: a candidate does not promise its own ballot.
    LeaderSkipsPromise,
    /// Rule 8: a ballot is used again.
    BallotReused,
    /// Rule 6: an acknowledgement counts whatever its ballot.
    AckWithoutBallot,
    /// Rule 2: when the source of an adoption stalls, the next best log is taken while its promise still counts.
    StalledPromiseCounts,
    /// Rule 9: entries are appended behind a stop-sign.
    AppendPastStop,
    /// Reads: a leader answers without asking whether it still leads.
    ReadUnconfirmed,
    /// Reads: one that arrives while a round is under way is served by it.
    ReadNonceReused,
    /// Reads: a new leader answers before it knows what its predecessors have decided.
    ReadBeforeFloor,
    /// Sessions: an operation that is in the log twice takes effect twice.
    DuplicateApplied,
    /// Outcomes: a leader that is deposed says that what it has appended surely failed.
    AppendedToldFailed,
}

impl Mutation {
    /// Mistakes of the broadcast, for tests that go through the list.
    pub const BROADCAST: [Self; 14] = [
        Self::OverlapTruncates,
        Self::AckAcrossGap,
        Self::DecideUnsynced,
        Self::SyncStartWithoutMin,
        Self::AdoptByLength,
        Self::AcceptedRoundEarly,
        Self::LateSyncTruncates,
        Self::AdoptUnstaged,
        Self::SnapshotOutsideSync,
        Self::LeaderSkipsPromise,
        Self::BallotReused,
        Self::AckWithoutBallot,
        Self::StalledPromiseCounts,
        Self::AppendPastStop,
    ];

    /// Mistakes of what stands on it: reads, sessions, outcomes.
    pub const GROUP: [Self; 5] = [
        Self::ReadUnconfirmed,
        Self::ReadNonceReused,
        Self::ReadBeforeFloor,
        Self::DuplicateApplied,
        Self::AppendedToldFailed,
    ];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::BROADCAST.into_iter().chain(Self::GROUP)
    }
}

/// A set of [`Mutation`]s, empty unless the feature `mutations` is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mutations {
    #[cfg(feature = "mutations")]
    bits: u64,
}

impl Mutations {
    /// Keeps every rule.
    pub fn none() -> Self {
        Self::default()
    }

    /// Breaks one rule.
    #[cfg(feature = "mutations")]
    pub const fn only(mutation: Mutation) -> Self {
        Self { bits: 1 << mutation as u64 }
    }

    /// Whether the rule is broken.
    #[cfg(feature = "mutations")]
    pub const fn contains(self, mutation: Mutation) -> bool {
        self.bits & (1 << mutation as u64) != 0
    }
}

/// `mutated!(self, OverlapTruncates)`: whether that rule is broken here; the constant `false` without the feature.
#[cfg(feature = "mutations")]
macro_rules! mutated {
    ($of:expr, $mutation:ident) => {
        $of.mutations.contains($crate::mutation::Mutation::$mutation)
    };
}

/// `mutated!(self, OverlapTruncates)`: whether that rule is broken here; the constant `false` without the feature.
#[cfg(not(feature = "mutations"))]
macro_rules! mutated {
    ($of:expr, $mutation:ident) => {{
        let _ = $of.mutations;
        false
    }};
}

pub(crate) use mutated;
