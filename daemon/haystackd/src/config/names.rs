//! Names of daemons, and the addresses that they stand for: looked up at the start, and again when nobody answers.

use std::io;
use std::net::SocketAddr;

use super::resolve::Endpoint;
use crate::socket::canonical;

/// Looks up the addresses of a name.
pub(super) type Lookup = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// What may have another address later. Only what is well-formed is in here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// The founders.
    pub(crate) founders: Vec<String>,
    /// The seeds.
    pub(crate) seeds: Vec<String>,
    /// This daemon, if `advertise` is a name.
    pub(crate) advertise: Option<String>,
    /// What each seed stood for when it was last known.
    pub(crate) known: Vec<Vec<SocketAddr>>,
    /// The address that is listened on, which decides between IPv4 and IPv6.
    pub(crate) listen: Option<SocketAddr>,
}

/// What names stand for now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    /// One address for each founder; empty unless all have one.
    pub(crate) founders: Vec<SocketAddr>,
    /// All addresses of all seeds that have any, or had: of a name that cannot be looked up now, those that it had.
    pub(crate) seeds: Vec<SocketAddr>,
    /// This daemon's own.
    pub(crate) advertise: Option<SocketAddr>,
}

impl Names {
    /// Whether anything can change at all: addresses in numbers stay as they are.
    pub(crate) fn may_change(&self) -> bool {
        let mut all = self.founders.iter().chain(&self.seeds).chain(&self.advertise);
        all.any(|text| matches!(text.parse(), Ok(Endpoint::Name(..))))
    }

    /// Looks everything up on this host; may take seconds.
    pub(crate) fn look_up(&mut self) -> Looked {
        self.look_up_by(super::resolve::Host::this().lookup)
    }

    pub(super) fn look_up_by(&mut self, lookup: Lookup) -> Looked {
        self.known.resize(self.seeds.len(), Vec::new());
        for (text, known) in self.seeds.iter().zip(&mut self.known) {
            let found = addresses(lookup, text, self.listen);
            if !found.is_empty() {
                *known = found;
            }
        }
        let one = |text: &String| addresses(lookup, text, self.listen).into_iter().min();
        Looked {
            founders: self.founders.iter().map(one).collect::<Option<_>>().unwrap_or_default(),
            seeds: self.known.concat(),
            advertise: self.advertise.as_ref().and_then(one),
        }
    }
}

/// The addresses that `text` stands for, as far as this daemon can reach them: if it listens on one of a kind, those
/// of that kind.
pub(super) fn addresses(lookup: Lookup, text: &str, listen: Option<SocketAddr>) -> Vec<SocketAddr> {
    let found = match text.parse() {
        Err(_) => Vec::new(),
        Ok(Endpoint::Ip(addr)) => vec![addr],
        Ok(Endpoint::Name(name, port)) => lookup(&name, port).unwrap_or_default(),
    };
    let fits = |addr: &SocketAddr| {
        listen.is_none_or(|listen| listen.is_ipv4() == addr.is_ipv4() || listen.ip().is_unspecified())
    };
    let mut found: Vec<SocketAddr> = found.into_iter().map(canonical).filter(fits).collect();
    found.sort_unstable();
    found.dedup();
    found
}
