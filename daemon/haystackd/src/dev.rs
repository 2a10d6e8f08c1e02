//! `haystackd dev`: a local cluster of child processes, to try things out.

mod member;
mod outlook;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use haystack_wire::Instant;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use tempfile::TempDir;

use crate::cli::Dev;
use crate::clock::Clock;
use crate::config::{self, DEFAULT_PORT};
use crate::error::Failure;
use crate::report::print;
use crate::socket::Socket;
use member::{Member, State};
pub(crate) use outlook::Replicas;

/// Most daemons of a local cluster (judgement: far more than there is to learn from on one host).
const NODES_LIMIT: u16 = 16;
/// The signals' mark among the event sources; the daemons' are their positions.
const SIGNALS: Token = Token(usize::MAX - 1);
/// After this long without being ready, what is waited for is told; again after twice as long, and so on.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest that it takes to be told again.
const PATIENCE_LIMIT: Duration = Duration::from_secs(60);
/// Daemons that were told to end and have not by then are ended by force.
const END_LIMIT: Duration = Duration::from_secs(3);

/// Runs a local cluster until a signal stops it or all of it has died.
pub(crate) fn dev(options: &Dev) -> Result<(), Failure> {
    // Caught from here on, so that a signal at any moment leaves nothing behind.
    let signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT]).map_err(Failure::system("catch signals"))?;
    let addrs = addresses(options)?;
    let temp = tempfile::Builder::new()
        .prefix("haystack-dev-")
        .tempdir()
        .map_err(Failure::system("make a temporary directory"))?;
    let mut cluster = Cluster::new(options.clone(), addrs, temp, signals)?;
    let outcome = cluster.run();
    let ended = cluster.end();
    outcome.and(ended)
}

/// The daemons' addresses, checked to be free.
fn addresses(options: &Dev) -> Result<Vec<SocketAddr>, Failure> {
    let count = options.nodes;
    if !(1..=NODES_LIMIT).contains(&count) {
        return Err(Failure::Usage(format!(
            "--nodes {count}: a local cluster has 1 to {NODES_LIMIT} daemons"
        )));
    }
    if let Some(replicas) = options.replicas.filter(|replicas| *replicas > u32::from(count)) {
        return Err(Failure::Usage(format!(
            "--replicas {replicas}: {count} daemons have one replica of a partition each at most; take fewer, or \
             --nodes {replicas}"
        )));
    }
    if options.port.checked_add(count - 1).is_none() {
        let port = options.port;
        return Err(Failure::Usage(format!("--port {port}: {count} ports from there on go beyond 65535")));
    }
    let bind = |position: u16| {
        let port = if options.port == 0 { 0 } else { options.port + position };
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let bound = Socket::bind(addr).and_then(|socket| Ok((socket.local_addr()?, socket)));
        bound.map_err(|source| Failure::Listen { addr, source })
    };
    // All are held until all are known: with port 0 the system would else give one of them twice.
    let held = (0..count).map(bind).collect::<Result<Vec<_>, _>>()?;
    Ok(held.iter().map(|(addr, _)| *addr).collect())
}

/// The local cluster.
struct Cluster {
    options: Dev,
    addrs: Vec<SocketAddr>,
    members: Vec<Member>,
    poll: Poll,
    signals: Signals,
    clock: Clock,
    started: Instant,
    /// Whether it was ready once.
    was_ready: bool,
    /// Whether it is ready, as last told.
    told_ready: bool,
    /// When to tell what is waited for.
    tell_at: Option<Instant>,
    patience: Duration,
    told_to_stop: bool,
    /// The state directories; removed when this is dropped, after the daemons.
    temp: TempDir,
}

impl Cluster {
    fn new(
        options: Dev,
        addrs: Vec<SocketAddr>,
        temp: TempDir,
        mut signals: Signals,
    ) -> Result<Self, Failure> {
        let poll = Poll::new().map_err(Failure::system("make an event poller"))?;
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .map_err(Failure::system("watch signals"))?;
        let clock = Clock::start();
        let started = clock.now();
        Ok(Self {
            options,
            addrs,
            members: Vec::new(),
            poll,
            signals,
            clock,
            started,
            was_ready: false,
            told_ready: false,
            tell_at: Some(started + PATIENCE),
            patience: PATIENCE,
            told_to_stop: false,
            temp,
        })
    }

    fn run(&mut self) -> Result<(), Failure> {
        self.start()?;
        while !self.told_to_stop {
            let timeout = self.tell_at.map(|at| at.saturating_since(self.clock.now()));
            self.turn(timeout)?;
            self.follow()?;
        }
        print("stopping; what was stored ends with the cluster");
        Ok(())
    }

    fn start(&mut self) -> Result<(), Failure> {
        let count = self.addrs.len();
        for (position, addr) in self.addrs.iter().enumerate() {
            let name = format!("n{}", position + 1);
            let settings = member::settings(&self.options, &name, *addr, &self.addrs, self.temp.path());
            if position == 0 {
                // What is wrong with the flags is told once and not by every daemon.
                config::load(None, settings.clone())?;
                let ends = "Their data is in memory and ends with this command.";
                print(format_args!(
                    "starting {count} daemons with {} partitions. {ends}",
                    self.options.partitions
                ));
            }
            let member = Member::start(&settings, *addr, self.poll.registry(), Token(position))
                .map_err(Failure::system("start a daemon"))?;
            print(format_args!("  {:<4} {}  process {}", member.name, member.addr, member.pid()));
            self.members.push(member);
        }
        Ok(())
    }

    /// Waits for something to happen, at most for `timeout`, and takes it in.
    fn turn(&mut self, timeout: Option<Duration>) -> Result<(), Failure> {
        let mut events = Events::with_capacity(usize::from(NODES_LIMIT) + 1);
        match self.poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other.map_err(Failure::system("wait for events"))?,
        }
        for event in &events {
            match self.members.get_mut(event.token().0) {
                Some(member) => {
                    let before = member.runs();
                    member.read().map_err(Failure::system("hear from a daemon"))?;
                    if before && !member.runs() && !self.told_to_stop {
                        self.on_death(event.token().0)?;
                    }
                }
                None => self.told_to_stop |= self.signals.pending().count() > 0,
            }
        }
        Ok(())
    }

    /// A daemon has died although nobody here told it to.
    fn on_death(&mut self, position: usize) -> Result<(), Failure> {
        let member = &self.members[position];
        let Some(how) = member.how_it_ended() else { return Ok(()) };
        let who = format!("{} ({}, process {})", member.name, member.addr, member.pid());
        if !self.was_ready {
            return Err(Failure::Dev(format!(
                "{who} {how} before the cluster was ready; what it said is above"
            )));
        }
        let all = self.members.len();
        let running: BTreeSet<&str> =
            self.members.iter().filter(|member| member.runs()).map(|member| &*member.name).collect();
        let left = running.len();
        if left == 0 {
            return Err(Failure::Dev(format!(
                "{who} {how}. It was the last one: the cluster and its data are gone"
            )));
        }
        let replicas = self.members.iter().rev().find_map(|member| member.replicas.as_ref());
        let outlook = replicas.map_or_else(
            || "`haystackctl status` tells how the partitions stand".to_owned(),
            |replicas| replicas.outlook(&running),
        );
        print(format_args!(
            "{who} {how}. It is not replaced: this version cannot give its place to a new process yet. {left} of {all} \
             daemons are left: {outlook}"
        ));
        Ok(())
    }

    /// Tells when the cluster becomes ready, when it is not any more, and what it waits for.
    fn follow(&mut self) -> Result<(), Failure> {
        let now = self.clock.now();
        let ready = self.members.iter().all(|member| member.state == State::Ready || !member.runs());
        if ready && !self.told_ready {
            let seconds = now.saturating_since(self.started).as_secs_f64();
            if self.was_ready {
                print("ready again");
            } else {
                print(format_args!("ready after {seconds:.1} s. {}", self.how_to_talk()));
            }
            (self.was_ready, self.told_ready, self.tell_at) = (true, true, None);
            self.patience = PATIENCE;
        } else if !ready && (self.told_ready || self.tell_at.is_some_and(|at| at <= now)) {
            let waiting = self.members.iter().filter_map(|member| match &member.state {
                State::Waits(text) => Some(format!("{} waits for {text}", member.name)),
                _ => None,
            });
            print(format_args!("not ready: {}", waiting.collect::<Vec<_>>().join("; ")));
            (self.told_ready, self.tell_at) = (false, Some(now + self.patience));
            self.patience = (self.patience * 2).min(PATIENCE_LIMIT);
        }
        Ok(())
    }

    /// The commands that talk to this cluster.
    fn how_to_talk(&self) -> String {
        let mut ctl = ctl();
        // What haystackctl talks to by itself: the cluster that `dev` starts by itself.
        if self.addrs.len() != 3 || self.addrs.first().is_none_or(|addr| addr.port() != DEFAULT_PORT) {
            let all: Vec<String> = self.addrs.iter().map(SocketAddr::to_string).collect();
            ctl = format!("{ctl} --connect {}", all.join(","));
        }
        if let Some(file) = &self.options.key_file {
            ctl = format!("{ctl} --key-file {}", file.display());
        }
        format!(
            "In another terminal:\n  {ctl} put greeting hello\n  {ctl} get greeting\n  {ctl} status\nCtrl-C stops it."
        )
    }

    /// Ends all daemons; none is left when this returns, and neither are their files.
    fn end(&mut self) -> Result<(), Failure> {
        self.told_to_stop = true;
        self.members.iter_mut().for_each(Member::end);
        let limit = self.clock.now() + END_LIMIT;
        while self.members.iter().any(Member::runs) && self.clock.now() < limit {
            self.turn(Some(limit.saturating_since(self.clock.now())))?;
        }
        for member in &mut self.members {
            if member.runs() {
                print(format_args!("{} does not end; ending it by force", member.name));
                member.kill().map_err(Failure::system("end a daemon"))?;
            }
        }
        Ok(())
    }
}

/// How to call haystackctl from here: by its path if it lies beside this program and not on the search path.
fn ctl() -> String {
    let plain = "haystackctl".to_owned();
    let Ok(exe) = std::env::current_exe() else { return plain };
    let beside = exe.with_file_name("haystackctl");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).any(|dir| Some(dir.as_path()) == exe.parent());
    if on_path || !beside.is_file() {
        return plain;
    }
    let here: PathBuf = std::env::current_dir().unwrap_or_default();
    beside.strip_prefix(&here).unwrap_or(&beside).display().to_string()
}
