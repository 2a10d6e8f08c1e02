//! Nodes, lists of founders, maps, and what the directory's daemons say.

use super::*;

pub(super) fn info() -> NodeInfo {
    NodeInfo {
        zone: "z".to_owned(),
        host: "h1".to_owned(),
        ..NodeInfo::new(A, "n1", SocketAddr::from(([127, 0, 0, 1], 7400)))
    }
}

pub(super) fn founding_list() -> FoundingList {
    let addr = SocketAddr::from(([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2_u8], 1));
    let other = NodeInfo::new(B, "", addr);
    FoundingList { proposer: A, cluster: CLUSTER, partitions: 8, degree: 3, founders: vec![info(), other] }
}

pub(super) const FOUNDING_LIST: &str = "aa*16 cc*16 0008 03 02 aa*16 02 'n1' 04 7f000001 1ce8 01 'z' 02 'h1' bb*16 00 06 2001 00*13 02 0001 00 00";

pub(super) fn map() -> PartitionMap {
    let partitions = (1..)
        .zip(even_partitions(2))
        .map(|(group, (first, last))| Partition {
            group: GroupId(group),
            view: VIEW,
            first,
            last,
            replicas: vec![A],
        })
        .collect();
    PartitionMap {
        cluster: CLUSTER,
        history: HistoryId(0),
        epoch: Epoch(1),
        degree: 3,
        directory: GroupView { view: VIEW, replicas: vec![A] },
        nodes: vec![NodeRecord { info: info(), state: NodeState::Up }],
        partitions,
    }
}

pub(super) const MAP: &str = "cc*16 00 01 03 02 01 aa*16 01 aa*16 02 'n1' 04 7f000001 1ce8 01 'z' 02 'h1' 02 02 01 02 0000 1fff 01 aa*16 02 02 2000 3fff 01 aa*16";

/// As many nodes and groups as a map may have.
pub(in crate::message::tests) fn full_map() -> PartitionMap {
    let node = |number: usize| NodeId((number as u128).to_be_bytes());
    let nodes = (0..NODES_LIMIT)
        .map(|number| NodeRecord {
            info: NodeInfo {
                node: node(number),
                name: "n".repeat(NAME_LIMIT),
                addr: SocketAddr::from(([9; 16], 7400)),
                zone: "z".repeat(NAME_LIMIT),
                host: "h".repeat(NAME_LIMIT),
            },
            state: NodeState::Down,
        })
        .collect();
    let partitions = (1..)
        .zip(even_partitions(GROUPS_LIMIT as u32))
        .map(|(group, (first, last))| Partition {
            group: GroupId(group),
            view: VIEW,
            first,
            last,
            replicas: (0..REPLICAS_LIMIT).map(node).collect(),
        })
        .collect();
    let directory = GroupView { view: VIEW, replicas: (0..REPLICAS_LIMIT).map(node).collect() };
    PartitionMap {
        cluster: CLUSTER,
        history: HistoryId(0),
        epoch: Epoch(1),
        degree: 3,
        directory,
        nodes,
        partitions,
    }
}

pub(super) fn directories() -> Vec<(DirectoryMessage, String)> {
    use DirectoryMessage::*;
    let list = ListId(0x1112_1314_1516_1718);
    let testify = |testimony, founded| Testify { list, subject: B, testimony, founded };
    let introduce = |standing, cluster, succeeds| Introduce {
        info: info(),
        standing,
        cluster,
        founders_hash: 0x2122_2324_2526_2728,
        partitions: 64,
        degree: 3,
        succeeds,
    };
    vec![
        (
            introduce(Standing::Founding, None, vec![]),
            "01 aa*16 02 'n1' 04 7f000001 1ce8 01 'z' 02 'h1' 01 00 2122232425262728 0040 03 00".to_owned(),
        ),
        (
            introduce(Standing::Member, Some(CLUSTER), vec![B]),
            "01 aa*16 02 'n1' 04 7f000001 1ce8 01 'z' 02 'h1' 02 01 cc*16 2122232425262728 0040 03 01 bb*16"
                .to_owned(),
        ),
        (
            introduce(Standing::Standby, Some(CLUSTER), vec![]),
            "01 aa*16 02 'n1' 04 7f000001 1ce8 01 'z' 02 'h1' 03 01 cc*16 2122232425262728 0040 03 00"
                .to_owned(),
        ),
        (Propose(founding_list()), format!("02 {FOUNDING_LIST}")),
        (Grant { list }, "03 1112131415161718".to_owned()),
        (Refuse { list }, "04 1112131415161718".to_owned()),
        (Founded(founding_list()), format!("05 {FOUNDING_LIST}")),
        (Query { list, subject: B, proposer: A }, "06 1112131415161718 bb*16 aa*16".to_owned()),
        (
            testify(Testimony::Founded, Some(founding_list())),
            format!("07 1112131415161718 bb*16 01 01 {FOUNDING_LIST}"),
        ),
        (testify(Testimony::Granted, None), "07 1112131415161718 bb*16 02 00".to_owned()),
        (testify(Testimony::Counting, None), "07 1112131415161718 bb*16 03 00".to_owned()),
        (testify(Testimony::Dead, None), "07 1112131415161718 bb*16 04 00".to_owned()),
        (testify(Testimony::Unknown, None), "07 1112131415161718 bb*16 05 00".to_owned()),
        (MapPull { held: Epoch(3) }, "08 03".to_owned()),
        (Map(map()), format!("09 {MAP}")),
    ]
}
