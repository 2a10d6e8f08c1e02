//! Whole clusters under faults: a few seeds of what `haystack-sim --seeds N` runs by the thousand.

use haystack_sim::{Options, Profile, Schedule, run, soak};

#[test]
fn what_must_hold_holds_for_the_first_seeds() {
    let soak = soak(1, 24, 2, false, &Options::default(), |_| {});
    assert!(soak.violations.is_empty(), "{:?}", soak.violations);
    assert_eq!(soak.seeds, 24);
    assert!(soak.ops.0 > 10_000, "clients hardly worked: {:?}", soak.ops);
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 14, 15] {
        let (once, again) = (run(seed, &Options::default()), run(seed, &Options::default()));
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert_ne!(once.trace, run(seed + 1, &Options::default()).trace);
    }
}

#[test]
fn what_must_hold_holds_in_consensus_storms() {
    let options = Options { profile: Profile::Storm, ..Options::default() };
    let soak = soak(1, 6, 2, false, &options, |_| {});
    assert!(soak.violations.is_empty(), "{:?}", soak.violations);
}

#[test]
fn a_list_of_founders_makes_one_cluster_whatever_happens() {
    let options = Options { profile: Profile::Founding, ..Options::default() };
    let soak = soak(1, 100, 2, false, &options, |_| {});
    assert!(soak.violations.is_empty(), "{:?}", soak.violations);
}

#[test]
fn directed_schedules_hold() {
    for schedule in Schedule::ALL {
        let violation = schedule.play(haystack_core::mutation::Mutations::none());
        assert!(violation.is_none(), "{}: {violation:?}", schedule.name);
    }
}

/// What few seeds come to, or none.
#[cfg(feature = "mutations")]
#[test]
fn mutations_are_noticed_by_their_directed_schedules() {
    use haystack_core::mutation::Mutations;
    use haystack_sim::check::Property;
    for schedule in Schedule::ALL {
        let violation = schedule.play(Mutations::only(schedule.shows));
        let property = violation.as_ref().map(|violation| violation.property);
        assert!(
            property.is_some_and(|property| property != Property::Live),
            "{}: {violation:?}",
            schedule.name
        );
    }
}

/// Mistakes that show within few seeds. `haystack-sim --mutations` looks for all of them.
#[cfg(feature = "mutations")]
#[test]
fn mutations_are_noticed_within_a_bounded_number_of_seeds() {
    use haystack_core::mutation::{Mutation, Mutations};
    let planted = [
        (Mutation::OverlapTruncates, 40),
        (Mutation::AckAcrossGap, 40),
        (Mutation::LeaderSkipsPromise, 10),
        (Mutation::DuplicateApplied, 40),
        (Mutation::AppendedToldFailed, 40),
        (Mutation::ReadBeforeFloor, 40),
    ];
    for (mutation, most) in planted {
        let options = Options { mutations: Mutations::only(mutation), ..Options::default() };
        let soak = soak(1, most, 2, true, &options, |_| {});
        assert!(!soak.violations.is_empty(), "{mutation:?} went unnoticed in {most} seeds");
        println!("{mutation:?}: noticed within {} seeds", soak.seeds);
    }
}
