use std::net::SocketAddr;

use haystack_wire::ids::ClusterId;

use super::super::fixture::{founded, info};
use super::*;

fn apply(machine: &mut DirectoryMachine, command: DirectoryCommand) -> bool {
    let before = machine.clone();
    let changed = machine.apply(&command.to_bytes());
    let epoch = |machine: &DirectoryMachine| machine.map().map_or(0, |map| map.epoch.0);
    assert_eq!(epoch(machine), epoch(&before) + u64::from(changed), "the epoch counts changes");
    assert_eq!(changed, *machine != before, "what is void changes nothing");
    if let Some(map) = machine.map() {
        assert_eq!(map.validate(), Ok(()));
    }
    let restored = DirectoryMachine::restore(&machine.snapshot()).unwrap();
    assert_eq!(restored, *machine);
    assert_eq!(restored.digest(), machine.digest());
    changed
}

fn decide(machine: &mut DirectoryMachine, number: u8, state: NodeState) -> bool {
    apply(machine, DirectoryCommand::Decide { node: NodeId([number; 16]), state })
}

fn state(machine: &DirectoryMachine, number: u8) -> Option<NodeState> {
    machine.map().unwrap().record(NodeId([number; 16])).map(|record| record.state)
}

#[test]
fn nothing_is_decided_before_the_map_and_the_map_only_once() {
    let mut machine = DirectoryMachine::default();
    assert!(!apply(&mut machine, DirectoryCommand::Admit(info(4))));
    assert!(!decide(&mut machine, 1, NodeState::Down));
    let mut machine = founded();
    let mut other = machine.map().unwrap().clone();
    other.cluster = ClusterId([8; 16]);
    assert!(!apply(&mut machine, DirectoryCommand::Found(other)));
}

#[test]
fn a_node_is_admitted_once_and_under_a_name_of_its_own() {
    let mut machine = founded();
    assert!(apply(&mut machine, DirectoryCommand::Admit(info(4))));
    assert_eq!(state(&machine, 4), Some(NodeState::Joining));
    assert!(!apply(&mut machine, DirectoryCommand::Admit(info(4))));
    let namesake = NodeInfo { name: "n1".to_owned(), ..info(5) };
    assert!(!apply(&mut machine, DirectoryCommand::Admit(namesake.clone())));
    assert!(decide(&mut machine, 1, NodeState::Down));
    assert!(apply(&mut machine, DirectoryCommand::Admit(namesake)));
    let renamed = NodeInfo { name: "n2".to_owned(), ..info(4) };
    assert!(!apply(&mut machine, DirectoryCommand::Describe(renamed)));
}

#[test]
fn who_is_gone_never_comes_back() {
    let mut machine = founded();
    assert!(apply(&mut machine, DirectoryCommand::Admit(info(4))));
    assert!(decide(&mut machine, 4, NodeState::Gone));
    assert_eq!(state(&machine, 4), None, "no group names it");
    assert!(machine.is_gone(NodeId([4; 16])));
    assert!(!apply(&mut machine, DirectoryCommand::Admit(info(4))));
    assert!(decide(&mut machine, 2, NodeState::Gone));
    assert_eq!(state(&machine, 2), Some(NodeState::Gone), "groups name it");
    assert!(!decide(&mut machine, 2, NodeState::Up));
    assert!(!apply(&mut machine, DirectoryCommand::Describe(NodeInfo { zone: "z".to_owned(), ..info(2) })));
}

#[test]
fn the_gone_that_are_remembered_are_bounded() {
    let mut machine = founded();
    for number in 0..GONE_KEPT as u32 + 10 {
        let mut node = [0xee; 16];
        node[..4].copy_from_slice(&number.to_be_bytes());
        let info = NodeInfo { node: NodeId(node), name: format!("x{number}"), ..info(9) };
        assert!(machine.apply(&DirectoryCommand::Admit(info.clone()).to_bytes()));
        let gone = DirectoryCommand::Decide { node: info.node, state: NodeState::Gone };
        assert!(machine.apply(&gone.to_bytes()));
    }
    assert_eq!(machine.gone.len(), GONE_KEPT);
    assert_eq!(DirectoryMachine::restore(&machine.snapshot()).unwrap(), machine);
}

#[test]
fn a_node_that_moves_is_described_anew() {
    let mut machine = founded();
    let moved = NodeInfo { addr: SocketAddr::from(([10, 9, 9, 9], 7400)), ..info(2) };
    assert!(apply(&mut machine, DirectoryCommand::Describe(moved.clone())));
    assert!(!apply(&mut machine, DirectoryCommand::Describe(moved.clone())));
    assert_eq!(machine.map().unwrap().record(moved.node).unwrap().info, moved);
}

#[test]
fn entries_that_make_no_sense_change_nothing() {
    let mut machine = founded();
    let before = machine.clone();
    let mut trailing = DirectoryCommand::Admit(info(4)).to_bytes().to_vec();
    trailing.push(0);
    for body in [&b""[..], b"\x00", b"\x05", b"\x03\x01", &trailing] {
        assert!(!machine.apply(&Bytes::copy_from_slice(body)));
    }
    assert_eq!(machine, before);
}
