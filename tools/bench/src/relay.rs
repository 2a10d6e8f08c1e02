//! The floor: the datagrams of a replicated write, and nothing else.
//!
//! client -> leader -> two followers -> leader -> client, on bare mio sockets with no protocol at all: no
//! checksum, no sequence, no state. Whatever a store on this kernel does costs at least this much.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

/// Largest datagram of the batched replica leg (judgement: what a loopback socket takes).
const BATCH_BYTES: usize = 60_000;
/// Bytes of a request's mark, which the answer carries back.
pub(crate) const MARK: usize = 8;
/// Bytes of a follower's acknowledgement and of the answer: what a real one needs at least.
const ACK_BYTES: usize = 40;
const SOCKET: Token = Token(0);

/// Requests whose acknowledgement is awaited, in the order they were relayed.
#[derive(Debug, Default)]
struct Pending {
    /// Batch number of the front entry.
    first: u64,
    batches: VecDeque<Vec<(SocketAddr, [u8; MARK])>>,
}

impl Pending {
    fn push(&mut self, batch: Vec<(SocketAddr, [u8; MARK])>) -> u64 {
        self.batches.push_back(batch);
        self.first + self.batches.len() as u64 - 1
    }

    /// Takes the requests of a batch out, once.
    fn take(&mut self, number: u64) -> Vec<(SocketAddr, [u8; MARK])> {
        let Some(at) = number.checked_sub(self.first) else { return Vec::new() };
        let taken = self.batches.get_mut(at as usize).map(std::mem::take).unwrap_or_default();
        while self.batches.front().is_some_and(Vec::is_empty) {
            self.batches.pop_front();
            self.first += 1;
        }
        taken
    }
}

/// A bound socket with room for bursts.
pub(crate) fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::DGRAM, None)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.set_send_buffer_size(4 << 20)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

fn bind_with_poll(addr: SocketAddr) -> io::Result<(Poll, UdpSocket)> {
    let mut socket = bind(addr)?;
    let poll = Poll::new()?;
    poll.registry().register(&mut socket, SOCKET, Interest::READABLE)?;
    Ok((poll, socket))
}

/// Sends a datagram; what the kernel does not take is lost, as on any wire.
pub(crate) fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
    match socket.send_to(bytes, to) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

/// The next datagram, unless there is none.
pub(crate) fn receive(socket: &UdpSocket, buf: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
    match socket.recv_from(buf) {
        Ok(received) => Ok(Some(received)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A follower: acknowledges whatever comes, for ever.
pub(crate) fn follower(listen: SocketAddr) -> io::Result<()> {
    let (mut poll, socket) = bind_with_poll(listen)?;
    let mut events = Events::with_capacity(4);
    let mut buf = vec![0; 65_536];
    loop {
        poll.poll(&mut events, None)?;
        while let Some((len, from)) = receive(&socket, &mut buf)? {
            let mut ack = [0; ACK_BYTES];
            ack[..MARK.min(len)].copy_from_slice(&buf[..MARK.min(len)]);
            send(&socket, &ack, from)?;
        }
    }
}

/// The leader: relays what clients send to the followers and answers with the first acknowledgement, which with
/// its own makes a majority of three. `batch` gathers all requests of one wake-up into one datagram.
pub(crate) fn leader(listen: SocketAddr, followers: &[SocketAddr], batch: bool) -> io::Result<()> {
    let (mut poll, socket) = bind_with_poll(listen)?;
    let mut events = Events::with_capacity(4);
    let mut buf = vec![0; 65_536];
    let mut pending = Pending::default();
    let mut out = Vec::with_capacity(BATCH_BYTES);
    let mut gathered = Vec::new();
    loop {
        poll.poll(&mut events, None)?;
        loop {
            let received = receive(&socket, &mut buf)?;
            if let Some((len, from)) = received {
                if followers.contains(&from) {
                    answer(&socket, &mut pending, &buf[..len])?;
                    continue;
                }
                let mut mark = [0; MARK];
                mark.copy_from_slice(&buf[..MARK]);
                gathered.push((from, mark));
                if out.is_empty() {
                    out.extend_from_slice(&[0; MARK]);
                }
                out.extend_from_slice(&buf[..len]);
            }
            let full = !batch || received.is_none() || out.len() + 2_048 > BATCH_BYTES;
            if full && !gathered.is_empty() {
                let number = pending.push(std::mem::take(&mut gathered));
                out[..MARK].copy_from_slice(&number.to_be_bytes());
                for follower in followers {
                    send(&socket, &out, *follower)?;
                }
                out.clear();
            }
            if received.is_none() {
                break;
            }
        }
    }
}

fn answer(socket: &UdpSocket, pending: &mut Pending, ack: &[u8]) -> io::Result<()> {
    let Some(number) = ack.first_chunk::<MARK>() else { return Ok(()) };
    for (client, mark) in pending.take(u64::from_be_bytes(*number)) {
        let mut reply = [0; ACK_BYTES];
        reply[..MARK].copy_from_slice(&mark);
        send(socket, &reply, client)?;
    }
    Ok(())
}
