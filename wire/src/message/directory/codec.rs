//! Bytes of what daemons say outside the groups, and of the partition map.

use bytes::BufMut;

use super::{
    DirectoryMessage, FOUNDERS_LIMIT, FoundingList, GROUPS_LIMIT, GroupView, ListId, NAME_LIMIT, NODES_LIMIT,
    NodeInfo, NodeRecord, NodeState, Partition, PartitionMap, REPLICAS_LIMIT, SUCCEEDS_LIMIT, Standing,
    Testimony,
};
use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::message::format::{ADDR_LEAST, Addr, Fixed, Format, Many, Maybe, Plain, Text, record, tagged};

/// Fewest bytes of a [`NodeInfo`]: an id, a name, an address, a zone, a host.
pub(super) const INFO_LEAST: usize = 16 + 1 + ADDR_LEAST + 1 + 1;

/// Processes.
const fn infos(limit: usize) -> Many<Plain> {
    Many::of(limit, INFO_LEAST, Plain)
}

/// Processes by id.
const fn ids(limit: usize) -> Many<Plain> {
    Many::of(limit, 16, Plain)
}

tagged!(DirectoryMessage {
    1 => Introduce {
        info: Plain,
        standing: Plain,
        cluster: Maybe(Plain),
        founders_hash: Fixed,
        partitions: Partitions,
        degree: Degree,
        succeeds: ids(SUCCEEDS_LIMIT),
    },
    2 => Propose(list: Plain),
    3 => Grant { list: Plain },
    4 => Refuse { list: Plain },
    5 => Founded(list: Plain),
    6 => Query { list: Plain, subject: Plain, proposer: Plain },
    7 => Testify { list: Plain, subject: Plain, testimony: Plain, founded: Maybe(Plain) },
    8 => MapPull { held: Plain },
    9 => Map(map: Plain),
});

tagged!(Testimony {
    1 => Founded,
    2 => Granted,
    3 => Counting,
    4 => Dead,
    5 => Unknown,
});

tagged!(Standing {
    1 => Founding,
    2 => Member,
    3 => Standby,
});

tagged!(NodeState {
    1 => Joining,
    2 => Up,
    3 => Suspect,
    4 => Down,
    5 => Draining,
    6 => Gone,
});

record!(NodeInfo {
    node: Plain,
    name: Text(NAME_LIMIT),
    addr: Addr,
    zone: Text(NAME_LIMIT),
    host: Text(NAME_LIMIT),
});
record!(NodeRecord { info: Plain, state: Plain });
record!(GroupView { view: Plain, replicas: ids(REPLICAS_LIMIT) });
record!(FoundingList {
    proposer: Plain,
    cluster: Plain,
    partitions: Partitions,
    degree: Degree,
    founders: infos(FOUNDERS_LIMIT),
});
record!(Partition { group: Plain, view: Plain, first: Plain, last: Plain, replicas: ids(REPLICAS_LIMIT) });

/// A number of partitions: two bytes, 1 to [`GROUPS_LIMIT`].
struct Partitions;

impl Format<u32> for Partitions {
    fn len(&self, _: &u32) -> usize {
        2
    }
    fn put<B: BufMut>(&self, value: &u32, out: &mut B) {
        assert!((1..=GROUPS_LIMIT as u32).contains(value), "{value} partitions");
        out.put_u16(*value as u16);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<u32, DecodeError> {
        match u32::from(reader.u16(field)?) {
            0 => Err(DecodeError::Invalid(field)),
            count if count > GROUPS_LIMIT as u32 => Err(DecodeError::TooLong(field)),
            count => Ok(count),
        }
    }
}

/// A replication degree: one byte, 1 to [`REPLICAS_LIMIT`].
struct Degree;

impl Format<u32> for Degree {
    fn len(&self, _: &u32) -> usize {
        1
    }
    fn put<B: BufMut>(&self, value: &u32, out: &mut B) {
        assert!((1..=REPLICAS_LIMIT as u32).contains(value), "{value} replicas");
        out.put_u8(*value as u8);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<u32, DecodeError> {
        match u32::from(reader.u8(field)?) {
            0 => Err(DecodeError::Invalid(field)),
            degree if degree > REPLICAS_LIMIT as u32 => Err(DecodeError::TooLong(field)),
            degree => Ok(degree),
        }
    }
}

impl Encode for ListId {
    fn encode<B: BufMut>(&self, out: &mut B) {
        out.put_u64(self.0);
    }
    fn encoded_len(&self) -> usize {
        8
    }
}

impl Decode for ListId {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u64("ListId").map(Self)
    }
}

/// Fewest bytes of a [`Partition`].
const PARTITION_LEAST: usize = 1 + 1 + 2 + 2 + 1;
const PARTITIONS: Many<Plain> = Many::of(GROUPS_LIMIT, PARTITION_LEAST, Plain);
const RECORDS: Many<Plain> = Many::of(NODES_LIMIT, INFO_LEAST + 1, Plain);

impl Encode for PartitionMap {
    fn encode<B: BufMut>(&self, out: &mut B) {
        self.cluster.encode(out);
        self.history.encode(out);
        self.epoch.encode(out);
        Degree.put(&self.degree, out);
        self.directory.encode(out);
        RECORDS.put(&self.nodes, out);
        PARTITIONS.put(&self.partitions, out);
    }

    fn encoded_len(&self) -> usize {
        self.cluster.encoded_len()
            + self.history.encoded_len()
            + self.epoch.encoded_len()
            + Degree.len(&self.degree)
            + self.directory.encoded_len()
            + RECORDS.len(&self.nodes)
            + PARTITIONS.len(&self.partitions)
    }
}

/// A map that does not hold together is no map: nobody has to check one that was read.
impl Decode for PartitionMap {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let map = Self {
            cluster: Decode::decode(reader)?,
            history: Decode::decode(reader)?,
            epoch: Decode::decode(reader)?,
            degree: Degree.get(reader, "PartitionMap.degree")?,
            directory: Decode::decode(reader)?,
            nodes: RECORDS.get(reader, "PartitionMap.nodes")?,
            partitions: PARTITIONS.get(reader, "PartitionMap.partitions")?,
        };
        map.validate()?;
        Ok(map)
    }
}
