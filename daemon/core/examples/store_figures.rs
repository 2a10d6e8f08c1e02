//! Prints what the store costs, in bytes and nanoseconds, at a number of keys (default 1,000,000) of 16 B with values of
//! 100 B: `cargo run --release -p haystack-core --example store_figures [KEYS]`.
//!
//! Keys are met in random order, which is the worst for caches; "hot" repeats 1,000 of them.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use haystack_core::store::{Chunk, Limits, Pending, Restore, Store};
use haystack_wire::codec::Encode;
use haystack_wire::ids::{GroupId, LogIndex, SessionId, Slot};
use haystack_wire::message::client::{Command, Expect, RequestBody, Write};
use haystack_wire::rng::Rng;

const GROUP: GroupId = GroupId(1);
const LAST: Slot = Slot(16_383);
/// Operations of one measurement.
const ROUND: usize = 200_000;
/// Room for the entries of one wake-up.
const ARENA: usize = 64 * 1024;
/// Operations of one wake-up.
const TURN: usize = 200;

/// Resident memory of this process in bytes (pages of 4 KiB).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn key(n: u64) -> Bytes {
    Bytes::from(format!("key:{n:012}"))
}

/// A log whose entries are made before they are measured.
struct Bench {
    store: Store,
    next: u64,
    seq: u64,
    rng: Rng,
    keys: u64,
    arena: BytesMut,
}

impl Bench {
    fn command(&mut self, write: Write) -> Bytes {
        self.seq += 1;
        let session = SessionId { group: GROUP, index: LogIndex(0) };
        let command = Command::Write { session, seq: self.seq, ack_below: self.seq, write };
        // As links deliver it: a slice of a larger buffer.
        command.encode(&mut self.arena);
        self.arena.split().freeze()
    }

    fn put(&mut self, n: u64) -> Bytes {
        self.command(Write::Put { key: key(n), value: Bytes::from(vec![n as u8; 100]) })
    }

    fn random(&mut self) -> u64 {
        self.rng.below(self.keys)
    }

    fn apply(&mut self, commands: &[Bytes]) -> Duration {
        let start = Instant::now();
        for command in commands {
            black_box(self.store.apply(LogIndex(self.next), command));
            self.next += 1;
        }
        start.elapsed()
    }

    /// Makes commands and applies them, a few at a time: entries come fresh from the network, not from cold memory.
    fn round(&mut self, what: &str, make: impl Fn(&mut Self) -> Bytes) {
        let mut spent = Duration::ZERO;
        for _ in 0..ROUND / TURN {
            self.arena.reserve(ARENA);
            let commands: Vec<_> = (0..TURN).map(|_| make(self)).collect();
            spent += self.apply(&commands);
        }
        report(what, spent, ROUND);
    }
}

fn report(what: &str, spent: Duration, count: usize) {
    println!("{what:<44} {:>8} ns", spent.as_nanos() / count as u128);
}

fn main() {
    let keys = std::env::args().nth(1).and_then(|keys| keys.parse().ok()).unwrap_or(1_000_000);
    let store = Store::new(GROUP, Slot(0), LAST, Limits { overlay: u64::MAX, ..Limits::default() });
    let mut bench = Bench { store, next: 0, seq: 0, rng: Rng::from_u64(1), keys, arena: BytesMut::new() };
    bench.store.apply(LogIndex(0), &RequestBody::command(&Command::OpenSession));
    bench.next = 1;
    load(&mut bench);
    writes(&mut bench);
    reads(&mut bench);
    snapshot(&mut bench);
}

/// Every key once, in random order, a small part at a time, so that what is made beforehand stays small.
fn load(bench: &mut Bench) {
    let mut order: Vec<u32> = (0..bench.keys as u32).collect();
    for n in (1..order.len()).rev() {
        order.swap(n, bench.rng.below(n as u64 + 1) as usize);
    }
    let before = resident();
    let mut spent = Duration::ZERO;
    for part in order.chunks(TURN) {
        bench.arena.reserve(ARENA);
        let commands: Vec<_> = part.iter().map(|n| bench.put(u64::from(*n))).collect();
        spent += bench.apply(&commands);
    }
    report("apply PUT, new key", spent, order.len());
    let (resident, keys) = (resident().saturating_sub(before), bench.keys);
    println!("{:<44} {:>8} B", "resident memory per record of 116 B", resident / keys);
    println!("{:<44} {:>8} B", "as the memory limit counts it", bench.store.bytes() / keys);
}

fn writes(bench: &mut Bench) {
    bench.round("apply PUT, random key", |bench| {
        let n = bench.random();
        bench.put(n)
    });
    bench.round("apply PUT, hot keys", |bench| {
        let n = bench.rng.below(1000);
        bench.put(n)
    });
    bench.round("apply CAS that fails, random key", |bench| {
        let write = Write::Cas { key: key(bench.random()), expect: Expect::Absent, value: Bytes::new() };
        bench.command(write)
    });
    let (pending, mut spent) = (Pending::default(), Duration::ZERO);
    for _ in 0..ROUND / TURN {
        bench.arena.reserve(ARENA);
        let keys: Vec<_> = (0..TURN).map(|_| bench.random()).collect();
        let commands: Vec<_> = keys.into_iter().map(|n| bench.put(n)).collect();
        let start = Instant::now();
        for command in &commands {
            let _ = black_box(bench.store.admit(command, &pending));
        }
        spent += start.elapsed();
    }
    report("admit PUT", spent, ROUND);
}

fn reads(bench: &mut Bench) {
    for (what, among) in [("get, random key", bench.keys), ("get, hot keys", 1000)] {
        let wanted: Vec<_> = (0..ROUND).map(|_| key(bench.rng.below(among))).collect();
        let start = Instant::now();
        for key in &wanted {
            black_box(bench.store.get(key));
        }
        report(what, start.elapsed(), ROUND);
    }
    let (mut after, mut pairs, start) = (None, 0, Instant::now());
    loop {
        let (page, more) = bench.store.scan(after.as_deref(), usize::MAX);
        pairs += page.len();
        after = page.into_iter().last().map(|pair| pair.key);
        if !more {
            break;
        }
    }
    report("scan, per pair", start.elapsed(), pairs);
}

fn snapshot(bench: &mut Bench) {
    let start = Instant::now();
    let id = bench.store.freeze(LogIndex(bench.next));
    report("freeze", start.elapsed(), 1);
    bench.round("apply PUT, random key, frozen", |bench| {
        let n = bench.random();
        bench.put(n)
    });
    println!("{:<44} {:>8} B", "kept aside for the snapshot", bench.store.overlay_bytes());
    let mut restore = Restore::new(GROUP, Slot(0), LAST, Limits::default(), id);
    let (mut reading, mut longest, mut taking, mut pieces) = (0, 0, 0, 0);
    loop {
        let start = Instant::now();
        let Chunk::Bytes { bytes, last } = bench.store.chunk(id, restore.offset(), 256 * 1024) else {
            continue;
        };
        let nanos = start.elapsed().as_nanos();
        (reading, longest, pieces) = (reading + nanos, longest.max(nanos), pieces + 1);
        let start = Instant::now();
        restore.push(restore.offset(), &bytes).expect("a snapshot of this very store");
        taking += start.elapsed().as_nanos();
        if last {
            break;
        }
    }
    println!("{:<44} {:>8} ns (longest {longest})", "chunk of 256 KiB", reading / pieces);
    println!("{:<44} {:>8} ns", "restore, per record", taking / u128::from(bench.keys));
    let start = Instant::now();
    bench.store.thaw();
    report("thaw", start.elapsed(), 1);
    let restored = restore.finish().expect("it has the digest that was announced");
    assert_eq!(restored.digest(), id.digest);
    let start = Instant::now();
    drop(restored);
    report("drop of a store", start.elapsed(), 1);
}
