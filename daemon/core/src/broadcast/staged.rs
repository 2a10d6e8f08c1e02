//! What replaces the end of a log in one step, collected piece by piece (rules 2 and 4).

use haystack_wire::ids::LogIndex;
use haystack_wire::message::SnapshotId;
use haystack_wire::message::broadcast::Entry;

use super::log::{Chained, weight};
use crate::digest;

/// How a piece fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It brought something new.
    Extended,
    /// All of it was there.
    Repeated,
    /// It lies beyond what is there.
    Gap,
    /// It would be too much.
    Full,
}

/// A log from `base` to `end`, perhaps on a snapshot, of which `base..next` is here.
#[derive(Debug)]
pub(super) struct Staged {
    /// Stands for everything below `base`.
    pub(super) snapshot: Option<SnapshotId>,
    /// Where the log is cut and continued.
    pub(super) base: LogIndex,
    /// Length of the log once it is whole.
    pub(super) end: LogIndex,
    /// The entries `base..next`.
    pub(super) entries: Vec<Chained>,
    chain: u64,
    weight: u64,
}

impl Staged {
    /// Continues the own log at `base`, where it has `chain`.
    pub(super) const fn on_log(base: LogIndex, chain: u64, end: LogIndex) -> Self {
        Self { snapshot: None, base, end, entries: Vec::new(), chain, weight: 0 }
    }

    /// Stands on a snapshot.
    pub(super) const fn on_snapshot(snapshot: SnapshotId, end: LogIndex) -> Self {
        Self {
            snapshot: Some(snapshot),
            base: snapshot.index,
            end,
            entries: Vec::new(),
            chain: snapshot.chain,
            weight: 0,
        }
    }

    /// The first position that is not here.
    pub(super) fn next(&self) -> LogIndex {
        self.base + self.entries.len() as u64
    }

    /// Whether all entries are here, and the snapshot, if there is one, is the `fetched` one.
    pub(super) fn is_whole(&self, fetched: Option<SnapshotId>) -> bool {
        self.next() == self.end && (self.snapshot.is_none() || self.snapshot == fetched)
    }

    /// Takes entries from `first` on, above a log with `chain`.
    ///
    /// # Panics
    /// If what is here already differs: one source in one ballot has one log.
    pub(super) fn take(&mut self, first: LogIndex, chain: u64, entries: Vec<Entry>, most: u64) -> Fit {
        let next = self.next();
        if first > next {
            return Fit::Gap;
        }
        if first + entries.len() as u64 <= next && first != next {
            return Fit::Repeated;
        }
        let mut running = chain;
        let mut position = first;
        for entry in entries {
            if position == next {
                assert_eq!(running, self.chain, "one source in one ballot has one log (rules 2 and 4)");
            }
            let chain = digest::chain(running, &entry);
            if position >= next && position < self.end {
                if self.weight + weight(&entry) > most && !self.entries.is_empty() {
                    return Fit::Full;
                }
                self.weight += weight(&entry);
                self.entries.push(Chained { entry, chain });
                self.chain = chain;
            }
            running = chain;
            position += 1;
        }
        if position == next {
            assert_eq!(running, self.chain, "one source in one ballot has one log (rules 2 and 4)");
        }
        if self.next() > next { Fit::Extended } else { Fit::Repeated }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use haystack_wire::message::broadcast::EntryKind;

    use super::*;

    fn entry(value: u8) -> Entry {
        Entry { kind: EntryKind::Command, body: Bytes::from(vec![value]) }
    }

    fn chain_of(values: impl IntoIterator<Item = u8>) -> u64 {
        values.into_iter().fold(digest::EMPTY, |before, value| digest::chain(before, &entry(value)))
    }

    #[test]
    fn pieces_fit_in_any_repetition_but_never_leave_a_hole() {
        let mut staged = Staged::on_log(LogIndex(2), chain_of([0, 1]), LogIndex(6));
        let mut take = |first: u8, values: &[u8], most| {
            let entries = values.iter().map(|value| entry(*value)).collect();
            let fit = staged.take(LogIndex(u64::from(first)), chain_of(0..first), entries, most);
            (fit, staged.next().0)
        };
        assert_eq!(take(3, &[3], 1000), (Fit::Gap, 2));
        assert_eq!(take(2, &[2, 3], 1000), (Fit::Extended, 4));
        assert_eq!(take(2, &[2, 3], 1000), (Fit::Repeated, 4));
        assert_eq!(take(1, &[1, 2, 3, 4], 1000), (Fit::Extended, 5), "also from below the base");
        assert_eq!(take(5, &[5, 6], 66), (Fit::Full, 5));
        assert_eq!(take(5, &[5, 6], 1000), (Fit::Extended, 6), "nothing beyond the end is taken");
        assert_eq!(take(6, &[], 1000), (Fit::Repeated, 6));
        assert!(staged.is_whole(None));
    }

    #[test]
    #[should_panic(expected = "one source in one ballot has one log")]
    fn another_log_is_no_continuation() {
        let mut staged = Staged::on_log(LogIndex(1), chain_of([0]), LogIndex(6));
        staged.take(LogIndex(1), chain_of([9]), vec![entry(1)], 1000);
    }

    #[test]
    fn a_snapshot_counts_once_it_is_at_hand() {
        let id = SnapshotId { index: LogIndex(3), digest: 7, chain: chain_of([0, 1, 2]) };
        let mut staged = Staged::on_snapshot(id, LogIndex(4));
        assert_eq!(staged.take(LogIndex(3), id.chain, vec![entry(3)], 1000), Fit::Extended);
        assert!(!staged.is_whole(None));
        assert!(!staged.is_whole(Some(SnapshotId { digest: 8, ..id })));
        assert!(staged.is_whole(Some(id)));
    }
}
