//! What is believed of what others say.

use haystack_wire::Instant;
use haystack_wire::ids::NodeId;
use haystack_wire::message::membership::{Accused, GossipBody, Member, MemberState, Update};

use super::config::{DOUBLES_MOST, INCARNATION_MOST, LEAP_MOST, MEMBERS_MOST};
use super::table::{Suspicion, Tombstone};
use super::timers::Timer;
use super::{Conflict, Output, Swim};

/// How many tell a suspect in each period, about.
const HEARINGS_MOST: f64 = 32.0;

impl Swim {
    /// Takes up an update from `from`.
    pub(super) fn learn(&mut self, now: Instant, from: NodeId, update: Update) {
        let (whom, state, addr) = match &update {
            Update::Member(Member { node, boot, incarnation, state, addr, .. }) => {
                (Accused { node: *node, boot: *boot, incarnation: *incarnation }, *state, Some(*addr))
            }
            Update::Suspect { whom, .. } => (*whom, MemberState::Suspect, None),
            Update::Dead { whom } => (*whom, MemberState::Dead, None),
            Update::Left { whom } => (*whom, MemberState::Left, None),
        };
        if whom.incarnation > INCARNATION_MOST || whom.boot.0 > INCARNATION_MOST {
            self.counters.drop_forged += 1;
            return;
        }
        if whom.node == self.me.node {
            self.on_own_name(now, from, whom, state, addr);
            return;
        }
        // A third party's word: only the member itself may leap.
        let (boot, incarnation) = match self.table.get(whom.node).map(|record| record.accused()) {
            Some(known) if known.boot == whom.boot => (known.boot, known.incarnation),
            Some(known) => (known.boot, 0),
            None => (whom.boot, 0),
        };
        let leaps = whom.incarnation.saturating_sub(incarnation).max(whom.boot.0.saturating_sub(boot.0));
        if from != whom.node && leaps > LEAP_MOST {
            self.counters.drop_forged += 1;
            return;
        }
        // Who hears nobody takes everybody for dead. From one who is in doubt, a verdict is at most a suspicion.
        let standing = self.table.get(from).map(|record| record.member.state);
        let accuses = matches!(state, MemberState::Suspect | MemberState::Dead);
        if accuses && standing.is_some_and(|standing| standing >= MemberState::Dead) {
            self.counters.drop_accuser += 1;
            return;
        }
        if state == MemberState::Dead && standing == Some(MemberState::Suspect) {
            self.suspect(now, whom, from);
            return;
        }
        match update {
            Update::Member(member) => match state {
                MemberState::Alive => self.greet(now, from, member),
                MemberState::Suspect => {
                    self.greet(now, from, Member { state: MemberState::Alive, ..member });
                    self.suspect(now, whom, from);
                }
                MemberState::Dead => self.die(now, whom),
                MemberState::Left => self.end(now, whom, false),
            },
            Update::Suspect { whom, by } => self.suspect(now, whom, by),
            Update::Dead { whom } => self.die(now, whom),
            Update::Left { whom } => self.end(now, whom, false),
        }
    }

    /// Somebody speaks of this node.
    fn on_own_name(
        &mut self,
        now: Instant,
        from: NodeId,
        whom: Accused,
        state: MemberState,
        addr: Option<core::net::SocketAddr>,
    ) {
        let elsewhere = addr.filter(|addr| *addr != self.me.addr);
        if whom.boot > self.me.boot {
            let addr = elsewhere.unwrap_or(self.me.addr);
            self.report(Conflict::Identity { node: whom.node, addr });
            return;
        }
        if whom.boot < self.me.boot || self.leaving.is_some() {
            return;
        }
        match state {
            MemberState::Left => self.report(Conflict::Gone { by: from }),
            MemberState::Suspect | MemberState::Dead => {
                if whom.incarnation >= self.me.incarnation {
                    self.counters.refuted += 1;
                    self.health = (self.health + 1).min(self.timing.health_most);
                    self.raise_incarnation(now, whom.incarnation);
                } else {
                    // It was refuted before; the word has not got everywhere.
                    self.spread(now, Update::Member(self.me.clone()));
                }
                let word = Update::Member(self.me.clone());
                self.tell(from, GossipBody::Delta, vec![word], true);
            }
            MemberState::Alive => {
                if whom.incarnation >= self.me.incarnation
                    && let Some(addr) = elsewhere
                {
                    self.report(Conflict::Identity { node: whom.node, addr });
                }
                if whom.incarnation > self.me.incarnation {
                    self.raise_incarnation(now, whom.incarnation);
                }
            }
        }
    }

    /// This node's own word gets newer than what was said of incarnation `heard`.
    pub(super) fn raise_incarnation(&mut self, now: Instant, heard: u64) {
        let raised = heard.max(self.me.incarnation) + 1;
        if raised > INCARNATION_MOST {
            self.report(Conflict::Exhausted);
            return;
        }
        self.table.toggle(self.own());
        self.me.incarnation = raised;
        self.table.toggle(self.own());
        self.spread(now, Update::Member(self.me.clone()));
    }

    /// A member is alive, its own word says.
    fn greet(&mut self, now: Instant, from: NodeId, member: Member) {
        let node = member.node;
        if let Some(tombstone) = self.table.tombstone(node) {
            if tombstone.proven || member.boot <= tombstone.boot {
                self.counters.drop_left += 1;
                return;
            }
            self.table.exhume(node);
        }
        let Some(known) = self.table.get(node) else {
            self.meet(now, from, member);
            return;
        };
        let (order, known_order) =
            ((member.boot, member.incarnation), (known.member.boot, known.member.incarnation));
        if order < known_order {
            return;
        }
        if order == known_order {
            if member.addr != known.member.addr {
                self.report(Conflict::Identity { node, addr: member.addr });
            }
            return;
        }
        let dead = !known.live();
        if dead && self.table.live() >= MEMBERS_MOST {
            self.counters.drop_full += 1;
            return;
        }
        let old = known.member.clone();
        self.calm(node);
        self.spread(now, Update::Member(member.clone()));
        self.table.change(now, node, &mut self.rng, |known| *known = member.clone());
        self.note_name(now, &member);
        let same = Member { incarnation: old.incarnation, ..member.clone() } == old;
        if old.state != MemberState::Alive || old.boot != member.boot {
            self.outputs.push_back(Output::Alive(member));
        } else if !same {
            self.outputs.push_back(Output::Changed(member));
        }
    }

    /// A member that was not known.
    fn meet(&mut self, now: Instant, from: NodeId, member: Member) {
        if self.table.live() >= MEMBERS_MOST {
            self.counters.drop_full += 1;
            return;
        }
        if member.addr.port() == 0 || member.addr.ip().is_unspecified() || member.addr.ip().is_multicast() {
            self.counters.drop_forged += 1;
            return;
        }
        self.table.insert(now, member.clone(), &mut self.rng);
        self.note_name(now, &member);
        // A newcomer hears of many that everybody else knows.
        if from == member.node || self.sync.settled(now) {
            self.spread(now, Update::Member(member.clone()));
        } else if !self.queue.is_empty() {
            self.start_gossip(now);
        }
        self.outputs.push_back(Output::Alive(member));
    }

    /// Ends a suspicion without a verdict.
    fn calm(&mut self, node: NodeId) {
        let suspicion = self.table.get_mut(node).and_then(|record| record.suspicion.take());
        if let Some(suspicion) = suspicion {
            self.timers.cancel(suspicion.next, Timer::Suspicion(node));
        }
    }

    /// `by` could not reach a member.
    pub(super) fn suspect(&mut self, now: Instant, whom: Accused, by: NodeId) {
        let node = whom.node;
        let Some(record) = self.table.get(node) else { return };
        let known = record.accused();
        let state = record.member.state;
        if whom.boot != known.boot || whom.incarnation < known.incarnation {
            return;
        }
        if whom.incarnation == known.incarnation && state == MemberState::Suspect {
            self.confirm(now, whom, by);
            return;
        }
        if whom.incarnation == known.incarnation && state >= MemberState::Dead {
            return;
        }
        if state == MemberState::Dead && self.table.live() >= MEMBERS_MOST {
            self.counters.drop_full += 1;
            return;
        }
        self.calm(node);
        self.table.change(now, node, &mut self.rng, |member| {
            member.incarnation = whom.incarnation;
            member.state = MemberState::Suspect;
        });
        let deadline = now + self.timing.suspicion_for(self.live(), 0);
        let first = self.hearing();
        let next = (now + self.share(first)).min(deadline);
        if let Some(record) = self.table.get_mut(node) {
            record.suspicion = Some(Suspicion { started: now, deadline, next, accusers: vec![by] });
            if state == MemberState::Dead {
                let member = Member { state: MemberState::Alive, ..record.member.clone() };
                self.outputs.push_back(Output::Alive(member));
            }
        }
        self.timers.set(next, Timer::Suspicion(node));
        self.counters.suspected += 1;
        self.spread(now, Update::Suspect { whom, by });
        if state != MemberState::Suspect {
            self.outputs.push_back(Output::Suspect(node));
        }
    }

    /// Another accuser shortens the suspicion, if it is a member.
    fn confirm(&mut self, now: Instant, whom: Accused, by: NodeId) {
        let nodes = self.live();
        let needed = self.timing.confirmations_among(nodes);
        if by != self.me.node && self.table.get(by).is_none_or(|record| !record.live()) {
            return;
        }
        let Some(record) = self.table.get_mut(whom.node) else { return };
        let Some(suspicion) = &mut record.suspicion else { return };
        if suspicion.accusers.len() > needed || suspicion.accusers.contains(&by) {
            return;
        }
        suspicion.accusers.push(by);
        let lasts = self.timing.suspicion_for(nodes, suspicion.accusers.len() - 1);
        let deadline = (suspicion.started + lasts).max(now);
        suspicion.deadline = deadline;
        let next = suspicion.next.min(deadline);
        let before = core::mem::replace(&mut suspicion.next, next);
        self.timers.cancel(before, Timer::Suspicion(whom.node));
        self.timers.set(next, Timer::Suspicion(whom.node));
        self.spread(now, Update::Suspect { whom, by });
    }

    pub(super) fn on_suspicion_due(&mut self, now: Instant, node: NodeId) {
        let every = self.hearing();
        let Some(record) = self.table.get_mut(node) else { return };
        let whom = record.accused();
        let Some(suspicion) = &mut record.suspicion else { return };
        if suspicion.deadline <= now {
            self.die(now, whom);
            return;
        }
        suspicion.next = (now + every).min(suspicion.deadline);
        self.timers.set(suspicion.next, Timer::Suspicion(node));
        let accusation = self.table.get(node).and_then(Self::accusation);
        self.tell(node, GossipBody::Delta, accusation.into_iter().collect(), true);
    }

    /// How often each that holds a suspicion tells the suspect, which so gets to refute wherever its word was lost:
    /// rarer in a large cluster, so that all together are no flood.
    fn hearing(&self) -> core::time::Duration {
        self.timing.period.mul_f64((self.live() as f64 / HEARINGS_MOST).max(1.0))
    }

    /// A member did not refute in time.
    pub(super) fn die(&mut self, now: Instant, whom: Accused) {
        let node = whom.node;
        let Some(record) = self.table.get(node) else { return };
        let known = record.accused();
        if whom.boot != known.boot || whom.incarnation < known.incarnation || !record.live() {
            return;
        }
        let flights = record.flights.clone();
        self.calm(node);
        self.drop_flights(flights);
        self.table.change(now, node, &mut self.rng, |member| {
            member.incarnation = whom.incarnation;
            member.state = MemberState::Dead;
        });
        self.counters.died += 1;
        self.spread(now, Update::Dead { whom });
        self.outputs.push_back(Output::Dead(node));
        self.if_alone(now);
    }

    /// A member's life is over for good.
    pub(super) fn end(&mut self, now: Instant, whom: Accused, proven: bool) {
        let node = whom.node;
        let known =
            self.table.get(node).map(|record| (record.accused(), record.live(), record.flights.clone()));
        if !proven && known.as_ref().is_some_and(|(known, ..)| whom.boot < known.boot) {
            return;
        }
        let before = self.table.tombstone(node);
        if before.is_some_and(|before| before.boot >= whom.boot && (before.proven || !proven)) {
            return;
        }
        let until = now + self.timing.tombstone;
        let tombstone = Tombstone { boot: whom.boot, incarnation: whom.incarnation, until, proven };
        let met = known.is_some();
        let live = known.as_ref().is_some_and(|(_, live, _)| *live);
        self.calm(node);
        self.drop_flights(known.map(|(.., flights)| flights).unwrap_or_default());
        self.table.bury(node, tombstone);
        // Who has not met it may be the one that decides about it, or the only one that hears its farewell. What is
        // proven of one that nobody met, the directory tells everybody.
        if met || !proven {
            self.spread(now, Update::Left { whom });
        }
        if live || !proven {
            self.outputs.push_back(Output::Left(node));
        }
        if met {
            self.if_alone(now);
        }
    }

    /// Watches two live members of one name.
    fn note_name(&mut self, now: Instant, member: &Member) {
        if member.name.is_empty() {
            return;
        }
        let other = if member.name == self.me.name { Some(self.me.node) } else { None };
        let other = other.or_else(|| self.table.twin(member));
        if let Some(other) = other {
            self.watch_names(now, other, member.node);
        }
    }

    fn watch_names(&mut self, now: Instant, one: NodeId, other: NodeId) {
        let pair = (one.min(other), one.max(other));
        if self.doubles.len() < DOUBLES_MOST && !self.doubles.iter().any(|(_, a, b)| (*a, *b) == pair) {
            let due = now + self.timing.name_hold;
            self.doubles.push_back((due, pair.0, pair.1));
            self.timers.set(due, Timer::Names);
        }
    }

    pub(super) fn look_at_names(&mut self, now: Instant) {
        while let Some((due, one, other)) = self.doubles.front().copied()
            && due <= now
        {
            self.doubles.pop_front();
            let bearer = |node| if node == self.me.node { Some(&self.me) } else { self.get(node) };
            let (Some(first), Some(second)) = (bearer(one), bearer(other)) else { continue };
            let worst = first.state.max(second.state);
            if first.name != second.name || worst > MemberState::Suspect {
                continue;
            }
            if worst == MemberState::Suspect {
                self.watch_names(now, one, other);
            } else {
                let name = first.name.clone();
                self.report(Conflict::Name { name, first: one, second: other });
            }
        }
    }
}
