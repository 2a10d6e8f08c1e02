//! One timer per operation, without an allocation per timer.
//!
//! A hashed timing wheel (Varghese and Lauck, 1987, scheme 6): arming and disarming are O(1) and the next
//! deadline is found in a bitmap. A heap with lazy deletion was rejected: at a million answered operations a
//! second it would hold seconds' worth of timers that nobody waits for any more.

use std::time::Duration;

use haystack_wire::Instant;

/// Nanoseconds of one tick: about a millisecond, the granularity of the event loop's own timer.
const TICK_NANOS: u64 = 1 << 20;
/// Ticks on the wheel: about 2.1 s. Later deadlines wait at its far end and are armed again from there.
const TICKS: u64 = 2048;
const WORDS: usize = (TICKS / 64) as usize;
/// Marks the end of a list, and a timer that is not armed.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Timer {
    /// The tick it rests in, if armed.
    tick: Option<u64>,
    before: u32,
    after: u32,
}

const IDLE: Timer = Timer { tick: None, before: NONE, after: NONE };

/// Timers numbered from 0, each armed at most once.
pub(super) struct Wheel {
    heads: Vec<u32>,
    words: [u64; WORDS],
    timers: Vec<Timer>,
    /// Nothing is armed at this tick or before it.
    past: u64,
}

impl Wheel {
    pub(super) fn new(now: Instant) -> Self {
        let past = now.as_nanos() / TICK_NANOS;
        Self { heads: vec![NONE; TICKS as usize], words: [0; WORDS], timers: Vec::new(), past }
    }

    /// Arms a timer, in place of what it was armed for before. It fires up to a tick late, never early, except
    /// that one further away than the wheel reaches fires early: its owner arms it again.
    pub(super) fn arm(&mut self, timer: u32, at: Instant) {
        self.disarm(timer);
        if self.timers.len() <= timer as usize {
            self.timers.resize(timer as usize + 1, IDLE);
        }
        let tick = at.as_nanos().div_ceil(TICK_NANOS).clamp(self.past + 1, self.past + TICKS - 1);
        let place = (tick % TICKS) as usize;
        let head = self.heads[place];
        if head != NONE {
            self.timers[head as usize].before = timer;
        }
        self.heads[place] = timer;
        self.words[place / 64] |= 1 << (place % 64);
        self.timers[timer as usize] = Timer { tick: Some(tick), before: NONE, after: head };
    }

    /// Forgets a timer; one that is not armed stays so.
    pub(super) fn disarm(&mut self, timer: u32) {
        let Some(found) = self.timers.get_mut(timer as usize) else { return };
        let Timer { tick: Some(tick), before, after } = core::mem::replace(found, IDLE) else { return };
        let place = (tick % TICKS) as usize;
        if after != NONE {
            self.timers[after as usize].before = before;
        }
        if before != NONE {
            self.timers[before as usize].after = after;
        } else {
            self.heads[place] = after;
            if after == NONE {
                self.words[place / 64] &= !(1 << (place % 64));
            }
        }
    }

    /// Takes a timer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u32> {
        let current = now.as_nanos() / TICK_NANOS;
        match self.next_tick() {
            Some(tick) if tick <= current => {
                self.past = tick - 1;
                let timer = self.heads[(tick % TICKS) as usize];
                self.disarm(timer);
                Some(timer)
            }
            _ => {
                self.past = self.past.max(current);
                None
            }
        }
    }

    /// When the next timer is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next_tick().map(|tick| Instant::ZERO + Duration::from_nanos(tick.saturating_mul(TICK_NANOS)))
    }

    /// The first occupied tick after `past`, by a scan of the bitmap around the wheel.
    fn next_tick(&self) -> Option<u64> {
        let first = self.past + 1;
        let start = (first % TICKS) as usize;
        let (word, bit) = (start / 64, start % 64);
        // The first word is seen twice: its upper part at the start, its lower part after the way around.
        for step in 0..=WORDS {
            let at = (word + step) % WORDS;
            let mask = match step {
                0 => u64::MAX << bit,
                WORDS => !(u64::MAX << bit),
                _ => u64::MAX,
            };
            let found = self.words[at] & mask;
            if found != 0 {
                let place = (at * 64) as u64 + u64::from(found.trailing_zeros());
                return Some(first + (place + TICKS - start as u64) % TICKS);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use haystack_wire::rng::Rng;
    use std::collections::BTreeMap;

    fn ticks(count: u64) -> Instant {
        Instant::from_nanos(count * TICK_NANOS)
    }

    #[test]
    fn a_timer_fires_within_a_tick_and_never_early() {
        let mut wheel = Wheel::new(ticks(7));
        let at = Instant::from_nanos(20 * TICK_NANOS + 1);
        wheel.arm(3, at);
        assert_eq!(wheel.pop(at), None);
        assert_eq!(wheel.next(), Some(ticks(21)));
        assert_eq!(wheel.pop(ticks(21)), Some(3));
        assert_eq!(wheel.pop(ticks(21)), None);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_fires_early_rather_than_never() {
        let mut wheel = Wheel::new(Instant::ZERO);
        wheel.arm(0, ticks(10 * TICKS));
        assert_eq!(wheel.pop(ticks(TICKS - 1)), Some(0));
        wheel.arm(0, Instant::from_nanos(u64::MAX));
        assert!(wheel.next().is_some());
    }

    #[test]
    fn the_wheel_agrees_with_a_sorted_map() {
        for seed in 0..20 {
            let mut rng = Rng::from_u64(seed);
            let mut now = rng.below(1 << 40);
            let mut wheel = Wheel::new(Instant::from_nanos(now));
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            for _ in 0..5_000 {
                let timer = rng.below(64) as u32;
                match rng.below(4) {
                    0 | 1 => {
                        let at = now + rng.below((TICKS - 2) * TICK_NANOS);
                        wheel.arm(timer, Instant::from_nanos(at));
                        // What is due by now waits for the next tick.
                        model.insert(timer, at.div_ceil(TICK_NANOS).max(now / TICK_NANOS + 1));
                    }
                    2 => {
                        wheel.disarm(timer);
                        model.remove(&timer);
                    }
                    _ => now += rng.below(300 * TICK_NANOS),
                }
                let mut due = Vec::new();
                while let Some(fired) = wheel.pop(Instant::from_nanos(now)) {
                    due.push(fired);
                }
                due.sort_unstable();
                let expected: Vec<u32> = model
                    .iter()
                    .filter(|(_, tick)| **tick <= now / TICK_NANOS)
                    .map(|(timer, _)| *timer)
                    .collect();
                assert_eq!(due, expected, "seed {seed}");
                model.retain(|_, tick| *tick > now / TICK_NANOS);
                let next = model.values().min().map(|tick| ticks(*tick));
                assert_eq!(wheel.next(), next, "seed {seed}");
            }
        }
    }
}
