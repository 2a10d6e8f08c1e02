//! Rounds: questions, answers, and what is concluded from them.

use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, NodeId};
use haystack_wire::message::election::{Heartbeat, HeartbeatAck, HeartbeatBody};
use haystack_wire::time::Duration;

use super::peers::{Peer, SILENT_ROUNDS, Seq};
use super::{
    Election, FOUNDING_PATIENCE, HURRY_ROUNDS, N_LIMIT, NONCE_MASK, Observed, Output, PATIENCE, PERIOD_LIMIT,
    QUARTERS, QUICK_ROUNDS, ROUND_TRIPS, State,
};

impl Election {
    /// Takes up what changed in the replica since the last call.
    pub(super) fn note(&mut self, state: &State) {
        self.learn(state.promised);
        let leads = state.leads();
        if leads != self.leading {
            self.leading = leads;
            self.stranded = 0;
            self.stats.reads_abandoned += self.reads.clear();
        }
    }

    /// Takes up a ballot. A higher one gives its maker time: patience starts again.
    fn learn(&mut self, ballot: Ballot) {
        if ballot <= self.highest {
            return;
        }
        self.highest = ballot;
        if ballot.n > 0 {
            self.rise = self.asked + 1;
            self.leaderless = 0;
        }
    }

    /// Whether a ballot can be one of this view's.
    fn plausible(&self, ballot: Ballot) -> bool {
        let replica = ballot.node == self.config.me || self.peers.get(ballot.node).is_some();
        ballot == Ballot::default() || replica && ballot.n <= N_LIMIT
    }

    pub(super) fn nonce(&self, seq: Seq, urgent: bool) -> u64 {
        (self.base.wrapping_add(seq) << 1) | u64::from(urgent)
    }

    /// The question of a nonce, if it was ever asked.
    fn seq(&self, nonce: u64) -> Option<Seq> {
        let seq = (nonce >> 1).wrapping_sub(self.base) & NONCE_MASK;
        (1..=self.asked).contains(&seq).then_some(seq)
    }

    pub(super) fn question(&self, nonce: u64, state: &State) -> HeartbeatBody {
        HeartbeatBody::Ask(Heartbeat { nonce, ballot: self.highest, len: state.len, decided: state.decided })
    }

    /// Whether this replica is happy, by answers to questions from `since` on.
    pub(super) fn happy(&self, since: Seq, state: &State) -> bool {
        if let Some(ballot) = state.leads() {
            let holds = self.peers.majority(|peer| peer.answered >= since && peer.promised == ballot);
            return holds && state.progressing;
        }
        let leader = state.promised;
        let works = |peer: &Peer| peer.answered >= since && peer.happy && peer.promised == leader;
        leader.n > 0 && self.peers.get(leader.node).is_some_and(works)
    }

    /// Whether a replica that answered a question from `since` on was happy, and knew all leaders that we know.
    pub(super) fn hears_happy(&self, since: Seq) -> bool {
        self.peers.iter().any(|peer| peer.answered >= since && peer.happy && peer.leader >= self.highest)
    }

    /// From which question on answers may be claimed to others as the state of things: the last judged round and
    /// the present one, unless the end of the present one is overdue.
    fn claimable(&self, now: Instant) -> Seq {
        if now > self.closes + self.period {
            Seq::MAX
        } else if self.void || now > self.closes + self.period / 2 {
            self.round.max(self.fresh)
        } else {
            self.fresh
        }
    }

    pub(super) fn answer(&mut self, now: Instant, from: NodeId, ask: &Heartbeat, state: &State) {
        if !self.plausible(ask.ballot) {
            self.stats.drop_bad_ballot += 1;
            return;
        }
        self.learn(ask.ballot);
        let since = self.claimable(now);
        let answer = HeartbeatAck {
            nonce: ask.nonce,
            promised: state.promised,
            accepted_round: state.accepted_round,
            len: state.len,
            decided: state.decided,
            leader: self.highest,
            quorum_connected: self.peers.majority(|peer| peer.answered >= since),
            happy: self.happy(since, state),
        };
        self.stats.answers += 1;
        let urgent = ask.nonce & 1 == 1;
        self.outputs.push_back(Output::Send { to: from, body: HeartbeatBody::Answer(answer), urgent });
    }

    pub(super) fn take_answer(&mut self, now: Instant, from: NodeId, ack: &HeartbeatAck, state: &State) {
        let Some(seq) = self.seq(ack.nonce) else {
            self.stats.drop_unknown_nonce += 1;
            return;
        };
        if !self.plausible(ack.promised) || !self.plausible(ack.leader) {
            self.stats.drop_bad_ballot += 1;
            return;
        }
        self.learn(ack.promised.max(ack.leader));
        self.count_for_reads(from, seq, ack.promised, state);
        if seq < self.round {
            self.stats.drop_stale_nonce += 1;
            let round = self.round;
            self.peers.get_mut(from).into_iter().for_each(|peer| peer.take_late(seq, round));
            return;
        }
        if !self.peers.get_mut(from).is_some_and(|peer| peer.take(seq, ack)) {
            self.stats.drop_duplicate += 1;
            return;
        }
        if self.reached.is_none() && self.peers.majority(|peer| peer.answered >= self.round) {
            self.reached = Some(now);
        }
        let HeartbeatAck { promised, accepted_round, len, decided, .. } = *ack;
        let seen = Observed { promised, accepted_round, len, decided };
        self.outputs.push_back(Output::Observed { from, seen });
        self.found(now, state);
    }

    fn count_for_reads(&mut self, from: NodeId, seq: Seq, promised: Ballot, state: &State) {
        let Some(ballot) = state.leads() else { return };
        if promised != ballot {
            self.stats.drop_other_ballot += 1;
            return;
        }
        if let Some(peer) = self.peers.get_mut(from) {
            peer.confirmed = peer.confirmed.max(seq);
        }
        self.confirm_reads();
    }

    pub(super) fn confirm_reads(&mut self) {
        while let Some(seq) = self.reads.confirmed(&self.peers) {
            self.stats.reads_confirmed += 1;
            self.outputs.push_back(Output::Confirmed { nonce: self.nonce(seq, true) });
        }
    }

    pub(super) fn take_hand_over(&mut self, now: Instant, from: NodeId, ballot: Ballot, state: &State) {
        let is_leader =
            ballot.n > 0 && from == ballot.node && ballot == state.promised && ballot == self.highest;
        if !is_leader || !state.may_lead || !self.peers.majority(|peer| peer.answered >= self.fresh) {
            self.stats.drop_hand_over += 1;
            return;
        }
        self.stats.hand_overs += 1;
        self.lead(now, state);
    }

    /// At founding, the highest claim leads as soon as all have answered that nobody ever led.
    pub(super) fn found(&mut self, now: Instant, state: &State) {
        let first = self.highest.n == 0 && self.highest.node == self.config.me && state.may_lead;
        if first && self.peers.iter().all(|peer| peer.answered >= self.round) {
            self.lead(now, state);
        }
    }

    /// Whether a takeover is due by the rounds judged so far.
    pub(super) fn may_take_over(&self, state: &State) -> bool {
        let hopeful = self.highest.n == 0 && self.highest.node != self.config.me;
        let patience = if hopeful { FOUNDING_PATIENCE } else { PATIENCE };
        let another = state.leads() != Some(self.highest);
        state.may_lead && another && self.quorum_connected && self.leaderless >= patience
    }

    /// Takes over with a new ballot, and begins a round at once to see it promised.
    pub(super) fn lead(&mut self, now: Instant, state: &State) {
        if self.highest.n >= N_LIMIT {
            return;
        }
        let ballot = Ballot { n: self.highest.n + 1, priority: self.config.priority, node: self.config.me };
        self.learn(ballot);
        self.stranded = 0;
        self.stats.takeovers += 1;
        self.outputs.push_back(Output::Lead { ballot });
        self.open_round(now, state);
    }

    /// Draws the conclusions from the round that ends.
    pub(super) fn judge(&mut self, now: Instant, state: &State) {
        let round = self.round;
        let happy = self.happy(round, state);
        let late = !happy && !self.void && now > self.closes + self.period / 2;
        if self.learn_period() || late {
            self.void = true;
            self.stats.rounds_void += 1;
            return;
        }
        self.void = false;
        self.fresh = round;
        self.quorum_connected = self.peers.majority(|peer| peer.answered >= round);
        for peer in self.peers.iter_mut().filter(|peer| peer.answered < round) {
            peer.silent = peer.silent.saturating_add(1);
        }
        self.unhappy = if happy { 0 } else { self.unhappy.saturating_add(1) };
        if happy || self.hears_happy(round) {
            self.leaderless = 0;
        } else if round >= self.rise {
            self.leaderless = self.leaderless.saturating_add(1);
        }
        self.judge_leader(now, happy, state);
        if self.takeover.is_none() && self.may_take_over(state) {
            let jitter = u64::try_from(self.jitter().as_nanos()).unwrap_or(u64::MAX);
            self.takeover = Some(now + Duration::from_nanos(self.rng.below(jitter.max(1))));
        }
    }

    /// Lengthens the period if a majority answers, but too late: the round trip was told wrongly, or just grew.
    /// Returns whether it did.
    fn learn_period(&mut self) -> bool {
        let (learned, quick) = self.learned;
        if let Some(reached) = self.reached {
            let soon = (reached - self.opened) * ROUND_TRIPS <= self.period / 2;
            let quick = quick + u16::from(soon && learned > Duration::ZERO);
            self.learned = if quick >= QUICK_ROUNDS { (learned / 2, 0) } else { (learned, quick) };
            return false;
        }
        let short = self.period < PERIOD_LIMIT && self.peers.majority(|peer| peer.speaks(self.round));
        if short {
            self.learned = ((self.period * 2).min(PERIOD_LIMIT), 0);
        }
        short
    }

    fn judge_leader(&mut self, now: Instant, happy: bool, state: &State) {
        let Some(ballot) = state.leads() else { return };
        let stranding = |peer: &Peer| peer.answered >= self.round && peer.promised > ballot;
        let strands = happy && state.may_lead && self.peers.iter().any(stranding);
        self.stranded = if strands { self.stranded.saturating_add(1) } else { 0 };
        if self.stranded >= PATIENCE {
            self.stats.reballots += 1;
            self.lead(now, state);
        } else if self.unhappy >= PATIENCE && (!self.quorum_connected || self.highest > ballot) {
            self.stats.step_downs += 1;
            self.outputs.push_back(Output::StepDown);
        }
    }

    pub(super) fn open_round(&mut self, now: Instant, state: &State) {
        self.stats.rounds += 1;
        self.asked += 1;
        self.round = self.asked;
        self.period = self.stretched();
        self.opened = now;
        self.reached = self.peers.majority(|_| false).then_some(now);
        self.closes = next_close(now, self.period);
        self.repeat = Some(now + self.period / QUARTERS);
        let body = self.question(self.nonce(self.round, false), state);
        for peer in self.peers.iter() {
            self.outputs.push_back(Output::Send { to: peer.node, body, urgent: false });
        }
    }

    /// Asks again those whose answer is missing, or whose answer is soon to be another: everyone who is not happy
    /// yet while this replica is not, for a while.
    pub(super) fn repeat_questions(&mut self, now: Instant, state: &State) {
        let hurry = self.unhappy < HURRY_ROUNDS && !self.happy(self.fresh, state);
        let body = self.question(self.nonce(self.round, false), state);
        let mut repeated = 0;
        for peer in self.peers.iter().filter(|peer| peer.silent < SILENT_ROUNDS) {
            if peer.answered < self.round || hurry && !peer.happy {
                repeated += 1;
                self.outputs.push_back(Output::Send { to: peer.node, body, urgent: false });
            }
        }
        self.stats.asks_repeated += repeated;
        let next = now + self.period / QUARTERS;
        self.repeat = (repeated > 0 && next < self.closes).then_some(next);
    }

    /// The period that the measured round trip asks for, in steps of a quarter of the configured round, so that
    /// groups on the same nodes keep the same rounds.
    fn stretched(&self) -> Duration {
        let round = self.config.round;
        let measured = self.rtt.min(PERIOD_LIMIT) * ROUND_TRIPS;
        let wanted = measured.max(self.learned.0).min(PERIOD_LIMIT);
        if wanted <= round {
            return round;
        }
        let step = (round / QUARTERS).max(Duration::from_nanos(1));
        let steps = wanted.as_nanos().div_ceil(step.as_nanos());
        step * u32::try_from(steps).unwrap_or(u32::MAX)
    }

    /// Greatest jitter before a takeover: half a period, which is two round trips or more.
    pub(super) fn jitter(&self) -> Duration {
        self.period / 2
    }

    pub(super) fn tell_trust(&mut self, state: &State) {
        let trusted = self.happy(self.fresh, state).then_some(state.promised);
        if trusted != self.trusted {
            self.trusted = trusted;
            self.outputs.push_back(Output::Trust { leader: trusted });
        }
    }
}

/// The multiple of `period` that is nearest to one period after `now`, so between a half and one and a half away.
fn next_close(now: Instant, period: Duration) -> Instant {
    let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
    let count = now.as_nanos().saturating_add(period / 2) / period;
    Instant::from_nanos(count.saturating_add(1).saturating_mul(period))
}
