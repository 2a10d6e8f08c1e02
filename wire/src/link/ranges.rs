//! Sets of numbers as disjoint ranges: packet numbers received and acknowledged, pieces of a message.

use core::ops::Range;
use std::collections::VecDeque;

/// A set of `u64` kept as ascending, disjoint, non-touching half-open ranges.
///
/// Numbers arrive almost in order, so the common insertion extends the last range; everything else is a binary
/// search and at worst a shift of the ranges behind it. The owner bounds the number of ranges.
#[derive(Clone, Debug, Default)]
pub(super) struct RangeSet {
    ranges: VecDeque<Range<u64>>,
}

impl RangeSet {
    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The numbers, lowest range first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Range<u64>> {
        self.ranges.iter()
    }

    pub(super) fn first(&self) -> Option<&Range<u64>> {
        self.ranges.front()
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        match self.ranges.back() {
            None => false,
            Some(last) if number >= last.start => number < last.end,
            Some(_) => {
                let at = self.ranges.partition_point(|range| range.end <= number);
                self.ranges[at].start <= number
            }
        }
    }

    /// Adds `new` and calls `fresh` with every part of it that was not in the set before, in ascending order.
    pub(super) fn insert(&mut self, new: Range<u64>, mut fresh: impl FnMut(Range<u64>)) {
        if new.is_empty() {
            return;
        }
        match self.ranges.back_mut() {
            None => {
                fresh(new.clone());
                return self.ranges.push_back(new);
            }
            Some(last) if new.start > last.end => {
                fresh(new.clone());
                return self.ranges.push_back(new);
            }
            Some(last) if new.start >= last.start => {
                if new.end > last.end {
                    fresh(last.end..new.end);
                    last.end = new.end;
                }
                return;
            }
            Some(_) => {}
        }
        // The ranges from `from` to before `to` touch the new one: they become one with it.
        let from = self.ranges.partition_point(|range| range.end < new.start);
        let to = self.ranges.partition_point(|range| range.start <= new.end);
        let mut at = new.start;
        for range in self.ranges.range(from..to) {
            if range.start > at {
                fresh(at..range.start);
            }
            at = at.max(range.end);
        }
        if new.end > at {
            fresh(at..new.end);
        }
        if from == to {
            return self.ranges.insert(from, new);
        }
        let merged = self.ranges[from].start.min(new.start)..self.ranges[to - 1].end.max(new.end);
        self.ranges[from] = merged;
        self.ranges.drain(from + 1..to);
    }

    /// Forgets every number below `floor`.
    pub(super) fn remove_below(&mut self, floor: u64) {
        while let Some(range) = self.ranges.front_mut() {
            if range.end <= floor {
                self.ranges.pop_front();
            } else {
                range.start = range.start.max(floor);
                return;
            }
        }
    }

    /// Forgets the lowest range and returns the number after it.
    pub(super) fn pop_first(&mut self) -> Option<u64> {
        self.ranges.pop_front().map(|range| range.end)
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.ranges.capacity() * size_of::<Range<u64>>()
    }

    /// Gives back memory that a busier time needed.
    pub(super) fn shrink(&mut self) {
        self.ranges.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn agrees_with_a_plain_set() {
        for seed in 0..200 {
            let mut rng = Rng::from_u64(seed);
            let (mut clever, mut plain) = (RangeSet::default(), BTreeSet::new());
            for _ in 0..60 {
                let start = rng.below(80);
                let new = start..start + rng.below(9);
                let mut fresh = Vec::new();
                clever.insert(new.clone(), |part| fresh.extend(part));
                let expected: Vec<u64> = new.filter(|number| plain.insert(*number)).collect();
                assert_eq!(fresh, expected, "seed {seed}");
                if rng.chance(0.1) {
                    let floor = rng.below(40);
                    clever.remove_below(floor);
                    plain.retain(|number| *number >= floor);
                }
                assert!((0..100).all(|number| clever.contains(number) == plain.contains(&number)));
                let ranges: Vec<_> = clever.iter().cloned().collect();
                assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "seed {seed}: {ranges:?}");
            }
        }
    }
}
