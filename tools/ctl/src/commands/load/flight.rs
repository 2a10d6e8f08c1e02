//! A line under way: what follows on each answer, so that it is written once and not lost.
//!
//! A `put` of unknown outcome is resolved. If it was applied, the line is done; if it never applies, it is put again
//! under a new number. That is exactly-once.
//!
//! One case leaves the answer open: the client's session has expired (it was not heard for minutes, as when the
//! machine slept) with the write under way. The write will not be applied any more, and nobody can tell whether it
//! was. Then the line is settled by what it wants: the key is read, linearizably; if it has the line's value, the line
//! is done; else it is set by a CAS on exactly what was read, so that nothing is overwritten that was not seen. If
//! nobody else writes the same keys during the load this is exactly-once as well. If somebody does, then a line that
//! was applied and overwritten in the meantime is applied a second time.

use bytes::Bytes;
use haystack_client::{Answer, Effect, Error, Expect, Operation, Refusal, Ticket, Usage, Versioned};

/// Times that a line is begun again before the load gives up: each takes a fault of its own (judgement).
const TRIES: u32 = 16;

/// A line under way.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    /// Its number in the input, from 1.
    pub(crate) number: u64,
    /// Its key.
    pub(crate) key: Bytes,
    /// Its value.
    pub(crate) value: Bytes,
    /// Bytes of the input that it takes.
    pub(crate) span: u64,
    stage: Stage,
    tries: u32,
}

/// What a line waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The first write, or another after it was settled that the last one never applies.
    Put,
    /// What became of a write; and whether that was the CAS.
    Resolve(Ticket, bool),
    /// What is there, after a write under a session that has expired.
    Read,
    /// A write in place of what was read.
    Swap,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The line is written.
    Done,
    /// This is to be asked next.
    Next(Next, Operation),
    /// The line can never be written.
    Refused(String),
    /// It is surely not written, and will not be.
    Missing(Error),
    /// It is perhaps written.
    Unknown(Option<Ticket>, Error),
}

/// Why something is asked after the first write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The write never applies.
    Again,
    /// The write's outcome is unknown.
    Settle,
}

impl Flight {
    /// A line, and its first write.
    pub(crate) fn new(number: u64, key: Bytes, value: Bytes, span: u64) -> (Self, Operation) {
        let put = Operation::put(key.clone(), value.clone());
        (Self { number, key, value, span, stage: Stage::Put, tries: 0 }, put)
    }

    /// Takes the answer to what was asked last.
    pub(crate) fn step(&mut self, outcome: Result<Answer, Error>) -> Step {
        match self.stage.clone() {
            Stage::Put => self.on_put(outcome),
            Stage::Resolve(ticket, is_swap) => self.on_resolved(ticket, is_swap, outcome),
            Stage::Read => match outcome {
                Ok(Answer::Read { found, .. }) => self.swap(found),
                other => Step::Unknown(None, error_of(other)),
            },
            Stage::Swap => self.on_swapped(outcome),
        }
    }

    fn on_put(&mut self, outcome: Result<Answer, Error>) -> Step {
        match outcome {
            Ok(Answer::Applied { effect: Effect::Written, .. }) => Step::Done,
            Err(Error::Unknown(ticket)) => self.resolve(ticket, false),
            Err(error @ (Error::SessionExpired { maybe_applied: false, .. } | Error::NeverApplied)) => {
                self.put_again(error)
            }
            Err(Error::SessionExpired { maybe_applied: true, .. }) => self.read(),
            Err(error @ Error::Usage(Usage::KeyTooLong { .. } | Usage::ValueTooLong { .. }))
            | Err(error @ Error::Refused(Refusal::TooLarge { .. })) => Step::Refused(error.to_string()),
            Err(error) if error.is_definite() => Step::Missing(error),
            other => Step::Unknown(None, error_of(other)),
        }
    }

    fn on_resolved(&mut self, ticket: Ticket, is_swap: bool, outcome: Result<Answer, Error>) -> Step {
        match outcome {
            Ok(Answer::Applied { effect: Effect::Written, .. }) => Step::Done,
            Ok(Answer::Applied { effect: Effect::Mismatch { actual }, .. }) if is_swap => self.swap(actual),
            Ok(Answer::NeverApplies) if is_swap => self.read(),
            Ok(Answer::NeverApplies) => self.put_again(Error::NeverApplied),
            Ok(Answer::Expired) => self.read(),
            other => Step::Unknown(Some(ticket), error_of(other)),
        }
    }

    fn on_swapped(&mut self, outcome: Result<Answer, Error>) -> Step {
        match outcome {
            Ok(Answer::Applied { effect: Effect::Written, .. }) => Step::Done,
            Ok(Answer::Applied { effect: Effect::Mismatch { actual }, .. }) => self.swap(actual),
            Err(Error::Unknown(ticket)) => self.resolve(ticket, true),
            Err(Error::SessionExpired { .. } | Error::NeverApplied) => self.read(),
            other => Step::Unknown(None, error_of(other)),
        }
    }

    fn put_again(&mut self, why: Error) -> Step {
        if self.is_last_try() {
            return Step::Missing(why);
        }
        self.stage = Stage::Put;
        Step::Next(Next::Again, Operation::put(self.key.clone(), self.value.clone()))
    }

    fn resolve(&mut self, ticket: Ticket, is_swap: bool) -> Step {
        self.stage = Stage::Resolve(ticket.clone(), is_swap);
        Step::Next(Next::Settle, Operation::Resolve(ticket))
    }

    fn read(&mut self) -> Step {
        if self.is_last_try() {
            return Step::Unknown(None, Error::NeverApplied);
        }
        self.stage = Stage::Read;
        Step::Next(Next::Settle, Operation::get(self.key.clone()))
    }

    fn swap(&mut self, found: Option<Versioned>) -> Step {
        if found.as_ref().is_some_and(|found| found.value == self.value) {
            return Step::Done;
        }
        if self.is_last_try() {
            return Step::Unknown(None, Error::NeverApplied);
        }
        self.stage = Stage::Swap;
        let expect = found.map_or(Expect::Absent, |found| Expect::Version(found.version));
        Step::Next(Next::Settle, Operation::cas(self.key.clone(), expect, self.value.clone()))
    }

    fn is_last_try(&mut self) -> bool {
        self.tries += 1;
        self.tries >= TRIES
    }
}

/// The error, or the answer that should not be as one.
fn error_of(outcome: Result<Answer, Error>) -> Error {
    outcome.map_or_else(|error| error, |answer| Error::Protocol(format!("{answer:?}")))
}
