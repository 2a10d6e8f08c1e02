//! Real processes to test with: started, listened to line by line, and never left behind.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A test that waits for longer than this has failed; a slow machine is given time.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A running `haystackd`.
pub(crate) struct Daemon {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// The program under test, with a temporary directory of its own.
pub(crate) fn haystackd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haystackd"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("NOTIFY_SOCKET");
    command
}

/// Runs it to its end: exit code, standard output, standard error.
pub(crate) fn outcome(args: &[&str]) -> (i32, String, String) {
    let output = haystackd(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Sends the lines of `from`; the receiver is disconnected when all who could write are gone.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            if line.is_err() || line.is_ok_and(|line| send.send(line).is_err()) {
                return;
            }
        }
    });
    receive
}

impl Daemon {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// The lines of standard output up to the first one that contains `mark`.
    pub(crate) fn until(&self, mark: &str) -> Vec<String> {
        until(&self.stdout, mark)
    }

    /// The lines of standard error up to the first one that contains `mark`.
    pub(crate) fn logs_until(&self, mark: &str) -> Vec<String> {
        until(&self.stderr, mark)
    }

    /// Waits until this process and all its descendants, which share its standard error, are gone.
    pub(crate) fn end(mut self) -> (ExitStatus, String, String) {
        let (out, err) = (rest(&self.stdout), rest(&self.stderr));
        (self.child.wait().unwrap(), out, err)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its children end when it does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(lines: &Receiver<String>, mark: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(LIMIT) {
            Ok(line) => {
                let found = line.contains(mark);
                seen.push(line);
                if found {
                    return seen;
                }
            }
            Err(error) => panic!("waiting for {mark:?}: {error}, after\n{}", seen.join("\n")),
        }
    }
}

fn rest(lines: &Receiver<String>) -> String {
    let mut seen = String::new();
    loop {
        match lines.recv_timeout(LIMIT) {
            Ok(line) => seen = seen + &line + "\n",
            Err(RecvTimeoutError::Disconnected) => return seen,
            Err(RecvTimeoutError::Timeout) => panic!("a process was left behind, after\n{seen}"),
        }
    }
}

/// Sends a signal to a process that the test started.
pub(crate) fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}
