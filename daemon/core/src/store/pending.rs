//! What a leader has appended and not applied yet, as far as the limits need it.

use core::hash::BuildHasherDefault;
use std::collections::HashMap;

use haystack_wire::ids::{SessionId, Slot};

use super::sessions::{BySession, PositionHasher};

/// A command that may be appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The slot of its key, if it has one.
    pub slot: Option<Slot>,
    /// Its session, if it has one: to be noted as active.
    pub session: Option<SessionId>,
    /// Bytes that the state grows by at most when it is applied.
    pub growth: u64,
    /// Of these, bytes of a value that its reply may hold.
    pub pins: u64,
    /// Bytes of the value that a write may set; none if it is no write.
    pub sets: Option<u64>,
    /// Whether it opens a session.
    pub opens: bool,
}

/// What the leader has appended and not applied yet: sums and bounds of [`Admission`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Bytes that the state may still grow by.
    pub growth: u64,
    /// Sessions that may still be opened.
    pub sessions: u64,
    users: BySession<User>,
    slots: HashMap<Slot, Writes, BuildHasherDefault<PositionHasher>>,
}

/// Entries of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) entries: u64,
    /// Bytes of values that their replies may hold.
    pub(super) pins: u64,
}

/// Writes of keys of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Writes {
    entries: u64,
    /// Bytes of the longest value that they may set.
    pub(super) longest: u64,
}

impl Pending {
    /// Notes an entry that was appended.
    pub fn add(&mut self, admission: &Admission) {
        self.growth += admission.growth;
        self.sessions += u64::from(admission.opens);
        if let Some(session) = admission.session {
            let user = self.users.entry(session).or_default();
            user.entries += 1;
            user.pins += admission.pins;
        }
        if let (Some(slot), Some(len)) = (admission.slot, admission.sets) {
            let writes = self.slots.entry(slot).or_default();
            writes.entries += 1;
            writes.longest = writes.longest.max(len);
        }
    }

    /// Notes that it was applied.
    ///
    /// # Panics
    /// If it was never added.
    pub fn remove(&mut self, admission: &Admission) {
        self.growth -= admission.growth;
        self.sessions -= u64::from(admission.opens);
        if let Some(session) = admission.session {
            let user = self.users.get_mut(&session).expect("the entry was added");
            user.entries -= 1;
            user.pins -= admission.pins;
            if user.entries == 0 {
                self.users.remove(&session);
            }
        }
        if let (Some(slot), Some(_)) = (admission.slot, admission.sets) {
            let writes = self.slots.get_mut(&slot).expect("the entry was added");
            writes.entries -= 1;
            if writes.entries == 0 {
                self.slots.remove(&slot);
            }
        }
    }

    pub(super) fn user(&self, session: SessionId) -> User {
        self.users.get(&session).copied().unwrap_or_default()
    }

    /// Writes under way to keys of a slot, if there are any.
    pub(super) fn writes(&self, slot: Slot) -> Option<Writes> {
        self.slots.get(&slot).copied()
    }
}
