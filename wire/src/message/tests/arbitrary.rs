//! Values of every type.

mod membership;

use core::net::SocketAddr;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::codec::VARINT_MAX;
use crate::ids::*;
use crate::message::admin::{
    AdminReply, AdminRequest, ClusterEvent, EventRecord, GroupStatus, NodeStatus, ReplicaReport,
    ReplicaStatus, SlotRange, Status,
};
use crate::message::broadcast::{BroadcastMessage, Entry, EntryKind};
use crate::message::client::*;
use crate::message::directory::*;
use crate::message::election::{GroupHeartbeat, Heartbeat, HeartbeatAck, HeartbeatBody};
use crate::message::{COUNTER_LIMIT, ClientMessage, ForwardToken, PeerMessage, ServerMessage, SnapshotId};
use crate::slot::{SLOTS, even_partitions};

/// Numbers of every varint length, with their ends.
fn up_to(most: u64) -> BoxedStrategy<u64> {
    let ends: Vec<u64> = [0, 0x3f, 0x40, 0x3fff, 0x4000, 0x3fff_ffff, 0x4000_0000, most]
        .into_iter()
        .filter(|end| *end <= most)
        .collect();
    prop_oneof![3 => 0..64_u64, 2 => 0..=most.min(1 << 20), 1 => 0..=most, 1 => select(ends)].boxed()
}

fn counter() -> BoxedStrategy<u64> {
    up_to(COUNTER_LIMIT)
}

fn amount() -> BoxedStrategy<u64> {
    up_to(VARINT_MAX)
}

fn amount32() -> impl Strategy<Value = u32> {
    up_to(u64::from(u32::MAX)).prop_map(|value| value as u32)
}

fn node() -> impl Strategy<Value = NodeId> {
    any::<[u8; 16]>().prop_map(NodeId)
}

fn cluster() -> impl Strategy<Value = ClusterId> {
    any::<[u8; 16]>().prop_map(ClusterId)
}

fn group() -> impl Strategy<Value = GroupId> {
    amount32().prop_map(GroupId)
}

fn view() -> impl Strategy<Value = ViewId> {
    amount32().prop_map(ViewId)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    counter().prop_map(Epoch)
}

fn history() -> impl Strategy<Value = HistoryId> {
    counter().prop_map(HistoryId)
}

fn index() -> impl Strategy<Value = LogIndex> {
    counter().prop_map(LogIndex)
}

fn slot() -> impl Strategy<Value = Slot> {
    (0..SLOTS).prop_map(Slot)
}

fn ballot() -> BoxedStrategy<Ballot> {
    let any_ballot =
        (counter(), amount32(), node()).prop_map(|(n, priority, node)| Ballot { n, priority, node });
    prop_oneof![1 => Just(Ballot::default()), 9 => any_ballot].boxed()
}

fn session() -> impl Strategy<Value = SessionId> {
    (group(), index()).prop_map(|(group, index)| SessionId { group, index })
}

fn version() -> impl Strategy<Value = Version> {
    (group(), index()).prop_map(|(group, index)| Version { group, index })
}

fn snapshot() -> impl Strategy<Value = SnapshotId> {
    (index(), any::<u128>(), any::<u64>()).prop_map(|(index, digest, chain)| SnapshotId {
        index,
        digest,
        chain,
    })
}

fn bytes(most: usize) -> BoxedStrategy<Bytes> {
    prop_oneof![8 => vec(any::<u8>(), 0..=most.min(80)), 1 => vec(any::<u8>(), 0..=most.min(9000))]
        .prop_map(Bytes::from)
        .boxed()
}

fn key() -> BoxedStrategy<Bytes> {
    bytes(KEY_LIMIT)
}

fn value() -> BoxedStrategy<Bytes> {
    bytes(VALUE_LIMIT)
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..16).prop_map(String::from_iter)
}

/// Addresses as they travel: no flow label, no scope.
fn addr() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    (select(vec![EntryKind::Command, EntryKind::StopSign]), bytes(9000))
        .prop_map(|(kind, body)| Entry { kind, body })
}

fn entries() -> BoxedStrategy<Vec<Entry>> {
    vec(entry(), 0..6).boxed()
}

fn broadcast() -> BoxedStrategy<BroadcastMessage> {
    use BroadcastMessage::*;
    prop_oneof![
        (ballot(), index(), ballot(), index()).prop_map(|(ballot, decided, accepted_round, len)| Prepare {
            ballot,
            decided,
            accepted_round,
            len
        }),
        (ballot(), index(), ballot(), index()).prop_map(|(ballot, decided, accepted_round, len)| Promise {
            ballot,
            accepted_round,
            len,
            decided
        }),
        (ballot(), index()).prop_map(|(ballot, from)| Pull { ballot, from }),
        (ballot(), index(), option::of(snapshot()), any::<u64>(), entries()).prop_map(
            |(ballot, from, snapshot, chain, entries)| PullReply { ballot, from, snapshot, chain, entries }
        ),
        (ballot(), index(), index(), option::of(snapshot()), index(), any::<u64>(), entries(), index())
            .prop_map(|(ballot, from, end, snapshot, first, chain, entries, decided)| Sync {
                ballot,
                from,
                end,
                snapshot,
                first,
                chain,
                entries,
                decided
            }),
        (ballot(), index(), any::<u64>(), entries(), index()).prop_map(
            |(ballot, first, chain, entries, decided)| Accept { ballot, first, chain, entries, decided }
        ),
        (ballot(), index(), option::of(index()), amount())
            .prop_map(|(ballot, len, missing, credit)| Accepted { ballot, len, missing, credit }),
        ballot().prop_map(|promised| Nack { promised }),
    ]
    .boxed()
}

/// Answers whose three ballots are often the same.
fn heartbeat_ack() -> impl Strategy<Value = HeartbeatAck> {
    (any::<u64>(), [ballot(), ballot(), ballot()], any::<[bool; 4]>(), index(), index()).prop_map(
        |(
            nonce,
            [promised, round, leader],
            [same_round, same_leader, quorum_connected, happy],
            len,
            decided,
        )| {
            HeartbeatAck {
                nonce,
                promised,
                accepted_round: if same_round { promised } else { round },
                len,
                decided,
                leader: if same_leader { promised } else { leader },
                quorum_connected,
                happy,
            }
        },
    )
}

pub(super) fn group_heartbeat() -> BoxedStrategy<GroupHeartbeat> {
    let body = prop_oneof![
        (any::<u64>(), ballot(), index(), index()).prop_map(|(nonce, ballot, len, decided)| {
            HeartbeatBody::Ask(Heartbeat { nonce, ballot, len, decided })
        }),
        heartbeat_ack().prop_map(HeartbeatBody::Answer),
        ballot().prop_map(|ballot| HeartbeatBody::HandOver { ballot }),
    ];
    (group(), view(), body).prop_map(|(group, view, body)| GroupHeartbeat { group, view, body }).boxed()
}

fn info() -> impl Strategy<Value = NodeInfo> {
    (node(), text(), addr(), text(), text()).prop_map(|(node, name, addr, zone, host)| NodeInfo {
        node,
        name,
        addr,
        zone,
        host,
    })
}

fn list_id() -> impl Strategy<Value = ListId> {
    any::<u64>().prop_map(ListId)
}

fn founding_list() -> BoxedStrategy<FoundingList> {
    (node(), cluster(), 1..=GROUPS_LIMIT as u32, 1..=REPLICAS_LIMIT as u32, vec(info(), 0..5))
        .prop_map(|(proposer, cluster, partitions, degree, founders)| FoundingList {
            proposer,
            cluster,
            partitions,
            degree,
            founders,
        })
        .boxed()
}

fn standing() -> impl Strategy<Value = Standing> {
    select(vec![Standing::Founding, Standing::Member, Standing::Standby])
}

fn node_state() -> impl Strategy<Value = NodeState> {
    use NodeState::*;
    select(vec![Joining, Up, Suspect, Down, Draining, Gone])
}

fn testimony() -> impl Strategy<Value = Testimony> {
    use Testimony::*;
    select(vec![Founded, Granted, Counting, Dead, Unknown])
}

/// Maps that hold together: nodes numbered, groups numbered, slots divided evenly.
fn map() -> BoxedStrategy<PartitionMap> {
    let record = || (info(), node_state()).prop_map(|(info, state)| NodeRecord { info, state });
    let degree = 1..=REPLICAS_LIMIT as u32;
    (cluster(), history(), epoch(), degree, vec(record(), 1..6), 1..40_u32, view())
        .prop_map(|(cluster, history, epoch, degree, mut nodes, count, view)| {
            for (number, record) in nodes.iter_mut().enumerate() {
                record.info.node.0[0] = number as u8;
            }
            let replicas: Vec<_> = nodes.iter().map(|record| record.info.node).collect();
            let directory = GroupView { view, replicas: replicas.clone() };
            let partitions = (1..)
                .zip(even_partitions(count))
                .map(|(group, (first, last))| {
                    let mut replicas = replicas.clone();
                    replicas.rotate_left(group as usize % nodes.len());
                    Partition { group: GroupId(group), view, first, last, replicas }
                })
                .collect();
            PartitionMap { cluster, history, epoch, degree, directory, nodes, partitions }
        })
        .boxed()
}

fn directory() -> BoxedStrategy<DirectoryMessage> {
    use DirectoryMessage::*;
    prop_oneof![
        (info(), standing(), option::of(cluster()), (any::<u64>(), 1..=1024u32, 1..=9u32), vec(node(), 0..5))
            .prop_map(|(info, standing, cluster, (founders_hash, partitions, degree), succeeds)| Introduce {
                info,
                standing,
                cluster,
                founders_hash,
                partitions,
                degree,
                succeeds
            }),
        founding_list().prop_map(Propose),
        list_id().prop_map(|list| Grant { list }),
        list_id().prop_map(|list| Refuse { list }),
        founding_list().prop_map(Founded),
        (list_id(), node(), node()).prop_map(|(list, subject, proposer)| Query { list, subject, proposer }),
        (list_id(), node(), testimony(), option::of(founding_list()))
            .prop_map(|(list, subject, testimony, founded)| Testify { list, subject, testimony, founded }),
        epoch().prop_map(|held| MapPull { held }),
        map().prop_map(Map),
    ]
    .boxed()
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![Just(Expect::Absent), value().prop_map(Expect::Value), version().prop_map(Expect::Version)]
}

fn write() -> BoxedStrategy<Write> {
    prop_oneof![
        (key(), value()).prop_map(|(key, value)| Write::Put { key, value }),
        key().prop_map(|key| Write::Delete { key }),
        (key(), expect(), value()).prop_map(|(key, expect, value)| Write::Cas { key, expect, value }),
    ]
    .boxed()
}

pub(super) fn command() -> BoxedStrategy<Command> {
    prop_oneof![
        1 => Just(Command::OpenSession),
        6 => (session(), counter(), counter(), write())
            .prop_map(|(session, seq, ack_below, write)| Command::Write { session, seq, ack_below, write }),
        2 => (session(), counter(), key()).prop_map(|(session, seq, key)| Command::Resolve { session, seq, key }),
        1 => vec(index(), 0..9).prop_map(|sessions| Command::ExpireSessions { sessions }),
        1 => (session(), counter()).prop_map(|(session, ack_below)| Command::CloseSession { session, ack_below }),
    ]
    .boxed()
}

fn request() -> BoxedStrategy<Request> {
    let body = prop_oneof![
        3 => command().prop_map(|command| RequestBody::Command(RequestBody::command(&command))),
        1 => bytes(500).prop_map(RequestBody::Command),
        1 => (key(), any::<bool>()).prop_map(|(key, stale)| RequestBody::Get { key, stale }),
        1 => (option::of(key()), amount32()).prop_map(|(after, limit)| RequestBody::Scan { after, limit }),
    ];
    (amount(), group(), history(), body)
        .prop_map(|(id, group, history, body)| Request { id, group, history, body })
        .boxed()
}

fn versioned() -> BoxedStrategy<Versioned> {
    (value(), version()).prop_map(|(value, version)| Versioned { value, version }).boxed()
}

fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![
        Just(Effect::Written),
        option::of(version()).prop_map(|previous| Effect::Deleted { previous }),
        option::of(versioned()).prop_map(|actual| Effect::Mismatch { actual }),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        6 => select(vec![
            Refusal::NotLeader,
            Refusal::Overloaded,
            Refusal::Full,
            Refusal::OutOfWindow,
            Refusal::NotReady,
            Refusal::Forbidden,
            Refusal::Malformed,
        ]),
        1 => (slot(), epoch()).prop_map(|(slot, epoch)| Refusal::WrongGroup { slot, epoch }),
        1 => amount().prop_map(|limit| Refusal::TooLarge { limit }),
        1 => history().prop_map(|history| Refusal::HistoryForked { history }),
    ]
}

fn pair() -> impl Strategy<Value = Pair> {
    (key(), value(), version()).prop_map(|(key, value, version)| Pair { key, value, version })
}

fn outcome() -> BoxedStrategy<Outcome> {
    prop_oneof![
        session().prop_map(|session| Outcome::Opened { session }),
        (index(), effect()).prop_map(|(at, effect)| Outcome::Applied { at, effect }),
        (index(), option::of(versioned())).prop_map(|(at, found)| Outcome::Read { at, found }),
        (index(), vec(pair(), 0..5), any::<bool>()).prop_map(|(at, pairs, more)| Outcome::Page {
            at,
            pairs,
            more
        }),
        (view(), index(), amount(), option::of(versioned()))
            .prop_map(|(view, at, age_ms, found)| Outcome::Stale { view, at, age_ms, found }),
        Just(Outcome::NeverApplies),
        Just(Outcome::SessionExpired),
        refusal().prop_map(Outcome::Refused),
    ]
    .boxed()
}

fn reply() -> BoxedStrategy<Reply> {
    let hint = (epoch(), group(), option::of(node())).prop_map(|(epoch, group, leader)| RouteHint {
        epoch,
        group,
        leader,
    });
    (amount(), option::of(hint), outcome())
        .prop_map(|(id, hint, outcome)| Reply { id, hint, outcome })
        .boxed()
}

pub(super) fn peer_message() -> BoxedStrategy<PeerMessage> {
    use PeerMessage::*;
    let token = || any::<u64>().prop_map(ForwardToken);
    prop_oneof![
        4 => (group(), view(), broadcast()).prop_map(|(group, view, message)| Broadcast { group, view, message }),
        2 => vec(group_heartbeat(), 0..9).prop_map(Heartbeats),
        1 => (group(), snapshot(), counter())
            .prop_map(|(group, snapshot, offset)| SnapshotPull { group, snapshot, offset }),
        1 => (group(), snapshot(), counter(), any::<bool>(), bytes(9000)).prop_map(
            |(group, snapshot, offset, last, bytes)| SnapshotChunk { group, snapshot, offset, last, bytes }
        ),
        4 => directory().prop_map(Directory),
        1 => (token(), request()).prop_map(|(token, request)| Forward { token, request }),
        1 => (token(), reply()).prop_map(|(token, reply)| Forwarded { token, reply }),
        1 => amount().prop_map(|mark| ReportPull { mark }),
        1 => (amount(), vec(report(), 0..5)).prop_map(|(mark, replicas)| Report { mark, replicas }),
        4 => membership::gossip().prop_map(|gossip| Gossip(Box::new(gossip))),
        1 => membership::beat().prop_map(Beat),
    ]
    .boxed()
}

pub(super) fn client_message() -> BoxedStrategy<ClientMessage> {
    let admin = prop_oneof![
        Just(AdminRequest::Status),
        Just(AdminRequest::AbandonOldData),
        counter().prop_map(|from| AdminRequest::Events { from }),
    ];
    prop_oneof![
        5 => request().prop_map(ClientMessage::Request),
        1 => (amount(), epoch()).prop_map(|(id, held)| ClientMessage::MapRequest { id, held }),
        1 => (amount(), admin).prop_map(|(id, request)| ClientMessage::Admin { id, request }),
    ]
    .boxed()
}

fn node_status() -> impl Strategy<Value = NodeStatus> {
    let who = (option::of(node()), text(), addr(), text(), text());
    let how = (
        any::<bool>(),
        option::of(standing()),
        option::of(node_state()),
        option::of(membership::state()),
        any::<bool>(),
    );
    (who, how, amount(), amount32()).prop_map(|(who, how, rtt_us, loss_ppm)| {
        let (node, name, addr, zone, host) = who;
        let (up, standing, state, member, reported) = how;
        NodeStatus { node, name, addr, up, standing, state, member, reported, zone, host, rtt_us, loss_ppm }
    })
}

fn report() -> impl Strategy<Value = ReplicaReport> {
    let who = (group(), view(), option::of(ballot()), amount32());
    let positions = (index(), index(), index(), amount(), amount(), amount());
    (who, positions).prop_map(|(who, (len, decided, applied, keys, bytes, sessions))| {
        let (group, view, leader, live) = who;
        ReplicaReport { group, view, leader, live, len, decided, applied, keys, bytes, sessions }
    })
}

fn group_status() -> impl Strategy<Value = GroupStatus> {
    let slots = (0..SLOTS, 0..SLOTS).prop_map(|(a, b)| SlotRange { first: Slot(a), last: Slot(b) });
    let replica = (node(), option::of(report())).prop_map(|(node, report)| ReplicaStatus { node, report });
    (group(), option::of(slots), view(), option::of(ballot()), vec(replica, 0..5)).prop_map(
        |(group, slots, view, leader, replicas)| GroupStatus { group, slots, view, leader, replicas },
    )
}

fn cluster_event() -> impl Strategy<Value = ClusterEvent> {
    use ClusterEvent::*;
    prop_oneof![
        info().prop_map(|info| Alive { info }),
        node().prop_map(|node| Suspect { node }),
        node().prop_map(|node| Restore { node }),
        node().prop_map(|node| Dead { node }),
        node().prop_map(|node| Left { node }),
        (node(), node_state()).prop_map(|(node, state)| Decided { node, state }),
        (group(), option::of(ballot())).prop_map(|(group, leader)| Leader { group, leader }),
        (group(), view()).prop_map(|(group, view)| View { group, view }),
        ballot().prop_map(|leader| Coordinator { leader }),
        epoch().prop_map(|epoch| Map { epoch }),
        text().prop_map(Conflict),
    ]
}

fn event_record() -> impl Strategy<Value = EventRecord> {
    (counter(), amount(), cluster_event()).prop_map(|(number, age_ms, event)| EventRecord {
        number,
        age_ms,
        event,
    })
}

fn status() -> BoxedStrategy<Status> {
    let who = (node(), text(), text(), standing(), text());
    let what =
        (option::of(cluster()), history(), epoch(), amount32(), option::of(ballot()), vec(text(), 0..4));
    let lists = (vec(node_status(), 0..4), vec(group_status(), 0..4), vec((text(), amount()), 0..4));
    (who, what, lists)
        .prop_map(|(who, what, lists)| {
            let (node, name, version, standing, waits_for) = who;
            let (cluster, history, epoch, degree, coordinator, founders) = what;
            let (nodes, groups, counters) = lists;
            Status {
                node,
                name,
                version,
                standing,
                waits_for,
                cluster,
                history,
                epoch,
                degree,
                coordinator,
                founders,
                nodes,
                groups,
                counters,
            }
        })
        .boxed()
}

pub(super) fn server_message() -> BoxedStrategy<ServerMessage> {
    let admin = prop_oneof![
        3 => status().prop_map(|status| AdminReply::Status(Box::new(status))),
        1 => text().prop_map(AdminReply::Done),
        1 => text().prop_map(AdminReply::Refused),
        2 => vec(event_record(), 0..5).prop_map(AdminReply::Events),
    ];
    prop_oneof![
        4 => reply().prop_map(ServerMessage::Reply),
        1 => (amount(), option::of(map())).prop_map(|(id, map)| ServerMessage::Map { id, map }),
        2 => (amount(), admin).prop_map(|(id, reply)| ServerMessage::Admin { id, reply }),
    ]
    .boxed()
}
