//! The blocking driver: one UDP socket (per address family that is used) and one event queue per connection.

mod answer;
mod driver;
mod options;
mod socket;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use haystack_wire::ids::{GroupId, NodeId, Version};
use haystack_wire::link::LinkStats;
use haystack_wire::message::admin::{AdminReply, AdminRequest, EventRecord, Status};
use haystack_wire::message::client::{Expect, Versioned};
use haystack_wire::message::directory::PartitionMap;

use crate::core::{AdminTarget, Answer, Completion, OpId, Operation, Stats};
use crate::error::{Error, Ticket};
use driver::{Driver, KEEPER_PAUSE};

pub use answer::{CasOutcome, Deleted, Page, Resolved, StaleRead};
pub use options::{DEFAULT_PORT, Options};

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
/// A thread of the connection, the *keeper*, serves the links between calls: it acknowledges what arrived, so that the
/// daemons need not repeat it, and goes on with what was submitted. It sleeps while there is nothing to do.
///
/// # At its end
///
/// A connection that is dropped ends its sessions, so that the daemons need not remember their last replies any
/// longer, and takes at most a fifth of a second for it. The session of a write whose outcome is unknown stays, so that
/// the ticket can be resolved; it expires when it is idle.
pub struct Connection {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

/// What a connection and its keeper share.
struct Shared {
    driver: Mutex<Driver>,
    is_over: AtomicBool,
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
        connection.driver().connect()?;
        Ok(connection)
    }

    /// Begins to connect, and does not wait: the first call does.
    ///
    /// # Errors
    /// [`Error::Io`] if a name has no address, or the system has no socket or thread; [`Error::Usage`] if there is no
    /// address at all.
    pub fn open(options: Options) -> Result<Self, Error> {
        let (timeout, config) = options.resolve()?;
        let driver = Mutex::new(Driver::new(config, timeout)?);
        let shared = Arc::new(Shared { driver, is_over: AtomicBool::new(false) });
        let kept = Arc::clone(&shared);
        let keeper = thread::Builder::new().name("haystack-keeper".into()).spawn(move || keep(&kept));
        let keeper = keeper.map_err(|error| Error::io("starting a thread", &error))?;
        Ok(Self { shared, keeper: Some(keeper) })
    }

    /// Changes the time limit of the calls from now on.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.driver().timeout = timeout;
    }

    /// Reads a key, linearizably.
    ///
    /// # Errors
    /// See [`Error`]; a read without an answer is [`Error::Timeout`].
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Versioned>, Error> {
        answer::read(self.driver().call(Operation::get(own(key)))?)
    }

    /// Reads a key from any replica, which may lag behind; the answer says how far.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get_stale(&mut self, key: impl AsRef<[u8]>) -> Result<StaleRead, Error> {
        answer::stale(self.driver().call(Operation::Get { key: own(key), stale: true })?)
    }

    /// Sets a key, and returns the version that this makes.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Version, Error> {
        answer::written(self.driver().call(Operation::put(own(key), own(value)))?)
    }

    /// Removes a key, and returns the version of what was there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<Deleted, Error> {
        answer::deleted(self.driver().call(Operation::delete(own(key)))?)
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
        answer::compared(self.driver().call(Operation::cas(own(key), expect, own(value)))?)
    }

    /// Reads a page of a partition's keys in order: about `limit` bytes of those after `after`, as one linearizable read.
    /// [`map`](Self::map) names the partitions' groups.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn scan(&mut self, group: GroupId, after: Option<Bytes>, limit: u32) -> Result<Page, Error> {
        answer::page(self.driver().call(Operation::Scan { group, after, limit })?)
    }

    /// Settles a write whose outcome is unknown. May be asked again and again, also from another connection.
    ///
    /// # Errors
    /// See [`Error`]; without an answer the outcome stays unknown, and this is [`Error::Timeout`].
    pub fn resolve(&mut self, ticket: &Ticket) -> Result<Resolved, Error> {
        answer::resolved(self.driver().call(Operation::Resolve(ticket.clone()))?)
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
            AdminReply::Events(_) => Err(answer::unexpected("events".to_owned())),
        }
    }

    /// What happened in the cluster as one daemon saw it, from the event numbered `from` on, oldest first.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if it does not answer; see [`Error`].
    pub fn events_of(&mut self, target: AdminTarget, from: u64) -> Result<Vec<EventRecord>, Error> {
        match self.admin(target, AdminRequest::Events { from })? {
            AdminReply::Events(events) => Ok(events),
            other => Err(answer::unexpected(format!("{other:?}"))),
        }
    }

    /// Asks a daemon as an administrator.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if it does not answer; [`Error::Timeout`] if it does not answer the request.
    pub fn admin(&mut self, target: AdminTarget, request: AdminRequest) -> Result<AdminReply, Error> {
        match self.driver().admin(target, request)? {
            Answer::Admin(reply) => Ok(*reply),
            other => Err(answer::unexpected(format!("{other:?}"))),
        }
    }

    /// The partition map; waits until a daemon has told it.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if none does in time.
    pub fn map(&mut self) -> Result<PartitionMap, Error> {
        self.driver().map().cloned()
    }

    /// Does an operation.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn call(&mut self, operation: Operation) -> Result<Answer, Error> {
        self.driver().call(operation)
    }

    /// Begins an operation, with the time limit of the connection from now on. Waits only while as many are under way
    /// as the limits allow.
    ///
    /// # Errors
    /// [`Error::Busy`] if as many as the limits allow have ended and wait for [`completion`](Self::completion);
    /// [`Error::Usage`] if the operation can never succeed.
    pub fn submit(&mut self, operation: Operation) -> Result<OpId, Error> {
        self.driver().submit(operation)
    }

    /// Waits up to `wait` for the end of an operation begun by [`submit`](Self::submit). None if nothing is under way, or
    /// nothing ended in time.
    ///
    /// # Errors
    /// [`Error::Io`] if the socket fails.
    pub fn completion(&mut self, wait: Duration) -> Result<Option<Completion>, Error> {
        self.driver().completion(wait)
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
        self.driver().pipeline(operations.into_iter())
    }

    /// Operations begun and not handed back.
    pub fn outstanding(&self) -> usize {
        self.look().outstanding()
    }

    /// The processes that answered a handshake, and where.
    pub fn connected(&self) -> Vec<(NodeId, SocketAddr)> {
        self.look().client.connected().collect()
    }

    /// Where daemons are looked for: the addresses that were given, as they were looked up, and those that
    /// administrator's requests named since.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.look().client.addresses().to_vec()
    }

    /// Counters of what happened.
    pub fn stats(&self) -> Stats {
        *self.look().client.stats()
    }

    /// Counters of the links.
    pub fn link_stats(&self) -> LinkStats {
        self.look().client.link_stats().clone()
    }

    /// The driver, for a call.
    fn driver(&mut self) -> MutexGuard<'_, Driver> {
        let mut driver = self.shared.driver.lock().unwrap_or_else(PoisonError::into_inner);
        if driver.note_call()
            && let Some(keeper) = &self.keeper
        {
            keeper.thread().unpark();
        }
        driver
    }

    /// The driver, for a look.
    fn look(&self) -> MutexGuard<'_, Driver> {
        self.shared.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(keeper) = self.keeper.take() {
            keeper.thread().unpark();
            // It cannot fail but by a panic, which has been reported.
            drop(keeper.join());
        }
    }
}

/// The keeper: visits the driver now and then, unless a call holds it.
fn keep(shared: &Shared) {
    let mut pause = KEEPER_PAUSE;
    loop {
        thread::park_timeout(pause);
        if shared.is_over.load(Ordering::Acquire) {
            return;
        }
        pause = match shared.driver.try_lock() {
            Ok(mut driver) => driver.keep(),
            Err(TryLockError::WouldBlock) => KEEPER_PAUSE,
            Err(TryLockError::Poisoned(_)) => return,
        };
    }
}

fn own(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}
