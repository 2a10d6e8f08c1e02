//! Messages outside any link.

use bytes::Bytes;

use super::super::gossip::GOSSIP_WAITING;
use super::super::*;
use super::net::*;
use crate::ids::LinkEnd;

fn heard(net: &Net, host: usize) -> Vec<(LinkEnd, Bytes)> {
    let gossip = |event: &LinkEvent| match event {
        LinkEvent::Gossip { sender, message, .. } => Some((*sender, message.clone())),
        _ => None,
    };
    net.hosts[host].events.iter().filter_map(gossip).collect()
}

fn gossip(net: &mut Net, from: usize, to: usize, message: &[u8]) {
    let addr = net.hosts[to].addr;
    net.hosts[from].endpoint.send_gossip(addr, message).unwrap();
    net.run(10 * MS);
}

#[test]
fn gossip_reaches_a_process_without_a_link_and_names_its_sender() {
    for sealed in [false, true] {
        let mut net = Net::new(1, sealed);
        let setup = net.peer();
        net.add(setup.clone());
        net.add(setup);
        gossip(&mut net, 0, 1, b"who is there?");
        assert_eq!(heard(&net, 1), [(net.hosts[0].end, Bytes::from_static(b"who is there?"))]);
        assert_eq!(net.hosts[1].links, []);
        assert_eq!(net.stats(1).links, 0);
    }
}

#[test]
fn gossip_of_strangers_and_of_clients_is_dropped() {
    let mut net = Net::new(2, true);
    let (peer, client) = (net.peer(), net.client());
    net.add(peer.clone());
    net.add(client);
    let mut stranger = Net::new(3, true).peer();
    stranger.role = peer.role;
    net.add(stranger);
    gossip(&mut net, 1, 0, b"I am a client");
    gossip(&mut net, 2, 0, b"I have another key");
    gossip(&mut net, 0, 1, b"clients hear none");
    assert_eq!(heard(&net, 0), []);
    assert_eq!(heard(&net, 1), []);
    assert_eq!(net.stats(0).gossip_in, 0);
}

#[test]
fn gossip_over_the_limit_is_refused_and_the_longest_passes() {
    let mut net = Net::new(4, true);
    let setup = net.peer();
    net.add(setup.clone());
    net.add(setup);
    let addr = net.hosts[1].addr;
    let long = vec![7; GOSSIP_MAX_BYTES + 1];
    assert_eq!(net.hosts[0].endpoint.send_gossip(addr, &long), Err(SendError::TooLong));
    gossip(&mut net, 0, 1, &long[1..]);
    assert_eq!(heard(&net, 1).len(), 1);
    let mut buf = Vec::new();
    net.hosts[0].endpoint.send_gossip(addr, &long[1..]).unwrap();
    net.hosts[0].endpoint.poll_transmit(net.now, &mut buf);
    assert!(buf.len() <= 1200, "{} bytes", buf.len());
}

#[test]
fn gossip_that_nobody_fetches_is_bounded() {
    let mut net = Net::new(5, false);
    let setup = net.peer();
    net.add(setup.clone());
    net.add(setup);
    net.hosts[1].fetching = false;
    for _ in 0..GOSSIP_WAITING / 8 + 1 {
        for _ in 0..8 {
            let addr = net.hosts[1].addr;
            net.hosts[0].endpoint.send_gossip(addr, b"flood").unwrap();
        }
        net.run(10 * MS);
    }
    assert_eq!(net.stats(1).gossip_in, GOSSIP_WAITING as u64);
    assert_eq!(net.stats(1).drop_gossip_full, 8);
    net.hosts[1].fetching = true;
    gossip(&mut net, 0, 1, b"and again");
    assert_eq!(heard(&net, 1).len(), GOSSIP_WAITING + 1);
}
