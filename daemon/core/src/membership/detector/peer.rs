//! A watched peer.

use haystack_wire::Instant;
use haystack_wire::time::Duration;

use super::loss::Loss;

/// What is known of a watched peer. Instants are of the detector's waking time, which stands still while this
/// process does.
#[derive(Debug)]
pub(super) struct Peer {
    /// When it was last heard; before that, when it began to be watched.
    pub(super) heard: Instant,
    /// Whether it was ever heard.
    pub(super) ever: bool,
    /// Whether it is suspected.
    pub(super) suspected: bool,
    /// When its silence is looked at next, at the latest when it is to be suspected. Meaningless while it is.
    pub(super) check: Instant,
    /// The silence after which it is suspected.
    pub(super) timeout: Duration,
    /// Least timeout. Only grows.
    pub(super) floor: Duration,
    /// srtt + 4 rttvar.
    pub(super) path: Duration,
    /// Sequence number of the last heartbeat sent to it.
    pub(super) sent: u64,
    /// What of its heartbeats arrived.
    pub(super) loss: Loss,
    /// Whether a gap before its next heartbeat is no loss, since a suspicion lies in it.
    pub(super) excused: bool,
    /// When its newest heartbeat came.
    pub(super) beat_at: Instant,
    /// Since when it is heard without a suspicion: its echo says nothing about this node before it had the time to.
    pub(super) since: Instant,
    /// Whether, by its echo, it does not hear this node.
    pub(super) deaf: bool,
}

impl Peer {
    pub(super) fn new(awake: Instant, floor: Duration) -> Self {
        Self {
            heard: awake,
            ever: false,
            suspected: false,
            check: awake,
            timeout: floor,
            floor,
            path: Duration::ZERO,
            sent: 0,
            loss: Loss::default(),
            excused: false,
            beat_at: awake,
            since: awake,
            deaf: false,
        }
    }

    /// Sets the timeout that floor, loss and path ask for.
    pub(super) fn set_timeout(&mut self, heartbeat: Duration) {
        self.timeout = self.floor.max(heartbeat * self.loss.row() + self.path);
    }

    /// When it is to be suspected, if it stays silent.
    pub(super) fn deadline(&self) -> Instant {
        self.heard + self.timeout
    }
}
