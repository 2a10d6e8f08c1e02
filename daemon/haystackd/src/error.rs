//! Why the daemon ends other than by being told to, as an exit code and a sentence that says what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Problems;

/// A reason to end. The exit codes are part of the interface (`haystackd --help` lists them); those from 64 on
/// are those of BSD's `sysexits.h`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The configuration, or the key file that it names, is wrong.
    #[error("{0}")]
    Config(Problems),
    /// The name of a founder has no address now.
    #[error("{0}")]
    Unresolved(Problems),
    /// The UDP port cannot be had.
    #[error("cannot listen on {addr}: {}", listen_cure(*addr, .source))]
    Listen {
        /// What was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another daemon uses the state directory.
    #[error(
        "another haystackd{} uses the state directory {}: stop it, or give each daemon a `state_dir` of its own",
        .holder.map_or(String::new(), |pid| format!(" (process {pid})")), .dir.display()
    )]
    Locked {
        /// The state directory.
        dir: PathBuf,
        /// The holder of the lock, where the kernel tells.
        holder: Option<u32>,
    },
    /// The state directory cannot be used.
    #[error(
        "cannot use the state directory {}: {source}. It must be a directory that this user may write to; \
         set `state_dir` or --state-dir to another, or correct its owner and mode", .dir.display()
    )]
    StateDir {
        /// The state directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The life file says nothing that can be understood.
    #[error(
        "the life file {} is damaged ({problem}). It keeps this daemon from silently founding a second, empty \
         cluster. Restore it from a backup; only if the cluster it belonged to is known to be gone, move it away \
         and start again", .path.display()
    )]
    LifeDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// What must survive the process could not be written.
    #[error(
        "cannot write the life file {}: {source}. Nothing may be promised to other daemons before it is on disk, so \
         this one ends; make room or repair the disk, and start again", .path.display()
    )]
    LifeWrite {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused what it normally grants.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A local development cluster did not come up, or all of it died.
    #[error("{0}")]
    Dev(String),
    /// Any of the others, which the log has told already.
    #[error("{0}")]
    Logged(Box<Failure>),
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::LifeDamaged { .. } => 65,
            Self::Listen { .. } | Self::Dev(_) => 69,
            Self::System { .. } => 71,
            Self::Locked { .. } | Self::StateDir { .. } => 73,
            Self::LifeWrite { .. } => 74,
            Self::Unresolved(_) => 75,
            Self::Config(_) => 78,
            Self::Logged(failure) => failure.code(),
        }
    }

    /// Turns an error of the system into a reason to end: `.map_err(Failure::system("wait for events"))`.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

impl From<&Failure> for ExitCode {
    fn from(failure: &Failure) -> Self {
        Self::from(failure.code())
    }
}

/// The exit codes, for `--help`.
pub(crate) const EXIT_CODES: &str = "EXIT CODES:
    0   done, or stopped as told
    2   wrong command line
    65  damaged life file
    69  the port cannot be had, or the local development cluster failed
    71  the operating system refused something basic
    73  the state directory cannot be used, or another daemon uses it
    74  the life file cannot be written
    75  the name of a founder has no address now: try again later
    78  wrong configuration or key file
    134 (SIGABRT) an assertion failed: a bug, please report it with the log";

/// What to do about a port that cannot be had.
fn listen_cure(addr: SocketAddr, source: &io::Error) -> String {
    let port = addr.port();
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "UDP port {port} is in use. `ss -ulpn sport = :{port}` names the holder: stop it, or set `listen` or \
             --listen (for `dev`: --port) to another port"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "no interface of this host has the address {}. `ip addr` lists those it has: set `listen` or --listen to \
             one of them",
            addr.ip()
        ),
        io::ErrorKind::PermissionDenied if port < 1024 => {
            format!("ports below 1024 need a privilege ({source}): set `listen` or --listen to a higher port")
        }
        _ => source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_documented() {
        let io = || io::Error::other("x");
        let dir = PathBuf::from("/d");
        let failures = [
            Failure::Usage(String::new()),
            Failure::Config(Problems::default()),
            Failure::Unresolved(Problems::default()),
            Failure::Listen { addr: SocketAddr::from(([127, 0, 0, 1], 1)), source: io() },
            Failure::Locked { dir: dir.clone(), holder: None },
            Failure::StateDir { dir: dir.clone(), source: io() },
            Failure::LifeDamaged { path: dir.clone(), problem: String::new() },
            Failure::LifeWrite { path: dir, source: io() },
            Failure::System { what: "x", source: io() },
            Failure::Dev(String::new()),
        ];
        for failure in failures {
            let line = format!("\n    {:<3} ", failure.code());
            assert!(EXIT_CODES.contains(&line), "{failure:?}");
        }
    }

    #[test]
    fn a_port_in_use_is_named_with_the_way_to_find_its_holder() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 7400));
        let text = Failure::Listen { addr, source: io::Error::from(io::ErrorKind::AddrInUse) }.to_string();
        assert!(text.contains("127.0.0.1:7400") && text.contains("ss -ulpn sport = :7400"), "{text}");
    }
}
