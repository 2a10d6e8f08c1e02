//! Probes: direct, through others, and for others.

use core::net::SocketAddr;
use core::time::Duration;

use haystack_wire::Instant;
use haystack_wire::ids::NodeId;
use haystack_wire::message::membership::{GossipBody, MemberState, Update};

use super::Swim;
use super::config::RELAYS_MOST;
use super::table::Record;
use super::timers::Timer;

/// Low bits of a sequence number that tell the tries of one probe apart, so that an answer measures its own.
const TRY_BITS: u32 = 2;
/// Direct tries of a probe at most.
const TRIES_MOST: u32 = 1 << TRY_BITS;
/// Tries of a probe on behalf of another.
const RELAY_TRIES: u32 = 2;

/// A probe under way.
pub(super) struct Flight {
    pub(super) target: NodeId,
    addr: SocketAddr,
    begun: Instant,
    /// How long each try waits.
    wait: Duration,
    /// When the tries were sent.
    tries: Vec<Instant>,
    pub(super) purpose: Purpose,
    /// When it is due next.
    due: Instant,
}

pub(super) enum Purpose {
    /// To see whether a member is there.
    Probe {
        /// Members that were asked to probe it too.
        helpers: Vec<NodeId>,
        /// Those of them that said that it does not answer them either.
        nacks: Vec<NodeId>,
    },
    /// To see whether a predecessor of `by` has really ended.
    Succession {
        by: NodeId,
        /// Members that were asked to probe it too.
        helpers: Vec<NodeId>,
        /// Those of them that said that it does not answer them either.
        nacks: Vec<NodeId>,
    },
    /// For another, who waits at `addr` for an answer to its question.
    Relay { addr: SocketAddr, sequence: u64 },
}

impl Flight {
    /// All tries are to be made again, and all others asked again.
    fn again(&mut self) {
        self.tries.clear();
        if let Purpose::Succession { helpers, nacks, .. } = &mut self.purpose {
            helpers.clear();
            nacks.clear();
        }
    }
}

impl Swim {
    /// How long a try waits: what the path takes, in bounds.
    fn try_wait(&self, target: NodeId) -> Duration {
        let path = self.table.get(target).and_then(|record| record.path);
        let wait = path.map_or(self.timing.try_ceiling, |(srtt, rttvar)| srtt.saturating_add(4 * rttvar));
        wait.clamp(self.timing.try_floor, self.timing.try_ceiling)
    }

    pub(super) fn probe_next(&mut self, now: Instant) {
        self.timers.set(now + self.timing.period * (self.health + 1), Timer::Probe);
        if self.leaving.is_some() {
            return;
        }
        // At most every other probe, so that the others are looked after too.
        let predecessor = self.live_predecessor().filter(|_| self.counters.probes.is_multiple_of(2));
        let target = predecessor.or_else(|| self.table.next_target(&mut self.rng));
        let Some(target) = target else { return };
        let Some(addr) = self.table.get(target).map(|record| record.member.addr) else { return };
        self.counters.probes += 1;
        let wait = self.try_wait(target) * (self.health + 1);
        let purpose = Purpose::Probe { helpers: Vec::new(), nacks: Vec::new() };
        self.launch(now, target, addr, wait, purpose);
    }

    pub(super) fn launch(
        &mut self,
        now: Instant,
        target: NodeId,
        addr: SocketAddr,
        wait: Duration,
        purpose: Purpose,
    ) {
        let id = self.next_flight;
        self.next_flight += 1;
        if !matches!(purpose, Purpose::Relay { .. })
            && let Some(record) = self.table.get_mut(target)
        {
            record.flights.push(id);
        }
        let flight = Flight { target, addr, begun: now, wait, tries: Vec::new(), purpose, due: now };
        self.flights.insert(id, flight);
        self.on_flight_due(now, id);
    }

    pub(super) fn on_flight_due(&mut self, now: Instant, id: u64) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let tries = match flight.purpose {
            Purpose::Relay { .. } => RELAY_TRIES,
            _ => self.timing.tries.clamp(1, TRIES_MOST),
        };
        let tried = flight.tries.len() as u32;
        if tried < tries {
            flight.tries.push(now);
            flight.due = now + flight.wait;
            let (due, target, addr) = (flight.due, flight.target, flight.addr);
            self.timers.set(due, Timer::Flight(id));
            self.ping(target, addr, id << TRY_BITS | u64::from(tried));
            return;
        }
        match flight.purpose {
            Purpose::Probe { ref helpers, .. } => {
                let asked = !helpers.is_empty();
                if asked || !self.ask_helpers(now, id) {
                    self.probe_failed(now, id);
                }
            }
            Purpose::Succession { ref helpers, .. } => {
                let asked = !helpers.is_empty();
                if asked || !self.ask_helpers(now, id) {
                    self.predecessor_silent(now, id);
                }
            }
            Purpose::Relay { addr, sequence } => {
                self.drop_flight(id);
                let nack = self.compose(GossipBody::Nack { sequence }, Vec::new());
                self.send(addr, None, nack, false);
            }
        }
    }

    /// A suspect learns from the ping itself what is said of it (Lifeguard's buddy system).
    fn ping(&mut self, target: NodeId, addr: SocketAddr, sequence: u64) {
        let known = self.table.get(target);
        let here = known.filter(|record| record.member.addr == addr).map(|record| record.member.state);
        let updates = known.and_then(Self::accusation).into_iter().collect();
        let mut gossip = self.compose(GossipBody::Ping { sequence, target }, updates);
        if let Some(state) = here {
            self.load(&mut gossip, state);
        }
        self.send(addr, Some(target), gossip, false);
    }

    /// What a member must refute.
    pub(super) fn accusation(record: &Record) -> Option<Update> {
        let whom = record.accused();
        match record.member.state {
            MemberState::Suspect => {
                let by = *record.suspicion.as_ref()?.accusers.first()?;
                Some(Update::Suspect { whom, by })
            }
            MemberState::Dead => Some(Update::Dead { whom }),
            MemberState::Alive | MemberState::Left => None,
        }
    }

    /// The direct tries failed: others try. Tells whether there are any.
    fn ask_helpers(&mut self, now: Instant, id: u64) -> bool {
        let Some(flight) = self.flights.get(&id) else { return false };
        let (target, addr, wait, begun) = (flight.target, flight.addr, flight.wait, flight.begun);
        // Whoever claims to succeed another is no witness of its end.
        let claimant = if let Purpose::Succession { by, .. } = flight.purpose { Some(by) } else { None };
        let count = self.timing.indirect + usize::from(claimant.is_some());
        let mut chosen = self.table.some_live(&mut self.rng, count, Some(target));
        chosen.retain(|helper| Some(*helper) != claimant);
        chosen.truncate(self.timing.indirect);
        if chosen.is_empty() {
            return false;
        }
        for helper in &chosen {
            let body = GossipBody::PingReq { sequence: id << TRY_BITS, target, addr };
            self.tell(*helper, body, Vec::new(), false);
        }
        // Helpers have two tries, over paths of their own; at full speed the period's rest is theirs.
        let due = (begun + self.timing.period * (self.health + 1)).max(now + 3 * wait);
        if let Some(flight) = self.flights.get_mut(&id) {
            if let Purpose::Probe { helpers, .. } | Purpose::Succession { helpers, .. } = &mut flight.purpose
            {
                *helpers = chosen;
            }
            flight.due = due;
        }
        self.timers.set(due, Timer::Flight(id));
        true
    }

    fn probe_failed(&mut self, now: Instant, id: u64) {
        let Some(flight) = self.drop_flight(id) else { return };
        self.counters.probes_failed += 1;
        if let Purpose::Probe { helpers, nacks } = &flight.purpose
            && (helpers.is_empty() || nacks.len() < helpers.len())
        {
            // Not even the helpers were heard: it may be this node that is slow.
            self.health = (self.health + 1).min(self.timing.health_most);
        }
        let Some(record) = self.table.get(flight.target).filter(|record| record.live()) else { return };
        let whom = record.accused();
        self.suspect(now, whom, self.me.node);
        let Some(update) = self.table.get(flight.target).and_then(Self::accusation) else { return };
        self.tell(flight.target, GossipBody::Delta, vec![update], true);
    }

    pub(super) fn drop_flight(&mut self, id: u64) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        self.timers.cancel(flight.due, Timer::Flight(id));
        match flight.purpose {
            Purpose::Relay { .. } => self.relays -= 1,
            Purpose::Succession { .. } => self.successions -= 1,
            Purpose::Probe { .. } => {}
        }
        if let Some(record) = self.table.get_mut(flight.target) {
            record.flights.retain(|flight| *flight != id);
        }
        Some(flight)
    }

    /// A packet of the link to `node` came at `at` that was above all before. It answers what was asked before that. A
    /// predecessor's last words may still have been on their way: its probe wants an answer, and begins anew.
    pub fn heard(&mut self, at: Instant, node: NodeId) {
        let flights = self.table.get(node).map(|record| record.flights.clone()).unwrap_or_default();
        for id in flights {
            let Some(flight) = self.flights.get_mut(&id).filter(|flight| flight.begun < at) else { continue };
            if matches!(flight.purpose, Purpose::Succession { .. }) {
                flight.again();
            } else {
                self.land(id);
            }
        }
    }

    /// All probes of a member that ended.
    pub(super) fn drop_flights(&mut self, flights: Vec<u64>) {
        for id in flights {
            self.drop_flight(id);
        }
    }

    /// The target of a probe answered.
    pub(super) fn land(&mut self, id: u64) {
        let Some(flight) = self.drop_flight(id) else { return };
        match flight.purpose {
            Purpose::Probe { .. } => self.health = self.health.saturating_sub(1),
            Purpose::Succession { by, .. } => self.refute(flight.target, by),
            Purpose::Relay { addr, sequence } => {
                let ack = GossipBody::Ack { sequence, of: Some(flight.target) };
                let ack = self.compose(ack, Vec::new());
                self.send(addr, None, ack, false);
            }
        }
    }

    pub(super) fn on_ping(
        &mut self,
        now: Instant,
        from: NodeId,
        from_addr: SocketAddr,
        sequence: u64,
        target: NodeId,
    ) {
        if target != self.me.node {
            self.counters.drop_not_me += 1;
            return;
        }
        let Some(known) = self.table.get(from).filter(|record| record.member.addr == from_addr) else {
            if self.table.tombstone(from).is_some() {
                self.remind(from, from_addr);
            } else {
                self.send_stranger(from_addr, from, GossipBody::Ack { sequence, of: None }, Vec::new());
            }
            return;
        };
        let state = known.member.state;
        let updates = Self::accusation(known).into_iter().collect();
        // It names this node, so somebody knows it.
        self.sync.note_known(now);
        let mut ack = self.compose(GossipBody::Ack { sequence, of: None }, updates);
        self.load(&mut ack, state);
        self.send(from_addr, Some(from), ack, false);
    }

    pub(super) fn on_ack(&mut self, now: Instant, from: NodeId, sequence: u64, of: Option<NodeId>) {
        let id = sequence >> TRY_BITS;
        let Some(flight) = self.flights.get_mut(&id).filter(|flight| of.unwrap_or(from) == flight.target)
        else {
            self.counters.drop_late += 1;
            return;
        };
        if of.is_some() && matches!(flight.purpose, Purpose::Succession { .. }) {
            // It may have been heard over a link only: last words again.
            flight.again();
            return;
        }
        if of.is_none()
            && let Some(sent) = flight.tries.get(sequence as usize & (TRIES_MOST as usize - 1))
        {
            let sample = now.saturating_since(*sent);
            if let Some(record) = self.table.get_mut(from) {
                measure(record, sample);
            }
        }
        if of.is_none() && self.succeeds.contains(&from) {
            self.refute(from, self.me.node);
        }
        self.land(id);
    }

    pub(super) fn on_ping_req(
        &mut self,
        now: Instant,
        from: NodeId,
        from_addr: SocketAddr,
        sequence: u64,
        target: NodeId,
        addr: SocketAddr,
    ) {
        if self.table.get(from).is_none() {
            self.counters.drop_unknown += 1;
            return;
        }
        if target == self.me.node || self.relays >= RELAYS_MOST {
            self.counters.drop_relay += 1;
            return;
        }
        let known = self.table.get(target).filter(|record| record.live());
        let addr = known.map_or(addr, |record| record.member.addr);
        self.relays += 1;
        let wait = self.try_wait(target);
        self.launch(now, target, addr, wait, Purpose::Relay { addr: from_addr, sequence });
    }

    pub(super) fn on_nack(&mut self, from: NodeId, sequence: u64) {
        let flight = self.flights.get_mut(&(sequence >> TRY_BITS));
        let Some(Flight { purpose, .. }) = flight else {
            self.counters.drop_late += 1;
            return;
        };
        let (Purpose::Probe { helpers, nacks } | Purpose::Succession { helpers, nacks, .. }) = purpose else {
            self.counters.drop_late += 1;
            return;
        };
        if helpers.contains(&from) && !nacks.contains(&from) {
            nacks.push(from);
        }
    }
}

/// A round trip, smoothed as in RFC 9002. A link knows better.
fn measure(record: &mut Record, sample: Duration) {
    if record.linked {
        return;
    }
    record.path = Some(match record.path {
        None => (sample, sample / 2),
        Some((srtt, rttvar)) => (srtt * 7 / 8 + sample / 8, rttvar * 3 / 4 + srtt.abs_diff(sample) / 4),
    });
}
