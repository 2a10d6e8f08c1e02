//! What happened lately, for administrators who follow it.

use std::collections::VecDeque;

use haystack_wire::Instant;
use haystack_wire::message::admin::{ClusterEvent, EVENTS_LIMIT, EventRecord};

/// The newest events of this life, as many as one answer takes.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// How many there have been: the number of the newest.
    count: u64,
    kept: VecDeque<(Instant, ClusterEvent)>,
}

impl Feed {
    /// Notes what happened.
    pub(super) fn note(&mut self, now: Instant, event: ClusterEvent) {
        if self.kept.len() == EVENTS_LIMIT {
            self.kept.pop_front();
        }
        self.kept.push_back((now, event));
        self.count += 1;
    }

    /// The events from number `from` on that are still known, oldest first.
    pub(super) fn from(&self, now: Instant, from: u64) -> Vec<EventRecord> {
        let first = self.count - self.kept.len() as u64 + 1;
        let record = |(number, (at, event)): (u64, &(Instant, ClusterEvent))| {
            let age_ms = now.saturating_since(*at).as_millis() as u64;
            EventRecord { number, age_ms, event: event.clone() }
        };
        (first..).zip(&self.kept).filter(|(number, _)| *number >= from).map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use haystack_wire::ids::Epoch;

    use super::*;

    fn numbers(feed: &Feed, from: u64) -> Vec<u64> {
        feed.from(Instant::ZERO, from).iter().map(|record| record.number).collect()
    }

    #[test]
    fn events_are_numbered_from_1_and_told_from_any_number_on() {
        let mut feed = Feed::default();
        assert_eq!(numbers(&feed, 0), []);
        for epoch in 1..=3 {
            feed.note(Instant::ZERO, ClusterEvent::Map { epoch: Epoch(epoch) });
        }
        assert_eq!(numbers(&feed, 0), [1, 2, 3]);
        assert_eq!(numbers(&feed, 3), [3]);
        assert_eq!(numbers(&feed, 4), []);
        let later = Instant::ZERO + Duration::from_millis(1500);
        assert_eq!(feed.from(later, 3)[0].age_ms, 1500);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut feed = Feed::default();
        for epoch in 0..EVENTS_LIMIT as u64 + 5 {
            feed.note(Instant::ZERO, ClusterEvent::Map { epoch: Epoch(epoch) });
        }
        let numbers = numbers(&feed, 0);
        assert_eq!((numbers[0], numbers.len()), (6, EVENTS_LIMIT));
    }
}
