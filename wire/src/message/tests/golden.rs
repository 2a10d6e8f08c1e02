//! The bytes of at least one value of every kind, written by hand. A change here is a change of the protocol.
//!
//! Notation: hexadecimal, `aa*16` for repeated bytes, `'hay'` for ASCII.

mod membership;

use core::net::SocketAddr;

use bytes::Bytes;

use super::read;
use crate::codec::{Encode, encode_whole};
use crate::ids::*;
use crate::message::admin::{
    AdminReply, AdminRequest, ClusterEvent, EventRecord, GroupStatus, NodeStatus, ReplicaReport,
    ReplicaStatus, SlotRange, Status,
};
use crate::message::broadcast::{BroadcastMessage, Entry, EntryKind};
use crate::message::client::*;
use crate::message::directory::*;
use crate::message::election::{GroupHeartbeat, Heartbeat, HeartbeatAck, HeartbeatBody};
use crate::message::{ClientMessage, ForwardToken, PeerMessage, ServerMessage, SnapshotId};
use crate::slot::even_partitions;

pub(super) const GROUP: GroupId = GroupId(5);
const VIEW: ViewId = ViewId(2);
const A: NodeId = NodeId([0xaa; 16]);
const B: NodeId = NodeId([0xbb; 16]);
const CLUSTER: ClusterId = ClusterId([0xcc; 16]);
/// `412c 07 aa*16`
const BALLOT: Ballot = Ballot { n: 300, priority: 7, node: A };
/// `01 00 bb*16`
const OLD: Ballot = Ballot { n: 1, priority: 0, node: B };
/// `43e8 d1*16 c1*8`
pub(super) const SNAPSHOT: SnapshotId = SnapshotId {
    index: LogIndex(1000),
    digest: u128::from_be_bytes([0xd1; 16]),
    chain: u64::from_be_bytes([0xc1; 8]),
};
const CHAIN: u64 = u64::from_be_bytes([0xc4; 8]);
const NONCE: u64 = 0x0102_0304_0506_0708;
/// `05 40c8`
const SESSION: SessionId = SessionId { group: GROUP, index: LogIndex(200) };
/// `05 09`
const VERSION: Version = Version { group: GROUP, index: LogIndex(9) };

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// `01 'v' 05 09`
fn versioned() -> Versioned {
    Versioned { value: text("v"), version: VERSION }
}

fn unhex(notation: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for token in notation.split_whitespace() {
        if let Some(ascii) = token.strip_prefix('\'') {
            out.extend(ascii.strip_suffix('\'').unwrap().bytes());
            continue;
        }
        let (digits, times) = token.split_once('*').unwrap_or((token, "1"));
        for _ in 0..times.parse::<usize>().unwrap() {
            out.extend(
                (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()),
            );
        }
    }
    out
}

fn check<T>(samples: &[(T, &str)])
where
    T: Encode + crate::codec::Decode + PartialEq + core::fmt::Debug,
{
    for (value, notation) in samples {
        let bytes = unhex(notation);
        assert_eq!(encode_whole(value)[..], bytes, "{value:?}");
        assert_eq!(read::<T>(&Bytes::from(bytes)).as_ref(), Ok(value));
        super::there_and_back(value);
    }
}

/// That the samples have every tag from 1 up, and that the next one means nothing.
fn has_all_kinds<T>(samples: &[(T, &str)], at: usize, last: u8)
where
    T: crate::codec::Decode + PartialEq + core::fmt::Debug,
{
    let bytes: Vec<_> = samples.iter().map(|(_, notation)| unhex(notation)).collect();
    for tag in 1..=last {
        assert!(bytes.iter().any(|bytes| bytes[at] == tag), "no sample of kind {tag}");
    }
    let mut next = bytes[0].clone();
    next[at] = last + 1;
    assert!(matches!(read::<T>(&Bytes::from(next)), Err(crate::codec::DecodeError::Invalid(_))));
}

pub(super) fn accept(entries: Vec<Entry>) -> PeerMessage {
    let message = BroadcastMessage::Accept {
        ballot: BALLOT,
        first: LogIndex(100),
        chain: CHAIN,
        entries,
        decided: LogIndex(99),
    };
    PeerMessage::Broadcast { group: GROUP, view: VIEW, message }
}

fn entries() -> Vec<Entry> {
    vec![
        Entry { kind: EntryKind::Command, body: text("hay") },
        Entry { kind: EntryKind::StopSign, body: text("0123456789") },
    ]
}

fn broadcasts() -> Vec<(BroadcastMessage, &'static str)> {
    use BroadcastMessage::*;
    let (ballot, accepted_round, chain) = (BALLOT, OLD, CHAIN);
    let (decided, len) = (LogIndex(9), LogIndex(100));
    vec![
        (Prepare { ballot, decided, accepted_round, len }, "01 412c 07 aa*16 09 01 00 bb*16 4064"),
        (Promise { ballot, accepted_round, len, decided }, "02 412c 07 aa*16 01 00 bb*16 4064 09"),
        (Pull { ballot, from: len }, "03 412c 07 aa*16 4064"),
        (
            PullReply { ballot, from: len, snapshot: None, chain, entries: entries() },
            "04 412c 07 aa*16 4064 00 c4*8 02 19 'hay' 4052 '0123456789'",
        ),
        (
            PullReply { ballot, from: len, snapshot: Some(SNAPSHOT), chain, entries: vec![] },
            "04 412c 07 aa*16 4064 01 43e8 d1*16 c1*8 c4*8 00",
        ),
        (
            Sync {
                ballot,
                from: LogIndex(1000),
                end: LogIndex(1002),
                snapshot: Some(SNAPSHOT),
                first: LogIndex(1000),
                chain,
                entries: entries(),
                decided,
            },
            "05 412c 07 aa*16 43e8 43ea 01 43e8 d1*16 c1*8 43e8 c4*8 09 02 19 'hay' 4052 '0123456789'",
        ),
        (
            Accept { ballot, first: len, chain, entries: entries(), decided },
            "06 412c 07 aa*16 4064 c4*8 09 02 19 'hay' 4052 '0123456789'",
        ),
        (Accepted { ballot, len, missing: None, credit: 1 << 20 }, "07 412c 07 aa*16 4064 00 80100000"),
        (Accepted { ballot, len, missing: Some(len), credit: 0 }, "07 412c 07 aa*16 4064 01 4064 00"),
        (Nack { promised: BALLOT }, "08 412c 07 aa*16"),
    ]
}

fn heartbeats() -> Vec<(GroupHeartbeat, &'static str)> {
    let ack = HeartbeatAck {
        nonce: NONCE,
        promised: BALLOT,
        accepted_round: BALLOT,
        len: LogIndex(100),
        decided: LogIndex(99),
        leader: BALLOT,
        quorum_connected: true,
        happy: true,
    };
    let of = |body| GroupHeartbeat { group: GROUP, view: VIEW, body };
    let ask = Heartbeat { nonce: NONCE, ballot: BALLOT, len: LogIndex(100), decided: LogIndex(99) };
    vec![
        (of(HeartbeatBody::Ask(ask)), "05 02 01 0102030405060708 412c 07 aa*16 4064 4063"),
        (of(HeartbeatBody::Answer(ack)), "05 02 3e 0102030405060708 412c 07 aa*16 4064 4063"),
        (
            of(HeartbeatBody::Answer(HeartbeatAck { accepted_round: OLD, happy: false, ..ack })),
            "05 02 26 0102030405060708 412c 07 aa*16 01 00 bb*16 4064 4063",
        ),
        (
            of(HeartbeatBody::Answer(HeartbeatAck { leader: OLD, quorum_connected: false, ..ack })),
            "05 02 1a 0102030405060708 412c 07 aa*16 01 00 bb*16 4064 4063",
        ),
        (of(HeartbeatBody::HandOver { ballot: BALLOT }), "05 02 03 412c 07 aa*16"),
    ]
}

fn info() -> NodeInfo {
    NodeInfo {
        zone: "z".to_owned(),
        host: "h1".to_owned(),
        ..NodeInfo::new(A, "n1", SocketAddr::from(([127, 0, 0, 1], 7400)))
    }
}

fn founding_list() -> FoundingList {
    let addr = SocketAddr::from(([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2_u8], 1));
    let other = NodeInfo::new(B, "", addr);
    FoundingList { proposer: A, cluster: CLUSTER, partitions: 8, degree: 3, founders: vec![info(), other] }
}

const FOUNDING_LIST: &str = "aa*16 cc*16 0008 03 02 aa*16 02 'n1' 04 7f000001 1ce8 01 'z' 02 'h1' bb*16 00 06 2001 00*13 02 0001 00 00";

fn map() -> PartitionMap {
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

const MAP: &str = "cc*16 00 01 03 02 01 aa*16 01 aa*16 02 'n1' 04 7f000001 1ce8 01 'z' 02 'h1' 02 02 01 02 0000 1fff 01 aa*16 02 02 2000 3fff 01 aa*16";

/// As many nodes and groups as a map may have.
pub(super) fn full_map() -> PartitionMap {
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

fn directories() -> Vec<(DirectoryMessage, String)> {
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

fn commands() -> Vec<(Command, &'static str)> {
    let write = |write| Command::Write { session: SESSION, seq: 70, ack_below: 6, write };
    let (key, value) = (text("key"), text("v"));
    let cas = |expect| write(Write::Cas { key: text("key"), expect, value: text("v") });
    vec![
        (Command::OpenSession, "01"),
        (write(Write::Put { key: key.clone(), value }), "02 05 40c8 4046 06 01 03 'key' 01 'v'"),
        (write(Write::Delete { key: key.clone() }), "02 05 40c8 4046 06 02 03 'key'"),
        (cas(Expect::Absent), "02 05 40c8 4046 06 03 03 'key' 01 01 'v'"),
        (cas(Expect::Value(text("old"))), "02 05 40c8 4046 06 03 03 'key' 02 03 'old' 01 'v'"),
        (cas(Expect::Version(VERSION)), "02 05 40c8 4046 06 03 03 'key' 03 05 09 01 'v'"),
        (Command::Resolve { session: SESSION, seq: 70, key }, "03 05 40c8 4046 03 'key'"),
        (Command::ExpireSessions { sessions: vec![LogIndex(1), LogIndex(200)] }, "04 02 01 40c8"),
        (Command::CloseSession { session: SESSION, ack_below: 71 }, "05 05 40c8 4047"),
    ]
}

fn requests() -> Vec<(ClientMessage, &'static str)> {
    let request =
        |body| ClientMessage::Request(Request { id: 77, group: GROUP, history: HistoryId(0), body });
    vec![
        (
            request(RequestBody::Command(RequestBody::command(&Command::OpenSession))),
            "01 404d 05 00 01 01 01",
        ),
        (request(RequestBody::Get { key: text("key"), stale: true }), "01 404d 05 00 02 03 'key' 01"),
        (request(RequestBody::Scan { after: None, limit: 65_536 }), "01 404d 05 00 03 00 80010000"),
        (
            request(RequestBody::Scan { after: Some(text("key")), limit: 1 }),
            "01 404d 05 00 03 01 03 'key' 01",
        ),
        (ClientMessage::MapRequest { id: 77, held: Epoch(0) }, "02 404d 00"),
        (ClientMessage::Admin { id: 77, request: AdminRequest::Status }, "03 404d 01"),
        (ClientMessage::Admin { id: 77, request: AdminRequest::AbandonOldData }, "03 404d 02"),
        (ClientMessage::Admin { id: 77, request: AdminRequest::Events { from: 200 } }, "03 404d 03 40c8"),
    ]
}

fn outcomes() -> Vec<(Outcome, &'static str)> {
    let at = LogIndex(200);
    let pair = Pair { key: text("key"), value: text("v"), version: VERSION };
    let applied = |effect| Outcome::Applied { at, effect };
    vec![
        (Outcome::Opened { session: SESSION }, "01 05 40c8"),
        (applied(Effect::Written), "02 40c8 01"),
        (applied(Effect::Deleted { previous: None }), "02 40c8 02 00"),
        (applied(Effect::Deleted { previous: Some(VERSION) }), "02 40c8 02 01 05 09"),
        (applied(Effect::Mismatch { actual: Some(versioned()) }), "02 40c8 03 01 01 'v' 05 09"),
        (Outcome::Read { at, found: Some(versioned()) }, "03 40c8 01 01 'v' 05 09"),
        (Outcome::Page { at, pairs: vec![pair], more: true }, "04 40c8 01 03 'key' 01 'v' 05 09 01"),
        (Outcome::Stale { view: VIEW, at, age_ms: 15, found: None }, "05 02 40c8 0f 00"),
        (Outcome::NeverApplies, "06"),
        (Outcome::SessionExpired, "07"),
        (Outcome::Refused(Refusal::NotLeader), "08 01"),
        (Outcome::Refused(Refusal::WrongGroup { slot: Slot(12_182), epoch: Epoch(2) }), "08 02 2f96 02"),
        (Outcome::Refused(Refusal::Overloaded), "08 03"),
        (Outcome::Refused(Refusal::Full), "08 04"),
        (Outcome::Refused(Refusal::TooLarge { limit: 1 << 20 }), "08 05 80100000"),
        (Outcome::Refused(Refusal::OutOfWindow), "08 06"),
        (Outcome::Refused(Refusal::NotReady), "08 07"),
        (Outcome::Refused(Refusal::Forbidden), "08 08"),
        (Outcome::Refused(Refusal::HistoryForked { history: HistoryId(1) }), "08 09 01"),
        (Outcome::Refused(Refusal::Malformed), "08 0a"),
    ]
}

fn report() -> ReplicaReport {
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

const REPORT: &str = "05 02 01 412c 07 aa*16 02 03 02 01 04 05 06";

fn events() -> (Vec<ClusterEvent>, String) {
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

fn status() -> Status {
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

const STATUS: &str = "aa*16 02 'n1' 05 '0.1.0' 02 02 'n2' 01 cc*16 00 01 03 01 412c 07 aa*16 01 04 'h1:1' \
    02 01 aa*16 02 'n1' 04 7f000001 1ce8 01 01 02 01 05 01 02 01 01 'z' 02 'h1' 40fa 0a \
    00 00 04 7f000001 1ce8 00 00 00 00 00 00 00 40fa 0a \
    01 05 01 0000 1fff 02 01 412c 07 aa*16 02 aa*16 01 05 02 01 412c 07 aa*16 02 03 02 01 04 05 06 bb*16 00 \
    01 02 'in' 03";

fn servers() -> Vec<(ServerMessage, String)> {
    let hint = |leader| Some(RouteHint { epoch: Epoch(2), group: GROUP, leader });
    let outcome = || Outcome::Refused(Refusal::NotLeader);
    let reply = |hint| ServerMessage::Reply(Reply { id: 77, hint, outcome: outcome() });
    let admin = |reply| ServerMessage::Admin { id: 77, reply };
    let (events, bytes) = events();
    let record = |event| EventRecord { number: 77, age_ms: 1000, event };
    let happened = AdminReply::Events(events.into_iter().map(record).collect());
    vec![
        (reply(None), "01 404d 00 08 01".to_owned()),
        (reply(hint(None)), "01 404d 01 02 05 00 08 01".to_owned()),
        (reply(hint(Some(B))), "01 404d 01 02 05 01 bb*16 08 01".to_owned()),
        (ServerMessage::Map { id: 77, map: None }, "02 404d 00".to_owned()),
        (ServerMessage::Map { id: 77, map: Some(map()) }, format!("02 404d 01 {MAP}")),
        (admin(AdminReply::Status(Box::new(status()))), format!("03 404d 01 {STATUS}")),
        (admin(AdminReply::Done("ok".to_owned())), "03 404d 02 02 'ok'".to_owned()),
        (admin(AdminReply::Refused("no".to_owned())), "03 404d 03 02 'no'".to_owned()),
        (admin(happened), format!("03 404d 04 11 {bytes}")),
    ]
}

fn peers() -> Vec<(PeerMessage, String)> {
    let token = ForwardToken(0x3132_3334_3536_3738);
    let request = Request {
        id: 77,
        group: GROUP,
        history: HistoryId(0),
        body: RequestBody::Get { key: text("key"), stale: false },
    };
    let reply = Reply { id: 77, hint: None, outcome: Outcome::NeverApplies };
    let (group, snapshot) = (GROUP, SNAPSHOT);
    let chunk = |last, bytes| PeerMessage::SnapshotChunk { group, snapshot, offset: 65_536, last, bytes };
    let mut peers = vec![
        (PeerMessage::Heartbeats(vec![]), "02 00".to_owned()),
        (
            PeerMessage::SnapshotPull { group, snapshot, offset: 65_536 },
            "03 05 43e8 d1*16 c1*8 80010000".to_owned(),
        ),
        (chunk(true, text("hay")), "04 05 43e8 d1*16 c1*8 80010000 01 03 'hay'".to_owned()),
        (chunk(false, Bytes::new()), "04 05 43e8 d1*16 c1*8 80010000 00 00".to_owned()),
        (PeerMessage::Forward { token, request }, "06 3132333435363738 404d 05 00 02 03 'key' 00".to_owned()),
        (PeerMessage::Forwarded { token, reply }, "07 3132333435363738 404d 00 06".to_owned()),
        (PeerMessage::ReportPull { mark: 77 }, "0a 404d".to_owned()),
        (
            PeerMessage::Report { mark: 77, replicas: vec![report(); 2] },
            format!("0b 404d 02 {REPORT} {REPORT}"),
        ),
    ];
    let wrap = |message| PeerMessage::Broadcast { group: GROUP, view: VIEW, message };
    peers.extend(
        broadcasts().into_iter().map(|(message, bytes)| (wrap(message), format!("01 05 02 {bytes}"))),
    );
    peers.extend(
        directories()
            .into_iter()
            .map(|(message, bytes)| (PeerMessage::Directory(message), format!("05 {bytes}"))),
    );
    let (beats, bytes): (Vec<_>, Vec<_>) = heartbeats().into_iter().unzip();
    peers.push((PeerMessage::Heartbeats(beats), format!("02 05 {}", bytes.join(" "))));
    peers.extend(membership::peers());
    peers
}

fn borrowed<T>(samples: Vec<(T, String)>) -> Vec<(T, &'static str)> {
    samples.into_iter().map(|(value, bytes)| (value, &*bytes.leak())).collect()
}

/// The bytes of all samples that are whole messages or commands.
pub(super) fn all_bytes() -> Vec<Bytes> {
    let outcomes = outcomes().into_iter().map(|(_, bytes)| unhex(&format!("01 404d 00 {bytes}")));
    let commands = commands().into_iter().map(|(_, bytes)| unhex(bytes));
    let requests = requests().into_iter().map(|(_, bytes)| unhex(bytes));
    let servers = servers().into_iter().map(|(_, bytes)| unhex(&bytes));
    let peers = peers().into_iter().map(|(_, bytes)| unhex(&bytes));
    outcomes.chain(commands).chain(requests).chain(servers).chain(peers).map(Bytes::from).collect()
}

#[test]
fn consensus_has_these_bytes() {
    check(&broadcasts());
    has_all_kinds(&broadcasts(), 0, 8);
}

#[test]
fn heartbeats_have_these_bytes() {
    check(&heartbeats());
}

#[test]
fn heartbeats_of_a_calm_group_are_small() {
    for (heartbeat, _) in &heartbeats()[..2] {
        assert!(heartbeat.encoded_len() <= 40, "{}", heartbeat.encoded_len());
    }
}

#[test]
fn an_answer_with_unknown_flags_is_invalid() {
    let (_, notation) = heartbeats()[1];
    for flag in [0x40, 0x80] {
        let mut bytes = unhex(notation);
        bytes[2] |= flag;
        assert_eq!(
            read::<GroupHeartbeat>(&Bytes::from(bytes)),
            Err(crate::codec::DecodeError::Invalid("HeartbeatBody"))
        );
    }
}

#[test]
fn the_directory_has_these_bytes() {
    let samples = borrowed(directories());
    check(&samples);
    has_all_kinds(&samples, 0, 9);
}

#[test]
fn commands_have_these_bytes() {
    check(&commands());
    has_all_kinds(&commands(), 0, 5);
    has_all_kinds(&commands()[1..4], 7, 3);
    has_all_kinds(&commands()[3..6], 12, 3);
}

#[test]
fn requests_have_these_bytes() {
    check(&requests());
    has_all_kinds(&requests(), 0, 3);
    has_all_kinds(&requests()[..4], 5, 3);
}

#[test]
fn outcomes_have_these_bytes() {
    check(&outcomes());
    has_all_kinds(&outcomes(), 0, 8);
    has_all_kinds(&outcomes()[10..], 1, 10);
}

#[test]
fn answers_have_these_bytes() {
    let samples = borrowed(servers());
    check(&samples);
    has_all_kinds(&samples, 0, 3);
}

#[test]
fn peers_have_these_bytes() {
    let samples = borrowed(peers());
    check(&samples);
    has_all_kinds(&samples, 0, 11);
}
