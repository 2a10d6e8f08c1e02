//! Founding under crashes, restarts, loss and reordering: never two clusters from one list, always one after
//! healing.

use std::collections::{BTreeMap, BTreeSet};

use haystack_wire::message::directory::ListId;

use super::*;

const STEP: Duration = Duration::from_millis(10);

/// One host: a disk that survives, and a process that does not.
struct Host {
    addr: SocketAddr,
    disk: Option<Vec<u8>>,
    process: Option<Founding>,
    /// A record that the process wrote and the disk has not confirmed yet.
    writing: Option<(u64, Vec<u8>)>,
}

struct World {
    now: Instant,
    rng: Rng,
    hosts: Vec<Host>,
    wire: Vec<(NodeId, NodeId, DirectoryMessage)>,
    cut: BTreeSet<(usize, usize)>,
    loss: f64,
    founded: BTreeSet<ClusterId>,
    members: BTreeMap<NodeId, ClusterId>,
    /// Where each process lives or lived.
    lived: BTreeMap<NodeId, usize>,
}

impl World {
    fn new(seed: u64, count: usize) -> Self {
        let hosts = (0..count)
            .map(|at| Host {
                addr: SocketAddr::from(([10, 0, 0, at as u8 + 1], 7400)),
                disk: None,
                process: None,
                writing: None,
            })
            .collect();
        Self {
            now: Instant::ZERO,
            rng: Rng::from_u64(seed),
            hosts,
            wire: Vec::new(),
            cut: BTreeSet::new(),
            loss: 0.0,
            founded: BTreeSet::new(),
            members: BTreeMap::new(),
            lived: BTreeMap::new(),
        }
    }

    fn start(&mut self, at: usize) {
        let founders = self.hosts.iter().map(|host| host.addr).collect();
        let config = Config::new(&format!("n{at}"), self.hosts[at].addr, founders);
        let mut life = match &self.hosts[at].disk {
            Some(bytes) => Life::decode(bytes).unwrap(),
            None => Life::fresh(&config.name),
        };
        let node = NodeId(self.rng.bytes());
        life.begin(node);
        self.lived.insert(node, at);
        self.hosts[at].disk = Some(life.encode());
        let process = Founding::new(&config, node, life, self.now, self.rng.fork());
        self.hosts[at].process = Some(process);
        self.hosts[at].writing = None;
        for other in 0..self.hosts.len() {
            self.introduce(at, other);
            self.introduce(other, at);
        }
    }

    /// The link between two hosts comes up, if it may: each hears the other's introduction.
    fn introduce(&mut self, from: usize, to: usize) {
        if from == to || self.cut.contains(&(from, to)) {
            return;
        }
        let (Some(sender), Some(receiver)) = (&self.hosts[from].process, &self.hosts[to].process) else {
            return;
        };
        self.wire.push((sender.me.node, receiver.me.node, sender.introduction()));
    }

    fn crash(&mut self, at: usize) {
        let Some(process) = self.hosts[at].process.take() else { return };
        // The record may have reached the disk or not; the process never learned.
        if let Some((_, bytes)) = self.hosts[at].writing.take()
            && self.rng.chance(0.5)
        {
            self.hosts[at].disk = Some(bytes);
        }
        for host in &mut self.hosts {
            if let Some(other) = &mut host.process {
                other.on_down(process.me.node);
            }
        }
    }

    fn host_of(&self, node: NodeId) -> Option<usize> {
        self.hosts
            .iter()
            .position(|host| host.process.as_ref().is_some_and(|process| process.me.node == node))
    }

    fn turn(&mut self) {
        self.now += STEP;
        for at in 0..self.hosts.len() {
            if let Some(process) = &mut self.hosts[at].process {
                process.handle_timeout(self.now);
            }
            self.pump(at);
        }
        for _ in 0..self.wire.len().min(20) {
            let pick = self.rng.below(self.wire.len() as u64) as usize;
            let (from, to, message) = self.wire.swap_remove(pick);
            self.deliver(from, to, &message);
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, message: &DirectoryMessage) {
        // What a process sent before it crashed may still arrive.
        let sender = self.host_of(from).or_else(|| self.lived.get(&from).copied());
        let (Some(sender), Some(at)) = (sender, self.host_of(to)) else { return };
        if self.cut.contains(&(sender, at)) || self.rng.chance(self.loss) {
            return;
        }
        let addr = self.hosts[sender].addr;
        let now = self.now;
        let Some(process) = &mut self.hosts[at].process else { return };
        if matches!(message, DirectoryMessage::Introduce { .. }) {
            process.on_introduce(now, from, addr, message);
        } else {
            process.on_message(now, from, message.clone());
        }
        self.pump(at);
    }

    fn pump(&mut self, at: usize) {
        let slow = self.rng.chance(0.3);
        let host = &mut self.hosts[at];
        let Some(process) = &mut host.process else { return };
        if let Some(record) = process.poll_persist() {
            host.writing = Some(record);
        }
        if !slow && let Some((lsn, bytes)) = host.writing.take() {
            if let Grant::Founded { list } = Life::decode(&bytes).unwrap().grant {
                self.founded.insert(list.cluster);
            }
            host.disk = Some(bytes);
            process.handle_persisted(lsn);
        }
        let mut announce = false;
        while let Some(output) = process.poll_output() {
            match output {
                Output::Send { to, message } => self.wire.push((process.me.node, to, message)),
                Output::Announce(..) => announce = true,
                Output::Founded(list) => {
                    let before = self.members.insert(process.me.node, list.cluster);
                    assert_eq!(before, None, "a process becomes a member once");
                }
            }
        }
        if announce {
            (0..self.hosts.len()).for_each(|other| self.introduce(at, other));
        }
        assert!(self.founded.len() <= 1, "two clusters from one list: {:?}", self.founded);
    }

    /// Everyone runs, hears everyone, and nothing is lost any more.
    fn heal(&mut self) {
        self.cut.clear();
        self.loss = 0.0;
        for at in 0..self.hosts.len() {
            if self.hosts[at].process.is_none() {
                self.start(at);
            }
        }
        for from in 0..self.hosts.len() {
            (0..self.hosts.len()).for_each(|to| self.introduce(from, to));
        }
        (0..1_000).for_each(|_| self.turn());
    }

    fn standings(&self) -> Vec<String> {
        let processes = self.hosts.iter().filter_map(|host| host.process.as_ref());
        processes.map(|process| format!("{:?} {}", process.standing(), process.waits_for())).collect()
    }
}

#[test]
fn three_that_start_together_found_one_cluster_and_all_are_members() {
    let mut world = World::new(1, 3);
    (0..3).for_each(|at| world.start(at));
    (0..300).for_each(|_| world.turn());
    assert_eq!(world.members.len(), 3, "{:?}", world.standings());
    assert_eq!(world.founded.len(), 1);
}

#[test]
fn a_single_founder_founds_alone() {
    let mut world = World::new(1, 1);
    world.start(0);
    (0..10).for_each(|_| world.turn());
    assert_eq!(world.members.len(), 1);
}

#[test]
fn the_late_word_of_a_predecessor_does_not_hide_its_successor() {
    let mut world = World::new(5, 2);
    world.start(0);
    let addr = world.hosts[0].addr;
    let introduction = |world: &World| {
        let process = world.hosts[0].process.as_ref().unwrap();
        (process.me.node, process.introduction())
    };
    let (before, late) = introduction(&world);
    world.crash(0);
    world.start(0);
    let (after, word) = introduction(&world);
    world.start(1);
    let now = world.now;
    let process = world.hosts[1].process.as_mut().unwrap();
    process.on_introduce(now, after, addr, &word);
    process.on_introduce(now, before, addr, &late);
    assert_eq!(process.process_at(addr).map(|(info, _)| info.node), Some(after));
}

#[test]
fn a_copy_of_a_founders_state_directory_does_not_hide_the_founder() {
    let mut world = World::new(7, 2);
    (0..2).for_each(|at| world.start(at));
    let addr = world.hosts[0].addr;
    let founder = world.hosts[0].process.as_ref().unwrap();
    let (node, word) = (founder.me.node, founder.introduction());
    let mut life = founder.life.clone();
    let elsewhere = SocketAddr::from(([10, 0, 9, 9], 7400));
    let config = Config { seeds: vec![addr], ..Config::new("copy", elsewhere, Vec::new()) };
    let copy = NodeId([9; 16]);
    life.begin(copy);
    let copied = Founding::new(&config, copy, life, world.now, Rng::from_u64(9)).introduction();
    let now = world.now;
    let process = world.hosts[1].process.as_mut().unwrap();
    process.on_introduce(now, copy, elsewhere, &copied);
    process.on_introduce(now, node, addr, &word);
    assert_eq!(process.process_at(addr).map(|(info, _)| info.node), Some(node));
}

#[test]
fn a_founder_that_falls_silent_is_missing_until_it_is_heard_again() {
    let mut world = World::new(6, 3);
    (0..2).for_each(|at| world.start(at));
    (0..100).for_each(|_| world.turn());
    let now = world.now;
    let silent = world.hosts[1].process.as_ref().unwrap().me.node;
    let process = world.hosts[0].process.as_mut().unwrap();
    process.on_heard(now, silent, false);
    assert!(process.waits_for().contains("10.0.0.2:7400 (missing)"), "{}", process.waits_for());
    process.on_heard(now, silent, true);
    assert!(!process.waits_for().contains("10.0.0.2"), "{}", process.waits_for());
}

#[test]
fn nobody_founds_while_one_is_missing_and_everyone_says_who() {
    let mut world = World::new(2, 3);
    (0..2).for_each(|at| world.start(at));
    (0..500).for_each(|_| world.turn());
    assert!(world.founded.is_empty());
    let waits = world.standings();
    assert!(waits.iter().all(|waits| waits.contains("10.0.0.3:7400 (missing)")), "{waits:?}");
}

#[test]
fn all_restarted_at_once_is_never_a_silently_empty_cluster() {
    let mut world = World::new(3, 3);
    (0..3).for_each(|at| world.start(at));
    (0..300).for_each(|_| world.turn());
    (0..3).for_each(|at| world.crash(at));
    (0..3).for_each(|at| world.start(at));
    (0..500).for_each(|_| world.turn());
    assert_eq!(world.members.len(), 3, "no new members");
    let standings = world.standings();
    assert!(standings.iter().all(|text| text.contains("--abandon-old-data")), "{standings:?}");
    // The cure: every founder gives the old data up, and only then a new cluster is founded.
    world.founded.clear();
    for at in 0..3 {
        assert_eq!(world.members.len(), 3);
        let now = world.now;
        world.hosts[at].process.as_mut().unwrap().abandon(now).unwrap();
        (0..100).for_each(|_| world.turn());
    }
    assert_eq!(world.members.len(), 6, "{:?}", world.standings());
}

#[test]
fn a_member_or_a_host_that_sees_members_refuses_to_abandon() {
    let mut world = World::new(4, 3);
    (0..3).for_each(|at| world.start(at));
    (0..300).for_each(|_| world.turn());
    world.crash(0);
    world.start(0);
    (0..300).for_each(|_| world.turn());
    let now = world.now;
    for host in &mut world.hosts {
        assert!(host.process.as_mut().unwrap().abandon(now).is_err());
    }
    assert!(world.standings()[0].contains("joining"), "{:?}", world.standings());
}

#[test]
fn one_list_never_makes_two_clusters_and_always_one_after_healing() {
    for seed in 0..2_000 {
        let mut world = World::new(seed, if seed % 2 == 0 { 3 } else { 5 });
        let count = world.hosts.len();
        world.loss = [0.0, 0.1, 0.4][(seed % 3) as usize];
        for _ in 0..world.rng.below(400) {
            let (at, other) =
                (world.rng.below(count as u64) as usize, world.rng.below(count as u64) as usize);
            match world.rng.below(40) {
                0..4 if world.hosts[at].process.is_none() => world.start(at),
                4 => world.crash(at),
                5 => {
                    world.cut.insert((at, other));
                }
                6 => {
                    world.cut.clear();
                    (0..count).for_each(|to| world.introduce(at, to));
                }
                _ => {}
            }
            world.turn();
        }
        world.heal();
        assert_eq!(world.founded.len(), 1, "seed {seed}: {:#?}", world.standings());
    }
}

#[test]
fn a_life_file_survives_and_a_damaged_one_is_refused() {
    let mut life = Life::fresh("n1");
    life.begin(NodeId([1; 16]));
    life.refuse(ListId(7));
    let bytes = life.encode();
    assert_eq!(Life::decode(&bytes), Ok(life));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Life::decode(&damaged).is_err(), "a flipped bit at {at} passed");
        assert!(Life::decode(&bytes[..at]).is_err());
    }
}
