//! The last look at a run's history: is it linearizable, and did nothing happen that was told to have failed?

use std::collections::BTreeMap;

use haystack_wire::ids::GroupId;
use haystack_wire::message::client::Write;

use crate::actor::Record;
use crate::check::linear::{self, Action, Answer, Call, Verdict};
use crate::check::model::Effective;
use crate::check::witness::{self, Placed};
use crate::check::{Check, ensure};
use crate::history::{Op, Status};
use crate::value;

/// Configurations that the exact search may explore per key: nearly all histories that can be decided need fewer, and the
/// others took a fifth of all the time.
const BUDGET: usize = 20_000;

/// What the last look came to, beside violations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looked {
    /// Keys whose history was searched exactly.
    pub(crate) searched: u64,
    /// Keys whose history was too large for it.
    pub(crate) too_large: u64,
    /// Unknown writes that the log has.
    pub(crate) unknown_applied: u64,
}

/// Checks the whole history.
pub(crate) fn check(record: &Record, looked: &mut Looked) -> Check {
    let mut placed = answered(record);
    for (group, canon) in record.canons.iter() {
        let here = placed.entry(group).or_default();
        let mut nameless: BTreeMap<u32, u64> = BTreeMap::new();
        for effective in &canon.model.writes {
            match find(record, effective)? {
                Some((at, op)) if op.status == Status::Failed => {
                    ensure!(
                        false,
                        Definite,
                        "operation {at} was told to have failed, but it is in the log of group {group} at {}: {op:?}",
                        effective.index
                    );
                }
                Some((at, op)) if op.is_open() => {
                    looked.unknown_applied += 1;
                    here.push(unanswered(at, op, effective.index));
                }
                Some(_) => {}
                None => {
                    let key = key_of(record, effective)?;
                    *nameless.entry(key).or_default() += 1;
                    let op = usize::MAX;
                    let position = witness::of_write(effective.index);
                    let (action, answer) = (Action::Delete, Answer::Unknown);
                    here.push(Placed { op, start: 0, end: None, position, key, action, answer });
                }
            }
        }
        for (key, count) in nameless {
            let open = record.history.ops.iter().filter(|op| {
                op.key == key && op.action == Action::Delete && op.is_open() && op.session.is_none()
            });
            let open = open.count() as u64;
            ensure!(
                count <= open,
                Integrity,
                "{count} deletes of key {key} that at most {open} clients asked for"
            );
        }
    }
    for here in placed.values_mut() {
        witness::check(here)?;
    }
    exact(record, looked)
}

/// Answered operations by group.
fn answered(record: &Record) -> BTreeMap<GroupId, Vec<Placed>> {
    let mut placed: BTreeMap<GroupId, Vec<Placed>> = BTreeMap::new();
    for (at, op) in record.history.ops.iter().enumerate() {
        let answer = match op.status {
            Status::Done(held) => Answer::Done(held),
            Status::Mismatch(held) => Answer::Mismatch(held),
            _ => continue,
        };
        if let (Some(group), Some(position)) = (op.group, op.position) {
            placed.entry(group).or_default().push(Placed {
                op: at,
                start: op.start,
                end: op.end,
                position,
                key: op.key,
                action: op.action,
                answer,
            });
        }
    }
    placed
}

fn unanswered(at: usize, op: &Op, index: u64) -> Placed {
    Placed {
        op: at,
        start: op.start,
        end: op.settled,
        position: witness::of_write(index),
        key: op.key,
        action: op.action,
        answer: Answer::Unknown,
    }
}

/// The operation that a write in the log belongs to: by its value, which is the operation's number, or by session
/// and number. A delete of a client that died may have neither.
fn find<'a>(
    record: &'a Record,
    effective: &Effective,
) -> Result<Option<(usize, &'a Op)>, crate::check::Violation> {
    let ops = &record.history.ops;
    let key = key_of(record, effective)?;
    let number = match &effective.write {
        Write::Put { value, .. } | Write::Cas { value, .. } => {
            let number = value::decode(value).and_then(|value| usize::try_from(value).ok());
            match number.filter(|number| (1..=ops.len()).contains(number)) {
                Some(number) => Some(number - 1),
                None => {
                    ensure!(
                        false,
                        Integrity,
                        "a value that nobody wrote is in the log at {}",
                        effective.index
                    );
                    None
                }
            }
        }
        Write::Delete { .. } => {
            let session = Some((effective.session, effective.seq));
            ops.iter().position(|op| op.action == Action::Delete && op.session == session)
        }
    };
    let found = number.map(|at| (at, &ops[at]));
    if let Some((at, op)) = found {
        ensure!(op.key == key, Integrity, "operation {at} is in the log under another key");
    }
    Ok(found)
}

fn key_of(record: &Record, effective: &Effective) -> Result<u32, crate::check::Violation> {
    let (Write::Put { key, .. } | Write::Delete { key } | Write::Cas { key, .. }) = &effective.write;
    let found =
        std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix('k')).and_then(|key| key.parse().ok());
    match found.filter(|key| (*key as usize) < record.keys.len()) {
        Some(key) => Ok(key),
        None => {
            ensure!(false, Integrity, "a key that nobody used is in the log: {key:?}");
            Ok(0)
        }
    }
}

/// The search that believes no position.
fn exact(record: &Record, looked: &mut Looked) -> Check {
    let mut by_key: BTreeMap<u32, Vec<(usize, Call)>> = BTreeMap::new();
    for (at, op) in record.history.ops.iter().enumerate() {
        if let Some(call) = op.call() {
            by_key.entry(op.key).or_default().push((at, call));
        }
    }
    for (key, calls) in by_key {
        let (ops, calls): (Vec<usize>, Vec<Call>) = calls.into_iter().unzip();
        match linear::search(&calls, BUDGET) {
            Verdict::Linearizable => looked.searched += 1,
            Verdict::TooLarge => looked.too_large += 1,
            Verdict::Violation(at) => {
                ensure!(
                    false,
                    Linearizable,
                    "the history of key {} has no linearization beyond operation {}: {:?}",
                    record.keys[key as usize],
                    ops[at],
                    record.history.ops[ops[at]]
                );
            }
        }
    }
    Ok(())
}
