//! Whole nodes on a perfect network, where what is held is about several of their parts at once.

use haystack_wire::ids::Boot;
use haystack_wire::keys::Rights;
use haystack_wire::message::admin::{AdminReply, AdminRequest};
use haystack_wire::message::directory::{DirectoryMessage, NodeInfo, NodeState};
use haystack_wire::message::membership::{Accused, Beacon, Gossip, GossipBody, MemberState, Update};

use super::*;
use crate::directory::life::Life;
use crate::directory::machine::DirectoryCommand;

mod endings;
mod succession;
mod words;

const TURN: Duration = Duration::from_millis(10);

struct World {
    now: Instant,
    nodes: Vec<Option<Node>>,
    events: Vec<Vec<Event>>,
    /// The node whose datagrams outside of links are lost, in both directions.
    links_only: Option<usize>,
    /// Two of whom nothing gets from either to the other.
    cuts: BTreeSet<(usize, usize)>,
}

/// Whether a datagram is a gossip outside of any link: long, of kind 7.
fn is_gossip(datagram: &[u8]) -> bool {
    datagram[0] & 0x80 != 0 && datagram[6] == 7
}

fn addr(at: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7400 + at as u16))
}

impl World {
    /// The first `count` of three founders.
    fn new(count: usize) -> Self {
        Self::founders(count, 3, 2)
    }

    /// The first `count` of `all` founders.
    fn founders(count: usize, all: usize, partitions: u32) -> Self {
        let mut world = Self {
            now: Instant::ZERO,
            nodes: Vec::new(),
            events: Vec::new(),
            links_only: None,
            cuts: BTreeSet::new(),
        };
        for at in 0..count {
            let mut config = Config::new(&format!("n{at}"), addr(at), (0..all).map(addr).collect());
            config.partitions = partitions;
            world.add(config, &[]);
        }
        world
    }

    /// A process that succeeds others in its state directory.
    fn add(&mut self, config: Config, predecessors: &[NodeId]) -> usize {
        let life = Life::fresh(&config.name);
        self.add_to(life, config, predecessors)
    }

    fn add_to(&mut self, mut life: Life, config: Config, predecessors: &[NodeId]) -> usize {
        let at = self.nodes.len();
        let node = NodeId([at as u8 + 1; 16]);
        predecessors.iter().for_each(|node| life.begin(*node));
        life.begin(node);
        let identity = Identity { node, boot: Boot::default(), life };
        let log = Logger::root(slog::Discard, o!());
        self.nodes.push(Some(Node::new(config, identity, self.now, Rng::from_u64(at as u64), log)));
        self.events.push(Vec::new());
        at
    }

    /// One that joins through the first founder.
    fn join(&mut self, name: &str, predecessors: &[NodeId]) -> usize {
        let mut config = Config::new(name, addr(self.nodes.len()), Vec::new());
        config.seeds = vec![addr(0), addr(1)];
        self.add(config, predecessors)
    }

    fn live(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    fn states(&self, at: usize) -> Vec<NodeState> {
        self.node(at).map().unwrap().nodes.iter().map(|record| record.state).collect()
    }

    /// What an administrator at a node is told, with the reports of all who answer.
    fn gathered(&self, at: usize) -> haystack_wire::message::admin::Status {
        let reports = self.live().map(|node| (node.id(), node.report())).collect();
        self.node(at).status_with(self.now, &reports)
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TURN;
            let mut sent = Vec::new();
            for (at, node) in self.nodes.iter_mut().enumerate() {
                let Some(node) = node else { continue };
                node.handle_timeout(self.now);
                while let Some(Record::Life { lsn, .. }) = node.poll_persist() {
                    node.handle_persisted(self.now, lsn);
                }
                self.events[at].extend(core::iter::from_fn(|| node.poll_event()));
                let mut buf = Vec::new();
                while let Some(transmit) = node.poll_transmit(self.now, &mut buf) {
                    sent.push((addr(at), transmit.to, buf.clone()));
                }
            }
            for (from, to, mut datagram) in sent {
                let ends = [from, to];
                let lost = self.links_only.is_some_and(|at| ends.contains(&addr(at)));
                if lost && is_gossip(&datagram) {
                    continue;
                }
                let at = |wanted| (0..self.nodes.len()).find(|at| addr(*at) == wanted);
                let to = at(to);
                if at(from).zip(to).is_some_and(|(a, b)| self.cuts.contains(&(a.min(b), a.max(b)))) {
                    continue;
                }
                if let Some(node) = to.and_then(|at| self.nodes[at].as_mut()) {
                    node.handle_datagram(self.now, from, &mut datagram);
                }
            }
        }
    }

    /// Nobody hears a node, and it hears nobody; or they do again.
    fn cut_off(&mut self, at: usize, cut: bool) {
        self.cuts =
            (0..self.nodes.len()).filter(|_| cut).map(|other| (at.min(other), at.max(other))).collect();
    }

    /// What the table of the directory says of a process.
    fn state_of(&self, node: NodeId) -> Option<NodeState> {
        self.node(0).map().unwrap().record(node).map(|record| record.state)
    }

    fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().unwrap()
    }

    /// Which founders the first node takes for up.
    fn up(&self) -> Vec<bool> {
        self.node(0).status(self.now).nodes.iter().map(|node| node.up).collect()
    }
}

#[test]
fn founders_that_wait_know_who_is_there_and_who_has_gone() {
    let mut world = World::new(2);
    for _ in 0..20 {
        world.pass(Duration::from_millis(370));
        if world.now > Instant::ZERO + Duration::from_secs(2) {
            assert_eq!(world.up(), [true, true, false], "at {:?}", world.now);
        }
    }
    assert!(world.node(0).status(world.now).waits_for.contains("2 of 3"));
    world.nodes[1] = None;
    world.pass(Duration::from_secs(3));
    assert_eq!(world.up(), [true, false, false]);
    assert!(world.node(0).status(world.now).waits_for.contains("1 of 3"));
}

#[test]
fn three_found_a_cluster_and_say_when_it_serves_and_when_it_does_not() {
    let mut world = World::new(3);
    world.pass(Duration::from_secs(5));
    for at in 0..3 {
        let events = &world.events[at];
        assert!(events.contains(&Event::Ready), "{events:?}");
        let member = Event::Standing { standing: Standing::Member, waits_for: String::new() };
        assert_eq!(events.iter().filter(|event| **event == member).count(), 1, "{events:?}");
        let status = world.node(at).status(world.now);
        assert!(status.nodes.iter().all(|node| node.up && node.standing == Some(Standing::Member)));
        assert_eq!(status.groups.len(), 3);
    }
    world.nodes[1] = None;
    world.nodes[2] = None;
    world.pass(Duration::from_secs(3));
    let ready = world.events[0].iter().rfind(|event| matches!(event, Event::Ready | Event::NotReady));
    assert_eq!(ready, Some(&Event::NotReady), "{:?}", world.events[0]);
    assert!(world.node(0).status(world.now).groups.iter().all(|group| group.leader.is_none()));
    assert_eq!(world.up(), [true, false, false]);
}

#[test]
fn nine_found_a_cluster_of_three_replicas_each_and_all_know_the_coordinator() {
    let mut world = World::founders(9, 9, 64);
    world.pass(Duration::from_secs(3));
    let coordinator = world.node(0).coordinator().expect("a coordinator").node;
    for node in world.live() {
        let map = node.map().expect("a map");
        assert_eq!(map.directory.replicas.len(), 5);
        assert!(map.directory.replicas.contains(&coordinator));
        assert_eq!(node.coordinator().map(|ballot| ballot.node), Some(coordinator));
        assert_eq!(node.standing(), Standing::Member);
        let held = node.groups().filter(|group| group.id() != GroupId::DIRECTORY).count();
        assert!((21..=22).contains(&held), "64 times 3 replicas on 9: {held}");
        assert!(node.groups().all(|group| group.leader().is_some()));
    }
    let status = world.gathered(8);
    assert!(status.groups.iter().all(|group| group.leader.is_some() && group.replicas.len() >= 3));
    assert!(status.groups.iter().flat_map(|group| &group.replicas).all(|replica| replica.report.is_some()));
}

#[test]
fn a_coordinator_that_dies_is_replaced_and_the_table_tells_who_is_missing() {
    let mut world = World::founders(5, 5, 8);
    world.pass(Duration::from_secs(3));
    let old = world.node(0).coordinator().unwrap().node;
    let at = world.live().position(|node| node.id() == old).unwrap();
    world.nodes[at] = None;
    world.pass(Duration::from_secs(2));
    for node in world.live() {
        assert_ne!(node.coordinator().unwrap().node, old, "{} knows the new one", node.id());
        assert!(node.groups().all(|group| group.leader().is_some()));
    }
    world.pass(Duration::from_secs(40));
    let survivor = (0..5).find(|other| *other != at).unwrap();
    let down = world.states(survivor).iter().filter(|state| **state == NodeState::Down).count();
    assert_eq!(down, 1, "{:?}", world.states(survivor));
}

#[test]
fn a_daemon_with_seeds_joins_as_a_spare_and_forwards() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let at = world.join("n9", &[]);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.node(at).standing(), Standing::Member);
    assert_eq!(world.node(at).groups().count(), 0);
    assert!(world.events[at].contains(&Event::Ready));
    for other in 0..3 {
        assert_eq!(world.states(other), [NodeState::Up; 4]);
    }
}

#[test]
fn a_restarted_daemon_takes_its_predecessors_place_in_the_table_at_once() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let old = world.node(2).id();
    world.nodes[2] = None;
    let at = world.join("n2", &[old]);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.node(at).standing(), Standing::Member);
    let map = world.node(0).map().unwrap();
    assert_eq!(map.record(old).map(|record| record.state), Some(NodeState::Gone), "groups still name it");
    assert_eq!(map.record(world.node(at).id()).map(|record| record.state), Some(NodeState::Up));
}

#[test]
fn a_daemon_whose_life_file_names_the_cluster_gossips_from_its_start_on() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let old = world.node(2).id();
    let cluster = world.node(2).cluster().unwrap();
    world.nodes[2] = None;
    let mut config = Config::new("n2", addr(world.nodes.len()), Vec::new());
    config.seeds = vec![addr(0), addr(1)];
    let grant = crate::directory::life::Grant::Joined { cluster };
    let at = world.add_to(Life { grant, ..Life::fresh("n2") }, config, &[old]);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.node(at).standing(), Standing::Member);
    assert_eq!(world.node(at).members().filter(|member| member.state == MemberState::Alive).count(), 3);
}

#[test]
fn a_daemon_whose_name_is_taken_is_not_admitted_and_says_why() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let at = world.join("n1", &[]);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.node(at).standing(), Standing::Standby);
    let status = world.node(at).status(world.now);
    assert!(status.waits_for.contains("two daemons are called `n1`"), "{}", status.waits_for);
    assert_eq!(world.states(0), [NodeState::Up; 3]);
}

#[test]
fn two_clusters_with_each_others_seeds_stay_two() {
    let mut world = World::founders(3, 3, 4);
    for at in 3..6 {
        let mut config = Config::new(&format!("m{at}"), addr(at), (3..6).map(addr).collect());
        config.partitions = 4;
        config.seeds = vec![addr(0)];
        // They must not find the first cluster before their own is founded.
        if at == 3 {
            world.nodes.iter_mut().for_each(|node| assert!(node.is_some()));
        }
        config.seeds.clear();
        world.add(config, &[]);
    }
    world.pass(Duration::from_secs(3));
    let clusters = |world: &World| (world.node(0).cluster().unwrap(), world.node(3).cluster().unwrap());
    let before = clusters(&world);
    assert_ne!(before.0, before.1);
    let now = world.now;
    for (at, seed) in [(0, 3), (3, 0)] {
        world.nodes[at].as_mut().unwrap().set_seeds(now, Vec::new(), vec![addr(seed)]);
    }
    world.pass(Duration::from_secs(60));
    assert_eq!(clusters(&world), before);
    assert_eq!((world.states(0).len(), world.states(3).len()), (3, 3));
    assert!(world.live().all(|node| node.members().count() == 3));
}

#[test]
fn who_survives_a_lost_majority_says_what_must_come_before_its_data_is_given_up() {
    let mut world = World::founders(3, 3, 2);
    world.pass(Duration::from_secs(3));
    let ask = |world: &mut World| {
        let now = world.now;
        let node = world.nodes[0].as_mut().unwrap();
        match node.on_admin(now, Rights::ALL, &AdminRequest::AbandonOldData) {
            AdminReply::Refused(why) => why,
            other => panic!("{other:?}"),
        }
    };
    assert!(ask(&mut world).contains("a living cluster"));
    (world.nodes[1], world.nodes[2]) = (None, None);
    world.pass(Duration::from_secs(5));
    let why = ask(&mut world);
    assert!(
        why.contains("no majority of replicas answers") && why.contains("first stop or restart"),
        "{why}"
    );
    assert!(!why.contains("living"), "{why}");
}

/// What a daemon that stops says of its groups.
fn stop(world: &mut World, at: usize) -> Vec<Outlook> {
    let now = world.now;
    world.nodes[at].as_mut().unwrap().handle_command(now, Command::Stop).unwrap();
    world.pass(Duration::from_secs(2));
    world.nodes[at] = None;
    let told = world.events[at].iter().find_map(|event| match event {
        Event::Stopped { groups } => Some(groups.iter().map(|(_, outlook)| *outlook).collect()),
        _ => None,
    });
    world.pass(Duration::from_secs(2));
    told.unwrap()
}

#[test]
fn a_stop_says_what_it_leaves_of_every_group() {
    let mut world = World::founders(3, 3, 2);
    world.pass(Duration::from_secs(3));
    assert_eq!(stop(&mut world, 2), [Outlook::LastMajority; 3]);
    assert_eq!(stop(&mut world, 1), [Outlook::Lost; 3]);
    assert_eq!(stop(&mut world, 0), [Outlook::Lost; 3]);
    let all = (1..=5).map(|live| Outlook::of(5, live)).collect::<Vec<_>>();
    let (lost, last, fine) = (Outlook::Lost, Outlook::LastMajority, Outlook::Fine);
    assert_eq!(all, [lost, lost, lost, last, fine]);
}

#[test]
fn a_daemon_that_stops_leaves_and_is_gone_at_once() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let now = world.now;
    world.nodes[2].as_mut().unwrap().handle_command(now, Command::Stop).unwrap();
    world.pass(Duration::from_secs(2));
    assert!(world.events[2].iter().any(|event| matches!(event, Event::Stopped { .. })));
    world.nodes[2] = None;
    world.pass(Duration::from_millis(500));
    let left = world.states(0);
    assert_eq!(left.iter().filter(|state| **state == NodeState::Gone).count(), 1, "{left:?}");
}

/// The coordinator at a place decides to admit one that no member met.
fn admit_ghost(world: &mut World, at: usize, host: u8) {
    let info = NodeInfo::new(NodeId([host; 16]), &format!("ghost-{host}"), addr(host.into()));
    let node = world.nodes[at].as_mut().unwrap();
    let group = node.groups.get_mut(&GroupId::DIRECTORY).unwrap();
    group.propose_directory(&DirectoryCommand::Admit(info));
    node.dirty.insert(GroupId::DIRECTORY);
}

/// `from` passes on to `to` that `node` has left.
fn tell_farewell(world: &mut World, from: usize, to: usize, node: NodeId) {
    let gossip = Gossip {
        cluster: world.node(to).cluster(),
        from: NodeId([from as u8 + 1; 16]),
        beacon: Beacon::default(),
        body: GossipBody::Delta,
        updates: vec![Update::Left { whom: Accused { node, boot: Boot::default(), incarnation: 0 } }],
    };
    let now = world.now;
    world.nodes[to].as_mut().unwrap().take_gossip(now, addr(from), gossip);
}

#[test]
fn one_that_leaves_before_the_coordinator_met_it_is_gone_and_not_just_silent() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let coordinator = world.node(0).coordinator().unwrap().node;
    let at = world.live().position(|node| node.id() == coordinator).unwrap();
    let other = (at + 1) % 3;
    let slow = NodeId([9; 16]);
    tell_farewell(&mut world, other, at, slow);
    // The farewell may come before what an earlier coordinator decided, and other news in between.
    for host in [8, 9] {
        admit_ghost(&mut world, at, host);
        world.pass(Duration::from_millis(500));
    }
    assert!(world.events[at].contains(&Event::Cluster(ClusterEvent::Left { node: slow })));
    let decided = world.events[at].iter().filter_map(|event| match event {
        Event::Cluster(ClusterEvent::Decided { node, state }) if *node == slow => Some(*state),
        _ => None,
    });
    assert_eq!(decided.collect::<Vec<_>>(), [NodeState::Joining, NodeState::Gone]);
}

#[test]
fn who_has_left_is_called_no_more_though_nobody_can_decide_that() {
    let mut world = World::founders(3, 3, 2);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.node(0).dialled, [addr(1), addr(2)].into());
    let gone = world.node(2).id();
    (world.nodes[1], world.nodes[2]) = (None, None);
    tell_farewell(&mut world, 1, 0, gone);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.states(0), [NodeState::Up; 3]);
    assert_eq!(world.node(0).dialled, [addr(1)].into());
}

/// What the first of two founders says it waits for beside a second one that is set up otherwise.
fn said_beside(set: impl FnOnce(&mut Config)) -> String {
    let mut world = World::founders(1, 2, 2);
    let mut config = Config::new("n1", addr(1), (0..2).map(addr).collect());
    set(&mut config);
    world.add(config, &[]);
    world.pass(Duration::from_secs(2));
    world.node(0).status(world.now).waits_for
}

#[test]
fn a_daemon_that_hears_only_strangers_says_what_to_compare() {
    use haystack_wire::ids::NetworkId;
    use haystack_wire::keys::{KeyRing, new_cluster_key};
    let key = new_cluster_key([1; 32]);
    let name = said_beside(|config| config.network = NetworkId::of_cluster("other"));
    assert!(name.contains("(missing)") && name.contains("`cluster`"), "{name}");
    let key = said_beside(|config| config.keys = KeyRing::from_file_text(&key).unwrap());
    assert!(key.contains("(missing)") && key.contains("set `key_file`"), "{key}");
}

#[test]
fn a_host_that_was_away_for_long_takes_its_predecessors_place_in_the_table_too() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let old = world.node(2).id();
    world.nodes[2] = None;
    world.pass(Duration::from_secs(60));
    let state = |world: &World| world.node(0).map().unwrap().record(old).map(|record| record.state);
    assert_eq!(state(&world), Some(NodeState::Down));
    let at = world.join("n2", &[old]);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.node(at).standing(), Standing::Member);
    assert_eq!(state(&world), Some(NodeState::Gone), "its successor testifies");
}

#[test]
fn who_gives_a_cluster_up_forgets_its_map_and_its_coordinator() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let (old, cluster) = (world.node(0).id(), world.node(0).cluster().unwrap());
    let ids: Vec<NodeId> = (0..3).map(|at| world.node(at).id()).collect();
    // A majority restarts, hears of the old map from who is left, and is never admitted.
    let restart = |world: &mut World, at: usize, node: NodeId| {
        let config =
            Config { partitions: 4, ..Config::new(&format!("n{at}"), addr(at), (0..3).map(addr).collect()) };
        let grant = crate::directory::life::Grant::Joined { cluster };
        let mut life = Life { grant, ..Life::fresh(&config.name) };
        life.begin(ids[at]);
        life.begin(node);
        let identity = Identity { node, boot: Boot::default(), life };
        let log = Logger::root(slog::Discard, o!());
        world.nodes[at] = Some(Node::new(config, identity, world.now, Rng::from_u64(99), log));
    };
    (world.nodes[1], world.nodes[2]) = (None, None);
    world.pass(Duration::from_secs(1));
    restart(&mut world, 1, NodeId([21; 16]));
    restart(&mut world, 2, NodeId([22; 16]));
    world.pass(Duration::from_secs(10));
    assert_eq!(world.node(1).standing(), Standing::Standby);
    assert!(world.node(1).map().is_some(), "the map of who is left");
    // The cure that the daemons name.
    world.nodes[0] = None;
    world.pass(Duration::from_secs(2));
    restart(&mut world, 0, NodeId([20; 16]));
    world.pass(Duration::from_secs(5));
    for at in 0..3 {
        let now = world.now;
        let node = world.nodes[at].as_mut().unwrap();
        let told = node.on_admin(now, Rights::ALL, &AdminRequest::AbandonOldData);
        assert!(matches!(told, AdminReply::Done(_)), "{told:?}");
    }
    world.pass(Duration::from_secs(10));
    for node in world.live() {
        assert_eq!(node.standing(), Standing::Member, "{}", node.waits_for());
        assert_ne!(node.cluster(), Some(cluster));
        assert_eq!(node.map().map(|map| map.cluster), node.cluster());
        assert_eq!(node.groups().count(), 5);
        let coordinator = node.coordinator().unwrap().node;
        assert!(!ids.contains(&coordinator) && coordinator != old, "the old one's: {coordinator}");
    }
}

#[test]
fn who_is_heard_on_its_link_is_neither_suspected_nor_succeeded() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let old = world.node(2).id();
    world.links_only = Some(2);
    world.join("copy", &[old]);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.node(0).map().unwrap().record(old).map(|record| record.state), Some(NodeState::Up));
    let counted = |name: &str| {
        let all = world.node(0).status(world.now).counters;
        all.iter().find(|(counter, _)| counter == name).map(|(_, count)| *count)
    };
    assert_eq!((counted("swim.suspected"), counted("swim.died")), (Some(0), Some(0)));
}

#[test]
fn seeds_are_kept_when_their_names_cannot_be_looked_up() {
    let mut world = World::founders(3, 3, 4);
    let at = world.join("n9", &[]);
    let now = world.now;
    world.nodes[at].as_mut().unwrap().set_seeds(now, Vec::new(), Vec::new());
    world.pass(Duration::from_secs(8));
    assert_eq!(world.node(at).standing(), Standing::Member);
}

#[test]
fn a_process_that_the_cluster_gave_up_says_so() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let (old, now) = (world.node(2).id(), world.now);
    world.nodes[0].as_mut().unwrap().note_proven_end(now, old);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.node(1).map().unwrap().record(old).map(|record| record.state), Some(NodeState::Gone));
    let word = world.node(2).waits_for();
    assert!(word.contains("has given this process up"), "{word:?}");
}
