//! A cluster of three, for the tests of several parts.

use std::net::SocketAddr;

use haystack_wire::ids::{ClusterId, NodeId};
use haystack_wire::message::directory::{FoundingList, NodeInfo};

use super::machine::{DirectoryCommand, DirectoryMachine};
use super::placement::founding_map;

/// A process by its number.
pub(super) fn info(number: u8) -> NodeInfo {
    let addr = SocketAddr::from(([10, 0, 0, number], 7400));
    NodeInfo::new(NodeId([number; 16]), &format!("n{number}"), addr)
}

/// The directory of the founders 1 to 3, at its first map.
pub(super) fn founded() -> DirectoryMachine {
    let list = FoundingList {
        proposer: NodeId([1; 16]),
        cluster: ClusterId([9; 16]),
        partitions: 4,
        degree: 3,
        founders: (1..=3).map(info).collect(),
    };
    let mut machine = DirectoryMachine::default();
    assert!(machine.apply(&DirectoryCommand::Found(founding_map(&list)).to_bytes()));
    machine
}
