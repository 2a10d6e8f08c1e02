//! How messages share datagrams, windows and the path.

use bytes::Bytes;

use super::super::*;
use super::net::*;
use crate::frame::Class;
use crate::time::Duration;

/// Sizes of the datagrams recorded since the last call.
fn recorded(net: &mut Net) -> Vec<usize> {
    net.flush();
    net.record.replace(Vec::new()).unwrap_or_default().iter().map(|wire| wire.bytes.len()).collect()
}

#[test]
fn a_lone_message_of_100_bytes_costs_27_bytes_more_and_39_sealed() {
    for (sealed, overhead) in [(false, 27), (true, 39)] {
        let mut net = Net::pair(1, sealed);
        recorded(&mut net);
        net.send(0, 1, Class::Client, 100).unwrap();
        assert_eq!(recorded(&mut net), [100 + overhead], "at once, in one datagram");
    }
}

#[test]
fn messages_of_one_turn_share_datagrams_at_eight_bytes_each() {
    let mut net = Net::pair(2, false);
    recorded(&mut net);
    for _ in 0..10 {
        for class in [Class::Broadcast, Class::Client] {
            net.send(0, 1, class, 50).unwrap();
        }
    }
    let sizes = recorded(&mut net);
    assert_eq!(sizes.len(), 1);
    assert!(sizes[0] <= 22 + 20 * 58, "{sizes:?}");
}

#[test]
fn request_and_response_make_no_acknowledgement_of_their_own() {
    for sealed in [false, true] {
        let mut net = Net::pair(3, sealed);
        let before = net.stats(0).ack_only_out + net.stats(1).ack_only_out;
        recorded(&mut net);
        for round in 1..=100 {
            net.send(0, 1, Class::Client, 100).unwrap();
            net.run_until(SECOND, "request", |net| net.witness.deliveries == 2 * round - 1);
            net.send(1, 0, Class::Client, 100).unwrap();
            net.run_until(SECOND, "response", |net| net.witness.deliveries == 2 * round);
        }
        assert_eq!(recorded(&mut net).len(), 200);
        net.run(SECOND);
        let after = net.stats(0).ack_only_out + net.stats(1).ack_only_out;
        assert_eq!(after - before, 1, "the last response is acknowledged when nothing followed it");
        assert_eq!(net.stats(0).packets_lost + net.stats(1).packets_lost, 0);
    }
}

#[test]
fn a_full_window_says_so_and_loses_nothing() {
    let mut net = Net::pair(4, false);
    net.cut(0, 1);
    let mut taken = 0;
    while net.send(0, 1, Class::Broadcast, 10_000) == Ok(()) {
        taken += 1;
    }
    let link = net.link(0, 1).unwrap();
    let window = Limits::default().classes[1].bytes;
    assert_eq!(taken, window / 10_000);
    assert!(net.hosts[0].endpoint.capacity(link, Class::Broadcast) < 10_000);
    assert_eq!(net.send(0, 1, Class::Broadcast, 10_000), Err(SendError::WouldBlock));
    assert_eq!(net.send(0, 1, Class::Client, 10_000), Ok(()), "classes do not fill each other");
    net.run(60 * SECOND);
    assert_eq!(net.hosts[0].events.len(), 1);
    net.cuts.clear();
    let writable = LinkEvent::Writable { link, class: Class::Broadcast };
    net.run_until(3 * SECOND, "writable", |net| net.hosts[0].events.last() == Some(&writable));
    assert_eq!(net.send(0, 1, Class::Broadcast, 10_000), Ok(()));
    let all = taken as u64 + 2;
    net.run_until(60 * SECOND, "all", |net| net.witness.deliveries == all);
}

#[test]
fn messages_over_the_limit_are_refused_for_good() {
    let mut net = Net::pair(5, false);
    let link = net.link(0, 1).unwrap();
    for class in Class::ALL {
        let most = Limits::default().classes[class.index()].message_bytes;
        assert_eq!(net.send(0, 1, class, most + 1), Err(SendError::TooLong));
        assert_eq!(net.send(0, 1, class, most), Ok(()));
    }
    net.run_until(60 * SECOND, "the longest of all classes", |net| net.witness.deliveries == 4);
    let long = Bytes::from(vec![0; DATAGRAM_MAX_BYTES + 1]);
    assert_eq!(net.hosts[0].endpoint.send_datagram(net.now, link, long), Err(SendError::TooLong));
}

#[test]
fn who_does_not_fetch_slows_the_sender_down_and_starves_nobody() {
    for loss in [0.0, 0.02] {
        let mut net = Net::pair(6, false);
        net.faults.loss = loss;
        net.hosts[1].fetching = false;
        let mut sent = 0;
        for _ in 0..300 {
            while net.send(0, 1, Class::Client, 60_000) == Ok(()) {
                sent += 1;
            }
            net.run(100 * MS);
        }
        let window = Limits::default().classes[2].bytes as u64;
        assert!(sent * 60_000 <= 2 * window, "one window at the sender, one at the receiver: {sent}");
        let busy = net.hosts[0].sent + net.hosts[1].sent;
        net.run(60 * SECOND);
        let asked = net.hosts[0].sent + net.hosts[1].sent - busy;
        assert!(asked <= 60 * 6, "{asked} datagrams in a minute of waiting");
        net.send(0, 1, Class::Broadcast, 100).unwrap();
        net.hosts[1].fetching = true;
        net.run_until(60 * SECOND, "all", |net| net.witness.deliveries == sent + 1);
    }
}

#[test]
fn many_small_messages_wait_for_credit_and_arrive() {
    for class in Class::ALL {
        let mut net = Net::pair(7, false);
        net.faults.loss = 0.1;
        let mut sent = 0;
        for _ in 0..200 {
            while sent < 40_000 && net.send(0, 1, class, 8) == Ok(()) {
                sent += 1;
            }
            net.run(50 * MS);
        }
        assert_eq!(sent, 40_000, "{class:?}");
        net.run_until(30 * SECOND, "all", |net| net.witness.deliveries == sent);
    }
}

#[test]
fn a_snapshot_does_not_hold_consensus_up() {
    let mut net = Net::pair(8, true);
    (0..2).for_each(|_| net.send(0, 1, Class::Bulk, 16 << 20).unwrap());
    net.run(200 * MS);
    let mut worst = Duration::ZERO;
    for _ in 0..50 {
        let (before, start) = (net.witness.deliveries, net.now);
        net.send(0, 1, Class::Broadcast, 1000).unwrap();
        net.send(0, 1, Class::Membership, 100).unwrap();
        net.run_until(SECOND, "consensus", |net| net.witness.deliveries == before + 2);
        worst = worst.max(net.now - start);
        net.run(3 * MS);
    }
    assert!(worst <= 2 * (MS + MS), "{worst:?} at a delay of 1 ms");
}

#[test]
fn classes_share_eight_to_three_to_one() {
    let mut net = Net::pair(9, false);
    net.record = Some(Vec::new());
    for class in [Class::Broadcast, Class::Client, Class::Bulk] {
        while net.send(0, 1, class, 500) == Ok(()) {
            if net.witness.sent(net.hosts[0].end, net.hosts[1].end, class) >= 4000 {
                break;
            }
        }
    }
    let (a, b) = (net.hosts[0].end, net.hosts[1].end);
    net.run_until(60 * SECOND, "a part", |net| net.witness.deliveries > 2400);
    let delivered = |class| net.witness.delivered(a, b, class) as f64;
    let (first, second, third) =
        (delivered(Class::Broadcast), delivered(Class::Client), delivered(Class::Bulk));
    assert!((2.2..3.2).contains(&(first / second)), "{first} to {second}");
    assert!((2.5..3.5).contains(&(second / third)), "{second} to {third}");
}

#[test]
fn heartbeats_go_on_while_the_window_is_full() {
    let mut net = Net::pair(10, false);
    net.faults.delay = 100 * MS;
    (0..2).for_each(|_| net.send(0, 1, Class::Bulk, 16 << 20).unwrap());
    net.run(90 * MS);
    let (link, before) = (net.link(0, 1).unwrap(), net.hosts[1].datagrams.len());
    assert_eq!(before, 0);
    for _ in 0..5 {
        net.hosts[0].endpoint.send_datagram(net.now, link, Bytes::from_static(b"alive")).unwrap();
        net.flush();
    }
    net.run(101 * MS);
    assert_eq!(net.hosts[1].datagrams.len(), 5);
}

#[test]
fn a_new_fair_loss_message_pushes_out_the_oldest() {
    let mut net = Net::pair(11, false);
    let link = net.link(0, 1).unwrap();
    for number in 0..100 {
        net.hosts[0].endpoint.send_datagram(net.now, link, message(number, 8)).unwrap();
    }
    net.run(SECOND);
    let most = Limits::default().datagrams as u64;
    let expected: Vec<Bytes> = (100 - most..100).map(|number| message(number, 8)).collect();
    assert_eq!(net.hosts[1].datagrams, expected);
    assert_eq!(net.stats(0).fair_loss_dropped, 100 - most);
}

#[test]
fn a_reordering_path_is_learned_and_not_taken_for_a_losing_one() {
    let mut net = Net::pair(12, false);
    net.faults = Faults { delay: 10 * MS, jitter: 10 * MS, ..Faults::default() };
    let mut before = (0, 0);
    for round in 1..=3 {
        net.send(0, 1, Class::Bulk, 4 << 20).unwrap();
        net.run_until(60 * SECOND, "4 MiB", |net| net.witness.deliveries == round);
        let now = (net.stats(0).packets_lost, net.stats(0).datagrams_out);
        let (lost, sent) = (now.0 - before.0, now.1 - before.1);
        assert!(
            lost * [1, 5, 50][round as usize - 1] < sent,
            "round {round}: {lost} of {sent} taken for lost"
        );
        before = now;
    }
}

#[test]
fn a_loss_that_was_none_costs_no_window() {
    let mut net = Net::pair(15, false);
    net.faults.delay = 20 * MS;
    net.send(0, 1, Class::Bulk, 16 << 20).unwrap();
    // A real loss ends slow start, in which the window would make good for anything.
    net.run(150 * MS);
    net.faults.loss = 0.02;
    net.run(21 * MS);
    net.faults.loss = 0.0;
    net.run(150 * MS);
    let (lost, spurious) = (net.stats(0).packets_lost, net.stats(0).packets_spuriously_lost);
    assert!(lost > spurious);
    let window = |net: &Net| {
        let link = net.hosts[0].endpoint.link(net.hosts[0].links[0]).unwrap();
        link.path.as_deref().unwrap().congestion.window()
    };
    // One burst is put out of order.
    net.faults.jitter = 5 * MS;
    let sent = net.hosts[0].sent;
    net.run_until(SECOND, "a burst", |net| net.hosts[0].sent >= sent + 5);
    net.faults.jitter = Duration::ZERO;
    let mut before = 0;
    let until = net.now + SECOND;
    while net.stats(0).packets_lost == lost {
        before = window(&net);
        assert!(net.step(until), "no loss");
    }
    assert!(window(&net) < before);
    net.run(20 * MS);
    let stats = net.stats(0);
    assert_eq!(stats.packets_lost - lost, stats.packets_spuriously_lost - spurious);
    assert!(window(&net) >= before, "{} after {before}", window(&net));
}

#[test]
fn a_healed_path_flows_again_within_about_a_second_and_a_dead_one_is_quiet() {
    for sealed in [false, true] {
        let mut net = Net::pair(13, sealed);
        for _ in 0..50 {
            net.send(0, 1, Class::Broadcast, 1000).unwrap();
            net.send(1, 0, Class::Client, 1000).unwrap();
        }
        net.cut(0, 1);
        net.run(10 * SECOND);
        let before = net.hosts[0].sent;
        net.run(600 * SECOND);
        let per_second = (net.hosts[0].sent - before) as f64 / 600.0;
        // Two or three probes, as the smallest window allows, and a HELLO.
        assert!(per_second <= 4.0, "{per_second} datagrams a second into the void");
        net.cuts.clear();
        let took = net.run_until(3 * SECOND, "flow", |net| net.witness.deliveries == 100);
        assert!(took <= 1300 * MS, "{took:?}");
    }
}

#[test]
fn one_way_cuts_lose_nothing_either() {
    let mut net = Net::pair(14, true);
    let (a, b) = (net.hosts[0].addr, net.hosts[1].addr);
    for (from, to) in [(a, b), (b, a)] {
        net.cuts = vec![(from, to)];
        for _ in 0..30 {
            net.send(0, 1, Class::Broadcast, 1000).unwrap();
            net.send(1, 0, Class::Client, 1000).unwrap();
            net.run(SECOND);
        }
    }
    net.cuts.clear();
    net.run_until(2 * SECOND, "flow", |net| net.witness.deliveries == 120);
}
