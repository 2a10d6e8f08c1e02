//! Identities and positions, each a type of its own so that none passes for another.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The first eight hexadecimal digits, enough to tell identities apart for a person.
            pub fn short(&self) -> String {
                self.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }
    };
}

id16! {
    /// A process: 16 random bytes, new for every life of an in-memory daemon, so that a process that has
    /// forgotten its promises can never speak for the one that made them.
    NodeId
}
id16! {
    /// A cluster, minted at its founding.
    ClusterId
}
id16! {
    /// Hash of the cluster's configured name: keeps strangers apart before any cluster exists.
    NetworkId
}

/// The cluster name of daemons and clients that are not told another.
pub const DEFAULT_CLUSTER_NAME: &str = "haystack";

impl NetworkId {
    /// The network of the cluster called `name`: the first half of the name's SHA-256.
    pub fn of_cluster(name: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_ref()[..16]);
        Self(id)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A counter of persisted lives of one `NodeId`: always 0 in memory mode.
    Boot(u64)
}
number! {
    /// A replication group. Group 0 is the directory, groups from 1 on serve partitions.
    GroupId(u32)
}
number! {
    /// The config id of a group's view: 0 at founding, one more with every reconfiguration.
    ViewId(u32)
}
number! {
    /// Version of the partition map.
    Epoch(u64)
}
number! {
    /// A line of history of the cluster: 0 at founding, a new one only after a recovery with data loss.
    HistoryId(u64)
}
number! {
    /// A position in a group's log, absolute over all views. As a length or a floor it is exclusive: entries
    /// below it are meant.
    LogIndex(u64)
}
number! {
    /// One of the 16,384 hash slots of the key space.
    Slot(u16)
}

impl GroupId {
    /// The directory group, whose leader is the coordinator.
    pub const DIRECTORY: Self = Self(0);
}

impl LogIndex {
    /// The start of every log.
    pub const ZERO: Self = Self(0);

    /// How many positions lie from `earlier` to here, 0 if `earlier` is not earlier.
    pub const fn saturating_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for LogIndex {
    type Output = Self;
    fn add(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl AddAssign<u64> for LogIndex {
    fn add_assign(&mut self, count: u64) {
        self.0 += count;
    }
}

impl Sub for LogIndex {
    type Output = u64;
    fn sub(self, earlier: Self) -> u64 {
        self.0 - earlier.0
    }
}

/// One end of a link: a process and its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkEnd {
    /// The process.
    pub node: NodeId,
    /// Its persisted life.
    pub boot: Boot,
}

/// A Paxos ballot, scoped to a group's view. The order is (n, priority, node), and agrees with equality.
///
/// `Ballot::default()` is below every ballot that a node ever leads with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// The round number, above every number its maker has seen.
    pub n: u64,
    /// Preference among candidates of one round: spreads leaders over nodes.
    pub priority: u32,
    /// The candidate, so that no two ballots are the same.
    pub node: NodeId,
}

/// A client session of one group: the position of the log entry that opened it, so that an unknown session is
/// an expired one and never a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// The group that opened the session.
    pub group: GroupId,
    /// The position of the opening entry.
    pub index: LogIndex,
}

/// The version of a key: the position of the write that made it. Versions of one key only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The group that wrote.
    pub group: GroupId,
    /// The position of the write in that group's log.
    pub index: LogIndex,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.group, self.index)
    }
}
