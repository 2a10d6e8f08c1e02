//! What must hold, whatever happens.

pub(crate) mod canon;
pub(crate) mod linear;
pub(crate) mod maps;
pub(crate) mod model;
#[cfg(test)]
mod planted;
pub(crate) mod replica;
pub(crate) mod witness;

use std::fmt;

/// A property of the design's list (FAULTS, "Bug classes").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// Histories are linearizable.
    Linearizable,
    /// Every index of a log has one entry, the same on all replicas.
    Log,
    /// Promises and accepted rounds never go back, and no ballot leads twice.
    Ballot,
    /// Every (session, seq) has at most one effect, and its answer is that effect.
    Once,
    /// Every index of a log leads to one state, the same on all replicas.
    Apply,
    /// Nothing that was read or answered was made up, and values are whole.
    Integrity,
    /// What is told to have failed never happens.
    Definite,
    /// One cluster is founded, and never another in its place.
    Founding,
    /// One map per epoch, and epochs only grow.
    Configuration,
    /// Nobody who lives is given up, and after healing all know who is there.
    Membership,
    /// After healing the cluster makes progress.
    Live,
    /// Nobody is answered with more bytes than it sent before its address is validated.
    Amplification,
    /// Byte caps hold.
    Memory,
    /// An assertion of the code under test.
    Assertion,
    /// One seed gives one run.
    Deterministic,
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linearizable => "LIN",
            Self::Log => "LOG",
            Self::Ballot => "BAL",
            Self::Once => "ONCE",
            Self::Apply => "APPLY",
            Self::Integrity => "INTEGRITY",
            Self::Definite => "DEFINITE",
            Self::Founding => "FOUNDING",
            Self::Configuration => "CFG",
            Self::Membership => "MEMBER",
            Self::Live => "LIVE",
            Self::Amplification => "AMP",
            Self::Memory => "MEM",
            Self::Assertion => "ASSERT",
            Self::Deterministic => "DETERMINISTIC",
        })
    }
}

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// What was seen.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(property: Property, what: impl Into<String>) -> Self {
        Self { property, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

/// A numbered operation.
pub(crate) type SessionSeq = (haystack_wire::ids::SessionId, u64);

/// Whether a property held.
pub(crate) type Check = Result<(), Violation>;

/// Fails with a violation unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $property:ident, $($what:tt)+) => {
        if !$holds {
            return Err($crate::check::Violation::new($crate::check::Property::$property, format!($($what)+)));
        }
    };
}

pub(crate) use ensure;
