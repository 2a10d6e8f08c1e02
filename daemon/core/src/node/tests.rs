//! Whole nodes on a perfect network, where what is held is about several of their parts at once.

use super::*;

const TURN: Duration = Duration::from_millis(10);

struct World {
    now: Instant,
    nodes: Vec<Option<Node>>,
    events: Vec<Vec<Event>>,
}

fn addr(at: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7400 + at as u16))
}

impl World {
    /// The first `count` of three founders.
    fn new(count: usize) -> Self {
        let mut world = Self { now: Instant::ZERO, nodes: Vec::new(), events: vec![Vec::new(); count] };
        for at in 0..count {
            let name = format!("n{at}");
            let mut config = Config::new(&name, addr(at), (0..3).map(addr).collect());
            config.partitions = 2;
            let node = NodeId([at as u8 + 1; 16]);
            let mut life = Life::fresh(&name);
            life.begin(node);
            let identity = Identity { node, boot: Boot::default(), life };
            let log = Logger::root(slog::Discard, o!());
            let rng = Rng::from_u64(at as u64);
            world.nodes.push(Some(Node::new(config, identity, world.now, rng, log)));
        }
        world
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
                let to = (0..self.nodes.len()).find(|at| addr(*at) == to);
                if let Some(node) = to.and_then(|at| self.nodes[at].as_mut()) {
                    node.handle_datagram(self.now, from, &mut datagram);
                }
            }
        }
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
