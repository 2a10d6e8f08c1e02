//! Requests at a replica: admitted, proposed, read, refused, answered.

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::keys::Rights;
use haystack_wire::message::broadcast::{Entry, EntryKind};
use haystack_wire::message::client::{Outcome, Refusal, Reply, Request, RequestBody};

use super::machine::Machine;
use super::reads::{self, Read};
use super::{Group, Handled, Origin, Out, Sink, Waiting};
use crate::broadcast::{ProposeError, Role};
use crate::mutation::mutated;
use crate::store::Admitted;

impl Group {
    /// A request. The caller forwards what this replica does not lead.
    pub fn on_request(
        &mut self,
        now: Instant,
        origin: Origin,
        rights: Rights,
        request: &Request,
        sink: &mut Sink,
    ) -> Handled {
        let id = request.id;
        if request.history != self.history {
            return self.refuse(origin, id, Refusal::HistoryForked { history: self.history }, sink);
        }
        let allowed = match &request.body {
            RequestBody::Command(_) => rights.write,
            RequestBody::Get { .. } | RequestBody::Scan { .. } => rights.read,
        };
        if !allowed {
            return self.refuse(origin, id, Refusal::Forbidden, sink);
        }
        let Machine::Data(store) = &self.machine else {
            return self.refuse(origin, id, Refusal::Malformed, sink);
        };
        if let RequestBody::Get { key, stale: true } = &request.body {
            if let Err(refusal) = store.owned_slot(key) {
                return self.refuse(origin, id, self.with_epoch(refusal), sink);
            }
            let outcome = Outcome::Stale {
                view: self.view,
                at: self.broadcast.applied(),
                age_ms: now.saturating_since(self.leader_heard).as_millis() as u64,
                found: store.get(key),
            };
            self.reply(origin, id, outcome, sink);
            return Handled::Taken;
        }
        match self.broadcast.role() {
            Role::Follower { .. } => return Handled::NotLeader(self.leader_elsewhere()),
            Role::Leader { ready: false, .. } => return self.refuse(origin, id, Refusal::NotReady, sink),
            Role::Leader { ready: true, .. } => {}
        }
        match &request.body {
            RequestBody::Command(command) => self.on_command(now, origin, id, command.clone(), sink),
            RequestBody::Get { key, .. } => self.on_read(origin, id, reads::What::Get(key.clone()), sink),
            RequestBody::Scan { after, limit } => {
                self.on_read(origin, id, reads::What::Scan { after: after.clone(), limit: *limit }, sink)
            }
        }
    }

    fn on_command(
        &mut self,
        now: Instant,
        origin: Origin,
        id: u64,
        command: Bytes,
        sink: &mut Sink,
    ) -> Handled {
        let Machine::Data(store) = &self.machine else {
            return self.refuse(origin, id, Refusal::Malformed, sink);
        };
        let admission = match store.admit(&command, &self.pending) {
            Ok(Admitted::Append(admission)) => admission,
            Ok(Admitted::Answer(outcome)) => {
                self.reply(origin, id, outcome, sink);
                return Handled::Taken;
            }
            Err(refusal) => return self.refuse(origin, id, self.with_epoch(refusal), sink),
        };
        match self.broadcast.propose(Entry { kind: EntryKind::Command, body: command }) {
            Ok(index) => {
                if let Some(session) = admission.session {
                    self.activity.note(now, session);
                }
                self.pending.add(&admission);
                self.waiting.push_back(Waiting { index, origin, id, admission });
                Handled::Taken
            }
            Err(ProposeError::Overloaded) => self.refuse(origin, id, Refusal::Overloaded, sink),
            Err(ProposeError::NotLeader | ProposeError::Stopped) => {
                self.refuse(origin, id, Refusal::NotReady, sink)
            }
        }
    }

    fn on_read(&mut self, origin: Origin, id: u64, what: reads::What, sink: &mut Sink) -> Handled {
        let read = Read { origin, id, what };
        if mutated!(self, ReadUnconfirmed) {
            self.serve(reads::Asked { at: self.broadcast.applied(), reads: [read].into() }, sink);
            return Handled::Taken;
        }
        match self.reads.push(read, mutated!(self, ReadNonceReused)) {
            Ok(()) => Handled::Taken,
            Err(_) => self.refuse(origin, id, Refusal::Overloaded, sink),
        }
    }

    /// The state machine knows its slots, but not the map.
    fn with_epoch(&self, refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::WrongGroup { slot, .. } => Refusal::WrongGroup { slot, epoch: self.epoch },
            refusal => refusal,
        }
    }

    pub(super) fn refuse(&self, origin: Origin, id: u64, refusal: Refusal, sink: &mut Sink) -> Handled {
        self.reply(origin, id, Outcome::Refused(refusal), sink);
        Handled::Taken
    }

    pub(super) fn reply(&self, origin: Origin, id: u64, outcome: Outcome, sink: &mut Sink) {
        // Only a forwarded request needs to learn the way.
        let hint = origin.token.map(|_| self.hint());
        sink.push_back(Out::Reply { origin, reply: Reply { id, hint, outcome } });
    }

    /// Serves reads whose round proved that this leader was the leader after they arrived.
    pub(super) fn serve(&mut self, asked: reads::Asked, sink: &mut Sink) {
        assert!(self.broadcast.applied() >= asked.at, "a decided prefix is applied at once");
        let at = self.broadcast.applied();
        let Machine::Data(store) = &self.machine else { return };
        let mut outcomes = Vec::with_capacity(asked.reads.len());
        for read in asked.reads {
            let outcome = match read.what {
                // A key of another group is not absent: it is not ours to say.
                reads::What::Get(key) => match store.owned_slot(&key) {
                    Ok(_) => Outcome::Read { at, found: store.get(&key) },
                    Err(refusal) => Outcome::Refused(self.with_epoch(refusal)),
                },
                reads::What::Scan { after, limit } => {
                    let (pairs, more) = store.scan(after.as_deref(), limit as usize);
                    Outcome::Page { at, pairs, more }
                }
            };
            outcomes.push((read.origin, read.id, outcome));
        }
        for (origin, id, outcome) in outcomes {
            self.reply(origin, id, outcome, sink);
        }
    }
}
