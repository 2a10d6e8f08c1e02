//! The load itself: as many lines under way as the limits allow, each followed to its end.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use haystack_client::{Answer, Connection, Error, OpId, Operation};

use super::flight::{Flight, Next, Step};
use super::input::{Batch, Content, Line};
use super::report::{Report, Stop, UnknownLine};
use crate::clock::now;
use crate::lines::Record;

/// Lines under way at a time: as many as the client library holds. Eight times what the sessions of eight partitions
/// take, so that few partitions wait for one that changes its leader.
const FLIGHTS: usize = 4096;
/// Bytes of keys and values under way: 32 MiB, half of what the client library holds.
const FLIGHT_BYTES: usize = 32 * 1024 * 1024;
/// Answers taken before more lines are begun.
const ANSWERS_PER_TURN: usize = 256;
/// Longest wait for an answer while more input may come.
const WAIT_FOR_MORE: Duration = Duration::from_millis(5);
/// Longest wait for an answer: progress is shown in between.
const WAIT: Duration = Duration::from_millis(100);
/// Longest wait for input while nothing is under way: progress is shown in between.
const WAIT_FOR_INPUT: Duration = Duration::from_millis(500);

/// How a line's operation ended, and after how many attempts.
pub(crate) type End<I> = (I, Result<Answer, Error>, u32);

/// What lines are loaded through: a connection, or a test.
pub(crate) trait Pipe {
    /// Names an operation.
    type Id: Copy + Eq + Hash;
    /// Begins an operation.
    fn submit(&mut self, operation: Operation) -> Result<Self::Id, Error>;
    /// Waits for the end of any.
    fn completion(&mut self, wait: Duration) -> Result<Option<End<Self::Id>>, Error>;
}

impl Pipe for Connection {
    type Id = OpId;

    fn submit(&mut self, operation: Operation) -> Result<OpId, Error> {
        Self::submit(self, operation)
    }

    fn completion(&mut self, wait: Duration) -> Result<Option<End<OpId>>, Error> {
        let completion = Self::completion(self, wait)?;
        Ok(completion.map(|completion| (completion.op, completion.outcome, completion.attempts)))
    }
}

/// Who is told how the load goes on.
pub(crate) trait Watcher {
    /// A line that is not loaded, and why.
    fn bad(&mut self, number: u64, problem: &str);
    /// How far it is; and since when nothing succeeded, if something is under way.
    fn progress(&mut self, report: &Report, silence: Duration);
}

/// The load.
pub(crate) struct Engine<'a, P: Pipe, W> {
    pipe: &'a mut P,
    watcher: &'a mut W,
    input: Receiver<Batch>,
    /// Lines read and not begun.
    lines: VecDeque<Line>,
    is_read: bool,
    flights: HashMap<P::Id, Flight>,
    /// Keys under way. Operations under way together have no order, and of two lines with one key the later one wins.
    keys: HashSet<Bytes>,
    bytes: usize,
    /// The last success, or when something was begun after nothing was under way.
    last: Option<Instant>,
    report: Report,
}

impl<'a, P: Pipe, W: Watcher> Engine<'a, P, W> {
    /// A load of these lines.
    pub(crate) fn new(pipe: &'a mut P, input: Receiver<Batch>, watcher: &'a mut W) -> Self {
        Self {
            pipe,
            watcher,
            input,
            lines: VecDeque::new(),
            is_read: false,
            flights: HashMap::new(),
            keys: HashSet::new(),
            bytes: 0,
            last: None,
            report: Report::default(),
        }
    }

    /// Loads. Every line that was begun is followed to its end, also if the load stops early.
    pub(crate) fn run(mut self) -> Report {
        let start = now();
        if let Err(error) = self.load() {
            self.abort(error);
        }
        self.report.elapsed = now() - start;
        self.report
    }

    fn load(&mut self) -> Result<(), Error> {
        loop {
            self.fill()?;
            self.watcher.progress(&self.report, self.silence());
            if !self.flights.is_empty() {
                self.drain()?;
            } else if self.report.stop.is_some() || self.is_read {
                return Ok(());
            } else {
                self.await_input()?;
            }
        }
    }

    /// Begins lines while the limits allow and there are any.
    fn fill(&mut self) -> Result<(), Error> {
        while self.report.stop.is_none() && self.flights.len() < FLIGHTS && self.bytes < FLIGHT_BYTES {
            let Some(line) = self.lines.front() else {
                match self.input.try_recv() {
                    Ok(batch) => self.take(batch),
                    Err(TryRecvError::Empty) => return Ok(()),
                    Err(TryRecvError::Disconnected) => self.is_read = true,
                }
                if self.is_read {
                    return Ok(());
                }
                continue;
            };
            if matches!(&line.content, Content::Record(record) if self.keys.contains(&record.key)) {
                return Ok(());
            }
            if let Some(line) = self.lines.pop_front() {
                self.begin(line)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, batch: Batch) {
        match batch {
            Ok(lines) => self.lines.extend(lines),
            Err(problem) => {
                self.is_read = true;
                self.report.unreadable = Some(problem);
            }
        }
    }

    fn await_input(&mut self) -> Result<(), Error> {
        match self.input.recv_timeout(WAIT_FOR_INPUT) {
            Ok(batch) => self.take(batch),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.is_read = true,
        }
        Ok(())
    }

    fn begin(&mut self, line: Line) -> Result<(), Error> {
        let Line { number, span, content } = line;
        match content {
            Content::Blank => {
                self.report.blank += 1;
                self.report.input_bytes += span;
            }
            Content::Bad(bad) => self.refuse(number, span, &bad.to_string(), false),
            Content::Record(Record { key, value }) => {
                let (flight, put) = Flight::new(number, key.clone(), value, span);
                self.bytes += flight.key.len() + flight.value.len();
                self.keys.insert(key);
                if self.flights.is_empty() {
                    self.last = Some(now());
                }
                self.submit(flight, put)?;
            }
        }
        Ok(())
    }

    /// Asks something for a line. What cannot be asked has an end all the same.
    fn submit(&mut self, mut flight: Flight, operation: Operation) -> Result<(), Error> {
        let error = match self.pipe.submit(operation) {
            Ok(id) => {
                self.flights.insert(id, flight);
                return Ok(());
            }
            Err(error) => error,
        };
        if matches!(error, Error::Io { .. }) {
            // The socket failed; what the line stood at is told with the others.
            self.unknown(&flight, None, &error);
            return Err(error);
        }
        let step = flight.step(Err(error));
        self.follow(flight, step)
    }

    /// Waits for answers, and takes a number of them.
    fn drain(&mut self) -> Result<(), Error> {
        let may_begin = self.report.stop.is_none() && !self.is_read && self.lines.is_empty();
        let mut wait = if may_begin { WAIT_FOR_MORE } else { WAIT };
        for _ in 0..ANSWERS_PER_TURN {
            let Some((id, outcome, attempts)) = self.pipe.completion(wait)? else { break };
            wait = Duration::ZERO;
            if let Some(mut flight) = self.flights.remove(&id) {
                self.report.retries += u64::from(attempts.saturating_sub(1));
                let step = flight.step(outcome);
                self.follow(flight, step)?;
            }
        }
        Ok(())
    }

    fn follow(&mut self, flight: Flight, step: Step) -> Result<(), Error> {
        match step {
            Step::Done => self.done(&flight),
            Step::Next(Next::Again, _) if self.report.stop.is_some() => self.missing(&flight, None),
            Step::Next(why, operation) => {
                match why {
                    Next::Again => self.report.retries += 1,
                    Next::Settle => self.report.settled += 1,
                }
                return self.submit(flight, operation);
            }
            Step::Refused(problem) => {
                self.refuse(flight.number, flight.span, &problem, true);
                self.forget(&flight);
            }
            Step::Missing(error) => self.missing(&flight, Some(error)),
            Step::Unknown(ticket, error) => self.unknown(&flight, ticket, &error),
        }
        Ok(())
    }

    fn done(&mut self, flight: &Flight) {
        self.note_silence();
        self.last = Some(now());
        self.report.lines += 1;
        self.report.bytes += (flight.key.len() + flight.value.len()) as u64;
        self.report.input_bytes += flight.span;
        self.forget(flight);
    }

    /// A line that can never be loaded. The others go on.
    fn refuse(&mut self, number: u64, span: u64, problem: &str, by_cluster: bool) {
        self.report.input_bytes += span;
        self.report.note_bad(number, problem, by_cluster);
        self.watcher.bad(number, problem);
    }

    /// A line that is surely not loaded, since the cluster does not take it now: nothing more is begun.
    fn missing(&mut self, flight: &Flight, error: Option<Error>) {
        self.report.missing += 1;
        self.note_first_missing(flight.number);
        self.forget(flight);
        if let Some(error) = error {
            self.stop(flight.number, error);
        }
    }

    fn unknown(&mut self, flight: &Flight, ticket: Option<haystack_client::Ticket>, error: &Error) {
        self.report.unknown.push(UnknownLine { number: flight.number, ticket });
        self.note_first_missing(flight.number);
        self.forget(flight);
        self.stop(flight.number, error.clone());
    }

    fn stop(&mut self, number: u64, error: Error) {
        self.note_silence();
        self.report.stop.get_or_insert(Stop { number, error });
    }

    fn forget(&mut self, flight: &Flight) {
        self.keys.remove(&flight.key);
        self.bytes -= flight.key.len() + flight.value.len();
    }

    fn note_first_missing(&mut self, number: u64) {
        let first = self.report.first_missing.unwrap_or(number);
        self.report.first_missing = Some(first.min(number));
    }

    /// The socket failed: nothing is known any more of the lines under way.
    fn abort(&mut self, error: Error) {
        let mut flights: Vec<Flight> = self.flights.drain().map(|(_, flight)| flight).collect();
        flights.sort_by_key(|flight| flight.number);
        for flight in &flights {
            self.unknown(flight, None, &error);
        }
        if let Some(next) = self.lines.front().map(|line| line.number) {
            self.note_first_missing(next);
            self.stop(next, error);
        }
    }

    fn note_silence(&mut self) {
        let silence = self.last.map_or(Duration::ZERO, |last| now() - last);
        self.report.longest_silence = self.report.longest_silence.max(silence);
    }

    fn silence(&self) -> Duration {
        self.last.filter(|_| !self.flights.is_empty()).map_or(Duration::ZERO, |last| now() - last)
    }
}
