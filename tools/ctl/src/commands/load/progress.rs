//! How a load goes on, on standard error: a bar on a terminal, else a line now and then.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::engine::Watcher;
use super::report::{BAD_LINES_TOLD, Report};
use crate::clock::now;
use crate::context::say;

/// Time between two lines where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(10);
/// A silence that is worth a word.
const SILENCE: Duration = Duration::from_millis(500);
/// Times a second that the bar is drawn, at most.
const DRAWINGS: u8 = 10;

/// How a load goes on.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    start: Instant,
    told: Instant,
    bad: usize,
}

impl Progress {
    /// The progress of an input of this size, if that is known.
    pub(crate) fn new(size: Option<u64>) -> Self {
        let bar = io::stderr().is_terminal().then(|| bar(size));
        Self { bar, start: now(), told: now(), bad: 0 }
    }

    /// Clears the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }
}

fn bar(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:30} {bytes}/{total_bytes} {msg} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {msg}"),
    };
    bar.set_draw_target(indicatif::ProgressDrawTarget::stderr_with_hz(DRAWINGS));
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl Watcher for Progress {
    fn bad(&mut self, number: u64, problem: &str) {
        self.bad += 1;
        match self.bad.cmp(&BAD_LINES_TOLD) {
            std::cmp::Ordering::Less => self.say(&format!("line {number}: {problem}")),
            std::cmp::Ordering::Equal => {
                self.say(&format!("line {number}: {problem}\nmore bad lines are counted, and not told"));
            }
            std::cmp::Ordering::Greater => {}
        }
    }

    fn progress(&mut self, report: &Report, silence: Duration) {
        let waits = if silence >= SILENCE {
            format!(", no answer for {:.1} s", silence.as_secs_f64())
        } else {
            String::new()
        };
        let time = now();
        if let Some(bar) = &self.bar {
            if time - self.told < Duration::from_millis(1000 / u64::from(DRAWINGS)) {
                return;
            }
            self.told = time;
            bar.set_position(report.input_bytes);
            let rate = report.lines as f64 / (time - self.start).as_secs_f64().max(0.001);
            bar.set_message(format!("{} lines, {rate:.0}/s{waits}", report.lines));
        } else if time - self.told >= LINE_PERIOD {
            self.told = time;
            say(&format!("{} lines loaded so far{waits}", report.lines));
        }
        let _ = io::stderr().flush();
    }
}
