//! The state machine of a data group: an ordered map of byte keys to versioned values, and client sessions.
//!
//! # Before the log and after it
//!
//! [`Store::admit`] judges a client's command before the leader appends it, by what the leader has applied so far
//! and by its own limits: what it refuses was surely not appended. [`Store::apply`] is the judgement that counts. It
//! depends on the log alone (no limits, no clock, no order of a hash map), so every replica gives the same answer
//! and has the same [`Store::digest`] at the same position.
//!
//! # What a client is told
//!
//! | case | at admission | when applied |
//! |---|---|---|
//! | first time | appended | its effect, remembered until acknowledged |
//! | again, reply remembered | the original reply, nothing appended | the original reply |
//! | session unknown, of whatever group | `SessionExpired` (appended if the session may be opened by an entry not applied yet) | `SessionExpired` |
//! | `seq` 0, or below the session's or its own `ack_below` | `Refused(OutOfWindow)` | `SessionExpired` |
//! | `seq` at or beyond `ack_below + 64` | `Refused(OutOfWindow)` | `Refused(OutOfWindow)` |
//! | slot of another group | `Refused(WrongGroup)` | `Refused(WrongGroup)`, unless a reply is remembered |
//! | bytes without meaning | `Refused(Malformed)` | `Refused(Malformed)` |
//! | fence, reply remembered | the reply, nothing appended | the reply |
//! | fence, nothing remembered | appended | `NeverApplies`, remembered as the reply of that `seq` |
//! | close, all replies acknowledged by it | appended | `SessionExpired`: the session is gone |
//! | close, other replies remembered | `Refused(OutOfWindow)` | `Refused(OutOfWindow)` |
//!
//! An entry below the window is never applied. Its operation may have been: the reply is forgotten, because the client
//! said that it needs it no more. "It may have applied and will not any more" is all that is known, and that is
//! what `SessionExpired` says; the session itself goes on. `Refused` from `apply` means that this entry had no effect
//! and will not get one, which for the client is as good as not appended: its rule, that an operation failed only if
//! *every* attempt was refused, stays right, since an earlier attempt that did apply was not refused.
//! Replies are looked up before the slot is checked: a retry must not be told "wrong group, nothing happened" of an
//! operation that did happen. The epoch of `WrongGroup` is left 0 for the caller, who knows the map.
//!
//! A fence for `seq` also moves `ack_below` up to `seq - 63`: only a client that had all replies below that could
//! have used `seq`. Without this a fence could come from beyond a window that lags, and find no place to stay.
//!
//! A close ends a session for its client, which says with it that it has all replies and used no number beyond them.
//! Where a reply is remembered that it does not acknowledge, that was a mistake, and the session stays: whoever holds
//! the ticket of that operation can still settle it. Attempts that arrive after the close find no session.
//!
//! # Memory
//!
//! [`Store::bytes`] counts keys, values, sessions and remembered replies with a fixed overhead for each
//! ([`RECORD_OVERHEAD`], [`SESSION_OVERHEAD`], [`REPLY_OVERHEAD`]). At [`Limits::memory`] only writes that grow are
//! refused, by `Full`: a record that gets longer, or a CAS whose reply may hold the value that it found. What is under
//! way ([`Pending`]) counts as if it did the worst that it can, and what a request's own `ack_below` frees counts for it.
//! DELETE, opening and closing a session, and fences go on: they take [`SESSION_OVERHEAD`] or [`REPLY_OVERHEAD`] each,
//! whose number is bounded otherwise, and without them nothing would ever be freed.
//!
//! A session whose replies would hold more than [`Limits::pinned`] bytes of values gets `Overloaded` for a CAS that may
//! fail, until it acknowledges some. At most [`Limits::sessions`] sessions are opened. These limits bind the leader
//! that admits, never `apply`.
//!
//! # Snapshots
//!
//! [`Store::freeze`] takes no pass over the state: it notes the position. A record or a session that changes later
//! goes into an overlay the first time (its version, or last change, tells whether it is older than the freeze).
//! [`Store::chunk`] merges the two in canonical order: sessions by id, then records by key. One snapshot is frozen at
//! a time; a second `freeze` returns the first, unchanged, until [`Store::thaw`]. An overlay over
//! [`Limits::overlay`] bytes ends the snapshot, and chunks of it are [`Chunk::Gone`]. [`Restore`] is the way back.

mod activity;
mod admit;
mod apply;
mod digest;
mod frozen;
mod pending;
mod restore;
mod sessions;
mod tree;

#[cfg(test)]
mod tests;

use bytes::BytesMut;
use haystack_wire::ids::{Epoch, GroupId, LogIndex, SessionId, Slot, Version};
use haystack_wire::message::client::{KEY_LIMIT, Pair, Refusal, Versioned};
use haystack_wire::slot::slot_of;

use crate::mutation::Mutations;
use crate::stats::counters;
pub use activity::Activity;
pub use admit::Admitted;
pub use frozen::{CHUNK_LIMIT, Chunk, FrozenId};
pub use pending::{Admission, Pending};
pub use restore::{Restore, RestoreError};

use digest::Digest;
use frozen::Frozen;
use sessions::Sessions;
use tree::{Record, Shape, Tree};

/// What a record costs beyond its key and value, in bytes: header, slot, its part of nodes and of spare room
/// (measured: 34 for records of 116 B that came in random order, less for ordered ones).
pub const RECORD_OVERHEAD: u64 = 34;
/// What a session costs without its replies, in bytes (its places in a hash table and an ordered set).
pub const SESSION_OVERHEAD: u64 = 160;
/// What a remembered reply costs without a value, in bytes.
pub const REPLY_OVERHEAD: u64 = 48;
/// Most bytes of values that the remembered replies of one session hold: 8 MiB. A window of 64 failed CAS of the
/// longest values would be 96 MiB that no key shows; with a twelfth of it a client still has five of them under way,
/// enough to hide the round trip, and hundreds of any usual size.
pub const PINNED_LIMIT: u64 = 8 * 1024 * 1024;
/// Most that a page returns of keys and values, in bytes, whatever is asked (judgement: a page is read in one go, and
/// 1 MiB takes about a millisecond). A single larger pair is a page of its own.
pub const PAGE_LIMIT: usize = 1024 * 1024;

/// What the leader holds clients to. Replicas may differ in them: none of this decides what an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of state ([`Store::bytes`]) beyond which writes that grow are refused.
    pub memory: u64,
    /// Longest key, in bytes, at most [`KEY_LIMIT`].
    pub key: usize,
    /// Longest value, in bytes, at most [`haystack_wire::message::client::VALUE_LIMIT`].
    pub value: usize,
    /// Most sessions (judgement).
    pub sessions: u64,
    /// Most bytes of values that the remembered replies of one session hold, if it is more than one.
    pub pinned: u64,
    /// Bytes of records and sessions kept aside for a frozen snapshot, beyond which it is dropped (judgement).
    pub overlay: u64,
    /// Rules broken on purpose: empty but in tests.
    pub mutations: Mutations,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: u64::MAX,
            key: KEY_LIMIT,
            value: 1024 * 1024,
            sessions: 100_000,
            pinned: PINNED_LIMIT,
            overlay: 128 * 1024 * 1024,
            mutations: Mutations::none(),
        }
    }
}

counters! {
    /// How often things happened since the process started. Not part of the state.
    pub struct StoreStats;

    /// Entries applied, whatever came of them.
    entries,
    /// Writes that took effect, failed CAS included.
    writes,
    /// Entries that were answered with the reply of an earlier one.
    duplicates,
    /// Entries of sessions that were gone.
    expired,
    /// Entries outside their session's window.
    out_of_window,
    /// Entries for slots of other groups.
    wrong_group,
    /// Entries without meaning.
    malformed,
    /// Fences that settled that an operation never applies.
    fences,
    /// Sessions opened.
    sessions_opened,
    /// Sessions ended.
    sessions_ended,
    /// Of these, closed by their clients.
    sessions_closed,
    /// Snapshots frozen.
    frozen,
    /// Snapshots dropped because too much changed since.
    overrun,
}

/// The state machine of one data group, at one replica.
#[derive(Debug)]
pub struct Store {
    group: GroupId,
    first: Slot,
    last: Slot,
    limits: Limits,
    applied: LogIndex,
    records: Tree,
    sessions: Sessions,
    digest: Digest,
    frozen: Option<Box<Frozen>>,
    stats: StoreStats,
}

impl Store {
    /// The state at the start of a group that owns the slots from `first` to `last`, inclusive.
    pub fn new(group: GroupId, first: Slot, last: Slot, limits: Limits) -> Self {
        Self::with_shape(group, first, last, limits, Shape::DEFAULT)
    }

    fn with_shape(group: GroupId, first: Slot, last: Slot, limits: Limits, shape: Shape) -> Self {
        Self {
            group,
            first,
            last,
            limits,
            applied: LogIndex::ZERO,
            records: Tree::new(group, shape),
            sessions: Sessions::default(),
            digest: Digest::new(group, first, last),
            frozen: None,
            stats: StoreStats::default(),
        }
    }

    /// Changes the limits: the leader's memory limit may depend on what other groups of its node hold.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Everything of this state comes from entries below this position.
    pub const fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Digest of the whole state: keys, values, versions, sessions, remembered replies. O(1).
    pub const fn digest(&self) -> u128 {
        self.digest.value()
    }

    /// How many keys there are.
    pub const fn len(&self) -> u64 {
        self.records.len()
    }

    /// Whether there are no keys.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the state, as the memory limit counts them: about what it takes of memory.
    pub fn bytes(&self) -> u64 {
        self.records.bytes()
            + self.len() * RECORD_OVERHEAD
            + self.sessions.len() * SESSION_OVERHEAD
            + self.sessions.replies() * REPLY_OVERHEAD
            + self.sessions.pinned()
    }

    /// Bytes kept aside for the frozen snapshot, if there is one, beside [`Self::bytes`].
    pub fn overlay_bytes(&self) -> u64 {
        self.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> u64 {
        self.sessions.len()
    }

    /// What happened so far.
    pub const fn stats(&self) -> &StoreStats {
        &self.stats
    }

    /// The slot of a key that this group owns. To be asked before every read.
    ///
    /// # Errors
    /// [`Refusal::WrongGroup`] with epoch 0 if the group does not own it; the caller fills in the epoch.
    pub fn owned_slot(&self, key: &[u8]) -> Result<Slot, Refusal> {
        let slot = slot_of(key);
        if self.first <= slot && slot <= self.last {
            Ok(slot)
        } else {
            Err(Refusal::WrongGroup { slot, epoch: Epoch(0) })
        }
    }

    /// What is stored under a key. A value that does not stand alone (below about 2 KiB) is copied, a larger one shared.
    pub fn get(&self, key: &[u8]) -> Option<Versioned> {
        self.records.get(key).map(|record| Versioned { value: record.share(), version: record.version })
    }

    /// What is stored under a key, without a copy.
    pub fn view(&self, key: &[u8]) -> Option<(&[u8], Version)> {
        self.records.get(key).map(|record| (record.value, record.version))
    }

    /// The pairs after the key `after`, or from the start, in the order of keys, until `limit` bytes of keys and values
    /// (at most [`PAGE_LIMIT`]) are reached, at least one pair; and whether there are more. Small pairs of a page
    /// share one allocation.
    pub fn scan(&self, after: Option<&[u8]>, limit: usize) -> (Vec<Pair>, bool) {
        let mut left = limit.min(PAGE_LIMIT);
        let mut page = Vec::new();
        let mut records = self.records.iter(after).peekable();
        while let Some(record) = records.next_if(|record| page.is_empty() || record.size() <= left) {
            left = left.saturating_sub(record.size());
            page.push(record);
        }
        let mut packed = BytesMut::with_capacity(page.iter().map(Record::packed_size).sum());
        let mut own = |bytes: &[u8]| {
            packed.extend_from_slice(bytes);
            packed.split().freeze()
        };
        let pairs = page.iter().map(|record| {
            let (key, value) = if record.packed_size() == 0 {
                (record.share_key(), record.share())
            } else {
                (own(record.key), own(record.value))
            };
            Pair { key, value, version: record.version }
        });
        (pairs.collect(), records.peek().is_some())
    }

    /// Sessions after `after` in the order of ids, for [`Activity`].
    fn session_ids(&self, after: Option<SessionId>) -> impl Iterator<Item = SessionId> {
        self.sessions.iter(after).map(|(id, _)| id)
    }
}
