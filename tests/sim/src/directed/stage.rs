//! A stage for directed schedules: the replicas of one group, whose clocks and messages the schedule holds in its
//! hands. Elections, the store and snapshot transfers are the product's own.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use haystack_core::broadcast::Limits;
use haystack_core::config::Config;
use haystack_core::group::{Founded, Group, Handled, Origin, Out, Sink};
use haystack_core::mutation::Mutations;
use haystack_core::store;
use haystack_wire::Instant;
use haystack_wire::ids::{Epoch, GroupId, HistoryId, NodeId, SessionId, Slot};
use haystack_wire::keys::Rights;
use haystack_wire::link::LinkId;
use haystack_wire::message::PeerMessage;
use haystack_wire::message::client::{Command, Outcome, Request, RequestBody, Write};
use haystack_wire::message::election::GroupHeartbeat;
use haystack_wire::rng::Rng;

use crate::check::canon::Canons;
use crate::check::linear::{Action, Answer, Call, Verdict, search};
use crate::check::replica::Watch;
use crate::check::{Check, ensure};
use crate::value;

/// The group on the stage.
const GROUP: GroupId = GroupId(1);
/// The one key that is written.
const KEY: &[u8] = b"k0";
/// How far time goes in one step.
const STEP: Duration = Duration::from_millis(5);
/// Steps within which the replicas come to where a schedule wants them.
const STEPS_MOST: u32 = 1_000;
/// Messages that one step may cause at most.
const MESSAGES_MOST: u32 = 100_000;

/// A message between replicas.
#[derive(Clone, Debug)]
pub(super) enum What {
    Broadcast(PeerMessage),
    Bulk(PeerMessage),
    Heartbeat(GroupHeartbeat),
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) what: What,
}

/// What the schedule does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Arrive,
    Lost,
    /// Kept until the schedule releases it.
    Held,
    /// Arrives, and a copy is kept until the schedule releases it.
    Repeated,
}

type Rule = Box<dyn FnMut(&Mail) -> Fate>;

/// The replicas and what is between them.
pub(super) struct Stage {
    groups: Vec<Group>,
    watches: Vec<Watch>,
    now: Instant,
    mail: VecDeque<Mail>,
    held: VecDeque<Mail>,
    /// Who reaches whom: pairs are linked both ways.
    linked: Vec<Vec<bool>>,
    /// Who has its turns when time passes. All others only answer what they are told.
    awake: Vec<bool>,
    rule: Option<Rule>,
    canons: Canons,
    session: SessionId,
    asked: u64,
    /// Operations in order of their numbers, from 1, with the time that each took.
    calls: Vec<Call>,
    moment: u64,
}

pub(super) fn id(replica: usize) -> NodeId {
    NodeId([replica as u8 + 1; 16])
}

impl Stage {
    /// `count` replicas that are all linked, of which 0 leads, with a session that all have applied.
    pub(super) fn new(
        count: usize,
        limits: Limits,
        mutations: Mutations,
    ) -> Result<Self, crate::check::Violation> {
        let now = Instant::from_nanos(1_000_000_000);
        let groups = (0..count).map(|me| group(me, count, limits, mutations, now)).collect();
        let mut stage = Self {
            groups,
            watches: (0..count).map(|_| Watch::default()).collect(),
            now,
            mail: VecDeque::new(),
            held: VecDeque::new(),
            linked: vec![vec![true; count]; count],
            awake: vec![true; count],
            rule: None,
            canons: Canons::default(),
            session: SessionId { group: GROUP, index: haystack_wire::ids::LogIndex::ZERO },
            asked: 0,
            calls: Vec::new(),
            moment: 0,
        };
        stage.elect(0)?;
        stage.all_awake();
        stage.ask(0, RequestBody::Command(RequestBody::command(&Command::OpenSession)))?;
        stage.run(200)?;
        Ok(stage)
    }

    pub(super) fn group(&self, replica: usize) -> &Group {
        &self.groups[replica]
    }

    /// Only these reach each other.
    pub(super) fn link_only(&mut self, linked: &[usize]) {
        for (a, row) in self.linked.iter_mut().enumerate() {
            for (b, open) in row.iter_mut().enumerate() {
                *open = linked.contains(&a) && linked.contains(&b);
            }
        }
    }

    pub(super) fn only_awake(&mut self, awake: &[usize]) {
        self.awake = (0..self.groups.len()).map(|replica| awake.contains(&replica)).collect();
    }

    pub(super) fn all_awake(&mut self) {
        self.awake.fill(true);
    }

    /// From now on this decides about every message that a link would pass.
    pub(super) fn rule(&mut self, rule: impl FnMut(&Mail) -> Fate + 'static) {
        self.rule = Some(Box::new(rule));
    }

    pub(super) fn no_rule(&mut self) {
        self.rule = None;
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// What was held arrives now, cut links or not: it was on its way.
    pub(super) fn release(&mut self) -> Check {
        self.no_rule();
        while let Some(mail) = self.held.pop_front() {
            self.deliver(mail)?;
        }
        self.settle()
    }

    /// What was held never arrives.
    pub(super) fn forget_held(&mut self) {
        self.held.clear();
    }

    /// Lets `replica` alone have its turns until it begins to lead, ready or not.
    pub(super) fn campaign(&mut self, replica: usize) -> Check {
        self.awake_until(replica, |group| {
            matches!(group.broadcast().role(), haystack_core::broadcast::Role::Leader { .. })
        })
    }

    /// Lets `replica` alone have its turns until it leads.
    pub(super) fn elect(&mut self, replica: usize) -> Check {
        self.awake_until(replica, Group::leads)
    }

    fn awake_until(&mut self, replica: usize, reached: impl Fn(&Group) -> bool) -> Check {
        self.only_awake(&[replica]);
        self.run_until(|stage| reached(&stage.groups[replica]))
    }

    /// Lets time pass until something is reached.
    pub(super) fn run_until(&mut self, reached: impl Fn(&Self) -> bool) -> Check {
        for _ in 0..STEPS_MOST {
            if reached(self) {
                return Ok(());
            }
            self.step()?;
        }
        ensure!(false, Live, "the replicas do not come to where the schedule wants them");
        Ok(())
    }

    /// Lets so many milliseconds pass.
    pub(super) fn run(&mut self, millis: u64) -> Check {
        let until = self.now + Duration::from_millis(millis);
        while self.now < until {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Check {
        self.now += STEP;
        crate::run::note_time(self.now.as_nanos());
        for replica in 0..self.groups.len() {
            if self.awake[replica] && self.groups[replica].poll_timeout().is_some_and(|at| at <= self.now) {
                self.turn(replica, |group, now, sink| group.handle_timeout(now, sink))?;
            }
        }
        self.settle()
    }

    /// Delivers until everybody is quiet.
    fn settle(&mut self) -> Check {
        for _ in 0..MESSAGES_MOST {
            let Some(mail) = self.mail.pop_front() else { return Ok(()) };
            if !self.linked[mail.from][mail.to] {
                continue;
            }
            match self.rule.as_mut().map_or(Fate::Arrive, |rule| rule(&mail)) {
                Fate::Arrive => self.deliver(mail)?,
                Fate::Lost => {}
                Fate::Held => self.held.push_back(mail),
                Fate::Repeated => {
                    self.held.push_back(mail.clone());
                    self.deliver(mail)?;
                }
            }
        }
        ensure!(false, Live, "the replicas never stop talking");
        Ok(())
    }

    fn deliver(&mut self, Mail { from, to, what }: Mail) -> Check {
        let from = id(from);
        self.turn(to, |group, now, sink| {
            match what {
                What::Broadcast(PeerMessage::Broadcast { view, message, .. }) => {
                    group.on_broadcast(now, from, view, message, sink)
                }
                What::Bulk(message) => group.on_bulk(now, from, message, sink),
                What::Heartbeat(heartbeat) => group.on_heartbeat(now, from, &heartbeat, sink),
                What::Broadcast(_) => false,
            };
        })
    }

    /// One turn of a replica, and what comes of it.
    fn turn(&mut self, replica: usize, what: impl FnOnce(&mut Group, Instant, &mut Sink)) -> Check {
        let mut sink = Sink::new();
        what(&mut self.groups[replica], self.now, &mut sink);
        self.groups[replica].flush(self.now, &mut sink);
        let who = format!("replica {replica}");
        for out in sink {
            match out {
                Out::Broadcast { to, message } => {
                    for to in to {
                        self.post(replica, to, What::Broadcast(message.clone()));
                    }
                }
                Out::Bulk { to, message } => self.post(replica, to, What::Bulk(message)),
                Out::Heartbeat { to, heartbeat, .. } => self.post(replica, to, What::Heartbeat(heartbeat)),
                Out::Applied { group, index, chain, digest, body } => {
                    self.canons.applied(&who, group, index, chain, digest, &body)?;
                }
                Out::Reply { reply, .. } => self.answered(&who, reply.id, reply.outcome)?,
                Out::Leader(..) | Out::Map => {}
            }
        }
        self.watches[replica].look(&who, std::iter::once(&self.groups[replica]), &self.canons).map(drop)
    }

    fn post(&mut self, from: usize, to: NodeId, what: What) {
        if let Some(to) = (0..self.groups.len()).find(|replica| id(*replica) == to) {
            self.mail.push_back(Mail { from, to, what });
        }
    }

    /// Asks a replica; whether it took the request.
    fn ask(&mut self, at: usize, body: RequestBody) -> Result<bool, crate::check::Violation> {
        self.asked += 1;
        let request = Request { id: self.asked, group: GROUP, history: HistoryId(0), body };
        let origin = Origin { link: LinkId(1), token: None };
        let mut taken = false;
        self.turn(at, |group, now, sink| {
            taken = group.on_request(now, origin, Rights::ALL, &request, sink) == Handled::Taken;
        })?;
        Ok(taken)
    }

    /// A client asks a replica, which must lead as far as it knows. What comes of it is seen later.
    fn call(&mut self, at: usize, action: Action, body: RequestBody) -> Check {
        self.moment += 1;
        // The first request of all opened the session.
        self.calls.push(Call { start: self.moment, end: None, action, answer: Answer::Unknown });
        let taken = self.ask(at, body)?;
        ensure!(taken, Live, "replica {at} does not take a request");
        Ok(())
    }

    /// Writes at a replica so many times, before anybody hears of any of it.
    pub(super) fn write(&mut self, at: usize, times: usize) -> Check {
        for _ in 0..times {
            let number = self.calls.len() as u64 + 1;
            let write = Write::Put { key: Bytes::from_static(KEY), value: value::encode(number, 40) };
            let command = Command::Write { session: self.session, seq: number, ack_below: 1, write };
            let body = RequestBody::Command(RequestBody::command(&command));
            self.call(at, Action::Put(number), body)?;
        }
        self.settle()
    }

    /// Reads at a replica.
    pub(super) fn read(&mut self, at: usize) -> Check {
        let body = RequestBody::Get { key: Bytes::from_static(KEY), stale: false };
        self.call(at, Action::Get, body)?;
        self.settle()
    }

    /// Isolates a leader, which alone has its turns, until it knows that it leads no more.
    pub(super) fn depose(&mut self, replica: usize) -> Check {
        self.link_only(&[]);
        self.awake_until(replica, |group| {
            matches!(group.broadcast().role(), haystack_core::broadcast::Role::Follower { .. })
        })
    }

    fn answered(&mut self, who: &str, id: u64, outcome: Outcome) -> Check {
        // The first request opened the session.
        let Some(at) = id.checked_sub(2).map(|at| at as usize) else {
            if let Outcome::Opened { session } = outcome {
                self.session = session;
            }
            return Ok(());
        };
        self.moment += 1;
        let call = &mut self.calls[at];
        ensure!(call.end.is_none(), Once, "{who} answers request {id} again");
        match outcome {
            Outcome::Applied { at: index, effect } => {
                (call.end, call.answer) = (Some(self.moment), Answer::Done(None));
                self.canons.group(GROUP).answered(who, (self.session, at as u64 + 1), index, &effect)?;
            }
            Outcome::Read { at: index, found } => {
                let held = found.as_ref().and_then(|found| value::decode(&found.value));
                (call.end, call.answer) = (Some(self.moment), Answer::Done(held));
                self.canons.group(GROUP).read(who, KEY, index, found.as_ref())?;
            }
            // Refused, or unknown: it stays pending for ever, as the checker understands that.
            _ => {}
        }
        Ok(())
    }

    /// Whether the last operation was answered.
    pub(super) fn is_answered(&self) -> bool {
        self.calls.last().is_some_and(|call| call.end.is_some())
    }

    /// Everything heals: all must come to one log, and what was answered must have one order.
    pub(super) fn end(mut self) -> Check {
        self.no_rule();
        let all: Vec<usize> = (0..self.groups.len()).collect();
        self.link_only(&all);
        self.all_awake();
        self.forget_held();
        self.run(6_000)?;
        let leader = all.iter().find(|replica| self.groups[**replica].leads()).copied();
        if let Some(leader) = leader {
            self.read(leader)?;
        }
        self.run(1_000)?;
        let calls: Vec<Call> = self.calls.iter().filter(|call| keeps(call)).copied().collect();
        ensure!(
            !matches!(search(&calls, 100_000), Verdict::Violation(_)),
            Linearizable,
            "what was answered has no order: {calls:?}"
        );
        let len = self.canons.get(GROUP).map_or(0, crate::check::canon::Canon::len);
        let equal = self.groups.iter().all(|group| group.broadcast().applied().0 == len);
        ensure!(equal && self.is_answered(), Live, "the replicas do not come to one log");
        Ok(())
    }
}

/// A read that was not answered says nothing.
fn keeps(call: &Call) -> bool {
    call.end.is_some() || call.action != Action::Get
}

fn group(me: usize, count: usize, limits: Limits, mutations: Mutations, now: Instant) -> Group {
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], 7400 + me as u16));
    let mut config = Config::new(&format!("n{me}"), addr, vec![addr]);
    (config.limits, config.mutations, config.observe) = (limits, mutations, true);
    let replicas = (0..count).map(id).collect();
    let founded = Founded { id: GROUP, replicas, epoch: Epoch(1), history: HistoryId(0) };
    let limits = store::Limits { mutations, ..store::Limits::default() };
    let rng = Rng::from_u64(me as u64 + 1);
    Group::data(&config, id(me), founded, (Slot(0), Slot(16_383)), limits, now, rng)
}
