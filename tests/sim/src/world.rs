//! The simulated world: hosts, the network between them, and time.

use std::collections::BTreeSet;

use haystack_core::mutation::Mutations;
use haystack_core::node::{Event as NodeEvent, Lsn};
use haystack_wire::ids::{GroupId, NodeId};
use haystack_wire::keys::KeyRing;
use slog::Logger;

use crate::actor::{Actor, Record, Seen};
use crate::check::canon::Canons;
use crate::check::replica::Clusters;
use crate::check::{Check, ensure};
use crate::coverage::Coverage;
use crate::daemon::{Daemon, Disk};
use crate::dice::Dice;
use crate::faults::Nemesis;
use crate::history::History;
use crate::host::{Clock, Host, Process, address};
use crate::net::{Damage, Network};
use crate::packets::Packets;
use crate::scenario::{Fault, MILLIS, SECONDS, Scenario};

/// Datagrams that one turn reads, and sends, at most (the daemon's own bounds).
const TURN_DATAGRAMS: u64 = 512;
/// Turns in a row that neither take nor give anything, after which a process is called a busy loop.
const IDLE_TURNS_MOST: u32 = 50;

/// Something that happens at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A datagram arrives.
    Arrive { packet: u32, to: u16 },
    /// A process has its turn.
    Turn { host: u16, life: u32 },
    /// A process wanted to be woken.
    Timer { host: u16, life: u32, at: u64 },
    /// A record is on disk.
    Persisted { host: u16, life: u32, lsn: u64 },
    /// A new process begins.
    Start { host: u16, life: u32 },
    /// The next fault begins.
    Strike,
    /// A daemon is cut off from others, or from one, because it leads.
    Ambush { host: u16, fault: Fault },
    /// A fault ends.
    Ends { fault: u32 },
}

/// What a run is started with.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    pub(crate) scenario: Scenario,
    pub(crate) mutations: Mutations,
    pub(crate) log: Logger,
}

/// A hash over everything that happened: equal for equal seeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) const fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25);
        self.0 ^= self.0 >> 32;
    }

    pub(crate) const fn hash(self) -> u64 {
        self.0
    }
}

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) queue: crate::queue::Queue<Event>,
    pub(crate) net: Network,
    pub(crate) hosts: Vec<Host>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) packets: Packets,
    pub(crate) record: Record,
    pub(crate) coverage: Coverage,
    pub(crate) dice: Dice,
    pub(crate) nemesis: Nemesis,
    pub(crate) trace: Trace,
    /// Processes of daemons that died, or were told to.
    pub(crate) dead: BTreeSet<NodeId>,
    /// Processes in a copy of whose state directory another began.
    pub(crate) copied: BTreeSet<NodeId>,
    clusters: Clusters,
    pub(crate) cluster_keys: KeyRing,
    pub(crate) client_keys: KeyRing,
    pub(crate) mutations: Mutations,
    pub(crate) log: Logger,
    buf: Vec<u8>,
    /// Bytes that went to, and came from, addresses that do not exist.
    pub(crate) spoofed_in: u64,
    pub(crate) spoofed_out: u64,
}

impl World {
    /// A world at time 0, in which the daemons are about to start.
    pub(crate) fn new(setting: Setting) -> Self {
        let Setting { seed, scenario, mutations, log } = setting;
        let mut dice = Dice::new(seed, "world");
        let (cluster_keys, client_keys) = crate::births::keys(&scenario, &mut dice);
        let mut hosts: Vec<Host> = Vec::new();
        let mut add = |name: String, dice: &mut Dice| {
            let drift = i64::from(scenario.drift);
            let drift = dice.range(0, drift.unsigned_abs() * 2) as i64 - drift;
            let clock = Clock::new(dice.range(SECONDS, 1_000_000 * SECONDS), drift);
            let addr = address(scenario.addressing, hosts.len());
            hosts.push(Host::new(name, addr, clock, scenario.buffer));
        };
        (1..=scenario.shape.daemons()).for_each(|n| add(format!("n{n}"), &mut dice));
        (1..=scenario.load.clients).for_each(|n| add(format!("c{n}"), &mut dice));
        add("auditor".to_owned(), &mut dice);
        add("ghost".to_owned(), &mut dice);
        let keys = (0..scenario.load.keys).map(|n| format!("k{n}")).collect();
        let record = Record {
            keys,
            history: History::default(),
            canons: Canons::default(),
            tickets: Vec::new(),
            seen: Seen::default(),
        };
        let net = Network::new(hosts.len(), scenario.weather.calm(), Dice::new(seed, "net"));
        let mut world = Self {
            queue: crate::queue::Queue::new(),
            net,
            disks: vec![Disk::default(); scenario.shape.daemons()],
            packets: Packets::new(Dice::new(seed, "packets"), true),
            record,
            coverage: Coverage::default(),
            nemesis: Nemesis::new(Dice::new(seed, "nemesis")),
            trace: Trace(seed),
            dead: BTreeSet::new(),
            copied: BTreeSet::new(),
            clusters: Clusters::default(),
            cluster_keys,
            client_keys,
            mutations,
            log,
            buf: Vec::with_capacity(1 << 16),
            spoofed_in: 0,
            spoofed_out: 0,
            hosts,
            dice,
            scenario,
        };
        for host in world.founders().chain(world.clients()) {
            let at = world.dice.below(300 * MILLIS);
            world.queue.push(at, Event::Start { host: host as u16, life: 1 });
        }
        world
    }

    /// The host that no process lives on: addresses that do not exist.
    pub(crate) fn ghost(&self) -> usize {
        self.hosts.len() - 1
    }

    /// The client that reads everything at the end.
    pub(crate) fn auditor(&self) -> usize {
        self.hosts.len() - 2
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, until: u64) -> Check {
        while let Some(event) = self.queue.pop(until) {
            crate::run::note_time(self.queue.now());
            self.handle(event)?;
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Check {
        match event {
            Event::Arrive { packet, to } => self.arrive(packet, usize::from(to)),
            Event::Turn { host, life } => {
                if self.hosts[usize::from(host)].life == life {
                    return self.turn(usize::from(host));
                }
            }
            Event::Timer { host, life, at } => {
                let host = usize::from(host);
                if self.hosts[host].life == life && self.hosts[host].timer_at == at {
                    self.hosts[host].timer_at = u64::MAX;
                    self.schedule_turn(host);
                }
            }
            Event::Persisted { host, life, lsn } => self.persisted(usize::from(host), life, lsn),
            Event::Start { host, life } => {
                let host = usize::from(host);
                if self.hosts[host].life + 1 == life {
                    self.start(host);
                }
            }
            Event::Strike => self.strike(),
            Event::Ambush { host, fault } => self.ambush(usize::from(host), fault),
            Event::Ends { fault } => self.ends(fault),
        }
        Ok(())
    }

    fn arrive(&mut self, packet: u32, to: usize) {
        let bytes = self.packets.len(packet);
        let host = &mut self.hosts[to];
        if matches!(host.process, Process::None) || host.inbox_bytes + bytes > host.buffer {
            let name =
                if matches!(host.process, Process::None) { "arrived_nowhere" } else { "socket_overflow" };
            self.coverage.add("net", name, 1);
            self.packets.drop(packet);
            return;
        }
        host.inbox.push_back(packet);
        host.inbox_bytes += bytes;
        self.schedule_turn(to);
    }

    /// A process has something to do.
    pub(crate) fn schedule_turn(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if host.runs() && !host.turn_scheduled {
            host.turn_scheduled = true;
            self.queue.push(host.free_at, Event::Turn { host: at as u16, life: host.life });
        }
    }

    /// Puts a datagram on its way.
    pub(crate) fn send(&mut self, when: u64, from: usize, to: usize, bytes: &[u8]) {
        let fate = self.net.send(when, from, to, bytes.len());
        for arrival in fate.into_iter().flatten() {
            let packet = self.packets.put(from, bytes, arrival.damage);
            self.queue.push(arrival.at, Event::Arrive { packet, to: to as u16 });
        }
    }

    /// The host that has an address; the one that nobody lives on for all others.
    fn host_at(&self, addr: std::net::SocketAddr) -> usize {
        let first = self.hosts[0].addr.port();
        let at = usize::from(addr.port().wrapping_sub(first));
        if self.hosts.get(at).is_some_and(|host| host.addr == addr) { at } else { self.ghost() }
    }

    fn turn(&mut self, at: usize) -> Check {
        self.hosts[at].turn_scheduled = false;
        if !self.hosts[at].runs() {
            return Ok(());
        }
        let mut process = std::mem::replace(&mut self.hosts[at].process, Process::None);
        let done = match &mut process {
            Process::Daemon(daemon) => self.daemon_turn(at, daemon),
            Process::Client(actor) => self.client_turn(at, actor),
            Process::None => Ok((0, None)),
        };
        self.hosts[at].process = process;
        let (datagrams, next) = done?;
        let now = self.queue.now();
        let cpu = self.scenario.cpu;
        let host = &mut self.hosts[at];
        host.free_at = now + host.slowness * (cpu.turn + cpu.datagram * datagrams);
        if !host.inbox.is_empty() || datagrams >= TURN_DATAGRAMS {
            self.schedule_turn(at);
        } else if let Some(next) = next {
            self.sleep(at, next, datagrams)?;
        }
        Ok(())
    }

    /// A process sleeps until `next`, or until something arrives.
    fn sleep(&mut self, at: usize, next: u64, datagrams: u64) -> Check {
        let now = self.queue.now();
        let grid = self.scenario.timer_grid;
        let wake = now + next.saturating_sub(now).next_multiple_of(grid);
        let host = &mut self.hosts[at];
        host.idle_turns = if datagrams == 0 && wake <= host.free_at { host.idle_turns + 1 } else { 0 };
        ensure!(
            host.idle_turns < IDLE_TURNS_MOST,
            Live,
            "{} is woken again and again at {now} ns and does nothing",
            host.name
        );
        let wake = wake.max(host.free_at);
        if wake < host.timer_at {
            host.timer_at = wake;
            self.queue.push(wake, Event::Timer { host: at as u16, life: host.life, at: wake });
        }
        Ok(())
    }

    /// Hands what arrived to a process.
    fn read(&mut self, at: usize, mut take: impl FnMut(std::net::SocketAddr, &mut [u8])) -> u64 {
        let mut count = 0;
        while count < TURN_DATAGRAMS {
            let Some(number) = self.hosts[at].inbox.pop_front() else { break };
            let packet = self.packets.get_mut(number);
            let (from, len) = (usize::from(packet.from), packet.bytes.len() as u64);
            let from = self.hosts[from].addr;
            self.trace.mix(self.queue.now() ^ (len << 40) ^ ((at as u64) << 56));
            self.trace
                .mix(packet.bytes.last_chunk::<4>().map_or(0, |tail| u64::from(u32::from_be_bytes(*tail))));
            take(from, &mut packet.bytes);
            self.hosts[at].inbox_bytes -= len;
            self.packets.drop(number);
            count += 1;
        }
        count
    }

    /// Sends what a process gives.
    fn write(
        &mut self,
        at: usize,
        when: u64,
        mut give: impl FnMut(&mut Vec<u8>) -> Option<std::net::SocketAddr>,
    ) -> u64 {
        let mut buf = std::mem::take(&mut self.buf);
        let mut count = 0;
        while count < TURN_DATAGRAMS
            && let Some(addr) = give(&mut buf)
        {
            let to = self.host_at(addr);
            if to == self.ghost() {
                self.spoofed_out += buf.len() as u64;
            } else {
                self.packets.keep(at, to, &buf);
                self.send(when, at, to, &buf);
            }
            count += 1;
        }
        self.buf = buf;
        count
    }

    fn daemon_turn(
        &mut self,
        at: usize,
        daemon: &mut Daemon,
    ) -> Result<(u64, Option<u64>), crate::check::Violation> {
        let now = self.queue.now();
        let clock = self.hosts[at].clock;
        let local = clock.at(now);
        let mut datagrams = self.read(at, |from, bytes| daemon.node.handle_datagram(local, from, bytes));
        if daemon.node.poll_timeout().is_some_and(|(due, _)| due <= local) {
            daemon.node.handle_timeout(local);
        }
        while let Some(record) = daemon.node.poll_persist() {
            let (lsn, cluster) = daemon.write(record);
            self.begin_write(at, lsn);
            if let Some(cluster) = cluster {
                self.clusters.note(&self.hosts[at].name, cluster)?;
            }
        }
        let who = std::mem::take(&mut self.hosts[at].name);
        let told = self.daemon_events(&who, daemon);
        self.hosts[at].name = who;
        told?;
        let when =
            now + self.hosts[at].slowness * (self.scenario.cpu.turn + self.scenario.cpu.datagram * datagrams);
        let node = &mut daemon.node;
        datagrams += self.write(at, when, |buf| Some(node.poll_transmit(local, buf)?.to));
        if daemon.watch.look(&self.hosts[at].name, daemon.node.groups(), &self.record.canons)? {
            self.on_leader(at);
        }
        daemon.maps.look(&self.hosts[at].name, &daemon.node, &self.record.canons)?;
        self.clusters.look(&self.hosts[at].name, &daemon.node)?;
        if daemon.stopped {
            self.queue.push(now, Event::Ends { fault: crate::faults::stopped(at) });
        }
        Ok((datagrams, daemon.node.poll_timeout().map(|(due, _)| clock.when(due))))
    }

    fn daemon_events(&mut self, who: &str, daemon: &mut Daemon) -> Check {
        while let Some(event) = daemon.node.poll_event() {
            match event {
                NodeEvent::Applied { group, index, chain, digest, body } => {
                    self.trace.mix(chain ^ index.0);
                    self.record.canons.applied(who, group, index, chain, digest, &body)?;
                    if group == GroupId::DIRECTORY {
                        self.judge_directory(who)?;
                    }
                }
                NodeEvent::Stopped { .. } => daemon.stopped = true,
                NodeEvent::Ready => self.coverage.add("node", "ready", 1),
                NodeEvent::NotReady => self.coverage.add("node", "not_ready", 1),
                NodeEvent::Leader { .. } => self.coverage.add("node", "leader_changes_seen", 1),
                NodeEvent::Standing { .. } => self.coverage.add("node", "standing_changes", 1),
                NodeEvent::Cluster(event) => {
                    self.heed(who, &event)?;
                    self.coverage.add("cluster", event.name(), 1);
                }
                NodeEvent::Peer { .. } => {}
            }
        }
        Ok(())
    }

    fn client_turn(
        &mut self,
        at: usize,
        actor: &mut Actor,
    ) -> Result<(u64, Option<u64>), crate::check::Violation> {
        let now = self.queue.now();
        let clock = self.hosts[at].clock;
        let local = clock.at(now);
        let mut datagrams = self.read(at, |from, bytes| actor.core.handle_datagram(local, from, bytes));
        if actor.core.poll_timeout().is_some_and(|due| due <= local) {
            actor.core.handle_timeout(local);
        }
        actor.end(&self.hosts[at].name, now, clock, &mut self.record)?;
        actor.begin(now, clock, &mut self.record);
        let when = now + self.scenario.cpu.turn + self.scenario.cpu.datagram * datagrams;
        let core = &mut actor.core;
        datagrams += self.write(at, when, |buf| Some(core.poll_transmit(local, buf)?.to));
        let due = actor.core.poll_timeout().map_or(u64::MAX, |due| clock.when(due));
        Ok((datagrams, Some(due.min(actor.wakes())).filter(|due| *due < u64::MAX)))
    }

    /// A record is on its way to disk.
    fn begin_write(&mut self, at: usize, lsn: Lsn) {
        let (least, most) = self.scenario.disk;
        let host = &mut self.hosts[at];
        let takes = self.dice.range(least, most) * host.disk_slowness;
        host.disk_free_at = host.disk_free_at.max(self.queue.now()) + takes;
        self.queue.push(host.disk_free_at, Event::Persisted { host: at as u16, life: host.life, lsn: lsn.0 });
    }

    fn persisted(&mut self, at: usize, life: u32, lsn: u64) {
        let now = self.queue.now();
        let host = &mut self.hosts[at];
        if host.life != life {
            return;
        }
        let local = host.clock.at(now);
        let Process::Daemon(daemon) = &mut host.process else { return };
        while let Some((number, bytes)) = daemon.writing.pop_front_if(|(number, _)| number.0 <= lsn) {
            self.disks[at].life = Some(bytes);
            daemon.node.handle_persisted(local, number);
        }
        self.schedule_turn(at);
    }

    /// The process on a host is gone at once. What it kept in memory is lost.
    pub(crate) fn kill(&mut self, at: usize) {
        let process = std::mem::replace(&mut self.hosts[at].process, Process::None);
        match process {
            Process::Daemon(daemon) => {
                self.dead.insert(daemon.node.id());
                crate::report::count_daemon(&mut self.coverage, &daemon);
                self.disks[at].crash(daemon.writing, &mut self.dice);
            }
            Process::Client(actor) => crate::report::count_client(&mut self.coverage, &actor),
            Process::None => {}
        }
        let host = &mut self.hosts[at];
        host.inbox_bytes = 0;
        let unread = std::mem::take(&mut host.inbox);
        unread.into_iter().for_each(|packet| self.packets.drop(packet));
        // Scheduled turns and timers are of the life that ended; the next one counts on from it.
        self.hosts[at].timer_at = u64::MAX;
        self.hosts[at].turn_scheduled = false;
    }

    /// A new process comes to a host whose process is gone.
    pub(crate) fn start_at(&mut self, at: usize, when: u64) {
        let life = self.hosts[at].life + 1;
        self.queue.push(when, Event::Start { host: at as u16, life });
    }

    /// The founders' hosts.
    pub(crate) fn founders(&self) -> std::ops::Range<usize> {
        0..self.scenario.shape.founders
    }

    /// The daemons' hosts, those of joiners included.
    pub(crate) fn daemons(&self) -> std::ops::Range<usize> {
        0..self.scenario.shape.daemons()
    }

    /// The clients' hosts, the auditor's included.
    pub(crate) fn clients(&self) -> std::ops::Range<usize> {
        self.scenario.shape.daemons()..self.ghost()
    }

    /// A datagram arrives that its sender did not send, or not now.
    pub(crate) fn inject(&mut self, at: u64, from: usize, to: usize, bytes: &[u8]) {
        let packet = self.packets.put(from, bytes, Damage::None);
        if from == self.ghost() {
            self.spoofed_in += bytes.len() as u64;
        }
        self.queue.push(at, Event::Arrive { packet, to: to as u16 });
    }
}
