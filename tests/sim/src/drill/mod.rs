//! Drills: elections by name, with whole daemons and clients. Each breaks one thing in a calm network and measures how
//! long it takes until a write that was begun afterwards succeeds in every partition.

mod courses;
mod stand;

use crate::check::{Check, Violation};
use stand::Stand;

/// A drill with a name.
#[derive(Clone, Copy)]
pub struct Drill {
    /// Its name, as switches and reports know it.
    pub name: &'static str,
    founders: usize,
    partitions: u32,
    /// Whether there is a client for each daemon that reaches no other.
    apart: bool,
    play: fn(&mut Stand) -> Check,
}

impl std::fmt::Debug for Drill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drill").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drill {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::new("quorum_loss", 5, 1, courses::quorum_loss),
        Self::new("constrained", 5, 1, courses::constrained),
        Self::new("chained_three", 3, 1, courses::chained),
        Self::new("chained_five", 5, 1, courses::chained),
        Self::new("one_way_mute", 3, 1, courses::one_way_mute),
        Self::new("one_way_deaf", 3, 1, courses::one_way_deaf),
        Self::new("one_way_to_one", 3, 1, courses::one_way_to_one),
        Self::new("duplicated_heartbeats", 5, 1, courses::duplicated_heartbeats),
        Self { apart: true, ..Self::new("bridge_of_three", 3, 1, courses::bridge_of_three) },
        Self { apart: true, ..Self::new("bridge_leads", 3, 1, courses::bridge_leads) },
        Self::new("coordinator_killed", 5, 8, courses::coordinator_killed),
        Self::new("coordinator_cut_off", 5, 8, courses::coordinator_cut_off),
        Self::new("coordinator_paused", 5, 8, courses::coordinator_paused),
        Self::new("coordinator_and_two_killed", 9, 16, courses::coordinator_and_two_killed),
    ];

    const fn new(
        name: &'static str,
        founders: usize,
        partitions: u32,
        play: fn(&mut Stand) -> Check,
    ) -> Self {
        Self { name, founders, partitions, apart: false, play }
    }

    /// Plays it, and gives what was measured and what did not hold.
    pub fn play(&self) -> (Vec<String>, Option<Violation>) {
        let mut told = Vec::new();
        let violation = crate::run::guarded(self.name, || {
            let mut stand = Stand::new(self.founders, self.partitions, self.apart)?;
            let outcome = (self.play)(&mut stand).and_then(|()| stand.end());
            told = stand.told;
            outcome
        });
        (told, violation)
    }
}
