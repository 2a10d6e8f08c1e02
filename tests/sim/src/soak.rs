//! Many runs: seeds in a row, on several threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::check::Violation;
use crate::coverage::Coverage;
use crate::report::Report;
use crate::run::{Options, run};

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Soak {
    /// Seeds that were run.
    pub seeds: u64,
    /// What did not hold, by seed.
    pub violations: BTreeMap<u64, Violation>,
    /// Everything reached.
    pub coverage: Coverage,
    /// Simulated time of all runs.
    pub simulated: Duration,
    /// Operations answered, surely failed, of unknown outcome.
    pub ops: (usize, usize, usize),
    /// Entries of all logs.
    pub entries: u64,
}

impl Soak {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.simulated += report.simulated;
        let (done, failed, open) = report.ops;
        self.ops = (self.ops.0 + done, self.ops.1 + failed, self.ops.2 + open);
        self.entries += report.entries;
        self.coverage.merge(&report.coverage);
        if let Some(violation) = &report.violation {
            self.violations.insert(report.seed, violation.clone());
        }
    }
}

/// Runs `count` seeds from `from` on, on `jobs` threads, and tells each report. With `stop`, no seed begins after a
/// violation.
pub fn soak(
    from: u64,
    count: u64,
    jobs: usize,
    stop: bool,
    options: &Options,
    tell: impl Fn(&Report) + Sync,
) -> Soak {
    let next = AtomicU64::new(from);
    let stopped = AtomicBool::new(false);
    let soak = Mutex::new(Soak::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let report = run(seed, options);
                    if stop && report.violation.is_some() {
                        stopped.store(true, Ordering::Relaxed);
                    }
                    tell(&report);
                    let mut soak = soak.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    soak.add(&report);
                }
            });
        }
    });
    soak.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The shortest list of faults to leave out so that the seed still fails: each fault is left out in turn, for good if
/// the violation stays. Gives what to leave out, and the violation that is left.
pub fn shrink(seed: u64, options: &Options) -> Option<(Vec<String>, Violation)> {
    let mut options = Options { history: false, verbose: false, ..options.clone() };
    let mut violation = run(seed, &options).violation?;
    for fault in crate::run::faults() {
        options.without.push(fault.to_owned());
        match run(seed, &options).violation {
            Some(left) if left.property == violation.property => violation = left,
            _ => drop(options.without.pop()),
        }
    }
    Some((options.without, violation))
}
