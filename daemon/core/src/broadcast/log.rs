//! The log above the compacted prefix, with its chained hash and the weight of its entries.

use std::collections::VecDeque;

use haystack_wire::ids::LogIndex;
use haystack_wire::message::broadcast::{Entry, EntryKind};

use super::types::ENTRY_OVERHEAD;
use crate::digest;

/// An emptied queue keeps room for this many records; a larger one is given back once it is a quarter full.
const RECORDS_KEPT: usize = 1024;

/// What `entry` weighs, in bytes (see [`super::Limits`]).
pub(super) fn weight(entry: &Entry) -> u64 {
    entry.body.len() as u64 + ENTRY_OVERHEAD
}

/// An entry with the chain of the log up to and with it.
#[derive(Clone, Debug)]
pub(super) struct Chained {
    pub(super) entry: Entry,
    pub(super) chain: u64,
}

#[derive(Debug)]
struct Record {
    entry: Entry,
    /// Chain of the log up to and with this entry.
    chain: u64,
    /// Weight of the log up to and with this entry, since the log's beginning as this replica saw it.
    end_weight: u64,
}

/// Entries `start..len`. Bodies are shared slices of whatever buffer they arrived in: a short tail can pin the
/// receive buffers it lies in, at most those filled while the tail's entries arrived.
#[derive(Debug)]
pub(super) struct Log {
    start: LogIndex,
    start_chain: u64,
    start_weight: u64,
    records: VecDeque<Record>,
    /// Where the view's last entry is, if this log has one.
    stop: Option<LogIndex>,
}

impl Log {
    pub(super) const fn new() -> Self {
        Self {
            start: LogIndex::ZERO,
            start_chain: digest::EMPTY,
            start_weight: 0,
            records: VecDeque::new(),
            stop: None,
        }
    }

    /// The first index whose entry is here.
    pub(super) const fn start(&self) -> LogIndex {
        self.start
    }

    pub(super) fn len(&self) -> LogIndex {
        self.start + self.records.len() as u64
    }

    pub(super) const fn stop(&self) -> Option<LogIndex> {
        self.stop
    }

    fn record(&self, index: LogIndex) -> Option<&Record> {
        let offset = index.0.checked_sub(self.start.0)?;
        self.records.get(usize::try_from(offset).ok()?)
    }

    pub(super) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        self.record(index).map(|record| &record.entry)
    }

    /// Chain of the entries below `index`, for `start <= index <= len`.
    pub(super) fn chain(&self, index: LogIndex) -> Option<u64> {
        if index == self.start {
            return Some(self.start_chain);
        }
        self.record(LogIndex(index.0.checked_sub(1)?)).map(|record| record.chain)
    }

    /// Weight of the entries below `index`, up to a constant; `index` is clamped to what is here.
    pub(super) fn weight_below(&self, index: LogIndex) -> u64 {
        match index.saturating_since(self.start) {
            0 => self.start_weight,
            _ => self
                .record(LogIndex(index.0.min(self.len().0) - 1))
                .map_or(self.start_weight, |record| record.end_weight),
        }
    }

    /// Weight of the entries in `from..to`, 0 if there are none.
    pub(super) fn weight_between(&self, from: LogIndex, to: LogIndex) -> u64 {
        self.weight_below(to).saturating_sub(self.weight_below(from))
    }

    pub(super) fn append(&mut self, entry: Entry) {
        let chain = digest::chain(self.end_chain(), &entry);
        self.append_chained(Chained { entry, chain });
    }

    pub(super) fn append_chained(&mut self, Chained { entry, chain }: Chained) {
        assert!(self.stop.is_none(), "nothing follows a stop-sign (rule 9)");
        if entry.kind == EntryKind::StopSign {
            self.stop = Some(self.len());
        }
        let end_weight = self.weight_below(self.len()) + weight(&entry);
        self.records.push_back(Record { entry, chain, end_weight });
    }

    pub(super) fn end_chain(&self) -> u64 {
        self.records.back().map_or(self.start_chain, |record| record.chain)
    }

    /// Drops everything from `index` on. The caller has made sure that none of it is decided.
    pub(super) fn truncate(&mut self, index: LogIndex) {
        assert!(index >= self.start, "a log is never cut below what it has compacted");
        self.records.truncate(usize::try_from(index - self.start).expect("an index within memory"));
        self.stop = self.stop.filter(|stop| *stop < index);
    }

    /// Forgets everything: the log goes on behind a snapshot.
    pub(super) fn reset(&mut self, start: LogIndex, chain: u64) {
        *self = Self { start, start_chain: chain, start_weight: self.start_weight, ..Self::new() };
    }

    /// Drops the first entry, if there is one.
    pub(super) fn compact_one(&mut self) {
        let Some(record) = self.records.pop_front() else { return };
        self.start += 1;
        self.start_chain = record.chain;
        self.start_weight = record.end_weight;
        if self.records.capacity() > RECORDS_KEPT && self.records.len() < self.records.capacity() / 4 {
            self.records.shrink_to(RECORDS_KEPT.max(self.records.len() * 2));
        }
    }

    /// Where a message ends that starts at `first`, goes no further than `limit`, and carries entries of at most
    /// `chunk` weight unless it carries a single one.
    pub(super) fn chunk_end(&self, first: LogIndex, limit: LogIndex, chunk: u64) -> LogIndex {
        debug_assert!(self.start <= first && limit <= self.len());
        if first >= limit {
            return first;
        }
        let most = self.weight_below(first).saturating_add(chunk);
        if self.weight_below(limit) <= most {
            return limit;
        }
        // Binary search: the weights below grow with every entry.
        let (mut low, mut high) = (first.0 + 1, limit.0);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.weight_below(LogIndex(middle)) <= most { low = middle } else { high = middle - 1 }
        }
        LogIndex(low)
    }

    /// The entries of `from..to`, all of them here.
    pub(super) fn slice(&self, from: LogIndex, to: LogIndex) -> Vec<Entry> {
        assert!(self.start <= from && from <= to && to <= self.len(), "only what is here can be sent");
        let offset = |index: LogIndex| usize::try_from(index - self.start).expect("an index within memory");
        self.records.range(offset(from)..offset(to)).map(|record| record.entry.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(len: usize) -> Entry {
        Entry { kind: EntryKind::Command, body: Bytes::from(vec![7; len]) }
    }

    fn log_of(lens: &[usize]) -> Log {
        let mut log = Log::new();
        lens.iter().for_each(|len| log.append(entry(*len)));
        log
    }

    #[test]
    fn chunks_hold_the_limit_or_a_single_entry_and_cover_everything() {
        let log = log_of(&[10, 500, 0, 0, 30, 900, 1, 2, 3]);
        for chunk in 0..2000 {
            let mut at = LogIndex::ZERO;
            while at < log.len() {
                let end = log.chunk_end(at, log.len(), chunk);
                assert!(end > at);
                assert!(end - at == 1 || log.weight_between(at, end) <= chunk);
                assert!(end == log.len() || log.weight_between(at, end + 1) > chunk, "and none is left out");
                at = end;
            }
        }
        assert_eq!(log.chunk_end(LogIndex(4), LogIndex(4), 100), LogIndex(4));
    }

    #[test]
    fn compaction_and_truncation_keep_chains_and_weights() {
        let whole = log_of(&[1, 2, 3, 4, 5, 6]);
        let mut log = log_of(&[1, 2, 3, 4, 5, 6]);
        (0..2).for_each(|_| log.compact_one());
        log.truncate(LogIndex(5));
        assert_eq!((log.start(), log.len()), (LogIndex(2), LogIndex(5)));
        for index in (2..=5).map(LogIndex) {
            assert_eq!(log.chain(index), whole.chain(index));
            assert_eq!(log.weight_below(index), whole.weight_below(index));
        }
        assert_eq!(log.chain(LogIndex(1)), None);
        assert_eq!(log.chain(LogIndex(6)), None);
        assert_eq!(log.entry(LogIndex(1)), None);
        log.append(entry(6));
        assert_eq!(log.end_chain(), whole.end_chain());
    }

    #[test]
    fn a_stop_sign_is_forgotten_only_when_it_is_cut_off() {
        let mut log = log_of(&[1, 2]);
        log.append(Entry { kind: EntryKind::StopSign, body: Bytes::new() });
        assert_eq!(log.stop(), Some(LogIndex(2)));
        (0..3).for_each(|_| log.compact_one());
        assert_eq!(log.stop(), Some(LogIndex(2)));
        let mut log = log_of(&[1, 2]);
        log.append(Entry { kind: EntryKind::StopSign, body: Bytes::new() });
        log.truncate(LogIndex(2));
        assert_eq!(log.stop(), None);
    }

    #[test]
    fn memory_of_a_burst_is_given_back() {
        let mut log = Log::new();
        (0..100_000).for_each(|_| log.append(entry(0)));
        (0..100_000).for_each(|_| log.compact_one());
        assert!(log.records.capacity() <= 2 * RECORDS_KEPT);
    }
}
