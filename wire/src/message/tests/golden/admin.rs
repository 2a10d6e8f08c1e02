//! What administrators are told.

use super::*;
use crate::message::admin::{GroupStatus, NodeStatus, ReplicaStatus, SlotRange, Status};

pub(super) fn report() -> ReplicaReport {
    ReplicaReport {
        group: GROUP,
        view: VIEW,
        leader: Some(BALLOT),
        live: 2,
        len: LogIndex(3),
        decided: LogIndex(2),
        applied: LogIndex(1),
        keys: 4,
        bytes: 5,
        sessions: 6,
    }
}

pub(super) const REPORT: &str = "05 02 01 412c 07 aa*16 02 03 02 01 04 05 06";

pub(super) fn events() -> (Vec<ClusterEvent>, String) {
    use ClusterEvent::*;
    let node = B;
    let events = [
        (Alive { info: info() }, "01 aa*16 02 'n1' 04 7f000001 1ce8 01 'z' 02 'h1'"),
        (Suspect { node }, "02 bb*16"),
        (Restore { node }, "03 bb*16"),
        (Dead { node }, "04 bb*16"),
        (Left { node }, "05 bb*16"),
        (Decided { node, state: NodeState::Joining }, "06 bb*16 01"),
        (Decided { node, state: NodeState::Up }, "06 bb*16 02"),
        (Decided { node, state: NodeState::Suspect }, "06 bb*16 03"),
        (Decided { node, state: NodeState::Down }, "06 bb*16 04"),
        (Decided { node, state: NodeState::Draining }, "06 bb*16 05"),
        (Decided { node, state: NodeState::Gone }, "06 bb*16 06"),
        (Leader { group: GROUP, leader: Some(BALLOT) }, "07 05 01 412c 07 aa*16"),
        (Leader { group: GROUP, leader: None }, "07 05 00"),
        (View { group: GROUP, view: VIEW }, "08 05 02"),
        (Coordinator { leader: BALLOT }, "09 412c 07 aa*16"),
        (Map { epoch: Epoch(2) }, "0a 02"),
        (Conflict("no".to_owned()), "0b 02 'no'"),
    ];
    let (events, bytes): (Vec<_>, Vec<_>) = events.into_iter().unzip();
    (events, bytes.iter().map(|event| format!("404d 43e8 {event} ")).collect())
}

pub(super) fn status() -> Status {
    let node = NodeStatus {
        node: Some(A),
        name: "n1".to_owned(),
        addr: info().addr,
        up: true,
        standing: Some(Standing::Member),
        state: Some(NodeState::Draining),
        member: Some(crate::message::membership::MemberState::Suspect),
        reported: true,
        zone: "z".to_owned(),
        host: "h1".to_owned(),
        rtt_us: 250,
        loss_ppm: 10,
    };
    let unknown = NodeStatus {
        node: None,
        name: String::new(),
        up: false,
        standing: None,
        state: None,
        member: None,
        reported: false,
        zone: String::new(),
        host: String::new(),
        ..node.clone()
    };
    let group = GroupStatus {
        group: GROUP,
        slots: Some(SlotRange { first: Slot(0), last: Slot(0x1fff) }),
        view: VIEW,
        leader: Some(BALLOT),
        replicas: vec![
            ReplicaStatus { node: A, report: Some(report()) },
            ReplicaStatus { node: B, report: None },
        ],
    };
    Status {
        node: A,
        name: "n1".to_owned(),
        version: "0.1.0".to_owned(),
        standing: Standing::Member,
        waits_for: "n2".to_owned(),
        cluster: Some(CLUSTER),
        history: HistoryId(0),
        epoch: Epoch(1),
        degree: 3,
        coordinator: Some(BALLOT),
        founders: vec!["h1:1".to_owned()],
        nodes: vec![node, unknown],
        groups: vec![group],
        counters: vec![("in".to_owned(), 3)],
    }
}

pub(super) const STATUS: &str = "aa*16 02 'n1' 05 '0.1.0' 02 02 'n2' 01 cc*16 00 01 03 01 412c 07 aa*16 01 04 'h1:1' \
    02 01 aa*16 02 'n1' 04 7f000001 1ce8 01 01 02 01 05 01 02 01 01 'z' 02 'h1' 40fa 0a \
    00 00 04 7f000001 1ce8 00 00 00 00 00 00 00 40fa 0a \
    01 05 01 0000 1fff 02 01 412c 07 aa*16 02 aa*16 01 05 02 01 412c 07 aa*16 02 03 02 01 04 05 06 bb*16 00 \
    01 02 'in' 03";
