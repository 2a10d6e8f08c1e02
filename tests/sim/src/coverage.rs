//! How often rare things happened: what was never reached was never tested.

use std::collections::BTreeMap;
use std::fmt;

/// Counters by part and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<(&'static str, &'static str), u64>,
    /// In how many runs each counter was above 0.
    runs: BTreeMap<(&'static str, &'static str), u64>,
}

impl Coverage {
    /// Adds to a counter.
    pub fn add(&mut self, part: &'static str, name: &'static str, count: u64) {
        *self.counts.entry((part, name)).or_default() += count;
    }

    /// Adds all of a part's counters.
    pub fn add_all(&mut self, part: &'static str, counters: impl Iterator<Item = (&'static str, u64)>) {
        counters.for_each(|(name, count)| self.add(part, name, count));
    }

    /// A counter's value.
    pub fn get(&self, part: &str, name: &str) -> u64 {
        let found = self.counts.iter().find(|((of, called), _)| *of == part && *called == name);
        found.map_or(0, |(_, count)| *count)
    }

    /// Ends a run: every counter above 0 was reached by one run more.
    pub fn end_run(&mut self) {
        for (key, count) in &self.counts {
            *self.runs.entry(*key).or_default() += u64::from(*count > 0);
        }
    }

    /// Adds what other runs reached.
    pub fn merge(&mut self, other: &Self) {
        for (key, count) in &other.counts {
            *self.counts.entry(*key).or_default() += count;
        }
        for (key, runs) in &other.runs {
            *self.runs.entry(*key).or_default() += runs;
        }
    }

    /// Counters that stayed 0, of those that count reached states and not mistakes or impossible things.
    pub fn never(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.counts.iter().filter(|(_, count)| **count == 0).map(|(key, _)| *key)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut part = "";
        for ((of, name), count) in &self.counts {
            if *of != part {
                part = of;
                writeln!(f, "{part}")?;
            }
            let runs = self.runs.get(&(*of, *name)).copied().unwrap_or_default();
            writeln!(f, "  {name:<34} {count:>14} in {runs} runs")?;
        }
        Ok(())
    }
}
