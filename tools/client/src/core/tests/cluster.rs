//! What fake daemons have in common: the partition map, and a model of each group.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use haystack_wire::codec::decode_whole;
use haystack_wire::ids::{
    ClusterId, Epoch, GroupId, HistoryId, LogIndex, NodeId, SessionId, Slot, Version, ViewId,
};
use haystack_wire::message::client::{
    Command, Effect, Expect, Outcome, Pair, Refusal, Request, RequestBody, SESSION_WINDOW, Versioned, Write,
};
use haystack_wire::message::directory::{
    GroupView, NodeInfo, NodeRecord, NodeState, Partition, PartitionMap,
};
use haystack_wire::slot::{even_partitions, slot_of};

/// Replicated state of one group.
#[derive(Default)]
pub(crate) struct GroupState {
    pub(super) leader: Option<usize>,
    pub(super) len: u64,
    pub(super) data: BTreeMap<Bytes, Versioned>,
    pub(super) sessions: BTreeMap<u64, SessionState>,
    /// Which writes took effect, in order.
    pub(super) applied: Vec<(SessionId, u64, Write)>,
}

#[derive(Clone, Default)]
pub(crate) struct SessionState {
    pub(super) ack_below: u64,
    pub(super) replies: BTreeMap<u64, Outcome>,
}

/// The truth that the fake daemons share.
pub(crate) struct Cluster {
    pub(crate) map: Option<PartitionMap>,
    pub(super) groups: BTreeMap<GroupId, GroupState>,
    /// Whether a daemon that does not lead passes requests on.
    pub(super) forwards: bool,
}

fn record(node: NodeId, addr: SocketAddr) -> NodeRecord {
    NodeRecord { info: NodeInfo::new(node, &node.short(), addr), state: NodeState::Up }
}

impl Cluster {
    pub(crate) fn new(id: u8, partitions: u32, nodes: &[(NodeId, SocketAddr)]) -> Self {
        let partitions =
            even_partitions(partitions).into_iter().zip(1..).map(|((first, last), group)| Partition {
                group: GroupId(group),
                view: ViewId(0),
                first,
                last,
                replicas: nodes.iter().map(|(node, _)| *node).collect(),
            });
        let mut records: Vec<NodeRecord> = nodes.iter().map(|(node, addr)| record(*node, *addr)).collect();
        records.sort_unstable_by_key(|record| record.info.node);
        let map = PartitionMap {
            cluster: ClusterId([id; 16]),
            history: HistoryId(0),
            epoch: Epoch(1),
            degree: 3,
            directory: GroupView {
                view: ViewId(0),
                replicas: nodes.iter().take(3).map(|(node, _)| *node).collect(),
            },
            nodes: records,
            partitions: partitions.collect(),
        };
        let leading =
            |index: usize| GroupState { leader: Some(index % nodes.len()), len: 1, ..GroupState::default() };
        let groups =
            map.partitions.iter().enumerate().map(|(index, part)| (part.group, leading(index))).collect();
        Self { map: Some(map), groups, forwards: true }
    }

    pub(super) fn map(&mut self) -> &mut PartitionMap {
        self.map.as_mut().unwrap()
    }

    pub(super) fn group(&mut self, group: u32) -> &mut GroupState {
        self.groups.get_mut(&GroupId(group)).unwrap()
    }

    /// How many sessions are open.
    pub(crate) fn sessions(&self) -> usize {
        self.groups.values().map(|group| group.sessions.len()).sum()
    }

    /// Does what the request's group would do with it.
    pub(crate) fn perform(&mut self, request: &Request) -> Outcome {
        let map = self.map.as_ref().unwrap();
        if request.history != map.history {
            return Outcome::Refused(Refusal::HistoryForked { history: map.history });
        }
        let epoch = map.epoch;
        let owner = |key: &[u8]| map.group_of(slot_of(key)) == Some(request.group);
        let wrong = |key: &[u8]| Outcome::Refused(Refusal::WrongGroup { slot: slot_of(key), epoch });
        let Some(group) = self.groups.get_mut(&request.group) else {
            return Outcome::Refused(Refusal::WrongGroup { slot: Slot(0), epoch });
        };
        match &request.body {
            RequestBody::Get { key, .. } if !owner(key) => wrong(key),
            RequestBody::Get { key, .. } => {
                Outcome::Read { at: LogIndex(group.len), found: group.data.get(key).cloned() }
            }
            RequestBody::Scan { after, limit } => group.scan(after.as_ref(), *limit as usize),
            RequestBody::Command(bytes) => match decode_whole::<Command>(bytes, "Command").unwrap() {
                Command::OpenSession => group.open(request.group),
                Command::Write { session, seq, ack_below, write } => {
                    let (Write::Put { key, .. } | Write::Delete { key } | Write::Cas { key, .. }) = &write;
                    if owner(key) {
                        group.write(request.group, session, seq, ack_below, &write)
                    } else {
                        wrong(key)
                    }
                }
                Command::Resolve { session, seq, key } => {
                    if owner(&key) {
                        group.resolve(session, seq)
                    } else {
                        wrong(&key)
                    }
                }
                Command::CloseSession { session, ack_below } => group.close(session, ack_below),
                Command::ExpireSessions { .. } => Outcome::Refused(Refusal::Malformed),
            },
        }
    }
}

impl GroupState {
    fn append(&mut self) -> LogIndex {
        self.len += 1;
        LogIndex(self.len - 1)
    }

    fn open(&mut self, id: GroupId) -> Outcome {
        let at = self.append();
        self.sessions.insert(at.0, SessionState { ack_below: 1, ..SessionState::default() });
        Outcome::Opened { session: SessionId { group: id, index: at } }
    }

    fn scan(&self, after: Option<&Bytes>, limit: usize) -> Outcome {
        let mut pairs: Vec<Pair> = Vec::new();
        let mut bytes = 0;
        let mut rest = self.data.iter().filter(|(key, _)| after.is_none_or(|after| *key > after)).peekable();
        while let Some((key, found)) = rest.next_if(|_| bytes < limit || pairs.is_empty()) {
            bytes += key.len() + found.value.len();
            pairs.push(Pair { key: key.clone(), value: found.value.clone(), version: found.version });
        }
        Outcome::Page { at: LogIndex(self.len), pairs, more: rest.next().is_some() }
    }

    fn write(&mut self, id: GroupId, session: SessionId, seq: u64, ack_below: u64, write: &Write) -> Outcome {
        let at = self.append();
        let Some(known) = self.sessions.get_mut(&session.index.0) else { return Outcome::SessionExpired };
        if let Some(reply) = known.replies.get(&seq) {
            return reply.clone();
        }
        known.ack_below = known.ack_below.max(ack_below);
        let floor = known.ack_below;
        if seq < floor || seq >= floor + SESSION_WINDOW {
            return Outcome::Refused(Refusal::OutOfWindow);
        }
        known.replies.retain(|seq, _| *seq >= floor);
        let version = Version { group: id, index: at };
        let effect = match write {
            Write::Put { key, value } => {
                self.data.insert(key.clone(), Versioned { value: value.clone(), version });
                Effect::Written
            }
            Write::Delete { key } => {
                Effect::Deleted { previous: self.data.remove(key).map(|removed| removed.version) }
            }
            Write::Cas { key, expect, value } => {
                let actual = self.data.get(key).cloned();
                let fits = match expect {
                    Expect::Absent => actual.is_none(),
                    Expect::Value(value) => actual.as_ref().is_some_and(|actual| actual.value == *value),
                    Expect::Version(version) => {
                        actual.as_ref().is_some_and(|actual| actual.version == *version)
                    }
                };
                if fits {
                    self.data.insert(key.clone(), Versioned { value: value.clone(), version });
                    Effect::Written
                } else {
                    Effect::Mismatch { actual }
                }
            }
        };
        self.applied.push((session, seq, write.clone()));
        let reply = Outcome::Applied { at, effect };
        known.replies.insert(seq, reply.clone());
        reply
    }

    fn close(&mut self, session: SessionId, ack_below: u64) -> Outcome {
        self.append();
        let known = self.sessions.get(&session.index.0);
        if known.is_some_and(|known| known.replies.keys().any(|seq| *seq >= ack_below)) {
            return Outcome::Refused(Refusal::OutOfWindow);
        }
        self.sessions.remove(&session.index.0);
        Outcome::SessionExpired
    }

    fn resolve(&mut self, session: SessionId, seq: u64) -> Outcome {
        self.append();
        let Some(known) = self.sessions.get_mut(&session.index.0) else { return Outcome::SessionExpired };
        if seq < known.ack_below {
            return Outcome::SessionExpired;
        }
        known.replies.entry(seq).or_insert(Outcome::NeverApplies).clone()
    }
}
