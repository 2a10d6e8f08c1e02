//! Every planted mistake is noticed, by the same random runs that pass without it.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::random::{Chaos, run};
use crate::mutation::{Mutation, Mutations};

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `run` without a word about its panic, and tells that.
fn violation(run: impl FnOnce()) -> Option<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !EXPECTED.get() {
                default(info);
            }
        }));
    });
    EXPECTED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    EXPECTED.set(false);
    let panic = result.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
}

/// How many seeds may pass before the mistake is noticed.
const SEEDS: u64 = 1000;

fn caught(what: &str, mutations: Mutations, adjust: impl Fn(&mut Chaos)) {
    let found = (0..SEEDS).find_map(|seed| {
        let text = violation(|| drop(run(seed, mutations, &adjust)))?;
        // Broken progress does not count: these are mistakes of safety.
        (!text.starts_with("no progress")).then_some((seed, text))
    });
    match found {
        Some((seed, text)) => println!("{what}: seed {seed}: {}", text.lines().next().unwrap_or_default()),
        None => panic!("{what} was not noticed in {SEEDS} seeds"),
    }
}

#[test]
fn every_planted_mistake_is_noticed() {
    for mutation in Mutation::BROADCAST {
        match mutation {
            // Needs an old acknowledgement at the right moment: among the rules.
            Mutation::AckWithoutBallot => {}
            Mutation::BallotReused => {
                caught("BallotReused", Mutations::only(mutation), |chaos| chaos.reuse = true);
            }
            _ => caught(&format!("{mutation:?}"), Mutations::only(mutation), |_| ()),
        }
    }
}

#[test]
fn a_process_without_memory_under_its_old_identity_is_noticed() {
    caught("amnesia", Mutations::none(), |chaos| chaos.amnesia = true);
}
