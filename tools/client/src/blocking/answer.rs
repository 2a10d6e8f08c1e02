//! Answers in the shape that each call returns.

use haystack_wire::ids::{LogIndex, Version, ViewId};
use haystack_wire::message::client::{Effect, Pair, Versioned};

use crate::core::Answer;
use crate::error::Error;

/// What a delete did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The position of the delete.
    pub at: Version,
    /// The version of what was there.
    pub previous: Option<Version>,
}

/// What a CAS did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CasOutcome {
    /// The value is set; its version.
    Written(Version),
    /// Something else was there, and still is.
    Mismatch {
        /// What is there.
        actual: Option<Versioned>,
    },
}

/// A page of a partition's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The page shows the state in which everything below was applied.
    pub at: LogIndex,
    /// The pairs, in the order of keys.
    pub pairs: Vec<Pair>,
    /// Whether keys are left after the last one.
    pub more: bool,
}

/// A read from any replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleRead {
    /// The replica's view; none if the leader answered.
    pub view: Option<ViewId>,
    /// The read shows the state in which everything below was applied.
    pub at: LogIndex,
    /// Milliseconds since the replica last heard from a leader; 0 if the leader answered.
    pub age_ms: u64,
    /// What was stored.
    pub found: Option<Versioned>,
}

/// How a write of unknown outcome was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// It was applied.
    Applied {
        /// The position of the write.
        at: Version,
        /// What it did.
        effect: Effect,
    },
    /// It was never applied, and never will be.
    NeverApplies,
    /// Its session has expired: it may have been applied, and will not be any more.
    Expired,
}

pub(super) fn read(answer: Answer) -> Result<Option<Versioned>, Error> {
    match answer {
        Answer::Read { found, .. } => Ok(found),
        other => Err(unexpected(format!("{other:?}"))),
    }
}

pub(super) fn stale(answer: Answer) -> Result<StaleRead, Error> {
    match answer {
        Answer::Read { at, found } => Ok(StaleRead { view: None, at, age_ms: 0, found }),
        Answer::Stale { view, at, age_ms, found } => Ok(StaleRead { view: Some(view), at, age_ms, found }),
        other => Err(unexpected(format!("{other:?}"))),
    }
}

pub(super) fn written(answer: Answer) -> Result<Version, Error> {
    match answer {
        Answer::Applied { at, effect: Effect::Written } => Ok(at),
        other => Err(unexpected(format!("{other:?}"))),
    }
}

pub(super) fn deleted(answer: Answer) -> Result<Deleted, Error> {
    match answer {
        Answer::Applied { at, effect: Effect::Deleted { previous } } => Ok(Deleted { at, previous }),
        other => Err(unexpected(format!("{other:?}"))),
    }
}

pub(super) fn compared(answer: Answer) -> Result<CasOutcome, Error> {
    match answer {
        Answer::Applied { at, effect: Effect::Written } => Ok(CasOutcome::Written(at)),
        Answer::Applied { effect: Effect::Mismatch { actual }, .. } => Ok(CasOutcome::Mismatch { actual }),
        other => Err(unexpected(format!("{other:?}"))),
    }
}

pub(super) fn page(answer: Answer) -> Result<Page, Error> {
    match answer {
        Answer::Page { at, pairs, more } => Ok(Page { at, pairs, more }),
        other => Err(unexpected(format!("{other:?}"))),
    }
}

pub(super) fn resolved(answer: Answer) -> Result<Resolved, Error> {
    match answer {
        Answer::Applied { at, effect } => Ok(Resolved::Applied { at, effect }),
        Answer::NeverApplies => Ok(Resolved::NeverApplies),
        Answer::Expired => Ok(Resolved::Expired),
        other => Err(unexpected(format!("{other:?}"))),
    }
}

/// A daemon that answers something else than it was asked breaks the protocol: nothing it says can be relied on.
pub(super) fn unexpected(said: String) -> Error {
    Error::Protocol(said)
}
