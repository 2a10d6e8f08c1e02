//! Virtual time: what happens next. Things of one instant happen in the order in which they were scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An event with its time, in nanoseconds, and its place among those of the same time.
#[derive(Clone, Copy, Debug)]
struct Entry<E> {
    at: u64,
    order: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Events by time.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    scheduled: u64,
    now: u64,
}

impl<E> Queue<E> {
    /// An empty queue at time 0.
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::with_capacity(1024), scheduled: 0, now: 0 }
    }

    /// The time of the last event taken.
    pub(crate) const fn now(&self) -> u64 {
        self.now
    }

    /// Schedules an event; one in the past happens now.
    pub(crate) fn push(&mut self, at: u64, event: E) {
        let order = self.scheduled;
        self.scheduled += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), order, event }));
    }

    /// Takes the next event that is not after `until`, and moves the time to it, or else to `until`.
    pub(crate) fn pop(&mut self, until: u64) -> Option<E> {
        match self.heap.peek() {
            Some(Reverse(entry)) if entry.at <= until => {
                let Reverse(entry) = self.heap.pop()?;
                self.now = entry.at;
                Some(entry.event)
            }
            _ => {
                self.now = self.now.max(until);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_order() {
        let mut queue = Queue::new();
        queue.push(5, 'c');
        queue.push(3, 'a');
        queue.push(3, 'b');
        queue.push(9, 'd');
        let taken: String = std::iter::from_fn(|| queue.pop(8)).collect();
        assert_eq!((taken.as_str(), queue.now()), ("abc", 8));
        queue.push(1, 'e');
        assert_eq!((queue.pop(8), queue.now()), (Some('e'), 8));
    }
}
