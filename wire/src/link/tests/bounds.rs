//! Memory and work stay within their bounds.

use super::net::*;
use crate::frame::Class;

#[test]
fn an_idle_link_takes_at_most_4_kib() {
    let mut net = Net::pair(1, true);
    for class in Class::ALL {
        for _ in 0..200 {
            net.send(0, 1, class, 300).unwrap();
            net.send(1, 0, class, 300).unwrap();
        }
    }
    net.faults.loss = 0.2;
    net.run(5 * SECOND);
    net.faults.loss = 0.0;
    net.run(20 * SECOND);
    assert_eq!(net.witness.deliveries, 1600);
    for host in [0, 1] {
        let link = net.hosts[host].links[0];
        let bytes = net.hosts[host].endpoint.link(link).unwrap().memory();
        assert!(bytes <= 4096, "{bytes} bytes");
    }
}

#[test]
fn a_dead_path_with_full_windows_takes_little_more_than_the_windows() {
    let mut net = Net::pair(2, true);
    net.cut(0, 1);
    for class in Class::ALL {
        while net.send(0, 1, class, 1000) == Ok(()) {}
    }
    let link = net.link(0, 1).unwrap();
    for _ in 0..600 {
        net.heartbeats();
        net.run(100 * MS);
    }
    let bytes = net.hosts[0].endpoint.link(link).unwrap().memory();
    assert!(bytes < 4 << 20, "{bytes} bytes of bookkeeping");
}

#[test]
fn over_the_bound_of_incomplete_messages_one_link_after_another_gets_through() {
    let mut net = Net::new(3, false);
    let mut setup = net.peer();
    setup.limits.assembly_bytes = 2 << 20;
    net.add(setup.clone());
    for at in 1..6 {
        net.add(setup.clone());
        net.connect(at, 0);
    }
    net.run(SECOND);
    for at in 1..6 {
        net.send(at, 0, Class::Bulk, 8 << 20).unwrap();
    }
    let mut worst = 0;
    net.run_until(300 * SECOND, "five times 8 MiB", |net| {
        worst = worst.max(net.hosts[0].endpoint.kept);
        net.witness.deliveries == 5
    });
    assert!(worst <= (2 << 20) + (8 << 20), "{worst} bytes kept");
    assert!(net.stats(0).drop_assembly_full > 0);
    assert_eq!(net.hosts[0].endpoint.kept, 0);
}

#[test]
fn one_link_more_than_the_limit_is_not_answered_and_gets_in_when_there_is_room() {
    let mut net = Net::new(4, true);
    let mut setup = net.peer();
    setup.limits.links = 3;
    net.add(setup);
    let client = net.client();
    for at in 1..6 {
        net.add(client.clone());
        net.connect(at, 0);
    }
    net.run(5 * SECOND);
    assert_eq!(net.stats(0).links, 3);
    assert!(net.stats(0).drop_links_full > 0);
    let (now, links) = (net.now, net.hosts[0].links.clone());
    for (at, link) in links.into_iter().enumerate() {
        let first = net.hosts[0].addr;
        net.hosts[at + 1].endpoint.disconnect(first);
        net.hosts[0].endpoint.close(now, link);
    }
    net.run(5 * SECOND);
    assert_eq!(net.stats(0).links, 2);
}

#[test]
fn nothing_is_left_of_links_that_ended() {
    let mut net = Net::new(5, true);
    let (peer, client) = (net.peer(), net.client());
    net.add(peer);
    net.add(client.clone());
    for _ in 0..200 {
        net.connect(1, 0);
        net.run_until(5 * SECOND, "up", |net| net.is_established(0, 1));
        net.send(1, 0, Class::Client, 100).unwrap();
        net.run(10 * MS);
        let (now, link) = (net.now, net.link(1, 0).unwrap());
        net.hosts[1].endpoint.close(now, link);
        net.run(10 * MS);
        net.restart(1, client.clone());
    }
    net.run(20 * SECOND);
    let endpoint = &net.hosts[0].endpoint;
    assert_eq!(endpoint.stats().links, 0);
    assert!(endpoint.timers.is_empty() && endpoint.ready.is_empty() && endpoint.outbox.is_empty());
    assert!(endpoint.table.by_id.is_empty() && endpoint.table.by_addr.is_empty());
    assert_eq!(endpoint.poll_timeout(), None);
}
