//! Exact search for a linearization of one key's history, without any help from the system under test.
//!
//! Just-in-time linearization (Lowe, "Testing for linearizability", 2017) over the register's specification: walk the
//! history in time; keep every configuration (which pending operations have taken effect, and the register's
//! value); when an operation returns, let pending ones take effect in any order until it has. Configurations are
//! remembered, so none is explored twice (Wing, Gong; Lowe's memo). Operations of unknown outcome stay pending for
//! ever, or until it is known that they will not take effect any more.
//!
//! Two things keep that small. Values are unique per write: an unknown write whose value nobody saw could only be
//! overwritten blindly, so it is left out. And unknown deletes that are pending alike are interchangeable: only the
//! first of them is tried.

use std::collections::BTreeSet;

use crate::value::Value;

/// What the register may hold.
pub(crate) type Held = Option<Value>;

/// What was asked of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Read it.
    Get,
    /// Set it.
    Put(Value),
    /// Clear it, and say what was there.
    Delete,
    /// Set it if it holds what is expected.
    Cas {
        /// What is expected.
        expect: Held,
        /// What to set.
        new: Value,
    },
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing, but it may have taken effect.
    Unknown,
    /// Done; reads and deletes saw this.
    Done(Held),
    /// The CAS found this instead, and did nothing.
    Mismatch(Held),
}

/// An operation on the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// When it was asked.
    pub(crate) start: u64,
    /// When it surely was over: answered, or known not to take effect later.
    pub(crate) end: Option<u64>,
    /// What was asked.
    pub(crate) action: Action,
    /// What was answered.
    pub(crate) answer: Answer,
}

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is a linearization.
    Linearizable,
    /// There is none; up to the return of this call (an index) there was one.
    Violation(usize),
    /// More configurations than allowed.
    TooLarge,
}

/// Operations pending at once, at most.
const PENDING_MOST: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    done: u128,
    held: Held,
}

struct Search<'a> {
    calls: &'a [Call],
    /// Pending calls by place.
    places: Vec<Option<usize>>,
    frontier: BTreeSet<Configuration>,
    budget: usize,
}

/// Searches for a linearization of the calls on a register that begins empty, exploring at most `budget`
/// configurations.
pub(crate) fn search(calls: &[Call], budget: usize) -> Verdict {
    let mut search = Search {
        calls,
        places: Vec::new(),
        frontier: BTreeSet::from([Configuration { done: 0, held: None }]),
        budget,
    };
    for (_, is_return, index) in steps(calls) {
        let went = if is_return { search.returns(index) } else { search.begins(index) };
        if let Err(verdict) = went {
            return verdict;
        }
    }
    Verdict::Linearizable
}

/// Calls and returns in time; those of one instant count as overlapping.
fn steps(calls: &[Call]) -> Vec<(u64, bool, usize)> {
    let seen = seen_values(calls);
    let mut steps = Vec::with_capacity(calls.len() * 2);
    for (index, call) in calls.iter().enumerate() {
        if is_idle(call, &seen) {
            continue;
        }
        steps.push((call.start, false, index));
        if let Some(end) = call.end {
            steps.push((end.max(call.start), true, index));
        }
    }
    steps.sort_unstable();
    steps
}

fn seen_values(calls: &[Call]) -> BTreeSet<Value> {
    let seen = calls.iter().flat_map(|call| {
        let answered = match call.answer {
            Answer::Done(held) | Answer::Mismatch(held) => held,
            Answer::Unknown => None,
        };
        let expected = match (call.action, call.answer) {
            (Action::Cas { expect, .. }, Answer::Done(_) | Answer::Unknown) => expect,
            _ => None,
        };
        [answered, expected]
    });
    seen.flatten().collect()
}

/// Whether a call explains nothing that anybody saw.
fn is_idle(call: &Call, seen: &BTreeSet<Value>) -> bool {
    let unknown = call.answer == Answer::Unknown;
    match call.action {
        Action::Get => unknown,
        Action::Put(value) | Action::Cas { new: value, .. } => unknown && !seen.contains(&value),
        Action::Delete => false,
    }
}

impl Search<'_> {
    fn begins(&mut self, index: usize) -> Result<(), Verdict> {
        match self.places.iter().position(Option::is_none) {
            Some(free) => self.places[free] = Some(index),
            None if self.places.len() < PENDING_MOST => self.places.push(Some(index)),
            None => return Err(Verdict::TooLarge),
        }
        Ok(())
    }

    fn returns(&mut self, index: usize) -> Result<(), Verdict> {
        let Some(place) = self.places.iter().position(|held| *held == Some(index)) else { return Ok(()) };
        let bit = 1_u128 << place;
        let optional = self.calls[index].answer == Answer::Unknown;
        let mut next = BTreeSet::new();
        let mut explored = self.frontier.clone();
        let mut stack: Vec<Configuration> = std::mem::take(&mut self.frontier).into_iter().collect();
        while let Some(at) = stack.pop() {
            if at.done & bit != 0 {
                next.insert(Configuration { done: at.done & !bit, ..at });
                continue;
            }
            if optional {
                next.insert(at);
            }
            self.expand(at, &mut explored, &mut stack)?;
        }
        if next.is_empty() {
            return Err(Verdict::Violation(index));
        }
        self.frontier = next;
        self.places[place] = None;
        Ok(())
    }

    /// Lets each pending call take effect next.
    fn expand(
        &mut self,
        at: Configuration,
        explored: &mut BTreeSet<Configuration>,
        stack: &mut Vec<Configuration>,
    ) -> Result<(), Verdict> {
        let mut delete_tried = false;
        for (place, index) in self.places.iter().enumerate() {
            let Some(index) = *index else { continue };
            if at.done & (1 << place) != 0 {
                continue;
            }
            let call = &self.calls[index];
            let is_lost_delete =
                call.action == Action::Delete && call.answer == Answer::Unknown && call.end.is_none();
            if is_lost_delete && std::mem::replace(&mut delete_tried, true) {
                continue;
            }
            let Some(held) = effect(call, at.held) else { continue };
            let reached = Configuration { done: at.done | (1 << place), held };
            if explored.insert(reached) {
                self.budget = self.budget.checked_sub(1).ok_or(Verdict::TooLarge)?;
                stack.push(reached);
            }
        }
        Ok(())
    }
}

/// What the register holds after the call takes effect, if its answer allows that now. Effects of unknown calls that
/// change nothing are not worth a step.
fn effect(call: &Call, held: Held) -> Option<Held> {
    match (call.action, call.answer) {
        (Action::Get, Answer::Done(saw)) => (saw == held).then_some(held),
        (Action::Put(value), _) => Some(Some(value)),
        (Action::Delete, Answer::Done(saw)) => (saw == held).then_some(None),
        (Action::Delete, Answer::Unknown) => held.is_some().then_some(None),
        (Action::Cas { expect, new }, Answer::Done(_) | Answer::Unknown) => {
            (expect == held).then_some(Some(new))
        }
        (Action::Cas { expect, .. }, Answer::Mismatch(saw)) => {
            (saw == held && expect != held).then_some(held)
        }
        (Action::Get, _) | (Action::Delete, Answer::Mismatch(_)) => None,
    }
}
