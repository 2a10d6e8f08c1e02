//! The daemon's one UDP socket, IPv4 or IPv6 or both.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use mio::net::UdpSocket;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Type};

/// Wanted size of each socket buffer in bytes: what arrives at 1 GB/s during the longest turn of the event loop
/// that is planned for (judgement: 8 ms).
pub(crate) const SOCKET_BUFFER: usize = 8 * 1024 * 1024;

/// The socket.
#[derive(Debug)]
pub(crate) struct Socket {
    inner: UdpSocket,
    /// Whether IPv4 addresses must be written as IPv6 ones (RFC 4291, section 2.5.5.2).
    mapped: bool,
}

impl Socket {
    /// Binds to `addr`. An unspecified IPv6 address (`[::]`) takes IPv4 as well.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        enlarge(&socket);
        // Without SO_REUSEADDR: on Linux it would let two daemons share the port, each seeing some of the datagrams.
        socket.bind(&addr.into())?;
        let inner = UdpSocket::from_std(socket.into());
        Ok(Self { inner, mapped: addr.is_ipv6() && addr.ip().is_unspecified() })
    }

    /// The bound address.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// What the kernel granted: bytes of the receive and the send buffer, of [`SOCKET_BUFFER`] wanted.
    pub(crate) fn buffers(&self) -> io::Result<(usize, usize)> {
        // The kernel doubles what it is asked for to hold its own bookkeeping too (socket(7)).
        let receive = sockopt::socket_recv_buffer_size(self.inner.as_fd())? / 2;
        let send = sockopt::socket_send_buffer_size(self.inner.as_fd())? / 2;
        Ok((receive, send))
    }

    /// Receives one datagram.
    pub(crate) fn recv(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = self.inner.recv_from(buf)?;
        Ok((len, canonical(from)))
    }

    /// Sends one datagram.
    pub(crate) fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = match to {
            SocketAddr::V4(v4) if self.mapped => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            other => other,
        };
        self.inner.send_to(datagram, to).map(|_| ())
    }
}

impl mio::event::Source for Socket {
    fn register(
        &mut self,
        registry: &mio::Registry,
        token: mio::Token,
        interests: mio::Interest,
    ) -> io::Result<()> {
        self.inner.register(registry, token, interests)
    }
    fn reregister(
        &mut self,
        registry: &mio::Registry,
        token: mio::Token,
        interests: mio::Interest,
    ) -> io::Result<()> {
        self.inner.reregister(registry, token, interests)
    }
    fn deregister(&mut self, registry: &mio::Registry) -> io::Result<()> {
        self.inner.deregister(registry)
    }
}

/// Asks for large buffers: past `net.core.rmem_max` if we are privileged, else as far as it goes. What was granted
/// is read back by [`Socket::buffers`], so refusals need no handling here.
fn enlarge(socket: &socket2::Socket) {
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    }
    if sockopt::set_socket_send_buffer_size_force(socket, SOCKET_BUFFER).is_err() {
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    }
}

/// One spelling per address, so that addresses can be compared: IPv4 is IPv4, and no flow label.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_dual_stack_socket_speaks_both_and_shows_one_spelling() {
        let Ok(both) = Socket::bind(addr("[::]:0")) else { return };
        let port = both.local_addr().unwrap().port();
        for host in ["127.0.0.1", "[::1]"] {
            let Ok(other) = std::net::UdpSocket::bind(addr(&format!("{host}:0"))) else { continue };
            other.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            both.send(b"to you", other.local_addr().unwrap()).unwrap();
            let mut buf = [0; 16];
            let (len, from) = other.recv_from(&mut buf).unwrap();
            assert_eq!((&buf[..len], from.port()), (&b"to you"[..], port));
            // On loopback a datagram is in the receiver's queue when `send_to` returns.
            other.send_to(b"and back", from).unwrap();
            let (len, from) = both.recv(&mut buf).unwrap();
            assert_eq!((&buf[..len], from), (&b"and back"[..], other.local_addr().unwrap()));
        }
    }

    #[test]
    fn two_daemons_cannot_share_a_port() {
        let first = Socket::bind(addr("127.0.0.1:0")).unwrap();
        let second = Socket::bind(first.local_addr().unwrap());
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn addresses_have_one_spelling() {
        assert_eq!(canonical(addr("[::ffff:10.0.0.1]:7400")), addr("10.0.0.1:7400"));
        let labelled = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 77, 3));
        let plain = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 0, 3));
        assert_eq!(canonical(labelled), plain);
    }
}
