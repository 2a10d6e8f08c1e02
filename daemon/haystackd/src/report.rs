//! What the daemon tells those who started it: systemd by `sd_notify`, `haystackd dev` by lines on standard output.

use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;
use std::str::FromStr;

use haystack_wire::message::directory::PartitionMap;
use sd_notify::NotifyState;

use crate::dev::Replicas;

/// Writes to standard output; that nobody reads it is no error.
pub(crate) fn print(text: impl fmt::Display) {
    // In one write, so that nobody who shares the terminal comes between the text and its end.
    let line = format!("{text}\n");
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// The name of a signal.
pub(crate) fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// A line from a daemon to `haystackd dev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// It listens.
    Listening(SocketAddr),
    /// What it waits for.
    Waits(String),
    /// Every group has a leader.
    Ready,
    /// A signal of this name stops it.
    Stops(String),
    /// Where the replicas are.
    Replicas(Replicas),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening(addr) => write!(f, "listening {addr}"),
            Self::Waits(text) => write!(f, "waits {}", one_line(text)),
            Self::Ready => f.write_str("ready"),
            Self::Replicas(replicas) => write!(f, "replicas {replicas}"),
            Self::Stops(signal) => write!(f, "stops {}", one_line(signal)),
        }
    }
}

impl FromStr for Report {
    type Err = ();
    fn from_str(line: &str) -> Result<Self, ()> {
        match line.split_once(' ') {
            None if line == "ready" => Ok(Self::Ready),
            Some(("listening", addr)) => addr.parse().map(Self::Listening).map_err(|_| ()),
            Some(("replicas", replicas)) => replicas.parse().map(Self::Replicas),
            Some(("stops", signal)) => Ok(Self::Stops(signal.to_owned())),
            Some(("waits", text)) => Ok(Self::Waits(text.to_owned())),
            _ => Err(()),
        }
    }
}

/// A line protocol, systemd's too, has no place for a second line.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Where to report to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reporter {
    /// Whether `haystackd dev` reads standard output.
    pub(crate) to_dev: bool,
}

impl Reporter {
    /// The daemon listens: systemd counts it as started, whether it has a quorum or not, since units ordered after it
    /// may be what brings the quorum.
    pub(crate) fn listening(self, addr: SocketAddr) {
        notify(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {addr}"))]);
        self.dev(&Report::Listening(addr));
    }

    /// The daemon waits for something.
    pub(crate) fn waits(self, text: &str) {
        notify(&[NotifyState::Status(&one_line(text))]);
        self.dev(&Report::Waits(text.to_owned()));
    }

    /// The daemon serves.
    pub(crate) fn ready(self, text: &str) {
        notify(&[NotifyState::Status(&one_line(text))]);
        self.dev(&Report::Ready);
    }

    /// The daemon stops, by a signal of this name.
    pub(crate) fn stopping(self, text: &str, signal: &str) {
        self.dev(&Report::Stops(signal.to_owned()));
        notify(&[NotifyState::Stopping, NotifyState::Status(&one_line(text))]);
    }

    /// Where the replicas are has changed, perhaps.
    pub(crate) fn replicas(self, map: &PartitionMap) {
        if self.to_dev {
            self.dev(&Report::Replicas(Replicas::of(map)));
        }
    }

    fn dev(self, report: &Report) {
        if self.to_dev {
            print(report);
        }
    }
}

/// Tells systemd, if it is there to be told.
fn notify(states: &[NotifyState<'_>]) {
    // Without NOTIFY_SOCKET this does nothing; that systemd cannot be told is no reason not to serve.
    let _ = sd_notify::notify(states);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_and_reads_back() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 7400));
        for report in [
            Report::Listening(addr),
            Report::Waits("1/3: n2, n3 missing".into()),
            Report::Ready,
            Report::Stops("SIGTERM".into()),
        ] {
            assert_eq!(report.to_string().parse(), Ok(report));
        }
        assert_eq!(Report::Waits("a\nb".into()).to_string(), "waits a b");
        assert_eq!("hello world".parse::<Report>(), Err(()));
    }
}
