//! Grants that were taken back, ends that come at awkward moments, addresses that change.

use super::*;

#[test]
fn who_took_its_grant_back_has_no_vote_in_what_was_founded_and_says_so() {
    let mut world = World::new(3);
    while !world.node(2).waits_for().contains("granted") {
        world.pass(TURN);
        assert!(world.now < Instant::ZERO + Duration::from_secs(3));
    }
    // Its grant is on its way; the word that all granted does not come.
    world.pass(TURN);
    world.cuts = [(0, 2), (1, 2)].into();
    world.pass(Duration::from_secs(3));
    assert_eq!(world.node(0).standing(), Standing::Member);
    let now = world.now;
    let told = world.nodes[2].as_mut().unwrap().on_admin(now, Rights::ALL, &AdminRequest::AbandonOldData);
    assert!(matches!(told, AdminReply::Done(_)), "{told:?}");
    world.cuts.clear();
    world.pass(Duration::from_secs(20));
    assert_eq!(world.node(2).standing(), Standing::Standby);
    assert_eq!(world.node(2).groups().count(), 0);
    let word = world.node(2).waits_for();
    assert!(word.contains("Restart this daemon"), "{word}");
    // The cure.
    let old = world.node(2).id();
    world.nodes[2] = None;
    let at = world.join("n2", &[old]);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.node(at).standing(), Standing::Member);
    assert_eq!(world.state_of(old), Some(NodeState::Gone));
}

#[test]
fn who_is_gone_gets_no_link_to_those_who_came_later() {
    let mut world = World::founders(3, 3, 4);
    world.pass(Duration::from_secs(3));
    let (old, late) = (world.node(2).id(), world.node(1).id());
    let paused = world.nodes[2].take();
    let now = world.now;
    world.nodes[0].as_mut().unwrap().note_proven_end(now, old);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.state_of(old), Some(NodeState::Gone));
    // At the address of the second one a new process begins, which never was linked with it.
    let mut config = Config::new("n1", addr(1), Vec::new());
    config.seeds = vec![addr(0)];
    let grant = crate::directory::life::Grant::Joined { cluster: world.node(0).cluster().unwrap() };
    let mut life = Life { grant, ..Life::fresh("n1") };
    life.begin(late);
    let node = NodeId([77; 16]);
    life.begin(node);
    let identity = Identity { node, boot: Boot::default(), life };
    let log = Logger::root(slog::Discard, o!());
    world.nodes[1] = Some(Node::new(config, identity, world.now, Rng::from_u64(77), log));
    world.pass(Duration::from_secs(3));
    assert!(world.node(1).map().is_some());
    world.nodes[2] = paused;
    for _ in 0..100 {
        world.pass(Duration::from_millis(100));
        assert!(world.node(1).endpoint().link_to(old).is_none(), "at {:?}", world.now);
    }
    assert!(world.node(2).waits_for().contains("has given this process up"));
}

#[test]
fn who_left_before_its_admission_was_applied_is_remembered_until_it_is() {
    let mut world = World::founders(3, 3, 1);
    world.pass(Duration::from_secs(3));
    let before = world.node(0).map().unwrap().clone();
    let at = world.join("n9", &[]);
    let node = world.node(at).id();
    world.pass(Duration::from_secs(3));
    let after = world.node(0).map().unwrap().clone();
    let now = world.now;
    world.nodes[at].as_mut().unwrap().handle_command(now, Command::Stop).unwrap();
    world.pass(Duration::from_secs(5));
    // The farewell first, another map, and then the admission.
    let founder = world.nodes[0].as_mut().unwrap();
    founder.note_node_table(now, Some(&before), &before);
    founder.note_node_table(now, Some(&before), &after);
    assert!(founder.has_ended(node));
}

#[test]
fn founders_that_moved_before_the_founding_are_found_at_their_new_addresses() {
    let wrong: Vec<SocketAddr> = vec![addr(0), addr(1), addr(9)];
    let mut world = World::founders(0, 3, 2);
    for at in 0..2 {
        let mut config = Config::new(&format!("n{at}"), addr(at), wrong.clone());
        config.partitions = 2;
        world.add(config, &[]);
    }
    let right: Vec<SocketAddr> = (0..3).map(addr).collect();
    let mut config = Config::new("n2", addr(2), right.clone());
    config.partitions = 2;
    world.add(config, &[]);
    world.pass(Duration::from_secs(3));
    assert!(world.live().all(|node| node.standing() == Standing::Founding && node.wants_seeds()));
    let now = world.now;
    for node in world.nodes.iter_mut().flatten() {
        node.set_seeds(now, right.clone(), Vec::new());
    }
    world.pass(Duration::from_secs(5));
    assert!(world.live().all(|node| node.standing() == Standing::Member));
}

#[test]
fn a_daemon_that_moved_introduces_itself_with_its_new_address() {
    let mut world = World::founders(3, 3, 2);
    world.pass(Duration::from_secs(3));
    let now = world.now;
    world.nodes[2].as_mut().unwrap().set_addr(now, addr(50));
    let told = world.node(2).founding.introduction();
    let DirectoryMessage::Introduce { info, .. } = told else { panic!("{told:?}") };
    assert_eq!(info.addr, addr(50));
}
