//! What a load did.

use std::time::Duration;

use haystack_client::{Error, Ticket};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::output::count;

/// Bad lines that are told one by one; of the others only the number is.
pub(crate) const BAD_LINES_TOLD: usize = 100;

/// What a load did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Lines written.
    pub(crate) lines: u64,
    /// Bytes of their keys and values.
    pub(crate) bytes: u64,
    /// Bytes of the input that are dealt with.
    pub(crate) input_bytes: u64,
    /// Blank lines.
    pub(crate) blank: u64,
    /// The first lines that cannot be loaded, with the reasons.
    pub(crate) bad: Vec<(u64, String)>,
    /// Lines that cannot be understood.
    pub(crate) malformed: u64,
    /// Lines that the cluster does not take.
    pub(crate) refused: u64,
    /// Attempts beyond the first one of each write, and writes begun again.
    pub(crate) retries: u64,
    /// Questions about what became of a write.
    pub(crate) settled: u64,
    /// Lines that were begun and are surely not written.
    pub(crate) missing: u64,
    /// Lines of which it is not known whether they are written.
    pub(crate) unknown: Vec<UnknownLine>,
    /// The first line that is not known to be written; all before it are, but for the bad ones.
    pub(crate) first_missing: Option<u64>,
    /// Why the load ended before the input.
    pub(crate) stop: Option<Stop>,
    /// Why the input could not be read to its end.
    pub(crate) unreadable: Option<String>,
    /// The longest time that something was under way and nothing succeeded.
    pub(crate) longest_silence: Duration,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

/// A line of which it is not known whether it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownLine {
    /// Its number.
    pub(crate) number: u64,
    /// The write.
    pub(crate) ticket: Option<Ticket>,
}

/// Why a load ended before its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// The line that met it.
    pub(crate) number: u64,
    /// What it met.
    pub(crate) error: Error,
}

impl Report {
    /// Notes a line that cannot be loaded.
    pub(crate) fn note_bad(&mut self, number: u64, problem: &str, by_cluster: bool) {
        let count = if by_cluster { &mut self.refused } else { &mut self.malformed };
        *count += 1;
        if self.bad.len() < BAD_LINES_TOLD {
            self.bad.push((number, problem.to_owned()));
        }
    }

    /// The exit status: of the worst thing that happened.
    pub(crate) fn exit(&self, stop: Option<&Failure>) -> Exit {
        if !self.unknown.is_empty() {
            return Exit::Unknown;
        }
        match stop {
            Some(stop) => stop.exit,
            None if self.refused > 0 => Exit::Refused,
            None if self.malformed > 0 || self.unreadable.is_some() => Exit::Usage,
            None => Exit::Done,
        }
    }

    /// The last words: what was done, and what was not, with the cure.
    pub(crate) fn text(&self, stop: Option<&Failure>, file: &str) -> String {
        let seconds = self.elapsed.as_secs_f64();
        let rate = self.lines as f64 / seconds.max(0.001);
        let mut text = format!(
            "loaded {} ({} bytes of keys and values) in {seconds:.2} s, {rate:.0} lines/s; {}, {} asked for; longest \
             time without a success: {} ms",
            count(self.lines, "line"),
            self.bytes,
            if self.retries == 1 { "1 retry".to_owned() } else { format!("{} retries", self.retries) },
            count(self.settled, "lost answer"),
            self.longest_silence.as_millis(),
        );
        if self.blank > 0 {
            text.push_str(&format!("\n{} skipped", count(self.blank, "blank line")));
        }
        if self.malformed + self.refused > 0 {
            text.push_str(&format!("\n{} NOT loaded", count(self.malformed + self.refused, "bad line")));
        }
        if let Some(problem) = &self.unreadable {
            text.push_str(&format!("\n{file} cannot be read to its end: {problem}"));
        }
        if let (Some(stop), Some(at)) = (stop, &self.stop) {
            text.push_str(&format!("\nSTOPPED at line {}: {}", at.number, stop.message));
        }
        if stop.is_some() && self.malformed + self.refused > 0 {
            text.push_str(
                "\nThe exit status tells of the stop alone; the bad lines are not loaded by going on either: mend them",
            );
        }
        if let Some(UnknownLine { number, ticket }) = self.unknown.iter().min_by_key(|line| line.number) {
            let write = ticket.as_ref().map_or_else(String::new, |ticket| {
                format!(" (session {}.{}, number {})", ticket.session.group, ticket.session.index, ticket.seq)
            });
            let lines = count(self.unknown.len() as u64, "line");
            text.push_str(&format!("\n{lines} may have been written, the first is line {number}{write}"));
        }
        if matches!(&self.stop, Some(Stop { error: Error::HistoryForked { .. }, .. })) {
            text.push_str("\nwhat was loaded may be lost with the old history: load the whole file again");
        } else if let Some(first) = self.first_missing {
            let before = match first {
                1 if self.lines == 0 && self.unknown.is_empty() => "no line is loaded".to_owned(),
                1 => "some lines may be loaded".to_owned(),
                _ => format!("all lines before {first} are loaded, but for bad ones, and perhaps some after"),
            };
            text.push_str(&format!("\n{before}. To go on: tail -n +{first} {file} | haystackctl load -"));
        }
        text
    }

    /// The documented shape.
    pub(crate) fn to_json(&self, stop: Option<&Failure>, exit: Exit) -> Value {
        let stopped = stop.zip(self.stop.as_ref()).map(
            |(stop, at)| json!({ "line": at.number, "kind": stop.exit.word(), "message": stop.message }),
        );
        json!({
            "result": exit.word(),
            "lines": self.lines,
            "bytes": self.bytes,
            "seconds": self.elapsed.as_secs_f64(),
            "retries": self.retries,
            "settled": self.settled,
            "longest_silence_ms": self.longest_silence.as_millis() as u64,
            "blank_lines": self.blank,
            "bad_lines": self.malformed + self.refused,
            "problems": self.bad.iter().map(|(line, problem)| json!({ "line": line, "message": problem }))
                .collect::<Vec<_>>(),
            "missing_lines": self.missing,
            "unknown_lines": self.unknown.iter().map(unknown_json).collect::<Vec<_>>(),
            "first_missing": self.first_missing,
            "stopped": stopped,
            "unreadable": self.unreadable,
        })
    }
}

fn unknown_json(unknown: &UnknownLine) -> Value {
    let session = |ticket: &Ticket| format!("{}.{}", ticket.session.group, ticket.session.index);
    json!({
        "line": unknown.number,
        "session": unknown.ticket.as_ref().map(session),
        "number": unknown.ticket.as_ref().map(|ticket| ticket.seq),
    })
}
