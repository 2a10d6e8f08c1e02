//! What moves a client: its sockets, its clock, and the ends of operations that were not asked for yet.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::Duration;

use haystack_wire::Instant;
use haystack_wire::message::admin::AdminRequest;
use haystack_wire::message::directory::PartitionMap;
use haystack_wire::rng::Rng;

use super::socket::Sockets;
use crate::core::{AdminTarget, Answer, Client, Completion, Config, OpId, Operation};
use crate::error::{Error, Wait};

/// Operations that are submitted before the socket is served, so that requests leave while more are made (judgement).
const SUBMISSIONS_PER_TURN: u32 = 64;
/// Time between two visits of the keeper while there is something to do: about when links send an acknowledgement that
/// nothing else has taken along.
pub(super) const KEEPER_PAUSE: Duration = Duration::from_millis(10);
/// Most time between two visits.
const KEEPER_REST: Duration = Duration::from_secs(1);

/// Most time that the end of a connection takes, to close its sessions: many round trips, and what nobody minds who
/// waits for a program to end.
const FAREWELL: Duration = Duration::from_millis(200);

/// How an operation ended.
pub(super) type End = Result<Answer, Error>;

/// A client that is moved by blocking calls.
pub(super) struct Driver {
    pub(super) client: Client,
    sockets: Sockets,
    clock: Clock,
    pub(super) timeout: Duration,
    /// Most ends that are kept.
    most: usize,
    /// Ends of operations begun by `submit`, not handed back yet.
    ready: VecDeque<Completion>,
    /// Submissions since the socket was served.
    unserved: u32,
    /// Whether a call was made since the keeper's last visit.
    was_called: bool,
    /// Whether the keeper will not come for a while.
    is_keeper_away: bool,
}

impl Driver {
    pub(super) fn new(config: Config, timeout: Duration) -> Result<Self, Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| Error::io("drawing random bytes", &io::Error::other(error.to_string())))?;
        let clock = Clock::start();
        let most = config.limits.operations;
        Ok(Self {
            sockets: Sockets::new()?,
            client: Client::new(config, clock.now(), Rng::from_seed(seed))?,
            clock,
            timeout,
            most,
            ready: VecDeque::new(),
            unserved: 0,
            was_called: false,
            is_keeper_away: false,
        })
    }

    /// Notes a call. Returns whether the keeper has to be told.
    pub(super) const fn note_call(&mut self) -> bool {
        self.was_called = true;
        core::mem::replace(&mut self.is_keeper_away, false)
    }

    /// Serves the links if no call does, and returns when to come again.
    pub(super) fn keep(&mut self) -> Duration {
        if core::mem::take(&mut self.was_called) {
            return KEEPER_PAUSE;
        }
        // What fails here fails again in the next call, which can tell.
        if self.tend().is_err() {
            return KEEPER_REST;
        }
        let now = self.clock.now();
        let due = self.client.poll_timeout().map_or(KEEPER_REST, |due| due.saturating_since(now));
        let most = if self.client.outstanding() > 0 { KEEPER_PAUSE } else { KEEPER_REST };
        let pause = due.clamp(KEEPER_PAUSE, most);
        self.is_keeper_away = pause > KEEPER_PAUSE;
        pause
    }

    /// Waits until a daemon answers.
    pub(super) fn connect(&mut self) -> Result<(), Error> {
        let deadline = self.deadline();
        while self.client.connected().next().is_none() {
            if self.clock.now() >= deadline {
                return Err(Error::Unreachable(Wait::Connection));
            }
            self.turn(deadline)?;
        }
        Ok(())
    }

    /// Waits until a daemon has told its map.
    pub(super) fn map(&mut self) -> Result<&PartitionMap, Error> {
        let deadline = self.deadline();
        while self.client.map().is_none() && self.clock.now() < deadline {
            self.turn(deadline)?;
        }
        let is_alone = self.client.connected().next().is_none();
        let wait = if is_alone { Wait::Connection } else { Wait::Map };
        self.client.map().ok_or(Error::Unreachable(wait))
    }

    pub(super) fn admin(&mut self, target: AdminTarget, request: AdminRequest) -> End {
        let now = self.clock.now();
        let op = self.client.submit_admin(now, target, request, now + self.timeout)?;
        self.finish(op)
    }

    pub(super) fn call(&mut self, operation: Operation) -> End {
        let deadline = self.deadline();
        self.make_room(&operation, deadline)?;
        let op = self.client.submit(self.clock.now(), operation, deadline)?;
        self.finish(op)
    }

    pub(super) fn submit(&mut self, operation: Operation) -> Result<OpId, Error> {
        let deadline = self.deadline();
        self.unserved += 1;
        if self.unserved >= SUBMISSIONS_PER_TURN {
            self.turn(Instant::ZERO)?;
            self.harvest();
        }
        self.make_room(&operation, deadline)?;
        self.client.submit(self.clock.now(), operation, deadline)
    }

    pub(super) fn completion(&mut self, wait: Duration) -> Result<Option<Completion>, Error> {
        let until = self.clock.now() + wait;
        self.harvest();
        let mut is_late = false;
        while self.ready.is_empty() && self.client.outstanding() > 0 && !is_late {
            is_late = self.clock.now() >= until;
            self.turn(until)?;
            self.harvest();
        }
        Ok(self.ready.pop_front())
    }

    pub(super) fn pipeline(
        &mut self,
        operations: impl Iterator<Item = Operation>,
    ) -> Result<Vec<End>, Error> {
        let mut pipe = Pipe::default();
        for operation in operations {
            match self.submit(operation) {
                Ok(op) => pipe.begin(op),
                Err(error @ Error::Io { .. }) => return Err(error),
                Err(error) => pipe.ends.push(Err(error)),
            }
            while let Some(completion) = self.ready.pop_front() {
                pipe.end(completion);
            }
        }
        while !pipe.places.is_empty() {
            match self.completion(self.timeout)? {
                Some(completion) => pipe.end(completion),
                None => assert!(self.client.outstanding() > 0, "an operation has no end"),
            }
        }
        self.ready.append(&mut pipe.others);
        Ok(pipe.ends)
    }

    /// Serves the links without waiting.
    pub(super) fn tend(&mut self) -> Result<(), Error> {
        self.turn(Instant::ZERO)?;
        self.sockets.flush(&mut self.client, self.clock.now())
    }

    pub(super) fn outstanding(&self) -> usize {
        self.client.outstanding() + self.ready.len()
    }

    fn deadline(&self) -> Instant {
        self.clock.now() + self.timeout
    }

    /// Waits for the end of one operation; others are kept for `completion`.
    fn finish(&mut self, op: OpId) -> End {
        loop {
            while let Some(completion) = self.client.poll_completion() {
                if completion.op == op {
                    // What the links owe goes with the next request, which mostly is the next thing; else the keeper
                    // sees to it.
                    return completion.outcome;
                }
                self.ready.push_back(completion);
            }
            self.turn(Instant::from_nanos(u64::MAX))?;
        }
    }

    /// Waits until the limits allow an operation, or its deadline.
    fn make_room(&mut self, operation: &Operation, deadline: Instant) -> Result<(), Error> {
        if self.ready.len() >= self.most {
            return Err(Error::Busy);
        }
        while !self.client.has_room(operation) && self.clock.now() < deadline {
            self.turn(deadline)?;
            self.harvest();
        }
        Ok(())
    }

    fn harvest(&mut self) {
        while let Some(completion) = self.client.poll_completion() {
            self.ready.push_back(completion);
        }
    }

    /// Sends what there is to send, waits for a datagram, a timer or `until`, and does what is due.
    fn turn(&mut self, until: Instant) -> Result<(), Error> {
        self.unserved = 0;
        self.sockets.flush(&mut self.client, self.clock.now())?;
        let wake = self.client.poll_timeout().map_or(until, |due| due.min(until));
        let wait = wake.saturating_since(self.clock.now());
        self.sockets.wait(wait)?;
        let now = self.clock.now();
        self.sockets.receive(&mut self.client, now)?;
        if self.client.poll_timeout().is_some_and(|due| due <= now) {
            self.client.handle_timeout(now);
        }
        Ok(())
    }
}

impl Drop for Driver {
    /// Takes leave of the daemons, which would else keep the sessions and the links for minutes.
    fn drop(&mut self) {
        let now = self.clock.now();
        let until = now + FAREWELL;
        self.client.close_sessions(now, until);
        while self.client.closing() > 0 && self.clock.now() < until && self.turn(until).is_ok() {}
        let now = self.clock.now();
        self.client.close(now);
        // Nobody is left to tell if this fails, and nothing is lost by it.
        drop(self.sockets.flush(&mut self.client, now));
    }
}

/// A pipeline's operations and their ends, in order.
#[derive(Default)]
struct Pipe {
    ends: Vec<End>,
    /// Where the end of an operation goes.
    places: HashMap<OpId, usize>,
    /// Ends of operations that are not the pipeline's.
    others: VecDeque<Completion>,
}

impl Pipe {
    fn begin(&mut self, op: OpId) {
        self.places.insert(op, self.ends.len());
        self.ends.push(Err(Error::Busy));
    }

    fn end(&mut self, completion: Completion) {
        match self.places.remove(&completion.op) {
            Some(place) => self.ends[place] = completion.outcome,
            None => self.others.push_back(completion),
        }
    }
}

/// Monotonic time since the connection was made.
#[derive(Clone, Copy)]
pub(super) struct Clock(std::time::Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the driver, which hands the time to the core")]
    pub(super) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the driver, which hands the time to the core")]
    pub(super) fn now(&self) -> Instant {
        Instant::ZERO + std::time::Instant::now().duration_since(self.0)
    }
}
