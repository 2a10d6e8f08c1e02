//! The cost does not grow with the cluster.

use super::world::{World, seconds};

const MINUTES: u64 = 5;

/// Messages and bytes of one node in a second with nothing happening.
fn idle(nodes: usize) -> (f64, f64) {
    let mut world = World::new(nodes as u64);
    world.by_bytes = nodes <= 32;
    for _ in 0..nodes {
        world.add();
    }
    let took = world.until(seconds(120), World::complete).expect("they do not find each other");
    world.run(seconds(60));
    world.reset();
    world.run(seconds(MINUTES * 60));
    assert!(world.complete());
    assert_eq!(world.deaths(), []);
    let sent: u64 = world.nodes.iter().map(|node| node.sent).sum();
    let bytes: u64 = world.nodes.iter().map(|node| node.bytes).sum();
    let each = nodes as f64 * (MINUTES * 60) as f64;
    let rates = (sent as f64 / each, bytes as f64 / each);
    println!("{nodes} nodes: found in {took:?}, {:.3} messages/s, {:.1} B/s each", rates.0, rates.1);
    rates
}

#[test]
fn with_nothing_happening_the_traffic_is_the_probes_and_flat() {
    for nodes in [5, 32, 128] {
        let (messages, bytes) = idle(nodes);
        // A ping and an ack each second, and a digest each thirty.
        assert!((2.0..2.1).contains(&messages), "{messages} messages at {nodes} nodes");
        assert!(bytes <= 160.0, "{bytes} bytes at {nodes} nodes");
    }
}

#[test]
#[ignore = "half a minute of work: the same at full size"]
fn with_nothing_happening_the_traffic_is_flat_to_512_nodes() {
    let (messages, bytes) = idle(512);
    assert!((2.0..2.1).contains(&messages) && bytes <= 160.0, "{messages} messages, {bytes} bytes");
    let mut world = World::formed(2, 512);
    world.by_bytes = false;
    world.crash(100);
    let took = world.until(seconds(120), |world| world.buried(100)).expect("nobody sees the crash");
    println!("512 nodes: a crash is known everywhere after {took:?}");
    assert!(took <= seconds(40), "{took:?}");
}
