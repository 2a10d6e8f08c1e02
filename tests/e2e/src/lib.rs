//! Real daemons on loopback, driven as a user drives them: by the binaries and their output.
//!
//! Every wait is for an event: a line, an end of a process, an answer.
#![allow(clippy::unwrap_used, reason = "a test helper that cannot go on fails its test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

/// The directory of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A binary of the workspace, built by the same profile as this test.
///
/// # Panics
/// If it is not built: `tests/run` builds all of them first.
pub fn binary(name: &str) -> PathBuf {
    let mut dir = std::env::current_exe().unwrap();
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: build it first, `cargo build --workspace --bins`", path.display());
    path
}

/// A local cluster, `haystackd dev`, on ports that were free. Ends with its value.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// The line that said that it is ready.
    pub ready: String,
    /// The daemons by name: address and process.
    pub daemons: BTreeMap<String, (String, u32)>,
}

impl Dev {
    /// Starts a cluster and waits until it is ready.
    ///
    /// # Panics
    /// If it ends before.
    pub fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(binary("haystackd"))
            .args(["dev", "--port", "0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut dev = Self { child, lines, ready: String::new(), daemons: BTreeMap::new() };
        loop {
            let line = dev.line();
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [name, addr, "process", process] = words[..] {
                dev.daemons.insert(name.to_owned(), (addr.to_owned(), process.parse().unwrap()));
            }
            if line.starts_with("ready") {
                dev.ready = line;
                return dev;
            }
        }
    }

    /// The next line of its output.
    ///
    /// # Panics
    /// If there is none.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "haystackd dev ended");
        line
    }

    /// Reads lines until one contains `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// All addresses, as `--connect` takes them.
    pub fn connect(&self) -> String {
        let addrs: Vec<&str> = self.daemons.values().map(|(addr, _)| addr.as_str()).collect();
        addrs.join(",")
    }

    /// Ends one daemon by SIGKILL.
    pub fn kill(&self, name: &str) {
        signal(self.daemons[name].1, "KILL");
    }

    /// `haystackctl` with these arguments, connected to this cluster.
    pub fn ctl(&self, args: &[&str]) -> Output {
        self.ctl_command(args).output().unwrap()
    }

    /// `haystackctl` with these arguments, connected to one daemon.
    pub fn ctl_at(&self, name: &str, args: &[&str]) -> Output {
        ctl_command(&self.daemons[name].0, args).output().unwrap()
    }

    /// `haystackctl` with these arguments, not started yet.
    pub fn ctl_command(&self, args: &[&str]) -> Command {
        ctl_command(&self.connect(), args)
    }

    /// Stops the cluster as Ctrl-C does, and returns its exit status.
    pub fn stop(mut self) -> Option<i32> {
        signal(self.child.id(), "INT");
        let code = self.child.wait().unwrap().code();
        for (_, process) in self.daemons.values() {
            assert!(
                !Path::new(&format!("/proc/{process}")).exists(),
                "process {process} outlived the cluster"
            );
        }
        code
    }
}

fn ctl_command(connect: &str, args: &[&str]) -> Command {
    let mut command = Command::new(binary("haystackctl"));
    command.args(["--connect", connect]).args(args).stdin(Stdio::null());
    command
}

impl Drop for Dev {
    fn drop(&mut self) {
        // After a failed test it may still run; its daemons end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that this test started.
///
/// # Panics
/// If there is no such process.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(status.success(), "kill -s {name} {process}");
}

/// Runs a command to its end with these bytes as its input.
///
/// # Panics
/// If it cannot be started.
pub fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A child that ends early closes its input; what it said tells why.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// What a process printed, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a process printed, as JSON.
///
/// # Panics
/// If it is none.
pub fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
}

/// Debian's list of words as `load` reads it: every word with the number of its line.
///
/// # Panics
/// If it is not installed.
pub fn word_lines() -> Vec<Vec<u8>> {
    const WORDS: &str = "/usr/share/dict/words";
    let words =
        std::fs::read(WORDS).unwrap_or_else(|error| panic!("{WORDS}: {error}; install Debian's wamerican"));
    let words = words.split(|byte| *byte == b'\n').filter(|word| !word.is_empty());
    let lines: Vec<Vec<u8>> =
        words.zip(1..).map(|(word, number)| [word, format!("\t{number}").as_bytes()].concat()).collect();
    assert!(lines.len() > 100_000, "{} words are not the whole list", lines.len());
    lines
}
