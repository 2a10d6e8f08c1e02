//! What a connection is told at its start.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use haystack_wire::ids::{DEFAULT_CLUSTER_NAME, NetworkId};
use haystack_wire::keys::KeyRing;

use crate::core::{Config, Limits, Timeouts};
use crate::error::{Error, Usage};

/// Port of an address without one: where daemons listen if they are not told otherwise.
pub const DEFAULT_PORT: u16 = 7400;
/// Time limit of a call if it is not told otherwise: 5 s, several times what a change of leaders takes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection is told at its start.
///
/// ```
/// use std::time::Duration;
/// use haystack_client::{KeyRing, Options};
///
/// let options = Options::new(["store-1.example", "store-2.example:7401", "[2001:db8::3]:7400"])
///     .cluster("orders")
///     .timeout(Duration::from_secs(2))
///     .keys(KeyRing::empty());
/// assert_eq!(options.addresses().len(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    addresses: Vec<String>,
    cluster: String,
    keys: KeyRing,
    timeout: Duration,
    limits: Limits,
    timeouts: Timeouts,
}

impl Options {
    /// Daemons to connect to, as `HOST:PORT` or `HOST`; one that answers is enough, the others are learned from it.
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Self {
        Self {
            addresses: addresses.into_iter().map(Into::into).collect(),
            cluster: DEFAULT_CLUSTER_NAME.to_owned(),
            keys: KeyRing::empty(),
            timeout: DEFAULT_TIMEOUT,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// The cluster's configured name, if it is not `haystack`.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// The client's key, from [`KeyRing::from_file_text`].
    #[must_use]
    pub fn keys(mut self, keys: KeyRing) -> Self {
        self.keys = keys;
        self
    }

    /// The time limit of each call; 5 s if it is not told.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Bounds of what the client holds.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long the client waits before it tries again.
    #[must_use]
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The addresses as they were given.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Looks the names up. One that has no address is an error only if none has.
    pub(super) fn resolve(self) -> Result<(Duration, Config), Error> {
        let mut found: Vec<SocketAddr> = Vec::new();
        let mut failure = Error::from(Usage::NoAddress);
        for name in &self.addresses {
            match look_up(name) {
                Ok(addresses) => found.extend(addresses),
                Err(error) => {
                    let error = io::Error::new(error.kind(), format!("`{name}`: {error}"));
                    failure = Error::io("looking up the daemons' addresses", &error);
                }
            }
        }
        if found.is_empty() {
            return Err(failure);
        }
        let mut config = Config::new(found);
        config.network = NetworkId::of_cluster(&self.cluster);
        config.keys = self.keys;
        config.limits = self.limits;
        config.timeouts = self.timeouts;
        Ok((self.timeout, config))
    }
}

fn look_up(name: &str) -> io::Result<impl Iterator<Item = SocketAddr>> {
    if let Ok(ip) = name.trim_matches(['[', ']']).parse() {
        return Ok(vec![SocketAddr::new(ip, DEFAULT_PORT)].into_iter());
    }
    match name.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(1..)) => name.to_socket_addrs(),
        Some(_) => {
            let text = "write HOST or HOST:PORT, with a port from 1 to 65535";
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
        None => (name, DEFAULT_PORT).to_socket_addrs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(addresses: &[&str]) -> Result<Vec<SocketAddr>, Error> {
        Options::new(addresses.iter().copied()).resolve().map(|(_, config)| config.addresses)
    }

    #[test]
    fn addresses_have_the_usual_forms_and_a_default_port() {
        let found = resolved(&["127.0.0.1:7401", "127.0.0.2", "[::1]:7402", "::1", "[::1]"]).unwrap();
        let expected = ["127.0.0.1:7401", "127.0.0.2:7400", "[::1]:7402", "[::1]:7400", "[::1]:7400"];
        assert_eq!(found, expected.map(|addr| addr.parse().unwrap()));
    }

    #[test]
    fn no_address_is_a_usage_error_and_an_unknown_name_says_what_was_done() {
        assert_eq!(resolved(&[]), Err(Error::Usage(Usage::NoAddress)));
        for text in ["256.0.0.1:x:y", "127.0.0.1:99999", "h:0", "http://h"] {
            let error = resolved(&[text]).unwrap_err();
            assert!(matches!(error, Error::Io { kind: io::ErrorKind::InvalidInput, .. }), "{error}");
            let said = error.to_string();
            assert!(said.starts_with("looking up the daemons' addresses: ") && said.contains(text), "{said}");
        }
    }
}
