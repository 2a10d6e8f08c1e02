//! What a client is told at its start.

use std::net::SocketAddr;
use std::time::Duration;

use haystack_wire::ids::{DEFAULT_CLUSTER_NAME, NetworkId};
use haystack_wire::keys::KeyRing;
use haystack_wire::message::client::{KEY_LIMIT, VALUE_LIMIT};

/// What a client is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Daemons to dial; one that answers is enough. More are learned from the partition map.
    pub addresses: Vec<SocketAddr>,
    /// The client key, or the cluster key; empty for a cluster without keys.
    pub keys: KeyRing,
    /// Hash of the cluster's name: [`NetworkId::of_cluster`].
    pub network: NetworkId,
    /// Bounds of what the client holds.
    pub limits: Limits,
    /// How long it waits for what.
    pub timeouts: Timeouts,
}

impl Config {
    /// A client of the cluster named `haystack`, without keys, with the default limits and timeouts.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            keys: KeyRing::empty(),
            network: NetworkId::of_cluster(DEFAULT_CLUSTER_NAME),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Most operations that a client may be configured to hold: what a request's mark has bits for, with room for the
/// client's own.
pub const OPERATIONS_LIMIT: usize = 1 << 19;

/// Bounds of what a client holds. Sessions bound themselves: 64 writes under way per group, the rest waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Operations submitted and not yet handed back, at most [`OPERATIONS_LIMIT`].
    pub operations: usize,
    /// Bytes of keys and values of those operations. One operation alone may exceed it.
    pub bytes: usize,
    /// Longest key, in bytes. The daemons may allow less.
    pub key: usize,
    /// Longest value, in bytes. The daemons may allow less.
    pub value: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { operations: 4096, bytes: 64 * 1024 * 1024, key: KEY_LIMIT, value: VALUE_LIMIT }
    }
}

/// How long a client waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Least time without an answer before an operation is sent to another daemon; more where answers are known to
    /// take longer, and after a few times twice as much with every time.
    pub retry: Duration,
    /// Most time between two such attempts.
    pub retry_most: Duration,
    /// Time before the next attempt after a refusal that may pass; twice as much with every refusal.
    pub backoff: Duration,
    /// Most time between two such attempts.
    pub backoff_most: Duration,
    /// Operations are not numbered in a session that was not used for so long: daemons let idle sessions expire.
    pub session_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            retry: Duration::from_millis(250),
            retry_most: Duration::from_secs(2),
            backoff: Duration::from_millis(10),
            backoff_most: Duration::from_millis(500),
            session_idle: Duration::from_secs(60),
        }
    }
}
