//! Targets of `haystack-core`. Each takes any bytes, and panics only if a rule is broken.

use bytes::Bytes;
use haystack_core::directory::life::Life;
use haystack_core::store::{Admitted, Chunk, FrozenId, Limits, Pending, Restore, Store};
use haystack_wire::codec::{Reader, decode_whole, encode_whole};
use haystack_wire::ids::{GroupId, LogIndex, SessionId, Slot, Version};
use haystack_wire::message::client::{Command, Expect, Refusal, Write};
use xxhash_rust::xxh3::xxh3_64;

const GROUP: GroupId = GroupId(3);
const FIRST: Slot = Slot(0);
/// Some keys are another group's.
const LAST: Slot = Slot(12_000);

/// Snapshots at most in one input: they take longer than everything else together.
const COPIES_MAX: usize = 3;

/// The life file, as it is and with a good checksum: what is read is written back the same.
pub fn life(data: &[u8]) {
    let _ = Life::decode(data);
    let mut file = b"haystack-life-1\n".to_vec();
    file.extend_from_slice(data);
    file.extend_from_slice(&xxh3_64(&file).to_be_bytes());
    if let Ok(life) = Life::decode(&file) {
        assert_eq!(Life::decode(&life.encode()), Ok(life));
    }
}

/// A snapshot in pieces from a replica that need not mean well.
pub fn snapshot(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let id = FrozenId { index: LogIndex(1000), digest: 0 };
    let mut restore = Restore::new(GROUP, FIRST, LAST, Limits::default(), id);
    for piece in data.chunks(usize::from(*size) + 1) {
        let at = restore.offset();
        if restore.push(at, piece).is_err() {
            assert!(restore.push(restore.offset(), piece).is_err(), "taken after an error");
            break;
        }
        assert_eq!(restore.offset(), at + piece.len() as u64);
        assert_eq!(restore.push(at, piece), Ok(false), "the same piece twice");
    }
    let _ = restore.finish();
}

/// A log of any entries. Replicas that apply it agree on every outcome and on the state, though one of them began with a
/// snapshot of the other somewhere in the middle; whatever the leader admits is no surprise when it is applied.
pub fn store(data: &[u8]) {
    let mut reader = Reader::new(data);
    let limits = Limits { sessions: 4, memory: 1 << 16, ..Limits::default() };
    let mut leader = Store::new(GROUP, FIRST, LAST, limits);
    let mut follower: Option<Store> = None;
    let mut index = LogIndex(0);
    let mut copies = 0;
    while let Ok(kind) = reader.u8("kind") {
        if kind == 0xff {
            if copies == COPIES_MAX {
                break;
            }
            copies += 1;
            follower = Some(copied(&mut leader, index, limits));
            continue;
        }
        let body = if kind & 0x80 == 0 { made_up(kind, &mut reader) } else { raw(&mut reader) };
        let known = decode_whole::<Command>(&body, "command").is_ok();
        let admitted = leader.admit(&body, &Pending::default());
        assert_eq!(admitted == Err(Refusal::Malformed), !known, "{body:?}");
        let outcome = leader.apply(index, &body);
        if let Ok(Admitted::Answer(answer)) = admitted {
            assert_eq!(answer, outcome, "the leader answered otherwise");
        }
        if let Some(follower) = &mut follower {
            assert_eq!(follower.apply(index, &body), outcome);
            assert_eq!(follower.digest(), leader.digest());
        }
        index += 1;
    }
    if let Some(follower) = &follower {
        assert_eq!(follower.scan(None, usize::MAX), leader.scan(None, usize::MAX));
        assert_eq!((follower.len(), follower.sessions()), (leader.len(), leader.sessions()));
    }
}

/// The next bytes as they are.
fn raw(reader: &mut Reader<'_>) -> Bytes {
    let len = usize::from(reader.u8("len").unwrap_or(0)).min(reader.remaining());
    Bytes::copy_from_slice(reader.take(len, "body").unwrap_or_default())
}

/// A well-formed command over few keys, values, sessions and numbers, so that they meet.
fn made_up(kind: u8, reader: &mut Reader<'_>) -> Bytes {
    let mut next = || reader.u8("field").unwrap_or(0);
    let session =
        SessionId { group: GroupId(GROUP.0 + u32::from(kind >> 6 & 1)), index: LogIndex(next().into()) };
    let (seq, ack_below) = (u64::from(next()), u64::from(next()));
    let key = Bytes::copy_from_slice(&[next() & 7]);
    let value = |byte: u8| Bytes::from(vec![byte; usize::from(byte)]);
    let write = match kind & 7 {
        0 | 1 => Write::Put { key: key.clone(), value: value(next()) },
        2 => Write::Delete { key: key.clone() },
        3 => Write::Cas { key: key.clone(), expect: Expect::Absent, value: value(next()) },
        4 => Write::Cas { key: key.clone(), expect: Expect::Value(value(next())), value: value(next()) },
        _ => {
            let version = Version { group: GROUP, index: LogIndex(next().into()) };
            Write::Cas { key: key.clone(), expect: Expect::Version(version), value: value(next()) }
        }
    };
    encode_whole(&match kind >> 3 & 7 {
        0 | 1 => Command::OpenSession,
        2 => Command::Resolve { session, seq, key },
        3 => Command::ExpireSessions { sessions: vec![session.index, LogIndex(ack_below)] },
        4 => Command::CloseSession { session, ack_below },
        _ => Command::Write { session, seq, ack_below, write },
    })
}

/// The state, by way of its snapshot, in small pieces.
fn copied(from: &mut Store, index: LogIndex, limits: Limits) -> Store {
    from.thaw();
    let id = from.freeze(index);
    let mut restore = Restore::new(GROUP, FIRST, LAST, limits, id);
    loop {
        match from.chunk(id, restore.offset(), 100) {
            Chunk::Bytes { bytes, last } => {
                let taken = restore.push(restore.offset(), &bytes).expect("a store writes what it reads");
                assert!(taken);
                if last {
                    break;
                }
                assert!(!bytes.is_empty(), "a piece without a byte before the end");
            }
            Chunk::Later => {}
            Chunk::Gone => panic!("nothing was changed since the state was frozen"),
        }
    }
    restore.finish().expect("the state is what it was")
}
