//! What a node is told at its start.

use std::net::SocketAddr;
use std::time::Duration;

use haystack_wire::ids::{DEFAULT_CLUSTER_NAME, NetworkId, NodeId};
use haystack_wire::keys::KeyRing;
use haystack_wire::message::client::VALUE_LIMIT;
use haystack_wire::message::directory::{FOUNDERS_LIMIT, GROUPS_LIMIT, NAME_LIMIT, NodeInfo, REPLICAS_LIMIT};
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
    /// Addresses at which a cluster may be found, to join it; members of any cluster, not of a certain one.
    pub seeds: Vec<SocketAddr>,
    /// The seeds as they were written, for people.
    pub seed_names: Vec<String>,
    /// What fails with this node at large: a rack, a site. Up to 64 bytes, empty if there is nothing to tell.
    pub zone: String,
    /// The machine that the node runs on, up to 64 bytes; empty: its address tells.
    pub host: String,
    /// Whatever else is to be told of the node, for people.
    pub tags: Vec<(String, String)>,
    /// Partition groups to make at founding, 1 to 1,024.
    pub partitions: u32,
    /// Replicas of every group at founding, 1 to 9.
    pub replicas: u32,
    /// How long a node may be silent before the coordinator takes it for down.
    pub repair_after: Duration,
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
    /// `founders` is over its limit, or names an address twice.
    #[error("founders must be 1 to {FOUNDERS_LIMIT} different addresses, the same list on every host")]
    Founders,
    /// There are neither founders nor seeds.
    #[error(
        "set founders, to found a cluster together with exactly these daemons, or seeds, to join one that is there"
    )]
    Alone,
    /// `zone` or `host` is over its limit.
    #[error("zone and host must have {NAME_LIMIT} bytes at most")]
    Place,
    /// `replicas` is out of range.
    #[error("replicas must be 1 to {REPLICAS_LIMIT}")]
    Replicas,
    /// The own address is missing among the founders.
    #[error(
        "advertise = {0} is not among the founders: list it there, or set advertise to the address that is; a daemon \
         that joins a cluster has seeds and no founders"
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
            seeds: Vec::new(),
            seed_names: Vec::new(),
            zone: String::new(),
            host: String::new(),
            tags: Vec::new(),
            partitions: 64,
            replicas: 3,
            repair_after: Duration::from_secs(10),
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

    /// The node as others are to know it.
    pub fn info(&self, node: NodeId) -> NodeInfo {
        NodeInfo {
            node,
            name: self.name.clone(),
            addr: self.advertise,
            zone: self.zone.clone(),
            host: self.host.clone(),
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
        } else if self.zone.len().max(self.host.len()) > NAME_LIMIT {
            Err(ConfigError::Place)
        } else if distinct.is_empty() && self.seeds.is_empty() && self.seed_names.is_empty() {
            Err(ConfigError::Alone)
        } else if distinct.len() > FOUNDERS_LIMIT || distinct.len() != self.founders.len() {
            Err(ConfigError::Founders)
        } else if !distinct.is_empty() && !distinct.contains(&self.advertise) {
            Err(ConfigError::NotAFounder(self.advertise))
        } else if !(1..=REPLICAS_LIMIT as u32).contains(&self.replicas) {
            Err(ConfigError::Replicas)
        } else if self.partitions == 0 || self.partitions as usize > GROUPS_LIMIT {
            Err(ConfigError::Partitions)
        } else if self.value_limit == 0 || self.value_limit > VALUE_LIMIT {
            Err(ConfigError::ValueLimit)
        } else {
            Ok(())
        }
    }
}
