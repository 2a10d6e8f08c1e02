//! How many heartbeats of a peer get lost, and how many in a row its silence must outlast.
//!
//! Integers only: the timeouts of a simulated run are the same on every machine.

/// Heartbeats that the measurement remembers: about 51 s of them at ten a second. At 30 % loss the measured loss is
/// then within two percentage points two times out of three, which moves the timeout by less than 0.2 s.
const WINDOW: u32 = WORDS as u32 * 64;
/// The same in machine words.
const WORDS: usize = 8;
/// Heartbeats that are presumed before the first, with their loss in millionths; each that is expected takes the
/// place of one. So one early loss is not taken for heavy loss, and heavy loss causes no mistakes before it is known.
const PRESUMED: (u32, u32) = (32, 100_000);
/// The newest heartbeats, which are looked at by themselves to notice quickly that loss has begun: about 6 s.
const RECENT: u32 = 64;
/// Longest gap that is loss: the heartbeats of 10 s, the longest delay assumed. A longer one is a cut, or nonsense.
const GAP_LIMIT: u64 = 100;

/// Fewest lost heartbeats in a row that are suspicious, however small the loss.
pub(super) const ROW_LEAST: u32 = 5;
/// Most that are waited for, however great the loss.
pub(super) const ROW_MOST: u32 = 20;
/// Greatest loss, in millionths, for which 5, 6, ... heartbeats in a row are enough: e^(-ln(7 * 3.15e7) / n), so that
/// at independent loss a row that long comes once in a year. Seven rows begin each second at 30 % loss.
const ROW_LOSS_PPM: [u32; (ROW_MOST - ROW_LEAST) as usize] = [
    21_444, 40_684, 64_281, 90_588, 118_291, 146_439, 174_384, 201_704, 228_138, 253_537, 277_825, 300_979,
    323_006, 343_935, 363_808,
];

/// What a heartbeat's sequence number says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is the newest.
    Newest {
        /// Whether heartbeats are missing before it that do not count as lost.
        excused: bool,
    },
    /// An older one, for the first time or again.
    Old,
}

/// Which of a peer's latest heartbeats arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Loss {
    /// A bit per heartbeat, set for those that arrived; the newest is the lowest bit of the first word.
    bits: [u64; WORDS],
    /// How many bits count.
    len: u32,
    /// The newest heartbeat, and the oldest since when the bits belong to consecutive sequence numbers.
    known: Option<(u64, u64)>,
}

impl Loss {
    /// Forgets the peer's sequence, not what was measured: its process is a new one.
    pub(super) fn restart(&mut self) {
        self.known = None;
    }

    /// Takes an arrival. With `excused`, a gap before it is not loss.
    pub(super) fn arrive(&mut self, sequence: u64, excused: bool) -> Arrival {
        let Some((newest, base)) = self.known else {
            self.known = Some((sequence, sequence));
            self.push(0);
            return Arrival::Newest { excused: false };
        };
        if sequence <= newest {
            let back = newest - sequence;
            if sequence >= base && back < u64::from(self.len) {
                self.bits[(back / 64) as usize] |= 1 << (back % 64);
            }
            return Arrival::Old;
        }
        let gap = sequence - newest - 1;
        let excused = gap > 0 && (excused || gap > GAP_LIMIT);
        if excused {
            self.known = Some((sequence, sequence));
            self.push(0);
        } else {
            self.known = Some((sequence, base));
            self.push(gap as u32);
        }
        Arrival::Newest { excused }
    }

    /// Appends `lost` missing heartbeats and one that arrived.
    fn push(&mut self, lost: u32) {
        let by = lost as usize + 1;
        let (words, bits) = (by / 64, by % 64);
        let old = self.bits;
        let word = |at: usize| at.checked_sub(words).map_or(0, |from| old[from]);
        for at in 0..WORDS {
            let carried = if bits > 0 && at > 0 { word(at - 1) >> (64 - bits) } else { 0 };
            self.bits[at] = word(at) << bits | carried;
        }
        self.bits[0] |= 1;
        self.len = (self.len + lost + 1).min(WINDOW);
    }

    /// The loss in millionths: that of all remembered heartbeats, or the least that the newest make likely (two
    /// standard deviations below their share), whichever is more.
    pub(super) fn ppm(&self) -> u32 {
        let lost = self.len - self.bits.iter().map(|word| word.count_ones()).sum::<u32>();
        let (presumed, their_loss) = PRESUMED;
        let all =
            (lost * 1_000_000 + presumed.saturating_sub(self.len) * their_loss) / self.len.max(presumed);
        if self.len <= RECENT {
            return all;
        }
        let missing = self.bits[0].count_zeros();
        let doubt = (missing * (RECENT - missing) / (RECENT / 4)).isqrt();
        all.max(missing.saturating_sub(doubt) * 1_000_000 / RECENT)
    }

    /// How many lost heartbeats in a row are suspicious.
    pub(super) fn row(&self) -> u32 {
        let ppm = self.ppm();
        ROW_LEAST + ROW_LOSS_PPM.iter().filter(|most| **most < ppm).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use haystack_wire::rng::Rng;

    fn feed(loss: &mut Loss, rng: &mut Rng, from: u64, count: u64, p: f64) {
        for sequence in from..from + count {
            if !rng.chance(p) {
                loss.arrive(sequence, false);
            }
        }
    }

    #[test]
    fn the_table_is_one_false_suspicion_per_link_year() {
        for (at, ppm) in ROW_LOSS_PPM.iter().enumerate() {
            let n = f64::from(ROW_LEAST) + at as f64;
            let most = (-(7.0 * 3.15e7_f64).ln() / n).exp() * 1e6;
            assert!((most - f64::from(*ppm)).abs() <= 1.0, "n = {n}: {most} and not {ppm}");
        }
        for (loss, n) in [(0.01_f64, 5), (0.05, 7), (0.10, 9), (0.20, 12), (0.30, 16)] {
            let formula = ((7.0 * 3.15e7_f64).ln() / (1.0 / loss).ln()).ceil().max(5.0);
            assert_eq!(formula as u32, n);
            let table =
                ROW_LEAST + ROW_LOSS_PPM.iter().filter(|most| f64::from(**most) < loss * 1e6).count() as u32;
            assert_eq!(table, n, "at {loss}");
        }
    }

    #[test]
    fn loss_is_measured_in_whatever_order_heartbeats_come() {
        let (mut ordered, mut shuffled) = (Loss::default(), Loss::default());
        let lost = |sequence: u64| sequence % 7 == 3 || sequence % 64 == 9;
        let there: Vec<u64> = (0..2_000).filter(|sequence| !lost(*sequence)).collect();
        there.iter().for_each(|sequence| _ = ordered.arrive(*sequence, false));
        for pair in there.chunks(3) {
            pair.iter().rev().for_each(|sequence| _ = shuffled.arrive(*sequence, false));
        }
        assert_eq!(ordered.bits, shuffled.bits);
        assert_eq!(ordered.ppm(), shuffled.ppm());
        let share = (0..512).filter(|back| lost(there[there.len() - 1] - back)).count() as u32;
        assert_eq!(ordered.ppm(), share * 1_000_000 / 512);
    }

    #[test]
    fn steady_loss_is_measured_to_a_few_points() {
        for (seed, p) in [(1, 0.0), (2, 0.01), (3, 0.05), (4, 0.1), (5, 0.2), (6, 0.3)] {
            let (mut loss, mut rng) = (Loss::default(), Rng::from_u64(seed));
            let mut within = 0;
            for turn in 0..200 {
                feed(&mut loss, &mut rng, turn * 512, 512, p);
                let measured = f64::from(loss.ppm()) / 1e6;
                within += u32::from((measured - p).abs() <= 0.02 + p / 6.0);
            }
            assert!(within >= 190, "at {p}: {within} of 200");
        }
    }

    #[test]
    fn loss_that_begins_is_noticed_within_ten_seconds() {
        let mut rows = 0;
        for seed in 0..50 {
            let (mut loss, mut rng) = (Loss::default(), Rng::from_u64(seed));
            feed(&mut loss, &mut rng, 0, 1_000, 0.0);
            assert_eq!(loss.row(), ROW_LEAST);
            feed(&mut loss, &mut rng, 1_000, 100, 0.3);
            rows += loss.row();
        }
        assert!(rows >= 50 * 10, "{} in the mean", f64::from(rows) / 50.0);
    }

    #[test]
    fn excused_and_absurd_gaps_are_no_loss() {
        let mut loss = Loss::default();
        (0..600).for_each(|sequence| _ = loss.arrive(sequence, false));
        assert_eq!(loss.arrive(700, true), Arrival::Newest { excused: true });
        assert_eq!(loss.arrive(701, true), Arrival::Newest { excused: false }, "there is no gap");
        assert_eq!(loss.arrive(u64::MAX - 1, false), Arrival::Newest { excused: true });
        assert_eq!(loss.arrive(u64::MAX, false), Arrival::Newest { excused: false });
        assert_eq!(loss.ppm(), 0);
        assert_eq!(loss.arrive(650, false), Arrival::Old, "late ones of an excused gap fill nothing");
        assert_eq!((loss.ppm(), loss.arrive(0, false)), (0, Arrival::Old));
    }

    #[test]
    fn the_longest_gap_fits_the_window() {
        let mut loss = Loss::default();
        assert_eq!(loss.row(), 9, "before anything is known, a tenth is presumed");
        (0..10).for_each(|sequence| _ = loss.arrive(sequence, false));
        for turn in 1..40 {
            loss.arrive(9 + turn * (GAP_LIMIT + 1), false);
        }
        let expected = 1_000_000 - 6 * 1_000_000 / 512;
        assert!(loss.ppm().abs_diff(expected) < 5_000, "{}", loss.ppm());
        assert_eq!(loss.row(), ROW_MOST);
    }
}
