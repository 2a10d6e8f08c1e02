//! The simulation's own randomness: small, fast, and the same on every machine (integers only).

/// Millionths: how rates are written down here.
pub(crate) type Ppm = u32;

/// A stream of numbers that is a function of its seed (SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
///
/// The parts of a simulation each have a stream of their own, so that leaving one out does not change the draws of
/// the others: a failing seed can be cut down.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The stream of `seed` for the part called `part`.
    pub(crate) fn new(seed: u64, part: &str) -> Self {
        let mut dice = Self(seed);
        for byte in part.bytes() {
            dice.0 ^= dice.u64() ^ u64::from(byte);
        }
        dice
    }

    /// A stream of its own for one of many alike.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.u64())
    }

    /// A uniform number.
    pub(crate) fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; 0 if `bound` is.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An index in `0..len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number in `low..=high`.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A number in `low..=high` whose magnitude is uniform: as many between 1 and 10 as between 10 and 100.
    pub(crate) fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let bits = |number: u64| u64::from(64 - number.max(1).leading_zeros());
        let exponent = self.range(bits(low), bits(high)).min(63);
        let floor = 1_u64 << (exponent - 1);
        self.range(floor, floor * 2 - 1).clamp(low, high)
    }

    /// True in `ppm` of a million cases.
    pub(crate) fn chance(&mut self, ppm: Ppm) -> bool {
        ppm > 0 && ((self.u64() >> 32) * 1_000_000) >> 32 < u64::from(ppm)
    }

    /// True in every second case.
    pub(crate) fn coin(&mut self) -> bool {
        self.u64() >> 63 == 1
    }

    /// A waiting time of mean `mean`, memoryless enough: the least of two uniform draws with the same mean.
    pub(crate) fn wait(&mut self, mean: u64) -> u64 {
        let most = mean.saturating_mul(3);
        self.below(most).min(self.below(most)) + 1
    }

    /// One of them, if there are any.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.index(from.len())])
    }

    /// An index, each as likely as its weight says; `None` if all weights are 0.
    pub(crate) fn weighted(&mut self, weights: &[u32]) -> Option<usize> {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        if total == 0 {
            return None;
        }
        let mut at = self.below(total);
        weights.iter().position(|weight| {
            let here = at < u64::from(*weight);
            at = at.saturating_sub(u64::from(*weight));
            here
        })
    }

    /// Puts the items in a random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream_and_parts_do_not_share_it() {
        let draw = |seed, part| Dice::new(seed, part).u64();
        assert_eq!(draw(1, "net"), draw(1, "net"));
        assert_ne!(draw(1, "net"), draw(1, "work"));
        assert_ne!(draw(1, "net"), draw(2, "net"));
    }

    #[test]
    fn draws_keep_their_bounds_and_shares() {
        let mut dice = Dice::new(7, "");
        assert!((0..1000).all(|_| (3..=5).contains(&dice.range(3, 5))));
        assert!((0..1000).all(|_| (10..=2000).contains(&dice.magnitude(10, 2000))));
        assert!((0..1000).all(|_| !dice.chance(0) && dice.chance(1_000_000)));
        let hits = (0..10_000).filter(|_| dice.chance(250_000)).count();
        assert!((2300..2700).contains(&hits), "{hits}");
        assert_eq!(dice.weighted(&[0, 3, 0]), Some(1));
        assert_eq!(dice.weighted(&[0, 0]), None);
        let small = (0..10_000).filter(|_| dice.magnitude(1, 1023) < 32).count();
        assert!((4500..5500).contains(&small), "half of the magnitudes are below the middle: {small}");
    }
}
