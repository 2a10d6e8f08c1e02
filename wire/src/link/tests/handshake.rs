//! How links begin, go on and end.

use super::super::*;
use super::net::*;
use crate::datagram::{LongKind, Peeked, peek};
use crate::frame::Class;
use crate::keys::{KeyRing, Role, new_cluster_key};

/// What was sent, one word per datagram, with who sent it.
fn transcript(net: &Net) -> Vec<String> {
    let name = |addr| net.hosts.iter().position(|host| host.addr == addr).map_or(9, |at| at);
    let line = |wire: &Wire| {
        let what = match peek(&wire.bytes) {
            Ok(Peeked::Short { packet_number, .. }) => format!("packet {packet_number}"),
            Ok(Peeked::Long { kind, .. }) => {
                let kinds = [LongKind::Hello, LongKind::Retry, LongKind::Welcome];
                format!("{:?}", kinds.into_iter().find(|known| *known as u8 == kind).unwrap())
            }
            Ok(Peeked::Reset(_)) => "Reset".to_owned(),
            Ok(Peeked::VersionNegotiation { .. }) => "VerNeg".to_owned(),
            Err(reason) => format!("{reason:?}"),
        };
        format!("{}: {what}", name(wire.from))
    };
    net.record.as_deref().unwrap_or_default().iter().map(line).collect()
}

fn two(seed: u64, sealed: bool) -> Net {
    let mut net = Net::new(seed, sealed);
    let setup = net.peer();
    net.add(setup.clone());
    net.add(setup);
    net.record = Some(Vec::new());
    net
}

fn both_up(net: &Net) -> bool {
    net.is_established(0, 1) && net.is_established(1, 0)
}

#[test]
fn a_handshake_takes_five_datagrams_and_two_round_trips() {
    for sealed in [false, true] {
        let mut net = two(1, sealed);
        net.connect(0, 1);
        let took = net.run_until(SECOND, "up", both_up);
        assert_eq!(took, 5 * MS);
        net.run(SECOND);
        let expected =
            ["0: Hello", "1: Retry", "0: Hello", "1: Welcome", "0: packet 0", "1: packet 0", "0: packet 1"];
        assert_eq!(transcript(&net), expected, "the last two: credits, and their acknowledgement");
        let record = net.record.as_deref().unwrap();
        assert!(record.iter().all(|wire| wire.bytes.len() <= 1200));
        for at in [0, 1] {
            let host = &net.hosts[at];
            let (remote, link) = (net.hosts[1 - at].end, host.links[0]);
            let up = LinkEvent::Up { link, remote, role: Role::Peer, addr: net.hosts[1 - at].addr };
            assert_eq!(host.events, [up]);
            let remote = host.endpoint.remote(link).unwrap();
            assert!(remote.established && remote.srtt < 10 * MS, "{remote:?}");
        }
    }
}

#[test]
fn whichever_datagram_of_a_handshake_is_lost_the_link_is_up_within_a_second_and_up_once() {
    for lost in 0..7 {
        for called in [false, true] {
            let mut net = two(2 + lost, true);
            net.connect(0, 1);
            if called {
                net.connect(1, 0);
            }
            let until = net.now + 2 * SECOND;
            let mut dropped = false;
            loop {
                let sent = net.record.as_ref().unwrap().len() as u64;
                // Everything that is on its way when the datagram would be is lost with it.
                let cut = sent > lost && !dropped;
                if cut {
                    net.drop_queue();
                    dropped = true;
                }
                if !net.step(until) {
                    break;
                }
            }
            assert!(both_up(&net), "datagram {lost} lost: {:?}", transcript(&net));
            net.send(0, 1, Class::Client, 10).unwrap();
            net.send(1, 0, Class::Client, 10).unwrap();
            net.run_until(SECOND, "messages", |net| net.witness.deliveries == 2);
            assert!(net.hosts.iter().all(|host| host.events.len() == 1), "datagram {lost} lost");
        }
    }
}

#[test]
fn of_two_calls_at_once_that_of_the_lower_node_id_wins() {
    for seed in 0..20 {
        let mut net = two(seed, seed % 2 == 0);
        net.connect(0, 1);
        net.connect(1, 0);
        net.run_until(SECOND, "up", both_up);
        net.run(3 * SECOND);
        let lower = usize::from(net.hosts[1].end.node < net.hosts[0].end.node);
        assert_eq!(net.stats(lower).welcome_out, 0, "seed {seed}");
        assert_eq!(net.stats(1 - lower).welcome_out, 1, "seed {seed}");
        for host in [0, 1] {
            assert_eq!((net.stats(host).handshakes, net.stats(host).links), (1, 1), "seed {seed}");
            assert_eq!(net.stats(host).reset_out, 0, "seed {seed}");
        }
    }
}

#[test]
fn a_new_handshake_of_the_same_processes_goes_on_with_their_session() {
    let mut net = Net::pair(7, true);
    for round in 0..20 {
        for class in Class::ALL {
            (0..20).for_each(|_| net.send(0, 1, class, 400).unwrap());
            (0..20).for_each(|_| net.send(1, 0, class, 400).unwrap());
        }
        let (caller, now) = (round % 2, net.now);
        let (first, addr) = (net.hosts[0].addr, net.hosts[1 - caller].addr);
        net.hosts[1].endpoint.connect(now, first);
        net.hosts[caller].endpoint.unreachable(now, addr);
        net.run(5 * MS);
    }
    net.run(2 * SECOND);
    assert_eq!(net.witness.deliveries, 20 * 20 * 8);
    for host in [0, 1] {
        assert!(net.stats(host).handshakes > 10, "{}", net.stats(host).handshakes);
        assert_eq!(net.hosts[host].events.len(), 1, "one Up and nothing else");
        assert_eq!(net.stats(host).reset_out, 0, "stragglers of a replaced association provoke nothing");
    }
}

#[test]
fn a_new_process_at_an_old_address_gets_a_link_of_its_own() {
    for sealed in [false, true] {
        let mut net = Net::pair(8, sealed);
        let (old, setup) = (net.link(0, 1).unwrap(), net.peer());
        net.send(0, 1, Class::Broadcast, 100).unwrap();
        net.run(SECOND);
        net.restart(1, setup);
        // Sent to the process that is no more: never to its successor.
        net.hosts[0].endpoint.send(net.now, old, Class::Broadcast, message(77, 100)).unwrap();
        net.run_until(2 * SECOND, "the new process is found", both_up);
        let new = net.link(0, 1).unwrap();
        assert_ne!(old, new);
        net.send(0, 1, Class::Broadcast, 100).unwrap();
        net.run(5 * SECOND);
        assert_eq!(net.witness.missing(net.hosts[0].end, net.hosts[1].end), 0);
        let remote = net.hosts[0].endpoint.remote(old).expect("only proof of death ends a link");
        assert!(!remote.established);
        net.hosts[0].endpoint.gone(old);
        net.flush();
        let down = net.hosts[0].events.last().unwrap();
        assert!(
            matches!(down, LinkEvent::Down { link, unacked: 1, reason: DownReason::Gone, .. } if *link == old)
        );
        assert_eq!(
            net.hosts[0].endpoint.send(net.now, old, Class::Client, message(1, 1)),
            Err(SendError::Gone)
        );
    }
}

#[test]
fn a_new_process_is_found_even_if_only_fair_loss_messages_are_sent() {
    let mut net = Net::pair(9, true);
    let (old, setup) = (net.link(0, 1).unwrap(), net.peer());
    net.restart(1, setup);
    for _ in 0..40 {
        let _ = net.hosts[0].endpoint.send_datagram(net.now, old, message(0, 50));
        net.run(100 * MS);
    }
    assert!(both_up(&net));
}

#[test]
fn a_process_proven_dead_is_never_heard_again() {
    let mut net = Net::pair(10, true);
    let link = net.link(0, 1).unwrap();
    net.hosts[0].endpoint.gone(link);
    net.send(1, 0, Class::Client, 100).unwrap();
    net.run(10 * SECOND);
    assert_eq!((net.stats(0).links, net.witness.deliveries), (0, 0));
    assert!(net.stats(0).drop_gone > 0);
}

#[test]
fn links_of_clients_end_when_idle_and_begin_anew_when_called_for() {
    let mut net = Net::new(11, true);
    let (peer, client) = (net.peer(), net.client());
    net.add(peer);
    net.add(client);
    net.connect(1, 0);
    net.run_until(SECOND, "up", |net| net.link(0, 1).is_some());
    let LinkEvent::Up { role, .. } = net.hosts[0].events[0] else { panic!("no Up") };
    assert!(matches!(role, Role::Client(rights) if rights == crate::keys::Rights::ALL));
    net.run(299 * SECOND);
    assert_eq!(net.stats(0).links, 1);
    net.run(3 * SECOND);
    for host in [0, 1] {
        assert_eq!(net.hosts[host].downs(DownReason::Idle), 1, "host {host}");
        assert_eq!(net.hosts[host].links.len(), 2, "the address is still called");
    }
    let addr = net.hosts[0].addr;
    net.hosts[1].endpoint.disconnect(addr);
    net.run(3600 * SECOND);
    assert_eq!((net.stats(0).links, net.stats(1).links), (0, 0));
}

#[test]
fn a_session_that_one_end_has_ended_is_replaced_and_both_are_told() {
    for sealed in [false, true] {
        let mut net = Net::new(12, sealed);
        let (peer, client) = (net.peer(), net.client());
        net.add(peer);
        net.add(client);
        net.connect(1, 0);
        net.run_until(SECOND, "up", |net| net.link(0, 1).is_some());
        net.send(1, 0, Class::Client, 50).unwrap();
        net.run(SECOND);
        // The word that it is over is lost.
        let (now, link) = (net.now, net.link(0, 1).unwrap());
        net.hosts[0].endpoint.close(now, link);
        net.cut(0, 1);
        net.flush();
        net.cuts.clear();
        assert_eq!(net.hosts[0].downs(DownReason::ClosedHere), 1);
        net.send(1, 0, Class::Client, 50).unwrap();
        net.run(3 * SECOND);
        assert_eq!(net.hosts[1].downs(DownReason::Replaced), 1);
        let down = net.hosts[1].events[1].clone();
        assert!(matches!(down, LinkEvent::Down { unacked: 1, .. }), "{down:?}");
        net.send(1, 0, Class::Client, 50).unwrap();
        net.run(SECOND);
        assert_eq!(net.witness.deliveries, 2);
    }
}

#[test]
fn a_client_that_closes_ends_the_link_at_both_ends() {
    let mut net = Net::pair(13, true);
    let link = net.link(0, 1).unwrap();
    let addr = net.hosts[1].addr;
    net.hosts[0].endpoint.disconnect(addr);
    net.hosts[0].endpoint.close(net.now, link);
    net.run(SECOND);
    assert_eq!(net.hosts[0].downs(DownReason::ClosedHere), 1);
    assert_eq!(net.hosts[1].downs(DownReason::Closed), 1);
    assert_eq!((net.stats(0).links, net.stats(1).links), (0, 0));
}

#[test]
fn who_has_another_key_another_network_or_none_gets_no_link() {
    let other = KeyRing::from_file_text(&new_cluster_key([3; 32])).unwrap();
    for keys in [other, KeyRing::empty()] {
        let mut net = Net::new(14, true);
        let setup = net.peer();
        net.add(setup.clone());
        net.add(Setup { keys, ..setup });
        net.connect(0, 1);
        net.connect(1, 0);
        net.run(5 * SECOND);
        for host in [0, 1] {
            let stats = net.stats(host);
            assert_eq!((stats.links, stats.retry_out, stats.reset_out), (0, 0, 0));
            assert!(stats.dropped.iter().sum::<u64>() > 5);
        }
    }
}

#[test]
fn two_addresses_of_one_process_are_one_link() {
    let mut net = Net::pair(15, true);
    let other = "10.9.9.9:7400".parse().unwrap();
    net.aliases.push((other, 1));
    net.hosts[0].endpoint.connect(net.now, other);
    net.run(5 * SECOND);
    for host in [0, 1] {
        assert_eq!((net.stats(host).links, net.stats(host).handshakes), (1, 1));
    }
    // And the other one serves when the first fails.
    net.cut(0, 1);
    net.send(0, 1, Class::Client, 10).unwrap();
    net.send(1, 0, Class::Client, 10).unwrap();
    net.run(8 * SECOND);
    assert_eq!(net.witness.deliveries, 2);
    assert_eq!(net.hosts[0].events.len(), 1);
}

/// Lets host 0 call host 1 until it has the WELCOME, and loses everything that it says from then on.
fn without_third_leg(net: &mut Net) {
    net.connect(0, 1);
    net.run_until(SECOND, "a WELCOME", |net| net.stats(1).welcome_out == 1);
    net.cuts = vec![(net.hosts[0].addr, net.hosts[1].addr)];
    net.run_until(SECOND, "half of a link", |net| net.link(0, 1).is_some());
    net.flush();
    assert_eq!(net.stats(1).half_open, 1);
}

#[test]
fn a_third_leg_counts_from_the_address_that_was_validated() {
    let mut net = two(17, true);
    without_third_leg(&mut net);
    let third = net.record.as_ref().unwrap().last().unwrap().clone();
    net.inject(1, "10.6.6.6:666".parse().unwrap(), &third.bytes);
    assert_eq!((net.stats(1).links, net.stats(1).half_open), (0, 1));
    net.inject(1, third.from, &third.bytes);
    assert_eq!((net.stats(1).links, net.stats(1).half_open), (1, 0));
}

#[test]
fn a_session_that_only_one_end_began_is_begun_again_without_a_word_or_a_loss() {
    for answered in [false, true] {
        let mut net = two(18, true);
        without_third_leg(&mut net);
        for class in Class::ALL {
            (0..10).for_each(|_| net.send(0, 1, class, 500).unwrap());
        }
        net.run(15 * SECOND);
        assert_eq!(net.stats(1).half_open, 0);
        let (now, addr) = (net.now, net.hosts[1].addr);
        if answered {
            // The next handshake is the other one's call.
            net.hosts[0].endpoint.disconnect(addr);
            net.run(5 * MS);
            net.cuts.clear();
            net.connect(1, 0);
            net.run(6 * MS);
            assert_eq!(net.stats(0).welcome_out, 1);
        } else {
            net.cuts.clear();
            net.hosts[0].endpoint.unreachable(now, addr);
        }
        net.run_until(3 * SECOND, "all", |net| net.witness.deliveries == 40);
        for host in &net.hosts {
            assert_eq!(host.events.len(), 1, "{:?}", host.events);
        }
    }
}
