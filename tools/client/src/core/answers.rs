//! The way back: what daemons answer, and what that says about an operation.

use haystack_wire::Instant;
use haystack_wire::ids::{Epoch, HistoryId, Version};
use haystack_wire::link::LinkId;
use haystack_wire::message::admin::AdminReply;
use haystack_wire::message::client::{Outcome, Refusal, Reply, RouteHint};

use super::operation::{Operation, Work};
use super::ops::{Key, State};
use super::servers::Suited;
use super::{Answer, Client};
use crate::error::Error;

/// Attempts that may follow a refusal at once, without a rest: enough to find a leader by hints, too few to keep two
/// daemons busy that point at each other.
const JUMPS: u32 = 3;

impl Client {
    pub(super) fn on_reply(&mut self, now: Instant, link: LinkId, reply: Reply) {
        let (key, attempt) = Key::of_mark(reply.id);
        if let Some(hint) = reply.hint {
            self.note_hint(now, link, hint);
        }
        let Some(op) = self.ops.get_mut(key) else {
            self.stats.late += 1;
            return;
        };
        if let Outcome::Refused(refusal) = reply.outcome {
            // The first answer to an attempt is the only one that says what became of it.
            if op.end_attempt(attempt) {
                self.on_refused(now, link, key, attempt, refusal);
            } else {
                self.stats.late += 1;
            }
            return;
        }
        if reply.hint.is_none() && !matches!(reply.outcome, Outcome::Stale { .. }) {
            self.note_leader(link, key);
        }
        self.sample(now, key);
        self.on_outcome(now, key, attempt, reply.outcome);
    }

    fn on_outcome(&mut self, now: Instant, key: Key, attempt: u32, outcome: Outcome) {
        let Some(op) = self.ops.get_mut(key) else { return };
        let group = op.group;
        let answer = match (&op.work, outcome) {
            (Work::Open, Outcome::Opened { session }) => return self.on_opened(now, key, session),
            (Work::Close, Outcome::SessionExpired) => Ok(Answer::Expired),
            (Work::User(Operation::Write(_) | Operation::Resolve(_)), Outcome::Applied { at, effect }) => {
                Ok(Answer::Applied { at: Version { group, index: at }, effect })
            }
            (Work::User(Operation::Resolve(_)), Outcome::NeverApplies) => Ok(Answer::NeverApplies),
            (Work::User(Operation::Write(_)), Outcome::NeverApplies) => Err(Error::NeverApplied),
            (Work::User(Operation::Resolve(ticket)), Outcome::SessionExpired) => {
                let session = ticket.session;
                self.drop_session(session);
                Ok(Answer::Expired)
            }
            (Work::User(Operation::Write(_)), Outcome::SessionExpired) => {
                op.end_attempt(attempt);
                return self.on_session_expired(now, key);
            }
            (Work::User(Operation::Get { .. }), Outcome::Read { at, found }) => {
                Ok(Answer::Read { at, found })
            }
            (Work::User(Operation::Get { stale: true, .. }), Outcome::Stale { view, at, age_ms, found }) => {
                Ok(Answer::Stale { view, at, age_ms, found })
            }
            (Work::User(Operation::Scan { .. }), Outcome::Page { at, pairs, more }) => {
                Ok(Answer::Page { at, pairs, more })
            }
            // No answer to what was asked. The attempt stays open, the next one may do better.
            _ => {
                self.stats.malformed += 1;
                return;
            }
        };
        self.complete(now, key, answer);
    }

    pub(super) fn on_admin(&mut self, now: Instant, id: u64, reply: AdminReply) {
        let (key, _) = Key::of_mark(id);
        match self.ops.get(key) {
            Some(op) if matches!(op.work, Work::Admin { .. }) => {
                self.complete(now, key, Ok(Answer::Admin(Box::new(reply))));
            }
            _ => self.stats.late += 1,
        }
    }

    /// The session is gone. The attempt that was told so was not applied; others may have been.
    fn on_session_expired(&mut self, now: Instant, key: Key) {
        let Some(op) = self.ops.get(key) else { return };
        let maybe_applied = op.may_be_appended();
        let (Some(ticket), Some((session, _))) = (op.ticket(), op.session) else { return };
        self.stats.sessions_expired += 1;
        self.drop_session(session);
        self.complete(now, key, Err(Error::SessionExpired { ticket, maybe_applied }));
    }

    fn on_refused(&mut self, now: Instant, link: LinkId, key: Key, attempt: u32, refusal: Refusal) {
        let Some(op) = self.ops.get_mut(key) else { return };
        op.refusal = Some(refusal.clone());
        // What an earlier attempt met says nothing about the one under way.
        let is_current = op.is_last(attempt) && matches!(op.state, State::Sent(_));
        if !is_current {
            return;
        }
        self.stats.refusals += 1;
        match refusal {
            Refusal::NotLeader => self.on_not_leader(now, link, key),
            Refusal::WrongGroup { epoch, .. } => {
                self.note_epoch(now, link, epoch);
                self.on_wrong_group(now, key, refusal);
            }
            Refusal::NotReady => {
                op.turns = op.turns.wrapping_add(1);
                self.jump_or_rest(now, key);
            }
            Refusal::Overloaded => self.rest(now, key),
            Refusal::HistoryForked { history } => self.on_forked(now, link, key, history),
            Refusal::OutOfWindow => {
                // Cannot be, as windows are kept here; if it is, a new session is the cure.
                if let Some((session, _)) = op.session {
                    self.drop_session(session);
                }
                self.end_refused(now, key, refusal);
            }
            Refusal::Full | Refusal::TooLarge { .. } | Refusal::Forbidden | Refusal::Malformed => {
                self.end_refused(now, key, refusal);
            }
        }
    }

    fn on_not_leader(&mut self, now: Instant, link: LinkId, key: Key) {
        let Some(op) = self.ops.get(key) else { return };
        let asked = self.servers.get(&link).map(|server| server.node);
        let group = self.groups.entry(op.group).or_default();
        if group.leader == asked {
            group.leader = None;
        }
        let named = group.leader.and_then(|leader| self.endpoint.link_to(leader));
        let is_near = named.is_some_and(|link| self.suited(link) == Suited::Well);
        let Some(op) = self.ops.get_mut(key) else { return };
        if is_near {
            op.turns = 0;
            self.jump_or_rest(now, key);
        } else {
            // Nobody leads, or it cannot be reached from here: another daemon may know better, or pass it on.
            op.turns = op.turns.wrapping_add(1);
            self.rest(now, key);
        }
    }

    fn on_wrong_group(&mut self, now: Instant, key: Key, refusal: Refusal) {
        let Some(op) = self.ops.get(key) else { return };
        if op.scanned().is_some() && !op.may_be_appended() {
            return self.end_refused(now, key, refusal);
        }
        // The newer map is on its way; if it was here before the refusal, the operation can go at once.
        let here = op.work.key().map(|name| haystack_wire::slot::slot_of(name));
        let served = here.and_then(|slot| self.map.as_ref()?.group_of(slot));
        if served.is_some_and(|group| group != op.group) {
            self.jump_or_rest(now, key);
        } else {
            self.rest(now, key);
        }
    }

    fn on_forked(&mut self, now: Instant, link: LinkId, key: Key, history: HistoryId) {
        self.ask_above(now, link, Epoch(0));
        let is_newer = self.map.as_ref().is_none_or(|map| map.history < history);
        let Some(op) = self.ops.get(key) else { return };
        if is_newer && let Some((session, _)) = op.session {
            self.drop_session(session);
            self.fail_forked(now, key, history);
        } else if is_newer && op.is_resolve() {
            self.fail_forked(now, key, history);
        } else {
            self.rest(now, key);
        }
    }

    /// Goes on at once, a few times; then with a rest.
    fn jump_or_rest(&mut self, now: Instant, key: Key) {
        let Some(op) = self.ops.get_mut(key) else { return };
        if op.jumps < JUMPS {
            op.jumps += 1;
            self.route_again(now, key);
        } else {
            self.rest(now, key);
        }
    }

    /// A refusal that trying again does not cure: it is final if nothing can have been appended by any attempt.
    fn end_refused(&mut self, now: Instant, key: Key, refusal: Refusal) {
        let Some(op) = self.ops.get(key) else { return };
        match op.work {
            _ if op.may_be_appended() => self.rest(now, key),
            Work::Open => self.on_open_refused(now, key, &refusal),
            Work::User(_) | Work::Admin { .. } | Work::Close => {
                self.complete(now, key, Err(Error::Refused(refusal)))
            }
        }
    }

    fn note_hint(&mut self, now: Instant, link: LinkId, hint: RouteHint) {
        self.note_epoch(now, link, hint.epoch);
        // A hint about a group that the map does not name would grow the table for nothing.
        let is_known =
            self.map.as_ref().is_some_and(|map| map.partitions.iter().any(|p| p.group == hint.group));
        if let Some(leader) = hint.leader.filter(|_| is_known) {
            self.groups.entry(hint.group).or_default().leader = Some(leader);
            self.dial(now, leader);
        }
    }

    /// Who answers without a hint leads.
    fn note_leader(&mut self, link: LinkId, key: Key) {
        let Some(op) = self.ops.get_mut(key) else { return };
        op.turns = 0;
        if let Some(server) = self.servers.get(&link) {
            self.groups.entry(op.group).or_default().leader = Some(server.node);
        }
    }

    /// Notes how long an answer took, if it is clear which attempt it answers.
    fn sample(&mut self, now: Instant, key: Key) {
        if let Some(op) = self.ops.get(key)
            && op.attempts == 1
            && let State::Sent(since) = op.state
        {
            self.answer_time.sample(now - since);
        }
    }
}
