//! Faults that follow leaders: they begin when somebody leads, and go on from one to the next.

use super::{Ongoing, pairs};
use crate::dice::Ppm;
use crate::history::Note;
use crate::net::Trouble;
use crate::scenario::{Fault, MICROS, MILLIS, SECONDS};
use crate::world::{Event, World};

/// Share of new leaders that are ambushed, in millionths per weight.
const AMBUSH: Ppm = 80_000;

impl World {
    /// A daemon has begun to lead a group, or to ask for that.
    pub(crate) fn on_leader(&mut self, at: usize) {
        if !self.nemesis.begun_storm || self.nemesis.calm {
            return;
        }
        let weight = self.weight(Fault::Ambush);
        if self.nemesis.dice.chance(weight * AMBUSH) {
            let soon = self.queue.now() + self.nemesis.dice.magnitude(100 * MICROS, 300 * MILLIS);
            self.queue.push(soon, Event::Ambush { host: at as u16, fault: Fault::Ambush });
        }
        if self.nemesis.carousel.is_some() {
            let soon = self.queue.now() + self.nemesis.dice.magnitude(100 * MICROS, 100 * MILLIS);
            self.queue.push(soon, Event::Ambush { host: at as u16, fault: Fault::Carousel });
        }
        let weight = self.weight(Fault::StallSource);
        if weight > 0 && self.nemesis.dice.chance(weight * AMBUSH) {
            let soon = self.queue.now() + self.nemesis.dice.magnitude(100 * MICROS, 30 * MILLIS);
            self.queue.push(soon, Event::Ambush { host: at as u16, fault: Fault::StallSource });
        }
    }

    fn weight(&self, fault: Fault) -> Ppm {
        let kind = Fault::ALL.iter().position(|kind| *kind == fault);
        kind.map_or(0, |kind| self.scenario.faults[kind])
    }

    /// Cuts off a daemon that has just begun to lead, or one that it hears; sometimes all who were cut off come back
    /// before that.
    pub(crate) fn ambush(&mut self, at: usize, fault: Fault) {
        if self.nemesis.calm {
            return;
        }
        let now = self.queue.now();
        if fault == Fault::Carousel {
            if let Some((fault, _)) = self.nemesis.carousel {
                self.ends(fault);
            }
            return;
        }
        if self.nemesis.dice.coin() {
            let all = self.ghost();
            self.net.heal(|host| host < all);
        }
        let lasts = self.nemesis.dice.magnitude(50 * MILLIS, 2 * SECONDS);
        let others: Vec<usize> = self.daemons().filter(|host| *host != at).collect();
        let troubles = if fault == Fault::StallSource {
            let silent = self.nemesis.dice.pick(&others).unwrap_or(at);
            vec![(silent, at, Trouble::Cut)]
        } else {
            others.iter().flat_map(|host| [(at, *host, Trouble::Cut), (*host, at, Trouble::Cut)]).collect()
        };
        for (from, to, trouble) in &troubles {
            self.net.trouble(*from, *to, *trouble, true);
        }
        self.lasts(Ongoing::Troubles(troubles), lasts);
        *self.nemesis.hits.entry(fault).or_default() += 1;
        let what = fault.name().to_owned();
        self.record.history.notes.push(Note { what, start: now, end: now + lasts });
    }

    /// A leader loses a follower for a while, and then everybody, or everybody but that follower.
    pub(super) fn depose(&mut self, now: u64) {
        let leaders = self.leaders();
        let Some(leader) = self.nemesis.dice.pick(&leaders) else { return };
        let others: Vec<usize> = self.daemons().filter(|host| *host != leader).collect();
        let Some(behind) = self.nemesis.dice.pick(&others) else { return };
        let first = vec![(leader, behind, Trouble::Cut)];
        self.net.trouble(leader, behind, Trouble::Cut, true);
        let lags = self.nemesis.dice.magnitude(20 * MILLIS, 2 * SECONDS);
        let fault = self.lasts(Ongoing::Troubles(first), lags);
        let spared = self.nemesis.dice.coin();
        let cut = others.iter().filter(|host| !spared || **host != behind);
        let then =
            cut.flat_map(|host| [(leader, *host, Trouble::Cut), (*host, leader, Trouble::Cut)]).collect();
        let isolated = self.nemesis.dice.magnitude(300 * MILLIS, 4 * SECONDS);
        self.nemesis.follows.insert(fault, (Ongoing::Troubles(then), isolated));
        *self.nemesis.hits.entry(Fault::Depose).or_default() += 1;
        let end = now + lags + isolated;
        self.record.history.notes.push(Note { what: Fault::Depose.name().to_owned(), start: now, end });
    }

    /// One majority after the other is alone with itself for a while.
    pub(super) fn begin_carousel(&mut self, now: u64) {
        if self.nemesis.carousel.is_some() {
            return;
        }
        let until = now + self.nemesis.dice.range(2 * SECONDS, 6 * SECONDS);
        *self.nemesis.hits.entry(Fault::Carousel).or_default() += 1;
        let what = Fault::Carousel.name().to_owned();
        self.record.history.notes.push(Note { what, start: now, end: until });
        self.turn_carousel(until);
    }

    /// Links one majority of the daemons with each other and with nobody else, until one of it leads or for a while.
    pub(super) fn turn_carousel(&mut self, until: u64) {
        let mut row: Vec<usize> = self.founders().collect();
        self.nemesis.dice.shuffle(&mut row);
        let linked = row.len() / 2 + 1;
        let cut: Vec<_> = pairs(row.len())
            .filter(|(a, b)| *a >= linked || *b >= linked)
            .map(|(a, b)| (row[a], row[b], Trouble::Cut))
            .collect();
        for (from, to, trouble) in &cut {
            self.net.trouble(*from, *to, *trouble, true);
        }
        let nanos = self.nemesis.dice.range(300 * MILLIS, SECONDS);
        let fault = self.lasts(Ongoing::Troubles(cut), nanos);
        self.nemesis.carousel = Some((fault, until));
    }

    /// What a leader is told becomes old on its way, and the leader stands still meanwhile: when it goes on, another
    /// may lead, and the answers that arrive are of the time before.
    pub(super) fn outlive(&mut self, now: u64) {
        let leaders = self.leaders();
        let Some(leader) = self.nemesis.dice.pick(&leaders) else { return };
        let dice = &mut self.nemesis.dice;
        let soon = dice.magnitude(MILLIS, 30 * MILLIS);
        let still = dice.range(300 * MILLIS, 1_500 * MILLIS);
        let late = still + dice.below(300 * MILLIS);
        let others = self.daemons().filter(|host| *host != leader);
        let news: Vec<_> = others.map(|host| (host, leader, Trouble::Slow(late))).collect();
        for (from, to, trouble) in &news {
            self.net.trouble(*from, *to, *trouble, true);
        }
        self.lasts(Ongoing::Troubles(news), soon + 2 * late);
        let before = self.lasts(Ongoing::Troubles(Vec::new()), soon);
        self.nemesis.follows.insert(before, (Ongoing::Paused(vec![leader]), still));
        *self.nemesis.hits.entry(Fault::Zombie).or_default() += 1;
        let end = now + soon + 2 * late;
        self.record.history.notes.push(Note { what: Fault::Zombie.name().to_owned(), start: now, end });
    }
}
