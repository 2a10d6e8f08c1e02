//! The state machine of group 0. Its first decided entry is the partition map, epoch 1; every other group starts
//! from that entry, never from configuration.

use bytes::{BufMut, Bytes, BytesMut};
use haystack_wire::codec::{Decode, DecodeError, Encode, Reader, decode_whole};
use haystack_wire::message::directory::PartitionMap;
use xxhash_rust::xxh3::xxh3_128;

/// A command of the directory: the body of an entry in the log of group 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryCommand {
    /// The first map. Any later one of this kind is void: two coordinators may both propose it.
    Found(PartitionMap),
}

impl Encode for DirectoryCommand {
    fn encode<B: BufMut>(&self, out: &mut B) {
        let Self::Found(map) = self;
        out.put_u8(1);
        map.encode(out);
    }
}

impl Decode for DirectoryCommand {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8("directory command")? {
            1 => Ok(Self::Found(PartitionMap::decode(reader)?)),
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
#[derive(Clone, Debug, Default)]
pub struct DirectoryMachine {
    map: Option<PartitionMap>,
}

impl DirectoryMachine {
    /// The map in force, once founding is decided.
    pub const fn map(&self) -> Option<&PartitionMap> {
        self.map.as_ref()
    }

    /// Applies an entry; true if the map changed. What cannot be read or is not valid changes nothing, alike on
    /// every replica.
    pub fn apply(&mut self, body: &Bytes) -> bool {
        let Ok(DirectoryCommand::Found(map)) = decode_whole(body, "directory command") else { return false };
        if self.map.is_some() || map.validate().is_err() {
            return false;
        }
        self.map = Some(map);
        true
    }

    /// Digest of the state's canonical encoding.
    pub fn digest(&self) -> u128 {
        xxh3_128(&self.snapshot())
    }

    /// The state's canonical encoding: the map, or nothing before there is one.
    pub fn snapshot(&self) -> Bytes {
        let mut out = BytesMut::new();
        if let Some(map) = &self.map {
            map.encode(&mut out);
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
        let map: PartitionMap = decode_whole(snapshot, "partition map")?;
        map.validate().map_err(|_| DecodeError::Invalid("partition map"))?;
        Ok(Self { map: Some(map) })
    }
}
