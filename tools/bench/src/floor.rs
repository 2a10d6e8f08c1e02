//! Drives the relay of [`crate::relay`] with closed-loop clients: what the kernel gives.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::relay::{self, MARK};
use crate::report::Measured;

/// A request that was not answered for so long was lost by the kernel, and is sent again.
const LOST: Duration = Duration::from_millis(200);

/// The relay's three processes, ended when dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    children: Vec<Child>,
    leader: SocketAddr,
}

impl Relay {
    /// Starts leader and followers as processes of this very program, on ports from `port` on.
    ///
    /// # Errors
    /// If a process cannot be started or does not answer.
    pub(crate) fn start(port: u16, batch: bool) -> io::Result<Self> {
        let addr = |offset: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port + offset));
        let program = std::env::current_exe()?;
        let mut relay = Self { children: Vec::new(), leader: addr(0) };
        for offset in [1, 2] {
            let mut command = Command::new(&program);
            command.args(["relay", "--listen", &addr(offset).to_string()]);
            relay.children.push(command.stdin(Stdio::null()).spawn()?);
        }
        let mut command = Command::new(&program);
        command.args(["relay", "--listen", &addr(0).to_string()]);
        command.args(["--follower", &addr(1).to_string(), "--follower", &addr(2).to_string()]);
        if batch {
            command.arg("--batch");
        }
        relay.children.push(command.stdin(Stdio::null()).spawn()?);
        relay.wait()?;
        Ok(relay)
    }

    /// Waits until a request gets through.
    fn wait(&self) -> io::Result<()> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let mut buf = [0; 2_048];
        for _ in 0..100 {
            // Until the relay has bound its sockets the kernel refuses: that is an answer too.
            let sent = socket.send_to(&[0xff; 128], self.leader);
            if sent.is_ok() && socket.recv_from(&mut buf).is_ok() {
                return Ok(());
            }
        }
        Err(io::Error::other(format!("the relay at {} does not answer: is the port free?", self.leader)))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Client {
    socket: UdpSocket,
    number: u64,
    sent: Instant,
}

/// Runs `clients` closed-loop clients, one request of `bytes` each under way, for `duration`.
///
/// # Errors
/// If the sockets fail.
#[expect(clippy::disallowed_methods, reason = "a benchmark is where time is measured")]
pub(crate) fn run(
    name: &str,
    relay: &Relay,
    clients: usize,
    bytes: usize,
    duration: Duration,
) -> io::Result<Measured> {
    let mut poll = Poll::new()?;
    let mut all = Vec::with_capacity(clients);
    for token in 0..clients {
        let mut socket = relay::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        poll.registry().register(&mut socket, Token(token), Interest::READABLE)?;
        all.push(Client { socket, number: 0, sent: Instant::now() });
    }
    let mut request = vec![0x61; bytes.max(MARK)];
    let mut buf = [0; 2_048];
    let mut measured = Measured::new(name);
    let begin = Instant::now();
    let mut send = |client: &mut Client| {
        client.number += 1;
        client.sent = Instant::now();
        request[..MARK].copy_from_slice(&client.number.to_be_bytes());
        relay::send(&client.socket, &request, relay.leader)
    };
    for client in &mut all {
        send(client)?;
    }
    let mut events = Events::with_capacity(1_024);
    while begin.elapsed() < duration {
        poll.poll(&mut events, Some(LOST))?;
        if events.is_empty() {
            for client in all.iter_mut().filter(|client| client.sent.elapsed() >= LOST) {
                measured.failed += 1;
                send(client)?;
            }
        }
        for event in &events {
            let client = &mut all[event.token().0];
            while let Some((len, _)) = relay::receive(&client.socket, &mut buf)? {
                if buf[..len].first_chunk::<MARK>() == Some(&client.number.to_be_bytes()) {
                    measured.record(client.sent.elapsed());
                    send(client)?;
                }
            }
        }
    }
    measured.took = begin.elapsed();
    Ok(measured)
}
