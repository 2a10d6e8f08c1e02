//! The nemesis: what is done to the system on purpose, and when it ends.

mod leaders;

use std::collections::BTreeMap;

use haystack_core::directory::placement::directory_replicas;
use haystack_core::group::Group;
use haystack_core::node::{Buggify, Command};
use haystack_wire::ids::NodeId;

use crate::dice::{Dice, Ppm};
use crate::history::Note;
use crate::host::Process;
use crate::net::Trouble;
use crate::scenario::{Fault, Losses, MILLIS, SECONDS};
use crate::world::{Event, World};

/// What goes on until it ends.
#[derive(Clone, Debug)]
enum Ongoing {
    Troubles(Vec<(usize, usize, Trouble)>),
    Paused(Vec<usize>),
    SlowCpu(usize),
    SlowDisk(usize),
    SmallBuffer(usize),
}

/// What begins when a fault ends, and for how long.
type Follow = (Ongoing, u64);

/// Who decides on faults.
#[derive(Debug)]
pub(crate) struct Nemesis {
    dice: Dice,
    ongoing: BTreeMap<u32, Ongoing>,
    /// What follows the end of a fault.
    follows: BTreeMap<u32, Follow>,
    begun: u32,
    /// Faults have begun.
    begun_storm: bool,
    /// The fault that holds all but one majority apart, and until when others follow it.
    carousel: Option<(u32, u64)>,
    /// No fault begins any more.
    pub(crate) calm: bool,
    /// Whose state directory is never lost: if all are, nothing is left that knows of the cluster.
    keeper: u64,
    /// Whether a state directory was lost.
    pub(crate) wiped: bool,
    /// How often each kind began.
    pub(crate) hits: BTreeMap<Fault, u64>,
}

impl Nemesis {
    pub(crate) fn new(mut dice: Dice) -> Self {
        let hits = Fault::ALL.iter().map(|fault| (*fault, 0)).collect();
        let keeper = dice.u64();
        Self {
            dice,
            keeper,
            ongoing: BTreeMap::new(),
            follows: BTreeMap::new(),
            begun: 0,
            begun_storm: false,
            carousel: None,
            calm: false,
            wiped: false,
            hits,
        }
    }
}

/// The mark of the end of a process that ended by itself.
pub(crate) const fn stopped(host: usize) -> u32 {
    u32::MAX - host as u32
}

impl World {
    /// Faults begin.
    pub(crate) fn begin_storm(&mut self) {
        self.nemesis.begun_storm = true;
        self.net.set_weather(self.scenario.weather.clone());
        self.set_buggify();
        let now = self.queue.now();
        let first = self.nemesis.dice.wait(self.scenario.strikes);
        self.queue.push(now + first, Event::Strike);
        for (host, joiner) in (self.scenario.shape.founders..).zip(&self.scenario.shape.joiners) {
            self.queue.push(now + joiner.starts, Event::Start { host: host as u16, life: 1 });
        }
    }

    /// How daemons mistreat their groups' messages now: at founding only if that is in the storm too.
    pub(crate) fn buggify(&self) -> Buggify {
        let storms = self.nemesis.begun_storm && !self.nemesis.calm;
        if storms { self.scenario.buggify } else { Buggify::default() }
    }

    fn set_buggify(&mut self) {
        let rates = self.buggify();
        for host in &mut self.hosts {
            if let Process::Daemon(daemon) = &mut host.process {
                daemon.node.set_buggify(rates);
            }
        }
    }

    /// The next fault begins.
    pub(crate) fn strike(&mut self) {
        if self.nemesis.calm {
            return;
        }
        let now = self.queue.now();
        let next = self.nemesis.dice.wait(self.scenario.strikes);
        self.queue.push(now + next, Event::Strike);
        let Some(kind) = self.nemesis.dice.weighted(&self.scenario.faults) else { return };
        let fault = Fault::ALL[kind];
        let lasts = self.nemesis.dice.magnitude(10 * MILLIS, self.scenario.lasts);
        match fault {
            Fault::Depose => return self.depose(now),
            Fault::Zombie => return self.outlive(now),
            Fault::Carousel => return self.begin_carousel(now),
            _ => {}
        }
        let Some(ongoing) = self.begin(fault) else { return };
        *self.nemesis.hits.entry(fault).or_default() += 1;
        self.trace.mix(now ^ ((kind as u64) << 48));
        let mut end = now;
        if let Some(ongoing) = ongoing {
            end += lasts;
            self.lasts(ongoing, lasts);
        }
        self.record.history.notes.push(Note { what: fault.name().to_owned(), start: now, end });
    }

    /// A fault has begun that ends after `nanos`; its number.
    fn lasts(&mut self, ongoing: Ongoing, nanos: u64) -> u32 {
        self.nemesis.begun += 1;
        self.nemesis.ongoing.insert(self.nemesis.begun, ongoing);
        self.queue.push(self.queue.now() + nanos, Event::Ends { fault: self.nemesis.begun });
        self.nemesis.begun
    }

    /// Begins a fault: nothing if it cannot be had now, `Some(None)` if it is over at once.
    fn begin(&mut self, fault: Fault) -> Option<Option<Ongoing>> {
        match fault {
            Fault::Pause | Fault::PauseAll | Fault::SlowCpu | Fault::PauseClient => self.begin_stall(fault),
            Fault::Crash | Fault::CrashAndWipe | Fault::Stop | Fault::CrashClient => self.begin_end(fault),
            Fault::SlowDisk => {
                let at = self.victim()?;
                self.hosts[at].disk_slowness = self.nemesis.dice.magnitude(10, 1_000);
                Some(Some(Ongoing::SlowDisk(at)))
            }
            Fault::SmallBuffer => {
                let at = self.victim()?;
                self.hosts[at].buffer = self.nemesis.dice.magnitude(2 << 10, 32 << 10);
                Some(Some(Ongoing::SmallBuffer(at)))
            }
            Fault::Replay => self.replay().then_some(None),
            Fault::Forge => {
                self.forge();
                Some(None)
            }
            _ => {
                let troubles = self.troubles(fault)?;
                for (from, to, trouble) in &troubles {
                    self.net.trouble(*from, *to, *trouble, true);
                }
                Some(Some(Ongoing::Troubles(troubles)))
            }
        }
    }

    /// A fault of the network, as what is wrong with which directions.
    fn troubles(&mut self, fault: Fault) -> Option<Vec<(usize, usize, Trouble)>> {
        let victim = self.victim()?;
        let (daemons, all) = (self.daemons(), 0..self.ghost());
        let others: Vec<usize> = daemons.clone().filter(|host| *host != victim).collect();
        let other = self.nemesis.dice.pick(&others)?;
        let cut = |pairs: Vec<(usize, usize)>| {
            pairs.into_iter().map(|(from, to)| (from, to, Trouble::Cut)).collect::<Vec<_>>()
        };
        let both = |a: usize, b: usize| [(a, b), (b, a)];
        Some(match fault {
            Fault::CutOneWay => {
                cut(vec![if self.nemesis.dice.coin() { (victim, other) } else { (other, victim) }])
            }
            Fault::CutBothWays => cut(both(victim, other).to_vec()),
            Fault::Deafen => cut(all.filter(|host| *host != victim).map(|host| (host, victim)).collect()),
            Fault::Mute => cut(all.filter(|host| *host != victim).map(|host| (victim, host)).collect()),
            Fault::IsolatePeers => cut(others.iter().flat_map(|host| both(*host, victim)).collect()),
            Fault::Isolate => {
                cut(all.filter(|host| *host != victim).flat_map(|host| both(host, victim)).collect())
            }
            Fault::Split => {
                let sides: Vec<bool> = all.map(|_| self.nemesis.dice.coin()).collect();
                cut(pairs(sides.len()).filter(|(a, b)| sides[*a] != sides[*b]).collect())
            }
            Fault::Bridge => {
                let sides: Vec<bool> = daemons.map(|_| self.nemesis.dice.coin()).collect();
                let apart = |(a, b): &(usize, usize)| sides[*a] != sides[*b] && *a != victim && *b != victim;
                cut(pairs(sides.len()).filter(apart).collect())
            }
            Fault::Chain => {
                let mut row: Vec<usize> = daemons.collect();
                self.nemesis.dice.shuffle(&mut row);
                cut(pairs(row.len())
                    .filter(|(a, b)| a.abs_diff(*b) > 1)
                    .map(|(a, b)| (row[a], row[b]))
                    .collect())
            }
            Fault::Star => cut(pairs(daemons.len()).filter(|(a, b)| *a != victim && *b != victim).collect()),
            Fault::RandomCuts => {
                let ppm = self.nemesis.dice.range(100_000, 600_000) as Ppm;
                cut(pairs(daemons.len()).filter(|_| self.nemesis.dice.chance(ppm)).collect())
            }
            Fault::CutClient => {
                let clients: Vec<usize> = self.clients().collect();
                cut(both(self.nemesis.dice.pick(&clients)?, victim).to_vec())
            }
            Fault::Lossy => {
                let ppm = self.nemesis.dice.range(300_000, 1_000_000) as Ppm;
                vec![(victim, other, Trouble::Lossy(ppm))]
            }
            Fault::Slow => {
                vec![(victim, other, Trouble::Slow(self.nemesis.dice.magnitude(MILLIS, 2 * SECONDS)))]
            }
            Fault::SlowHost => {
                let nanos = self.nemesis.dice.magnitude(MILLIS, SECONDS);
                all.filter(|host| *host != victim).map(|host| (victim, host, Trouble::Slow(nanos))).collect()
            }
            Fault::SlowNews => {
                let nanos = self.nemesis.dice.magnitude(100 * MILLIS, 3 * SECONDS);
                others.iter().map(|host| (*host, victim, Trouble::Slow(nanos))).collect()
            }
            Fault::Squeeze => vec![(victim, other, Trouble::Squeezed)],
            _ => return None,
        })
    }

    fn begin_stall(&mut self, fault: Fault) -> Option<Option<Ongoing>> {
        let victims = match fault {
            Fault::PauseAll => self.daemons().collect(),
            Fault::PauseClient => {
                let clients: Vec<usize> = self.clients().collect();
                vec![self.nemesis.dice.pick(&clients)?]
            }
            _ => vec![self.victim()?],
        };
        if fault == Fault::SlowCpu {
            self.hosts[victims[0]].slowness = self.nemesis.dice.magnitude(10, 1_000);
            return Some(Some(Ongoing::SlowCpu(victims[0])));
        }
        for at in &victims {
            self.hosts[*at].pauses += 1;
        }
        Some(Some(Ongoing::Paused(victims)))
    }

    fn begin_end(&mut self, fault: Fault) -> Option<Option<Ongoing>> {
        let now = self.queue.now();
        let returns = now + self.nemesis.dice.magnitude(20 * MILLIS, 5 * SECONDS);
        if fault == Fault::CrashClient {
            let clients: Vec<usize> = self.clients().filter(|at| *at != self.auditor()).collect();
            let at = self.nemesis.dice.pick(&clients)?;
            self.hosts[at].actor()?;
            self.kill(at);
            self.start_at(at, returns);
            return Some(None);
        }
        let at = self.victim()?;
        let keeper = (self.nemesis.keeper % self.scenario.shape.founders as u64) as usize;
        if !self.may_lose(at) || (fault == Fault::CrashAndWipe && at == keeper) {
            return None;
        }
        if fault == Fault::Stop {
            let local = self.hosts[at].clock.at(now);
            let Process::Daemon(daemon) = &mut self.hosts[at].process else { return None };
            daemon.stopping = true;
            // It is lost from now on, for the count.
            self.dead.insert(daemon.node.id());
            // It cannot be stopping already.
            let _ = daemon.node.handle_command(local, Command::Stop);
            self.schedule_turn(at);
            return Some(None);
        }
        self.kill(at);
        if fault == Fault::CrashAndWipe {
            self.disks[at].life = None;
            self.nemesis.wiped = true;
        }
        self.start_at(at, returns);
        Some(None)
    }

    /// Whether the cluster may lose the process for good.
    fn may_lose(&self, at: usize) -> bool {
        let Some(daemon) = self.hosts[at].daemon().filter(|daemon| !daemon.stopping) else { return false };
        let id = daemon.node.id();
        if self.scenario.losses == Losses::Any {
            return true;
        }
        let spare = |replicas: &[NodeId], count: usize| {
            let lost = replicas.iter().filter(|replica| self.is_lost(**replica)).count();
            lost < (count - 1) / 2
        };
        if self.record.canons.map().is_some() {
            let most = if self.scenario.losses == Losses::Minority { u32::MAX } else { 0 };
            let parts = self.parts().into_iter().filter(|part| part.group.0 <= most);
            return parts
                .filter(|part| part.replicas.contains(&id))
                .all(|part| spare(&part.replicas, part.replicas.len()));
        }
        // Of every list that it may vote in, the smallest group must stay, whoever makes it up.
        daemon.granted.iter().all(|list| {
            let founders: Vec<NodeId> = list.founders.iter().map(|founder| founder.node).collect();
            let least = directory_replicas(list).len().min(list.degree as usize);
            spare(&founders, least)
        })
    }

    /// A daemon to strike: often a leader.
    fn victim(&mut self) -> Option<usize> {
        if self.nemesis.dice.chance(self.scenario.at_leader) {
            let leaders = self.leaders();
            if let Some(leader) = self.nemesis.dice.pick(&leaders) {
                return Some(leader);
            }
        }
        let alive: Vec<usize> = self.daemons().filter(|at| self.hosts[*at].daemon().is_some()).collect();
        self.nemesis.dice.pick(&alive)
    }

    /// Daemons that lead a group, as they see it.
    fn leaders(&self) -> Vec<usize> {
        let leads = |at: &usize| {
            self.hosts[*at].daemon().is_some_and(|daemon| daemon.node.groups().any(Group::leads))
        };
        self.daemons().filter(leads).collect()
    }

    /// Old datagrams arrive again, at their receivers or at others, from their senders or from nowhere.
    fn replay(&mut self) -> bool {
        let now = self.queue.now();
        let count = self.nemesis.dice.magnitude(1, 200);
        let mut any = false;
        for _ in 0..count {
            let dice = &mut self.nemesis.dice;
            let at = dice.index(self.packets.kept.len());
            let Some(old) = self.packets.kept.get(at).cloned() else { break };
            let to =
                if dice.chance(900_000) { usize::from(old.to) } else { dice.index(self.hosts.len() - 1) };
            let from = if dice.chance(900_000) { usize::from(old.from) } else { self.hosts.len() - 1 };
            let when = now + dice.below(SECONDS);
            self.inject(when, from, to, &old.bytes);
            any = true;
        }
        any
    }

    /// Datagrams that nobody sent arrive.
    fn forge(&mut self) {
        let now = self.queue.now();
        for _ in 0..self.nemesis.dice.magnitude(1, 200) {
            let dice = &mut self.nemesis.dice;
            let at = dice.index(self.packets.kept.len());
            let mut bytes = match self.packets.kept.get(at) {
                Some(old) if dice.coin() => old.bytes.clone(),
                _ => (0..dice.magnitude(1, 1500)).map(|_| dice.u64() as u8).collect(),
            };
            for _ in 0..dice.range(0, 8) {
                let at = dice.index(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = dice.u64() as u8;
                }
            }
            let (from, to) = (dice.index(self.hosts.len()), dice.index(self.hosts.len() - 1));
            let when = now + dice.below(SECONDS);
            self.inject(when, from, to, &bytes);
        }
    }

    /// A fault ends.
    pub(crate) fn ends(&mut self, fault: u32) {
        let host = (u32::MAX - fault) as usize;
        if self.daemons().contains(&host) {
            if self.hosts[host].daemon().is_some_and(|daemon| daemon.stopped) {
                self.kill(host);
                // Once all is calm nobody waits for it.
                let most = if self.nemesis.calm { 20 * MILLIS } else { 5 * SECONDS };
                let returns = self.queue.now() + self.nemesis.dice.magnitude(20 * MILLIS, most);
                self.start_at(host, returns);
            }
            return;
        }
        if let Some((follows, lasts)) = self.nemesis.follows.remove(&fault)
            && !self.nemesis.calm
        {
            match &follows {
                Ongoing::Troubles(troubles) => {
                    for (from, to, trouble) in troubles {
                        self.net.trouble(*from, *to, *trouble, true);
                    }
                }
                Ongoing::Paused(hosts) => hosts.iter().for_each(|at| self.hosts[*at].pauses += 1),
                _ => {}
            }
            self.lasts(follows, lasts);
        }
        if let Some((turn, until)) = self.nemesis.carousel
            && turn == fault
        {
            self.nemesis.carousel = None;
            if self.queue.now() < until && !self.nemesis.calm {
                self.turn_carousel(until);
            }
        }
        let Some(ongoing) = self.nemesis.ongoing.remove(&fault) else { return };
        match ongoing {
            Ongoing::Troubles(troubles) => {
                for (from, to, trouble) in troubles {
                    self.net.trouble(from, to, trouble, false);
                }
            }
            Ongoing::Paused(hosts) => {
                for at in hosts {
                    self.hosts[at].pauses = self.hosts[at].pauses.saturating_sub(1);
                    self.schedule_turn(at);
                }
            }
            Ongoing::SlowCpu(at) => self.hosts[at].slowness = 1,
            Ongoing::SlowDisk(at) => self.hosts[at].disk_slowness = 1,
            Ongoing::SmallBuffer(at) => self.hosts[at].buffer = self.scenario.buffer,
        }
    }

    /// Ends all faults among the hosts that `healed` names; no new ones begin anywhere.
    pub(crate) fn heal(&mut self, healed: impl Fn(usize) -> bool) {
        self.nemesis.calm = true;
        self.net.set_weather(self.scenario.weather.calm());
        self.net.heal(&healed);
        // Like the weather it ends everywhere: a leader beyond the core may adopt a long log for ever over links that
        // lose what they took, which no election could know of.
        self.set_buggify();
        for at in (0..self.ghost()).filter(|at| healed(*at)) {
            let host = &mut self.hosts[at];
            (host.pauses, host.slowness, host.disk_slowness) = (0, 1, 1);
            host.free_at = host.free_at.min(self.queue.now());
            host.turn_scheduled = false;
            host.buffer = 4 << 20;
            host.disk_free_at = self.queue.now();
            if let Process::Daemon(daemon) = &mut host.process {
                // What waits for a slow disk is written now.
                if let Some((lsn, _)) = daemon.writing.back() {
                    let event = Event::Persisted { host: at as u16, life: host.life, lsn: lsn.0 };
                    self.queue.push(self.queue.now() + MILLIS, event);
                }
            }
            self.schedule_turn(at);
        }
    }
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b)
}
