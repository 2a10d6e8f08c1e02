//! The blocking driver: one UDP socket (per address family that is used) and one event queue per connection.

mod answer;
mod options;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::ids::{GroupId, NodeId, Version};
use haystack_wire::link::LinkStats;
use haystack_wire::message::admin::{AdminReply, AdminRequest, Status};
use haystack_wire::message::client::{Expect, Versioned};
use haystack_wire::message::directory::PartitionMap;
use haystack_wire::rng::Rng;

use crate::core::{AdminTarget, Answer, Client, Completion, OpId, Operation, Stats};
use crate::error::{Error, Ticket, Wait};
use socket::Sockets;

pub use answer::{CasOutcome, Deleted, Page, Resolved, StaleRead};
pub use options::{DEFAULT_PORT, Options};

/// Operations that are submitted before the socket is served, so that requests leave while more are made (judgement).
const SUBMISSIONS_PER_TURN: u32 = 64;

/// A connection to a cluster, for one thread at a time.
///
/// Every call has the time limit of [`Options::timeout`] and returns by then. Calls that fail say what may have
/// happened: see [`Error`]. A write that ends as [`Error::Unknown`] is settled by [`resolve`](Self::resolve).
///
/// ```no_run
/// // Needs a running cluster, for instance `haystackd dev`.
/// use haystack_client::{CasOutcome, Connection, Error, Expect, Options};
///
/// # fn main() -> Result<(), Error> {
/// let mut connection = Connection::connect(Options::new(["127.0.0.1:7400"]))?;
/// let version = connection.put("colour", "green")?;
/// let found = connection.get("colour")?.expect("just written");
/// assert_eq!((&found.value[..], found.version), (&b"green"[..], version));
///
/// match connection.cas("colour", Expect::Version(version), "blue") {
///     Ok(CasOutcome::Written(version)) => println!("blue since {version}"),
///     Ok(CasOutcome::Mismatch { actual }) => println!("somebody else was faster: {actual:?}"),
///     Err(Error::Unknown(ticket)) => println!("settled: {:?}", connection.resolve(&ticket)?),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Pipelining
///
/// [`submit`](Self::submit) begins an operation without waiting for its end, and [`completion`](Self::completion)
/// waits for the end of any. Operations under way together have no order among each other.
/// [`pipeline`](Self::pipeline) does both for a sequence.
///
/// # While nothing is asked
///
/// A connection does nothing between calls. One that is idle for minutes is forgotten by the daemons and makes itself
/// known again with the next call, which costs it two round trips. To stay known, and to spare the daemons the
/// repetition of what they do not know to have arrived, call [`tend`](Self::tend) now and then.
pub struct Connection {
    client: Client,
    sockets: Sockets,
    clock: Clock,
    timeout: Duration,
    most: usize,
    /// Ends of operations begun by `submit`, not handed back yet.
    ready: VecDeque<Completion>,
    /// Submissions since the socket was served.
    unserved: u32,
}

impl Connection {
    /// Connects to a cluster: waits until a daemon answers.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if none answers in time, [`Error::Io`] if a name has no address or there is no socket,
    /// [`Error::Usage`] if there is no address at all.
    ///
    /// ```
    /// use std::time::Duration;
    /// use haystack_client::{Connection, Error, Options, Wait};
    ///
    /// // Nobody listens on the discard port.
    /// let options = Options::new(["127.0.0.1:9"]).timeout(Duration::from_millis(50));
    /// let error = Connection::connect(options).err();
    /// assert_eq!(error, Some(Error::Unreachable(Wait::Connection)));
    /// ```
    pub fn connect(options: Options) -> Result<Self, Error> {
        let mut connection = Self::open(options)?;
        let deadline = connection.deadline();
        while connection.client.connected().next().is_none() {
            if connection.clock.now() >= deadline {
                return Err(Error::Unreachable(Wait::Connection));
            }
            connection.turn(deadline)?;
        }
        Ok(connection)
    }

    /// Begins to connect, and does not wait: the first call does.
    ///
    /// # Errors
    /// [`Error::Io`] if a name has no address or there is no socket, [`Error::Usage`] if there is no address at all.
    pub fn open(options: Options) -> Result<Self, Error> {
        let (timeout, config) = options.resolve()?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| Error::io("drawing random bytes", &io::Error::other(error.to_string())))?;
        let clock = Clock::start();
        let sockets = Sockets::new()?;
        let most = config.limits.operations;
        let client = Client::new(config, clock.now(), Rng::from_seed(seed))?;
        Ok(Self { client, sockets, clock, timeout, most, ready: VecDeque::new(), unserved: 0 })
    }

    /// Changes the time limit of the calls from now on.
    pub const fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Reads a key, linearizably.
    ///
    /// # Errors
    /// See [`Error`]; a read without an answer is [`Error::Timeout`].
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Versioned>, Error> {
        answer::read(self.call(Operation::get(own(key)))?)
    }

    /// Reads a key from any replica, which may lag behind; the answer says how far.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get_stale(&mut self, key: impl AsRef<[u8]>) -> Result<StaleRead, Error> {
        answer::stale(self.call(Operation::Get { key: own(key), stale: true })?)
    }

    /// Sets a key, and returns the version that this makes.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Version, Error> {
        answer::written(self.call(Operation::put(own(key), own(value)))?)
    }

    /// Removes a key, and returns what was there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<Deleted, Error> {
        answer::deleted(self.call(Operation::delete(own(key)))?)
    }

    /// Sets a key if what is there is as expected, and otherwise returns what is there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn cas(
        &mut self,
        key: impl AsRef<[u8]>,
        expect: Expect,
        value: impl AsRef<[u8]>,
    ) -> Result<CasOutcome, Error> {
        answer::compared(self.call(Operation::cas(own(key), expect, own(value)))?)
    }

    /// Reads a page of a partition's keys in order: about `limit` bytes of those after `after`, as one linearizable read.
    /// [`map`](Self::map) names the partitions' groups.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn scan(&mut self, group: GroupId, after: Option<Bytes>, limit: u32) -> Result<Page, Error> {
        answer::page(self.call(Operation::Scan { group, after, limit })?)
    }

    /// Settles a write whose outcome is unknown. May be asked again and again, also from another connection.
    ///
    /// # Errors
    /// See [`Error`]; without an answer the outcome stays unknown, and this is [`Error::Timeout`].
    pub fn resolve(&mut self, ticket: &Ticket) -> Result<Resolved, Error> {
        answer::resolved(self.call(Operation::Resolve(ticket.clone()))?)
    }

    /// How things stand in the cluster, as a daemon sees them that answers.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if none answers; see [`Error`].
    pub fn status(&mut self) -> Result<Status, Error> {
        self.status_of(AdminTarget::Any)
    }

    /// How things stand in the cluster, as one daemon sees them.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if it does not answer; see [`Error`].
    pub fn status_of(&mut self, target: AdminTarget) -> Result<Status, Error> {
        match self.admin(target, AdminRequest::Status)? {
            AdminReply::Status(status) => Ok(*status),
            AdminReply::Done(said) | AdminReply::Refused(said) => Err(answer::unexpected(said)),
        }
    }

    /// Asks a daemon as an administrator.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if it does not answer; [`Error::Timeout`] if it does not answer the request.
    pub fn admin(&mut self, target: AdminTarget, request: AdminRequest) -> Result<AdminReply, Error> {
        let now = self.clock.now();
        let op = self.client.submit_admin(now, target, request, now + self.timeout)?;
        match self.finish(op)?.outcome? {
            Answer::Admin(reply) => Ok(*reply),
            other => Err(answer::unexpected(format!("{other:?}"))),
        }
    }

    /// The partition map; waits until a daemon has told it.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if none does in time.
    pub fn map(&mut self) -> Result<&PartitionMap, Error> {
        let deadline = self.deadline();
        while self.client.map().is_none() && self.clock.now() < deadline {
            self.turn(deadline)?;
        }
        let is_alone = self.client.connected().next().is_none();
        let wait = if is_alone { Wait::Connection } else { Wait::Map };
        self.client.map().ok_or(Error::Unreachable(wait))
    }

    /// Does an operation.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn call(&mut self, operation: Operation) -> Result<Answer, Error> {
        let deadline = self.deadline();
        self.make_room(&operation, deadline)?;
        let op = self.client.submit(self.clock.now(), operation, deadline)?;
        self.finish(op)?.outcome
    }

    /// Begins an operation, with the time limit of the connection from now on. Waits only while as many are under way
    /// as the limits allow.
    ///
    /// # Errors
    /// [`Error::Busy`] if as many as the limits allow have ended and wait for [`completion`](Self::completion);
    /// [`Error::Usage`] if the operation can never succeed.
    pub fn submit(&mut self, operation: Operation) -> Result<OpId, Error> {
        let deadline = self.deadline();
        self.unserved += 1;
        if self.unserved >= SUBMISSIONS_PER_TURN {
            self.turn(Instant::ZERO)?;
            self.harvest();
        }
        self.make_room(&operation, deadline)?;
        self.client.submit(self.clock.now(), operation, deadline)
    }

    /// Waits up to `wait` for the end of an operation begun by [`submit`](Self::submit). None if nothing is under way, or
    /// nothing ended in time.
    ///
    /// # Errors
    /// [`Error::Io`] if the socket fails.
    pub fn completion(&mut self, wait: Duration) -> Result<Option<Completion>, Error> {
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

    /// Does many operations, as many at once as the limits allow, and returns how each ended, in their order. They are
    /// *done* in no order.
    ///
    /// # Errors
    /// [`Error::Io`] if the socket fails; what happened to an operation is in its own result.
    pub fn pipeline(
        &mut self,
        operations: impl IntoIterator<Item = Operation>,
    ) -> Result<Vec<Result<Answer, Error>>, Error> {
        let mut ends: Vec<Option<Result<Answer, Error>>> = Vec::new();
        let mut places: HashMap<OpId, usize> = HashMap::new();
        let mut others = VecDeque::new();
        let mut note =
            |completion: Completion, ends: &mut Vec<_>, places: &mut HashMap<OpId, usize>| match places
                .remove(&completion.op)
            {
                Some(place) => ends[place] = Some(completion.outcome),
                None => others.push_back(completion),
            };
        for operation in operations {
            let begun = self.submit(operation);
            ends.push(None);
            let place = ends.len() - 1;
            match begun {
                Ok(op) => drop(places.insert(op, place)),
                Err(error @ Error::Io { .. }) => return Err(error),
                Err(error) => ends[place] = Some(Err(error)),
            }
            while let Some(completion) = self.ready.pop_front() {
                note(completion, &mut ends, &mut places);
            }
        }
        while !places.is_empty() {
            match self.completion(self.timeout)? {
                Some(completion) => note(completion, &mut ends, &mut places),
                None => assert!(self.client.outstanding() > 0, "an operation has no end"),
            }
        }
        self.ready.append(&mut others);
        Ok(ends.into_iter().map(|end| end.unwrap_or(Err(Error::Busy))).collect())
    }

    /// Serves the links without waiting: acknowledges what arrived, answers the daemons' questions.
    ///
    /// # Errors
    /// [`Error::Io`] if the socket fails.
    pub fn tend(&mut self) -> Result<(), Error> {
        self.turn(Instant::ZERO)?;
        self.sockets.flush(&mut self.client, self.clock.now())
    }

    /// Operations begun and not handed back.
    pub fn outstanding(&self) -> usize {
        self.client.outstanding() + self.ready.len()
    }

    /// The processes that answered a handshake, and where.
    pub fn connected(&self) -> impl Iterator<Item = (NodeId, SocketAddr)> {
        self.client.connected()
    }

    /// Counters of what happened.
    pub const fn stats(&self) -> &Stats {
        self.client.stats()
    }

    /// Counters of the links.
    pub fn link_stats(&self) -> &LinkStats {
        self.client.link_stats()
    }

    fn deadline(&self) -> Instant {
        self.clock.now() + self.timeout
    }

    /// Waits for the end of one operation; others are kept for `completion`.
    fn finish(&mut self, op: OpId) -> Result<Completion, Error> {
        loop {
            while let Some(completion) = self.client.poll_completion() {
                if completion.op == op {
                    // What the links owe goes with the next request; a request is most often the next thing.
                    return Ok(completion);
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

impl Drop for Connection {
    /// Takes leave of the daemons, which would else keep the links for minutes.
    fn drop(&mut self) {
        let now = self.clock.now();
        self.client.close(now);
        // Nobody is left to tell if this fails, and nothing is lost by it.
        drop(self.sockets.flush(&mut self.client, now));
    }
}

fn own(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

/// Monotonic time since the connection was made.
#[derive(Clone, Copy)]
struct Clock(std::time::Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the driver, which hands the time to the core")]
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the driver, which hands the time to the core")]
    fn now(&self) -> Instant {
        Instant::ZERO + std::time::Instant::now().duration_since(self.0)
    }
}
