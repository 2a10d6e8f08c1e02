//! Groups as the client knows them: who leads, the session, and what waits for it.

use std::collections::VecDeque;
use std::time::Duration;

use haystack_wire::Instant;
use haystack_wire::ids::{GroupId, NodeId, SessionId};

use super::Client;
use super::operation::Work;
use super::ops::{Key, Op, State};
use super::window::Window;
use crate::error::{Error, Wait};
use haystack_wire::message::client::Refusal;

/// How long the end of an idle session is tried: it is not worth more, as the session expires by itself.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// A group as the client knows it.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Who answered last as its leader, or is said to lead.
    pub(super) leader: Option<NodeId>,
    pub(super) session: Session,
    /// Writes that wait for a session or a place in its window, in the order of submission.
    pub(super) queue: VecDeque<Key>,
}

/// The session that writes are numbered in.
#[derive(Debug, Default)]
pub(super) enum Session {
    /// There is none.
    #[default]
    None,
    /// This operation opens one.
    Opening(Key),
    /// It is open.
    Open(Window),
}

impl Client {
    /// Numbers a write and sends it, or lets it wait for its turn.
    pub(super) fn enqueue(&mut self, now: Instant, key: Key, id: GroupId) {
        self.retire_idle(now, id);
        let group = self.groups.entry(id).or_default();
        if group.queue.is_empty()
            && let Some((session, seq)) = group.number(now)
            && let Some(op) = self.ops.get_mut(key)
        {
            op.session = Some((session, seq.seq));
            op.ack_below = seq.ack_below;
            return self.attempt(now, key);
        }
        let Some(op) = self.ops.get_mut(key) else { return };
        op.state = State::Queued;
        op.wake = op.deadline;
        self.wheel.arm(key.place, op.deadline);
        group.queue.push_back(key);
        self.pump(now, id);
    }

    /// Numbers and sends as many of a group's waiting writes as its session takes; opens one if there is none.
    pub(super) fn pump(&mut self, now: Instant, id: GroupId) {
        self.retire_idle(now, id);
        loop {
            let Some(group) = self.groups.get_mut(&id) else { return };
            let Some(key) = group.queue.front().copied() else { return };
            let Some((session, seq)) = group.number(now) else { break };
            group.queue.pop_front();
            if let Some(op) = self.ops.get_mut(key) {
                op.session = Some((session, seq.seq));
                op.ack_below = seq.ack_below;
                self.attempt(now, key);
            }
        }
        let Some(group) = self.groups.get_mut(&id) else { return };
        if matches!(&group.session, Session::Open(window) if window.is_stuck()) {
            group.session = Session::None;
            self.stats.sessions_stuck += 1;
        }
        if matches!(group.session, Session::None) {
            self.open(now, id);
        }
    }

    /// Numbers nothing more in a session that has been idle for so long that it may expire.
    fn retire_idle(&mut self, now: Instant, id: GroupId) {
        let idle = self.config.timeouts.session_idle;
        let group = self.groups.get(&id);
        if group.is_some_and(|group| matches!(&group.session, Session::Open(open) if now - open.used > idle))
        {
            self.end_session(now, id, now + CLOSE_PATIENCE);
        }
    }

    /// Gives up a group's open session. The group is told if nobody can ask for a reply of it any more.
    pub(super) fn end_session(&mut self, now: Instant, id: GroupId, deadline: Instant) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let is_answered = group.is_answered();
        let Session::Open(window) = core::mem::take(&mut group.session) else { return };
        if !is_answered {
            return;
        }
        self.stats.sessions_closed += 1;
        self.closing += 1;
        let mut op = Op::new(Work::Close, deadline, id);
        op.session = Some((window.id, window.ack_below()));
        let key = self.ops.insert(op);
        self.attempt(now, key);
    }

    /// Opens a session of a group, at its leisure: it ends when nothing waits for it any more.
    fn open(&mut self, now: Instant, id: GroupId) {
        let key = self.ops.insert(Op::new(Work::Open, Instant::from_nanos(u64::MAX), id));
        if let Some(group) = self.groups.get_mut(&id) {
            group.session = Session::Opening(key);
        }
        self.attempt(now, key);
    }

    /// A session was opened by the client's own operation.
    pub(super) fn on_opened(&mut self, now: Instant, key: Key, session: SessionId) {
        let Some(op) = self.discard(key) else { return };
        let Some(group) = self.groups.get_mut(&op.group) else { return };
        if matches!(group.session, Session::Opening(open) if open == key) {
            group.session = Session::Open(Window::new(session, now));
            self.stats.sessions += 1;
            self.pump(now, op.group);
        }
    }

    /// A group will not open a session: nothing that waits for one was ever sent.
    pub(super) fn on_open_refused(&mut self, now: Instant, key: Key, refusal: &Refusal) {
        let Some(op) = self.discard(key) else { return };
        let Some(group) = self.groups.get_mut(&op.group) else { return };
        group.session = Session::None;
        for waiting in core::mem::take(&mut group.queue) {
            self.complete(now, waiting, Err(Error::Refused(refusal.clone())));
        }
    }

    /// Whether an operation that opens a session is still of use; if not, it ends.
    pub(super) fn is_open_wanted(&mut self, key: Key) -> bool {
        let Some(op) = self.ops.get(key).filter(|op| matches!(op.work, Work::Open)) else { return true };
        match self.groups.get_mut(&op.group) {
            Some(group) if !group.queue.is_empty() => true,
            Some(group) => {
                group.session = Session::None;
                self.discard(key);
                false
            }
            None => {
                self.discard(key);
                false
            }
        }
    }

    /// A session is gone: later writes use another.
    pub(super) fn drop_session(&mut self, session: SessionId) {
        if let Some(group) = self.groups.get_mut(&session.group)
            && matches!(&group.session, Session::Open(window) if window.id == session)
        {
            group.session = Session::None;
        }
    }

    /// The window of a session, if writes are still numbered in it.
    pub(super) fn window(&mut self, session: SessionId) -> Option<&mut Window> {
        match &mut self.groups.get_mut(&session.group)?.session {
            Session::Open(window) if window.id == session => Some(window),
            _ => None,
        }
    }

    /// What a queued write waits for, and why its session is not open yet if a daemon said so.
    pub(super) fn queued_for(&self, id: GroupId) -> (Wait, Option<Refusal>) {
        match self.groups.get(&id).map(|group| &group.session) {
            Some(Session::Open(_)) => (Wait::Window(id), None),
            Some(Session::Opening(key)) => {
                let op = self.ops.get(*key);
                let wait = match op.map(|op| op.state) {
                    Some(State::Parked(wait)) => wait,
                    _ => Wait::Session(id),
                };
                (wait, op.and_then(|op| op.refusal.clone()))
            }
            Some(Session::None) | None => (Wait::Session(id), None),
        }
    }
}

/// A place in a session.
struct Place {
    seq: u64,
    ack_below: u64,
}

impl Group {
    /// Whether a session is open and every operation of it has its answer.
    pub(super) fn is_answered(&self) -> bool {
        matches!(&self.session, Session::Open(window) if window.is_answered())
    }

    /// Gives out the next number of the open session.
    fn number(&mut self, now: Instant) -> Option<(SessionId, Place)> {
        let Session::Open(window) = &mut self.session else { return None };
        let seq = window.number(now)?;
        Some((window.id, Place { seq, ack_below: window.ack_below() }))
    }
}
