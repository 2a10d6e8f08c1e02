//! What a node is told at its start.

use std::net::SocketAddr;
use std::time::Duration;

use haystack_wire::ids::{DEFAULT_CLUSTER_NAME, NetworkId};
use haystack_wire::keys::KeyRing;
use haystack_wire::message::client::VALUE_LIMIT;
use haystack_wire::message::directory::{FOUNDERS_LIMIT, GROUPS_LIMIT, NAME_LIMIT};
use thiserror::Error;

use crate::broadcast::Limits;
use crate::mutation::Mutations;
use crate::node::Buggify;

/// A node's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name, up to 64 bytes.
    pub name: String,
    /// The address that others reach it at; one of `founders`.
    pub advertise: SocketAddr,
    /// Hash of the cluster's name.
    pub network: NetworkId,
    /// The keys; empty for an unsealed cluster.
    pub keys: KeyRing,
    /// The addresses of all founders, this node's own included, the same list everywhere.
    pub founders: Vec<SocketAddr>,
    /// The founders as they were written, for people.
    pub founder_names: Vec<String>,
    /// Partition groups to make at founding, 1 to 1,024.
    pub partitions: u32,
    /// Bytes of keys and values that this node stores before growing writes are refused.
    pub memory_limit: u64,
    /// Largest value in bytes, up to 1.5 MiB.
    pub value_limit: usize,
    /// Period of election rounds.
    pub round: Duration,
    /// Bounds of each group's broadcast. Tests use small ones, so that rare paths are common.
    pub limits: Limits,
    /// Idle time after which a client session may be expired.
    pub session_ttl: Duration,
    /// How groups' messages are mistreated on purpose; not at all in a daemon.
    pub buggify: Buggify,
    /// Bounds of the links.
    pub links: haystack_wire::link::Limits,
    /// Whether every applied entry is reported as an event, for checkers.
    pub observe: bool,
    /// Rules to break on purpose, so that tests can show that they would notice; none can be set in a daemon.
    pub mutations: Mutations,
}

/// What makes a configuration useless.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// `name` is empty or over its limit.
    #[error("name must have 1 to {NAME_LIMIT} bytes")]
    Name,
    /// `founders` is empty, over its limit, or names an address twice.
    #[error("founders must be 1 to {FOUNDERS_LIMIT} different addresses, the same list on every host")]
    Founders,
    /// The own address is missing among the founders.
    #[error(
        "advertise = {0} is not among the founders: list it there, or set advertise to the address that is"
    )]
    NotAFounder(SocketAddr),
    /// `partitions` is out of range.
    #[error("partitions must be 1 to {GROUPS_LIMIT}")]
    Partitions,
    /// `value_limit` is out of range.
    #[error("value_limit must be 1 to {VALUE_LIMIT} bytes")]
    ValueLimit,
}

impl Config {
    /// A configuration with every default, for the node at `advertise` among `founders`.
    pub fn new(name: &str, advertise: SocketAddr, founders: Vec<SocketAddr>) -> Self {
        Self {
            name: name.to_owned(),
            advertise,
            network: NetworkId::of_cluster(DEFAULT_CLUSTER_NAME),
            keys: KeyRing::empty(),
            founder_names: founders.iter().map(SocketAddr::to_string).collect(),
            founders,
            partitions: 64,
            memory_limit: 4 << 30,
            value_limit: 1 << 20,
            round: Duration::from_millis(100),
            limits: Limits::default(),
            session_ttl: Duration::from_secs(15 * 60),
            buggify: Buggify::default(),
            links: haystack_wire::link::Limits::default(),
            observe: false,
            mutations: Mutations::none(),
        }
    }

    /// Checks what no single field shows.
    ///
    /// # Errors
    /// If a node could not live by it; the error says what to do.
    pub fn check(&self) -> Result<(), ConfigError> {
        let distinct: std::collections::BTreeSet<_> = self.founders.iter().collect();
        if self.name.is_empty() || self.name.len() > NAME_LIMIT {
            Err(ConfigError::Name)
        } else if distinct.is_empty()
            || distinct.len() > FOUNDERS_LIMIT
            || distinct.len() != self.founders.len()
        {
            Err(ConfigError::Founders)
        } else if !distinct.contains(&self.advertise) {
            Err(ConfigError::NotAFounder(self.advertise))
        } else if self.partitions == 0 || self.partitions as usize > GROUPS_LIMIT {
            Err(ConfigError::Partitions)
        } else if self.value_limit == 0 || self.value_limit > VALUE_LIMIT {
            Err(ConfigError::ValueLimit)
        } else {
            Ok(())
        }
    }
}
