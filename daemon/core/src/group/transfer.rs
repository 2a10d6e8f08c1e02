//! Snapshot transfer: serving a frozen state in pieces, and fetching one.
//!
//! One snapshot is frozen and one is fetched at a time. The fetch is a pull, one piece after the other: whoever
//! fetches sets the pace, and a source that went away is noticed by its silence.

use std::time::Duration;

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::ids::{GroupId, NodeId};
use haystack_wire::message::{PeerMessage, SnapshotId};

use super::machine::{Collected, Machine, Shape};
use super::{Out, Sink};
use crate::broadcast::Broadcast;
use crate::store::{Chunk, FrozenId};

/// Bytes of one piece (judgement: two milliseconds at 1 Gbit/s, two seconds at 1 Mbit/s).
const PIECE: usize = 256 << 10;
/// Steps towards a piece whose place is far from the last one, each of a few milliseconds.
const STEPS: usize = 8;
/// A piece that did not come is asked for again after this time. The links lose nothing, so only a process that
/// forgot the question needs it.
const RETRY: Duration = Duration::from_secs(3);
/// After so long without a piece the source is given up: a slow link takes two seconds for one.
const GIVE_UP: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Fetch {
    from: NodeId,
    snapshot: SnapshotId,
    collected: Collected,
    heard: Instant,
    asked: Instant,
}

/// The snapshot transfers of one replica.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    serving: Option<SnapshotId>,
    fetch: Option<Fetch>,
    ready: Option<(SnapshotId, Machine)>,
}

impl Transfer {
    /// The state is frozen and may be pulled.
    pub(super) const fn frozen(&mut self, snapshot: SnapshotId) {
        self.serving = Some(snapshot);
    }

    /// The broadcast offers the snapshot to nobody any more; true if it was the one that is frozen.
    pub(super) fn thaw(&mut self, snapshot: SnapshotId) -> bool {
        self.serving.take_if(|serving| *serving == snapshot).is_some()
    }

    /// Begins to fetch, unless this very snapshot is on its way or at hand.
    pub(super) fn fetch(
        &mut self,
        now: Instant,
        shape: &Shape,
        from: NodeId,
        snapshot: SnapshotId,
        sink: &mut Sink,
    ) {
        if let Some(fetch) = &mut self.fetch
            && fetch.snapshot == snapshot
        {
            fetch.from = from;
            return;
        }
        let collected = Collected::new(shape, frozen_id(snapshot));
        self.ready = None;
        self.fetch = Some(Fetch { from, snapshot, collected, heard: now, asked: now });
        self.pull(now, shape.group, sink);
    }

    fn pull(&mut self, now: Instant, group: GroupId, sink: &mut Sink) {
        if let Some(fetch) = &mut self.fetch {
            fetch.asked = now;
            let (snapshot, offset) = (fetch.snapshot, fetch.collected.len());
            let message = PeerMessage::SnapshotPull { group, snapshot, offset };
            sink.push_back(Out::Bulk { to: fetch.from, message });
        }
    }

    /// A pull to serve, or a piece that was pulled.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one group, which only the group owns together"
    )]
    pub(super) fn on_message(
        &mut self,
        now: Instant,
        from: NodeId,
        group: GroupId,
        message: PeerMessage,
        machine: &mut Machine,
        broadcast: &mut Broadcast,
        sink: &mut Sink,
    ) {
        match message {
            PeerMessage::SnapshotPull { snapshot, offset, .. } => {
                let piece = match self.serving {
                    Some(serving) if serving == snapshot => piece_of(machine, frozen_id(snapshot), offset),
                    _ => Chunk::Gone,
                };
                if self.serving == Some(snapshot) && !machine.is_frozen(frozen_id(snapshot)) {
                    // Whoever fetches it would be sent to it again and again.
                    broadcast.snapshot_dropped(now, snapshot);
                }
                let (bytes, last) = match piece {
                    Chunk::Bytes { bytes, last } => (bytes, last),
                    Chunk::Gone => (Bytes::new(), false),
                    // The way there is long; whoever pulls asks again.
                    Chunk::Later => return,
                };
                let message = PeerMessage::SnapshotChunk { group, snapshot, offset, last, bytes };
                sink.push_back(Out::Bulk { to: from, message });
            }
            PeerMessage::SnapshotChunk { snapshot, offset, last, bytes, .. } => {
                self.on_piece(now, group, snapshot, offset, last, &bytes, broadcast, sink);
            }
            _ => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message, and where its effects go")]
    fn on_piece(
        &mut self,
        now: Instant,
        group: GroupId,
        snapshot: SnapshotId,
        offset: u64,
        last: bool,
        bytes: &Bytes,
        broadcast: &mut Broadcast,
        sink: &mut Sink,
    ) {
        let Some(fetch) = &mut self.fetch else { return };
        if fetch.snapshot != snapshot || fetch.collected.len() != offset {
            return;
        }
        fetch.heard = now;
        let gone = bytes.is_empty() && !last;
        if gone || fetch.collected.push(bytes).is_err() {
            self.fetch = None;
            broadcast.snapshot_lost(now, snapshot);
        } else if last {
            let Some(fetch) = self.fetch.take() else { return };
            match fetch.collected.finish() {
                Ok(machine) => {
                    self.ready = Some((snapshot, machine));
                    broadcast.snapshot_fetched(now, snapshot);
                }
                Err(_) => broadcast.snapshot_lost(now, snapshot),
            }
        } else {
            self.pull(now, group, sink);
        }
    }

    /// The fetched state, when the broadcast installs it.
    ///
    /// # Panics
    /// If it was not fetched: the broadcast installs nothing else.
    pub(super) fn take(&mut self, snapshot: SnapshotId) -> Machine {
        match self.ready.take() {
            Some((ready, machine)) if ready == snapshot => machine,
            _ => panic!("snapshot at {} is installed but was not fetched", snapshot.index),
        }
    }

    /// Asks again, or gives a silent source up.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        group: GroupId,
        broadcast: &mut Broadcast,
        sink: &mut Sink,
    ) {
        let Some(fetch) = &self.fetch else { return };
        if now.saturating_since(fetch.heard) >= GIVE_UP {
            let snapshot = fetch.snapshot;
            self.fetch = None;
            broadcast.snapshot_lost(now, snapshot);
        } else if now.saturating_since(fetch.asked) >= RETRY {
            self.pull(now, group, sink);
        }
    }

    /// When `handle_timeout` is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.fetch.as_ref().map(|fetch| (fetch.asked + RETRY).min(fetch.heard + GIVE_UP))
    }
}

const fn frozen_id(snapshot: SnapshotId) -> FrozenId {
    FrozenId { index: snapshot.index, digest: snapshot.digest }
}

/// The piece at `offset`, with patience for a place that is far from the last one.
fn piece_of(machine: &mut Machine, id: FrozenId, offset: u64) -> Chunk {
    let mut piece = machine.piece(id, offset, PIECE);
    for _ in 1..STEPS {
        if piece != Chunk::Later {
            break;
        }
        piece = machine.piece(id, offset, PIECE);
    }
    piece
}
