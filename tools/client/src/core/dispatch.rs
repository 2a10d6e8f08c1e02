//! The way of an operation out: which group, which daemon, which bytes, and when again.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use haystack_wire::Instant;
use haystack_wire::codec::{Encode, encode_whole};
use haystack_wire::frame::Class;
use haystack_wire::ids::{GroupId, HistoryId};
use haystack_wire::link::{LinkId, SendError};
use haystack_wire::message::ClientMessage;
use haystack_wire::message::client::{Command, Refusal, Request, RequestBody};
use haystack_wire::slot::slot_of;

use super::operation::{AdminTarget, Operation, Work};
use super::ops::{Key, State};
use super::servers::Suited;
use super::{Answer, Client, Completion};
use crate::error::{Error, Usage, Wait};

/// Size of the pieces of memory that messages are written into: 64 KiB.
const ARENA_CHUNK: usize = 64 * 1024;
/// Messages from this size on have memory of their own, so that they do not keep a whole piece: 16 KiB.
const ARENA_MESSAGE: usize = 16 * 1024;

/// The bytes of a value, in the arena if they are few.
pub(super) fn pack<T: Encode>(arena: &mut BytesMut, value: &T) -> Bytes {
    let len = value.encoded_len();
    if len >= ARENA_MESSAGE {
        return encode_whole(value);
    }
    if arena.capacity() < len {
        // Takes the same memory again if no message in it is under way.
        arena.reserve(ARENA_CHUNK);
    }
    value.encode(arena);
    arena.split().freeze()
}

/// What leaves a queue early mostly stands at its front: deadlines are mostly in the order of submission.
fn unlist_from(queue: &mut VecDeque<Key>, key: Key) {
    if let Some(at) = queue.iter().position(|other| *other == key) {
        queue.remove(at);
    }
}

/// So many times an operation is sent elsewhere without waiting longer each time: daemons that pass requests on to a
/// dead leader say nothing either, and with 250 ms each this covers an election (CONSENSUS: four timeouts of 200 ms).
const EAGER_RETRIES: u32 = 4;

impl Client {
    /// Looks for an operation's way: its group, its session, its daemon.
    pub(super) fn route(&mut self, now: Instant, key: Key) {
        let Some(op) = self.ops.get_mut(key) else { return };
        if matches!(op.work, Work::Admin { .. }) {
            return self.attempt(now, key);
        }
        let Some(map) = &self.map else { return self.park(now, key) };
        let group = match op.work.key() {
            Some(name) => map.group_of(slot_of(name)),
            None => Some(op.scanned().unwrap_or(op.group)),
        };
        let served =
            group.filter(|group| op.scanned().is_none() || map.partitions.iter().any(|p| p.group == *group));
        // A valid map covers all slots, so that only a scan may name a group that it has not.
        let Some(group) = served else {
            let error =
                op.scanned().map_or(Error::Unreachable(Wait::Map), |group| Usage::NoPartition(group).into());
            return self.complete(now, key, Err(error));
        };
        op.group = group;
        if op.work.needs_session() && op.session.is_none() {
            self.enqueue(now, key, group);
        } else {
            self.attempt(now, key);
        }
    }

    /// Looks for a way again, from whatever state.
    pub(super) fn route_again(&mut self, now: Instant, key: Key) {
        if !self.is_open_wanted(key) {
            return;
        }
        let Some(op) = self.ops.get_mut(key) else { return };
        let state = core::mem::replace(&mut op.state, State::Idle);
        let group = op.group;
        self.unlist(key, state, group);
        self.route(now, key);
    }

    /// Looks for a way again for operations that were taken out of a queue.
    pub(super) fn route_taken(&mut self, now: Instant, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            if let Some(op) = self.ops.get_mut(key) {
                op.state = State::Idle;
                self.route_again(now, key);
            }
        }
    }

    /// Takes an operation out of the queue that its state names.
    fn unlist(&mut self, key: Key, state: State, group: GroupId) {
        match state {
            State::Parked(_) => unlist_from(&mut self.parked, key),
            State::Queued => {
                if let Some(group) = self.groups.get_mut(&group) {
                    unlist_from(&mut group.queue, key);
                }
            }
            State::Blocked(link) => {
                if let Some(server) = self.servers.get_mut(&link) {
                    unlist_from(&mut server.blocked, key);
                }
            }
            State::Idle | State::Sent(_) | State::Resting => {}
        }
    }

    /// Sends an operation to the daemon that suits best.
    pub(super) fn attempt(&mut self, now: Instant, key: Key) {
        self.acknowledge_more(key);
        let Some(link) = self.choose(now, key) else { return self.park(now, key) };
        let retry = self.retry_time(link, key);
        let Some(op) = self.ops.get_mut(key) else { return };
        op.retry = retry;
        op.wake = now + retry;
        self.wheel.arm(key.place, op.wake.min(op.deadline));
        let is_blocked = self.servers.get(&link).is_some_and(|server| !server.blocked.is_empty());
        let sent = if is_blocked { Err(SendError::WouldBlock) } else { self.transmit(now, link, key) };
        let Some(op) = self.ops.get_mut(key) else { return };
        match sent {
            Ok(()) => {
                op.begin_attempt();
                op.state = State::Sent(now);
                op.link = Some(link);
                self.stats.attempts += 1;
            }
            Err(SendError::WouldBlock) => {
                op.state = State::Blocked(link);
                self.stats.blocked += 1;
                if let Some(server) = self.servers.get_mut(&link) {
                    server.blocked.push_back(key);
                }
            }
            // The link ends and its event is on the way, which routes everything on it again.
            Err(SendError::Gone) => self.rest(now, key),
            Err(SendError::TooLong) => {
                let limit = self.message_bytes as u64;
                self.complete(now, key, Err(Error::Refused(Refusal::TooLarge { limit })));
            }
        }
    }

    /// Lets a write that is sent again acknowledge what was answered in the meantime: it may have been refused for what
    /// its session's replies hold.
    fn acknowledge_more(&mut self, key: Key) {
        let Some(session) = self.ops.get(key).and_then(|op| op.session) else { return };
        let Some(ack_below) = self.window(session.0).map(|window| window.ack_below()) else { return };
        if let Some(op) = self.ops.get_mut(key) {
            op.ack_below = op.ack_below.max(ack_below);
        }
    }

    fn transmit(&mut self, now: Instant, link: LinkId, key: Key) -> Result<(), SendError> {
        let Some(op) = self.ops.get(key) else { return Ok(()) };
        let id = key.mark(op.attempts);
        let history = self.map.as_ref().map_or(HistoryId(0), |map| map.history);
        let arena = &mut self.arena;
        let body = match &op.work {
            Work::User(Operation::Get { key, stale }) => RequestBody::Get { key: key.clone(), stale: *stale },
            Work::User(Operation::Scan { after, limit, .. }) => {
                RequestBody::Scan { after: after.clone(), limit: *limit }
            }
            Work::User(Operation::Write(write)) => {
                let Some((session, seq)) = op.session else { return Ok(()) };
                let command = Command::Write { session, seq, ack_below: op.ack_below, write: write.clone() };
                RequestBody::Command(pack(arena, &command))
            }
            Work::User(Operation::Resolve(ticket)) => {
                let (session, seq, key) = (ticket.session, ticket.seq, ticket.key.clone());
                RequestBody::Command(pack(arena, &Command::Resolve { session, seq, key }))
            }
            Work::Open => RequestBody::Command(pack(arena, &Command::OpenSession)),
            Work::Close => {
                let Some((session, ack_below)) = op.session else { return Ok(()) };
                RequestBody::Command(pack(arena, &Command::CloseSession { session, ack_below }))
            }
            Work::Admin { request, .. } => {
                let message = ClientMessage::Admin { id, request: request.clone() };
                let message = pack(arena, &message);
                return self.endpoint.send(now, link, Class::Client, message);
            }
        };
        let message = ClientMessage::Request(Request { id, group: op.group, history, body });
        let message = pack(arena, &message);
        self.endpoint.send(now, link, Class::Client, message)
    }

    /// How long the next attempt waits for its answer: what answers take, at least the configured time, and twice as
    /// long each time that nothing came.
    fn retry_time(&self, link: LinkId, key: Key) -> Duration {
        let timeouts = &self.config.timeouts;
        let round_trip = self.endpoint.remote(link).map_or(Duration::ZERO, |remote| remote.srtt * 4);
        let usual = self.answer_time.bound().max(round_trip).clamp(timeouts.retry, timeouts.retry_most);
        match self.ops.get(key) {
            Some(op) if op.attempts > 0 => op.retry.max(usual),
            _ => usual,
        }
    }

    /// The link to send an operation on.
    fn choose(&mut self, now: Instant, key: Key) -> Option<LinkId> {
        let op = self.ops.get(key)?;
        let (turns, id) = (op.turns as usize, op.group);
        if let Work::Admin { target, .. } = op.work {
            return self.choose_for_admin(now, target, turns);
        }
        let leader = self.groups.get(&id).and_then(|group| group.leader);
        let is_stale = matches!(op.work, Work::User(Operation::Get { stale: true, .. }));
        if turns == 0
            && !is_stale
            && let Some(link) = leader.and_then(|leader| self.endpoint.link_to(leader))
            && self.suited(link) == Suited::Well
        {
            return Some(link);
        }
        if let Some(leader) = leader {
            self.dial(now, leader);
        }
        self.list_candidates(id, leader);
        let first = if is_stale { turns + key.place as usize } else { turns };
        let well = self.pick(Suited::Well, first);
        well.or_else(|| self.pick(Suited::Poorly, first))
    }

    /// Lists the links that could serve a group, best first: the leader, the replicas, the others.
    fn list_candidates(&mut self, id: GroupId, leader: Option<haystack_wire::ids::NodeId>) {
        let mut list = core::mem::take(&mut self.scratch);
        list.clear();
        let replicas = self
            .map
            .iter()
            .flat_map(|map| map.partitions.iter().filter(|partition| partition.group == id))
            .flat_map(|partition| partition.replicas.iter().copied());
        for node in leader.into_iter().chain(replicas) {
            if let Some(link) = self.endpoint.link_to(node)
                && !list.contains(&link)
            {
                list.push(link);
            }
        }
        for link in self.servers.keys() {
            if !list.contains(link) {
                list.push(*link);
            }
        }
        self.scratch = list;
    }

    /// The candidate number `turn`, counted around, of those that are suited like this.
    fn pick(&self, suited: Suited, turn: usize) -> Option<LinkId> {
        let fitting = || self.scratch.iter().copied().filter(|link| self.suited(*link) == suited);
        let count = fitting().count();
        fitting().nth(turn.checked_rem(count)?)
    }

    fn choose_for_admin(&mut self, now: Instant, target: AdminTarget, turns: usize) -> Option<LinkId> {
        let attached = self.servers.iter().filter(|(_, server)| !server.detached);
        match target {
            AdminTarget::Any => {
                self.list_candidates(GroupId::DIRECTORY, None);
                let well = self.pick(Suited::Well, turns);
                let any = || {
                    let count = self.servers.values().filter(|server| !server.detached).count();
                    let mut attached = self.servers.iter().filter(|(_, server)| !server.detached);
                    attached.nth(turns.checked_rem(count)?).map(|(link, _)| *link)
                };
                well.or_else(any)
            }
            AdminTarget::Node(node) => {
                let found =
                    attached.filter(|(_, server)| server.node == node).map(|(link, _)| *link).next_back();
                if found.is_none() {
                    self.dial(now, node);
                }
                found
            }
            AdminTarget::Address(addr) => {
                let found =
                    attached.filter(|(_, server)| server.addr == addr).map(|(link, _)| *link).next_back();
                if found.is_none() && !self.config.addresses.contains(&addr) {
                    self.config.addresses.push(addr);
                    self.endpoint.connect(now, addr);
                }
                found
            }
        }
    }

    /// Lets an operation wait for a daemon or a map.
    pub(super) fn park(&mut self, now: Instant, key: Key) {
        let missing = self.missing();
        if missing == Wait::Connection {
            for addr in &self.config.addresses {
                self.endpoint.connect(now, *addr);
            }
        }
        let Some(op) = self.ops.get_mut(key) else { return };
        op.state = State::Parked(missing);
        op.wake = op.deadline;
        self.wheel.arm(key.place, op.deadline);
        self.parked.push_back(key);
    }

    /// Lets an operation rest after a refusal that may pass: about twice as long each time, and not all at once.
    pub(super) fn rest(&mut self, now: Instant, key: Key) {
        let timeouts = &self.config.timeouts;
        let Some(op) = self.ops.get_mut(key) else { return };
        op.backoff = (op.backoff * 2).clamp(timeouts.backoff, timeouts.backoff_most);
        let half = (op.backoff / 2).as_nanos() as u64;
        let rest = Duration::from_nanos(half + self.rng.below(half.max(1)));
        op.state = State::Resting;
        op.jumps = 0;
        op.wake = now + rest;
        self.wheel.arm(key.place, op.wake.min(op.deadline));
    }

    /// An attempt has no answer in time.
    pub(super) fn on_silence(&mut self, now: Instant, key: Key, since: Instant) {
        let most = self.config.timeouts.retry_most.max(self.answer_time.bound());
        let Some(op) = self.ops.get_mut(key) else { return };
        let link = op.link;
        if !op.work.may_repeat() {
            op.wake = op.deadline;
            return self.wheel.arm(key.place, op.deadline);
        }
        op.turns = op.turns.wrapping_add(1);
        op.silences += 1;
        if op.silences > EAGER_RETRIES {
            op.retry = (op.retry * 2).min(most);
        }
        self.stats.retries += 1;
        if let Some(link) = link {
            self.suspect(link, since);
        }
        self.route_again(now, key);
    }

    /// A link takes no more bytes for too long.
    pub(super) fn on_blocked_too_long(&mut self, now: Instant, key: Key) {
        if let Some(op) = self.ops.get_mut(key) {
            op.turns = op.turns.wrapping_add(1);
        }
        self.route_again(now, key);
    }

    /// An operation's deadline has come.
    pub(super) fn expire(&mut self, now: Instant, key: Key) {
        let Some(op) = self.ops.get(key) else { return };
        let (wait, mut refusal) = match op.state {
            State::Parked(wait) => (wait, None),
            State::Queued => self.queued_for(op.group),
            State::Blocked(_) => (Wait::Link, None),
            State::Idle => (Wait::Nothing, None),
            _ if matches!(op.work, Work::Admin { .. }) => (Wait::Daemon, None),
            State::Sent(_) | State::Resting => (Wait::Answer(op.group), None),
        };
        refusal = op.refusal.clone().or(refusal);
        let error = match (op.session, op.may_be_appended(), refusal) {
            (Some(_), true, _) => match op.ticket() {
                Some(ticket) => Error::Unknown(ticket),
                None => Error::Timeout(wait),
            },
            (_, false, Some(refusal)) => Error::Refused(refusal),
            (_, false, None) => Error::Unreachable(wait),
            (None, true, _) => Error::Timeout(wait),
        };
        self.complete(now, key, Err(error));
    }

    /// Ends an operation and hands it back.
    pub(super) fn complete(&mut self, now: Instant, key: Key, outcome: Result<Answer, Error>) {
        let Some(op) = self.discard(key) else { return };
        self.unlist(key, op.state, op.group);
        if matches!(op.work, Work::Close) {
            // Nobody waits for it, and if it came to nothing, the session expires.
            self.closing -= 1;
            return;
        }
        if let Some((session, seq)) = op.session {
            let is_unknown = matches!(outcome, Err(Error::Unknown(_)));
            self.stats.unknown += u64::from(is_unknown);
            if let Some(window) = self.window(session) {
                // Whoever holds the ticket may still ask for the reply.
                if is_unknown { window.hold(seq) } else { window.finish(seq) }
            }
        }
        if let Work::User(Operation::Resolve(ticket)) = &op.work
            && outcome.is_ok()
            && let Some(window) = self.window(ticket.session)
        {
            window.finish(ticket.seq);
        }
        self.held_bytes -= op.bytes;
        self.completions.push_back(Completion {
            op: key.id(),
            outcome,
            attempts: op.attempts,
            group: op.group,
            session: op.session,
        });
        if let Some((session, _)) = op.session {
            self.pump(now, session.group);
        }
    }

    /// Ends an operation without a word: the client's own, or one that is handed back next.
    pub(super) fn discard(&mut self, key: Key) -> Option<super::Op> {
        self.wheel.disarm(key.place);
        self.ops.remove(key)
    }
}
