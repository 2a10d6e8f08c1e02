//! Memberships that gossip with each other.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use haystack_core::membership::swim::{Config, Output, Swim, Timing};
use haystack_wire::Instant;
use haystack_wire::codec::Encode;
use haystack_wire::datagram::{CRC_BYTES, LONG_HEADER_BYTES};
use haystack_wire::ids::{Boot, ClusterId, NodeId};
use haystack_wire::message::membership::{Gossip, MemberState, Meta};
use haystack_wire::rng::Rng;

use super::world::{Act, Process, What};
use crate::dice::Dice;

/// Hosts whose addresses everybody is told.
const SEEDS: usize = 3;
/// Around a gossip: headers of IPv4 and UDP, a long header, the checksum.
const AROUND: usize = 28 + LONG_HEADER_BYTES + CRC_BYTES;

fn addr(host: usize) -> SocketAddr {
    let [high, low] = (host as u16).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 0, high, low), 4800))
}

fn host(addr: SocketAddr) -> usize {
    match addr {
        SocketAddr::V4(v4) => usize::from(u16::from_be_bytes([v4.ip().octets()[2], v4.ip().octets()[3]])),
        SocketAddr::V6(_) => usize::MAX,
    }
}

/// What all memberships of a run share.
pub(super) struct Cluster {
    dice: Dice,
    hosts: usize,
    nodes: BTreeMap<NodeId, (usize, u32)>,
    ids: BTreeMap<(usize, u32), NodeId>,
}

impl Cluster {
    pub(super) fn new(seed: u64, hosts: usize) -> Self {
        Self { dice: Dice::new(seed, "gossip"), hosts, nodes: BTreeMap::new(), ids: BTreeMap::new() }
    }
}

/// A membership.
pub(super) struct Gossiper(pub(super) Swim);

impl Gossiper {
    /// How many members are believed to live, this one counted or not.
    pub(super) fn living(&self) -> usize {
        self.0.members().filter(|member| member.state == MemberState::Alive).count()
    }
}

impl Process for Gossiper {
    type Message = Box<Gossip>;
    type Setup = Cluster;
    const SAME: bool = false;

    fn start(cluster: &mut Cluster, host: usize, life: u32, now: Instant) -> Self {
        let mut rng = Rng::from_u64(cluster.dice.u64());
        let node = NodeId(rng.bytes());
        cluster.nodes.insert(node, (host, life));
        cluster.ids.insert((host, life), node);
        let config = Config {
            node,
            boot: Boot(0),
            addr: addr(host),
            versions: (1, 1),
            name: format!("node-{host}"),
            meta: Meta { zone: format!("rack-{}", host % 8), host: format!("host-{host}"), tags: Vec::new() },
            cluster: ClusterId([7; 16]),
            seeds: (0..cluster.hosts.min(SEEDS)).filter(|seed| *seed != host).map(addr).collect(),
            succeeds: Vec::new(),
            founders_hash: 0,
            timing: Timing::default(),
        };
        Self(Swim::new(config, now, rng))
    }

    fn handle(&mut self, now: Instant, from: usize, gossip: Box<Gossip>) {
        self.0.handle(now, addr(from), *gossip);
    }

    fn greeting() -> Option<Box<Gossip>> {
        None
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }

    fn poll_act(&mut self, cluster: &Cluster) -> Option<Act<Box<Gossip>>> {
        let tell = |node: NodeId, what| match cluster.nodes.get(&node) {
            Some(about) => Act::Tell { about: *about, what },
            None => Act::Nothing,
        };
        Some(match self.0.poll_output()? {
            Output::Send { to, gossip, reliable, .. } => {
                let bytes = AROUND + gossip.encoded_len();
                Act::Send { to: host(to), message: Box::new(gossip), bytes, reliable }
            }
            Output::Suspect(node) => tell(node, What::Suspect),
            Output::Dead(node) => tell(node, What::Dead),
            Output::Conflict(_) => Act::Conflict,
            _ => Act::Nothing,
        })
    }

    fn knows(&self, cluster: &Cluster, crashed: (usize, u32)) -> bool {
        let member = cluster.ids.get(&crashed).and_then(|node| self.0.get(*node));
        member.is_none_or(|member| member.state >= MemberState::Dead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_addresses_of_their_own() {
        assert!((0..1_024).all(|number| host(addr(number)) == number));
    }
}
