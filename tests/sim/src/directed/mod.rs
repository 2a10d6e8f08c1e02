//! Directed schedules: what random search over whole clusters comes to rarely or never, played step by step.
//!
//! Each passes as long as every rule is kept, and shows a violation as soon as the one that it is about is broken.

mod bare;
mod schedules;
mod stage;

use haystack_core::mutation::{Mutation, Mutations};

use crate::check::{Check, Violation};

/// A schedule with a name.
#[derive(Clone, Copy)]
pub struct Schedule {
    /// Its name, as switches and reports know it.
    pub name: &'static str,
    /// The mistake that it shows.
    pub shows: Mutation,
    play: fn(Mutations) -> Check,
}

impl std::fmt::Debug for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schedule").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Schedule {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::new("decided_before_the_sync", Mutation::DecideUnsynced, schedules::decided_before_the_sync),
        Self::new(
            "a_long_tail_of_an_old_leader",
            Mutation::AdoptByLength,
            schedules::a_long_tail_of_an_old_leader,
        ),
        Self::new("a_sync_that_breaks_off", Mutation::AcceptedRoundEarly, schedules::a_sync_that_breaks_off),
        Self::new(
            "an_adoption_that_breaks_off",
            Mutation::AdoptUnstaged,
            schedules::an_adoption_that_breaks_off,
        ),
        Self::new(
            "a_snapshot_before_its_sync",
            Mutation::SnapshotOutsideSync,
            schedules::a_snapshot_before_its_sync,
        ),
        Self::new(
            "a_source_that_falls_silent",
            Mutation::StalledPromiseCounts,
            schedules::a_source_that_falls_silent,
        ),
        Self::new(
            "a_read_behind_an_old_answer",
            Mutation::ReadNonceReused,
            schedules::a_read_behind_an_old_answer,
        ),
        Self::new("a_sync_that_comes_again", Mutation::LateSyncTruncates, schedules::a_sync_that_comes_again),
        Self::new(
            "an_acknowledgement_of_an_earlier_term",
            Mutation::AckWithoutBallot,
            schedules::an_acknowledgement_of_an_earlier_term,
        ),
        Self::new("a_ballot_led_twice", Mutation::BallotReused, bare::a_ballot_led_twice),
        Self::new("an_entry_behind_a_stop_sign", Mutation::AppendPastStop, bare::an_entry_behind_a_stop_sign),
    ];

    const fn new(name: &'static str, shows: Mutation, play: fn(Mutations) -> Check) -> Self {
        Self { name, shows, play }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|schedule| schedule.name == name)
    }

    /// Plays it, and gives what did not hold.
    pub fn play(&self, mutations: Mutations) -> Option<Violation> {
        crate::run::guarded(self.name, || (self.play)(mutations))
    }
}
