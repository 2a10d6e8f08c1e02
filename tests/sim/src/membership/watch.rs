//! Failure detectors that watch each other.

use std::time::Duration;

use haystack_core::membership::detector::{Detector, DetectorTiming, Output};
use haystack_wire::Instant;
use haystack_wire::codec::Encode;
use haystack_wire::datagram::{CRC_BYTES, SHORT_HEADER_BYTES};
use haystack_wire::ids::NodeId;
use haystack_wire::message::PeerMessage;
use haystack_wire::message::membership::Beat;

use super::world::{Act, Process, What};

/// Nodes up to which all watch all.
const ALL_PAIRS: usize = 16;
/// Peers that a node watches in more: its neighbours in a ring. Watching is mutual, since only heartbeats of those
/// that a node watches itself are for it.
const PEERS: usize = 16;
/// What the link says of the path.
const PATH: (Duration, Duration) = (Duration::from_micros(1_200), Duration::from_micros(400));
/// Around a heartbeat: headers of IPv4 and UDP, a short header, a frame's kind and length, the checksum.
const AROUND: usize = 28 + SHORT_HEADER_BYTES + 3 + CRC_BYTES;

/// Whom a node among so many watches.
pub(super) fn peers(host: usize, hosts: usize) -> impl Iterator<Item = usize> {
    (0..hosts).filter(move |peer| {
        let apart = host.abs_diff(*peer);
        apart > 0 && (hosts <= ALL_PAIRS || apart.min(hosts - apart) <= PEERS / 2)
    })
}

fn id(host: usize) -> NodeId {
    let mut id = [0x77; 16];
    id[..8].copy_from_slice(&(host as u64).to_be_bytes());
    NodeId(id)
}

fn host(node: NodeId) -> usize {
    node.0[..8].iter().fold(0, |host, byte| host << 8 | usize::from(*byte))
}

/// What detectors hear of each other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heard {
    /// A heartbeat.
    Beat(Beat),
    /// The link's word that another process speaks now under the same identity.
    Restarted,
}

/// A detector; the setup is how many there are.
pub(super) struct Watcher(pub(super) Detector);

impl Process for Watcher {
    type Message = Heard;
    type Setup = usize;
    const SAME: bool = true;

    fn start(hosts: &mut usize, host: usize, _: u32, now: Instant) -> Self {
        let mut detector = Detector::new(DetectorTiming::default(), now);
        detector.set_peers(now, peers(host, *hosts).map(id));
        peers(host, *hosts).for_each(|peer| detector.path(id(peer), PATH.0, PATH.1));
        Self(detector)
    }

    fn handle(&mut self, now: Instant, from: usize, heard: Heard) {
        match heard {
            Heard::Beat(beat) => self.0.handle(now, id(from), beat),
            Heard::Restarted => self.0.restarted(now, id(from)),
        }
    }

    fn greeting() -> Option<Heard> {
        Some(Heard::Restarted)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.0.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }

    fn poll_act(&mut self, _: &usize) -> Option<Act<Heard>> {
        Some(match self.0.poll_output()? {
            Output::Send { to, beat } => {
                let bytes = AROUND + PeerMessage::Beat(beat).encoded_len();
                Act::Send { to: host(to), message: Heard::Beat(beat), bytes, reliable: false }
            }
            Output::Suspect(node) => Act::Tell { about: (host(node), 0), what: What::Suspect },
            Output::OneWay { node, deaf: true } => Act::Tell { about: (host(node), 0), what: What::Deaf },
            Output::Restore(_) | Output::OneWay { .. } => Act::Nothing,
        })
    }

    fn knows(&self, _: &usize, (crashed, _): (usize, u32)) -> bool {
        self.0.suspects(id(crashed)) || !self.0.peers().any(|peer| peer == id(crashed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watching_is_mutual_and_of_sixteen_at_most() {
        for hosts in [2, 3, 5, 16, 17, 18, 32, 128] {
            for host in 0..hosts {
                assert!(peers(host, hosts).all(|peer| peers(peer, hosts).any(|back| back == host)));
                assert_eq!(peers(host, hosts).count(), (hosts - 1).min(16), "of {hosts}");
            }
        }
        assert_eq!(host(id(511)), 511);
    }
}
