//! A daemon's process and its disk.

use std::collections::VecDeque;

use haystack_core::directory::life::{Grant, Life};
use haystack_core::node::{Identity, Lsn, Node, Record};
use haystack_wire::ids::{Boot, ClusterId, NodeId};
use haystack_wire::message::directory::FoundingList;

use crate::check::maps::MapWatch;
use crate::check::replica::Watch;
use crate::dice::Dice;

/// A daemon's process.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) node: Node,
    pub(crate) watch: Watch,
    pub(crate) maps: MapWatch,
    /// Records on their way to disk, in order.
    pub(crate) writing: VecDeque<(Lsn, Vec<u8>)>,
    /// Lists that this process wrote a grant of: it may vote in them.
    pub(crate) granted: Vec<FoundingList>,
    /// Whether it was told to stop.
    pub(crate) stopping: bool,
    /// Whether it ended by itself.
    pub(crate) stopped: bool,
}

impl Daemon {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            watch: Watch::default(),
            maps: MapWatch::default(),
            writing: VecDeque::new(),
            granted: Vec::new(),
            stopping: false,
            stopped: false,
        }
    }

    /// Takes a record that the node wants on disk, and gives the cluster that it tells of.
    pub(crate) fn write(&mut self, record: Record) -> (Lsn, Option<ClusterId>) {
        let Record::Life { lsn, bytes } = record;
        let grant = Life::decode(&bytes).expect("a node writes what it can read").grant;
        let cluster = grant.cluster();
        if let Grant::Granted { list, by } = grant
            && by == self.node.id()
            && !self.granted.contains(&list)
        {
            self.granted.push(list);
        }
        self.writing.push_back((lsn, bytes));
        (lsn, cluster)
    }
}

/// What survives a process: the life file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) life: Option<Vec<u8>>,
}

impl Disk {
    /// Begins a new life, on disk before the process says anything, as the daemon does.
    pub(crate) fn begin(&mut self, name: &str, dice: &mut Dice) -> Identity {
        let mut life = match &self.life {
            Some(bytes) => Life::decode(bytes).expect("the simulated disk gives back what was written"),
            None => Life::fresh(name),
        };
        let mut id = [0; 16];
        id[..8].copy_from_slice(&dice.u64().to_be_bytes());
        id[8..].copy_from_slice(&dice.u64().to_be_bytes());
        let node = NodeId(id);
        life.begin(node);
        self.life = Some(life.encode());
        Identity { node, boot: Boot(0), life }
    }

    /// The process died while these records were on their way: each replaced the file or did not, in order.
    pub(crate) fn crash(&mut self, writing: VecDeque<(Lsn, Vec<u8>)>, dice: &mut Dice) {
        for (_, bytes) in writing {
            if dice.coin() {
                return;
            }
            self.life = Some(bytes);
        }
    }
}
