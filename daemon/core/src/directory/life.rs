//! The life file: what a process must remember of its predecessors, in memory mode too.
//!
//! It holds no promises and gives no vote. It keeps a host whose daemons all restarted from silently founding
//! an empty cluster where clients would read `absent` for data that they had written.

use bytes::{BufMut, Bytes, BytesMut};
use haystack_wire::codec::{Decode, DecodeError, Encode, Reader, put_bytes, put_varint};
use haystack_wire::ids::{ClusterId, NodeId};
use haystack_wire::message::directory::{FoundingList, ListId, NAME_LIMIT, SUCCEEDS_LIMIT};
use thiserror::Error;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// First bytes of every life file.
const MAGIC: &[u8; 16] = b"haystack-life-1\n";
/// Founding lists that a life remembers to have refused; the newest count (judgement: one founding has one).
pub const REFUSED_LIMIT: usize = 64;

/// Why a life file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LifeError {
    /// It does not begin as one.
    #[error("this is not a life file of haystackd")]
    Foreign,
    /// Its checksum or a field is wrong.
    #[error("the life file is damaged ({0})")]
    Damaged(&'static str),
}

impl From<DecodeError> for LifeError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Truncated(field)
            | DecodeError::Invalid(field)
            | DecodeError::TooLong(field)
            | DecodeError::Trailing(field) => Self::Damaged(field),
        }
    }
}

/// How far a founding got, as far as this state directory knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Grant {
    /// Nothing was granted.
    #[default]
    None,
    /// The process `by` granted the list and knew no more.
    Granted {
        /// The list.
        list: FoundingList,
        /// The process that granted.
        by: NodeId,
    },
    /// The list is founded.
    Founded {
        /// The list.
        list: FoundingList,
    },
    /// A cluster that others founded was found, and asked for admission.
    Joined {
        /// The cluster.
        cluster: ClusterId,
    },
}

impl Grant {
    /// The cluster that this process, or one before it here, belongs to.
    pub const fn cluster(&self) -> Option<ClusterId> {
        match self {
            Self::None | Self::Granted { .. } => None,
            Self::Founded { list } => Some(list.cluster),
            Self::Joined { cluster } => Some(*cluster),
        }
    }
}

/// The contents of `state_dir/life`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// The daemon's name when the file was made.
    pub name: String,
    /// The processes that lived here, oldest first; the last one is the current.
    pub nodes: Vec<NodeId>,
    /// What was granted here.
    pub grant: Grant,
    /// Lists that will never be granted here, oldest first.
    pub refused: Vec<ListId>,
}

impl Life {
    /// The file of a daemon that never lived.
    pub fn fresh(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Begins the life of `node`. The oldest lives are forgotten beyond [`SUCCEEDS_LIMIT`].
    pub fn begin(&mut self, node: NodeId) {
        self.nodes.push(node);
        let surplus = self.nodes.len().saturating_sub(SUCCEEDS_LIMIT + 1);
        self.nodes.drain(..surplus);
    }

    /// The processes that lived here before the current one, newest first.
    pub fn predecessors(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().rev().skip(1).copied()
    }

    /// Whether `node` lives or lived here.
    pub fn knows(&self, node: NodeId) -> bool {
        self.nodes.contains(&node)
    }

    /// Never grants `list` from now on.
    pub fn refuse(&mut self, list: ListId) {
        if self.refused.contains(&list) {
            return;
        }
        if self.refused.len() == REFUSED_LIMIT {
            self.refused.remove(0);
        }
        self.refused.push(list);
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        put_bytes(&mut out, self.name.as_bytes());
        put_varint(&mut out, self.nodes.len() as u64);
        self.nodes.iter().for_each(|node| out.put_slice(&node.0));
        match &self.grant {
            Grant::None => out.put_u8(0),
            Grant::Granted { list, by } => {
                out.put_u8(1);
                list.encode(&mut out);
                out.put_slice(&by.0);
            }
            Grant::Founded { list } => {
                out.put_u8(2);
                list.encode(&mut out);
            }
            Grant::Joined { cluster } => {
                out.put_u8(3);
                cluster.encode(&mut out);
            }
        }
        put_varint(&mut out, self.refused.len() as u64);
        self.refused.iter().for_each(|list| out.put_u64(list.0));
        let sum = xxh3_64(&out);
        out.put_u64(sum);
        out.to_vec()
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// If they are no life file, or a damaged one: nothing is guessed, since what it holds keeps data safe.
    pub fn decode(bytes: &[u8]) -> Result<Self, LifeError> {
        if !bytes.starts_with(MAGIC) {
            return Err(LifeError::Foreign);
        }
        let (body, sum) = bytes.split_last_chunk::<8>().ok_or(LifeError::Damaged("checksum"))?;
        if xxh3_64(body) != u64::from_be_bytes(*sum) {
            return Err(LifeError::Damaged("checksum"));
        }
        let body = Bytes::copy_from_slice(body.get(MAGIC.len()..).ok_or(LifeError::Damaged("checksum"))?);
        let mut reader = Reader::shared(&body);
        let name = String::from_utf8(reader.bytes(NAME_LIMIT, "name")?.to_vec())
            .map_err(|_| LifeError::Damaged("name"))?;
        let count = reader.size(SUCCEEDS_LIMIT + 1, "lives")?;
        let nodes = (0..count).map(|_| reader.array("life").map(NodeId)).collect::<Result<_, _>>()?;
        let grant = match reader.u8("grant")? {
            0 => Grant::None,
            1 => Grant::Granted {
                list: FoundingList::decode(&mut reader)?,
                by: NodeId(reader.array("granted by")?),
            },
            2 => Grant::Founded { list: FoundingList::decode(&mut reader)? },
            3 => Grant::Joined { cluster: ClusterId::decode(&mut reader)? },
            _ => return Err(LifeError::Damaged("grant")),
        };
        let count = reader.size(REFUSED_LIMIT, "refused")?;
        let refused = (0..count).map(|_| reader.u64("refused").map(ListId)).collect::<Result<_, _>>()?;
        reader.finish("life")?;
        Ok(Self { name, nodes, grant, refused })
    }
}

/// The name of a list: a hash over its proposer, its cluster and its processes.
pub fn list_id(list: &FoundingList) -> ListId {
    let mut hash = Xxh3::new();
    hash.update(&list.proposer.0);
    hash.update(&list.cluster.0);
    list.founders.iter().for_each(|founder| hash.update(&founder.node.0));
    ListId(hash.digest())
}
