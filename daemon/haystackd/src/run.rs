//! `haystackd run`: puts the parts together, in the order that safety needs.

use std::io::IsTerminal as _;
use std::path::Path;

use haystack_core::node::Node;
use haystack_wire::rng::Rng;
use signal_hook_mio::v1_0::Signals;
use slog::{Logger, crit, info, warn};

use crate::cli;
use crate::clock::Clock;
use crate::config::{self, Resolved};
use crate::error::Failure;
use crate::event_loop::{CAUGHT, End, EventLoop, Parts};
use crate::life::LifeFile;
use crate::logging::{self, Format};
use crate::random;
use crate::report::Reporter;
use crate::socket::{SOCKET_BUFFER, Socket};

/// Runs a daemon until it is told to stop.
pub(crate) fn run(options: cli::Run) -> Result<(), Failure> {
    let resolved = config::load(options.config.as_deref(), options.settings)?;
    let log = logging::start(&resolved.levels, resolved.format, &resolved.node.name);
    let state_dir = resolved.state_dir.clone();
    let format = resolved.format;
    let end = serve(resolved, options.child_of_dev, &log).map_err(|failure| match format {
        // For people the sentence alone, without a time stamp, is clearer.
        Format::Terminal => failure,
        Format::Json => {
            crit!(log, "{failure}"; "exit_code" => failure.code());
            Failure::Logged(Box::new(failure))
        }
    });
    logging::flush();
    if end? == End::ParentGone {
        remove_state(&state_dir);
    }
    Ok(())
}

/// Serves, and says why it ended.
fn serve(resolved: Resolved, child_of_dev: bool, log: &Logger) -> Result<End, Failure> {
    // A signal from here on is a clean stop, also before the loop runs.
    let signals = Signals::new(CAUGHT).map_err(Failure::system("catch signals"))?;
    // The lock comes before the port, so that of two daemons by mistake the second one says the better sentence; the
    // life is on disk before the first datagram can go out.
    let (life, before) = LifeFile::open(&resolved.state_dir, &resolved.node.name)?;
    let socket =
        Socket::bind(resolved.listen).map_err(|source| Failure::Listen { addr: resolved.listen, source })?;
    let identity = life.begin(before)?;
    tell_start(&resolved, &socket, log);
    let seed = random::bytes()?;
    let clock = Clock::start();
    let alone = resolved.node.founders.len() == 1 && resolved.node.seeds.is_empty();
    let names = resolved.names;
    let node = Node::new(resolved.node, identity, clock.now(), Rng::from_seed(seed), log.clone());
    let reporter = Reporter { to_dev: child_of_dev };
    let on_terminal = std::io::stderr().is_terminal();
    let parts =
        Parts { node, clock, socket, signals, life, reporter, names, alone, on_terminal, log: log.clone() };
    let event_loop = EventLoop::new(parts)?;
    reporter.listening(resolved.listen);
    event_loop.run()
}

/// Logs what this daemon is and what it may want.
fn tell_start(resolved: &Resolved, socket: &Socket, log: &Logger) {
    let node = &resolved.node;
    info!(log, "listening";
        "addr" => %resolved.listen, "advertise" => %node.advertise, "founders" => node.founder_names.join(","),
        "cluster" => &resolved.cluster, "sealed" => !node.keys.is_empty(),
        "state_dir" => %resolved.state_dir.display(), "version" => env!("CARGO_PKG_VERSION"));
    if node.keys.is_empty() && !resolved.listen.ip().is_loopback() {
        warn!(log, "without a key: whoever reaches this port can read, change and destroy everything");
    }
    if let Ok((receive, send)) = socket.buffers()
        && receive.min(send) < SOCKET_BUFFER
    {
        info!(log, "the kernel grants small socket buffers; bursts will cost retransmissions. To grant more: \
            sysctl net.core.rmem_max={SOCKET_BUFFER} net.core.wmem_max={SOCKET_BUFFER}";
            "receive_bytes" => receive, "send_bytes" => send, "wanted_bytes" => SOCKET_BUFFER);
    }
}

/// Leaves nothing of a daemon of `dev`, whose parent may not be there to clean up: its state directory, and with the
/// last of them the directory around it.
fn remove_state(state_dir: &Path) {
    let _ = std::fs::remove_dir_all(state_dir);
    if let Some(around) = state_dir.parent() {
        // Only goes if it is empty.
        let _ = std::fs::remove_dir(around);
    }
}

/// Checks a configuration and prints what it comes to.
pub(crate) fn check_config(file: &Path) -> Result<(), Failure> {
    let resolved = config::load(Some(file), config::Settings::default())?;
    crate::report::print(format_args!("{}: correct. On this host it comes to:\n{resolved}", file.display()));
    Ok(())
}
