//! The cluster's shape: how many found it, how many copies of what there are, where they stand, and who comes later.

use std::time::Duration;

use crate::dice::{Dice, Ppm};
use crate::scenario::{MILLIS, SECONDS, Scenario};

/// Share of seeds in which daemons join.
const JOINED: Ppm = 400_000;

/// What a daemon that joins comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luggage {
    /// A name and a state directory of its own.
    Own,
    /// The name of a founder.
    UsedName(usize),
    /// A copy of a founder's state directory.
    CopiedState(usize),
}

/// A daemon with seeds and no founders.
#[derive(Clone, Debug)]
pub(crate) struct Joiner {
    /// Nanoseconds after the storm begins.
    pub(crate) starts: u64,
    pub(crate) luggage: Luggage,
    /// The founders at whose addresses it looks for the cluster.
    pub(crate) seeds: Vec<usize>,
}

/// The shape of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) founders: usize,
    pub(crate) joiners: Vec<Joiner>,
    pub(crate) partitions: u32,
    /// Replicas of every partition, if there are as many founders.
    pub(crate) degree: u32,
    /// Places that fail as one; none if nobody says where it is.
    pub(crate) zones: usize,
    /// How long a silent node waits for being taken for down.
    pub(crate) repair_after: Duration,
}

impl Shape {
    /// Draws a shape, from a stream of its own.
    pub(crate) fn draw(seed: u64, enabled: &impl Fn(&str) -> bool) -> Self {
        let mut dice = Dice::new(seed, "shape");
        let dice = &mut dice;
        let founders = [3, 5, 7, 9][dice.weighted(&[40, 40, 12, 8]).unwrap_or(0)];
        let degree = [3, 5, founders as u32][dice.weighted(&[45, 15, 40]).unwrap_or(2)].min(founders as u32);
        let partitions = dice.magnitude(1, 16) as u32;
        let zones = dice.pick(&[0, 0, 2, 3, 5]).unwrap_or(0);
        let mut joiners = Vec::new();
        if dice.chance(JOINED) && enabled("joiners") {
            let count = dice.magnitude(1, 3);
            joiners = (0..count).map(|_| joiner(dice, founders)).collect();
        }
        let repair_after = Duration::from_secs(dice.pick(&[1, 3, 10]).unwrap_or(3));
        Self { founders, joiners, partitions, degree, zones, repair_after }
    }

    /// All daemons that there will be.
    pub(crate) const fn daemons(&self) -> usize {
        self.founders + self.joiners.len()
    }
}

fn joiner(dice: &mut Dice, founders: usize) -> Joiner {
    let founder = dice.index(founders);
    let luggage = match dice.below(10) {
        0 | 1 => Luggage::UsedName(founder),
        2 | 3 => Luggage::CopiedState(founder),
        _ => Luggage::Own,
    };
    let mut seeds: Vec<usize> = (0..founders).collect();
    dice.shuffle(&mut seeds);
    seeds.truncate(dice.range(1, 3) as usize);
    Joiner { starts: dice.range(0, 8 * SECONDS).max(MILLIS), luggage, seeds }
}

impl Scenario {
    /// The joiner on a host, if it is one's.
    pub(crate) fn joiner(&self, host: usize) -> Option<&Joiner> {
        self.shape.joiners.get(host.checked_sub(self.shape.founders)?)
    }

    /// The name of the daemon on a host, as its configuration has it.
    pub(crate) fn name(&self, host: usize) -> String {
        match self.joiner(host).map(|joiner| joiner.luggage) {
            Some(Luggage::UsedName(founder)) => format!("n{}", founder + 1),
            _ => format!("n{}", host + 1),
        }
    }
}
