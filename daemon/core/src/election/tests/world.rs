//! Replicas that promise and accept like Sequence Paxos does, without a log, over links that can be cut one way.

use std::collections::{BTreeMap, BTreeSet};

use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, LogIndex, NodeId};
use haystack_wire::message::election::HeartbeatBody;
use haystack_wire::rng::Rng;
use haystack_wire::time::Duration;

use crate::election::{Config, Election, Output, State};

pub(super) const ROUND: Duration = Duration::from_millis(100);

pub(super) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(super) fn node(index: usize) -> NodeId {
    NodeId([u8::try_from(index + 1).unwrap(); 16])
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Message {
    Heartbeat { body: HeartbeatBody, urgent: bool },
    Prepare(Ballot),
    Promise(Ballot),
    Sync(Ballot),
}

/// One direction between two replicas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) up: bool,
    pub(super) loss: f64,
    pub(super) duplication: f64,
    pub(super) delay: (Duration, Duration),
}

pub(super) struct Replica {
    pub(super) election: Election,
    pub(super) state: State,
    pub(super) ready: bool,
    pub(super) alive: bool,
    /// Until then it does nothing; what arrives waits.
    pub(super) stalled: Instant,
    /// How long adopting the log takes before it can propose.
    pub(super) adoption: Duration,
    promises: BTreeSet<usize>,
    backlog: Vec<(usize, Message)>,
    pub(super) confirmed: Vec<u64>,
    pub(super) observed: u64,
}

enum Event {
    Arrive { from: usize, to: usize, message: Message },
    Adopted { at: usize, ballot: Ballot },
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) replicas: Vec<Replica>,
    pub(super) links: Vec<Vec<Link>>,
    pub(super) rng: Rng,
    /// Every takeover: when, who, what.
    pub(super) leads: Vec<(Instant, usize, Ballot)>,
    /// Every step down: when, who.
    pub(super) step_downs: Vec<(Instant, usize)>,
    /// Highest ballot that a majority has promised: what a write may have been decided in.
    pub(super) established: Ballot,
    pub(super) messages: u64,
    /// Reliable messages that wait for their link.
    held: Vec<(usize, usize, Message)>,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
}

impl World {
    /// `count` replicas on a good local network; the last has the highest priority. All start within 5 ms.
    pub(super) fn new(seed: u64, count: usize) -> Self {
        Self::with_starts(seed, &vec![Duration::ZERO; count])
    }

    /// One replica per start time.
    pub(super) fn with_starts(seed: u64, starts: &[Duration]) -> Self {
        let mut rng = Rng::from_u64(seed);
        let nodes: Vec<NodeId> = (0..starts.len()).map(node).collect();
        let origin = Instant::ZERO + ms(1_000_000 + rng.below(100));
        let start = |(index, after): (usize, &Duration)| {
            let priority = 10 * (1 + u32::try_from(index).unwrap());
            let config = Config { me: node(index), replicas: nodes.clone(), priority, round: ROUND };
            let begin = origin + *after + Duration::from_micros(rng.below(5000));
            Replica {
                election: Election::new(config, begin, rng.fork()),
                state: State {
                    promised: Ballot::default(),
                    accepted_round: Ballot::default(),
                    len: LogIndex::ZERO,
                    decided: LogIndex::ZERO,
                    leading: None,
                    progressing: false,
                    may_lead: true,
                },
                ready: false,
                alive: true,
                stalled: begin,
                adoption: Duration::ZERO,
                promises: BTreeSet::new(),
                backlog: Vec::new(),
                confirmed: Vec::new(),
                observed: 0,
            }
        };
        let replicas = starts.iter().enumerate().map(start).collect();
        let delay = (Duration::from_micros(50), Duration::from_micros(500));
        let link = Link { up: true, loss: 0.0, duplication: 0.0, delay };
        Self {
            now: origin,
            replicas,
            links: vec![vec![link; starts.len()]; starts.len()],
            rng,
            leads: Vec::new(),
            step_downs: Vec::new(),
            established: Ballot::default(),
            messages: 0,
            held: Vec::new(),
            events: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.replicas.len()
    }

    pub(super) fn majority(&self) -> usize {
        self.count() / 2 + 1
    }

    /// Applies `change` to all links.
    pub(super) fn all_links(&mut self, change: impl Fn(&mut Link)) {
        self.links.iter_mut().flatten().for_each(change);
    }

    /// Sets which of the directed links work. Reliable messages that waited arrive after a while.
    pub(super) fn connect(&mut self, works: impl Fn(usize, usize) -> bool) {
        for from in 0..self.count() {
            for to in 0..self.count() {
                self.links[from][to].up = works(from, to);
            }
        }
        for (from, to, message) in std::mem::take(&mut self.held) {
            if self.links[from][to].up {
                let after = ms(1 + self.rng.below(100));
                self.push(self.now + after, Event::Arrive { from, to, message });
            } else {
                self.held.push((from, to, message));
            }
        }
    }

    pub(super) fn connected(&self, a: usize, b: usize) -> bool {
        let both = self.links[a][b].up && self.links[b][a].up;
        a == b || both && self.replicas[a].alive && self.replicas[b].alive
    }

    /// Whether a majority is connected to this replica, both ways.
    pub(super) fn quorum_connected(&self, index: usize) -> bool {
        let near = (0..self.count()).filter(|other| self.connected(index, *other)).count();
        self.replicas[index].alive && near >= self.majority()
    }

    pub(super) fn crash(&mut self, index: usize) {
        self.replicas[index].alive = false;
        self.held.retain(|(from, to, _)| *from != index && *to != index);
    }

    pub(super) fn stall(&mut self, index: usize, duration: Duration) {
        self.replicas[index].stalled = self.now + duration;
    }

    /// The replica that could get a write decided now.
    pub(super) fn worker(&self) -> Option<usize> {
        (0..self.count()).find(|index| {
            let replica = &self.replicas[*index];
            let Some(ballot) = replica.state.leading else { return false };
            let follows = |other: &usize| {
                let state = &self.replicas[*other].state;
                self.connected(*index, *other) && state.promised == ballot && state.accepted_round == ballot
            };
            let running = replica.alive && replica.ready && replica.stalled <= self.now;
            running && (0..self.count()).filter(follows).count() >= self.majority()
        })
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until `done`, at most for `limit`. Returns how long it took.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let (start, end) = (self.now, self.now + limit);
        while !done(self) {
            if !self.step(end) {
                return None;
            }
        }
        Some(self.now - start)
    }

    /// Lets a leader come up and things settle. Returns the leader.
    pub(super) fn settle(&mut self) -> usize {
        self.run_until(ms(2000), |world| world.worker().is_some()).expect("no leader at founding");
        let more = ms(1000 + self.rng.below(200));
        self.run(more);
        self.worker().expect("the first leader was lost")
    }

    /// The longest election timeout of all replicas.
    pub(super) fn timeout(&self) -> Duration {
        self.replicas.iter().map(|replica| replica.election.election_timeout()).max().unwrap()
    }

    /// Does the next thing that is due until `end`; false if there is none.
    fn step(&mut self, end: Instant) -> bool {
        let due = |(index, replica): (usize, &Replica)| {
            let at = replica.election.poll_timeout()?.max(replica.stalled).max(self.now);
            replica.alive.then_some((at, index))
        };
        let timer = self.replicas.iter().enumerate().filter_map(due).min();
        let event = self.events.first_key_value().map(|(key, _)| key.0);
        let timer_first = timer.is_some_and(|(at, _)| event.is_none_or(|event| at < event));
        if timer_first && let Some((at, index)) = timer {
            if at > end {
                return false;
            }
            self.now = at;
            self.drain_backlog(index);
            let now = self.now;
            let replica = &mut self.replicas[index];
            replica.election.handle_timeout(now, &replica.state);
            self.carry_out(index);
            return true;
        }
        if event.is_none_or(|at| at > end) {
            return false;
        }
        let ((at, _), event) = self.events.pop_first().unwrap();
        self.now = self.now.max(at);
        match event {
            Event::Arrive { from, to, message } => self.arrive(from, to, message),
            Event::Adopted { at, ballot } => self.adopted(at, ballot),
        }
        true
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    pub(super) fn send(&mut self, from: usize, to: usize, message: Message) {
        let link = self.links[from][to];
        let reliable = !matches!(message, Message::Heartbeat { urgent: false, .. });
        self.messages += 1;
        if !link.up {
            if reliable {
                self.held.push((from, to, message));
            }
            return;
        }
        let mut at = self.now + self.delay(&link);
        while self.rng.chance(link.loss) {
            if !reliable {
                return;
            }
            at += ms(50);
        }
        self.push(at, Event::Arrive { from, to, message });
        while !reliable && self.rng.chance(link.duplication) {
            let again = self.now + self.delay(&link) + Duration::from_micros(self.rng.below(300_000));
            self.push(again, Event::Arrive { from, to, message });
        }
    }

    fn delay(&mut self, link: &Link) -> Duration {
        let spread = u64::try_from((link.delay.1 - link.delay.0).as_nanos()).unwrap();
        link.delay.0 + Duration::from_nanos(self.rng.below(spread + 1))
    }

    fn arrive(&mut self, from: usize, to: usize, message: Message) {
        if !self.replicas[to].alive {
            return;
        }
        if self.replicas[to].stalled > self.now {
            self.replicas[to].backlog.push((from, message));
            return;
        }
        self.drain_backlog(to);
        self.receive(from, to, message);
    }

    /// After a stall: read everything before judging any timeout, as the driver does.
    fn drain_backlog(&mut self, index: usize) {
        for (from, message) in std::mem::take(&mut self.replicas[index].backlog) {
            self.receive(from, index, message);
        }
    }

    fn receive(&mut self, from: usize, to: usize, message: Message) {
        let now = self.now;
        let majority = self.majority();
        let replica = &mut self.replicas[to];
        match message {
            Message::Heartbeat { body, .. } => replica.election.handle(now, node(from), body, &replica.state),
            Message::Prepare(ballot) => {
                if ballot > replica.state.promised {
                    replica.state.promised = ballot;
                    replica.state.leading = None;
                    replica.ready = false;
                }
                if replica.state.promised == ballot {
                    self.send(to, from, Message::Promise(ballot));
                }
                self.establish();
            }
            Message::Promise(ballot) => {
                if replica.state.leading == Some(ballot) {
                    replica.promises.insert(from);
                    if replica.ready {
                        self.send(to, from, Message::Sync(ballot));
                    } else if replica.promises.len() == majority {
                        let at = now + replica.adoption;
                        self.push(at, Event::Adopted { at: to, ballot });
                    }
                }
            }
            Message::Sync(ballot) => {
                if replica.state.promised == ballot {
                    replica.state.accepted_round = ballot;
                }
            }
        }
        self.carry_out(to);
    }

    fn adopted(&mut self, index: usize, ballot: Ballot) {
        let replica = &mut self.replicas[index];
        if !replica.alive || replica.state.leading != Some(ballot) {
            return;
        }
        replica.ready = true;
        replica.state.accepted_round = ballot;
        for to in self.replicas[index].promises.clone() {
            if to != index {
                self.send(index, to, Message::Sync(ballot));
            }
        }
    }

    fn establish(&mut self) {
        let mut promised: Vec<Ballot> = self.replicas.iter().map(|replica| replica.state.promised).collect();
        promised.sort_unstable();
        for ballot in promised.clone() {
            if promised.iter().filter(|other| **other == ballot).count() >= self.majority() {
                self.established = self.established.max(ballot);
            }
        }
    }

    fn take_lead(&mut self, index: usize, ballot: Ballot) {
        assert_eq!(ballot.node, node(index));
        assert!(self.leads.iter().all(|(_, _, before)| *before != ballot), "a ballot was used again");
        let majority = self.majority();
        let replica = &mut self.replicas[index];
        assert!(ballot > replica.state.promised, "a takeover below the own promise");
        assert!(replica.state.may_lead, "took over while standing down");
        replica.state.promised = ballot;
        replica.state.leading = Some(ballot);
        replica.state.progressing = true;
        replica.ready = false;
        replica.promises = BTreeSet::from([index]);
        self.leads.push((self.now, index, ballot));
        if majority == 1 {
            self.adopted(index, ballot);
        }
        self.establish();
        for to in (0..self.count()).filter(|to| *to != index) {
            self.send(index, to, Message::Prepare(ballot));
        }
    }

    /// Carries the outputs of a replica's election out.
    pub(super) fn carry_out(&mut self, index: usize) {
        while let Some(output) = self.replicas[index].election.poll_output() {
            match output {
                Output::Send { to, body, urgent } => {
                    let to = usize::from(to.0[0]) - 1;
                    self.send(index, to, Message::Heartbeat { body, urgent });
                }
                Output::Lead { ballot } => self.take_lead(index, ballot),
                Output::StepDown => {
                    self.replicas[index].state.leading = None;
                    self.replicas[index].ready = false;
                    self.step_downs.push((self.now, index));
                }
                Output::Confirmed { nonce } => self.replicas[index].confirmed.push(nonce),
                Output::Observed { from, seen } => {
                    self.replicas[index].observed += 1;
                    let from = usize::from(from.0[0]) - 1;
                    let replica = &self.replicas[index];
                    let Some(ballot) = replica.state.leading else { continue };
                    if seen.promised < ballot {
                        self.send(index, from, Message::Prepare(ballot));
                    } else if seen.promised == ballot && seen.accepted_round < ballot && replica.ready {
                        self.send(index, from, Message::Sync(ballot));
                    }
                }
                Output::Trust { .. } => {}
            }
        }
    }
}
