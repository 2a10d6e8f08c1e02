//! One canonical history per group: whoever applies an index first defines it, everyone else is held against it.

use std::collections::BTreeMap;

use bytes::Bytes;
use haystack_wire::ids::{GroupId, LogIndex};
use haystack_wire::message::client::{Effect, Outcome, Versioned};

use super::model::Model;
use super::{Check, ensure};

/// An index of a log.
#[derive(Clone, Copy, Debug)]
struct Slot {
    chain: u64,
    digest: u128,
}

/// The canonical history of one group.
#[derive(Debug)]
pub(crate) struct Canon {
    group: GroupId,
    slots: Vec<Slot>,
    pub(crate) model: Model,
}

impl Canon {
    fn new(group: GroupId) -> Self {
        Self { group, slots: Vec::new(), model: Model::new(group) }
    }

    /// Entries that somebody has applied.
    pub(crate) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// A replica applied the entry at `index`.
    fn applied(&mut self, who: &str, index: LogIndex, chain: u64, digest: u128, body: &Bytes) -> Check {
        let group = self.group;
        ensure!(
            index.0 <= self.len(),
            Log,
            "{who} applied index {index} of group {group}, but nobody applied {} before",
            self.len()
        );
        let Some(slot) = self.slots.get(index.0 as usize) else {
            self.slots.push(Slot { chain, digest });
            if group != GroupId::DIRECTORY {
                self.model.apply(body);
            }
            return Ok(());
        };
        ensure!(
            slot.chain == chain,
            Log,
            "{who} applied another entry at index {index} of group {group} than was applied there before"
        );
        ensure!(
            slot.digest == digest,
            Apply,
            "{who} has another state after index {index} of group {group} than others had"
        );
        Ok(())
    }

    /// A replica says that it has this state where everything below `at` is applied.
    pub(crate) fn has_state(&self, who: &str, at: LogIndex, digest: u128) -> Check {
        let Some(last) = at.0.checked_sub(1) else { return Ok(()) };
        let Some(slot) = self.slots.get(last as usize) else {
            ensure!(false, Log, "{who} is at {at} of group {}, where nobody applied anything", self.group);
            return Ok(());
        };
        ensure!(
            slot.digest == digest,
            Apply,
            "{who} has another state at {at} of group {} than others had",
            self.group
        );
        Ok(())
    }

    /// A client was told that its operation had this effect.
    pub(crate) fn answered(&self, who: &str, session: super::SessionSeq, at: LogIndex, effect: &Effect) -> Check {
        let (id, seq) = session;
        ensure!(
            at.0 < self.len(),
            Log,
            "{who} was told that its write was applied at {at}, which nobody applied"
        );
        match self.model.effect(id, seq) {
            Some(Outcome::Applied { at: really, effect: did }) => {
                ensure!(
                    *really == at && did == effect,
                    Once,
                    "{who} was told that {id:?} {seq} did {effect:?} at {at}, but it did {did:?} at {really}"
                );
            }
            other => ensure!(
                false,
                Once,
                "{who} was told that {id:?} {seq} was applied at {at}, but the log says {other:?}"
            ),
        }
        Ok(())
    }

    /// A client was told that its read at `at` found this.
    pub(crate) fn read(&self, who: &str, key: &[u8], at: LogIndex, found: Option<&Versioned>) -> Check {
        ensure!(at.0 <= self.len(), Log, "{who} read at {at}, which nobody reached");
        let there = self.model.get(key, at.0);
        ensure!(
            there.as_ref() == found,
            Linearizable,
            "{who} read at {at} of group {} and found version {:?}, but the log says {:?}",
            self.group,
            found.map(|found| found.version),
            there.map(|there| there.version)
        );
        Ok(())
    }
}

/// The canonical histories of all groups.
#[derive(Debug, Default)]
pub(crate) struct Canons {
    groups: BTreeMap<GroupId, Canon>,
}

impl Canons {
    /// A replica applied an entry.
    pub(crate) fn applied(
        &mut self,
        who: &str,
        group: GroupId,
        index: LogIndex,
        chain: u64,
        digest: u128,
        body: &Bytes,
    ) -> Check {
        self.groups.entry(group).or_insert_with(|| Canon::new(group)).applied(who, index, chain, digest, body)
    }

    /// The history of a group, if anything was applied in it.
    pub(crate) fn get(&self, group: GroupId) -> Option<&Canon> {
        self.groups.get(&group)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (GroupId, &Canon)> {
        self.groups.iter().map(|(group, canon)| (*group, canon))
    }
}
