//! The bytes of at least one value of every kind, written by hand. A change here is a change of the protocol.
//!
//! Notation: hexadecimal, `aa*16` for repeated bytes, `'hay'` for ASCII.

mod admin;
mod directory;
mod membership;

use core::net::SocketAddr;

use bytes::Bytes;

use super::read;
use crate::codec::{Encode, encode_whole};
use crate::ids::*;
use crate::message::admin::{AdminReply, AdminRequest, ClusterEvent, EventRecord, ReplicaReport};
use crate::message::broadcast::{BroadcastMessage, Entry, EntryKind};
use crate::message::client::*;
use crate::message::directory::*;
use crate::message::election::{GroupHeartbeat, Heartbeat, HeartbeatAck, HeartbeatBody};
use crate::message::{ClientMessage, ForwardToken, PeerMessage, ServerMessage, SnapshotId};
use crate::slot::even_partitions;
use admin::{REPORT, STATUS, events, report, status};
pub(super) use directory::full_map;
use directory::{MAP, directories, info, map};

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
