use std::net::SocketAddr;

use super::super::fixture::{founded, info};
use super::*;

const HOLD_DOWN: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(200);

/// A coordinator in office whose commands are applied at once.
struct Office {
    now: Instant,
    coordinator: Coordinator,
    directory: DirectoryMachine,
    sightings: BTreeMap<NodeId, Sighting>,
    proposed: Vec<DirectoryCommand>,
    /// Whether what is proposed is decided.
    decides: bool,
}

impl Office {
    fn new() -> Self {
        let mut office = Self {
            now: Instant::ZERO,
            coordinator: Coordinator::new(HOLD_DOWN),
            directory: founded(),
            sightings: BTreeMap::new(),
            proposed: Vec::new(),
            decides: true,
        };
        (1..=3).for_each(|number| office.see(number, Health::Alive));
        office
    }

    fn see(&mut self, number: u8, health: Health) {
        self.sightings.insert(NodeId([number; 16]), Sighting { info: info(number), health });
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            let commands = self.coordinator.judge(self.now, &self.directory, &self.sightings);
            for command in commands {
                if self.decides {
                    self.directory.apply(&command.to_bytes());
                }
                self.proposed.push(command);
            }
        }
    }

    fn state(&self, number: u8) -> Option<NodeState> {
        self.directory.map().unwrap().record(NodeId([number; 16])).map(|record| record.state)
    }
}

#[test]
fn with_nothing_new_nothing_is_proposed() {
    let mut office = Office::new();
    office.pass(60 * HOLD_DOWN);
    assert_eq!(office.proposed, []);
}

#[test]
fn silence_makes_suspect_then_after_the_hold_down_down_and_a_return_up() {
    let mut office = Office::new();
    office.see(2, Health::Silent);
    office.pass(STEADY);
    assert_eq!(office.state(2), Some(NodeState::Up));
    office.pass(TICK);
    assert_eq!(office.state(2), Some(NodeState::Suspect));
    office.pass(HOLD_DOWN - STEADY - TICK);
    assert_eq!(office.state(2), Some(NodeState::Suspect));
    office.pass(2 * TICK);
    assert_eq!(office.state(2), Some(NodeState::Down));
    office.see(2, Health::Alive);
    office.pass(STEADY - TICK);
    assert_eq!(office.state(2), Some(NodeState::Down));
    office.pass(3 * TICK);
    assert_eq!(office.state(2), Some(NodeState::Up));
}

#[test]
fn doubt_alone_decides_nothing() {
    let mut office = Office::new();
    office.see(2, Health::Doubtful);
    office.pass(3 * HOLD_DOWN);
    assert_eq!(office.proposed, []);
}

#[test]
fn a_proven_end_needs_no_hold_down() {
    let mut office = Office::new();
    office.see(2, Health::Ended);
    office.pass(TICK);
    assert_eq!(office.state(2), Some(NodeState::Gone));
    office.see(2, Health::Alive);
    office.pass(HOLD_DOWN);
    assert_eq!(office.state(2), Some(NodeState::Gone));
}

#[test]
fn a_newcomer_is_admitted_and_then_up_unless_its_name_is_taken() {
    let mut office = Office::new();
    office.see(4, Health::Alive);
    let namesake = NodeInfo { name: "n1".to_owned(), ..info(5) };
    office.sightings.insert(namesake.node, Sighting { info: namesake, health: Health::Alive });
    office.pass(TICK);
    assert_eq!(office.state(4), Some(NodeState::Joining));
    office.pass(TICK);
    assert_eq!(office.state(4), Some(NodeState::Up));
    assert_eq!(office.state(5), None);
}

#[test]
fn what_is_not_decided_is_proposed_again_but_not_at_every_turn() {
    let mut office = Office::new();
    office.decides = false;
    office.see(4, Health::Alive);
    office.pass(3 * PROPOSED_AGAIN);
    assert!((3..=4).contains(&office.proposed.len()), "{:?}", office.proposed);
}

#[test]
fn a_new_address_is_described() {
    let mut office = Office::new();
    let moved = NodeInfo { addr: SocketAddr::from(([10, 9, 9, 9], 7400)), ..info(2) };
    office.sightings.insert(moved.node, Sighting { info: moved.clone(), health: Health::Alive });
    office.pass(TICK);
    assert_eq!(office.directory.map().unwrap().record(moved.node).unwrap().info, moved);
}

#[test]
fn a_successor_in_office_holds_down_anew() {
    let mut office = Office::new();
    office.see(2, Health::Silent);
    office.pass(HOLD_DOWN - 2 * TICK);
    office.coordinator.resign();
    office.pass(STEADY + 2 * TICK);
    assert_eq!(office.state(2), Some(NodeState::Suspect));
}

#[test]
fn what_would_be_void_is_not_proposed() {
    let mut office = Office::new();
    let namesake = NodeInfo { name: "n1".to_owned(), ..info(5) };
    let renamed = NodeInfo { name: "n1".to_owned(), ..info(2) };
    for info in [namesake, renamed] {
        office.sightings.insert(info.node, Sighting { info, health: Health::Alive });
    }
    office.pass(60 * PROPOSED_AGAIN);
    assert_eq!(office.proposed, []);
}

#[test]
fn two_wishes_about_one_node_do_not_hide_each_other() {
    let mut office = Office::new();
    office.decides = false;
    office.see(2, Health::Silent);
    office.pass(2 * HOLD_DOWN);
    office
        .directory
        .apply(&DirectoryCommand::Decide { node: NodeId([2; 16]), state: NodeState::Suspect }.to_bytes());
    office.proposed.clear();
    let moved = NodeInfo { addr: SocketAddr::from(([10, 9, 9, 9], 7400)), ..info(2) };
    office.sightings.insert(moved.node, Sighting { info: moved, health: Health::Alive });
    office.pass(STEADY + 3 * PROPOSED_AGAIN);
    assert!(office.proposed.len() <= 10, "{}", office.proposed.len());
}
