//! The blocking driver against a fake daemon on a real loopback socket.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use haystack_wire::codec::{decode_whole, encode_whole};
use haystack_wire::frame::Class;
use haystack_wire::ids::{Boot, GroupId, LinkEnd, NetworkId, NodeId};
use haystack_wire::keys::{KeyRing, Role, new_cluster_key};
use haystack_wire::link::{Endpoint, EndpointConfig, LinkEvent};
use haystack_wire::message::admin::AdminReply;
use haystack_wire::message::client::{Expect, Reply, RequestBody};
use haystack_wire::message::{ClientMessage, ServerMessage};
use haystack_wire::rng::Rng;

use super::driver::Clock;
use super::{CasOutcome, Connection, Options, Resolved};
use crate::core::tests::cluster::Cluster;
use crate::core::{AdminTarget, Answer, Operation};
use crate::error::{Error, Ticket, Wait};
use haystack_wire::message::admin::AdminRequest;

/// A daemon in a thread of its own, which ends with it.
struct Daemon {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    /// While set, requests are done but not answered.
    silent: Arc<AtomicBool>,
    /// Sessions that are open.
    sessions: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(bind: &str, keys: KeyRing) -> Self {
        let socket = UdpSocket::bind(bind).unwrap();
        // Long enough to spare the processor, short enough for the links' timers.
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let addr = socket.local_addr().unwrap();
        let (stop, silent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let sessions = Arc::new(AtomicUsize::new(0));
        let (stopped, silenced, counted) = (Arc::clone(&stop), Arc::clone(&silent), Arc::clone(&sessions));
        let thread = std::thread::spawn(move || serve(&socket, addr, keys, &stopped, &silenced, &counted));
        Self { addr, stop, silent, sessions, thread: Some(thread) }
    }

    fn options(&self) -> Options {
        Options::new([self.addr.to_string()]).timeout(Duration::from_secs(20))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    socket: &UdpSocket,
    addr: SocketAddr,
    keys: KeyRing,
    stop: &AtomicBool,
    silent: &AtomicBool,
    sessions: &AtomicUsize,
) {
    let clock = Clock::start();
    let node = NodeId([7; 16]);
    let mut cluster = Cluster::new(1, 4, &[(node, addr)]);
    let config = EndpointConfig {
        local: LinkEnd { node, boot: Boot(0) },
        role: Role::Peer,
        network: NetworkId::of_cluster("test"),
        keys,
        accepts: true,
        limits: Default::default(),
    };
    let mut endpoint = Endpoint::new(config, clock.now(), Rng::from_u64(7));
    let (mut inbound, mut out) = (vec![0; 65_536], Vec::new());
    while !stop.load(Ordering::Relaxed) {
        if let Ok((len, from)) = socket.recv_from(&mut inbound) {
            endpoint.handle_datagram(clock.now(), from, &mut inbound[..len]);
        }
        endpoint.handle_timeout(clock.now());
        while let Some(event) = endpoint.poll_event() {
            let LinkEvent::Deliver { link, message, .. } = event else { continue };
            let answer = match decode_whole(&message, "ClientMessage").unwrap() {
                ClientMessage::Request(request) => {
                    let outcome = cluster.perform(&request);
                    sessions.store(cluster.sessions(), Ordering::Relaxed);
                    let is_open = matches!(&request.body, RequestBody::Command(bytes) if bytes.len() == 1);
                    if silent.load(Ordering::Relaxed) && !is_open {
                        continue;
                    }
                    ServerMessage::Reply(Reply { id: request.id, hint: None, outcome })
                }
                ClientMessage::MapRequest { id, .. } => ServerMessage::Map { id, map: cluster.map.clone() },
                ClientMessage::Admin { id, request } => {
                    ServerMessage::Admin { id, reply: AdminReply::Done(format!("{request:?}")) }
                }
            };
            endpoint.send(clock.now(), link, Class::Client, encode_whole(&answer)).unwrap();
        }
        while let Some(transmit) = endpoint.poll_transmit(clock.now(), &mut out) {
            socket.send_to(&out, transmit.to).unwrap();
        }
    }
}

fn options(daemon: &Daemon) -> Options {
    daemon.options().cluster("test")
}

/// A daemon without a key, and a connection to it.
fn connected() -> (Daemon, Connection) {
    let daemon = Daemon::start("127.0.0.1:0", KeyRing::empty());
    let connection = Connection::connect(options(&daemon)).unwrap();
    (daemon, connection)
}

/// A write that was done and not answered. The daemon is silent from then on.
fn unanswered(daemon: &Daemon, connection: &mut Connection) -> Ticket {
    connection.put("a", "0").unwrap();
    daemon.silent.store(true, Ordering::Relaxed);
    connection.set_timeout(Duration::from_millis(100));
    match connection.put("a", "1") {
        Err(Error::Unknown(ticket)) => ticket,
        other => panic!("must be unknown: {other:?}"),
    }
}

#[test]
fn calls_return_what_was_asked() {
    let (daemon, mut connection) = connected();
    assert_eq!(connection.get("a").unwrap(), None);
    let version = connection.put("a", "1").unwrap();
    let found = connection.get("a").unwrap().unwrap();
    assert_eq!((found.value, found.version), (Bytes::from("1"), version));
    let outcome = connection.cas("a", Expect::Absent, "2").unwrap();
    assert!(matches!(outcome, CasOutcome::Mismatch { actual: Some(actual) } if actual.version == version));
    assert!(matches!(connection.cas("a", Expect::Version(version), "2").unwrap(), CasOutcome::Written(_)));
    assert_eq!(connection.get_stale("a").unwrap().found.unwrap().value, "2");
    let last = connection.get("a").unwrap().unwrap().version;
    assert_eq!(connection.delete("a").unwrap().previous, Some(last));
    assert_eq!(connection.map().unwrap().partitions.len(), 4);
    let reply = connection.admin(AdminTarget::Address(daemon.addr), AdminRequest::AbandonOldData).unwrap();
    assert_eq!(reply, AdminReply::Done("AbandonOldData".into()));
    assert_eq!(connection.outstanding(), 0);
}

#[test]
fn a_connection_moves_between_threads() {
    let (_daemon, mut connection) = connected();
    connection.put("a", "1").unwrap();
    let thread = std::thread::spawn(move || connection.get("a").unwrap().unwrap().value);
    assert_eq!(thread.join().unwrap(), "1");
}

#[test]
fn the_end_of_a_connection_is_the_end_of_its_sessions() {
    let (daemon, mut connection) = connected();
    connection.pipeline((0..100).map(|n| Operation::put(format!("{n}"), "v"))).unwrap();
    assert_eq!(daemon.sessions.load(Ordering::Relaxed), 4);
    drop(connection);
    assert_eq!(daemon.sessions.load(Ordering::Relaxed), 0);
}

#[test]
fn the_end_of_a_connection_waits_for_nobody_who_does_not_answer() {
    let (daemon, mut connection) = connected();
    connection.put("a", "1").unwrap();
    daemon.silent.store(true, Ordering::Relaxed);
    let clock = Clock::start();
    drop(connection);
    let took = clock.now() - haystack_wire::Instant::ZERO;
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_connection_that_holds_a_ticket_leaves_its_session_open() {
    let (daemon, mut connection) = connected();
    let ticket = unanswered(&daemon, &mut connection);
    daemon.silent.store(false, Ordering::Relaxed);
    drop(connection);
    let mut other = Connection::connect(options(&daemon)).unwrap();
    assert!(matches!(other.resolve(&ticket).unwrap(), Resolved::Applied { .. }));
}

#[test]
fn a_pipeline_returns_every_outcome_in_order() {
    let (_daemon, mut connection) = connected();
    let other = connection.submit(Operation::put("other", "x")).unwrap();
    let key = |n: u32| format!("key-{n}");
    let too_long = Operation::get(vec![0; 100_000]);
    let puts = (0..9_999).map(|n| Operation::put(key(n), n.to_string())).chain([too_long]);
    let ends = connection.pipeline(puts).unwrap();
    assert!(ends[..9_999].iter().all(|end| matches!(end, Ok(Answer::Applied { .. }))));
    assert!(matches!(ends[9_999], Err(Error::Usage(_))));
    let ends = connection.pipeline((0..9_999).map(|n| Operation::get(key(n)))).unwrap();
    for (n, end) in ends.into_iter().enumerate() {
        let Ok(Answer::Read { found: Some(found), .. }) = end else { panic!("{n}: {end:?}") };
        assert_eq!(found.value, n.to_string());
    }
    let left = connection.completion(Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!(left.op, other);
    assert_eq!(connection.completion(Duration::from_secs(20)).unwrap(), None);
}

#[test]
fn pages_name_every_key_once() {
    let (_daemon, mut connection) = connected();
    connection.pipeline((0..500).map(|n| Operation::put(format!("{n}"), "v"))).unwrap();
    let mut keys = Vec::new();
    for group in (1..=4).map(GroupId) {
        let mut after = None;
        loop {
            let page = connection.scan(group, after.clone(), 200).unwrap();
            keys.extend(page.pairs.into_iter().map(|pair| pair.key));
            after = keys.last().cloned();
            if !page.more {
                break;
            }
        }
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 500);
}

#[test]
fn large_values_pass() {
    let (_daemon, mut connection) = connected();
    let value: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    connection.put("large", &value).unwrap();
    assert_eq!(connection.get("large").unwrap().unwrap().value, value);
}

#[test]
fn a_write_without_an_answer_is_unknown_in_time_and_can_be_settled() {
    let (daemon, mut connection) = connected();
    let ticket = unanswered(&daemon, &mut connection);
    assert!(matches!(connection.get("a"), Err(Error::Timeout(_))));
    daemon.silent.store(false, Ordering::Relaxed);
    connection.set_timeout(Duration::from_secs(20));
    assert!(matches!(connection.resolve(&ticket).unwrap(), Resolved::Applied { .. }));
    let never = Ticket { seq: ticket.seq + 1, ..ticket };
    assert_eq!(connection.resolve(&never).unwrap(), Resolved::NeverApplies);
}

#[test]
fn a_client_key_opens_a_sealed_cluster_and_no_key_does_not() {
    let cluster = KeyRing::from_file_text(&new_cluster_key([5; 32])).unwrap();
    let rights = haystack_wire::keys::Rights::from_letters("rw").unwrap();
    let client = KeyRing::from_file_text(&cluster.client_key(rights).unwrap()).unwrap();
    let daemon = Daemon::start("127.0.0.1:0", cluster);
    let mut connection = Connection::connect(options(&daemon).keys(client)).unwrap();
    connection.put("a", "1").unwrap();
    let refused = Connection::connect(options(&daemon).timeout(Duration::from_millis(200)));
    assert_eq!(refused.err(), Some(Error::Unreachable(Wait::Connection)));
}

#[test]
fn ipv6_is_spoken_where_there_is_one() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let daemon = Daemon::start("[::1]:0", KeyRing::empty());
    let mut connection = Connection::connect(options(&daemon)).unwrap();
    connection.put("a", "1").unwrap();
}

#[test]
fn what_was_submitted_goes_on_between_calls() {
    let (daemon, mut connection) = connected();
    let mut other = Connection::connect(options(&daemon)).unwrap();
    let op = connection.submit(Operation::put("a", "1")).unwrap();
    // Not a word to the first connection until the other one sees what it wrote.
    while other.get("a").unwrap().is_none() {}
    let completion = connection.completion(Duration::from_secs(20)).unwrap().unwrap();
    assert!(completion.op == op && completion.outcome.is_ok());
}
