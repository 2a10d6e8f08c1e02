//! Planted violations: each checker must be able to fail.

use super::linear::{Action, Answer, Call, Verdict, search};
use super::witness::{self, Placed, of_read, of_write};
use super::{Property, Violation};

const BUDGET: usize = 100_000;

fn call(start: u64, end: u64, action: Action, answer: Answer) -> Call {
    Call { start, end: Some(end), action, answer }
}

fn open(start: u64, action: Action) -> Call {
    Call { start, end: None, action, answer: Answer::Unknown }
}

fn get(start: u64, end: u64, saw: Option<u64>) -> Call {
    call(start, end, Action::Get, Answer::Done(saw))
}

fn put(start: u64, end: u64, value: u64) -> Call {
    call(start, end, Action::Put(value), Answer::Done(None))
}

fn cas(start: u64, end: u64, expect: Option<u64>, new: u64, answer: Answer) -> Call {
    call(start, end, Action::Cas { expect, new }, answer)
}

fn delete(start: u64, end: u64, saw: Option<u64>) -> Call {
    call(start, end, Action::Delete, Answer::Done(saw))
}

fn fine(calls: &[Call]) {
    assert_eq!(search(calls, BUDGET), Verdict::Linearizable, "{calls:?}");
}

fn broken(calls: &[Call]) {
    assert!(matches!(search(calls, BUDGET), Verdict::Violation(_)), "{calls:?}");
}

#[test]
fn search_finds_a_stale_read() {
    fine(&[put(0, 1, 1), put(2, 3, 2), get(4, 5, Some(2))]);
    broken(&[put(0, 1, 1), put(2, 3, 2), get(4, 5, Some(1))]);
    fine(&[put(0, 1, 1), put(2, 9, 2), get(4, 5, Some(1)), get(6, 7, Some(2))]);
    broken(&[put(0, 1, 1), put(2, 9, 2), get(4, 5, Some(2)), get(6, 7, Some(1))]);
}

#[test]
fn search_finds_a_lost_write() {
    broken(&[put(0, 1, 1), get(2, 3, None)]);
    broken(&[put(0, 1, 1), cas(2, 3, Some(1), 2, Answer::Done(None)), get(4, 5, Some(1))]);
    fine(&[put(0, 1, 1), open(2, Action::Delete), get(4, 5, None)]);
    broken(&[put(0, 1, 1), open(6, Action::Delete), get(4, 5, None)]);
}

#[test]
fn search_finds_a_write_that_is_applied_twice() {
    // Value 1 comes back after value 2 had replaced it.
    broken(&[put(0, 1, 1), put(2, 3, 2), get(4, 5, Some(2)), get(6, 7, Some(1))]);
    // A delete that is applied again takes a value that was put later.
    broken(&[put(0, 1, 1), delete(2, 3, Some(1)), put(4, 5, 2), get(6, 7, None)]);
    // An unknown write may be applied once, whenever, but not twice.
    fine(&[open(0, Action::Put(1)), put(2, 3, 2), get(4, 5, Some(1))]);
    broken(&[open(0, Action::Put(1)), get(1, 2, Some(1)), put(3, 4, 2), get(5, 6, Some(1))]);
}

#[test]
fn search_finds_reordered_cas() {
    fine(&[
        cas(0, 1, None, 1, Answer::Done(None)),
        cas(2, 9, Some(1), 2, Answer::Done(None)),
        cas(2, 9, Some(1), 3, Answer::Mismatch(Some(2))),
    ]);
    broken(&[
        cas(0, 1, None, 1, Answer::Done(None)),
        cas(2, 9, Some(1), 2, Answer::Done(None)),
        cas(2, 9, Some(1), 3, Answer::Done(None)),
    ]);
    broken(&[cas(0, 1, None, 1, Answer::Done(None)), cas(2, 3, Some(1), 2, Answer::Mismatch(Some(1)))]);
    broken(&[
        cas(0, 1, None, 1, Answer::Done(None)),
        cas(2, 3, Some(1), 2, Answer::Done(None)),
        cas(4, 5, Some(1), 3, Answer::Mismatch(Some(1))),
    ]);
}

#[test]
fn search_finds_an_effect_after_it_was_settled_that_there_is_none_any_more() {
    let settled = |end| Call { end: Some(end), ..open(0, Action::Put(1)) };
    fine(&[settled(3), get(2, 5, Some(1)), get(6, 7, Some(1))]);
    fine(&[settled(3), get(4, 5, None), get(6, 7, None)]);
    broken(&[settled(3), get(4, 5, None), get(6, 7, Some(1))]);
}

#[test]
fn search_finds_an_effect_before_it_was_asked_for() {
    broken(&[get(0, 1, Some(1)), put(2, 3, 1)]);
    broken(&[get(0, 1, Some(1)), open(2, Action::Put(1))]);
}

#[test]
fn search_gives_up_beyond_its_budget_and_says_so() {
    let many: Vec<Call> = (0..40).map(|n| put(0, 100, n + 1)).chain([get(200, 201, Some(99))]).collect();
    assert_eq!(search(&many, 1000), Verdict::TooLarge);
}

#[test]
fn search_bears_many_unknown_outcomes() {
    let mut calls = Vec::new();
    for n in 0..200_u64 {
        let at = n * 10;
        calls.push(open(at, Action::Put(10_000 + n)));
        calls.push(open(at, Action::Delete));
        calls.push(put(at + 1, at + 3, n + 1));
        calls.push(get(at + 4, at + 5, if n % 7 == 0 { None } else { Some(n + 1) }));
    }
    // 200 unknown deletes are more than places; 100 of them are not.
    fine(&calls[..400]);
}

/// Search against a checker that tries every order: the clever against the dumb.
#[test]
fn search_agrees_with_trying_every_order() {
    let mut dice = crate::dice::Dice::new(1, "planted");
    let mut verdicts = [0; 2];
    for _ in 0..3_000 {
        let calls: Vec<Call> = (0..dice.range(2, 6)).map(|n| draw(&mut dice, n)).collect();
        let dumb = any_order(&calls, &mut vec![false; calls.len()], None, 0);
        verdicts[usize::from(dumb)] += 1;
        let clever = search(&calls, BUDGET);
        assert_eq!(clever == Verdict::Linearizable, dumb, "{calls:?}");
    }
    assert!(verdicts.iter().all(|count| *count > 300), "{verdicts:?}");
}

fn draw(dice: &mut crate::dice::Dice, number: u64) -> Call {
    let start = dice.below(12);
    let end = start + dice.range(1, 6);
    let value = |dice: &mut crate::dice::Dice| dice.chance(700_000).then(|| dice.range(1, 4));
    let new = number + 1;
    let action = match dice.below(4) {
        0 => Action::Get,
        1 => Action::Put(new),
        2 => Action::Delete,
        _ => Action::Cas { expect: value(dice), new },
    };
    let answer = match (dice.below(8), action) {
        (0, _) => Answer::Unknown,
        (1..4, Action::Cas { .. }) => Answer::Mismatch(value(dice)),
        (_, Action::Get | Action::Delete) => Answer::Done(value(dice)),
        _ => Answer::Done(None),
    };
    let end = match answer {
        Answer::Unknown => dice.coin().then_some(end),
        _ => Some(end),
    };
    Call { start, end, action, answer }
}

fn any_order(calls: &[Call], done: &mut Vec<bool>, held: Option<u64>, now: u64) -> bool {
    if calls.iter().zip(done.iter()).all(|(call, done)| *done || call.answer == Answer::Unknown) {
        return true;
    }
    for at in 0..calls.len() {
        let call = calls[at];
        let late = call.end.is_some_and(|end| end < now);
        if done[at] || late {
            continue;
        }
        let unknown = call.answer == Answer::Unknown;
        let after = match (call.action, call.answer) {
            (Action::Get, Answer::Done(saw)) if saw == held => Some(held),
            (Action::Put(value), _) => Some(Some(value)),
            (Action::Delete, Answer::Done(saw)) if saw == held => Some(None),
            (Action::Delete, Answer::Unknown) => Some(None),
            (Action::Cas { expect, new }, Answer::Done(_)) if expect == held => Some(Some(new)),
            (Action::Cas { expect, new }, Answer::Unknown) => {
                Some(if expect == held { Some(new) } else { held })
            }
            (Action::Cas { expect, .. }, Answer::Mismatch(saw)) if saw == held && expect != held => {
                Some(held)
            }
            (Action::Get, Answer::Unknown) => Some(held),
            _ => None,
        };
        let Some(after) = after else { continue };
        // Nothing that must come may have ended before this one begins.
        let overtakes = calls.iter().zip(done.iter()).enumerate().any(|(other, (call_before, done))| {
            other != at
                && !*done
                && call_before.answer != Answer::Unknown
                && call_before.end.is_some_and(|end| end < call.start)
        });
        if overtakes && !unknown {
            continue;
        }
        if overtakes {
            continue;
        }
        done[at] = true;
        let found = any_order(calls, done, after, now.max(call.start));
        done[at] = false;
        if found {
            return true;
        }
    }
    false
}

fn placed(op: usize, start: u64, end: u64, position: u64, action: Action, answer: Answer) -> Placed {
    Placed { op, start, end: Some(end), position, key: 0, action, answer }
}

fn judge(mut history: Vec<Placed>) -> Result<(), Property> {
    witness::check(&mut history).map_err(|Violation { property, .. }| property)
}

#[test]
fn witness_finds_a_stale_read() {
    let history = |at, saw| {
        vec![
            placed(0, 0, 1, of_write(0), Action::Put(1), Answer::Done(None)),
            placed(1, 2, 3, of_write(1), Action::Put(2), Answer::Done(None)),
            placed(2, 4, 5, of_read(at), Action::Get, Answer::Done(saw)),
        ]
    };
    assert_eq!(judge(history(2, Some(2))), Ok(()));
    assert_eq!(judge(history(1, Some(1))), Err(Property::Linearizable), "an old position");
    assert_eq!(judge(history(2, Some(1))), Err(Property::Linearizable), "a new position, an old value");
}

#[test]
fn witness_finds_a_lost_write() {
    let history = vec![
        placed(0, 0, 1, of_write(0), Action::Put(1), Answer::Done(None)),
        placed(1, 2, 3, of_read(1), Action::Get, Answer::Done(None)),
    ];
    assert_eq!(judge(history), Err(Property::Linearizable));
}

#[test]
fn witness_finds_two_operations_in_one_place() {
    let history = vec![
        placed(0, 0, 1, of_write(0), Action::Put(1), Answer::Done(None)),
        placed(1, 2, 3, of_write(0), Action::Put(2), Answer::Done(None)),
    ];
    assert_eq!(judge(history), Err(Property::Once));
}

#[test]
fn witness_finds_an_order_that_time_forbids() {
    let history = vec![
        placed(0, 0, 1, of_write(5), Action::Put(1), Answer::Done(None)),
        placed(1, 2, 3, of_write(4), Action::Put(2), Answer::Done(None)),
    ];
    assert_eq!(judge(history), Err(Property::Linearizable));
}

#[test]
fn witness_finds_an_unknown_write_before_it_was_asked_for() {
    let late = Placed { end: None, ..placed(1, 9, 0, of_write(0), Action::Put(2), Answer::Unknown) };
    let history = vec![placed(0, 0, 1, of_write(5), Action::Put(1), Answer::Done(None)), late];
    assert_eq!(judge(history), Err(Property::Linearizable));
}

#[test]
fn witness_finds_reordered_cas() {
    let cas = |expect, new| Action::Cas { expect, new };
    let history = |answer| {
        vec![
            placed(0, 0, 1, of_write(0), Action::Put(1), Answer::Done(None)),
            placed(1, 2, 9, of_write(1), cas(Some(1), 2), Answer::Done(None)),
            placed(2, 2, 9, of_write(2), cas(Some(1), 3), answer),
        ]
    };
    assert_eq!(judge(history(Answer::Mismatch(Some(2)))), Ok(()));
    assert_eq!(judge(history(Answer::Done(None))), Err(Property::Linearizable));
    assert_eq!(judge(history(Answer::Mismatch(Some(1)))), Err(Property::Linearizable));
}
