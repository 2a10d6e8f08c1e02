//! The store beside a model of it that is too simple to be wrong, and the cases that clients depend on by name.

mod admission;
mod idle;
mod model;
mod outcomes;
mod snapshots;

use bytes::Bytes;
use haystack_wire::ids::{GroupId, LogIndex, SessionId, Slot, Version};
use haystack_wire::message::client::{Command, Effect, Expect, Outcome, RequestBody, Versioned, Write};

use super::*;

const GROUP: GroupId = GroupId(3);
/// Half of the slots, so that half of the keys are of another group.
const FIRST: Slot = Slot(4096);
const LAST: Slot = Slot(12287);

fn store() -> Store {
    Store::new(GROUP, FIRST, LAST, Limits::default())
}

fn id(index: u64) -> SessionId {
    SessionId { group: GROUP, index: LogIndex(index) }
}

fn version(index: u64) -> Version {
    Version { group: GROUP, index: LogIndex(index) }
}

fn body(command: &Command) -> Bytes {
    RequestBody::command(command)
}

fn bytes(string: &str) -> Bytes {
    Bytes::copy_from_slice(string.as_bytes())
}

/// A key in (or out of) the group, the `n`th.
fn key(own: bool, n: usize) -> Bytes {
    let is_own = |key: &String| (FIRST..=LAST).contains(&slot_of(key.as_bytes()));
    let key = (0..).map(|n| format!("key-{n}")).filter(|key| is_own(key) == own).nth(n);
    Bytes::from(key.expect("there are many keys"))
}

fn put(key: &Bytes, value: &str) -> Write {
    Write::Put { key: key.clone(), value: bytes(value) }
}

fn cas(key: &Bytes, expect: Expect, value: &str) -> Write {
    Write::Cas { key: key.clone(), expect, value: bytes(value) }
}

fn write(session: u64, seq: u64, ack_below: u64, write: Write) -> Command {
    Command::Write { session: id(session), seq, ack_below, write }
}

fn applied(at: u64, effect: Effect) -> Outcome {
    Outcome::Applied { at: LogIndex(at), effect }
}

fn found(value: &str, index: u64) -> Option<Versioned> {
    Some(Versioned { value: bytes(value), version: version(index) })
}

/// A store that entries are applied to one after another.
struct Log {
    store: Store,
    next: u64,
}

impl Log {
    /// With a session opened by entry 0.
    fn new() -> Self {
        let mut log = Self { store: store(), next: 0 };
        log.apply(&Command::OpenSession);
        log
    }

    fn apply(&mut self, command: &Command) -> Outcome {
        self.next += 1;
        self.store.apply(LogIndex(self.next - 1), &body(command))
    }
}

/// All pairs, read page by page.
fn pairs(store: &Store, limit: usize) -> Vec<Pair> {
    let mut all: Vec<Pair> = Vec::new();
    loop {
        let (page, more) = store.scan(all.last().map(|pair| &*pair.key), limit);
        assert!(!page.is_empty() || !more, "a page moves on");
        all.extend(page);
        if !more {
            return all;
        }
    }
}
