//! One daemon of a local cluster: a child process that reports by lines and ends when its pipe does.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use mio::unix::pipe::Receiver;
use mio::{Interest, Registry, Token};

use super::outlook::Replicas;
use crate::cli::Dev;
use crate::config::Settings;
use crate::report::{Report, signal_name};

/// Replicas of every partition, where there are as many daemons.
const DEV_REPLICAS: u32 = 3;
/// Longest line that a daemon reports, in bytes; the rest of a longer one is cut off. The replicas of 1,024 partitions,
/// nine each, take less than 48 KiB.
const LINE_LIMIT: usize = 64 * 1024;

/// How a daemon of the local cluster is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for something.
    Waits(String),
    /// All partitions have a leader, as it sees them.
    Ready,
    /// Its process is gone.
    Ended(ExitStatus),
}

/// A daemon of the local cluster.
#[derive(Debug)]
pub(super) struct Member {
    /// Its name: `n1`, `n2`, ...
    pub(super) name: String,
    /// Its address.
    pub(super) addr: SocketAddr,
    /// How it is doing.
    pub(super) state: State,
    /// Where the replicas are, as it last told.
    pub(super) replicas: Option<Replicas>,
    process: Child,
    /// Held open as long as the daemon should run. It ends with this process however that ends, and the daemon with
    /// it.
    lifeline: Option<ChildStdin>,
    /// The signal that stopped it, as far as it told.
    stopped_by: Option<String>,
    reports: Receiver,
    line: Vec<u8>,
}

/// The flags of the daemon called `name`.
pub(super) fn settings(
    options: &Dev,
    name: &str,
    addr: SocketAddr,
    all: &[SocketAddr],
    state: &Path,
) -> Settings {
    Settings {
        name: Some(name.to_owned()),
        listen: Some(addr.to_string()),
        founders: all.iter().map(SocketAddr::to_string).collect(),
        partitions: Some(options.partitions),
        replicas: Some(options.replicas.unwrap_or_else(|| DEV_REPLICAS.min(all.len() as u32))),
        key_file: options.key_file.clone(),
        state_dir: Some(state.join(name)),
        log_level: Some(options.log_level.clone()),
        log_format: Some(options.log_format.clone()),
        ..Settings::default()
    }
}

impl Member {
    /// Starts a daemon with these settings and watches it under `token`.
    pub(super) fn start(
        settings: &Settings,
        addr: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        // This very executable, even if the file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("haystackd").arg("run").arg("--child-of-dev");
        flag(&mut command, "--name", settings.name.as_deref());
        flag(&mut command, "--listen", settings.listen.as_deref());
        flag(&mut command, "--founders", Some(settings.founders.join(",")));
        flag(&mut command, "--partitions", settings.partitions.map(|count| count.to_string()));
        flag(&mut command, "--replicas", settings.replicas.map(|count| count.to_string()));
        flag(&mut command, "--key-file", settings.key_file.as_deref());
        flag(&mut command, "--state-dir", settings.state_dir.as_deref());
        flag(&mut command, "--log-level", settings.log_level.as_deref());
        flag(&mut command, "--log-format", settings.log_format.as_deref());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        // A group of its own: Ctrl-C in the terminal is for `dev`, which then ends the daemons in order.
        let mut process = command.process_group(0).spawn()?;
        let lifeline = process.stdin.take();
        let stdout = process.stdout.take().ok_or_else(|| io::Error::other("no pipe to the daemon"))?;
        let mut reports = Receiver::from(stdout);
        reports.set_nonblocking(true)?;
        registry.register(&mut reports, token, Interest::READABLE)?;
        let name = settings.name.clone().unwrap_or_default();
        let state = State::Waits("start".to_owned());
        Ok(Self {
            name,
            addr,
            state,
            replicas: None,
            process,
            lifeline,
            stopped_by: None,
            reports,
            line: Vec::new(),
        })
    }

    /// The process's number.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether its process is there.
    pub(super) fn runs(&self) -> bool {
        !matches!(self.state, State::Ended(_))
    }

    /// Reads what the daemon reports, until there is no more for now.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 1024];
        while self.runs() {
            match self.reports.read(&mut bytes) {
                // Only the end of the process closes the pipe.
                Ok(0) => self.state = State::Ended(self.process.wait()?),
                Ok(len) => bytes[..len].iter().for_each(|byte| self.take(*byte)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, byte: u8) {
        if byte != b'\n' {
            if self.line.len() < LINE_LIMIT {
                self.line.push(byte);
            }
            return;
        }
        match String::from_utf8_lossy(&self.line).parse() {
            Ok(Report::Ready) => self.state = State::Ready,
            Ok(Report::Waits(text)) => self.state = State::Waits(text),
            Ok(Report::Replicas(replicas)) => self.replicas = Some(replicas),
            Ok(Report::Stops(signal)) => self.stopped_by = Some(signal),
            Ok(Report::Listening(_)) | Err(()) => {}
        }
        self.line.clear();
    }

    /// How its process ended, for people; nothing if it has not.
    pub(super) fn how_it_ended(&self) -> Option<String> {
        match self.state {
            State::Ended(status) => Some(how(status, self.stopped_by.as_deref())),
            _ => None,
        }
    }

    /// Tells the daemon to end at once: with the whole cluster ending there is nobody to hand anything to.
    pub(super) fn end(&mut self) {
        self.lifeline = None;
    }

    /// Ends the process by force, if it is still there.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        if self.runs() {
            self.process.kill()?;
            self.state = State::Ended(self.process.wait()?);
        }
        Ok(())
    }
}

/// Adds a flag that has a value.
fn flag(command: &mut Command, name: &str, value: Option<impl AsRef<std::ffi::OsStr>>) {
    if let Some(value) = value {
        // As one word, so that a value that begins with a dash is none the less a value.
        let mut word = std::ffi::OsString::from(name);
        word.push("=");
        word.push(value);
        command.arg(word);
    }
}

/// How a process ended, for people; `stopped_by` is the signal that it told to have stopped it.
fn how(status: ExitStatus, stopped_by: Option<&str>) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => match stopped_by {
            Some(signal) => format!("was stopped by {signal}, which somebody sent it"),
            None => "ended by itself".to_owned(),
        },
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by {}", signal_name(signal)),
        (None, None) => "ended".to_owned(),
    }
}
