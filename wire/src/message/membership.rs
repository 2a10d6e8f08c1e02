//! Membership by gossip (SWIM), and the heartbeats of the failure detector.

use core::cmp::Ordering;
use core::net::SocketAddr;

use bytes::BufMut;

use super::directory::{NAME_LIMIT, SUCCEEDS_LIMIT};
use super::format::{ADDR_LEAST, Addr, Amount, Counter, Fixed, Format, Many, Mark, Maybe, Plain, Text};
use super::format::{record, tagged};
use crate::codec::{Decode, DecodeError, Encode, Reader, put_varint, varint_len};
use crate::ids::{Ballot, Boot, ClusterId, Epoch, HistoryId, NodeId, ViewId};

/// Longest gossip in a datagram of its own, in bytes: a byte before it says what it is.
pub const GOSSIP_LIMIT: usize = crate::link::GOSSIP_MAX_BYTES - 1;
/// Most bytes of a member's name and metadata together.
pub const ATTRIBUTES_LIMIT: usize = 512;
/// Most bytes of a member's metadata: the name needs its length and [`NAME_LIMIT`].
pub const META_LIMIT: usize = ATTRIBUTES_LIMIT - NAME_LIMIT - 2;
/// Longest zone, host, or key or value of a tag, in bytes.
pub const META_TEXT_LIMIT: usize = 128;
/// Most tags.
pub const TAGS_LIMIT: usize = 32;
/// Most updates in one gossip.
pub const UPDATES_LIMIT: usize = 64;
/// Parts into which a digest divides the members, by the first six bits of their identities.
pub const BUCKETS: usize = 64;
/// Most entries of one page of a digest, which so fits a datagram.
pub const ENTRIES_LIMIT: usize = 48;
/// Most members asked for at once: as many as a page names.
pub const PULL_LIMIT: usize = ENTRIES_LIMIT;

/// What is believed of a member. At equal incarnation the later in this order wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// It answers.
    Alive,
    /// Somebody's probes failed; it may still refute.
    Suspect,
    /// Nobody refuted in time. A process that was only cut off comes back with a higher incarnation.
    Dead,
    /// It left, or is proven to have ended: this life never returns.
    Left,
}

/// Attributes that placement looks at. Longer texts are cut when they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Failure domain: rack, room, site.
    pub zone: String,
    /// The machine.
    pub host: String,
    /// Whatever else its administrator says of it.
    pub tags: Vec<(String, String)>,
}

impl Meta {
    /// Leaves behind the last tags that do not fit [`META_LIMIT`].
    pub fn cut(&mut self) {
        self.tags.truncate(TAGS_LIMIT);
        while self.encoded_len() > META_LIMIT {
            self.tags.pop();
        }
    }
}

/// A process of the cluster, as its own words or those of others describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The process.
    pub node: NodeId,
    /// Its persisted life.
    pub boot: Boot,
    /// Its refutation counter: only the member itself raises it.
    pub incarnation: u64,
    /// What is believed of it.
    pub state: MemberState,
    /// The address that others reach it at.
    pub addr: SocketAddr,
    /// Lowest and highest wire version that it speaks.
    pub versions: (u8, u8),
    /// Its configured name.
    pub name: String,
    /// Its metadata.
    pub meta: Meta,
}

/// The word of the directory group that rides on every gossip, so that each node soon knows where the coordinator
/// is and whether its map is old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beacon {
    /// The highest epoch of the partition map.
    pub epoch: Epoch,
    /// The line of history of `view` and `coordinator`.
    pub history: HistoryId,
    /// The directory group's view.
    pub view: ViewId,
    /// The ballot in which the directory group is led.
    pub coordinator: Ballot,
}

impl Beacon {
    /// Order of age of what it says of the directory group.
    fn group_order(&self, other: &Self) -> Ordering {
        let key = |beacon: &Self| (beacon.history, beacon.view, beacon.coordinator);
        key(self).cmp(&key(other))
    }

    /// Takes what is newer from `other`: the epoch for itself, the directory group's line, view and ballot
    /// together. Tells whether anything was.
    pub fn merge(&mut self, other: &Self) -> bool {
        let newer_epoch = other.epoch > self.epoch;
        if newer_epoch {
            self.epoch = other.epoch;
        }
        let newer_group = other.group_order(self).is_gt();
        if newer_group {
            *self = Self { epoch: self.epoch, ..*other };
        }
        newer_epoch || newer_group
    }
}

/// One gossip: a body with the sender's beacon and, as many as fit, updates on its back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gossip {
    /// The sender's cluster; none for a process that belongs to none yet, which may only ask to join.
    pub cluster: Option<ClusterId>,
    /// The sender.
    pub from: NodeId,
    /// The sender's word of the directory group.
    pub beacon: Beacon,
    /// The body.
    pub body: GossipBody,
    /// News of members.
    pub updates: Vec<Update>,
}

/// What a gossip is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GossipBody {
    /// Asks `target` for an [`GossipBody::Ack`]. Another process at its address does not answer for it.
    Ping {
        /// The asker's mark, returned.
        sequence: u64,
        /// Who is meant.
        target: NodeId,
    },
    /// `of` answered the ping of the receiver, which the sender may only pass on.
    Ack {
        /// The mark of the receiver's question.
        sequence: u64,
        /// Who answered, if not the sender.
        of: Option<NodeId>,
    },
    /// Asks the receiver to ping `target`.
    PingReq {
        /// The asker's mark, returned.
        sequence: u64,
        /// Who is meant.
        target: NodeId,
        /// Its address as the asker knows it.
        addr: SocketAddr,
    },
    /// The target of a [`GossipBody::PingReq`] did not answer the sender in time, but the sender was there
    /// (Lifeguard's local health).
    Nack {
        /// The mark of the receiver's question.
        sequence: u64,
    },
    /// The sender, whose own word is the first update, wants to belong.
    Join {
        /// Processes whose state directory the sender lives in: proof that they ended. Newest first, as many as fit.
        succeeds: Vec<NodeId>,
        /// Hash of the sender's list of founders, 0 without one.
        founders_hash: u64,
        /// Zeros at the end, so that the answer need not be longer than the question.
        padding: u16,
    },
    /// The sender's live members in one hash. Whoever has another answers with [`GossipBody::Buckets`].
    Digest {
        /// Hash over all live members.
        hash: u64,
    },
    /// The same hash of each of the [`BUCKETS`] parts. Answered with the first pages of the parts that differ.
    Buckets {
        /// A hash for each part.
        hashes: Vec<u64>,
    },
    /// All that the sender knows of some parts. Answered with what is newer, and a [`GossipBody::Pull`].
    Entries {
        /// The parts, the first in the lowest bit.
        parts: u64,
        /// The members in them.
        entries: Vec<DigestEntry>,
    },
    /// Asks for the whole records of members. Of none: the sender does not know the receiver, and asks who it is.
    Pull {
        /// The members.
        nodes: Vec<NodeId>,
    },
    /// Nothing but updates.
    Delta,
    /// Nothing but updates, the first of them that the sender leaves.
    Leave,
}

/// A member in a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestEntry {
    /// The process.
    pub node: NodeId,
    /// Its persisted life.
    pub boot: Boot,
    /// Its refutation counter.
    pub incarnation: u64,
    /// What is believed of it.
    pub state: MemberState,
}

/// News of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// All that there is to know of it.
    Member(Member),
    /// `by` could not reach it: different accusers confirm each other.
    Suspect {
        /// The life and incarnation that is suspected.
        whom: Accused,
        /// The accuser.
        by: NodeId,
    },
    /// It did not refute in time.
    Dead {
        /// The life and incarnation that is declared dead.
        whom: Accused,
    },
    /// It left, or is proven to have ended.
    Left {
        /// The life that ended.
        whom: Accused,
    },
}

/// A member's life and incarnation, of which something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Accused {
    /// The process.
    pub node: NodeId,
    /// Its persisted life.
    pub boot: Boot,
    /// Its refutation counter.
    pub incarnation: u64,
}

/// A heartbeat between nodes that share a group. Fair-loss, class 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// One more with every beat to this receiver: gaps measure the loss.
    pub sequence: u64,
    /// How long ago the sender last heard the receiver, in milliseconds; none if never, or over 60 s ago.
    pub heard_ms: Option<u32>,
}

/// Fewest bytes of an [`DigestEntry`], and of an [`Accused`].
const ENTRY_LEAST: usize = 16 + 1 + 1;
/// Fewest bytes of an [`Update`].
const UPDATE_LEAST: usize = 1 + ENTRY_LEAST;
/// Fewest bytes of a [`Member`].
const MEMBER_LEAST: usize = 16 + 1 + 1 + 1 + ADDR_LEAST + 2 + 1 + 3;
const _: () = assert!(UPDATE_LEAST <= 1 + MEMBER_LEAST);

/// Two bytes.
struct Pair;

impl Format<(u8, u8)> for Pair {
    fn len(&self, _: &(u8, u8)) -> usize {
        2
    }
    fn put<B: BufMut>(&self, value: &(u8, u8), out: &mut B) {
        out.put_u8(value.0);
        out.put_u8(value.1);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<(u8, u8), DecodeError> {
        Ok((reader.u8(field)?, reader.u8(field)?))
    }
}

/// A key and its value.
struct Tag;

impl Format<(String, String)> for Tag {
    fn len(&self, (key, value): &(String, String)) -> usize {
        Text(META_TEXT_LIMIT).len(key) + Text(META_TEXT_LIMIT).len(value)
    }
    fn put<B: BufMut>(&self, (key, value): &(String, String), out: &mut B) {
        Text(META_TEXT_LIMIT).put(key, out);
        Text(META_TEXT_LIMIT).put(value, out);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<(String, String), DecodeError> {
        Ok((Text(META_TEXT_LIMIT).get(reader, field)?, Text(META_TEXT_LIMIT).get(reader, field)?))
    }
}

/// Metadata of at most [`META_LIMIT`] bytes.
struct Bounded;

impl Format<Meta> for Bounded {
    fn len(&self, value: &Meta) -> usize {
        value.encoded_len()
    }
    fn put<B: BufMut>(&self, value: &Meta, out: &mut B) {
        value.encode(out);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<Meta, DecodeError> {
        let meta = Meta::decode(reader)?;
        if meta.encoded_len() <= META_LIMIT { Ok(meta) } else { Err(DecodeError::TooLong(field)) }
    }
}

/// So many zeros, after their count.
struct Zeros;

impl Format<u16> for Zeros {
    fn len(&self, value: &u16) -> usize {
        varint_len(u64::from(*value)) + usize::from(*value)
    }
    fn put<B: BufMut>(&self, value: &u16, out: &mut B) {
        put_varint(out, u64::from(*value));
        out.put_bytes(0, usize::from(*value));
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<u16, DecodeError> {
        let count = reader.size(GOSSIP_LIMIT, field)?;
        reader.take(count, field)?;
        Ok(count as u16)
    }
}

tagged!(MemberState { 1 => Alive, 2 => Suspect, 3 => Dead, 4 => Left });

record!(Meta {
    zone: Text(META_TEXT_LIMIT),
    host: Text(META_TEXT_LIMIT),
    tags: Many::cut(TAGS_LIMIT, 2, Tag),
});

record!(Member {
    node: Plain,
    boot: Plain,
    incarnation: Counter,
    state: Plain,
    addr: Addr,
    versions: Pair,
    name: Text(NAME_LIMIT),
    meta: Bounded,
});

record!(Beacon { epoch: Plain, history: Plain, view: Plain, coordinator: Plain });

record!(Gossip {
    cluster: Maybe(Plain),
    from: Plain,
    beacon: Plain,
    body: Plain,
    updates: Many::of(UPDATES_LIMIT, UPDATE_LEAST, Plain),
});

tagged!(GossipBody {
    1 => Ping { sequence: Mark, target: Plain },
    2 => Ack { sequence: Mark, of: Maybe(Plain) },
    3 => PingReq { sequence: Mark, target: Plain, addr: Addr },
    4 => Nack { sequence: Mark },
    5 => Join { succeeds: Many::of(SUCCEEDS_LIMIT, 16, Plain), founders_hash: Fixed, padding: Zeros },
    6 => Digest { hash: Fixed },
    7 => Buckets { hashes: Many::of(BUCKETS, 8, Fixed) },
    8 => Entries { parts: Fixed, entries: Many::of(ENTRIES_LIMIT, ENTRY_LEAST, Plain) },
    9 => Pull { nodes: Many::of(PULL_LIMIT, 16, Plain) },
    10 => Delta,
    11 => Leave,
});

record!(DigestEntry { node: Plain, boot: Plain, incarnation: Counter, state: Plain });
record!(Accused { node: Plain, boot: Plain, incarnation: Counter });

tagged!(Update {
    1 => Member(member: Plain),
    2 => Suspect { whom: Plain, by: Plain },
    3 => Dead { whom: Plain },
    4 => Left { whom: Plain },
});

record!(Beat { sequence: Counter, heard_ms: Maybe(Amount) });
