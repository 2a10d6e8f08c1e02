//! The network of a membership: datagrams that get lost, alone or in bursts, and directions that let nothing through.

use crate::dice::{Dice, Ppm};

/// A millisecond in nanoseconds.
pub(super) const MS: u64 = 1_000_000;
/// A second in nanoseconds.
pub(super) const SECOND: u64 = 1_000 * MS;
/// Shortest and longest delay of a datagram, of a local network under load.
const DELAY: (u64, u64) = (MS / 5, MS);
/// Gilbert-Elliott, per direction of a pair: mean of the good times, of the bursts, and what a burst loses.
const BURSTS: (u64, u64, Ppm) = (5 * SECOND, 250 * MS, 900_000);

/// What is wrong with the network, or with the processes, all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Each datagram gets lost by itself, in so many of a million cases.
    Loss(u32),
    /// Gilbert-Elliott: each direction of each pair loses 90 % in bursts of 0.25 s every 5 s, in the mean: 4.3 %.
    Bursts,
    /// Single directions of pairs let nothing through for 30 s; one at a time for each eight nodes.
    OneWayCuts,
    /// Each process stands still for 2 s every two minutes, in the mean.
    Pauses,
}

impl Network {
    /// All that the table shows.
    pub const ALL: [Self; 9] = [
        Self::Loss(0),
        Self::Loss(10_000),
        Self::Loss(50_000),
        Self::Loss(100_000),
        Self::Loss(200_000),
        Self::Loss(300_000),
        Self::Bursts,
        Self::OneWayCuts,
        Self::Pauses,
    ];

    /// Its name in the table and on the command line.
    pub fn name(self) -> String {
        match self {
            Self::Loss(ppm) => format!("loss-{}", ppm / 10_000),
            Self::Bursts => "bursts".to_owned(),
            Self::OneWayCuts => "one-way".to_owned(),
            Self::Pauses => "pauses".to_owned(),
        }
    }
}

/// A direction of a pair.
#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    /// Lets nothing through until then.
    cut: u64,
    /// Whether it is in a burst, and until when that is so.
    burst: (bool, u64),
}

/// The network among hosts that are numbered from 0.
#[derive(Debug)]
pub(super) struct Net {
    network: Network,
    hosts: usize,
    directions: Vec<Direction>,
    dice: Dice,
}

impl Net {
    pub(super) fn new(network: Network, hosts: usize, dice: Dice) -> Self {
        Self { network, hosts, directions: vec![Direction::default(); hosts * hosts], dice }
    }

    /// Whether a datagram that leaves now gets through.
    pub(super) fn passes(&mut self, now: u64, from: usize, to: usize) -> bool {
        let direction = &mut self.directions[from * self.hosts + to];
        if direction.cut > now {
            return false;
        }
        let lost = match self.network {
            Network::Loss(ppm) => ppm,
            Network::Bursts => {
                let (good, bad, lost) = BURSTS;
                while direction.burst.1 <= now {
                    let burst = !direction.burst.0;
                    let mean = if burst { bad } else { good };
                    direction.burst = (burst, direction.burst.1 + exponential(&mut self.dice, mean));
                }
                if direction.burst.0 { lost } else { 0 }
            }
            Network::OneWayCuts | Network::Pauses => 0,
        };
        !self.dice.chance(lost)
    }

    /// How long a datagram is under way.
    pub(super) fn delay(&mut self) -> u64 {
        self.dice.range(DELAY.0, DELAY.1)
    }

    pub(super) fn cut(&mut self, from: usize, to: usize, until: u64) {
        self.directions[from * self.hosts + to].cut = until;
    }

    /// Until when the direction is, or was, cut.
    pub(super) fn cut_until(&self, from: usize, to: usize) -> u64 {
        self.directions[from * self.hosts + to].cut
    }
}

/// A waiting time without memory: halvings of a uniform number, the rest of the logarithm as a straight line.
pub(super) fn exponential(dice: &mut Dice, mean: u64) -> u64 {
    let draw = dice.u64() | 1;
    let halvings = u64::from(draw.leading_zeros());
    let rest = u64::MAX - (draw << halvings);
    // ln 2 of the mean per halving, and what is left of the last one.
    let thousandths = 693 * halvings + ((693 * (u128::from(rest) * 2)) >> 64) as u64;
    (u128::from(mean) * u128::from(thousandths) / 1_000) as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_have_their_mean_and_bursts_their_share() {
        let mut dice = Dice::new(1, "");
        let sum: u64 = (0..100_000).map(|_| exponential(&mut dice, 1_000)).sum();
        assert!((95_000_000..108_000_000).contains(&sum), "{sum}");
        let mut net = Net::new(Network::Bursts, 2, Dice::new(2, ""));
        let lost = (0..100_000).filter(|turn| !net.passes(turn * 100 * MS, 0, 1)).count();
        assert!((3_600..5_000).contains(&lost), "{lost}");
    }

    #[test]
    fn a_cut_has_one_direction_and_an_end() {
        let mut net = Net::new(Network::Loss(0), 3, Dice::new(1, ""));
        net.cut(0, 2, 10);
        assert!(!net.passes(9, 0, 2) && net.passes(10, 0, 2));
        assert!(net.passes(9, 2, 0) && net.passes(9, 0, 1));
    }
}
