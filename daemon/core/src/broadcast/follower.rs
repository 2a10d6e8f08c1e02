//! What a replica does for the leader it has promised: rules 1, 4, 5, 6 and 7 on the receiving side.

use std::collections::BTreeMap;

use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, LogIndex, NodeId};
use haystack_wire::message::SnapshotId;
use haystack_wire::message::broadcast::{BroadcastMessage, Entry};

use super::log::weight;
use super::staged::{Fit, Staged};
use super::types::Observed;
use super::{Broadcast, Part};
use crate::digest;
use crate::mutation::mutated;

/// Entries of an Accept.
#[derive(Debug)]
pub(super) struct AcceptPiece {
    pub(super) first: LogIndex,
    pub(super) chain: u64,
    pub(super) entries: Vec<Entry>,
}

impl AcceptPiece {
    fn end(&self) -> LogIndex {
        self.first + self.entries.len() as u64
    }

    fn weight(&self) -> u64 {
        self.entries.iter().map(weight).sum()
    }
}

/// A piece of a Sync.
#[derive(Debug)]
pub(super) struct SyncPiece {
    pub(super) base: LogIndex,
    pub(super) end: LogIndex,
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) first: LogIndex,
    pub(super) chain: u64,
    pub(super) entries: Vec<Entry>,
    pub(super) decided: LogIndex,
}

/// State that dies with the promise it belongs to.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The Sync under way, with the leader's decided index.
    staged: Option<(Staged, LogIndex)>,
    /// Accepts behind a gap.
    gap: BTreeMap<LogIndex, AcceptPiece>,
    gap_weight: u64,
    /// A gap was noticed that `gap` does not show: the leader is to be told.
    gap_seen: bool,
    ack_due: bool,
    pull_due: bool,
    promise_due: bool,
    /// The own length when the leader was last seen to be further: a tail that stays short was lost.
    short_at: Option<LogIndex>,
    /// Whether the leader was seen to wait although this replica has promised: something was lost if it is again.
    waits: bool,
}

impl Follower {
    /// Says again, with the next flush, whatever there is to say.
    pub(super) const fn repeat(&mut self, to_leader: bool) {
        self.ack_due |= to_leader;
        self.pull_due |= to_leader;
        self.promise_due |= to_leader;
    }

    fn buffer(&mut self, piece: AcceptPiece, most: u64) -> bool {
        let size = piece.weight();
        if self.gap.get(&piece.first).is_some_and(|there| there.end() >= piece.end()) {
            return true;
        }
        // Room is made at the far end: what is near joins the log first.
        while self.gap_weight + size > most {
            match self.gap.last_key_value() {
                Some((last, _)) if *last > piece.first => {
                    self.gap_weight -= self.gap.pop_last().map_or(0, |(_, piece)| piece.weight());
                }
                _ => return false,
            }
        }
        self.gap_weight += size;
        if let Some(replaced) = self.gap.insert(piece.first, piece) {
            self.gap_weight -= replaced.weight();
        }
        true
    }

    /// The first buffered piece, if it is no longer behind a gap.
    fn reachable(&mut self, len: LogIndex) -> Option<AcceptPiece> {
        if *self.gap.first_key_value()?.0 > len {
            return None;
        }
        let (_, piece) = self.gap.pop_first()?;
        self.gap_weight -= piece.weight();
        Some(piece)
    }

    #[cfg(feature = "mutations")]
    fn buffered_end(&self) -> Option<LogIndex> {
        self.gap.values().map(AcceptPiece::end).max()
    }
}

impl Broadcast {
    /// Rule 1.
    pub(super) fn on_prepare(&mut self, from: NodeId, ballot: Ballot) {
        if ballot.node != from {
            self.counters.drop_misrouted += 1;
        } else if ballot < self.promised {
            self.nack(from);
        } else if ballot > self.promised {
            self.promised = ballot;
            self.follow();
            self.send_promise();
        } else if self.accepted_round < ballot {
            self.send_promise();
        } else if let Part::Follower(follower) = &mut self.part {
            // The candidate has led since: what it wants now is to know how far this log goes.
            follower.ack_due = true;
        }
    }

    /// Follows `promised`: everything of the ballot before dies, but for snapshots at hand.
    pub(super) fn follow(&mut self) {
        if !matches!(self.part, Part::Follower(_)) {
            self.counters.deposed += 1;
        }
        self.part = Part::Follower(Follower::default());
    }

    fn send_promise(&mut self) {
        let message = BroadcastMessage::Promise {
            ballot: self.promised,
            accepted_round: self.accepted_round,
            len: self.len(),
            decided: self.decided,
        };
        self.send(self.promised.node, message);
    }

    /// Whether a leader's message is of the promised ballot and from its owner.
    fn admits(&mut self, from: NodeId, ballot: Ballot) -> bool {
        if ballot.node != from {
            self.counters.drop_misrouted += 1;
        } else if ballot < self.promised {
            self.nack(from);
        } else if ballot > self.promised {
            self.counters.drop_unpromised += 1;
        } else {
            return matches!(self.part, Part::Follower(_));
        }
        false
    }

    /// Rule 5.
    pub(super) fn on_accept(&mut self, from: NodeId, ballot: Ballot, piece: AcceptPiece, decided: LogIndex) {
        if !self.admits(from, ballot) {
            return;
        }
        if self.accepted_round != ballot {
            self.counters.drop_unsynced += 1;
            if mutated!(self, DecideUnsynced) {
                self.set_decided(decided.min(self.len()));
            }
            return;
        }
        self.accept(piece, decided);
    }

    fn accept(&mut self, piece: AcceptPiece, decided: LogIndex) {
        self.extend(piece);
        self.learn_decided(decided);
        if let Part::Follower(follower) = &mut self.part {
            follower.ack_due = true;
        }
    }

    /// Appends what is new of `piece`, or buffers it behind a gap. Within a ballot the log only grows.
    fn extend(&mut self, piece: AcceptPiece) {
        let Part::Follower(follower) = &mut self.part else { return };
        let len = self.log.len();
        if piece.first > len {
            follower.gap_seen = true;
            if piece.entries.is_empty() {
                return;
            }
            if follower.buffer(piece, self.limits.gap) {
                self.counters.gap_buffered += 1;
            } else {
                self.counters.drop_gap_full += 1;
            }
            return;
        }
        self.append(piece);
        while let Part::Follower(follower) = &mut self.part
            && let Some(piece) = follower.reachable(self.log.len())
        {
            self.counters.gap_filled += 1;
            self.append(piece);
        }
    }

    /// Appends what is new of `piece`, which touches the log; what it repeats must be byte-equal.
    fn append(&mut self, AcceptPiece { first, chain, entries }: AcceptPiece) {
        if mutated!(self, OverlapTruncates) && first < self.len() {
            self.truncate(first.max(self.decided));
        }
        let len = self.log.len();
        self.counters.overlapped += u64::from(first < len && !entries.is_empty());
        self.assert_chain(first, chain);
        let mut running = chain;
        let mut position = first;
        for entry in entries {
            position += 1;
            running = digest::chain(running, &entry);
            if position <= len {
                self.assert_chain(position, running);
            } else {
                self.log.append(entry);
            }
        }
    }

    /// Rule 5's assertion: one ballot has one log.
    fn assert_chain(&self, index: LogIndex, chain: u64) {
        if let Some(own) = self.log.chain(index) {
            assert!(own == chain, "two logs of one ballot differ below {index}");
        }
    }

    /// Rule 7, on a follower: only in the ballot that the log belongs to.
    fn learn_decided(&mut self, decided: LogIndex) {
        self.set_decided(decided.min(self.len()).max(self.decided));
    }

    /// Rule 4.
    pub(super) fn on_sync(&mut self, from: NodeId, ballot: Ballot, piece: SyncPiece) {
        if !self.admits(from, ballot) {
            return;
        }
        if piece.end < piece.base || piece.snapshot.is_some_and(|snapshot| snapshot.index != piece.base) {
            self.counters.drop_implausible += 1;
            return;
        }
        let SyncPiece { base, snapshot, first, .. } = piece;
        if self.accepted_round == ballot && snapshot.is_none_or(|snapshot| snapshot.index <= self.len()) {
            if mutated!(self, LateSyncTruncates) && snapshot.is_none() {
                self.truncate(first.max(self.decided));
            }
            self.accept(AcceptPiece { first, chain: piece.chain, entries: piece.entries }, piece.decided);
            return;
        }
        let continues = match snapshot {
            Some(snapshot) => snapshot.index > self.decided,
            None => base >= self.decided && base <= self.len(),
        };
        if !continues {
            self.counters.drop_sync_below_decided += 1;
            return;
        }
        if mutated!(self, AcceptedRoundEarly) && snapshot.is_none() && first == base {
            self.truncate(base);
            self.accepted_round = ballot;
            self.accept(AcceptPiece { first, chain: piece.chain, entries: piece.entries }, piece.decided);
            return;
        }
        self.stage(from, piece);
        self.complete_sync();
    }

    /// Stages a piece under (ballot, from, end). A leader's plans for one follower only grow, so an older one is
    /// a late message.
    fn stage(&mut self, from: NodeId, piece: SyncPiece) {
        let SyncPiece { base, end, snapshot, first, chain, entries, decided } = piece;
        let Part::Follower(follower) = &mut self.part else { return };
        follower.pull_due = true;
        if let Some((staged, _)) = &follower.staged {
            if (end, base) < (staged.end, staged.base) {
                self.counters.drop_sync_replaced += 1;
                return;
            }
            if (end, base) > (staged.end, staged.base) || staged.snapshot != snapshot {
                follower.staged = None;
            }
        }
        let (staged, known) = follower.staged.get_or_insert_with(|| {
            let staged = match snapshot {
                Some(snapshot) => Staged::on_snapshot(snapshot, end),
                None => {
                    let chain = self.log.chain(base).expect("a base within the log, above what is decided");
                    Staged::on_log(base, chain, end)
                }
            };
            (staged, LogIndex::ZERO)
        });
        *known = (*known).max(decided);
        match staged.take(first, chain, entries, self.limits.stage) {
            Fit::Extended => {}
            Fit::Repeated => self.counters.drop_repeated += 1,
            Fit::Gap => self.counters.drop_piece_gap += 1,
            Fit::Full => self.counters.drop_stage_full += 1,
        }
        if let Some(snapshot) = snapshot {
            self.want(from, snapshot);
        }
    }

    /// Takes the staged Sync if it is whole.
    pub(super) fn complete_sync(&mut self) {
        let fetched = self.snapshots.fetched();
        let Part::Follower(follower) = &mut self.part else { return };
        let Some((staged, decided)) = follower.staged.take_if(|(staged, _)| staged.is_whole(fetched)) else {
            return;
        };
        follower.pull_due = false;
        follower.ack_due = true;
        let round = self.promised;
        if self.accepted_round == round && staged.base <= self.len() {
            // Accepts of the same ballot were faster than the snapshot.
            self.counters.drop_repeated += 1;
            return;
        }
        self.counters.synced += 1;
        self.counters.synced_snapshot += u64::from(staged.snapshot.is_some());
        self.counters.synced_truncating += u64::from(staged.base < self.len());
        self.commit(staged, round);
        self.learn_decided(decided);
    }

    /// What the leader's heartbeats show to be lost: what was decided, a tail, a Promise.
    pub(super) fn follower_observes(&mut self, _now: Instant, from: NodeId, seen: Observed) {
        let ballot = self.promised;
        let Part::Follower(follower) = &mut self.part else { return };
        if from != ballot.node || seen.promised != ballot {
            return;
        }
        if self.accepted_round < ballot {
            // Our Promise or its Sync is missing. Twice in a row, since both may just be on their way.
            follower.promise_due |= follower.waits;
            follower.waits = !follower.waits;
        } else if seen.accepted_round == ballot {
            let short = (seen.len > self.log.len()).then_some(self.log.len());
            let stuck = short.is_some() && short == follower.short_at;
            follower.short_at = short;
            follower.ack_due |= stuck;
            follower.gap_seen |= stuck;
            self.learn_decided(seen.decided);
        }
    }

    /// Answers a leader's messages of this turn: one cumulative Accepted (rule 6), or how much of a Sync is staged.
    pub(super) fn flush_follower(&mut self) {
        let len = self.len();
        let (ballot, synced) = (self.promised, self.accepted_round == self.promised);
        let Part::Follower(follower) = &mut self.part else { return };
        let ack_due = std::mem::take(&mut follower.ack_due) && synced;
        let pull_due = std::mem::take(&mut follower.pull_due);
        let promise_due = std::mem::take(&mut follower.promise_due) && !synced;
        let gap_seen = std::mem::take(&mut follower.gap_seen) || !follower.gap.is_empty();
        let staged = follower.staged.as_ref().map(|(staged, _)| staged.next());
        let credit = self.limits.gap.saturating_sub(follower.gap_weight);
        #[cfg(feature = "mutations")]
        let len =
            if mutated!(self, AckAcrossGap) { len.max(follower.buffered_end().unwrap_or(len)) } else { len };
        if ballot.node == self.me {
            return;
        }
        if ack_due {
            let missing = gap_seen.then_some(len);
            self.send(ballot.node, BroadcastMessage::Accepted { ballot, len, missing, credit });
        }
        match staged {
            Some(from) if pull_due => self.send(ballot.node, BroadcastMessage::Pull { ballot, from }),
            None if promise_due => self.send_promise(),
            _ => {}
        }
    }
}
