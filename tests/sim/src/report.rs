//! What a run came to.

use std::time::Duration;

use haystack_core::group::Machine;

use crate::actor::Actor;
use crate::check::Violation;
use crate::coverage::Coverage;
use crate::daemon::Daemon;
use crate::host::Process;
use crate::verdict::Looked;
use crate::world::World;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Hash over everything that happened.
    pub trace: u64,
    /// What did not hold, if anything.
    pub violation: Option<Violation>,
    /// Rare states.
    pub coverage: Coverage,
    /// Simulated time.
    pub simulated: Duration,
    /// Operations answered, surely failed, and of unknown outcome.
    pub ops: (usize, usize, usize),
    /// Entries in all logs.
    pub entries: u64,
    /// The history as JSON lines, if it was asked for.
    pub history: Vec<u8>,
}

/// Takes over what a daemon counted.
pub(crate) fn count_daemon(coverage: &mut Coverage, daemon: &Daemon) {
    let node = &daemon.node;
    coverage.add_all("node", node.stats().iter());
    coverage.add_all("link", node.endpoint().stats().iter());
    for group in node.groups() {
        coverage.add_all("broadcast", group.broadcast().counters().iter());
        coverage.add_all("election", group.election().stats().iter());
        if let Machine::Data(store) = group.machine() {
            coverage.add_all("store", store.stats().iter());
        }
    }
    coverage.add_all("standing", [(standing(daemon), 1)].into_iter());
}

fn standing(daemon: &Daemon) -> &'static str {
    use haystack_wire::message::directory::Standing;
    match daemon.node.standing() {
        Standing::Founding => "founding",
        Standing::Member => "member",
        Standing::Standby => "standby",
    }
}

/// Takes over what a client counted.
pub(crate) fn count_client(coverage: &mut Coverage, actor: &Actor) {
    coverage.add_all("client", actor.core.stats().iter());
    coverage.add_all("client.link", actor.core.link_stats().iter());
}

/// Takes over what everybody counted, at the end.
pub(crate) fn count_all(world: &mut World, looked: Looked) {
    let mut coverage = std::mem::take(&mut world.coverage);
    for host in &world.hosts {
        match &host.process {
            Process::Daemon(daemon) => count_daemon(&mut coverage, daemon),
            Process::Client(actor) => count_client(&mut coverage, actor),
            Process::None => {}
        }
    }
    let hits = world.net.hits;
    let weather = [
        ("loss", hits.lost),
        ("burst_loss", hits.lost_in_burst),
        ("duplication", hits.duplicated),
        ("reordering", hits.reordered),
        ("corruption", hits.flipped),
        ("truncation", hits.truncated),
        ("lost_in_cuts", hits.cut),
        ("lost_when_squeezed", hits.squeezed),
        ("queue_overflow", hits.overflowed),
        ("delayed", hits.delayed),
    ];
    coverage.add_all("net", weather.into_iter());
    coverage.add_all("fault", world.nemesis.hits.iter().map(|(fault, hits)| (fault.name(), *hits)));
    coverage.add_all("answers", world.record.seen.iter());
    for (_, canon) in world.record.canons.iter() {
        let rare = canon.model.rare;
        let named = [
            ("duplicates", rare.duplicates),
            ("never_applies", rare.never_applies),
            ("resolved", rare.resolved),
            ("expired", rare.expired),
            ("below_window", rare.below_window),
            ("fenced", rare.fenced),
            ("sessions_ended", rare.sessions_ended),
            ("sessions_closed", rare.sessions_closed),
        ];
        coverage.add_all("log", named.into_iter());
    }
    coverage.add("scenario", "consensus_storm", u64::from(world.scenario.consensus_storm));
    coverage.add("check", "keys_searched", looked.searched);
    coverage.add("check", "keys_too_large", looked.too_large);
    coverage.add("check", "unknown_that_applied", looked.unknown_applied);
    coverage.end_run();
    world.coverage = coverage;
}
