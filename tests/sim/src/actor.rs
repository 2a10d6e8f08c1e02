//! A client's process: the sans-IO client, and somebody who uses it.

mod answers;

use std::collections::BTreeMap;

use bytes::Bytes;
use haystack_client::core::{Answer, Client, Completion, OpId, Operation};
use haystack_client::{Error, Ticket};
use haystack_wire::Instant;
use haystack_wire::ids::{GroupId, Version};
use haystack_wire::message::client::{Effect, Expect, Versioned};

use crate::check::canon::Canons;
use crate::check::linear::{Action, Held};
use crate::check::{Check, ensure};
use crate::dice::Dice;
use crate::history::{History, Status};
use crate::host::Clock;
use crate::scenario::{Load, SECONDS};
use crate::value;
use answers::{not_closed, on_look, on_page, settle};

/// Time that a resolve has.
const RESOLVE_PATIENCE: u64 = 3 * SECONDS;
/// Time that the end of a session has.
const CLOSE_PATIENCE: u64 = 2 * SECONDS;
/// Bytes of keys and values that a scan asks for.
const SCAN_BYTES: u32 = 2_000;

/// What everybody shares: the record of the run.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) keys: Vec<String>,
    pub(crate) history: History,
    pub(crate) canons: Canons,
    /// Writes of unknown outcome with what settles them.
    pub(crate) tickets: Vec<(usize, Ticket)>,
    pub(crate) seen: Seen,
}

/// What answers said, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) mismatches: u64,
    pub(crate) stale_reads: u64,
    pub(crate) pages: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) timeouts: u64,
    pub(crate) unreachable: u64,
    pub(crate) sessions_expired: u64,
    pub(crate) resolved_applied: u64,
    pub(crate) resolved_never: u64,
    pub(crate) resolved_expired: u64,
    pub(crate) resolves_given_up: u64,
    pub(crate) retried: u64,
}

impl Seen {
    /// The counters by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("reads", self.reads),
            ("writes", self.writes),
            ("mismatches", self.mismatches),
            ("stale_reads", self.stale_reads),
            ("pages", self.pages),
            ("refused", self.refused),
            ("unknown", self.unknown),
            ("timeouts", self.timeouts),
            ("unreachable", self.unreachable),
            ("sessions_expired", self.sessions_expired),
            ("resolved_applied", self.resolved_applied),
            ("resolved_never_applies", self.resolved_never),
            ("resolved_expired", self.resolved_expired),
            ("resolves_given_up", self.resolves_given_up),
            ("answered_after_retries", self.retried),
        ]
        .into_iter()
    }
}

/// What a place is waiting for.
#[derive(Clone, Copy, Debug)]
enum Waits {
    /// For its time.
    Until(u64),
    /// For the answer to an operation of the history.
    Answer { op: usize, id: OpId },
    /// For an answer that is only checked.
    Look { key: u32, id: OpId },
    /// For a page after a key.
    Page { group: GroupId, after: Option<u32>, id: OpId },
    /// For what became of an unknown write.
    Resolve { op: usize, id: OpId },
}

/// A place for one operation at a time.
#[derive(Clone, Debug)]
struct Place {
    client: u32,
    waits: Waits,
}

/// What to do next.
#[derive(Clone, Debug)]
enum Errand {
    Get(u32),
    Resolve(usize, Ticket),
}

/// A client and its user.
pub(crate) struct Actor {
    pub(crate) core: Client,
    places: Vec<Place>,
    /// All that its places have had.
    numbers: Vec<u32>,
    dice: Dice,
    load: Load,
    /// The last that this client saw of each key.
    known: BTreeMap<u32, (Held, Option<Version>)>,
    /// Errands before anything else.
    errands: Vec<Errand>,
    /// Whether it asks by itself.
    pub(crate) active: bool,
    /// Operations have at least until then, if that is set.
    pub(crate) deadline: Option<u64>,
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Actor").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Actor {
    /// A client with a user that follows `load`.
    pub(crate) fn new(core: Client, load: Load, mut dice: Dice, history: &mut History, now: u64) -> Self {
        let depth = dice.range(load.depth.0, load.depth.1);
        let places: Vec<Place> = (0..depth)
            .map(|_| Place {
                client: history.client(),
                waits: Waits::Until(now + dice.below(load.think + 1)),
            })
            .collect();
        Self {
            core,
            numbers: places.iter().map(|place| place.client).collect(),
            places,
            dice,
            load,
            known: BTreeMap::new(),
            errands: Vec::new(),
            active: true,
            deadline: None,
        }
    }

    /// When the user does something next, if nothing happens before.
    pub(crate) fn wakes(&self) -> u64 {
        let idle = self.active || !self.errands.is_empty();
        let wakes = self.places.iter().map(|place| match place.waits {
            Waits::Until(at) if idle => at,
            _ => u64::MAX,
        });
        wakes.min().unwrap_or(u64::MAX)
    }

    /// Whether nothing is under way at the groups that `lively` names; others may never answer.
    pub(crate) fn is_idle(&self, record: &Record, lively: &impl Fn(GroupId) -> bool) -> bool {
        let of_key = |key: u32| record.canons.group_of(record.keys[key as usize].as_bytes());
        let of_op = |op: usize| of_key(record.history.ops[op].key);
        let waits = |place: &Place| match place.waits {
            Waits::Until(_) => false,
            Waits::Answer { op, .. } | Waits::Resolve { op, .. } => of_op(op).is_some_and(lively),
            Waits::Look { key, .. } => of_key(key).is_some_and(lively),
            Waits::Page { group, .. } => lively(group),
        };
        self.errands.is_empty() && !self.places.iter().any(waits)
    }

    /// Whether nothing but the user's own rhythm is waited for, for reports.
    pub(crate) fn waits_for(&self) -> String {
        let waits: Vec<_> = self.places.iter().map(|place| format!("{:?}", place.waits)).collect();
        waits.join(", ")
    }

    /// The numbers under which its operations are in the history.
    pub(crate) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Reads these keys as soon as there is a place.
    pub(crate) fn read_all(&mut self, keys: impl Iterator<Item = u32>) {
        self.errands.extend(keys.map(Errand::Get));
    }

    /// Settles these writes as soon as there is a place.
    pub(crate) fn resolve_all(&mut self, tickets: Vec<(usize, Ticket)>) {
        self.errands.extend(tickets.into_iter().map(|(op, ticket)| Errand::Resolve(op, ticket)));
    }

    /// Begins what is due.
    pub(crate) fn begin(&mut self, now: u64, clock: Clock, record: &mut Record) {
        for at in 0..self.places.len() {
            if !matches!(self.places[at].waits, Waits::Until(due) if due <= now) {
                continue;
            }
            match self.errands.pop() {
                Some(Errand::Get(key)) => self.ask(at, now, clock, record, key, Action::Get, 0),
                Some(Errand::Resolve(op, ticket)) => self.resolve(at, now, clock, op, ticket),
                None if self.active => self.draw(at, now, clock, record),
                None => {}
            }
        }
    }

    fn due(&mut self, now: u64, clock: Clock) -> Instant {
        let (least, most) = self.load.patience;
        let patience = now + self.dice.range(least, most);
        clock.at(self.deadline.map_or(patience, |deadline| deadline.max(patience)))
    }

    fn draw(&mut self, at: usize, now: u64, clock: Clock, record: &mut Record) {
        if self.dice.chance(self.load.close) {
            self.core.close_sessions(clock.at(now), clock.at(now + CLOSE_PATIENCE));
        }
        let key = self.dice.index(record.keys.len()) as u32;
        let value = record.history.next_value();
        let mut length = self.dice.range(self.load.small.0, self.load.small.1) as usize;
        if self.dice.chance(self.load.large.0) {
            length = self.dice.range(1, self.load.large.1) as usize;
        }
        match self.dice.weighted(&self.load.mix) {
            Some(1) => self.ask(at, now, clock, record, key, Action::Put(value), length),
            Some(2) => self.ask(at, now, clock, record, key, Action::Delete, 0),
            Some(3) => {
                let expect = self.known.get(&key).and_then(|(held, _)| *held);
                self.ask(at, now, clock, record, key, Action::Cas { expect, new: value }, length);
            }
            Some(4) => self.look(at, now, clock, record, key),
            Some(5) => self.scan(at, now, clock, record, key),
            _ => self.ask(at, now, clock, record, key, Action::Get, 0),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "an operation with its circumstances")]
    fn ask(
        &mut self,
        at: usize,
        now: u64,
        clock: Clock,
        record: &mut Record,
        key: u32,
        action: Action,
        length: usize,
    ) {
        let name = Bytes::copy_from_slice(record.keys[key as usize].as_bytes());
        let operation = match action {
            Action::Get => Operation::get(name),
            Action::Put(value) => Operation::put(name, value::encode(value, length)),
            Action::Delete => Operation::delete(name),
            Action::Cas { expect, new } => {
                let expect = self.expectation(key, expect, record);
                Operation::cas(name, expect, value::encode(new, length))
            }
        };
        let due = self.due(now, clock);
        let op = record.history.begin(self.places[at].client, key, action, length, now);
        match self.core.submit(clock.at(now), operation, due) {
            Ok(id) => self.places[at].waits = Waits::Answer { op, id },
            Err(_) => {
                let op = &mut record.history.ops[op];
                (op.status, op.end) = (Status::Failed, Some(now));
                self.rest(at, now);
            }
        }
    }

    /// The same expectation in one of its forms.
    fn expectation(&mut self, key: u32, expect: Held, record: &Record) -> Expect {
        let Some(value) = expect else { return Expect::Absent };
        let version = self.known.get(&key).and_then(|(_, version)| *version);
        match version {
            Some(version) if self.dice.coin() => Expect::Version(version),
            _ => Expect::Value(value::encode(value, record.history.ops[value as usize - 1].length)),
        }
    }

    fn look(&mut self, at: usize, now: u64, clock: Clock, record: &Record, key: u32) {
        let name = Bytes::copy_from_slice(record.keys[key as usize].as_bytes());
        let due = self.due(now, clock);
        match self.core.submit(clock.at(now), Operation::Get { key: name, stale: true }, due) {
            Ok(id) => self.places[at].waits = Waits::Look { key, id },
            Err(_) => self.rest(at, now),
        }
    }

    fn scan(&mut self, at: usize, now: u64, clock: Clock, record: &Record, key: u32) {
        let groups = self.core.map().map_or(0, |map| map.partitions.len() as u64);
        if groups == 0 {
            return self.rest(at, now);
        }
        let group = GroupId(self.dice.range(1, groups) as u32);
        let after = self.dice.coin().then_some(key);
        let name = after.map(|key| Bytes::copy_from_slice(record.keys[key as usize].as_bytes()));
        let due = self.due(now, clock);
        let scan = Operation::Scan { group, after: name, limit: SCAN_BYTES };
        match self.core.submit(clock.at(now), scan, due) {
            Ok(id) => self.places[at].waits = Waits::Page { group, after, id },
            Err(_) => self.rest(at, now),
        }
    }

    fn resolve(&mut self, at: usize, now: u64, clock: Clock, op: usize, ticket: Ticket) {
        let due = clock.at(self.deadline.unwrap_or(0).max(now + RESOLVE_PATIENCE));
        match self.core.submit(clock.at(now), Operation::Resolve(ticket), due) {
            Ok(id) => self.places[at].waits = Waits::Resolve { op, id },
            Err(_) => self.rest(at, now),
        }
    }

    fn rest(&mut self, at: usize, now: u64) {
        self.places[at].waits = Waits::Until(now + self.dice.wait(self.load.think));
    }

    /// Takes what the client has to tell.
    pub(crate) fn end(&mut self, who: &str, now: u64, clock: Clock, record: &mut Record) -> Check {
        while let Some(completion) = self.core.poll_completion() {
            let Some(at) = self.places.iter().position(|place| place.waits.is_for(completion.op)) else {
                ensure!(false, Integrity, "{who} got an answer that it did not wait for, or got twice");
                return Ok(());
            };
            record.seen.retried += u64::from(completion.attempts > 1 && completion.outcome.is_ok());
            match self.places[at].waits {
                Waits::Answer { op, .. } => self.on_answer(who, at, now, clock, record, op, completion)?,
                Waits::Resolve { op, .. } => self.on_resolved(who, at, now, record, op, completion)?,
                Waits::Look { key, .. } => {
                    self.rest(at, now);
                    on_look(who, record, key, &completion)?;
                }
                Waits::Page { group, after, .. } => {
                    self.rest(at, now);
                    on_page(who, record, group, after, &completion)?;
                }
                Waits::Until(_) => {}
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "an answer with its circumstances")]
    fn on_answer(
        &mut self,
        who: &str,
        at: usize,
        now: u64,
        clock: Clock,
        record: &mut Record,
        op: usize,
        completion: Completion,
    ) -> Check {
        let asked = &mut record.history.ops[op];
        asked.session = completion.session;
        match completion.outcome {
            Ok(answer) => {
                self.learn(asked.key, asked.action, &answer);
                self.rest(at, now);
                settle(who, now, record, op, &answer)
            }
            Err(Error::Unknown(ticket)) => {
                asked.session = Some((ticket.session, ticket.seq));
                asked.status = Status::Unknown;
                record.seen.unknown += 1;
                if self.dice.chance(self.load.resolve) {
                    self.resolve(at, now, clock, op, ticket);
                } else {
                    record.tickets.push((op, ticket));
                    self.begin_anew(at, now, record);
                }
                Ok(())
            }
            Err(error) => {
                self.on_error(at, now, record, op, &error);
                match &error {
                    Error::SessionExpired { ticket, .. } => not_closed(who, record, ticket),
                    _ => Ok(()),
                }
            }
        }
    }

    fn on_error(&mut self, at: usize, now: u64, record: &mut Record, op: usize, error: &Error) {
        let seen = &mut record.seen;
        match error {
            Error::SessionExpired { .. } => seen.sessions_expired += 1,
            Error::Timeout(_) => seen.timeouts += 1,
            Error::Unreachable(_) => seen.unreachable += 1,
            _ => seen.refused += 1,
        }
        let asked = &mut record.history.ops[op];
        if let Error::SessionExpired { ticket, .. } | Error::Unknown(ticket) = error {
            asked.session = Some((ticket.session, ticket.seq));
        }
        if error.is_definite() || asked.action == Action::Get {
            (asked.status, asked.end) = (Status::Failed, Some(now));
            self.rest(at, now);
        } else {
            // Perhaps it happened; it will not any more.
            (asked.status, asked.settled) = (Status::Unknown, Some(now));
            self.begin_anew(at, now, record);
        }
    }

    /// After an unknown outcome the place goes on as another client.
    fn begin_anew(&mut self, at: usize, now: u64, record: &mut Record) {
        self.places[at].client = record.history.client();
        self.numbers.push(self.places[at].client);
        self.rest(at, now);
    }

    fn on_resolved(
        &mut self,
        who: &str,
        at: usize,
        now: u64,
        record: &mut Record,
        op: usize,
        completion: Completion,
    ) -> Check {
        match completion.outcome {
            Ok(Answer::NeverApplies) => {
                record.seen.resolved_never += 1;
                let asked = &mut record.history.ops[op];
                (asked.status, asked.end) = (Status::Failed, Some(now));
                self.rest(at, now);
                Ok(())
            }
            Ok(Answer::Expired) => {
                record.seen.resolved_expired += 1;
                record.history.ops[op].settled = Some(now);
                self.begin_anew(at, now, record);
                match record.history.ops[op].session {
                    Some((session, seq)) => {
                        not_closed(who, record, &Ticket { session, seq, key: Bytes::new() })
                    }
                    None => Ok(()),
                }
            }
            Ok(answer) => {
                record.seen.resolved_applied += 1;
                self.rest(at, now);
                settle(who, now, record, op, &answer)
            }
            Err(_) => {
                record.seen.resolves_given_up += 1;
                self.begin_anew(at, now, record);
                Ok(())
            }
        }
    }

    /// Remembers what an answer told of its key.
    fn learn(&mut self, key: u32, action: Action, answer: &Answer) {
        let of = |found: &Option<Versioned>| match found {
            Some(found) => (value::decode(&found.value), Some(found.version)),
            None => (None, None),
        };
        let known = match (action, answer) {
            (_, Answer::Read { found, .. }) => of(found),
            (_, Answer::Applied { effect: Effect::Mismatch { actual }, .. }) => of(actual),
            (Action::Delete, _) => (None, None),
            (Action::Put(value) | Action::Cas { new: value, .. }, Answer::Applied { at, .. }) => {
                (Some(value), Some(*at))
            }
            _ => return,
        };
        self.known.insert(key, known);
    }
}

impl Waits {
    fn is_for(self, op: OpId) -> bool {
        match self {
            Self::Answer { id, .. }
            | Self::Look { id, .. }
            | Self::Page { id, .. }
            | Self::Resolve { id, .. } => id == op,
            Self::Until(_) => false,
        }
    }
}
