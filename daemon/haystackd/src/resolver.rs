//! Names looked up beside the event loop, which must not wait for a DNS server.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use haystack_wire::Instant;
use mio::{Registry, Token, Waker};

use crate::config::{Looked, Names};

/// How long until names are looked up again when nobody answers (LINKS: dead and seed members are asked every 10 s).
const PAUSE: Duration = Duration::from_secs(10);

/// A thread that looks names up, one request at a time. It ends with its last request when this is dropped.
pub(crate) struct Resolver {
    requests: SyncSender<()>,
    answers: Receiver<Looked>,
    /// When to ask again at the earliest.
    next: Instant,
}

impl Resolver {
    /// Starts the thread, which wakes the poller of `registry` under `token` when it has an answer; nothing at all if
    /// no name can change.
    ///
    /// # Errors
    /// If the system has no room for a thread or a waker.
    pub(crate) fn start(
        mut names: Names,
        registry: &Registry,
        token: Token,
        now: Instant,
    ) -> io::Result<Option<Self>> {
        if !names.may_change() {
            return Ok(None);
        }
        let waker = Arc::new(Waker::new(registry, token)?);
        let (requests, asked) = mpsc::sync_channel(1);
        let (tell, answers) = mpsc::sync_channel(1);
        thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            // Ends when the other half of either channel is gone.
            while asked.recv().is_ok() && tell.send(names.look_up()).is_ok() {
                // Without it the answer waits for the next turn.
                let _ = waker.wake();
            }
        })?;
        Ok(Some(Self { requests, answers, next: now + PAUSE }))
    }

    /// When the next request may be made.
    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// Asks, if the last time is long enough ago.
    pub(crate) fn ask(&mut self, now: Instant) {
        if now >= self.next {
            self.next = now + PAUSE;
            // One request is waiting already, or the thread is gone: nothing is lost but news of names.
            if let Err(TrySendError::Full(()) | TrySendError::Disconnected(())) = self.requests.try_send(()) {
            }
        }
    }

    /// An answer that has come.
    pub(crate) fn answer(&mut self) -> Option<Looked> {
        self.answers.try_recv().ok()
    }
}
