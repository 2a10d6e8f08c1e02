//! Follows the events of one daemon, and of another one when that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use haystack_client::{Error, NodeId, Status};
use haystack_wire::message::admin::{ClusterEvent, EventRecord};

/// Whom to ask: the cluster, or a test.
pub(super) trait Source {
    /// How things stand, by whatever daemon answers.
    fn status(&mut self) -> Result<Status, Error>;
    /// How things stand, by this one.
    fn status_of(&mut self, node: NodeId) -> Result<Status, Error>;
    /// What this daemon saw, from the event of this number on.
    fn events(&mut self, node: NodeId, from: u64) -> Result<Vec<EventRecord>, Error>;
    /// The time since the start.
    fn elapsed(&self) -> Duration;
}

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Something happened.
    Event {
        /// The name of the daemon that saw it.
        seen_by: String,
        /// What.
        record: EventRecord,
    },
    /// So many events were forgotten before they were asked for.
    Forgotten(u64),
    /// The daemon of this name does not answer any more.
    Lost(String),
    /// From now on it is this daemon's view: the first, or one in the place of a lost one.
    Follows {
        /// Its name.
        name: String,
        /// Whether it is in the place of a lost one.
        instead: bool,
    },
}

/// The daemon that is followed.
#[derive(Clone, Debug)]
struct Daemon {
    node: NodeId,
    name: String,
}

/// Follows the events of one daemon, and of another one when that is gone.
#[derive(Debug)]
pub(super) struct Follower {
    daemon: Option<Daemon>,
    /// The daemon that was followed, if it does not answer.
    lost: Option<Daemon>,
    /// The number of the next event.
    next: u64,
    /// When the daemon was last asked in success.
    heard: Duration,
    names: BTreeMap<NodeId, String>,
    /// Nodes whose name even the daemon does not know.
    nameless: BTreeSet<NodeId>,
}

impl Follower {
    /// Begins with the event of this number.
    pub(super) const fn new(from: u64) -> Self {
        Self {
            daemon: None,
            lost: None,
            next: from,
            heard: Duration::ZERO,
            names: BTreeMap::new(),
            nameless: BTreeSet::new(),
        }
    }

    /// Whether a daemon was followed that does not answer now.
    pub(super) const fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// The names of nodes.
    pub(super) const fn names(&self) -> &BTreeMap<NodeId, String> {
        &self.names
    }

    /// Asks for what is new.
    ///
    /// # Errors
    /// If there is no daemon to follow.
    pub(super) fn poll(&mut self, source: &mut impl Source) -> Result<Vec<Told>, Error> {
        let mut told = Vec::new();
        let daemon = self.daemon(source, &mut told)?;
        let asked = source.elapsed();
        // Every process counts for itself.
        let is_other = self.lost.as_ref().is_some_and(|lost| lost.node != daemon.node);
        let next = if is_other { 0 } else { self.next };
        let mut records = match source.events(daemon.node, next) {
            Ok(records) => records,
            Err(error) if self.heard == Duration::ZERO && self.lost.is_none() => return Err(error),
            Err(_) => {
                self.daemon = None;
                if self.lost.is_none() {
                    told.push(Told::Lost(daemon.name.clone()));
                    self.lost = Some(daemon);
                }
                return Ok(told);
            }
        };
        if self.lost.take().is_some() {
            told.push(Told::Follows { name: daemon.name.clone(), instead: true });
        }
        let first = records.first().map_or(next, |record| record.number);
        if next > 0 && first > next {
            told.push(Told::Forgotten(first - next));
        }
        self.next = records.last().map_or(next, |record| record.number + 1);
        if is_other {
            // What the lost one told already is not told again from here. Ages are as of the answer.
            let since = source.elapsed().saturating_sub(self.heard);
            records.retain(|record| Duration::from_millis(record.age_ms) <= since);
        }
        // Never zero, which is for who was not heard yet.
        self.heard = asked.max(Duration::from_nanos(1));
        self.learn_from(&records, daemon.node, source);
        let seen_by = daemon.name;
        told.extend(records.into_iter().map(|record| Told::Event { seen_by: seen_by.clone(), record }));
        Ok(told)
    }

    /// The daemon to follow: the one that there is, else the next that answers.
    fn daemon(&mut self, source: &mut impl Source, told: &mut Vec<Told>) -> Result<Daemon, Error> {
        if let Some(daemon) = &self.daemon {
            return Ok(daemon.clone());
        }
        let status = source.status()?;
        self.learn(&status);
        let daemon = Daemon { node: status.node, name: status.name };
        if self.lost.is_none() {
            told.push(Told::Follows { name: daemon.name.clone(), instead: false });
        }
        self.daemon = Some(daemon.clone());
        Ok(daemon)
    }

    fn learn(&mut self, status: &Status) {
        let rows = status.nodes.iter().filter_map(|row| Some((row.node?, row.name.clone())));
        self.names
            .extend(rows.chain([(status.node, status.name.clone())]).filter(|(_, name)| !name.is_empty()));
    }

    /// Learns the names of the nodes in these events, from themselves or else from the daemon.
    fn learn_from(&mut self, records: &[EventRecord], daemon: NodeId, source: &mut impl Source) {
        for record in records {
            if let ClusterEvent::Alive { info } = &record.event {
                self.names.insert(info.node, info.name.clone());
            }
        }
        let named = records.iter().filter_map(|record| subject(&record.event));
        let strange: BTreeSet<NodeId> =
            named.filter(|node| !self.names.contains_key(node) && !self.nameless.contains(node)).collect();
        if strange.is_empty() {
            return;
        }
        if let Ok(status) = source.status_of(daemon) {
            self.learn(&status);
        }
        self.nameless.extend(strange.into_iter().filter(|node| !self.names.contains_key(node)));
    }
}

/// The node that an event is about.
const fn subject(event: &ClusterEvent) -> Option<NodeId> {
    match event {
        ClusterEvent::Alive { info } => Some(info.node),
        ClusterEvent::Suspect { node }
        | ClusterEvent::Restore { node }
        | ClusterEvent::Dead { node }
        | ClusterEvent::Left { node }
        | ClusterEvent::Decided { node, .. } => Some(*node),
        ClusterEvent::Leader { leader: Some(leader), .. } | ClusterEvent::Coordinator { leader } => {
            Some(leader.node)
        }
        ClusterEvent::Leader { leader: None, .. }
        | ClusterEvent::View { .. }
        | ClusterEvent::Map { .. }
        | ClusterEvent::Conflict(_) => None,
    }
}
