//! What all commands start from: whom to ask, as whom, and for how long.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use haystack_client::{Connection, DEFAULT_CLUSTER_NAME, Error, KeyRing, Timeouts};

use crate::cli::{Addresses, Options};
use crate::failure::{Circumstance, Failure};

/// The daemons of `haystackd dev`.
const DEV_CLUSTER: [&str; 3] = ["127.0.0.1:7400", "127.0.0.1:7401", "127.0.0.1:7402"];
/// Time limit if none is told: ten times what a change of leaders takes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a daemon may take for a status before another is asked (judgement: twice the 400 ms that it waits for others).
const STATUS_RETRY: Duration = Duration::from_millis(800);

/// What all commands start from.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Daemons to ask.
    pub(crate) addresses: Vec<String>,
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The time limit.
    pub(crate) timeout: Duration,
    /// Whether standard output is to be JSON.
    pub(crate) json: bool,
    keys: KeyRing,
}

impl Context {
    /// Reads the key file, if there is one, and fills in what was not told.
    ///
    /// # Errors
    /// A usage failure if the key file is of no use.
    pub(crate) fn new(options: Options) -> Result<Self, Failure> {
        let keys = options.key_file.as_deref().map_or(Ok(KeyRing::empty()), read_keys)?;
        let Addresses(addresses) =
            options.connect.unwrap_or_else(|| Addresses(DEV_CLUSTER.map(str::to_owned).to_vec()));
        Ok(Self {
            addresses,
            cluster: options.cluster.unwrap_or_else(|| DEFAULT_CLUSTER_NAME.to_owned()),
            timeout: options.timeout.unwrap_or(DEFAULT_TIMEOUT),
            json: options.json,
            keys,
        })
    }

    /// Options of a connection to these daemons.
    pub(crate) fn options(&self, addresses: &[String]) -> haystack_client::Options {
        haystack_client::Options::new(addresses)
            .cluster(self.cluster.clone())
            .keys(self.keys.clone())
            .timeout(self.timeout)
    }

    /// Begins to connect; the first operation waits for an answer.
    ///
    /// # Errors
    /// If no name has an address, or the system gives no socket.
    pub(crate) fn open(&self) -> Result<Connection, Failure> {
        Connection::open(self.options(&self.addresses)).map_err(|error| self.failure(&error, false))
    }

    /// The same, to ask how things stand: a daemon that asks the others first may take its time before another one is
    /// asked instead.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_for_status(&self) -> Result<Connection, Failure> {
        let timeouts = Timeouts { retry: STATUS_RETRY, ..Timeouts::default() };
        let options = self.options(&self.addresses).timeouts(timeouts);
        Connection::open(options).map_err(|error| self.failure(&error, false))
    }

    /// A client's error in words, and as an exit status.
    pub(crate) fn failure(&self, error: &Error, is_write: bool) -> Failure {
        let circumstance = Circumstance {
            is_write,
            addresses: self.addresses.clone(),
            has_key: !self.keys.is_empty(),
            cluster: self.cluster.clone(),
            timeout: self.timeout,
        };
        Failure::of(error, &circumstance)
    }
}

/// Reads a file with a key.
///
/// # Errors
/// A usage failure that names the file and the cure.
pub(crate) fn read_keys(file: &Path) -> Result<KeyRing, Failure> {
    let broken = |problem: String| Failure::usage(format!("key file {}: {problem}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| broken(error.to_string()))?;
    let keys = KeyRing::from_file_text(&text).map_err(|error| broken(error.to_string()))?;
    let mode = fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        say(&format!("warning: others than its owner may use {0}: chmod 600 {0}", file.display()));
    }
    Ok(keys)
}

/// Says something to people, on standard error. Not `eprintln!`, which would turn a closed one into a crash.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "haystackctl: {text}");
}
