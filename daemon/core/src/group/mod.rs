//! A replica of one group: total order broadcast, election and state machine put together.
//!
//! The parts do not know each other: their outputs are routed here. Nothing is sent from here; what is to be
//! sent, answered or told goes into a [`Sink`], in order.

mod machine;
mod outputs;
mod reads;
mod requests;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use haystack_wire::Instant;
use haystack_wire::ids::{Ballot, Epoch, GroupId, HistoryId, LogIndex, NodeId, Slot, ViewId};
use haystack_wire::message::PeerMessage;
use haystack_wire::message::broadcast::{BroadcastMessage, Entry, EntryKind};
use haystack_wire::message::client::{Command, Reply, RequestBody, RouteHint};
use haystack_wire::message::directory::{FoundingList, PartitionMap};
use haystack_wire::message::election::GroupHeartbeat;
use haystack_wire::rng::Rng;

use crate::broadcast::{self, Broadcast, Role};
use crate::config::Config;
use crate::directory::machine::{DirectoryCommand, DirectoryMachine};
use crate::directory::placement::directory_replicas;
use crate::election::{self, Election};
use crate::mutation::{Mutations, mutated};
use crate::store::{Activity, Admission, Limits, Pending, Store};

use machine::Shape;
pub use machine::{Applied, Machine};
use reads::Reads;
use transfer::Transfer;

/// How often a leader looks for idle sessions.
const EXPIRY_PERIOD: Duration = Duration::from_secs(1);
/// Sessions looked at each time: all 100,000 within two minutes, some tens of microseconds at once.
const EXPIRY_BUDGET: usize = 1_000;

/// Who waits for an answer. Opaque to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The link on which the request came.
    pub link: haystack_wire::link::LinkId,
    /// The forwarder's token, if it came from another daemon.
    pub token: Option<haystack_wire::message::ForwardToken>,
}

/// What a group wants done.
#[derive(Clone, Debug)]
pub enum Out {
    /// Send a message of the broadcast, the same to all of these.
    Broadcast {
        /// To whom.
        to: Vec<NodeId>,
        /// What.
        message: PeerMessage,
    },
    /// Send a part of the snapshot transfer.
    Bulk {
        /// To whom.
        to: NodeId,
        /// What.
        message: PeerMessage,
    },
    /// Send a part of a heartbeat message.
    Heartbeat {
        /// To whom.
        to: NodeId,
        /// What.
        heartbeat: GroupHeartbeat,
        /// Whether a client waits for it: it must not be lost.
        urgent: bool,
    },
    /// Answer a request.
    Reply {
        /// To whom.
        origin: Origin,
        /// What.
        reply: Reply,
    },
    /// The trusted leader changed.
    Leader(GroupId, Option<Ballot>),
    /// The directory has a new map.
    Map,
    /// An entry was applied (only if observed).
    Applied {
        /// The group.
        group: GroupId,
        /// The entry's position.
        index: LogIndex,
        /// Chained hash of the log up to and with the entry.
        chain: u64,
        /// Digest of the state after it.
        digest: u128,
        /// The entry's body.
        body: Bytes,
    },
}

/// Takes what groups want done, in order.
pub type Sink = VecDeque<Out>;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It is answered, or will be.
    Taken,
    /// This replica does not lead: try there.
    NotLeader(Option<NodeId>),
}

/// A proposed entry for whose outcome somebody waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    index: LogIndex,
    origin: Origin,
    id: u64,
    admission: Admission,
}

/// A replica of one group.
#[derive(Debug)]
pub struct Group {
    id: GroupId,
    view: ViewId,
    me: NodeId,
    replicas: Vec<NodeId>,
    epoch: Epoch,
    history: HistoryId,
    broadcast: Broadcast,
    election: Election,
    machine: Machine,
    shape: Shape,
    waiting: VecDeque<Waiting>,
    pending: Pending,
    /// Only of the present leadership: what other leaders saw is not known here.
    activity: Activity,
    session_ttl: Duration,
    reads: Reads,
    transfer: Transfer,
    /// For group 0 until the map is decided: what to found.
    founding: Option<FoundingList>,
    founding_proposed: bool,
    leader: Option<Ballot>,
    leader_heard: Instant,
    next_expiry: Instant,
    observe: bool,
    may_lead: bool,
    mutations: Mutations,
}

/// What a group is made of.
#[derive(Clone, Debug)]
pub struct Founded {
    /// The group.
    pub id: GroupId,
    /// Its replicas, in order of preference for leading.
    pub replicas: Vec<NodeId>,
    /// The map's epoch.
    pub epoch: Epoch,
    /// The cluster's history.
    pub history: HistoryId,
}

impl Group {
    /// Group 0 of a cluster that `list` founds: of those founders that [`directory_replicas`] picks.
    pub fn directory(config: &Config, me: NodeId, list: &FoundingList, now: Instant, rng: Rng) -> Self {
        let founded = Founded {
            id: GroupId::DIRECTORY,
            replicas: directory_replicas(list),
            epoch: Epoch(0),
            history: HistoryId(0),
        };
        let mut group = Self::new(config, me, founded, None, now, rng);
        group.founding = Some(list.clone());
        group
    }

    /// A group of the map that serves the slots from `first` to `last` and starts empty in view 0.
    pub fn data(
        config: &Config,
        me: NodeId,
        founded: Founded,
        (first, last): (Slot, Slot),
        limits: Limits,
        now: Instant,
        rng: Rng,
    ) -> Self {
        Self::new(config, me, founded, Some((first, last, limits)), now, rng)
    }

    fn new(
        config: &Config,
        me: NodeId,
        founded: Founded,
        slots: Option<(Slot, Slot, Limits)>,
        now: Instant,
        rng: Rng,
    ) -> Self {
        let Founded { id, replicas, epoch, history } = founded;
        let machine = match slots {
            None => Machine::directory(),
            Some((first, last, limits)) => Machine::Data(Store::new(id, first, last, limits)),
        };
        let shape = Shape { group: id, slots };
        let rank = replicas.iter().position(|replica| *replica == me).unwrap_or(replicas.len());
        let broadcast = Broadcast::new(
            broadcast::Config {
                me,
                replicas: replicas.clone(),
                limits: config.limits,
                mutations: config.mutations,
            },
            now,
        );
        let priority = (replicas.len() - rank) as u32;
        let election = Election::new(
            election::Config { me, replicas: replicas.clone(), priority, round: config.round },
            now,
            rng,
        );
        Self {
            id,
            view: ViewId(0),
            me,
            replicas,
            epoch,
            history,
            broadcast,
            election,
            machine,
            shape,
            waiting: VecDeque::new(),
            pending: Pending::default(),
            activity: Activity::new(config.session_ttl),
            session_ttl: config.session_ttl,
            reads: Reads::default(),
            transfer: Transfer::default(),
            founding: None,
            founding_proposed: false,
            leader: None,
            leader_heard: now,
            next_expiry: now + EXPIRY_PERIOD,
            observe: config.observe,
            may_lead: true,
            mutations: config.mutations,
        }
    }

    /// The group's number.
    pub const fn id(&self) -> GroupId {
        self.id
    }

    /// Its view.
    pub const fn view(&self) -> ViewId {
        self.view
    }

    /// Its replicas.
    pub fn replicas(&self) -> &[NodeId] {
        &self.replicas
    }

    /// The trusted leader's ballot, if it answers.
    pub const fn leader(&self) -> Option<Ballot> {
        self.leader
    }

    /// Its broadcast, to look at.
    pub const fn broadcast(&self) -> &Broadcast {
        &self.broadcast
    }

    /// Its election, to look at.
    pub const fn election(&self) -> &Election {
        &self.election
    }

    /// Its state machine, to look at.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// How many replicas answer, this one included.
    pub fn live(&self) -> usize {
        self.election.live()
    }

    /// The partition map, if this is the directory and has one.
    pub fn map(&self) -> Option<&PartitionMap> {
        match &self.machine {
            Machine::Directory { machine, .. } => machine.map(),
            Machine::Data(_) => None,
        }
    }

    /// The directory's state, if this is the directory and this replica is the coordinator in office: it leads, and
    /// everything that its predecessors may have decided is applied.
    pub fn in_office(&self) -> Option<(Ballot, &DirectoryMachine)> {
        let Machine::Directory { machine, .. } = &self.machine else { return None };
        let Role::Leader { ballot, ready: true } = self.broadcast.role() else { return None };
        let settled = self.broadcast.read_floor().is_some_and(|floor| self.broadcast.applied() >= floor);
        (settled && machine.map().is_some()).then_some((ballot, machine))
    }

    /// Proposes a command of the directory. One that is refused for lack of room is proposed again by whoever judged
    /// it needed.
    pub fn propose_directory(&mut self, command: &DirectoryCommand) {
        let entry = Entry { kind: EntryKind::Command, body: command.to_bytes() };
        let _ = self.broadcast.propose(entry);
    }

    /// Whether this replica leads and may propose.
    pub fn leads(&self) -> bool {
        matches!(self.broadcast.role(), Role::Leader { ready: true, .. })
    }

    /// Another replica that is trusted to lead. The election may trust this one for a moment longer than it leads.
    pub(super) fn leader_elsewhere(&self) -> Option<NodeId> {
        self.leader.map(|ballot| ballot.node).filter(|leader| *leader != self.me)
    }

    fn state(&self, now: Instant) -> election::State {
        let leading = match self.broadcast.role() {
            Role::Leader { ballot, .. } => Some(ballot),
            Role::Follower { .. } => None,
        };
        election::State {
            promised: self.broadcast.promised(),
            accepted_round: self.broadcast.accepted_round(),
            len: self.broadcast.len(),
            decided: self.broadcast.decided(),
            leading,
            progressing: self.broadcast.progressing(now),
            may_lead: self.may_lead,
        }
    }

    /// A message of the broadcast from another replica.
    pub fn on_broadcast(
        &mut self,
        now: Instant,
        from: NodeId,
        view: ViewId,
        message: BroadcastMessage,
        sink: &mut Sink,
    ) -> bool {
        if view != self.view || !self.replicas.contains(&from) {
            return false;
        }
        self.broadcast.handle_message(now, from, message);
        self.pump(now, sink);
        true
    }

    /// This group's part of a heartbeat.
    pub fn on_heartbeat(
        &mut self,
        now: Instant,
        from: NodeId,
        heartbeat: &GroupHeartbeat,
        sink: &mut Sink,
    ) -> bool {
        if heartbeat.view != self.view || !self.replicas.contains(&from) {
            return false;
        }
        let state = self.state(now);
        self.election.handle(now, from, heartbeat.body, &state);
        self.pump(now, sink);
        true
    }

    /// Who leads, for clients.
    pub fn hint(&self) -> RouteHint {
        let leader = if self.leads() { Some(self.me) } else { self.leader_elsewhere() };
        RouteHint { epoch: self.epoch, group: self.id, leader }
    }

    /// Once per turn of the driver: everything proposed goes out in one Accept, all reads share one round.
    pub fn flush(&mut self, now: Instant, sink: &mut Sink) {
        self.broadcast.flush(now);
        self.pump(now, sink);
        self.start_read_round(now, sink);
    }

    fn start_read_round(&mut self, now: Instant, sink: &mut Sink) {
        let Some(floor) = self.broadcast.read_floor() else { return };
        let settled = mutated!(self, ReadBeforeFloor) || self.broadcast.decided() >= floor;
        if !settled || !self.reads.wants_round() {
            return;
        }
        let state = self.state(now);
        let nonce = self.election.read_round(now, &state);
        self.reads.begin(nonce, self.broadcast.decided());
        self.pump(now, sink);
    }

    /// The round trip to the slowest of the fastest majority: rounds take no less than a few of them.
    pub fn set_rtt(&mut self, rtt: Duration) {
        self.election.set_rtt(rtt);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, sink: &mut Sink) {
        let state = self.state(now);
        self.election.handle_timeout(now, &state);
        self.broadcast.handle_timeout(now);
        self.pump(now, sink);
        self.transfer.handle_timeout(now, self.id, &mut self.broadcast, sink);
        self.pump(now, sink);
        self.start_read_round(now, sink);
        if now >= self.next_expiry {
            self.next_expiry = now + EXPIRY_PERIOD;
            self.expire_sessions(now);
        }
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.election.poll_timeout(),
            self.broadcast.poll_timeout(),
            self.transfer.poll_timeout(),
            self.leads().then_some(self.next_expiry),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn expire_sessions(&mut self, now: Instant) {
        if !self.leads() {
            return;
        }
        let Machine::Data(store) = &self.machine else { return };
        let sessions = self.activity.idle(now, store, EXPIRY_BUDGET);
        if !sessions.is_empty() {
            let body = RequestBody::command(&Command::ExpireSessions { sessions });
            // Refused for lack of room: they are found idle again.
            let _ = self.broadcast.propose(Entry { kind: EntryKind::Command, body });
        }
    }

    /// Stops leading on purpose and names the replica asked to take over, if one answers.
    pub fn hand_over(&mut self, now: Instant, sink: &mut Sink) -> Option<NodeId> {
        self.may_lead = false;
        if !matches!(self.broadcast.role(), Role::Leader { .. }) {
            return None;
        }
        let to =
            self.replicas.iter().copied().find(|node| *node != self.me && self.election.answers(*node))?;
        let state = self.state(now);
        self.election.hand_over(now, &state, to);
        self.pump(now, sink);
        Some(to)
    }

    /// A link that refused messages to a replica takes them again.
    pub fn writable(&mut self, now: Instant, to: NodeId, sink: &mut Sink) {
        self.broadcast.dropped(now, to);
        self.pump(now, sink);
    }

    /// Another replica asks for, or sends, a piece of a snapshot.
    pub fn on_bulk(&mut self, now: Instant, from: NodeId, message: PeerMessage, sink: &mut Sink) -> bool {
        if !self.replicas.contains(&from) {
            return false;
        }
        self.transfer.on_message(now, from, self.id, message, &mut self.machine, &mut self.broadcast, sink);
        self.pump(now, sink);
        true
    }

    /// The map's epoch is known.
    pub const fn set_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }
}
