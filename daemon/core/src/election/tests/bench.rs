//! One replica of a view, with the others played by the test.

use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, LogIndex};
use haystack_wire::message::election::{Heartbeat, HeartbeatAck, HeartbeatBody};
use haystack_wire::rng::Rng;

use super::world::{ROUND, ms, node};
use crate::election::{Config, Election, Output, State};

/// A replica under test, number 0 of `count`, with the others played by the test.
pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) election: Election,
    pub(super) state: State,
    pub(super) outputs: Vec<Output>,
}

impl Bench {
    pub(super) fn new(count: usize) -> Self {
        let replicas = (0..count).map(node).collect();
        let config = Config { me: node(0), replicas, priority: 5, round: ROUND };
        let now = Instant::ZERO + ms(1000);
        let state = State {
            promised: Ballot::default(),
            accepted_round: Ballot::default(),
            len: LogIndex(7),
            decided: LogIndex(5),
            leading: None,
            progressing: true,
            may_lead: true,
        };
        let mut bench =
            Self { now, election: Election::new(config, now, Rng::from_u64(1)), state, outputs: Vec::new() };
        bench.tick();
        bench
    }

    pub(super) fn follows(mut self, n: u64, leader: usize) -> Self {
        self.state.promised = ballot(n, leader);
        self
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.election.poll_output() {
            self.outputs.push(output);
        }
    }

    pub(super) fn tick(&mut self) {
        self.election.handle_timeout(self.now, &self.state);
        self.drain();
    }

    pub(super) fn handle(&mut self, from: usize, body: HeartbeatBody) {
        self.election.handle(self.now, node(from), body, &self.state);
        self.drain();
    }

    pub(super) fn nonce(&self) -> u64 {
        self.election.nonce(self.election.round, false)
    }

    pub(super) fn ack(&mut self, from: usize, promised: Ballot, happy: bool) {
        self.handle(from, HeartbeatBody::Answer(ack(self.nonce(), promised, happy)));
    }

    /// Ends the present round on time, and runs what is due until then.
    pub(super) fn end_round(&mut self) {
        let closes = self.election.closes;
        while let Some(at) = self.election.poll_timeout().filter(|at| *at <= closes) {
            self.now = self.now.max(at);
            self.tick();
        }
    }

    pub(super) fn led(&self) -> Vec<Ballot> {
        let led = |output: &Output| if let Output::Lead { ballot } = output { Some(*ballot) } else { None };
        self.outputs.iter().filter_map(led).collect()
    }

    pub(super) fn stepped_down(&self) -> bool {
        self.outputs.contains(&Output::StepDown)
    }

    pub(super) fn answer_to(&mut self, from: usize, ballot: Ballot) -> HeartbeatAck {
        let ask = Heartbeat { nonce: 99, ballot, len: LogIndex::ZERO, decided: LogIndex::ZERO };
        self.outputs.clear();
        self.handle(from, HeartbeatBody::Ask(ask));
        let answer = |output: &Output| match output {
            Output::Send { to, body: HeartbeatBody::Answer(ack), urgent: true } if *to == node(from) => {
                Some(*ack)
            }
            _ => None,
        };
        self.outputs.iter().find_map(answer).expect("an answer")
    }
}

pub(super) fn ballot(n: u64, leader: usize) -> Ballot {
    Ballot { n, priority: 5, node: node(leader) }
}

pub(super) fn ack(nonce: u64, promised: Ballot, happy: bool) -> HeartbeatAck {
    HeartbeatAck {
        nonce,
        promised,
        accepted_round: promised,
        len: LogIndex(7),
        decided: LogIndex(5),
        leader: promised,
        quorum_connected: true,
        happy,
    }
}
