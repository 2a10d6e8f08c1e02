//! What clients asked and were told, and how it is written down.

use std::io::{self, Write};

use haystack_wire::ids::{GroupId, SessionId};
use serde_json::{Map, Value as Json, json};

use crate::check::linear::{Action, Answer, Call, Held};
use crate::check::witness;
use crate::value::{self, Value};

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// No answer yet. At the end of a run that is an unknown outcome.
    Pending,
    /// Done. Reads and deletes saw this.
    Done(Held),
    /// A CAS found this, and did nothing.
    Mismatch(Held),
    /// Surely nothing happened, and nothing will.
    Failed,
    /// It may have happened.
    Unknown,
}

/// An operation on one key.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    /// The client, by the rule that each has one operation at a time and a new number after an unknown outcome.
    pub(crate) client: u32,
    /// The key.
    pub(crate) key: u32,
    /// What was asked.
    pub(crate) action: Action,
    /// Length of the value written, to name it.
    pub(crate) length: usize,
    /// When it was asked.
    pub(crate) start: u64,
    /// When it was answered, or when its outcome was settled.
    pub(crate) end: Option<u64>,
    /// How it ended.
    pub(crate) status: Status,
    /// An unknown write that will not happen any more after this time, because its session is gone.
    pub(crate) settled: Option<u64>,
    /// The group that answered.
    pub(crate) group: Option<GroupId>,
    /// Its place in the order of the group, if the answer told.
    pub(crate) position: Option<u64>,
    /// The session and number of a write, as far as the client told.
    pub(crate) session: Option<(SessionId, u64)>,
}

impl Op {
    /// The operation as the exact search takes it; nothing if it surely did nothing.
    pub(crate) fn call(&self) -> Option<Call> {
        let (answer, end) = match self.status {
            Status::Failed => return None,
            Status::Pending | Status::Unknown => (Answer::Unknown, self.settled),
            Status::Done(held) => (Answer::Done(held), self.end),
            Status::Mismatch(held) => (Answer::Mismatch(held), self.end),
        };
        Some(Call { start: self.start, end, action: self.action, answer })
    }

    /// Whether the outcome is open.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.status, Status::Pending | Status::Unknown)
    }
}

/// A mark of a fault.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) what: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// A run's history.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) ops: Vec<Op>,
    pub(crate) notes: Vec<Note>,
    clients: u32,
}

impl History {
    /// A client's number that nobody had.
    pub(crate) const fn client(&mut self) -> u32 {
        self.clients += 1;
        self.clients
    }

    /// A value that nobody wrote: the number of the operation that will write it.
    pub(crate) const fn next_value(&self) -> Value {
        self.ops.len() as Value + 1
    }

    /// Notes the beginning of an operation; its number.
    pub(crate) fn begin(
        &mut self,
        client: u32,
        key: u32,
        action: Action,
        length: usize,
        start: u64,
    ) -> usize {
        self.ops.push(Op {
            client,
            key,
            action,
            length,
            start,
            end: None,
            status: Status::Pending,
            settled: None,
            group: None,
            position: None,
            session: None,
        });
        self.ops.len() - 1
    }

    /// How many operations ended in which way: done or mismatch, failed, open.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        self.ops.iter().fold((0, 0, 0), |(done, failed, open), op| match op.status {
            Status::Done(_) | Status::Mismatch(_) => (done + 1, failed, open),
            Status::Failed => (done, failed + 1, open),
            Status::Pending | Status::Unknown => (done, failed, open + 1),
        })
    }

    fn text(&self, held: Held) -> Json {
        let name = |value: Value| {
            let length = self.ops.get(value as usize - 1).map_or(0, |op| op.length);
            Json::String(value::name(value, length))
        };
        held.map_or(Json::Null, name)
    }

    /// Writes the history as JSON lines (FAULTS, "What the simulator must be").
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self, keys: &[String], out: &mut impl Write) -> io::Result<()> {
        for op in &self.ops {
            let mut line = Map::new();
            line.insert("client".into(), json!(op.client));
            let (name, value) = match op.action {
                Action::Get => ("get", None),
                Action::Put(value) => ("put", Some(value)),
                Action::Delete => ("delete", None),
                Action::Cas { new, .. } => ("cas", Some(new)),
            };
            line.insert("op".into(), json!(name));
            line.insert("key".into(), json!(keys[op.key as usize]));
            if value.is_some() {
                line.insert("value".into(), self.text(value));
            }
            if let Action::Cas { expect, .. } = op.action {
                line.insert("expect".into(), self.text(expect));
            }
            line.insert("start_ns".into(), json!(op.start));
            line.insert("end_ns".into(), json!(op.end));
            let (status, result) = match op.status {
                Status::Pending | Status::Unknown => ("unknown", None),
                Status::Failed => ("fail", None),
                Status::Done(held) => {
                    let saw = matches!(op.action, Action::Get | Action::Delete).then_some(held);
                    ("ok", saw)
                }
                Status::Mismatch(held) => ("mismatch", Some(held)),
            };
            line.insert("status".into(), json!(status));
            if let Some(held) = result {
                line.insert("result".into(), self.text(held));
            }
            if let Some(group) = op.group {
                line.insert("group".into(), json!(group.0));
            }
            if let Some(position) = op.position {
                line.insert("position".into(), json!(position));
            }
            writeln!(out, "{}", Json::Object(line))?;
        }
        for note in &self.notes {
            let line = json!({ "note": note.what, "start_ns": note.start, "end_ns": note.end });
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// The position of a write or a read, as answers tell it.
pub(crate) const fn position(is_read: bool, index: u64) -> u64 {
    if is_read { witness::of_read(index) } else { witness::of_write(index) }
}
