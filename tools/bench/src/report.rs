//! Latencies and throughput of one run, and how they are printed.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency that is told apart, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

/// What one run measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// What ran.
    pub(crate) name: String,
    /// Operations answered.
    pub(crate) done: u64,
    /// Operations that failed or whose outcome is unknown.
    pub(crate) failed: u64,
    /// How long it ran.
    pub(crate) took: Duration,
    /// Latencies in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Measured {
    /// An empty run.
    pub(crate) fn new(name: &str) -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3).unwrap_or_else(|error| {
            unreachable!("three digits between 1 ns and a minute are a valid histogram: {error}")
        });
        Self { name: name.to_owned(), done: 0, failed: 0, took: Duration::ZERO, latency }
    }

    /// Takes one answer in.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.done += 1;
        self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(LONGEST));
    }

    /// Operations per second.
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// A percentile of the latencies, in microseconds.
    pub(crate) fn percentile(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{:<28} {:>10.0} op/s   p50 {:>8.1} us   p99 {:>8.1} us   p99.9 {:>8.1} us   max {:>9.1} us   failed {}",
            self.name,
            self.rate(),
            self.percentile(0.5),
            self.percentile(0.99),
            self.percentile(0.999),
            self.latency.max() as f64 / 1e3,
            self.failed
        )
    }
}
