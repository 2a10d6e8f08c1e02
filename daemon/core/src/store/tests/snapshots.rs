//! Frozen snapshots beyond what random logs reach.

use super::*;

fn fill(log: &mut Log, count: usize, value: &str, seq: &mut u64) {
    for n in 0..count {
        let key = Bytes::from(format!("{n:06}"));
        let outcome = log.apply(&write(0, *seq, *seq, put(&key, value)));
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        *seq += 1;
    }
}

/// A log of a group that owns all slots.
fn log() -> Log {
    let mut log = Log { store: Store::new(GROUP, Slot(0), Slot(16_383), Limits::default()), next: 0 };
    log.apply(&Command::OpenSession);
    log
}

fn read(store: &mut Store, id: FrozenId, limit: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match store.chunk(id, all.len() as u64, limit) {
            Chunk::Bytes { bytes, last } => {
                all.extend_from_slice(&bytes);
                if last {
                    return all;
                }
            }
            Chunk::Later => {}
            Chunk::Gone => panic!("gone"),
        }
    }
}

#[test]
fn a_second_freeze_returns_the_first_until_it_is_thawed() {
    let mut log = log();
    let (mut seq, next) = (1, LogIndex(log.next));
    let first = log.store.freeze(next);
    assert_eq!(first, FrozenId { index: next, digest: log.store.digest() });
    fill(&mut log, 3, "x", &mut seq);
    assert_eq!(log.store.freeze(LogIndex(log.next)), first);
    log.store.thaw();
    assert_eq!(log.store.chunk(first, 0, 100), Chunk::Gone);
    let second = log.store.freeze(LogIndex(log.next));
    assert_eq!(second.index, LogIndex(log.next));
    assert_eq!(log.store.chunk(first, 0, 100), Chunk::Gone);
    assert_eq!(log.store.frozen(), Some(second));
}

#[test]
fn an_overlay_that_grows_too_large_ends_the_snapshot() {
    let mut log = log();
    let mut seq = 1;
    fill(&mut log, 100, &"x".repeat(100), &mut seq);
    log.store.set_limits(Limits { overlay: 10_000, ..Limits::default() });
    let id = log.store.freeze(LogIndex(log.next));
    fill(&mut log, 50, "y", &mut seq);
    assert!((5_000..10_000).contains(&log.store.overlay_bytes()), "{}", log.store.overlay_bytes());
    let kept = log.store.overlay_bytes();
    fill(&mut log, 50, "z", &mut seq);
    assert_eq!(log.store.overlay_bytes(), kept, "a record is kept aside once");
    assert!(matches!(log.store.chunk(id, 0, 10), Chunk::Bytes { .. }));
    fill(&mut log, 100, "y", &mut seq);
    assert_eq!(log.store.chunk(id, 0, 10), Chunk::Gone);
    assert_eq!((log.store.overlay_bytes(), log.store.stats().overrun), (0, 1));
}

#[test]
fn no_piece_walks_far_and_readers_in_turn_all_arrive() {
    let mut log = log();
    let mut seq = 1;
    fill(&mut log, 10, "x", &mut seq);
    // Sorts behind all that come later.
    log.apply(&write(0, seq, seq, put(&Bytes::from_static(b"z"), "last")));
    seq += 1;
    let id = log.store.freeze(LogIndex(log.next));
    let before = read(&mut log.store, id, 50);
    fill(&mut log, 80_000, "new", &mut seq);
    let (mut later, mut steps) = (0, 0);
    let mut readers = [Vec::new(), Vec::new(), Vec::new()];
    while readers.iter().any(|reader| *reader != before) {
        for (n, reader) in readers.iter_mut().enumerate() {
            if reader.len() == before.len() {
                // Goes back to the start, to be in the way of the others.
                reader.truncate(if n == 0 && later < 9 { 0 } else { reader.len() });
            }
            match log.store.chunk(id, reader.len() as u64, 40 + n) {
                Chunk::Bytes { bytes, .. } => reader.extend_from_slice(&bytes),
                Chunk::Later => later += 1,
                Chunk::Gone => panic!("gone"),
            }
        }
        steps += 1;
        assert!(steps < 200, "readers stand in each other's way");
    }
    assert!(later > 0, "80,000 new records are more than one call looks at");
}

#[test]
fn offsets_at_the_end_and_beyond_it_are_told_apart() {
    let mut log = log();
    let mut seq = 1;
    fill(&mut log, 10, "x", &mut seq);
    let id = log.store.freeze(LogIndex(log.next));
    let all = read(&mut log.store, id, 1000);
    let end = all.len() as u64;
    assert_eq!(log.store.chunk(id, end, 10), Chunk::Bytes { bytes: Bytes::new(), last: true });
    assert_eq!(log.store.chunk(id, end + 1, 10), Chunk::Gone);
    assert_eq!(log.store.chunk(id, u64::MAX, 10), Chunk::Gone);
    let tail = Bytes::copy_from_slice(&all[all.len() - 1..]);
    assert_eq!(log.store.chunk(id, end - 1, 10), Chunk::Bytes { bytes: tail, last: true });
}

#[test]
fn a_large_value_is_cut_over_many_pieces() {
    let mut log = log();
    let mut seq = 1;
    let value: String = (0..300_000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    fill(&mut log, 5, &value, &mut seq);
    let id = log.store.freeze(LogIndex(log.next));
    let all = read(&mut log.store, id, 7_777);
    assert_eq!(all, read(&mut log.store, id, usize::MAX));
    let mut restore = Restore::new(GROUP, Slot(0), Slot(16_383), Limits::default(), id);
    for (n, piece) in all.chunks(10_001).enumerate() {
        assert_eq!(restore.push(n as u64 * 10_001, piece), Ok(true));
        assert_eq!(restore.push(0, piece), Ok(false), "a piece that was taken is ignored");
    }
    assert_eq!(restore.finish().map(|store| store.digest()), Ok(id.digest));
}

#[test]
fn another_state_or_another_groups_is_refused() {
    let mut log = log();
    let mut seq = 1;
    fill(&mut log, 5, "x", &mut seq);
    let id = log.store.freeze(LogIndex(log.next));
    let all = read(&mut log.store, id, usize::MAX);
    let take = |group, last, id| {
        let mut restore = Restore::new(group, Slot(0), last, Limits::default(), id);
        restore.push(0, &all)?;
        restore.finish().map(|store| store.len())
    };
    assert_eq!(take(GROUP, Slot(16_383), id), Ok(5));
    let other = FrozenId { digest: id.digest ^ 1, ..id };
    assert_eq!(take(GROUP, Slot(16_383), other), Err(RestoreError::Digest));
    let earlier = FrozenId { index: LogIndex(3), ..id };
    assert!(matches!(take(GROUP, Slot(16_383), earlier), Err(RestoreError::Malformed(_))));
    assert!(matches!(take(GroupId(9), Slot(16_383), id), Err(RestoreError::Malformed(_))));
    assert!(matches!(take(GROUP, Slot(9), id), Err(RestoreError::Malformed(_))));
}

#[test]
fn announced_counts_cost_nothing_before_they_are_there() {
    let mut claim = Vec::new();
    claim.push(frozen::FORMAT);
    haystack_wire::codec::Encode::encode(&GROUP, &mut claim);
    claim.extend_from_slice(&[0, 0, 0x3f, 0xff]);
    claim.extend_from_slice(&[0xff; 16]);
    let id = FrozenId { index: LogIndex(u64::MAX >> 4), digest: 0 };
    let mut restore = Restore::new(GROUP, Slot(0), Slot(16_383), Limits::default(), id);
    assert_eq!(restore.push(0, &claim), Ok(true));
    assert_eq!(restore.finish().map(|_| ()), Err(RestoreError::Incomplete));
}

/// A snapshot of three records, each of whose bytes are given.
fn of_records(records: &[(&str, u64)]) -> Result<u64, RestoreError> {
    let mut encoding = vec![frozen::FORMAT, GROUP.0 as u8, 0, 0, 0x3f, 0xff, 0, records.len() as u8];
    for (key, index) in records {
        encoding.extend([key.len() as u8, GROUP.0 as u8, *index as u8, 1]);
        encoding.extend_from_slice(key.as_bytes());
        encoding.push(b'v');
    }
    let mut digest = Digest::new(GROUP, Slot(0), Slot(16_383));
    for (key, index) in records {
        digest.add_record(digest::KeyHash::new(key.as_bytes()), b"v", version(*index));
    }
    let id = FrozenId { index: LogIndex(9), digest: digest.value() };
    let mut restore = Restore::new(GROUP, Slot(0), Slot(16_383), Limits::default(), id);
    restore.push(0, &encoding)?;
    restore.finish().map(|store| store.len())
}

#[test]
fn a_right_digest_does_not_excuse_a_wrong_form() {
    assert_eq!(of_records(&[("a", 1), ("b", 8), ("c", 3)]), Ok(3));
    for wrong in
        [[("a", 1), ("c", 8), ("b", 3)], [("a", 1), ("b", 8), ("b", 8)], [("a", 1), ("b", 9), ("c", 3)]]
    {
        assert!(matches!(of_records(&wrong), Err(RestoreError::Malformed(_))), "{wrong:?}");
    }
}
