//! Ballot leader election of one group's view, and its read rounds.
//!
//! # What it does
//! Every replica asks all others in rounds, each round under a nonce of its own, and counts the answers once
//! per `NodeId`. From one round's answers it knows whether it is *quorum-connected* (a majority answered,
//! itself counted) and whether it is *happy*:
//!
//! - a leader is happy while a majority is promised to its own ballot, by their answers, and it progresses;
//! - a follower is happy while the leader of the ballot it has promised answers, and says that it is happy.
//!
//! A replica takes over, with a ballot above all it has seen, only if it is quorum-connected, not happy, and in
//! two rounds in a row nobody it can hear was happy either; after some jitter. So one replica that hears a
//! follower of a working leader leaves that leader alone, although it cannot reach it itself (the chained cut
//! A-B-C, where taking over at sight goes on for ever); and the only quorum-connected replica takes over
//! whatever its log lacks, since the broadcast adopts the longest log of a majority (constrained election). A
//! ballot that somebody else promised is no reason to take over, nor is a Nack. This is the ballot leader
//! election of Omni-Paxos (Ng, Haridi, Carbone, EuroSys'23) with these changes:
//!
//! - **Nonces and one answer per replica.** Counting repeated answers let a leader with one of four links lead on.
//! - **Good news at once, bad news at the end of a round.** An answer makes a replica happy the moment it
//!   comes; unhappiness is judged only when a round is over. A new leader is therefore seen to work within
//!   three exchanges, which fit into the two rounds that others are patient.
//! - **Patience starts again with every higher ballot** that a replica learns of: its maker gets two rounds to
//!   show that it works.
//! - **Questions are repeated within a round**, under the same nonce, to replicas that answered lately: a single
//!   lost datagram decides nothing. At 5 % loss an exchange fails in a round about once in ten thousand.
//! - **A stall condemns nobody.** A round that was judged more than half a period late and came out badly is not
//!   counted, once in a row, and a replica whose round is overdue no longer claims that it is happy.
//! - **A healthy leader wins a stranded replica back.** A replica that promised a ballot above the leader's (its
//!   candidate was cut off, or died) can never follow it again. Deposing the leader for that would be the old
//!   mistake of the rejoiner that inflated its term; instead the leader itself, after two rounds, moves to a
//!   ballot above.
//! - **A leader that is not happy for two rounds steps down** only if it knows a higher ballot or has lost its
//!   quorum. A stuck leader stays, unhappy, until others see that and take over.
//!
//! # Founding
//! While nobody has ever led, questions and answers carry each replica's claim as a ballot with n = 0. The highest
//! claim (the highest priority) leads as soon as all replicas have answered, or after the usual two rounds;
//! a replica that knows of a higher claim waits two rounds more.
//!
//! # Timing
//! A period is the configured round, or four slowest-majority round trips if that is more, so that a question can
//! be asked again twice within its round. If a majority answers, but only after the rounds, the round is not
//! counted and the period doubles by itself. An *election timeout* is two periods and the greatest jitter of half
//! a period, so ten round trips. Rounds end on multiples of the period on the node's own clock: those of all
//! groups end together and their heartbeats share datagrams. A fault shows at the end of the second round after
//! it at the latest, a follower's word of happiness that was true before it fades within as long again, and then
//! come two rounds of patience: in simulations with 100 ms a dead leader is replaced after 0.36 s in the median
//! and within 0.6 s at worst, and no cut took longer than three election timeouts of the four allowed.
//!
//! # Reads
//! A read round is a question of its own under a new nonce, and is confirmed when a majority has answered that
//! nonce *or a later one* while promised to the leader's ballot: each of these answers was made after the read
//! arrived. An answer to an earlier nonce never counts (reused nonces gave stale reads elsewhere).
//! Nonces are a random start, new for every election, plus a count; the lowest bit asks for a reliable answer,
//! so that one lost datagram does not delay reads until the next round.
//!
//! # Cost
//! An idle round is two messages sent and two handled per other replica, without any allocation: answers live in
//! one small record per replica, and all of it takes about a microsecond. Deadlines change only when time passes
//! or a takeover is scheduled, not with every answer.
//!
//! Safety never depends on this module: any two replicas may lead at once, in different ballots, and the
//! broadcast stays right.

mod peers;
mod reads;
mod rounds;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, LogIndex, NodeId};
use haystack_wire::message::election::HeartbeatBody;
use haystack_wire::rng::Rng;
use haystack_wire::time::Duration;

use peers::{Peers, SILENT_ROUNDS, Seq};
use reads::Reads;
pub use stats::Stats;

/// Rounds without a happy answer before a takeover, and of unhappiness before a leader steps down.
const PATIENCE: u8 = 2;
/// Rounds that a replica waits at founding when it knows of one with a higher priority.
const FOUNDING_PATIENCE: u8 = 4;
/// Round trips per period: a question, and two repetitions whose answers still come in time.
const ROUND_TRIPS: u32 = 4;
/// Parts of a period after which unanswered questions are repeated, and in which a stretched period is counted.
const QUARTERS: u32 = 4;
/// Longest period, whatever round trip is reported: the delay that the failure detectors assume at most.
const PERIOD_LIMIT: Duration = Duration::from_secs(10);
/// Rounds answered soon enough for half the period, after which a period that late answers have taught is halved.
const QUICK_ROUNDS: u16 = 64;
/// Unhappy rounds in which everyone is asked more often, to hear of a new leader soon; then it is the state of
/// things and not worth the traffic.
const HURRY_ROUNDS: u8 = 8;
/// Highest round number taken from others. A replica makes a new one per takeover, so that higher ones can only
/// be broken; believing them would leave no room for the next.
const N_LIMIT: u64 = 1 << 62;
/// Nonces without their lowest bit.
const NONCE_MASK: u64 = u64::MAX >> 1;

/// What an election needs to know for its life, which is that of a view.
#[derive(Clone, Debug)]
pub struct Config {
    /// This replica.
    pub me: NodeId,
    /// The replicas of the view, this one included.
    pub replicas: Vec<NodeId>,
    /// Preference for leading: the highest leads first at founding, and wins among ballots of one round.
    pub priority: u32,
    /// Shortest period of rounds; 100 ms by default in the node's configuration.
    pub round: Duration,
}

/// The replica's state at the moment of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// What it has promised.
    pub promised: Ballot,
    /// The ballot in which it last accepted.
    pub accepted_round: Ballot,
    /// Its log length.
    pub len: LogIndex,
    /// Its decided index.
    pub decided: LogIndex,
    /// The ballot in which it has the leader's role, whether it may already propose or not.
    pub leading: Option<Ballot>,
    /// As leader: whether what is proposed gets decided. True as well with nothing to decide, and while a log is
    /// being adopted (the broadcast itself gives up an adoption that stalls): a leader that were unhappy meanwhile
    /// would be deposed by the next, which has as much to adopt. Ignored for followers.
    pub progressing: bool,
    /// Whether it may take over; false while it stands down on purpose.
    pub may_lead: bool,
}

impl State {
    /// The ballot in which it leads, unless it has promised another since.
    fn leads(&self) -> Option<Ballot> {
        self.leading.filter(|ballot| *ballot == self.promised)
    }
}

/// What another replica's answer said about its log. Never an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What it has promised.
    pub promised: Ballot,
    /// The ballot in which it last accepted.
    pub accepted_round: Ballot,
    /// Its log length.
    pub len: LogIndex,
    /// Its decided index.
    pub decided: LogIndex,
}

/// What an election wants done. Outputs come in the order in which they are to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Send {
        /// To this replica.
        to: NodeId,
        /// The body.
        body: HeartbeatBody,
        /// Whether it goes as a reliable message; else as a fair-loss datagram. Both on class 0.
        urgent: bool,
    },
    /// Take over with this ballot, which is above all that this replica has seen.
    Lead {
        /// The ballot.
        ballot: Ballot,
    },
    /// Stop leading.
    StepDown,
    /// The read round of this nonce is confirmed, and with it every read round begun before it.
    Confirmed {
        /// What [`Election::read_round`] returned.
        nonce: u64,
    },
    /// Another replica answered.
    Observed {
        /// Who.
        from: NodeId,
        /// What it said.
        seen: Observed,
    },
    /// The trusted leader changed.
    Trust {
        /// The ballot of the leader that works, as far as this replica can see, or none.
        leader: Option<Ballot>,
    },
}

/// The election of one replica in one view. See the module's documentation.
///
/// After every call the outputs must be taken by [`Election::poll_output`] until there are none; a call produces at
/// most one message per other replica and a handful of other outputs, and up to 1,024 confirmations.
#[derive(Debug)]
pub struct Election {
    config: Config,
    rng: Rng,
    peers: Peers,
    reads: Reads,
    outputs: VecDeque<Output>,
    stats: Stats,
    /// Slowest round trip of the fastest majority.
    rtt: Duration,
    /// Shortest period that late answers have taught, and the rounds since that could have been half as long.
    learned: (Duration, u16),
    /// The highest ballot known, this replica's own claim with n = 0 included.
    highest: Ballot,
    /// Rounds from this question on began after `highest` last rose.
    rise: Seq,
    /// Random start of the nonces.
    base: u64,
    /// The newest question.
    asked: Seq,
    /// The question of the present round; 0 before the first.
    round: Seq,
    /// The question of the last judged round: answers from here on are fresh.
    fresh: Seq,
    /// Length of the present round's period.
    period: Duration,
    /// When the present round began.
    opened: Instant,
    /// When a majority had answered it.
    reached: Option<Instant>,
    /// When the present round is judged.
    closes: Instant,
    /// When unanswered questions are repeated.
    repeat: Option<Instant>,
    /// When to take over, unless something changes before.
    takeover: Option<Instant>,
    /// Whether the last round was too late to be judged.
    void: bool,
    /// Whether a majority answered the last judged round.
    quorum_connected: bool,
    /// Unhappy rounds in a row.
    unhappy: u8,
    /// Rounds in a row in which nobody was happy, since `highest` last rose.
    leaderless: u8,
    /// Rounds in a row in which this happy leader saw a replica promised above its ballot.
    stranded: u8,
    /// The ballot that this replica led in at the last call.
    leading: Option<Ballot>,
    /// What was last told by `Output::Trust`.
    trusted: Option<Ballot>,
}

impl Election {
    /// A replica's election at the start of a view. The first round begins at the first
    /// [`Election::handle_timeout`], which is due at once.
    ///
    /// # Panics
    /// If the replica itself is not among the replicas, one is named twice, or the round is 0.
    pub fn new(config: Config, now: Instant, mut rng: Rng) -> Self {
        assert!(config.round > Duration::ZERO, "a round takes time");
        let peers = Peers::new(config.me, &config.replicas);
        let claim = Ballot { n: 0, priority: config.priority, node: config.me };
        Self {
            outputs: VecDeque::with_capacity(2 * config.replicas.len() + 8),
            peers,
            reads: Reads::default(),
            stats: Stats::default(),
            rtt: Duration::ZERO,
            learned: (Duration::ZERO, 0),
            highest: claim,
            rise: 1,
            base: rng.u64() & NONCE_MASK,
            rng,
            asked: 0,
            round: 0,
            fresh: 1,
            period: config.round,
            opened: now,
            reached: None,
            closes: now,
            repeat: None,
            takeover: None,
            void: false,
            quorum_connected: false,
            unhappy: 0,
            leaderless: 0,
            stranded: 0,
            leading: None,
            trusted: None,
            config,
        }
    }

    /// Takes a message from another replica.
    pub fn handle(&mut self, now: Instant, from: NodeId, body: HeartbeatBody, state: &State) {
        self.note(state);
        if self.peers.get(from).is_none() {
            self.stats.drop_not_replica += 1;
            return;
        }
        match body {
            HeartbeatBody::Ask(ask) => self.answer(now, from, &ask, state),
            HeartbeatBody::Answer(ack) => self.take_answer(now, from, &ack, state),
            HeartbeatBody::HandOver { ballot } => self.take_hand_over(now, from, ballot, state),
        }
        self.tell_trust(state);
    }

    /// Does what is due. Calls before [`Election::poll_timeout`] do nothing.
    pub fn handle_timeout(&mut self, now: Instant, state: &State) {
        self.note(state);
        if self.takeover.is_some_and(|at| at <= now) {
            self.takeover = None;
            if self.may_take_over(state) && !self.happy(self.fresh, state) && !self.hears_happy(self.fresh) {
                self.lead(now, state);
            }
        }
        if self.closes <= now {
            if self.round > 0 {
                self.judge(now, state);
            }
            // A judgement that ended in a takeover has begun the next round already.
            if self.closes <= now {
                self.open_round(now, state);
            }
            self.found(now, state);
        } else if self.repeat.is_some_and(|at| at <= now) {
            self.repeat_questions(now, state);
        }
        self.tell_trust(state);
    }

    /// When [`Election::handle_timeout`] is due. Changes only within calls, but not with every answer.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [Some(self.closes), self.repeat, self.takeover].into_iter().flatten().min()
    }

    /// Begins a read round now and returns its nonce, which is newer than all before. If this replica leads, and a
    /// majority confirms that it still does, [`Output::Confirmed`] follows; it never comes if the leadership
    /// changes before.
    pub fn read_round(&mut self, _now: Instant, state: &State) -> u64 {
        self.note(state);
        self.asked += 1;
        let nonce = self.nonce(self.asked, true);
        if state.leads().is_none() {
            self.stats.reads_abandoned += 1;
            return nonce;
        }
        self.stats.reads_abandoned += self.reads.open(self.asked);
        let ask = self.question(nonce, state);
        for peer in self.peers.iter().filter(|peer| peer.silent < SILENT_ROUNDS) {
            self.outputs.push_back(Output::Send { to: peer.node, body: ask, urgent: true });
        }
        self.confirm_reads();
        nonce
    }

    /// As a leader that stops on purpose: asks `to` to take over at once. Choose one that [`Election::answers`]; if
    /// it does not take over, nothing has changed and another may be asked.
    pub fn hand_over(&mut self, _now: Instant, state: &State, to: NodeId) {
        self.note(state);
        if let (Some(ballot), Some(_)) = (state.leads(), self.peers.get(to)) {
            self.outputs.push_back(Output::Send {
                to,
                body: HeartbeatBody::HandOver { ballot },
                urgent: true,
            });
        }
    }

    /// Tells the slowest round trip of the fastest majority; rounds stretch with it from the next one on.
    pub fn set_rtt(&mut self, slowest_majority_rtt: Duration) {
        self.rtt = slowest_majority_rtt;
    }

    /// The leader that works as far as this replica can see: itself, or one that answers and is happy.
    pub fn leader(&self) -> Option<Ballot> {
        self.trusted
    }

    /// How many replicas, this one counted, answered the last round.
    pub fn live(&self) -> usize {
        self.peers.count(|peer| peer.answered >= self.fresh)
    }

    /// Whether `node` answered the last round. True for this replica itself.
    pub fn answers(&self, node: NodeId) -> bool {
        node == self.config.me || self.peers.get(node).is_some_and(|peer| peer.answered >= self.fresh)
    }

    /// Two periods and the greatest jitter: how long the lack of a leader is borne at most, once it is seen.
    pub fn election_timeout(&self) -> Duration {
        self.period * u32::from(PATIENCE) + self.jitter()
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What was counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
