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

/// A run with crashes, and one without: mistakes teach a failure detector for its life, and a small membership with
/// a crashed node has nobody left to ask about others.
pub(super) struct Pair {
    pub(super) crashing: Outcome,
    pub(super) calm: Outcome,
}

impl Pair {
    pub(super) fn of(run: impl Fn(bool) -> Outcome) -> Self {
        Self { crashing: run(true), calm: run(false) }
    }
}

/// A row of it; either side may be left out.
pub(super) fn row(network: Network, watch: Option<&Pair>, gossip: Option<&Pair>) -> String {
    let runs = |pair: &Pair| {
        let hours = pair.calm.node_hours();
        format!("{:>9}", format!("{}/{hours:.0}", pair.crashing.crashes))
    };
    let mut line = format!("{:8} |", network.name());
    match watch {
        Some(pair) => {
            let calm = &pair.calm;
            let (all, late) = (rate(calm, calm.false_suspicions), rate(calm, 4 * calm.late_suspicions));
            let _ = write!(line, " {} {all} {late} {} |", percentiles(&pair.crashing.suspected), runs(pair));
        }
        None => line += &format!(" {:41} |", ""),
    }
    let Some(pair) = gossip else { return line + &remarks(watch, gossip) };
    let (suspect, dead) =
        (rate(&pair.calm, pair.calm.false_suspicions), rate(&pair.calm, pair.calm.false_deaths));
    let (first, confirmed) = (percentiles(&pair.crashing.first), percentiles(&pair.crashing.dead));
    let _ = write!(line, " {first} {confirmed} {suspect} {dead} {}", runs(pair));
    line + &remarks(watch, gossip)
}

/// What a row must not keep to itself.
fn remarks(watch: Option<&Pair>, gossip: Option<&Pair>) -> String {
    let mut text = String::new();
    let mut say = |said: String| text += &format!("\n{:8} |   {said}", "");
    if let Some(Pair { calm, .. }) = watch.filter(|pair| !pair.calm.one_way.is_empty()) {
        say(format!("EPFD told that it is not heard: {} s", percentiles(&calm.one_way)));
    }
    for (name, pair) in [("EPFD", watch), ("SWIM", gossip)] {
        let Some(Pair { crashing, calm }) = pair else { continue };
        if crashing.missed > 0 {
            say(format!("{name} missed a crash at {} nodes", crashing.missed));
        }
        if calm.conflicts + crashing.conflicts > 0 {
            say(format!("{name} reported {} conflicts", calm.conflicts + crashing.conflicts));
        }
        for (run, outcome) in [("without crashes", calm), ("with crashes", crashing)] {
            for (at, by, about) in &outcome.deaths {
                say(format!("{name} {run}: at {at:.3} s node {by} believed that node {about} was dead"));
            }
        }
    }
    text
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
