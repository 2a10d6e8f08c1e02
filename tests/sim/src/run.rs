//! One run of one seed.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use haystack_core::mutation::Mutations;
use slog::{Drain, Logger, OwnedKVList, o};

use crate::check::{Check, Property, Violation, ensure};
use crate::report::{self, Report};
use crate::scenario::{Fault, Profile, Scenario};
use crate::verdict::{self, Looked};
use crate::world::{Setting, World};

/// How to run a seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Ends the faults, and the run, at this simulated time.
    pub until: Option<Duration>,
    /// Faults to leave out, by name ([`faults`]).
    pub without: Vec<String>,
    /// What the seeds are to bring forth.
    pub profile: Profile,
    /// Rules to break.
    pub mutations: Mutations,
    /// Whether a lack of progress is borne: what breaks a rule of safety often stops progress first, and that proves
    /// little.
    pub safety_only: bool,
    /// Whether the daemons' logs are printed.
    pub verbose: bool,
    /// Whether the history is wanted.
    pub history: bool,
}

/// The names that [`Options::without`] knows.
pub fn faults() -> impl Iterator<Item = &'static str> {
    let weather = [
        "loss",
        "burst",
        "duplication",
        "reordering",
        "corruption",
        "truncation",
        "drift",
        "losses",
        "joiners",
        "founding_in_storm",
        "buggify",
        "consensus_storm",
    ];
    Fault::ALL.iter().map(|fault| fault.name()).chain(weather)
}

/// What is run.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Seed(u64),
    Schedule(&'static str),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Seed(seed) => write!(f, "seed {seed}"),
            Self::Schedule(name) => write!(f, "scenario {name}"),
        }
    }
}

thread_local! {
    /// The run of this thread, for whoever must tell of a panic.
    static SUBJECT: Cell<Option<Subject>> = const { Cell::new(None) };
    /// Simulated nanoseconds.
    static CLOCK: Cell<u64> = const { Cell::new(0) };
    /// The last panic's words.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes a panic inside a run a violation of that run. Where panics abort, the process ends with status 1 after the
/// violation was told.
fn catch_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let Some(subject) = SUBJECT.get() else { return before(info) };
            let at = info.location().map(ToString::to_string).unwrap_or_default();
            let what = format!("{} at {at}, at {} ns", words(info.payload()), CLOCK.get());
            if cfg!(panic = "unwind") {
                PANIC.set(Some(what));
            } else {
                let violation = Violation::new(Property::Assertion, what);
                println!("VIOLATION {subject}: {violation}\n  replay: haystack-sim --{subject}");
                std::process::exit(1);
            }
        }));
    });
}

/// Runs `run`, and gives what did not hold; an assertion that failed is that too.
fn guard(subject: Subject, run: impl FnOnce() -> Check) -> Option<Violation> {
    catch_panics();
    SUBJECT.set(Some(subject));
    let outcome = catch_unwind(AssertUnwindSafe(run));
    SUBJECT.set(None);
    match outcome {
        Ok(outcome) => outcome.err(),
        Err(_) => {
            let what = PANIC.take().unwrap_or_else(|| "panic".to_owned());
            Some(Violation::new(Property::Assertion, what))
        }
    }
}

/// Plays a schedule as [`run()`] runs a seed.
pub(crate) fn guarded(name: &'static str, play: impl FnOnce() -> Check) -> Option<Violation> {
    guard(Subject::Schedule(name), play)
}

fn words(payload: &dyn std::any::Any) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic")
}

/// Runs a seed.
pub fn run(seed: u64, options: &Options) -> Report {
    let scenario = Scenario::draw(seed, &options.without, options.profile);
    if options.verbose {
        println!("{scenario:#?}");
    }
    let log = if options.verbose { Logger::root(Printer, o!()) } else { Logger::root(slog::Discard, o!()) };
    let setting = Setting { seed, scenario, mutations: options.mutations, log };
    let mut world = World::new(setting);
    let until = options.until.map_or(u64::MAX, |until| until.as_nanos() as u64);
    let mut looked = Looked::default();
    let violation = guard(Subject::Seed(seed), || {
        world.course(until)?;
        last_look(&world, &mut looked)
    });
    let violation =
        violation.filter(|violation| !options.safety_only || violation.property != Property::Live);
    if options.verbose && violation.is_some() {
        println!("{}", world.scene_with(true));
    }
    report::count_all(&mut world, looked);
    let mut history = Vec::new();
    if options.history {
        world.record.history.write(&world.record.keys, &mut history).expect("memory takes what is written");
    }
    Report {
        seed,
        trace: world.trace.hash(),
        violation,
        simulated: Duration::from_nanos(world.queue.now()),
        ops: world.record.history.counts(),
        entries: world.entries(),
        coverage: world.coverage,
        history,
    }
}

fn last_look(world: &World, looked: &mut Looked) -> Check {
    let (out, into) = (world.spoofed_out, world.spoofed_in);
    ensure!(out <= into, Amplification, "{out} bytes went to addresses from which {into} bytes came");
    verdict::check(&world.record, looked)
}

/// The simulated time that log lines carry.
pub(crate) fn note_time(now: u64) {
    CLOCK.set(now);
}

/// Prints the daemons' logs with the simulated time.
struct Printer;

impl Drain for Printer {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &slog::Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        struct Pairs(String);
        impl slog::Serializer for Pairs {
            fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
                self.0.push_str(&format!(" {key}={value}"));
                Ok(())
            }
        }
        let mut pairs = Pairs(String::new());
        use slog::KV as _;
        // Writing to a string does not fail.
        let _ = values.serialize(record, &mut pairs);
        let _ = record.kv().serialize(record, &mut pairs);
        println!("{:>15} ns {}{}", CLOCK.get(), record.msg(), pairs.0);
        Ok(())
    }
}
