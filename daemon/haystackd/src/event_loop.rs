//! The event loop: one thread, one socket, one deadline.
//!
//! Each turn reads what is ready up to a bound, wakes the node if its time has come, puts on disk what must be there
//! first, and then sends all that came of it. Nothing waits for a timer that could go now, nothing is polled that is
//! not ready, and no turn allocates per datagram.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use haystack_core::node::{Command, Event, Node, Record};
use haystack_wire::Instant;
use haystack_wire::message::admin::ClusterEvent;
use haystack_wire::message::directory::Standing;
use haystack_wire::message::membership::{Member, MemberState};
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use slog::{Logger, debug, info, warn};

use crate::clock::Clock;
use crate::config::Names;
use crate::error::Failure;
use crate::life::LifeFile;
use crate::report::{Reporter, signal_name};
use crate::resolver::Resolver;
use crate::socket::Socket;
use crate::stopped;

/// The socket's mark among the event sources.
const SOCKET: Token = Token(0);
/// The signals' mark.
const SIGNALS: Token = Token(1);
/// The mark of the pipe from `haystackd dev`.
const PARENT: Token = Token(2);
/// The resolver's mark.
const RESOLVER: Token = Token(3);

/// Datagrams that are read or sent under one reading of the clock: some 50 us of work, little beside any RTT that is
/// measured with it.
const BATCH: usize = 16;
/// Batches that one turn reads before it sends (LINKS, "Loss and rate"): 512 datagrams, about 2 ms.
const READ_BATCHES: usize = 32;
/// Batches that one turn sends before it reads again, for the same reason.
const SEND_BATCHES: usize = 32;
/// A deadline missed by more than this shows that this process stood still, and not the others: half a heartbeat
/// (LINKS, "Failure detector"). All that arrived meanwhile is then read before any silence is judged.
const LATE: Duration = Duration::from_millis(50);
/// Batches that are read at most before judging: more than the socket's buffer holds of the smallest datagrams
/// (16 MiB at 768 B each by the kernel's count), so that a flood cannot put the judgement off for ever.
const DRAIN_BATCHES: usize = 2048;
/// Failed reads in one turn that show the socket to be broken (judgement).
const RECEIVE_FAILURES: usize = 64;
/// Largest UDP datagram in bytes, rounded up.
const DATAGRAM_LIMIT: usize = 65_536;
/// A clean stop waits so long for the node to say that it has stopped; its own limit is 2 s.
const STOP_LIMIT: Duration = Duration::from_millis(2500);
/// Bound on the turns that send what is left at the end: 8,192 datagrams.
const LAST_TURNS: usize = 16;
/// Largest number of event sources that can be ready at once.
const SOURCES: usize = 8;

/// What the driver itself counts.
#[derive(Debug, Default)]
struct Counters {
    turns: u64,
    late: u64,
    received: u64,
    sent: u64,
    send_blocked: u64,
    send_failed: u64,
    receive_failed: u64,
}

/// Whether the daemon runs or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Leadership is being handed over, until then at most.
    Stopping(Instant),
    Over,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to.
    Stopped,
    /// `haystackd dev` is gone, or ends: there is no cluster left to hand anything to.
    ParentGone,
}

/// The parts that the loop drives.
pub(crate) struct Parts {
    /// The node.
    pub(crate) node: Node,
    /// The clock that the node was started with.
    pub(crate) clock: Clock,
    /// The bound socket.
    pub(crate) socket: Socket,
    /// The signals that end the daemon, caught since before the node began.
    pub(crate) signals: Signals,
    /// Where the node's records go.
    pub(crate) life: LifeFile,
    /// Who is told.
    pub(crate) reporter: Reporter,
    /// What is looked up again when nobody answers.
    pub(crate) names: Names,
    /// Whether the cluster has no other founder.
    pub(crate) alone: bool,
    /// Whether SIGHUP means that the terminal is gone.
    pub(crate) on_terminal: bool,
    /// The log.
    pub(crate) log: Logger,
}

/// The signals to catch: those that stop a daemon.
pub(crate) const CAUGHT: [i32; 3] = [SIGTERM, SIGINT, SIGHUP];

/// The loop.
pub(crate) struct EventLoop {
    parts: Parts,
    poll: Poll,
    events: Events,
    resolver: Option<Resolver>,
    parent: Option<mio::unix::pipe::Receiver>,
    phase: Phase,
    end: End,
    /// mio reports readiness once: whether the socket still had datagrams when reading stopped.
    readable: bool,
    /// Whether sending stopped on its bound.
    unsent: bool,
    /// Whether every partition has a leader, as last heard.
    ready: bool,
    /// The datagram in `outbound` that the kernel had no room for goes there first.
    blocked: Option<SocketAddr>,
    inbound: Box<[u8]>,
    outbound: Vec<u8>,
    counters: Counters,
}

impl EventLoop {
    /// Prepares the loop.
    ///
    /// # Errors
    /// If the system has no room for another poller.
    pub(crate) fn new(mut parts: Parts) -> Result<Self, Failure> {
        let poll = Poll::new().map_err(Failure::system("make an event poller"))?;
        let registry = poll.registry();
        // Not for WRITABLE: the kernel would report that after every datagram it has sent.
        registry
            .register(&mut parts.socket, SOCKET, Interest::READABLE)
            .and_then(|()| registry.register(&mut parts.signals, SIGNALS, Interest::READABLE))
            .map_err(Failure::system("watch the socket and the signals"))?;
        let mut parent = None;
        if parts.reporter.to_dev {
            let mut pipe = stdin_pipe().map_err(Failure::system("read standard input"))?;
            registry
                .register(&mut pipe, PARENT, Interest::READABLE)
                .map_err(Failure::system("watch standard input, which must be a pipe"))?;
            parent = Some(pipe);
        }
        let names = std::mem::take(&mut parts.names);
        let resolver = Resolver::start(names, registry, RESOLVER, parts.clock.now())
            .map_err(Failure::system("start a thread for names"))?;
        Ok(Self {
            parts,
            poll,
            resolver,
            events: Events::with_capacity(SOURCES),
            parent,
            phase: Phase::Running,
            end: End::Stopped,
            // What arrived before the registration is read without an event.
            readable: true,
            unsent: false,
            ready: false,
            blocked: None,
            inbound: vec![0; DATAGRAM_LIMIT].into_boxed_slice(),
            outbound: Vec::with_capacity(DATAGRAM_LIMIT),
            counters: Counters::default(),
        })
    }

    /// Runs until the daemon is told to stop.
    ///
    /// # Errors
    /// If the system fails, or what must survive cannot be written.
    pub(crate) fn run(mut self) -> Result<End, Failure> {
        while self.phase != Phase::Over {
            let due = self.parts.node.poll_timeout().map(|(at, _)| at);
            self.wait(due)?;
            self.turn(due)?;
        }
        // What the node said last should leave too; the kernel keeps it when this process is gone.
        for _ in 0..LAST_TURNS {
            if self.unsent && self.blocked.is_none() {
                self.transmit()?;
            }
        }
        debug!(self.parts.log, "driver counters"; "counters" => ?self.counters);
        Ok(self.end)
    }

    /// Sleeps until something is ready or due.
    fn wait(&mut self, due: Option<Instant>) -> Result<(), Failure> {
        let stop = if let Phase::Stopping(limit) = self.phase { Some(limit) } else { None };
        let more = self.readable || (self.unsent && self.blocked.is_none());
        // The poller rounds up to whole milliseconds: never early, so no turn finds nothing due.
        let timeout = match (more, [due, stop].into_iter().flatten().min()) {
            (true, _) => Some(Duration::ZERO),
            // What is due cannot be sent while the kernel takes nothing: a pause instead of a spin.
            (false, Some(at)) if self.blocked.is_some() => {
                Some(at.saturating_since(self.parts.clock.now()).max(Duration::from_millis(1)))
            }
            (false, Some(at)) => Some(at.saturating_since(self.parts.clock.now())),
            (false, None) => None,
        };
        match self.poll.poll(&mut self.events, timeout) {
            // `events` is empty then.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other.map_err(Failure::system("wait for events")),
        }
    }

    /// One turn: in, decide, to disk, out.
    fn turn(&mut self, due: Option<Instant>) -> Result<(), Failure> {
        self.counters.turns += 1;
        let (mut signalled, mut orphaned, mut writable) = (false, false, false);
        for event in &self.events {
            match event.token() {
                SOCKET => {
                    self.readable |= event.is_readable();
                    writable |= event.is_writable();
                }
                SIGNALS => signalled = true,
                // Its answer is fetched in every turn.
                RESOLVER => {}
                _ => orphaned = true,
            }
        }
        let now = self.parts.clock.now();
        let late = due.is_some_and(|due| now.saturating_since(due) > LATE);
        self.counters.late += u64::from(late);
        let now = self.receive(now, if late { DRAIN_BATCHES } else { READ_BATCHES })?;
        if signalled {
            self.on_signals(now);
        }
        if orphaned {
            self.on_parent();
        }
        if self.parts.node.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.parts.node.handle_timeout(now);
        }
        self.resolve(now);
        self.persist()?;
        if writable && self.blocked.is_some() {
            self.unblock()?;
        }
        self.transmit()?;
        // After sending: nobody waits for what is told here.
        self.tell();
        self.check_stop();
        Ok(())
    }

    /// Reads datagrams into the node; gives the time after it.
    fn receive(&mut self, mut now: Instant, batches: usize) -> Result<Instant, Failure> {
        let mut failures = 0;
        for _ in 0..batches {
            if !self.readable {
                return Ok(now);
            }
            for _ in 0..BATCH {
                match self.parts.socket.recv(&mut self.inbound) {
                    Ok((len, from)) => {
                        self.counters.received += 1;
                        self.parts.node.handle_datagram(now, from, &mut self.inbound[..len]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.readable = false;
                        break;
                    }
                    // An interruption, or the echo of a datagram sent before: the next read goes on. Errors that do
                    // not end are of the socket.
                    Err(error) => {
                        failures += 1;
                        self.counters.receive_failed += 1;
                        if failures == RECEIVE_FAILURES {
                            return Err(Failure::System { what: "receive datagrams", source: error });
                        }
                    }
                }
            }
            now = self.parts.clock.now();
        }
        Ok(now)
    }

    /// Has names looked up again as long as nobody answers, and passes on what they stand for.
    fn resolve(&mut self, now: Instant) {
        let Some(resolver) = &mut self.resolver else { return };
        if now >= resolver.next() && self.parts.node.wants_seeds() {
            resolver.ask(now);
        }
        let Some(looked) = resolver.answer() else { return };
        debug!(self.parts.log, "names looked up again"; "seeds" => looked.seeds.len());
        // Its own address first: the list of founders counts only if it names this daemon.
        if let Some(addr) = looked.advertise {
            self.parts.node.set_addr(now, addr);
        }
        self.parts.node.set_seeds(now, looked.founders, looked.seeds);
    }

    /// Puts the node's records on disk.
    fn persist(&mut self) -> Result<(), Failure> {
        while let Some(Record::Life { lsn, bytes }) = self.parts.node.poll_persist() {
            self.parts.life.store(&bytes)?;
            self.parts.node.handle_persisted(self.parts.clock.now(), lsn);
        }
        Ok(())
    }

    /// Sends what the node has to send, up to a bound.
    fn transmit(&mut self) -> Result<(), Failure> {
        self.unsent = true;
        if self.blocked.is_some() {
            return Ok(());
        }
        for _ in 0..SEND_BATCHES {
            let now = self.parts.clock.now();
            for _ in 0..BATCH {
                let Some(datagram) = self.parts.node.poll_transmit(now, &mut self.outbound) else {
                    self.unsent = false;
                    return Ok(());
                };
                if !self.send(datagram.to) {
                    return self.block(datagram.to);
                }
            }
        }
        Ok(())
    }

    /// Sends the datagram in `outbound`. False if the kernel has no room for it now.
    fn send(&mut self, to: SocketAddr) -> bool {
        match self.parts.socket.send(&self.outbound, to) {
            Ok(()) => self.counters.sent += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                // No route, a firewall, too long for the path: the link below a perfect link is a lossy one.
                self.counters.send_failed += 1;
                if self.counters.send_failed.is_power_of_two() {
                    let count = self.counters.send_failed;
                    debug!(self.parts.log, "datagram not sent"; "to" => %to, "error" => %error, "so_far" => count);
                }
            }
        }
        true
    }

    /// Keeps the datagram in `outbound` until the kernel has room.
    fn block(&mut self, to: SocketAddr) -> Result<(), Failure> {
        self.counters.send_blocked += 1;
        self.blocked = Some(to);
        self.watch(Interest::READABLE | Interest::WRITABLE)
    }

    /// The kernel has room again.
    fn unblock(&mut self) -> Result<(), Failure> {
        if let Some(to) = self.blocked.take() {
            if self.send(to) {
                return self.watch(Interest::READABLE);
            }
            self.blocked = Some(to);
        }
        Ok(())
    }

    fn watch(&mut self, interest: Interest) -> Result<(), Failure> {
        let registry = self.poll.registry();
        registry
            .reregister(&mut self.parts.socket, SOCKET, interest)
            .map_err(Failure::system("watch the socket"))
    }

    fn on_signals(&mut self, now: Instant) {
        let signals: Vec<i32> = self.parts.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGHUP if !self.parts.on_terminal => {
                    info!(
                        self.parts.log,
                        "SIGHUP changes nothing: the configuration is read at the start only"
                    );
                }
                _ if self.phase == Phase::Running => self.begin_stop(now, signal),
                _ => {
                    warn!(self.parts.log, "told to stop again: ending without handing leadership over");
                    self.phase = Phase::Over;
                }
            }
        }
    }

    /// Standard input ended or said something: `haystackd dev` never says anything.
    fn on_parent(&mut self) {
        let Some(parent) = &mut self.parent else { return };
        let mut ignored = [0; 64];
        loop {
            match io::Read::read(parent, &mut ignored) {
                Ok(0) => {
                    self.phase = Phase::Over;
                    self.end = End::ParentGone;
                    return;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn begin_stop(&mut self, now: Instant, signal: i32) {
        let signal = signal_name(signal);
        info!(self.parts.log, "stopping: handing leadership over first"; "signal" => &signal);
        self.parts.reporter.stopping("stopping: handing leadership over", &signal);
        self.phase = Phase::Stopping(now + STOP_LIMIT);
        if self.parts.node.handle_command(now, Command::Stop).is_err() {
            self.phase = Phase::Over;
        }
    }

    fn check_stop(&mut self) {
        if let Phase::Stopping(limit) = self.phase
            && self.parts.clock.now() >= limit
        {
            warn!(self.parts.log, "ending although the node has not stopped in time");
            self.phase = Phase::Over;
        }
    }

    /// Passes on what the node has to tell.
    fn tell(&mut self) {
        while let Some(event) = self.parts.node.poll_event() {
            let Parts { reporter, log, .. } = &self.parts;
            match event {
                Event::Ready => {
                    self.ready = true;
                    info!(log, "ready: every partition has a leader");
                    reporter.ready("ready");
                }
                Event::NotReady => {
                    self.ready = false;
                    // A stop gives leadership away: that is no news.
                    if self.phase == Phase::Running {
                        warn!(log, "not ready: some partitions have no leader that answers");
                        reporter.waits("leaders of some partitions");
                    }
                }
                Event::Standing { standing, waits_for } => self.tell_standing(standing, &waits_for),
                Event::Peer { node, addr, up } => {
                    debug!(log, "peer"; "peer" => node.short(), "addr" => %addr, "up" => up);
                }
                Event::Leader { group, leader } => {
                    let leader = leader.map(|ballot| ballot.node.short());
                    debug!(log, "leader"; "group" => group.0, "leader" => leader);
                }
                Event::Cluster(event) => {
                    if let (ClusterEvent::Map { .. }, Some(map)) = (&event, self.parts.node.map()) {
                        reporter.replicas(map);
                    }
                    tell_cluster(log, &event);
                }
                // Only for checkers, and never asked for here.
                Event::Applied { .. } => {}
                Event::Stopped { groups } => {
                    self.phase = Phase::Over;
                    let there = |member: &&Member| member.state <= MemberState::Suspect;
                    let others = self.parts.node.members().skip(1).filter(there).count();
                    match stopped::sentence(self.parts.alone && others == 0, &groups) {
                        Some(sentence) => warn!(log, "{sentence}"),
                        None => info!(log, "stopped"),
                    }
                }
            }
        }
    }

    fn tell_standing(&self, standing: Standing, waits_for: &str) {
        let Parts { reporter, log, .. } = &self.parts;
        match (standing, waits_for) {
            (Standing::Standby, _) => {
                warn!(log, "standby: this daemon has no vote"; "waits_for" => waits_for)
            }
            (_, "") => info!(log, "member of the cluster"),
            (_, waits_for) => info!(log, "waiting"; "for" => waits_for),
        }
        if !self.ready {
            reporter.waits(if waits_for.is_empty() { "leaders of all partitions" } else { waits_for });
        }
    }
}

/// Logs what happened in the cluster.
fn tell_cluster(log: &Logger, event: &ClusterEvent) {
    match event {
        ClusterEvent::Alive { info } => {
            info!(log, "alive"; "peer" => info.node.short(), "name" => &info.name, "addr" => %info.addr);
        }
        ClusterEvent::Suspect { node } => warn!(log, "suspected"; "peer" => node.short()),
        ClusterEvent::Restore { node } => info!(log, "restored"; "peer" => node.short()),
        ClusterEvent::Dead { node } => warn!(log, "dead, as the members agree"; "peer" => node.short()),
        ClusterEvent::Left { node } => info!(log, "left"; "peer" => node.short()),
        ClusterEvent::Decided { node, state } => {
            info!(log, "decided by the directory"; "peer" => node.short(), "state" => ?state);
        }
        ClusterEvent::Leader { group, leader } => {
            let leader = leader.map(|ballot| ballot.node.short());
            debug!(log, "leader"; "group" => group.0, "leader" => leader);
        }
        ClusterEvent::View { group, view } => info!(log, "view"; "group" => group.0, "view" => view.0),
        ClusterEvent::Coordinator { leader } => {
            info!(log, "coordinator"; "node" => leader.node.short());
        }
        ClusterEvent::Map { epoch } => debug!(log, "map"; "epoch" => epoch.0),
        ClusterEvent::Conflict(what) => warn!(log, "conflict: {what}"),
    }
}

/// Standard input as a pipe to wait on.
fn stdin_pipe() -> io::Result<mio::unix::pipe::Receiver> {
    let fd: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let pipe = mio::unix::pipe::Receiver::from(fd);
    pipe.set_nonblocking(true)?;
    Ok(pipe)
}
