//! A host: an address, a clock, a processor, a socket's buffer, and the process that has them.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use haystack_wire::Instant;

use crate::actor::Actor;
use crate::daemon::Daemon;
use crate::scenario::Addressing;

/// The port of host 0; the others follow.
const PORT: u16 = 7400;

/// The address of a host.
pub(crate) fn address(addressing: Addressing, host: usize) -> SocketAddr {
    let low = host as u16 + 1;
    let ip = match addressing {
        Addressing::V4 => IpAddr::from(Ipv4Addr::new(10, 0, (low >> 8) as u8, low as u8)),
        Addressing::V6 => IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, low)),
        Addressing::Loopback => IpAddr::from(Ipv4Addr::LOCALHOST),
    };
    SocketAddr::new(ip, PORT + host as u16)
}

/// A host's monotonic clock: its own origin, and its own idea of how long a second is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    offset: u64,
    /// Millionths that it is too fast.
    drift: i64,
}

impl Clock {
    /// A clock that shows `offset` at time 0.
    pub(crate) const fn new(offset: u64, drift: i64) -> Self {
        Self { offset, drift }
    }

    /// What it shows at `time`.
    pub(crate) const fn at(self, time: u64) -> Instant {
        let drifted = time as i128 * self.drift as i128 / 1_000_000;
        Instant::from_nanos(self.offset + (time as i128 + drifted) as u64)
    }

    /// The first time at which it shows `instant` or more.
    pub(crate) fn when(self, instant: Instant) -> u64 {
        let shown = i128::from(instant.as_nanos().saturating_sub(self.offset));
        // What it shows is rounded, so that the quotient may be a little late.
        let mut time = ((shown * 1_000_000 / i128::from(1_000_000 + self.drift)) as u64).saturating_sub(2);
        while self.at(time) < instant {
            time += 1;
        }
        time
    }
}

/// Who lives on a host.
#[derive(Debug)]
pub(crate) enum Process {
    /// Nobody.
    None,
    /// A daemon.
    Daemon(Box<Daemon>),
    /// A client.
    Client(Box<Actor>),
}

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) addr: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) process: Process,
    /// Which process in a row this is: what was meant for an earlier one is void.
    pub(crate) life: u32,
    /// Datagrams that arrived and were not read, by number.
    pub(crate) inbox: VecDeque<u32>,
    pub(crate) inbox_bytes: u64,
    pub(crate) buffer: u64,
    /// The processor is free again.
    pub(crate) free_at: u64,
    /// Whether a turn is scheduled.
    pub(crate) turn_scheduled: bool,
    /// The earliest scheduled timer.
    pub(crate) timer_at: u64,
    /// How many faults hold the process still.
    pub(crate) pauses: u32,
    /// How many times slower the processor is.
    pub(crate) slowness: u64,
    /// How many times slower the disk is.
    pub(crate) disk_slowness: u64,
    /// Turns in a row that did nothing.
    pub(crate) idle_turns: u32,
    /// Until when the disk is busy.
    pub(crate) disk_free_at: u64,
}

impl Host {
    /// A host without a process.
    pub(crate) fn new(name: String, addr: SocketAddr, clock: Clock, buffer: u64) -> Self {
        Self {
            name,
            addr,
            clock,
            process: Process::None,
            life: 0,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            buffer,
            free_at: 0,
            turn_scheduled: false,
            timer_at: u64::MAX,
            pauses: 0,
            slowness: 1,
            disk_slowness: 1,
            idle_turns: 0,
            disk_free_at: 0,
        }
    }

    /// The daemon on it, if there is one.
    pub(crate) fn daemon(&self) -> Option<&Daemon> {
        match &self.process {
            Process::Daemon(daemon) => Some(daemon),
            _ => None,
        }
    }

    /// The client on it, if there is one.
    pub(crate) fn actor(&self) -> Option<&Actor> {
        match &self.process {
            Process::Client(actor) => Some(actor),
            _ => None,
        }
    }

    /// The client on it, if there is one.
    pub(crate) fn actor_mut(&mut self) -> Option<&mut Actor> {
        match &mut self.process {
            Process::Client(actor) => Some(actor),
            _ => None,
        }
    }

    /// Whether a process runs on it.
    pub(crate) const fn runs(&self) -> bool {
        !matches!(self.process, Process::None) && self.pauses == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_wakes_nobody_early() {
        for drift in [-20_000, -50, 0, 1, 20_000] {
            let clock = Clock::new(77_000, drift);
            for time in [0, 1, 999, 1_000_000_007, 60_000_000_000] {
                let when = clock.when(clock.at(time));
                assert!(when <= time && clock.at(when) >= clock.at(time), "{drift} {time} {when}");
            }
        }
    }

    #[test]
    fn addresses_differ() {
        for addressing in [Addressing::V4, Addressing::V6, Addressing::Loopback] {
            assert_ne!(address(addressing, 0), address(addressing, 1));
        }
    }
}
