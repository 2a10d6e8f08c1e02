//! The network: what becomes of a datagram on its way, per direction of every pair of hosts.
//!
//! Every direction has a base delay of its own, and is first in, first out unless reordering is on. Faults are
//! counted, not set: two cuts of one direction end when both have ended.

use crate::dice::{Dice, Ppm};

/// Datagrams over this many bytes are lost on a squeezed direction: below every datagram that carries a value.
const SQUEEZED_BYTES: usize = 600;

/// How the network behaves when nothing is broken on purpose, and how often it misbehaves everywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    /// Nanoseconds that every datagram takes at least, drawn per direction from this range.
    pub(crate) delay: (u64, u64),
    /// Nanoseconds more at most, drawn per datagram.
    pub(crate) jitter: u64,
    /// Bytes per second of one direction.
    pub(crate) bandwidth: u64,
    /// Nanoseconds that a datagram waits at most for those before it; it is lost if it would wait longer.
    pub(crate) queue: u64,
    /// Datagrams lost, independently.
    pub(crate) loss: Ppm,
    /// A burst begins with a datagram.
    pub(crate) burst_begins: Ppm,
    /// A burst ends with a datagram.
    pub(crate) burst_ends: Ppm,
    /// Datagrams lost in a burst.
    pub(crate) burst_loss: Ppm,
    /// Datagrams that arrive twice.
    pub(crate) duplication: Ppm,
    /// Datagrams that may be overtaken.
    pub(crate) reordering: Ppm,
    /// Nanoseconds that such a datagram takes longer, at most.
    pub(crate) reordered_by: u64,
    /// Datagrams with flipped bits.
    pub(crate) corruption: Ppm,
    /// Datagrams cut short.
    pub(crate) truncation: Ppm,
}

impl Weather {
    /// The same network with every misbehaviour off.
    pub(crate) fn calm(&self) -> Self {
        Self {
            delay: self.delay,
            jitter: self.jitter,
            bandwidth: self.bandwidth,
            queue: self.queue,
            ..Self::default()
        }
    }
}

/// What was done to a datagram that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Nothing.
    None,
    /// Bits were flipped.
    Flipped,
    /// The end is missing.
    Truncated,
}

/// One arrival of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// When.
    pub(crate) at: u64,
    /// How.
    pub(crate) damage: Damage,
}

/// What becomes of a datagram: at most two arrivals.
pub(crate) type Fate = [Option<Arrival>; 2];

/// Why datagrams did not arrive as they were sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hits {
    pub(crate) lost: u64,
    pub(crate) lost_in_burst: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) flipped: u64,
    pub(crate) truncated: u64,
    pub(crate) cut: u64,
    pub(crate) squeezed: u64,
    pub(crate) overflowed: u64,
    pub(crate) delayed: u64,
}

/// Something wrong with one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing passes.
    Cut,
    /// So many datagrams more are lost.
    Lossy(Ppm),
    /// Every datagram takes so many nanoseconds longer.
    Slow(u64),
    /// Large datagrams do not pass.
    Squeezed,
}

/// One direction between two hosts.
#[derive(Clone, Debug, Default)]
struct Direction {
    delay: u64,
    cuts: u32,
    squeezes: u32,
    loss: Ppm,
    slower: u64,
    in_burst: bool,
    free_at: u64,
    last_arrival: u64,
}

/// All directions.
#[derive(Debug)]
pub(crate) struct Network {
    hosts: usize,
    directions: Vec<Direction>,
    weather: Weather,
    dice: Dice,
    pub(crate) hits: Hits,
}

impl Network {
    /// A network among `hosts` hosts.
    pub(crate) fn new(hosts: usize, weather: Weather, mut dice: Dice) -> Self {
        let (low, high) = weather.delay;
        let directions = (0..hosts * hosts)
            .map(|_| Direction { delay: dice.magnitude(low, high), ..Direction::default() })
            .collect();
        Self { hosts, directions, weather, dice, hits: Hits::default() }
    }

    /// How the network behaves from now on.
    pub(crate) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Begins or ends a trouble of one direction.
    pub(crate) fn trouble(&mut self, from: usize, to: usize, trouble: Trouble, begin: bool) {
        let direction = &mut self.directions[from * self.hosts + to];
        let count = |counter: &mut u32| {
            *counter = if begin { *counter + 1 } else { counter.saturating_sub(1) };
        };
        match trouble {
            Trouble::Cut => count(&mut direction.cuts),
            Trouble::Squeezed => count(&mut direction.squeezes),
            Trouble::Lossy(ppm) => direction.loss = if begin { ppm } else { 0 },
            Trouble::Slow(nanos) => direction.slower = if begin { nanos } else { 0 },
        }
    }

    /// Ends all troubles between the hosts that `healed` names.
    pub(crate) fn heal(&mut self, healed: impl Fn(usize) -> bool) {
        for from in (0..self.hosts).filter(|host| healed(*host)) {
            for to in (0..self.hosts).filter(|host| healed(*host)) {
                let direction = &mut self.directions[from * self.hosts + to];
                *direction = Direction { delay: direction.delay, ..Direction::default() };
            }
        }
    }

    /// Whether nothing passes from one host to another.
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.directions[from * self.hosts + to].cuts > 0
    }

    /// Decides what becomes of a datagram of `bytes` bytes that is sent at `now`.
    pub(crate) fn send(&mut self, now: u64, from: usize, to: usize, bytes: usize) -> Fate {
        let (weather, dice, hits) = (&self.weather, &mut self.dice, &mut self.hits);
        let direction = &mut self.directions[from * self.hosts + to];
        if direction.cuts > 0 {
            hits.cut += 1;
            return [None, None];
        }
        if direction.squeezes > 0 && bytes > SQUEEZED_BYTES {
            hits.squeezed += 1;
            return [None, None];
        }
        let waits = direction.free_at.saturating_sub(now);
        if waits > weather.queue {
            hits.overflowed += 1;
            return [None, None];
        }
        direction.free_at = now + waits + (bytes as u64 * 1_000_000_000) / weather.bandwidth.max(1);
        if weather.burst_begins > 0 {
            let turns = if direction.in_burst { weather.burst_ends } else { weather.burst_begins };
            direction.in_burst ^= dice.chance(turns);
            if direction.in_burst && dice.chance(weather.burst_loss) {
                hits.lost_in_burst += 1;
                return [None, None];
            }
        }
        if dice.chance(weather.loss) || dice.chance(direction.loss) {
            hits.lost += 1;
            return [None, None];
        }
        hits.delayed += u64::from(direction.slower > 0);
        let least = direction.free_at + direction.delay + direction.slower;
        let mut at = least + if weather.jitter > 0 { dice.below(weather.jitter) } else { 0 };
        if dice.chance(weather.reordering) {
            hits.reordered += 1;
            at += dice.below(weather.reordered_by + 1);
        } else {
            at = at.max(direction.last_arrival);
            direction.last_arrival = at;
        }
        let damage = damage(weather, dice, hits);
        let again = dice.chance(weather.duplication).then(|| {
            hits.duplicated += 1;
            Arrival { at: at + dice.below(weather.reordered_by + 1), damage: Damage::None }
        });
        [Some(Arrival { at, damage }), again]
    }
}

fn damage(weather: &Weather, dice: &mut Dice, hits: &mut Hits) -> Damage {
    if dice.chance(weather.corruption) {
        hits.flipped += 1;
        Damage::Flipped
    } else if dice.chance(weather.truncation) {
        hits.truncated += 1;
        Damage::Truncated
    } else {
        Damage::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Weather {
        Weather {
            delay: (1000, 9000),
            jitter: 500,
            bandwidth: 1_000_000_000,
            queue: 1_000_000,
            ..Weather::default()
        }
    }

    fn network(weather: Weather) -> Network {
        Network::new(3, weather, Dice::new(1, "net"))
    }

    #[test]
    fn a_calm_network_delivers_everything_once_and_in_order() {
        let mut net = network(calm());
        let mut last = 0;
        for now in (0..1000).map(|n| n * 1500) {
            let [Some(arrival), None] = net.send(now, 0, 1, 100) else { panic!("lost or doubled") };
            assert!(arrival.at >= last && arrival.at >= now + 1000 && arrival.damage == Damage::None);
            last = arrival.at;
        }
    }

    #[test]
    fn cuts_are_of_one_direction_and_add_up() {
        let mut net = network(calm());
        net.trouble(0, 1, Trouble::Cut, true);
        net.trouble(0, 1, Trouble::Cut, true);
        net.trouble(0, 1, Trouble::Cut, false);
        assert!(net.is_cut(0, 1) && net.send(0, 0, 1, 1)[0].is_none());
        assert!(net.send(0, 1, 0, 1)[0].is_some());
        net.trouble(0, 1, Trouble::Cut, false);
        assert!(net.send(0, 0, 1, 1)[0].is_some());
    }

    #[test]
    fn healing_reaches_only_the_core() {
        let mut net = network(calm());
        for (from, to) in [(0, 1), (0, 2)] {
            net.trouble(from, to, Trouble::Cut, true);
        }
        net.heal(|host| host < 2);
        assert!(!net.is_cut(0, 1) && net.is_cut(0, 2));
    }

    #[test]
    fn every_misbehaviour_happens_about_as_often_as_it_says() {
        let weather = Weather {
            loss: 100_000,
            duplication: 100_000,
            reordering: 100_000,
            reordered_by: 1_000_000,
            corruption: 100_000,
            truncation: 100_000,
            ..calm()
        };
        let mut net = network(weather);
        for n in 0..10_000 {
            let _ = net.send(n * 10_000, 0, 1, 50);
        }
        let Hits { lost, duplicated, reordered, flipped, truncated, .. } = net.hits;
        for hits in [lost, duplicated, reordered, flipped, truncated] {
            assert!((700..1300).contains(&hits), "{:?}", net.hits);
        }
    }

    #[test]
    fn a_slow_direction_queues_and_then_overflows() {
        let mut net = network(Weather { bandwidth: 1_000_000, queue: 2_000_000, ..calm() });
        let arrived = (0..10).filter(|_| net.send(0, 0, 1, 1000)[0].is_some()).count();
        assert_eq!(arrived, 3, "one on the wire and two that wait 1 ms and 2 ms");
    }
}
