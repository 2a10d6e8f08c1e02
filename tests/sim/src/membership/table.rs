//! The table: what is measured for how long, and how it is told.

use std::fmt::Write as _;

use super::net::Network;
use super::tally::{Outcome, Samples};

/// What a row of the table says of one detector.
fn percentiles(samples: &Samples) -> String {
    let cell = |percent| match samples.percentile(percent) {
        Some(seconds) => format!("{seconds:6.2}"),
        None => format!("{:>6}", "-"),
    };
    format!("{} {}", cell(50), cell(95))
}

/// Events per node-hour.
fn rate(outcome: &Outcome, count: u64) -> String {
    if count == 0 { format!("{:>8}", "0") } else { format!("{:8.3}", outcome.per_node_hour(count)) }
}

/// The heading of a table of crashes and mistakes.
pub(super) fn heading(nodes: usize) -> String {
    format!(
        "N = {nodes}\n{:8} | {:13} {:17} {:>9} | {:13} {:13} {:17} {:>9}\n\
         {:8} | {:>6} {:>6} {:>8} {:>8} {:>9} | {:>6} {:>6} {:>6} {:>6} {:>8} {:>8} {:>9}",
        "",
        "EPFD seen, s",
        "false per node-h",
        "crash in",
        "SWIM seen, s",
        "dead, s",
        "false per node-h",
        "crash in",
        "network",
        "p50",
        "p95",
        "all",
        "last 1/4",
        "node-h",
        "p50",
        "p95",
        "p50",
        "p95",
        "suspect",
        "dead",
        "node-h",
    )
}

/// A row of it; either side may be left out.
///
/// Of failure detectors there are two runs, with crashes and without: mistakes teach a process for its life, and that
/// is to be seen.
pub(super) fn row(network: Network, watch: Option<&(Outcome, Outcome)>, gossip: Option<&Outcome>) -> String {
    let run =
        |outcome: &Outcome| format!("{:>9}", format!("{}/{:.0}", outcome.crashes, outcome.node_hours()));
    let mut line = format!("{:8} |", network.name());
    match watch {
        Some((crashes, calm)) => {
            let (all, late) = (rate(calm, calm.false_suspicions), rate(calm, 4 * calm.late_suspicions));
            let _ = write!(line, " {} {all} {late} {} |", percentiles(&crashes.suspected), run(crashes));
        }
        None => line += &format!(" {:41} |", ""),
    }
    if let Some(gossip) = gossip {
        let (suspect, dead) = (rate(gossip, gossip.false_suspicions), rate(gossip, gossip.false_deaths));
        let (first, confirmed) = (percentiles(&gossip.first), percentiles(&gossip.dead));
        let _ = write!(line, " {first} {confirmed} {suspect} {dead} {}", run(gossip));
        if gossip.conflicts > 0 {
            let _ = write!(line, " {} conflicts reported!", gossip.conflicts);
        }
    }
    let crashing = watch.map(|(crashes, _)| crashes);
    for (at, by, about) in gossip.iter().flat_map(|gossip| &gossip.deaths) {
        let _ = write!(line, "\n{:8} |   at {at:.3} s host {by} believed that host {about} was dead", "");
    }
    for (name, outcome) in [("EPFD", crashing), ("SWIM", gossip)] {
        if let Some(outcome) = outcome.filter(|outcome| outcome.missed > 0) {
            let _ = write!(line, " {name} missed {}!", outcome.missed);
        }
    }
    if let Some((_, calm)) = watch.filter(|(_, calm)| !calm.one_way.is_empty()) {
        let _ = write!(line, "\n{:8} |   told that it is not heard: {} s", "", percentiles(&calm.one_way));
    }
    line
}

/// A row of the table of traffic.
pub(super) fn traffic(outcome: &Outcome) -> String {
    let busiest = outcome.busiest as f64 / outcome.seconds;
    format!(
        "{:5} | {:10.2} {:10.0} {busiest:12.2} {:12.1}",
        outcome.nodes,
        outcome.per_node_second(outcome.messages),
        outcome.per_node_second(outcome.bytes),
        outcome.converged
    )
}

/// The figures of others, from the design's measurements.
pub(super) const TO_BEAT: &str = "\
To beat, at N = 5: memberlist 0.5: first detection p50 5.0 s at 0 % loss, 6.0 s at 30 %; false deaths at 30 %: 14 to \
27 per node-hour.
Goals: EPFD within 0.7 s at 0 % and 1.8 s at 30 %; no false death in 24 simulated hours at 30 %, N = 5.";
