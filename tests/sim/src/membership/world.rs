//! Hosts, the processes on them, and what befalls both.

use std::time::Duration;

use haystack_wire::Instant;

use super::net::{MS, Net, Network, SECOND, exponential};
use super::tally::Outcome;
use crate::dice::Dice;
use crate::queue::Queue;

/// Datagrams that wait for a process that stands still: a socket buffer of 208 KiB.
const SOCKET_DATAGRAMS: usize = 256;
/// How long a host stays away after a crash.
const OUTAGE: u64 = 60 * SECOND;
/// From the return of a host to the next crash.
const CALM: (u64, u64) = (25 * SECOND, 40 * SECOND);
/// How long a process stands still.
const PAUSE: u64 = 2 * SECOND;
/// How long a direction is cut.
const CUT: u64 = 30 * SECOND;
/// One direction is cut at a time for each so many hosts, but one at least.
const CUTS_PER: usize = 8;
/// From pause to pause of a host, in the mean.
const PAUSE_EVERY: u64 = 120 * SECOND;
/// What a cut or a return explains in the time after it.
const AFTERMATH: u64 = 2 * SECOND;
/// A lost reliable message goes again after this, doubling.
const RETRY: (u64, u64) = (20 * MS, SECOND);
/// A reliable message to a process that is gone is forgotten after this many attempts: about a minute.
const RETRIES: u32 = 64;
/// False deaths that are told one by one.
const DEATHS_SHOWN: usize = 5;
/// Timer calls in one instant after which a process is taken to spin.
const SPINS: u32 = 10_000;

/// What a process wants, or tells.
pub(super) enum Act<M> {
    /// Send this.
    Send { to: usize, message: M, bytes: usize, reliable: bool },
    /// Something about the process of so many lives on a host.
    Tell { about: (usize, u32), what: What },
    /// Two claim one name or identity.
    Conflict,
    /// Nothing that matters here.
    Nothing,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It may have crashed.
    Suspect,
    /// It has.
    Dead,
    /// It hears nothing of the teller.
    Deaf,
}

/// A state machine under test.
pub(super) trait Process: Sized {
    /// What they say to each other.
    type Message;
    /// What all share at the start.
    type Setup;
    /// Whether the process on a host that returns bears the identity of the one that crashed.
    const SAME: bool;

    fn start(setup: &mut Self::Setup, host: usize, life: u32, now: Instant) -> Self;
    fn handle(&mut self, now: Instant, from: usize, message: Self::Message);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_timeout(&self) -> Option<Instant>;
    /// What others hear first of a process that returned under its old identity.
    fn greeting() -> Option<Self::Message>;
    fn poll_act(&mut self, setup: &Self::Setup) -> Option<Act<Self::Message>>;
    /// Whether this process came to see the crash of another that it is to watch.
    fn knows(&self, setup: &Self::Setup, crashed: (usize, u32)) -> bool;
}

/// A host with its process.
struct Host<P: Process> {
    process: Option<P>,
    life: u32,
    /// Its clock, ahead of the world's by this.
    offset: u64,
    /// When its timer is next called.
    timer: Option<u64>,
    /// Away, its process crashed, since then.
    crashed: Option<u64>,
    /// When it returned.
    returned: u64,
    /// Standing still until then, while datagrams wait.
    paused: u64,
    waiting: Vec<(usize, P::Message)>,
    sent: u64,
    /// When it was believed dead by one that could not hear it and had nobody to ask, and by which.
    doubted: Option<(u64, usize)>,
    /// Whether anybody has suspected its crash yet.
    noticed: bool,
}

enum Event<M> {
    Start(usize),
    Timer(usize),
    Arrive { from: usize, to: usize, message: M },
    Retry { from: usize, to: usize, life: u32, message: M, tries: u32 },
    Crash,
    Return(usize),
    Pause(usize),
    Resume(usize),
    Cut,
}

/// The world of a run.
pub(super) struct World<P: Process> {
    pub(super) setup: P::Setup,
    hosts: Vec<Host<P>>,
    network: Network,
    net: Net,
    queue: Queue<Event<P::Message>>,
    dice: Dice,
    /// Since when things count; nothing before.
    measured: Option<u64>,
    /// When the last quarter of the measurement begins.
    late: u64,
    spins: (u64, u32),
    pub(super) outcome: Outcome,
}

impl<P: Process> World<P>
where
    P::Message: Clone,
{
    /// Hosts that start within `spread`, one by one.
    pub(super) fn new(seed: u64, hosts: usize, network: Network, spread: u64, setup: P::Setup) -> Self {
        let mut dice = Dice::new(seed, "membership");
        let net = Net::new(network, hosts, dice.fork());
        let mut queue = Queue::new();
        let hosts: Vec<_> = (0..hosts)
            .map(|host| {
                queue.push(spread * host as u64 / hosts as u64, Event::Start(host));
                Host {
                    process: None,
                    life: 0,
                    offset: dice.range(SECOND, 2 * SECOND),
                    timer: None,
                    crashed: None,
                    returned: 0,
                    paused: 0,
                    waiting: Vec::new(),
                    sent: 0,
                    doubted: None,
                    noticed: false,
                }
            })
            .collect();
        let outcome = Outcome { nodes: hosts.len(), ..Outcome::default() };
        Self { setup, hosts, network, net, queue, dice, measured: None, late: 0, spins: (0, 0), outcome }
    }

    pub(super) fn now(&self) -> u64 {
        self.queue.now()
    }

    /// The living processes.
    pub(super) fn processes(&self) -> impl Iterator<Item = &P> {
        self.hosts.iter().filter_map(|host| host.process.as_ref())
    }

    /// For so long things count, and go wrong: the network's faults, and with `crashes` a host at a time.
    pub(super) fn measure(mut self, crashes: bool, span: Duration) -> Outcome {
        self.begin(crashes, span);
        self.run(span);
        self.outcome.seconds = span.as_secs_f64();
        self.outcome.messages = self.hosts.iter().map(|host| host.sent).sum();
        self.outcome.busiest = self.hosts.iter().map(|host| host.sent).max().unwrap_or(0);
        self.outcome
    }

    fn begin(&mut self, crashes: bool, span: Duration) {
        let now = self.now();
        self.measured = Some(now);
        self.late = now + (span * 3 / 4).as_nanos() as u64;
        if crashes {
            self.queue.push(now + self.dice.range(CALM.0, CALM.1), Event::Crash);
        }
        match self.network {
            Network::Pauses => {
                for host in 0..self.hosts.len() {
                    let wait = exponential(&mut self.dice, PAUSE_EVERY);
                    self.queue.push(now + wait, Event::Pause(host));
                }
            }
            Network::OneWayCuts => {
                for _ in 0..(self.hosts.len() / CUTS_PER).max(1) {
                    self.cut();
                }
            }
            Network::Loss(_) | Network::Bursts => {}
        }
    }

    pub(super) fn run(&mut self, span: Duration) {
        let until = self.now() + span.as_nanos() as u64;
        while let Some(event) = self.queue.pop(until) {
            self.take(event);
        }
    }

    fn take(&mut self, event: Event<P::Message>) {
        let now = self.now();
        match event {
            Event::Start(host) => self.start(host),
            Event::Timer(host) => {
                if self.hosts[host].timer == Some(now) {
                    self.hosts[host].timer = None;
                    if self.runs(host) {
                        self.tick(host);
                    }
                }
            }
            Event::Arrive { from, to, message } => self.arrive(from, to, message),
            Event::Retry { from, to, life, message, tries } => {
                self.try_reliable(from, (to, life), message, tries)
            }
            Event::Crash => self.crash(),
            Event::Return(host) => self.bring_back(host),
            Event::Pause(host) => {
                if self.runs(host) {
                    self.hosts[host].paused = now + PAUSE;
                    self.queue.push(now + PAUSE, Event::Resume(host));
                }
                let wait = exponential(&mut self.dice, PAUSE_EVERY);
                self.queue.push(now + PAUSE + wait, Event::Pause(host));
            }
            Event::Resume(host) => self.wake(host),
            Event::Cut => self.cut(),
        }
    }

    fn start(&mut self, host: usize) {
        let now = self.local(host);
        let process = P::start(&mut self.setup, host, self.hosts[host].life, now);
        self.hosts[host].process = Some(process);
        self.drain(host);
    }

    fn local(&self, host: usize) -> Instant {
        Instant::from_nanos(self.now() + self.hosts[host].offset)
    }

    /// Whether the host's process exists and does not stand still.
    fn runs(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        host.process.is_some() && host.crashed.is_none() && host.paused <= self.queue.now()
    }

    fn tick(&mut self, host: usize) {
        let (at, count) = self.spins;
        self.spins = if at == self.now() { (at, count + 1) } else { (self.now(), 0) };
        assert!(self.spins.1 < SPINS, "a process asks to be called again and again");
        let now = self.local(host);
        if let Some(process) = &mut self.hosts[host].process {
            process.handle_timeout(now);
            self.drain(host);
        }
    }

    fn arrive(&mut self, from: usize, to: usize, message: P::Message) {
        if self.runs(to) {
            let now = self.local(to);
            if let Some(process) = &mut self.hosts[to].process {
                process.handle(now, from, message);
                self.drain(to);
            }
        } else if self.hosts[to].crashed.is_none() && self.hosts[to].waiting.len() < SOCKET_DATAGRAMS {
            self.hosts[to].waiting.push((from, message));
        }
    }

    /// A process goes on: it reads what waits for it, and then looks at its timers.
    fn wake(&mut self, host: usize) {
        let now = self.local(host);
        let waiting = std::mem::take(&mut self.hosts[host].waiting);
        if self.runs(host)
            && let Some(process) = &mut self.hosts[host].process
        {
            for (from, message) in waiting {
                process.handle(now, from, message);
            }
            process.handle_timeout(now);
            self.drain(host);
        }
    }

    fn crash(&mut self) {
        let now = self.now();
        let host = self.dice.index(self.hosts.len());
        let calm = self.dice.range(CALM.0, CALM.1);
        self.queue.push(now + OUTAGE + calm, Event::Crash);
        if !self.runs(host) {
            return;
        }
        self.outcome.crashes += 1;
        let crashed = &mut self.hosts[host];
        (crashed.crashed, crashed.noticed) = (Some(now), false);
        (crashed.process, crashed.timer) = (None, None);
        self.queue.push(now + OUTAGE, Event::Return(host));
    }

    fn bring_back(&mut self, host: usize) {
        let crashed = (host, self.hosts[host].life);
        let others = self.hosts.iter().enumerate().filter(|(other, _)| *other != host);
        let processes = others.filter_map(|(_, other)| other.process.as_ref());
        self.outcome.missed +=
            processes.filter(|process| !process.knows(&self.setup, crashed)).count() as u64;
        self.hosts[host].crashed = None;
        self.hosts[host].returned = self.now();
        self.hosts[host].life += u32::from(!P::SAME);
        self.start(host);
        if let Some(greeting) = P::greeting() {
            for other in (0..self.hosts.len()).filter(|other| *other != host) {
                self.arrive(host, other, greeting.clone());
            }
        }
    }

    fn cut(&mut self) {
        let now = self.now();
        let count = self.hosts.len();
        let from = self.dice.index(count);
        let to = (from + 1 + self.dice.index(count - 1)) % count;
        if self.net.cut_until(from, to) <= now {
            self.net.cut(from, to, now + CUT);
        }
        let wait = exponential(&mut self.dice, CUT / 4);
        self.queue.push(now + CUT + wait, Event::Cut);
    }

    fn drain(&mut self, host: usize) {
        while let Some(process) = &mut self.hosts[host].process
            && let Some(act) = process.poll_act(&self.setup)
        {
            match act {
                Act::Send { to, message, bytes, reliable } => self.send(host, to, message, bytes, reliable),
                Act::Tell { about, what } => self.told(host, about, what),
                Act::Conflict => self.outcome.conflicts += 1,
                Act::Nothing => {}
            }
        }
        let offset = self.hosts[host].offset;
        let due = self.hosts[host].process.as_ref().and_then(Process::poll_timeout);
        if let Some(due) = due.map(|due| due.as_nanos().saturating_sub(offset).max(self.now()))
            && self.hosts[host].timer.is_none_or(|timer| due < timer)
        {
            self.hosts[host].timer = Some(due);
            self.queue.push(due, Event::Timer(host));
        }
    }

    fn send(&mut self, from: usize, to: usize, message: P::Message, bytes: usize, reliable: bool) {
        if self.measured.is_some() {
            self.outcome.bytes += bytes as u64;
            self.hosts[from].sent += 1;
        }
        if reliable {
            self.try_reliable(from, (to, self.hosts[to].life), message, 0);
        } else if self.net.passes(self.now(), from, to) {
            let at = self.now() + self.net.delay();
            self.queue.push(at, Event::Arrive { from, to, message });
        }
    }

    fn try_reliable(&mut self, from: usize, (to, life): (usize, u32), message: P::Message, tries: u32) {
        let now = self.now();
        if self.hosts[to].life != life || tries >= RETRIES {
            return;
        }
        if self.net.passes(now, from, to) && self.runs(to) {
            let at = now + self.net.delay();
            self.queue.push(at, Event::Arrive { from, to, message });
        } else {
            let wait = (RETRY.0 << tries.min(10)).min(RETRY.1);
            self.queue.push(now + wait, Event::Retry { from, to, life, message, tries: tries + 1 });
        }
    }

    /// Whether the two cannot hear each other, or lately could not, and nobody else is there to ask; or whether such a
    /// two spread the word: also to whoever comes as long as they are cut.
    fn alone(&self, by: usize, about: usize) -> bool {
        let now = self.now();
        let there =
            |host: &&Host<P>| host.crashed.is_none() && (host.returned == 0 || host.returned + CUT < now);
        let cut = |by| now < self.net.cut_until(by, about).max(self.net.cut_until(about, by)) + AFTERMATH;
        let heard = self.hosts[about].doubted.is_some_and(|(at, by)| now < at + CUT || cut(by));
        heard || self.hosts.iter().filter(there).count() <= 2 && cut(by)
    }

    fn told(&mut self, by: usize, (about, life): (usize, u32), what: What) {
        let now = self.now();
        let host = &self.hosts[about];
        let crashed = host.crashed.filter(|_| host.life == life);
        if life < host.life || self.measured.is_none() {
            return;
        }
        let alone = crashed.is_none() && self.alone(by, about);
        let host = &mut self.hosts[about];
        match (what, crashed) {
            (What::Suspect, Some(at)) => {
                self.outcome.suspected.add(now - at);
                if !std::mem::replace(&mut host.noticed, true) {
                    self.outcome.first.add(now - at);
                }
            }
            (What::Suspect, None) => {
                let returned = P::SAME && now < host.returned + AFTERMATH && host.returned > 0;
                let cut = P::SAME && now < self.net.cut_until(about, by) + AFTERMATH;
                let wrong = u64::from(!returned && !cut);
                self.outcome.false_suspicions += wrong;
                self.outcome.late_suspicions += if now >= self.late { wrong } else { 0 };
            }
            (What::Dead, Some(at)) => self.outcome.dead.add(now - at),
            (What::Dead, None) if alone => self.hosts[about].doubted = Some((now, by)),
            (What::Dead, None) => {
                self.outcome.false_deaths += 1;
                if self.outcome.deaths.len() < DEATHS_SHOWN {
                    self.outcome.deaths.push((now as f64 / 1e9, by, about));
                }
            }
            (What::Deaf, _) => {
                let until = self.net.cut_until(by, about);
                if now < until + AFTERMATH {
                    let began = until - CUT;
                    if crashed.is_none()
                        && self.hosts[about].returned < began
                        && self.hosts[by].returned < began
                    {
                        self.outcome.one_way.add(now - began);
                    }
                } else {
                    self.outcome.false_one_way += 1;
                }
            }
        }
    }
}
