//! The sockets of a connection.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use haystack_wire::Instant;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::core::Client;
use crate::error::Error;

/// Longest datagram of UDP, in bytes.
const DATAGRAM_MOST: usize = 65_536;
/// Datagrams read before what they lead to is sent: 256, a few windows of small answers (judgement).
const READ_BUDGET: usize = 256;
/// Socket buffers asked of the system, in bytes: a class window.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// IPv4 and IPv6: opened when the first address of the family is sent to.
const FAMILIES: usize = 2;

struct Endpoint {
    socket: UdpSocket,
    is_readable: bool,
    is_writable: bool,
}

/// The sockets of a connection, and the system's event queue.
pub(super) struct Sockets {
    poll: Poll,
    events: Events,
    families: [Option<Endpoint>; FAMILIES],
    out: Vec<u8>,
    /// Where the datagram in `out` goes, if the system did not take it yet.
    unsent: Option<SocketAddr>,
    inbound: Vec<u8>,
}

impl Sockets {
    pub(super) fn new() -> Result<Self, Error> {
        let poll = Poll::new().map_err(|error| Error::io("opening the event queue", &error))?;
        Ok(Self {
            poll,
            events: Events::with_capacity(FAMILIES),
            families: [None, None],
            out: Vec::new(),
            unsent: None,
            inbound: vec![0; DATAGRAM_MOST],
        })
    }

    /// Sends all that the client has to send, until the system takes no more.
    pub(super) fn flush(&mut self, client: &mut Client, now: Instant) -> Result<(), Error> {
        loop {
            let to = match self.unsent.take() {
                Some(to) => to,
                None => match client.poll_transmit(now, &mut self.out) {
                    Some(transmit) => transmit.to,
                    None => return Ok(()),
                },
            };
            let family = usize::from(to.is_ipv6());
            if self.families[family].is_none() {
                match self.open(family) {
                    Ok(endpoint) => self.families[family] = Some(endpoint),
                    // A host without this family reaches the others; the links take the datagram for lost.
                    Err(error)
                        if error.kind() == ErrorKind::Unsupported || self.families[1 - family].is_some() =>
                    {
                        continue;
                    }
                    Err(error) => return Err(Error::io("opening a socket", &error)),
                }
            }
            let Some(endpoint) = &mut self.families[family] else { continue };
            if !endpoint.is_writable {
                self.unsent = Some(to);
                return Ok(());
            }
            match endpoint.socket.send_to(&self.out, to) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    endpoint.is_writable = false;
                    self.unsent = Some(to);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => self.unsent = Some(to),
                // No route, no buffer, refused: as good as lost on the way, which the links repair.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Waits for a datagram, or for the time to pass. Returns at once if datagrams are left from before.
    pub(super) fn wait(&mut self, time: Duration) -> Result<(), Error> {
        let is_readable = self.families.iter().flatten().any(|endpoint| endpoint.is_readable);
        let time = if is_readable { Duration::ZERO } else { time };
        match self.poll.poll(&mut self.events, Some(time)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(Error::io("waiting for datagrams", &error));
            }
            _ => {}
        }
        for event in &self.events {
            if let Some(Some(endpoint)) = self.families.get_mut(event.token().0) {
                endpoint.is_readable |= event.is_readable() || event.is_error();
                endpoint.is_writable |= event.is_writable();
            }
        }
        Ok(())
    }

    /// Hands what arrived to the client, up to a budget. Events come once per change, so readiness is remembered.
    pub(super) fn receive(&mut self, client: &mut Client, now: Instant) -> Result<(), Error> {
        let mut budget = READ_BUDGET;
        for endpoint in self.families.iter_mut().flatten() {
            while endpoint.is_readable && budget > 0 {
                match endpoint.socket.recv_from(&mut self.inbound) {
                    Ok((len, from)) => {
                        client.handle_datagram(now, from, &mut self.inbound[..len]);
                        budget -= 1;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => endpoint.is_readable = false,
                    // What earlier datagrams met on their way is told here.
                    Err(error) if is_passing(error.kind()) => {}
                    Err(error) => return Err(Error::io("receiving", &error)),
                }
            }
        }
        Ok(())
    }

    fn open(&self, family: usize) -> std::io::Result<Endpoint> {
        let (domain, any): (Domain, SocketAddr) = match family {
            0 => (Domain::IPV4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            _ => (Domain::IPV6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if family == 1 {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        // The system may give less; the links adapt to what gets through.
        drop(socket.set_recv_buffer_size(SOCKET_BUFFER));
        drop(socket.set_send_buffer_size(SOCKET_BUFFER));
        socket.bind(&any.into())?;
        let mut socket = UdpSocket::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(family), interest)?;
        Ok(Endpoint { socket, is_readable: false, is_writable: true })
    }
}

const fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}
