//! News that ride on the back of messages, the least often sent first.

use core::cmp::Reverse;
use std::collections::BTreeMap;

use haystack_wire::codec::Encode as _;
use haystack_wire::ids::NodeId;
use haystack_wire::message::membership::Update;

use super::config::QUEUE_MOST;

/// Whom news are of, and, for a suspicion, who accuses: only the newest of each is kept.
type Subject = (NodeId, Option<NodeId>);
/// How often it was sent, and which is newer.
type Turn = (u32, Reverse<u64>);

struct Item {
    subject: Subject,
    update: Update,
    len: usize,
}

/// Updates that wait to be sent so many times.
#[derive(Default)]
pub(super) struct Queue {
    turns: BTreeMap<Turn, Item>,
    subjects: BTreeMap<Subject, Turn>,
    count: u64,
}

/// Most entries that one message looks at: those that do not fit must not make a message dear.
const LOOKS_MOST: usize = 64;

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    /// News of a member replace all older news of it.
    pub(super) fn push(&mut self, update: Update) {
        let subject = match &update {
            Update::Suspect { whom, by } => (whom.node, Some(*by)),
            Update::Member(member) => (member.node, None),
            Update::Dead { whom } | Update::Left { whom } => (whom.node, None),
        };
        match subject.1 {
            None => self.forget(subject.0),
            Some(_) => self.remove(subject),
        }
        if self.turns.len() >= QUEUE_MOST
            && let Some((_, item)) = self.turns.pop_last()
        {
            self.subjects.remove(&item.subject);
        }
        let len = update.encoded_len();
        self.count += 1;
        self.put((0, Reverse(self.count)), Item { subject, update, len });
    }

    fn put(&mut self, turn: Turn, item: Item) {
        self.subjects.insert(item.subject, turn);
        self.turns.insert(turn, item);
    }

    fn remove(&mut self, subject: Subject) {
        if let Some(turn) = self.subjects.remove(&subject) {
            self.turns.remove(&turn);
        }
    }

    /// Nothing more is to be said of `node`.
    pub(super) fn forget(&mut self, node: NodeId) {
        while let Some((subject, _)) = self.subjects.range((node, None)..).next()
            && subject.0 == node
        {
            self.remove(*subject);
        }
    }

    /// As many updates as fit `room` bytes and `count`, each of which is sent at most `sends` times in all; without
    /// `sends` it does not count.
    pub(super) fn take(&mut self, mut room: usize, count: usize, sends: Option<u32>, out: &mut Vec<Update>) {
        let mut taken = Vec::new();
        for (turn, item) in self.turns.iter().take(LOOKS_MOST) {
            if taken.len() == count {
                break;
            }
            if item.len <= room {
                room -= item.len;
                taken.push(*turn);
            }
        }
        let Some(sends) = sends else {
            out.extend(taken.iter().filter_map(|turn| self.turns.get(turn)).map(|item| item.update.clone()));
            return;
        };
        for turn in taken {
            let Some(item) = self.turns.remove(&turn) else { continue };
            let (sent, stamp) = turn;
            if sent + 1 < sends {
                out.push(item.update.clone());
                self.put((sent + 1, stamp), item);
            } else {
                self.subjects.remove(&item.subject);
                out.push(item.update);
            }
        }
    }
}
