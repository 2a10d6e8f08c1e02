//! Logs to standard error: for a terminal or as JSON lines, with a level per component.
//!
//! A thread of its own writes them, so that a slow terminal or journal never holds up the event loop; what it cannot
//! take is dropped, and the drops are reported.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use slog::{Drain, Level, Logger, OwnedKVList, Record, o};
use slog_async::{AsyncGuard, OverflowStrategy};

use crate::config::near_match;

/// Log records that may wait for the writing thread (judgement: a burst of a second at one per millisecond).
const QUEUE_RECORDS: usize = 1024;
/// The writing thread, by name.
const THREAD: &str = "haystackd-log";

/// The parts that log, each with a level of its own.
const COMPONENTS: [&str; 9] =
    ["daemon", "node", "links", "membership", "election", "broadcast", "group", "store", "directory"];

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Terminal,
    /// A JSON object per line.
    Json,
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "terminal" => Ok(Self::Terminal),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is no log format: write `terminal` or `json`")),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminal => "terminal",
            Self::Json => "json",
        })
    }
}

/// How much to log: a level for all, and other levels for some components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    all: Level,
    components: Vec<(&'static str, Level)>,
}

impl Default for Levels {
    fn default() -> Self {
        Self { all: Level::Info, components: Vec::new() }
    }
}

impl Levels {
    /// The level of a component.
    fn of(&self, component: &str) -> Level {
        let own = self.components.iter().find(|(name, _)| *name == component);
        own.map_or(self.all, |(_, level)| *level)
    }

    /// The chattiest level of all.
    fn max(&self) -> Level {
        let levels = self.components.iter().map(|(_, level)| *level).chain([self.all]);
        levels.max_by_key(|level| level.as_usize()).unwrap_or(self.all)
    }
}

impl FromStr for Levels {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut levels = Self::default();
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None => levels.all = level(part)?,
                Some((name, wanted)) => {
                    let known = COMPONENTS.into_iter().find(|known| *known == name.trim());
                    let component = known.ok_or_else(|| unknown_component(name.trim()))?;
                    levels.components.retain(|(name, _)| *name != component);
                    levels.components.push((component, level(wanted.trim())?));
                }
            }
        }
        Ok(levels)
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.all.as_str().to_ascii_lowercase())?;
        self.components
            .iter()
            .try_for_each(|(name, level)| write!(f, ",{name}={}", level.as_str().to_ascii_lowercase()))
    }
}

/// A level by name.
fn level(text: &str) -> Result<Level, String> {
    let names = [
        ("error", Level::Error),
        ("warning", Level::Warning),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
        ("warn", Level::Warning),
    ];
    let found = names.iter().find(|(name, _)| *name == text).map(|(_, level)| *level);
    found.ok_or_else(|| format!("`{text}` is no log level: write error, warning, info, debug or trace"))
}

/// What to say about a component that does not exist.
fn unknown_component(name: &str) -> String {
    match near_match(name, COMPONENTS) {
        Some(near) => format!("unknown component `{name}`: did you mean `{near}`?"),
        None => format!("unknown component `{name}`. The components are {}", COMPONENTS.join(", ")),
    }
}

/// The component that a record comes from: its tag if it has one, else by the module that wrote it.
fn component<'a>(tag: &'a str, module: &'a str) -> &'a str {
    if !tag.is_empty() {
        return tag;
    }
    let mut path = module.split("::");
    match (path.next(), path.next()) {
        (Some("haystack_wire"), _) => "links",
        (Some("haystack_core"), Some(part)) => part,
        _ => "daemon",
    }
}

/// Drops what is below its component's level before it costs anything.
struct Filter<D> {
    levels: Levels,
    max: Level,
    inner: D,
}

impl<D: Drain> Drain for Filter<D> {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        let component = component(record.tag(), record.module());
        if record.level().is_at_least(self.levels.of(component)) {
            // A log that cannot be written must not end what it tells about.
            let _ = self.inner.log(record, values);
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(self.max)
    }
}

/// The writing thread's guard: waiting for it flushes.
static GUARD: Mutex<Option<AsyncGuard>> = Mutex::new(None);

/// Opens the log, for a daemon of this name.
pub(crate) fn start(levels: &Levels, format: Format, name: &str) -> Logger {
    let stderr = WholeLines::new(io::stderr());
    let writer = match format {
        Format::Terminal => asynchronous(for_people(stderr)),
        Format::Json => asynchronous(for_programs(stderr)),
    };
    let filter = Filter { max: levels.max(), levels: levels.clone(), inner: writer };
    let log = Logger::root(filter, o!("name" => name.to_owned()));
    flush_on_panic(log.clone());
    log
}

fn for_people<W: Write>(to: W) -> impl Drain<Ok = (), Err = slog::Never> + use<W> {
    let format = slog_term::FullFormat::new(slog_term::PlainDecorator::new(to));
    format.use_utc_timestamp().use_original_order().build().ignore_res()
}

fn for_programs<W: Write>(to: W) -> impl Drain<Ok = (), Err = slog::Never> + use<W> {
    slog_json::Json::new(to).add_default_keys().build().ignore_res()
}

/// Writes whole lines, each with its end in one write: the daemons of `dev`, and `dev` itself, share a terminal, and
/// would else cut into each other's lines. (`LineWriter` does not do it: it writes an end that comes alone, as that of
/// a record does, after the line.)
struct WholeLines<W> {
    to: W,
    line: Vec<u8>,
}

impl<W> WholeLines<W> {
    const fn new(to: W) -> Self {
        Self { to, line: Vec::new() }
    }
}

impl<W: Write> Write for WholeLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.ends_with(b"\n") {
            let line = core::mem::take(&mut self.line);
            self.to.write_all(&line)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Hands records to the writing thread.
fn asynchronous(drain: impl Drain<Ok = (), Err = slog::Never> + Send + 'static) -> slog_async::Async {
    let builder = slog_async::Async::new(drain)
        .chan_size(QUEUE_RECORDS)
        .overflow_strategy(OverflowStrategy::DropAndReport)
        .thread_name(THREAD.to_owned());
    let (drain, guard) = builder.build_with_guard();
    *GUARD.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    drain
}

/// Writes out what still waits. Nothing is logged any more after this.
pub(crate) fn flush() {
    let guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(guard);
}

/// A failed assertion ends the process at once; what was logged before it is what explains it.
fn flush_on_panic(log: Logger) {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The writing thread cannot wait for itself.
        if std::thread::current().name() != Some(THREAD) {
            slog::crit!(log, "a bug: {panic}. Please report it with this log");
            flush();
        }
        default(panic);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what each write is given.
    #[derive(Clone, Default)]
    struct Writes(std::sync::Arc<Mutex<Vec<String>>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_record_is_written_with_its_end_in_one_write() {
        let values: OwnedKVList = o!("name" => "n1").into();
        let say = |drain: &dyn Drain<Ok = (), Err = slog::Never>| {
            for _ in 0..2 {
                drain
                    .log(
                        &slog::record!(
                            Level::Info,
                            "",
                            &format_args!("member of the cluster"),
                            slog::b!("a" => 1)
                        ),
                        &values,
                    )
                    .unwrap();
            }
        };
        for people in [true, false] {
            let writes = Writes::default();
            let to = WholeLines::new(writes.clone());
            if people {
                say(&for_people(to))
            } else {
                say(&for_programs(to))
            }
            let lines = writes.0.lock().unwrap().clone();
            assert_eq!(lines.len(), 2, "{lines:?}");
            let is_whole = |line: &String| line.contains("member") && line.find('\n') == Some(line.len() - 1);
            assert!(lines.iter().all(is_whole), "{lines:?}");
        }
    }

    #[test]
    fn levels_are_read_and_written_alike() {
        for text in ["info", "warning,links=debug", "error,links=trace,election=info"] {
            assert_eq!(text.parse::<Levels>().unwrap().to_string(), text);
        }
        let levels: Levels = "warn, links=debug, links=info".parse().unwrap();
        assert_eq!(
            (levels.of("links"), levels.of("store"), levels.max()),
            (Level::Info, Level::Warning, Level::Info)
        );
    }

    #[test]
    fn wrong_levels_are_told_with_what_is_right() {
        assert!("loud".parse::<Levels>().unwrap_err().contains("error, warning"));
        assert!("info,link=debug".parse::<Levels>().unwrap_err().contains("did you mean `links`"));
        assert!("info,kitchen=debug".parse::<Levels>().unwrap_err().contains("directory"));
        assert!("xml".parse::<Format>().unwrap_err().contains("json"));
    }

    #[test]
    fn a_record_belongs_to_its_tag_or_its_module() {
        assert_eq!(component("", "haystack_core::election::round"), "election");
        assert_eq!(component("broadcast", "haystack_core::group"), "broadcast");
        assert_eq!(component("", "haystack_wire::link::send"), "links");
        assert_eq!(component("", "haystackd::event_loop"), "daemon");
    }
}
