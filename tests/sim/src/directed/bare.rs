//! Schedules over bare broadcasts, for rules that groups cannot come to break: the election never draws a used ballot,
//! and nothing proposes a stop-sign before views change.

use std::collections::VecDeque;

use bytes::Bytes;
use haystack_core::broadcast::{Broadcast, Config, Output, ProposeError};
use haystack_core::mutation::Mutations;
use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, LogIndex, NodeId};
use haystack_wire::message::broadcast::{BroadcastMessage, Entry, EntryKind};

use super::stage::id;
use crate::check::{Check, ensure};

const NOW: Instant = Instant::from_nanos(1_000_000_000);

/// Replicas without elections and state: the schedule says who leads in which ballot.
struct Bare {
    replicas: Vec<Broadcast>,
    mail: VecDeque<(usize, usize, BroadcastMessage)>,
    linked: Vec<usize>,
    /// What was applied, by whoever did it first.
    canon: Vec<Entry>,
}

fn ballot(n: u64, replica: usize) -> Ballot {
    Ballot { n, priority: 0, node: id(replica) }
}

fn entry(word: &'static str) -> Entry {
    Entry { kind: EntryKind::Command, body: Bytes::from_static(word.as_bytes()) }
}

impl Bare {
    fn new(mutations: Mutations) -> Self {
        let replicas: Vec<NodeId> = (0..3).map(id).collect();
        let config = |me: &NodeId| Config { mutations, ..Config::new(*me, replicas.clone()) };
        let bare = |me: &NodeId| Broadcast::new(config(me), NOW);
        let replicas = replicas.iter().map(bare).collect();
        Self { replicas, mail: VecDeque::new(), linked: vec![0, 1, 2], canon: Vec::new() }
    }

    fn link_only(&mut self, linked: &[usize]) {
        self.linked = linked.to_vec();
    }

    /// A turn of one replica, and all that comes of it among those that are linked.
    fn with<T>(
        &mut self,
        replica: usize,
        call: impl FnOnce(&mut Broadcast) -> T,
    ) -> Result<T, crate::check::Violation> {
        let result = call(&mut self.replicas[replica]);
        self.turn(replica)?;
        while let Some((from, to, message)) = self.mail.pop_front() {
            if self.linked.contains(&from) && self.linked.contains(&to) {
                self.replicas[to].handle_message(NOW, id(from), message);
                self.turn(to)?;
            }
        }
        Ok(result)
    }

    fn turn(&mut self, replica: usize) -> Check {
        self.replicas[replica].flush(NOW);
        while let Some(output) = self.replicas[replica].poll_output() {
            match output {
                Output::Send { to, message } => {
                    for to in (0..3).filter(|other| to.contains(&id(*other))) {
                        self.mail.push_back((replica, to, message.clone()));
                    }
                }
                Output::Decided { upto } => self.apply(replica, upto)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, replica: usize, upto: LogIndex) -> Check {
        let core = &mut self.replicas[replica];
        for index in core.applied().0..upto.0 {
            let applied = core.entry(LogIndex(index)).cloned();
            let Some(applied) = applied else { continue };
            match self.canon.get(index as usize) {
                Some(first) => {
                    ensure!(
                        *first == applied,
                        Log,
                        "replica {replica} applied {applied:?} at index {index}, where {first:?} was applied before"
                    );
                }
                None => {
                    let ended = self.canon.last().is_some_and(|last| last.kind == EntryKind::StopSign);
                    ensure!(!ended, Log, "replica {replica} applied {applied:?} behind a stop-sign");
                    self.canon.push(applied);
                }
            }
        }
        core.applied_to(upto);
        Ok(())
    }

    fn lead(&mut self, replica: usize, n: u64) -> Check {
        self.with(replica, |core| core.lead(NOW, ballot(n, replica)))
    }

    fn propose(
        &mut self,
        replica: usize,
        entry: Entry,
    ) -> Result<Result<LogIndex, ProposeError>, crate::check::Violation> {
        self.with(replica, |core| core.propose(entry))
    }
}

/// Rule 8: who has promised a higher ballot must not lead in one that it has used: its promise is counted elsewhere.
pub(super) fn a_ballot_led_twice(mutations: Mutations) -> Check {
    let mut bare = Bare::new(mutations);
    bare.link_only(&[0, 1]);
    bare.lead(0, 3)?;
    ensure!(bare.propose(0, entry("a"))?.is_ok(), Live, "a leader does not take an entry");
    // Replica 1 leads by the promise of 0, which gets no more than that.
    let prepare = BroadcastMessage::Prepare {
        ballot: ballot(4, 1),
        decided: LogIndex::ZERO,
        accepted_round: ballot(3, 0),
        len: bare.replicas[1].len(),
    };
    bare.link_only(&[]);
    bare.lead(1, 4)?;
    bare.replicas[0].handle_message(NOW, id(1), prepare);
    bare.replicas[0].flush(NOW);
    let mut promises = Vec::new();
    while let Some(output) = bare.replicas[0].poll_output() {
        if let Output::Send { message: message @ BroadcastMessage::Promise { .. }, .. } = output {
            promises.push(message);
        }
    }
    for promise in promises {
        bare.with(1, |core| core.handle_message(NOW, id(0), promise))?;
    }
    // Replica 0 tries to lead once more in its own old ballot, among those who do not know of the higher one.
    bare.link_only(&[0, 2]);
    bare.lead(0, 3)?;
    // Refused, if it does not lead.
    let _ = bare.propose(0, entry("b"))?;
    bare.link_only(&[1, 2]);
    let prepare = BroadcastMessage::Prepare {
        ballot: ballot(4, 1),
        decided: bare.replicas[1].decided(),
        accepted_round: ballot(4, 1),
        len: bare.replicas[1].len(),
    };
    bare.with(2, |core| core.handle_message(NOW, id(1), prepare))?;
    ensure!(bare.propose(1, entry("c"))?.is_ok(), Live, "a leader does not take an entry");
    ensure!(bare.canon.len() == 2, Live, "a majority does not decide");
    Ok(())
}

/// Rule 9: a leader that has adopted a log that ends in a stop-sign appends nothing.
pub(super) fn an_entry_behind_a_stop_sign(mutations: Mutations) -> Check {
    let mut bare = Bare::new(mutations);
    bare.lead(0, 1)?;
    let stop = Entry { kind: EntryKind::StopSign, body: Bytes::new() };
    bare.link_only(&[0, 1]);
    ensure!(bare.propose(0, stop)?.is_ok(), Live, "a leader does not take a stop-sign");
    bare.link_only(&[1, 2]);
    bare.lead(2, 2)?;
    ensure!(bare.replicas[2].stopped(), Live, "the stop-sign is not adopted");
    let told = bare.propose(2, entry("a"))?;
    ensure!(
        told == Err(ProposeError::Stopped),
        Definite,
        "an entry behind the stop-sign was taken: {told:?}"
    );
    Ok(())
}
