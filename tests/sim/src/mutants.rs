//! The self-test: every planted mistake must be reported, by seeds or by directed schedules.
//!
//! Each search is a process of its own, since an assertion that fails ends the process where panics abort. What stops
//! progress only is not counted: these are mistakes of safety.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use haystack_core::mutation::Mutation;
use haystack_sim::Schedule;

/// Seeds that whole clusters may take for each mistake, unless told otherwise; half as many more are storms.
const SEEDS: u64 = 40;

/// Why no seed of whole clusters can show a mistake, if that is so: then only schedules are played.
const fn out_of_reach(mutation: Mutation) -> Option<&'static str> {
    match mutation {
        Mutation::BallotReused => Some("elections draw every ballot above all that they know"),
        Mutation::AppendPastStop => Some("nothing proposes a stop-sign before views change"),
        _ => None,
    }
}

/// What was reported.
#[derive(Clone, Debug)]
struct Report {
    /// The seed or the schedule.
    subject: String,
    property: String,
}

/// What became of one mistake.
#[derive(Debug)]
struct Row {
    mutation: Mutation,
    by_seed: Option<Report>,
    by_schedule: Option<Report>,
    took: Duration,
}

/// Looks for every planted mistake, prints what was found, and says whether all were.
pub(crate) fn all_are_found(from: u64, seeds: Option<u64>, jobs: usize) -> bool {
    let seeds = seeds.unwrap_or(SEEDS);
    let todo: Mutex<VecDeque<Mutation>> = Mutex::new(Mutation::all().collect());
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(mutation) = next else { return };
                    let row = look_for(mutation, from, seeds);
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|row| row.mutation);
    print(&rows, seeds);
    rows.iter().all(|row| row.by_seed.is_some() || row.by_schedule.is_some())
}

#[expect(clippy::disallowed_methods, reason = "how long the search takes is measured in real time")]
fn look_for(mutation: Mutation, from: u64, seeds: u64) -> Row {
    let began = Instant::now();
    let name = format!("{mutation:?}");
    let schedule = Schedule::ALL.iter().find(|schedule| schedule.shows == mutation);
    let by_schedule = schedule.and_then(|schedule| run(&name, &["--scenario", schedule.name]));
    let (from, count, storms) = (from.to_string(), seeds.to_string(), (seeds / 2).to_string());
    let by_seed = match out_of_reach(mutation) {
        Some(_) => None,
        None => run(&name, &["--from", &from, "--seeds", &count, "--jobs", "1"]).or_else(|| {
            let found = run(&name, &["--storms", "--from", &from, "--seeds", &storms, "--jobs", "1"])?;
            Some(Report { subject: format!("storm {}", found.subject), ..found })
        }),
    };
    Row { mutation, by_seed, by_schedule, took: began.elapsed() }
}

/// Runs this program with the mistake planted, and reads what it reports.
fn run(mutation: &str, args: &[&str]) -> Option<Report> {
    let program = std::env::current_exe().expect("a program knows where it is");
    let output = Command::new(program).args(["--mutation", mutation]).args(args).output();
    let output = output.expect("a program can run itself");
    let said = String::from_utf8_lossy(&output.stdout);
    reported(&said)
}

/// The first violation of safety in what was printed: `VIOLATION <subject>: <property>: <words>`.
fn reported(said: &str) -> Option<Report> {
    said.lines().find_map(|line| {
        let mut parts = line.strip_prefix("VIOLATION ")?.splitn(3, ": ");
        let (subject, property) = (parts.next()?, parts.next()?);
        (property != "LIVE").then(|| Report { subject: subject.to_owned(), property: property.to_owned() })
    })
}

fn print(rows: &[Row], seeds: u64) {
    println!(
        "{:<22} {:<14} {:<10} {:<48} {:<10} {:>7}",
        "mutation", "by", "property", "by", "property", "time"
    );
    for row in rows {
        let (seed, first) = told(row.by_seed.as_ref());
        let (schedule, second) = told(row.by_schedule.as_ref());
        let name = format!("{:?}", row.mutation);
        let took = row.took.as_secs_f64();
        println!("{name:<22} {seed:<14} {first:<10} {schedule:<48} {second:<10} {took:>5.1} s");
    }
    for row in rows {
        if row.by_seed.is_none() && row.by_schedule.is_none() {
            println!(
                "{:?} WENT UNNOTICED in {seeds} seeds, {} storms and all scenarios",
                row.mutation,
                seeds / 2
            );
        } else if let Some(why) = out_of_reach(row.mutation) {
            println!("{:?} is out of reach of seeds: {why}", row.mutation);
        }
    }
    let found = rows.iter().filter(|row| row.by_seed.is_some() || row.by_schedule.is_some()).count();
    println!("{found} of {} mutations found", rows.len());
}

fn told(report: Option<&Report>) -> (&str, &str) {
    report.map_or(("-", "-"), |report| (&report.subject, &report.property))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_progress_is_no_finding() {
        assert!(reported("seeds 1 to 9\nVIOLATION seed 4: LIVE: no leader: really\n").is_none());
        let report = reported("VIOLATION seed 4: LIVE: x\nVIOLATION scenario some: LOG: at 3: y\n");
        let report = report.expect("the second line is one");
        assert_eq!((&*report.subject, &*report.property), ("scenario some", "LOG"));
    }
}
