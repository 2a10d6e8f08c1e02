//! The state machine of group 0: the partition map with the node table. Its first decided entry is the map, epoch 1;
//! every other group starts from that entry, never from configuration.
//!
//! A command that is void changes nothing, alike on every replica: two coordinators may both propose the same.

use bytes::{BufMut, Bytes, BytesMut};
use haystack_wire::codec::{Decode, DecodeError, Encode, Reader, put_varint};
use haystack_wire::ids::NodeId;
use haystack_wire::message::directory::{NODES_LIMIT, NodeInfo, NodeRecord, NodeState, PartitionMap};
use xxhash_rust::xxh3::xxh3_128;

/// Processes that are gone and named by no group any more, of which the newest are remembered so that none of them
/// is admitted again. Their ids are random: after this many others nobody speaks for them (judgement).
const GONE_KEPT: usize = 1024;

/// A command of the directory: the body of an entry in the log of group 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryCommand {
    /// The first map. Any later one of this kind is void.
    Found(PartitionMap),
    /// Takes a node into the table, as [`NodeState::Joining`]. Void if it is there, was gone, or its name is taken by
    /// one that may still be alive.
    Admit(NodeInfo),
    /// Decides something about a node of the table. Void for a node that is gone.
    Decide {
        /// The node.
        node: NodeId,
        /// What.
        state: NodeState,
    },
    /// A node of the table has another address, name, zone or host.
    Describe(NodeInfo),
}

impl Encode for DirectoryCommand {
    fn encode<B: BufMut>(&self, out: &mut B) {
        match self {
            Self::Found(map) => {
                out.put_u8(1);
                map.encode(out);
            }
            Self::Admit(info) => {
                out.put_u8(2);
                info.encode(out);
            }
            Self::Decide { node, state } => {
                out.put_u8(3);
                node.encode(out);
                state.encode(out);
            }
            Self::Describe(info) => {
                out.put_u8(4);
                info.encode(out);
            }
        }
    }
}

impl Decode for DirectoryCommand {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8("directory command")? {
            1 => Ok(Self::Found(PartitionMap::decode(reader)?)),
            2 => Ok(Self::Admit(NodeInfo::decode(reader)?)),
            3 => Ok(Self::Decide { node: NodeId::decode(reader)?, state: NodeState::decode(reader)? }),
            4 => Ok(Self::Describe(NodeInfo::decode(reader)?)),
            _ => Err(DecodeError::Invalid("directory command")),
        }
    }
}

impl DirectoryCommand {
    /// The command as the body of an entry.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }
}

/// What the directory's log has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryMachine {
    map: Option<PartitionMap>,
    /// Processes that are gone and no longer in the table, oldest first.
    gone: Vec<NodeId>,
}

impl DirectoryMachine {
    /// The map in force, once founding is decided.
    pub const fn map(&self) -> Option<&PartitionMap> {
        self.map.as_ref()
    }

    /// Whether a process is known to have ended.
    pub fn is_gone(&self, node: NodeId) -> bool {
        let record = self.map.as_ref().and_then(|map| map.record(node));
        record.is_some_and(|record| record.state == NodeState::Gone) || self.gone.contains(&node)
    }

    /// Applies an entry; true if the map changed. What cannot be read or is not valid changes nothing, alike on
    /// every replica.
    pub fn apply(&mut self, body: &Bytes) -> bool {
        let mut reader = Reader::shared(body);
        let command = DirectoryCommand::decode(&mut reader);
        let (Ok(command), Ok(())) = (command, reader.finish("directory command")) else { return false };
        if let DirectoryCommand::Found(map) = command {
            let first = self.map.is_none() && map.validate().is_ok();
            if first {
                self.map = Some(map);
            }
            return first;
        }
        let changed = match command {
            DirectoryCommand::Found(_) => false,
            DirectoryCommand::Admit(info) => self.admit(info),
            DirectoryCommand::Decide { node, state } => self.decide(node, state),
            DirectoryCommand::Describe(info) => self.describe(info),
        };
        if changed && let Some(map) = &mut self.map {
            map.epoch.0 += 1;
            debug_assert_eq!(map.validate(), Ok(()));
        }
        changed
    }

    fn admit(&mut self, info: NodeInfo) -> bool {
        if self.is_gone(info.node) {
            return false;
        }
        let Some(map) = &mut self.map else { return false };
        let void = map.nodes.len() >= NODES_LIMIT || name_taken(map, &info);
        match map.nodes.binary_search_by_key(&info.node, |record| record.info.node) {
            Err(at) if !void => {
                map.nodes.insert(at, NodeRecord { info, state: NodeState::Joining });
                true
            }
            _ => false,
        }
    }

    fn decide(&mut self, node: NodeId, state: NodeState) -> bool {
        let Some(map) = &mut self.map else { return false };
        let Ok(at) = map.nodes.binary_search_by_key(&node, |record| record.info.node) else { return false };
        let record = &mut map.nodes[at];
        if record.state == state || record.state == NodeState::Gone {
            return false;
        }
        record.state = state;
        let named = map.directory.replicas.contains(&node)
            || map.partitions.iter().any(|partition| partition.replicas.contains(&node));
        if state == NodeState::Gone && !named {
            map.nodes.remove(at);
            if self.gone.len() == GONE_KEPT {
                self.gone.remove(0);
            }
            self.gone.push(node);
        }
        true
    }

    fn describe(&mut self, info: NodeInfo) -> bool {
        let Some(map) = &mut self.map else { return false };
        let Ok(at) = map.nodes.binary_search_by_key(&info.node, |record| record.info.node) else {
            return false;
        };
        if map.nodes[at].info == info || map.nodes[at].state == NodeState::Gone || name_taken(map, &info) {
            return false;
        }
        map.nodes[at].info = info;
        true
    }

    /// Digest of the state's canonical encoding.
    pub fn digest(&self) -> u128 {
        xxh3_128(&self.snapshot())
    }

    /// The state's canonical encoding; nothing before there is a map.
    pub fn snapshot(&self) -> Bytes {
        let mut out = BytesMut::new();
        if let Some(map) = &self.map {
            map.encode(&mut out);
            put_varint(&mut out, self.gone.len() as u64);
            self.gone.iter().for_each(|node| node.encode(&mut out));
        }
        out.freeze()
    }

    /// The state that `snapshot` encodes.
    ///
    /// # Errors
    /// If it encodes none.
    pub fn restore(snapshot: &Bytes) -> Result<Self, DecodeError> {
        if snapshot.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Reader::shared(snapshot);
        let map = PartitionMap::decode(&mut reader)?;
        let count = reader.size(GONE_KEPT, "gone")?;
        let gone = (0..count).map(|_| NodeId::decode(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish("directory")?;
        Ok(Self { map: Some(map), gone })
    }
}

/// Whether another node that may be alive goes by the name.
pub(super) fn name_taken(map: &PartitionMap, info: &NodeInfo) -> bool {
    map.nodes.iter().any(|record| {
        let alive = !matches!(record.state, NodeState::Down | NodeState::Gone);
        alive && record.info.name == info.name && record.info.node != info.node
    })
}

#[cfg(test)]
mod tests;
