//! Random logs, against the model.

use std::collections::BTreeMap;

use haystack_wire::message::client::{Refusal, SESSION_WINDOW};
use haystack_wire::rng::Rng;
use proptest::prelude::*;

use super::*;
use crate::store::frozen::Frozen;

/// What the store should be, with nothing but ordered maps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    records: BTreeMap<Bytes, Versioned>,
    sessions: BTreeMap<u64, ModelSession>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct ModelSession {
    ack_below: u64,
    replies: BTreeMap<u64, Outcome>,
}

impl Model {
    fn apply(&mut self, at: u64, command: &Command) -> Outcome {
        match command {
            Command::OpenSession => {
                self.sessions.insert(at, ModelSession { ack_below: 1, ..ModelSession::default() });
                Outcome::Opened { session: id(at) }
            }
            Command::ExpireSessions { sessions } => {
                self.sessions.retain(|at, _| !sessions.contains(&LogIndex(*at)));
                Outcome::SessionExpired
            }
            Command::CloseSession { session, ack_below } => {
                let Some(held) = self.session(*session) else { return Outcome::SessionExpired };
                let forgotten = held.replies.keys().all(|seq| seq < ack_below);
                if !forgotten || *ack_below < held.ack_below {
                    return Outcome::Refused(Refusal::OutOfWindow);
                }
                self.sessions.remove(&session.index.0);
                Outcome::SessionExpired
            }
            Command::Write { session, seq, ack_below, write } => {
                let Some(held) = self.session(*session) else { return Outcome::SessionExpired };
                let low = held.ack_below.max(*ack_below);
                if *seq < low {
                    return Outcome::SessionExpired;
                }
                if *seq >= low + SESSION_WINDOW {
                    return Outcome::Refused(Refusal::OutOfWindow);
                }
                if let Some(reply) = held.replies.get(seq) {
                    return reply.clone();
                }
                if let Some(refusal) = foreign(key_of(write)) {
                    return refusal;
                }
                let outcome = applied(at, self.write(at, write));
                self.remember(session.index.0, low, *seq, &outcome);
                outcome
            }
            Command::Resolve { session, seq, key } => {
                let Some(held) = self.session(*session) else { return Outcome::SessionExpired };
                if *seq == 0 {
                    return Outcome::Refused(Refusal::OutOfWindow);
                }
                if *seq < held.ack_below {
                    return Outcome::SessionExpired;
                }
                if let Some(reply) = held.replies.get(seq) {
                    return reply.clone();
                }
                if let Some(refusal) = foreign(key) {
                    return refusal;
                }
                let low = held.ack_below.max(seq.saturating_sub(SESSION_WINDOW - 1));
                self.remember(session.index.0, low, *seq, &Outcome::NeverApplies);
                Outcome::NeverApplies
            }
        }
    }

    fn session(&self, id: SessionId) -> Option<&ModelSession> {
        if id.group == GROUP { self.sessions.get(&id.index.0) } else { None }
    }

    fn remember(&mut self, session: u64, ack_below: u64, seq: u64, outcome: &Outcome) {
        let held = self.sessions.get_mut(&session).unwrap();
        held.ack_below = ack_below;
        held.replies.retain(|seq, _| *seq >= ack_below);
        held.replies.insert(seq, outcome.clone());
    }

    fn write(&mut self, at: u64, write: &Write) -> Effect {
        let versioned = |value: &Bytes| Versioned { value: value.clone(), version: version(at) };
        match write {
            Write::Put { key, value } => {
                self.records.insert(key.clone(), versioned(value));
                Effect::Written
            }
            Write::Delete { key } => {
                Effect::Deleted { previous: self.records.remove(key).map(|removed| removed.version) }
            }
            Write::Cas { key, expect, value } => {
                let actual = self.records.get(key).cloned();
                let as_expected = match expect {
                    Expect::Absent => actual.is_none(),
                    Expect::Value(value) => actual.as_ref().is_some_and(|actual| actual.value == value),
                    Expect::Version(version) => {
                        actual.as_ref().is_some_and(|actual| actual.version == *version)
                    }
                };
                if as_expected {
                    self.records.insert(key.clone(), versioned(value));
                    Effect::Written
                } else {
                    Effect::Mismatch { actual }
                }
            }
        }
    }

    fn check(&self, store: &Store, page: usize) {
        let expected = self.records.iter().map(|(key, held)| Pair {
            key: key.clone(),
            value: held.value.clone(),
            version: held.version,
        });
        assert_eq!(pairs(store, page), expected.collect::<Vec<_>>());
        assert_eq!(store.len(), self.records.len() as u64);
        assert_eq!(store.sessions(), self.sessions.len() as u64);
        let sessions = store.sessions.iter(None).map(|(id, session)| {
            let replies = session.replies.iter().map(|reply| (reply.seq, reply.answer.outcome()));
            assert_eq!(session.pinned, session.pinned_from(0));
            (id.index.0, ModelSession { ack_below: session.ack_below, replies: replies.collect() })
        });
        assert_eq!(sessions.collect::<BTreeMap<_, _>>(), self.sessions);
        let data: usize = self.records.iter().map(|(key, held)| key.len() + held.value.len()).sum();
        let replies: Vec<_> = self.sessions.values().flat_map(|session| session.replies.values()).collect();
        let pinned: usize = replies.iter().map(|reply| pinned(reply)).sum();
        let expected = data as u64
            + self.records.len() as u64 * RECORD_OVERHEAD
            + self.sessions.len() as u64 * SESSION_OVERHEAD
            + replies.len() as u64 * REPLY_OVERHEAD
            + pinned as u64;
        assert_eq!(store.bytes(), expected);
    }
}

fn pinned(reply: &Outcome) -> usize {
    match reply {
        Outcome::Applied { effect: Effect::Mismatch { actual }, .. } => {
            actual.as_ref().map_or(0, |actual| actual.value.len())
        }
        _ => 0,
    }
}

fn key_of(write: &Write) -> &Bytes {
    match write {
        Write::Put { key, .. } | Write::Delete { key } | Write::Cas { key, .. } => key,
    }
}

fn foreign(key: &Bytes) -> Option<Outcome> {
    let slot = slot_of(key);
    let own = (FIRST..=LAST).contains(&slot);
    (!own).then_some(Outcome::Refused(Refusal::WrongGroup { slot, epoch: Epoch(0) }))
}

/// Draws commands that meet each other: few sessions, few keys, sequences near the window's ends, repetitions.
struct Generator {
    rng: Rng,
    keys: Vec<Bytes>,
    opened: Vec<u64>,
    next_seq: u64,
    sent: Vec<Bytes>,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::from_u64(seed);
        let own = 2 + rng.below(30) as usize;
        let keys = (0..own).map(|n| key(true, n)).chain((0..2).map(|n| key(false, n))).collect();
        Self { rng, keys, opened: Vec::new(), next_seq: 1, sent: Vec::new() }
    }

    fn one_of<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
        &all[rng.below(all.len() as u64) as usize]
    }

    fn value(&mut self) -> Bytes {
        // Most fit into a leaf, some stand alone.
        let len = if self.rng.chance(0.1) { self.rng.below(3000) } else { self.rng.below(40) };
        Bytes::from(vec![self.rng.below(3) as u8; len as usize])
    }

    fn write(&mut self, model: &Model) -> Write {
        let key = Self::one_of(&mut self.rng, &self.keys).clone();
        match self.rng.below(10) {
            0..=4 => Write::Put { key, value: self.value() },
            5..=6 => Write::Delete { key },
            _ => {
                let held = model.records.get(&key);
                let expect = match (self.rng.below(4), held) {
                    (0, Some(held)) => Expect::Value(held.value.clone()),
                    (1, Some(held)) => Expect::Version(held.version),
                    (2, _) => Expect::Version(version(self.rng.below(300))),
                    (3, _) => Expect::Value(self.value()),
                    _ => Expect::Absent,
                };
                Write::Cas { key, expect, value: self.value() }
            }
        }
    }

    fn body(&mut self, at: u64, model: &Model) -> Bytes {
        if !self.sent.is_empty() && self.rng.chance(0.2) {
            return Self::one_of(&mut self.rng, &self.sent).clone();
        }
        if self.rng.chance(0.02) {
            return Bytes::from(vec![self.rng.below(8) as u8; self.rng.below(9) as usize]);
        }
        let command = if self.opened.is_empty() || self.rng.chance(0.05) {
            self.opened.push(at);
            Command::OpenSession
        } else {
            self.with_session(model)
        };
        self.sent.push(body(&command));
        body(&command)
    }

    fn with_session(&mut self, model: &Model) -> Command {
        let index = *Self::one_of(&mut self.rng, &self.opened);
        let group = if self.rng.chance(0.02) { GroupId(4) } else { GROUP };
        let session = SessionId { group, index: LogIndex(index + u64::from(self.rng.chance(0.02))) };
        let seq = match self.rng.below(12) {
            0 => self.rng.below(self.next_seq + 3),
            1 => self.next_seq + SESSION_WINDOW - self.rng.below(4),
            2 => 0,
            _ => {
                self.next_seq += 1;
                self.next_seq
            }
        };
        match self.rng.below(20) {
            0 => Command::ExpireSessions { sessions: vec![LogIndex(index), LogIndex(self.rng.below(99))] },
            1 => {
                let answered = self.next_seq + 1 + SESSION_WINDOW;
                let ack_below = if self.rng.chance(0.5) { answered } else { self.rng.below(answered) };
                Command::CloseSession { session, ack_below }
            }
            2..=3 => Command::Resolve { session, seq, key: Self::one_of(&mut self.rng, &self.keys).clone() },
            _ => {
                let behind = if self.rng.chance(0.1) { self.rng.below(70) } else { self.rng.below(6) };
                let ack_below = (seq + u64::from(self.rng.chance(0.02))).saturating_sub(behind);
                Command::Write { session, seq, ack_below, write: self.write(model) }
            }
        }
    }
}

fn model_apply(model: &mut Model, at: u64, bytes: &Bytes) -> Outcome {
    match haystack_wire::codec::decode_whole(bytes, "command") {
        Ok(command) => model.apply(at, &command),
        Err(_) => Outcome::Refused(Refusal::Malformed),
    }
}

/// The whole encoding of the frozen snapshot, in pieces of random sizes.
fn pull(store: &mut Store, frozen: FrozenId, rng: &mut Rng) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let limit = 1 + rng.below(700) as usize;
        match store.chunk(frozen, all.len() as u64, limit) {
            Chunk::Bytes { bytes, last } => {
                assert!(bytes.len() <= limit);
                all.extend_from_slice(&bytes);
                if last {
                    return all;
                }
            }
            Chunk::Later => {}
            Chunk::Gone => panic!("the snapshot is gone"),
        }
    }
}

fn restore(id: FrozenId, encoding: &[u8], rng: &mut Rng) -> Result<Store, RestoreError> {
    let mut restore = Restore::new(GROUP, FIRST, LAST, Limits::default(), id);
    let mut rest = encoding;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((1 + rng.below(900) as usize).min(rest.len()));
        assert!(restore.push(restore.offset(), piece)?);
        rest = after;
    }
    restore.finish()
}

/// A snapshot, the model when it was frozen, and all entries since with their outcomes.
type Taken = (FrozenId, Model, Vec<(u64, Bytes, Outcome)>);

/// Applies a random log, freezes in the middle, and reads the snapshot while the log goes on.
fn run(seed: u64, entries: u64) {
    let mut generator = Generator::new(seed);
    let mut rng = Rng::from_u64(!seed);
    let (mut store, mut twin, mut model) = (store(), store(), Model::default());
    let mut frozen: Option<Taken> = None;
    let mut at = 0;
    for _ in 0..entries {
        // Marks and stop-signs take positions too, and never come here.
        at += 1 + u64::from(rng.chance(0.1));
        let bytes = generator.body(at, &model);
        let outcome = store.apply(LogIndex(at), &bytes);
        assert_eq!(outcome, model_apply(&mut model, at, &bytes), "at {at} of seed {seed}");
        assert_eq!(twin.apply(LogIndex(at), &bytes), outcome);
        assert_eq!(twin.digest(), store.digest(), "a frozen snapshot changes nothing");
        if let Some((_, _, after)) = &mut frozen {
            after.push((at, bytes, outcome));
        }
        if frozen.is_none() && rng.chance(0.05) {
            frozen = Some((store.freeze(LogIndex(at + 1)), model.clone(), Vec::new()));
        } else if let Some((id, _, _)) = frozen
            && rng.chance(0.1)
        {
            let offset = rng.below(5000);
            let _ = store.chunk(id, offset, 1 + rng.below(900) as usize);
        }
        if rng.chance(0.03)
            && let Some((id, old, after)) = frozen.take()
        {
            model.check(&store, 1 + rng.below(2000) as usize);
            check_snapshot(&mut store, id, &old, &after, &mut rng);
            store.thaw();
        }
    }
    model.check(&store, 500);
    let overlay = store.frozen.as_ref().map_or(0, |frozen| Frozen::bytes(frozen));
    assert_eq!(store.overlay_bytes(), overlay);
}

fn check_snapshot(
    store: &mut Store,
    id: FrozenId,
    old: &Model,
    after: &[(u64, Bytes, Outcome)],
    rng: &mut Rng,
) {
    let encoding = pull(store, id, rng);
    for _ in 0..5 {
        let offset = rng.below(encoding.len() as u64 + 1);
        let Chunk::Bytes { bytes, .. } = store.chunk(id, offset, 1 + rng.below(400) as usize) else {
            panic!("a piece is asked for again");
        };
        assert_eq!(&encoding[offset as usize..][..bytes.len()], bytes);
    }
    let mut restored = restore(id, &encoding, rng).expect("what was frozen can be restored");
    assert_eq!(restored.digest(), id.digest);
    old.check(&restored, 300);
    let again = restored.freeze(id.index);
    assert_eq!(pull(&mut restored, again, rng), encoding, "one state has one encoding");
    restored.thaw();
    for (at, bytes, outcome) in after {
        assert_eq!(restored.apply(LogIndex(*at), bytes), *outcome, "at {at} after a restore");
    }
    assert_eq!(restored.digest(), store.digest());
}

/// Lets a random log in as a leader does that applies late: beside small overheads the state stays in its limit, and
/// the values in each session's replies in theirs.
fn run_limited(seed: u64, entries: u64) {
    let (memory, pinned) = (12_000, 4_000);
    let mut generator = Generator::new(seed);
    let mut rng = Rng::from_u64(!seed);
    let (mut store, mut model, mut pending) = (store(), Model::default(), Pending::default());
    store.set_limits(Limits { memory, pinned, ..Limits::default() });
    let mut waiting = std::collections::VecDeque::new();
    let (mut appended, mut applied) = (0, 0);
    for _ in 0..entries {
        let bytes = generator.body(appended, &model);
        if let Ok(Admitted::Append(admission)) = store.admit(&bytes, &pending) {
            pending.add(&admission);
            waiting.push_back((bytes, admission));
            appended += 1;
        } else {
            generator.opened.retain(|at| *at < appended);
        }
        while waiting.len() > rng.below(8) as usize {
            let Some((bytes, admission)) = waiting.pop_front() else { break };
            store.apply(LogIndex(applied), &bytes);
            model_apply(&mut model, applied, &bytes);
            pending.remove(&admission);
            applied += 1;
            let fixed = store.sessions() * SESSION_OVERHEAD + store.sessions.replies() * REPLY_OVERHEAD;
            assert!(store.bytes() <= memory + fixed, "{} bytes at {applied} of seed {seed}", store.bytes());
            let most = store.sessions.iter(None).map(|(_, session)| session.pinned).max();
            assert!(most.unwrap_or(0) <= pinned, "{most:?} at {applied} of seed {seed}");
        }
    }
    assert!(pending == Pending::default() || !waiting.is_empty(), "nothing is left behind");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_logs_have_the_models_outcomes_states_and_snapshots(seed: u64) {
        run(seed, 400);
    }

    #[test]
    fn what_is_admitted_stays_within_the_limits(seed: u64) {
        run_limited(seed, 1500);
    }

    #[test]
    fn any_bytes_are_an_entry_and_a_piece_of_a_snapshot(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut store = store();
        store.apply(LogIndex(1), &Bytes::from(bytes.clone()));
        let mut pieces = Restore::new(GROUP, FIRST, LAST, Limits::default(), FrozenId::default());
        let _ = pieces.push(0, &bytes);
        prop_assert!(pieces.finish().is_err());
    }

    /// Every damage is noticed, by form or by digest; only bytes that say the same in another way may pass.
    #[test]
    fn a_damaged_snapshot_is_refused_or_has_the_same_meaning(seed: u64, place: prop::sample::Index, bit in 0..8u8) {
        let mut generator = Generator::new(seed);
        let (mut store, mut model) = (store(), Model::default());
        for at in 0..60 {
            let bytes = generator.body(at, &model);
            store.apply(LogIndex(at), &bytes);
            model_apply(&mut model, at, &bytes);
        }
        let mut rng = Rng::from_u64(seed);
        let id = store.freeze(LogIndex(60));
        let mut encoding = pull(&mut store, id, &mut rng);
        let cut = place.index(encoding.len());
        prop_assert!(restore(id, &encoding[..cut], &mut rng).is_err());
        encoding[cut] ^= 1u8 << bit;
        if let Ok(restored) = restore(id, &encoding, &mut rng) {
            model.check(&restored, 1000);
        }
    }
}
