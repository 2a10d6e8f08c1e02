//! `haystack-sim`: runs clusters in virtual time. One seed is one run; a violation ends with status 1 and the line
//! that shows it again.

#[cfg(feature = "mutations")]
mod mutants;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use haystack_sim::check::Violation;
use haystack_sim::{Drill, Options, Profile, Report, Schedule, faults, membership, run, shrink, soak};
use structopt::StructOpt;

/// Simulates whole clusters under faults, all drawn from a seed.
#[derive(Debug, StructOpt)]
#[structopt(name = "haystack-sim")]
struct Cli {
    /// Runs this seed.
    #[structopt(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Runs so many seeds.
    #[structopt(long)]
    seeds: Option<u64>,
    /// The first of them.
    #[structopt(long, default_value = "1")]
    from: u64,
    /// Threads to run them on.
    #[structopt(long, default_value = "2")]
    jobs: usize,
    /// Goes on after a violation.
    #[structopt(long)]
    keep_going: bool,
    /// Ends the run after so many simulated seconds.
    #[structopt(long)]
    until: Option<f64>,
    /// Leaves a fault out; may be repeated.
    #[structopt(long, number_of_values = 1)]
    without: Vec<String>,
    /// Plays this directed schedule.
    #[structopt(long)]
    scenario: Option<String>,
    /// Plays all directed schedules.
    #[structopt(long)]
    scenarios: bool,
    /// Makes every seed a consensus storm; some are anyway.
    #[structopt(long)]
    storms: bool,
    /// Makes every seed a founding under troubles.
    #[structopt(long, conflicts_with = "storms")]
    founding: bool,
    /// Looks for the faults that a violation does not need.
    #[structopt(long)]
    shrink: bool,
    /// Prints the scenario and the daemons' logs.
    #[structopt(long)]
    verbose: bool,
    /// Writes what clients asked and were told to this file, as JSON lines.
    #[structopt(long, parse(from_os_str))]
    history: Option<PathBuf>,
    /// Prints the coverage table.
    #[structopt(long)]
    coverage: bool,
    /// Plants every mistake in turn, runs seeds and scenarios until it is reported, and prints what was.
    #[cfg(feature = "mutations")]
    #[structopt(long)]
    mutations: bool,
    /// Breaks a rule on purpose; needs a build with the feature `mutations`.
    #[cfg(feature = "mutations")]
    #[structopt(long)]
    mutation: Option<String>,
    #[structopt(subcommand)]
    part: Option<Part>,
}

/// What else there is to simulate.
#[derive(Debug, StructOpt)]
enum Part {
    /// Measures failure detector and membership.
    Membership(membership::Options),
}

impl Cli {
    #[cfg(feature = "mutations")]
    fn wants_mutations(&self) -> Option<bool> {
        self.mutations.then(|| mutants::all_are_found(self.from, self.seeds, self.jobs))
    }

    #[cfg(not(feature = "mutations"))]
    #[expect(clippy::unused_self, reason = "it is asked where mutations can be named")]
    const fn wants_mutations(&self) -> Option<bool> {
        None
    }

    const fn profile(&self) -> Profile {
        match (self.storms, self.founding) {
            (_, true) => Profile::Founding,
            (true, false) => Profile::Storm,
            (false, false) => Profile::Swarm,
        }
    }

    fn options(&self) -> Result<Options, String> {
        if let Some(unknown) = self.without.iter().find(|name| !faults().any(|fault| fault == name.as_str()))
        {
            let known: Vec<_> = faults().collect();
            return Err(format!("no fault is called {unknown}; there are: {}", known.join(", ")));
        }
        Ok(Options {
            until: self.until.map(Duration::from_secs_f64),
            without: self.without.clone(),
            profile: self.profile(),
            mutations: self.broken_rules()?,
            safety_only: self.broken_rules()? != haystack_core::mutation::Mutations::none(),
            verbose: self.verbose,
            history: self.history.is_some(),
        })
    }

    #[cfg(feature = "mutations")]
    fn broken_rules(&self) -> Result<haystack_core::mutation::Mutations, String> {
        use haystack_core::mutation::{Mutation, Mutations};
        let Some(name) = &self.mutation else { return Ok(Mutations::none()) };
        let found = Mutation::all().find(|mutation| format!("{mutation:?}") == *name);
        let known: Vec<_> = Mutation::all().map(|mutation| format!("{mutation:?}")).collect();
        found
            .map(Mutations::only)
            .ok_or(format!("no mutation is called {name}; there are: {}", known.join(", ")))
    }

    #[cfg(not(feature = "mutations"))]
    #[expect(clippy::unnecessary_wraps, reason = "it can fail where mutations can be named")]
    fn broken_rules(&self) -> Result<haystack_core::mutation::Mutations, String> {
        Ok(haystack_core::mutation::Mutations::none())
    }

    /// The line that shows a seed again.
    fn replay(&self, seed: u64) -> String {
        let mut line = format!("haystack-sim --seed {seed}");
        self.without.iter().for_each(|fault| line += &format!(" --without {fault}"));
        if let Some(until) = self.until {
            line += &format!(" --until {until}");
        }
        if self.storms {
            line += " --storms";
        }
        if self.founding {
            line += " --founding";
        }
        #[cfg(feature = "mutations")]
        if let Some(mutation) = &self.mutation {
            line += &format!(" --mutation {mutation}");
        }
        line
    }
}

#[expect(clippy::disallowed_methods, reason = "how fast simulated time passes is measured in real time")]
fn main() -> ExitCode {
    let cli = Cli::from_args();
    let usage = |problem: String| {
        eprintln!("haystack-sim: {problem}");
        ExitCode::from(2)
    };
    if let Some(Part::Membership(options)) = &cli.part {
        return membership::tables(options).map_or_else(usage, |()| ExitCode::SUCCESS);
    }
    let options = match cli.options() {
        Ok(options) => options,
        Err(problem) => return usage(problem),
    };
    let began = Instant::now();
    if let Some(found) = cli.wants_mutations() {
        return if found { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if cli.scenarios || cli.scenario.is_some() {
        return scenarios(&cli, &options);
    }
    match cli.seed {
        Some(seed) => one(&cli, seed, &options),
        None => many(&cli, &options, began),
    }
}

/// Plays one directed schedule or drill, or all of them.
fn scenarios(cli: &Cli, options: &Options) -> ExitCode {
    let wanted = |name: &str| cli.scenario.as_ref().is_none_or(|asked| asked == name);
    let schedules: Vec<&Schedule> = Schedule::ALL.iter().filter(|schedule| wanted(schedule.name)).collect();
    let drills: Vec<&Drill> = Drill::ALL.iter().filter(|drill| wanted(drill.name)).collect();
    if schedules.is_empty() && drills.is_empty() {
        let known = Schedule::ALL.iter().map(|schedule| schedule.name);
        let known: Vec<_> = known.chain(Drill::ALL.iter().map(|drill| drill.name)).collect();
        eprintln!("haystack-sim: no scenario is called so; there are: {}", known.join(", "));
        return ExitCode::from(2);
    }
    let mut code = ExitCode::SUCCESS;
    let mut report = |name: &str, told: Vec<String>, violation: Option<Violation>| {
        match &violation {
            None => println!("scenario {name}: holds"),
            Some(violation) => {
                println!("VIOLATION scenario {name}: {violation}\n  replay: haystack-sim --scenario {name}");
                code = ExitCode::FAILURE;
            }
        }
        told.iter().for_each(|line| println!("  {line}"));
    };
    schedules.iter().for_each(|schedule| {
        report(schedule.name, Vec::new(), schedule.play(options.mutations));
    });
    for drill in drills {
        let (told, violation) = drill.play();
        report(drill.name, told, violation);
    }
    code
}

fn one(cli: &Cli, seed: u64, options: &Options) -> ExitCode {
    println!("seed {seed}");
    if cli.shrink {
        return match shrink(seed, options) {
            None => {
                println!("no violation");
                ExitCode::SUCCESS
            }
            Some((without, violation)) => {
                let without: String = without.iter().map(|fault| format!(" --without {fault}")).collect();
                println!("{violation}\n  replay: haystack-sim --seed {seed}{without}");
                ExitCode::FAILURE
            }
        };
    }
    let report = run(seed, options);
    if let Some(path) = &cli.history
        && let Err(error) = std::fs::write(path, &report.history)
    {
        eprintln!("haystack-sim: cannot write {}: {error}", path.display());
        return ExitCode::from(2);
    }
    if cli.coverage {
        print!("{}", report.coverage);
    }
    let (done, failed, open) = report.ops;
    println!(
        "trace {:016x}, {:.3} s simulated, {done} operations answered, {failed} failed, {open} of unknown outcome, {} \
         entries",
        report.trace,
        report.simulated.as_secs_f64(),
        report.entries
    );
    tell(cli, &report)
}

fn tell(cli: &Cli, report: &Report) -> ExitCode {
    match &report.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            let violation = violation.to_string();
            let lines = if cli.verbose || cli.seed.is_some() { usize::MAX } else { 1 };
            let shown: Vec<&str> = violation.lines().take(lines).collect();
            println!(
                "VIOLATION seed {}: {}\n  replay: {}",
                report.seed,
                shown.join("\n"),
                cli.replay(report.seed)
            );
            ExitCode::FAILURE
        }
    }
}

fn many(cli: &Cli, options: &Options, began: Instant) -> ExitCode {
    let count = cli.seeds.unwrap_or(100);
    println!("seeds {} to {}", cli.from, cli.from + count.saturating_sub(1));
    let stop = !cli.keep_going;
    let soak = soak(cli.from, count, cli.jobs, stop, options, |report| {
        tell(cli, report);
    });
    let real = began.elapsed().as_secs_f64();
    let simulated = soak.simulated.as_secs_f64();
    if cli.coverage || soak.violations.is_empty() {
        print!("{}", soak.coverage);
    }
    let (done, failed, open) = soak.ops;
    println!(
        "{} seeds, {} violations, {done} operations answered, {failed} failed, {open} of unknown outcome, {} \
         entries; {simulated:.0} s simulated in {real:.1} s: {:.0} simulated seconds per real second",
        soak.seeds,
        soak.violations.len(),
        soak.entries,
        simulated / real.max(1e-9)
    );
    if soak.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
