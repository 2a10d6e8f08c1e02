//! One canonical history per group: whoever applies an index first defines it, everyone else is held against it.

use std::collections::BTreeMap;

use bytes::Bytes;
use haystack_core::directory::machine::DirectoryMachine;
use haystack_wire::ids::{Epoch, GroupId, LogIndex, NodeId, Version};
use haystack_wire::message::client::{Effect, Outcome, Pair, Versioned};
use haystack_wire::message::directory::{NodeState, PartitionMap};
use haystack_wire::slot::slot_of;

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
    pub(crate) fn answered(
        &self,
        who: &str,
        session: super::SessionSeq,
        at: LogIndex,
        effect: &Effect,
    ) -> Check {
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

    /// A client was told that it removed this version of a key: what that was.
    pub(crate) fn written(
        &self,
        who: &str,
        key: &[u8],
        version: Version,
    ) -> Result<Versioned, super::Violation> {
        let found = self.model.get(key, version.index.0 + 1).filter(|found| found.version == version);
        found.ok_or_else(|| {
            let what = format!("{who} was told that it removed version {version}, which nobody wrote");
            super::Violation::new(super::Property::Integrity, what)
        })
    }

    /// A client was told that these are the pairs after a key.
    pub(crate) fn page(
        &self,
        who: &str,
        after: Option<&[u8]>,
        at: LogIndex,
        pairs: &[Pair],
        more: bool,
    ) -> Check {
        ensure!(at.0 <= self.len(), Log, "{who} read a page at {at}, which nobody reached");
        let mut there = self.model.pairs(after, at.0);
        for pair in pairs {
            let next = there.next();
            let same = next.as_ref().is_some_and(|(key, found)| {
                **key == pair.key && found.value == pair.value && found.version == pair.version
            });
            ensure!(same, Linearizable, "{who} was given {:?} in a page at {at} and not {next:?}", pair.key);
        }
        let left = there.next().is_some();
        ensure!(left == more, Linearizable, "{who} was told that {more} is true of more keys at {at}");
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
    /// What the directory's log says.
    directory: DirectoryMachine,
    /// Every partition map that it made.
    maps: BTreeMap<Epoch, PartitionMap>,
    news: News,
}

/// What the directory's log has come to say since somebody looked.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Processes that it declared gone.
    pub(crate) gone: Vec<NodeId>,
    /// Processes that it admitted, with others of their names that it did not take for down.
    pub(crate) namesakes: Vec<(NodeId, NodeId)>,
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
        let canon = self.groups.entry(group).or_insert_with(|| Canon::new(group));
        let first = index.0 == canon.len();
        canon.applied(who, index, chain, digest, body)?;
        if first && group == GroupId::DIRECTORY {
            self.direct(body);
        }
        Ok(())
    }

    /// The directory's log goes on.
    fn direct(&mut self, body: &Bytes) {
        let before = self.directory.clone();
        if !self.directory.apply(body) {
            return;
        }
        let nodes = before.map().into_iter().flat_map(|map| &map.nodes).map(|record| record.info.node);
        self.news.gone.extend(nodes.filter(|node| !before.is_gone(*node) && self.directory.is_gone(*node)));
        let Some(map) = self.directory.map() else { return };
        self.maps.insert(map.epoch, map.clone());
        let Some(before) = before.map() else { return };
        for new in map.nodes.iter().filter(|record| before.record(record.info.node).is_none()) {
            let others = before.nodes.iter().filter(|other| other.info.name == new.info.name);
            let others = others.filter(|other| !matches!(other.state, NodeState::Down | NodeState::Gone));
            self.news.namesakes.extend(others.map(|other| (new.info.node, other.info.node)));
        }
    }

    /// The partition map, by the directory's log.
    pub(crate) const fn map(&self) -> Option<&PartitionMap> {
        self.directory.map()
    }

    /// The partition map of an epoch.
    pub(crate) fn map_of(&self, epoch: Epoch) -> Option<&PartitionMap> {
        self.maps.get(&epoch)
    }

    /// What the directory's log has come to say since the last call.
    pub(crate) fn news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// The group that serves a key, once the directory's log says it.
    pub(crate) fn group_of(&self, key: &[u8]) -> Option<GroupId> {
        self.map()?.group_of(slot_of(key))
    }

    /// The history of a group, begun if it was not yet: nothing applied is a history too.
    pub(crate) fn group(&mut self, group: GroupId) -> &Canon {
        self.groups.entry(group).or_insert_with(|| Canon::new(group))
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
