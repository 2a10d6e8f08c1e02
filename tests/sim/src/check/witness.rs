//! Linearizability by witness: every answer names its position in the group's log, so there is nothing to search.
//!
//! The positions are a linearization if (1) no operation stands before one that had ended when it began, and (2) the
//! register's specification holds along them. That is a proof, for whole groups at once and not only per key.
//! Unknown outcomes are placed where the log has them; those that the log does not have took no effect.

use std::collections::BTreeMap;

use super::linear::{Action, Answer, Held};
use super::{Check, Property, Violation, ensure};

/// An operation with its place in the order of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Which, for people.
    pub(crate) op: usize,
    /// When it was asked.
    pub(crate) start: u64,
    /// When it surely was over.
    pub(crate) end: Option<u64>,
    /// See [`of_write`] and [`of_read`].
    pub(crate) position: u64,
    /// The key.
    pub(crate) key: u32,
    /// What was asked.
    pub(crate) action: Action,
    /// What was answered.
    pub(crate) answer: Answer,
}

/// The place of the write at `index`.
pub(crate) const fn of_write(index: u64) -> u64 {
    index * 2 + 1
}

/// The place of a read of the state in which everything below `at` is applied.
pub(crate) const fn of_read(at: u64) -> u64 {
    at * 2
}

/// Checks the operations of one group.
pub(crate) fn check(placed: &mut [Placed]) -> Check {
    real_time(placed)?;
    specification(placed)
}

/// (1): walks through time with the last position that had been reached by everything that had ended.
fn real_time(placed: &mut [Placed]) -> Check {
    placed.sort_unstable_by_key(|op| (op.start, op.op));
    let mut ends: Vec<(u64, usize)> =
        placed.iter().enumerate().filter_map(|(at, op)| Some((op.end?, at))).collect();
    ends.sort_unstable();
    let mut ended = ends.into_iter().peekable();
    let mut reached: Option<usize> = None;
    for op in placed.iter() {
        // Ends at the very moment of the start count as overlapping.
        while let Some((_, before)) = ended.next_if(|(end, _)| *end < op.start) {
            if reached.is_none_or(|reached| placed[reached].position < placed[before].position) {
                reached = Some(before);
            }
        }
        if let Some(before) = reached.map(|at| &placed[at]) {
            ensure!(
                before.position <= op.position,
                Linearizable,
                "operation {} began at {} ns, after operation {} had ended at {} ns, but stands before it in the \
                 order ({} < {}): {op:?} {before:?}",
                op.op,
                op.start,
                before.op,
                before.end.unwrap_or_default(),
                op.position,
                before.position
            );
        }
    }
    Ok(())
}

/// (2): applies the operations to registers in their order.
fn specification(placed: &mut [Placed]) -> Check {
    placed.sort_unstable_by_key(|op| (op.position, op.op));
    let mut registers: BTreeMap<u32, Held> = BTreeMap::new();
    let mut last: Option<&Placed> = None;
    for op in placed.iter() {
        if let Some(before) = last.filter(|before| before.position == op.position && op.position % 2 == 1) {
            ensure!(false, Once, "operations {} and {} claim the same place in the log", before.op, op.op);
        }
        last = Some(op);
        let held = registers.entry(op.key).or_default();
        match step(op, *held) {
            Some(next) => *held = next,
            None => {
                let what = format!("operation {} saw what cannot be there: {held:?} is held, {op:?}", op.op);
                return Err(Violation::new(Property::Linearizable, what));
            }
        }
    }
    Ok(())
}

/// What the register holds afterwards, if the answer is right.
fn step(op: &Placed, held: Held) -> Option<Held> {
    let unknown = op.answer == Answer::Unknown;
    match (op.action, op.answer) {
        (Action::Get, Answer::Done(saw)) => (saw == held).then_some(held),
        (Action::Get, _) => None,
        (Action::Put(value), _) => Some(Some(value)),
        (Action::Delete, Answer::Done(saw)) => (saw == held).then_some(None),
        (Action::Delete, _) => unknown.then_some(None),
        (Action::Cas { expect, new }, Answer::Done(_)) => (expect == held).then_some(Some(new)),
        (Action::Cas { expect, .. }, Answer::Mismatch(saw)) => {
            (saw == held && expect != held).then_some(held)
        }
        (Action::Cas { expect, new }, Answer::Unknown) => Some(if expect == held { Some(new) } else { held }),
    }
}
