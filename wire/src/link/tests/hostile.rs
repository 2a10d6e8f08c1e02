//! Forged, replayed and foreign datagrams: counted, never believed, never answered with more than they were.

use std::net::SocketAddr;

use super::super::*;
use super::net::*;
use crate::datagram::{
    ConnectionId, DropReason, LongKind, Parameters, Peeked, VERSION, VERSIONS, Versions, peek,
};
use crate::frame::{Class, Extent, Frame, Part, put_ack, put_message};
use crate::ids::{Boot, LinkEnd, NodeId};
use crate::keys::Role;
use crate::rng::Rng;
use crate::seal::{Envelope, LongSealer};

/// A process that speaks the wire and does as it likes.
struct Stranger {
    end: LinkEnd,
    sealer: LongSealer,
    addr: SocketAddr,
    id: ConnectionId,
    random: [u8; 16],
}

impl Stranger {
    fn new(net: &mut Net, addr: SocketAddr) -> Self {
        let end = LinkEnd { node: NodeId(net.rng.bytes()), boot: Boot(0) };
        let sealer = LongSealer::new(NETWORK, end, Role::Peer, net.keys(), net.rng.bytes()).unwrap();
        Self { end, sealer, addr, id: ConnectionId(net.rng.u64() & !1), random: net.rng.bytes() }
    }

    fn hello(&mut self, cookie: Option<&[u8]>, versions: Versions) -> Vec<u8> {
        let envelope = Envelope {
            kind: LongKind::Hello,
            version: VERSION,
            dst_cid: ConnectionId(0),
            src_cid: self.id,
            key_id: self.sealer.active_key(),
            receiver: None,
        };
        let random = Some(self.random);
        let parameters = Parameters { versions: Some(versions), random, cookie, ..Parameters::default() };
        let mut out = Vec::new();
        self.sealer.seal(&mut out, &envelope, &parameters).unwrap();
        out
    }

    /// Sends a HELLO and returns the answers to its address.
    fn call(&mut self, net: &mut Net, cookie: Option<&[u8]>) -> Vec<Vec<u8>> {
        let hello = self.hello(cookie, VERSIONS);
        self.deliver(net, &hello)
    }

    fn deliver(&self, net: &mut Net, datagram: &[u8]) -> Vec<Vec<u8>> {
        net.record = Some(Vec::new());
        net.inject(0, self.addr, datagram);
        net.flush();
        let answers: Vec<_> = net.record.take().unwrap();
        assert!(answers.iter().all(|wire| wire.to == self.addr), "only the packet's own source is answered");
        let out: usize = answers.iter().map(|wire| wire.bytes.len()).sum();
        assert!(out <= datagram.len(), "{out} bytes for {}", datagram.len());
        answers.into_iter().map(|wire| wire.bytes).collect()
    }

    fn cookie(&mut self, net: &mut Net) -> Vec<u8> {
        let mut answers = self.call(net, None);
        assert_eq!(answers.len(), 1);
        let opened = self.sealer.open(&mut answers[0]).unwrap();
        assert_eq!(opened.header.kind, LongKind::Retry);
        opened.parameters.cookie.unwrap().to_vec()
    }
}

fn daemon(seed: u64, sealed: bool) -> Net {
    let mut net = Net::new(seed, sealed);
    let setup = net.peer();
    net.add(setup);
    net
}

fn address(number: u32) -> SocketAddr {
    SocketAddr::from(([10, 7, (number >> 8) as u8, number as u8], 1000))
}

#[test]
fn an_unvalidated_source_gets_a_cookie_and_is_not_remembered() {
    for sealed in [false, true] {
        let mut net = daemon(1, sealed);
        for number in 0..1000 {
            let mut stranger = Stranger::new(&mut net, address(number));
            stranger.cookie(&mut net);
        }
        assert_eq!((net.stats(0).half_open, net.stats(0).links), (0, 0));
        // A cookie is worth something only at the address, for the process and in the time it was made for.
        let mut stranger = Stranger::new(&mut net, address(1));
        let cookie = stranger.cookie(&mut net);
        stranger.addr = address(2);
        stranger.call(&mut net, Some(&cookie));
        let mut other = Stranger::new(&mut net, address(1));
        other.call(&mut net, Some(&cookie));
        assert_eq!(net.stats(0).half_open, 0);
        stranger.addr = address(1);
        net.run(11 * SECOND);
        stranger.call(&mut net, Some(&cookie));
        assert_eq!((net.stats(0).half_open, net.stats(0).welcome_out), (0, 0));
    }
}

#[test]
fn half_open_handshakes_are_bounded_and_make_room_in_time() {
    for sealed in [false, true] {
        let mut net = daemon(2, sealed);
        let limit = Limits::default().half_open as u64;
        for number in 0..400 {
            let mut stranger = Stranger::new(&mut net, address(number));
            let cookie = stranger.cookie(&mut net);
            let answers = stranger.call(&mut net, Some(&cookie));
            assert_eq!(answers.len(), 1, "a WELCOME, or a RETRY in its place");
            // The same again changes nothing.
            stranger.call(&mut net, Some(&cookie));
            assert!(net.stats(0).half_open <= limit);
        }
        assert_eq!(net.stats(0).half_open, limit);
        assert_eq!(net.stats(0).half_open_full, 2 * (400 - limit));
        let setup = net.peer();
        net.add(setup);
        net.connect(1, 0);
        net.run_until(15 * SECOND, "an honest one gets in", |net| net.is_established(0, 1));
        net.run(11 * SECOND);
        assert_eq!((net.stats(0).half_open, net.stats(0).links), (0, 1));
    }
}

#[test]
fn handshakes_that_replace_each_other_leave_no_timers_behind() {
    let mut net = daemon(3, true);
    let mut stranger = Stranger::new(&mut net, address(1));
    let cookie = stranger.cookie(&mut net);
    for _ in 0..100 {
        stranger.random = net.rng.bytes();
        stranger.call(&mut net, Some(&cookie));
        net.now += MS;
    }
    assert_eq!((net.stats(0).half_open, net.hosts[0].endpoint.timers.len()), (1, 1));
    net.run(11 * SECOND);
    assert_eq!((net.stats(0).half_open, net.hosts[0].endpoint.poll_timeout()), (0, None));
}

#[test]
fn replayed_datagrams_of_all_kinds_do_nothing() {
    for sealed in [false, true] {
        let mut net = Net::new(3, sealed);
        let setup = net.peer();
        net.add(setup.clone());
        net.add(setup);
        net.record = Some(Vec::new());
        net.connect(0, 1);
        net.run(SECOND);
        for class in Class::ALL {
            net.send(0, 1, class, 3000).unwrap();
            net.send(1, 0, class, 3000).unwrap();
        }
        net.run(SECOND);
        let record = net.record.take().unwrap();
        let heard = |net: &Net, host: usize| {
            let link = net.hosts[host].links[0];
            net.hosts[host].endpoint.remote(link).unwrap().last_heard
        };
        let before = (heard(&net, 0), heard(&net, 1), net.witness.deliveries);
        for _ in 0..3 {
            for wire in &record {
                let host = usize::from(wire.to == net.hosts[1].addr);
                net.inject(host, wire.from, &wire.bytes);
                net.flush();
            }
            net.run(100 * MS);
        }
        let after = (heard(&net, 0), heard(&net, 1), net.witness.deliveries);
        // What the replayed HELLOs made the two say to each other is fresh, but none of it is a handshake.
        assert_eq!(before.2, after.2);
        for host in [0, 1] {
            assert_eq!(net.stats(host).handshakes, 1, "an established session is not torn down");
            assert_eq!(net.hosts[host].events.len(), 1);
        }
        net.run(12 * SECOND);
        assert_eq!(net.stats(1).half_open, 0);
        net.send(0, 1, Class::Client, 100).unwrap();
        net.run(SECOND);
        assert_eq!(net.witness.deliveries, before.2 + 1);
    }
}

#[test]
fn old_packets_are_no_sign_of_life() {
    let mut net = Net::pair(4, true);
    net.record = Some(Vec::new());
    for _ in 0..20 {
        net.send(1, 0, Class::Client, 100).unwrap();
        net.run(10 * MS);
    }
    let record = net.record.take().unwrap();
    let link = net.link(0, 1).unwrap();
    let before = net.hosts[0].endpoint.remote(link).unwrap().last_heard;
    net.run(SECOND);
    let from = net.hosts[1].addr;
    for wire in record.iter().filter(|wire| wire.from == from) {
        net.inject(0, from, &wire.bytes);
    }
    assert_eq!(net.hosts[0].endpoint.remote(link).unwrap().last_heard, before);
    assert!(net.stats(0).drop_duplicate >= 20);
}

#[test]
fn resets_are_smaller_than_their_cause_and_ten_a_second_to_one_address() {
    for sealed in [false, true] {
        let mut net = daemon(5, sealed);
        let stranger = Stranger::new(&mut net, address(1));
        let mut answers = 0;
        for _ in 0..1000 {
            let mut packet = vec![if sealed { 0x60 } else { 0x40 }, VERSION];
            packet.extend(net.rng.bytes::<60>());
            packet[10] = 0;
            let len = 32 + net.rng.below(30) as usize;
            let got = stranger.deliver(&mut net, &packet[..len]);
            assert!(got.iter().all(|reset| reset.len() < len));
            assert!(got.iter().all(|reset| matches!(peek(reset), Ok(Peeked::Reset(_)))));
            answers += got.len();
        }
        assert_eq!(answers, 10);
        net.run(2 * SECOND);
        let mut smallest = [0; 19];
        smallest[0] = if sealed { 0x60 } else { 0x40 };
        assert!(stranger.deliver(&mut net, &smallest).is_empty());
        assert_eq!(net.stats(0).reset_out + net.stats(0).reset_suppressed, 1001);
        for number in 0..5000 {
            let stranger = Stranger::new(&mut net, address(number));
            stranger.deliver(&mut net, &[0x40; 60]);
        }
        net.run(SECOND);
        assert!(net.stats(0).reset_out <= 10 + 1024, "addresses that are counted are bounded");
    }
}

#[test]
fn a_forged_reset_provokes_nothing_and_a_true_one_a_hello() {
    let mut net = Net::pair(6, true);
    let link = net.link(0, 1).unwrap();
    let (from, id) = {
        let path = net.hosts[0].endpoint.link(link).unwrap().path.as_deref().unwrap();
        (path.agreed.addr, path.agreed.remote_id)
    };
    let hellos = net.stats(0).hello_out;
    let mut forged = Vec::new();
    let other = crate::keys::KeyRing::from_file_text(&crate::keys::new_cluster_key([8; 32])).unwrap();
    let id = ConnectionId(id.0 & !1);
    assert!(crate::datagram::put_reset(&mut forged, 100, id, NETWORK, &other));
    net.inject(0, from, &forged);
    let mut stale = Vec::new();
    crate::datagram::put_reset(&mut stale, 100, ConnectionId(4), NETWORK, &net.keys());
    net.inject(0, from, &stale);
    net.flush();
    assert_eq!(net.stats(0).hello_out, hellos);
    let mut real = Vec::new();
    crate::datagram::put_reset(&mut real, 100, id, NETWORK, &net.keys());
    // Many of them are one hint.
    (0..20).for_each(|_| net.inject(0, from, &real));
    net.flush();
    assert_eq!(net.stats(0).hello_out, hellos + 1);
    net.send(0, 1, Class::Client, 10).unwrap();
    net.run(SECOND);
    assert_eq!((net.witness.deliveries, net.hosts[0].events.len()), (1, 1), "a hint, not a verdict");
}

#[test]
fn another_version_is_told_which_are_spoken() {
    let mut net = daemon(7, true);
    let mut stranger = Stranger::new(&mut net, address(1));
    let mut future = stranger.hello(None, VERSIONS);
    future[1] = 9;
    let answers = stranger.deliver(&mut net, &future);
    let expected =
        Peeked::VersionNegotiation { dst_cid: stranger.id, src_cid: ConnectionId(0), versions: VERSIONS };
    assert_eq!(peek(&answers[0]), Ok(expected));
    assert!(stranger.deliver(&mut net, &future[..1199]).is_empty(), "a HELLO is never shorter");
    // In our version, with a range that only the future speaks.
    let far = stranger.hello(None, Versions { min: 7, max: 9 });
    assert_eq!(peek(&stranger.deliver(&mut net, &far)[0]), Ok(expected));
    // A wider range than ours agrees on what both speak.
    let wide = stranger.hello(None, Versions { min: 1, max: 9 });
    let answers = stranger.deliver(&mut net, &wide);
    assert!(matches!(peek(&answers[0]), Ok(Peeked::Long { version: VERSION, .. })));
}

#[test]
fn who_speaks_no_common_version_is_called_on_and_never_believed() {
    let mut net = daemon(8, false);
    let to = address(3);
    let now = net.now;
    net.record = Some(Vec::new());
    net.hosts[0].endpoint.connect(now, to);
    net.flush();
    let hello = net.record.take().unwrap().remove(0).bytes;
    let Ok(Peeked::Long { src_cid, .. }) = peek(&hello) else { panic!("no HELLO") };
    let mut answer = Vec::new();
    crate::datagram::put_version_negotiation(
        &mut answer,
        src_cid,
        ConnectionId(0),
        Versions { min: 5, max: 6 },
    );
    let before = net.stats(0).hello_out;
    (0..10).for_each(|_| net.inject(0, to, &answer));
    assert_eq!((net.stats(0).version_mismatch, net.stats(0).hello_out), (10, before));
    net.run(5 * SECOND);
    assert!(net.stats(0).hello_out > before + 3);
}

/// Sends frames of our making from host 0 to host 1.
fn say(net: &mut Net, frames: impl FnOnce(&mut Vec<u8>)) {
    let link = net.link(0, 1).unwrap();
    let path = net.hosts[0].endpoint.link_mut(link).unwrap().path.as_deref_mut().unwrap();
    let mut out = Vec::new();
    let number = path.sent.next();
    let draft = path.agreed.tx.start(&mut out, path.agreed.remote_id, number, false).unwrap();
    frames(&mut out);
    path.agreed.tx.finish(&mut out, draft);
    let outgoing = loss::Outgoing { bytes: out.len(), eliciting: true, acknowledges: 0 };
    path.sent.push(net.now, outgoing, &[]);
    let from = net.hosts[0].addr;
    net.inject(1, from, &out);
    net.flush();
}

#[test]
fn frames_of_later_versions_are_skipped_if_even_and_end_the_link_if_odd() {
    let mut net = Net::pair(9, true);
    for kind in (0x40..=0xfe).step_by(2) {
        say(&mut net, |out| {
            Frame::Unknown { kind, body: b"grease" }.encode(out);
            Frame::Ping.encode(out);
            Frame::Unknown { kind, body: b"" }.encode(out);
        });
    }
    assert_eq!(net.stats(1).unknown_frames, 2 * 96);
    net.run(SECOND);
    assert_eq!(net.stats(1).links, 1);
    say(&mut net, |out| Frame::Unknown { kind: 0x41, body: b"" }.encode(out));
    assert_eq!(net.hosts[1].downs(DownReason::Violation), 1);
    net.run(SECOND);
    assert_eq!(net.hosts[0].downs(DownReason::Closed), 1, "the other end was told");
}

#[test]
fn pieces_of_a_byte_count_what_it_takes_to_keep_them() {
    let mut net = Net::pair(10, true);
    for sequence in 0..100 {
        say(&mut net, |out| {
            for at in 0..100 {
                let part = Part::Piece { offset: 1 + 2 * at };
                put_message(out, Class::Client, sequence, part, b"x", Extent::Delimited);
            }
        });
    }
    let kept = net.hosts[1].endpoint.kept;
    assert!(kept >= 100 * 100 * 64, "{kept} bytes for 10,000 pieces");
    let whole = |out: &mut Vec<u8>, sequence| {
        put_message(out, Class::Client, sequence, Part::Whole, &[b'x'; 300], Extent::Rest);
    };
    net.hosts[1].fetching = false;
    (0..100).for_each(|sequence| say(&mut net, |out| whole(out, sequence)));
    assert_eq!(net.hosts[1].endpoint.kept, 0);
}

#[test]
fn what_no_honest_sender_sends_ends_the_link_and_nothing_else() {
    type Crime = fn(&mut Vec<u8>);
    let crimes: [Crime; 6] = [
        |out| {
            put_ack(out, 100, 0, [1_000_000..=1_000_000]);
        },
        |out| out.push(0x1f),
        |out| {
            let part = Part::Piece { offset: 5 << 20 };
            put_message(out, Class::Broadcast, 0, part, b"x", Extent::Rest);
        },
        |out| {
            let part = Part::Whole;
            put_message(out, Class::Client, 100_000, part, b"x", Extent::Rest);
        },
        |out| {
            let part = Part::Last { offset: 5, crc: 1 };
            put_message(out, Class::Bulk, 0, part, b"x", Extent::Delimited);
            let part = Part::Piece { offset: 0 };
            put_message(out, Class::Bulk, 0, part, b"12345", Extent::Rest);
        },
        |out| {
            let part = Part::Piece { offset: 0 };
            for sequence in 0..400 {
                let body = [7; 3000];
                put_message(out, Class::Membership, sequence, part, &body, Extent::Delimited);
            }
        },
    ];
    for (at, crime) in crimes.into_iter().enumerate() {
        let mut net = Net::pair(10 + at as u64, true);
        say(&mut net, crime);
        assert_eq!(net.hosts[1].downs(DownReason::Violation), 1, "crime {at}");
        net.run(2 * SECOND);
        assert!(net.is_established(1, 0), "crime {at}: a new session follows");
        assert_eq!(net.hosts[1].endpoint.kept, 0);
    }
}

#[test]
fn any_bytes_from_anywhere_are_survived() {
    for sealed in [false, true] {
        let mut net = Net::new(20, sealed);
        let setup = net.peer();
        net.add(setup.clone());
        net.add(setup);
        net.record = Some(Vec::new());
        net.connect(0, 1);
        for class in Class::ALL {
            net.run(SECOND);
            net.send(0, 1, class, 2000).unwrap();
        }
        net.run(SECOND);
        let record = net.record.take().unwrap();
        let mut rng = Rng::from_u64(77);
        for _ in 0..30_000 {
            let mut bytes = match rng.below(3) {
                0 => (0..rng.below(100)).map(|_| rng.u64() as u8).collect(),
                _ => record[rng.below(record.len() as u64) as usize].bytes.clone(),
            };
            for _ in 0..rng.below(4) {
                if !bytes.is_empty() {
                    let at = rng.below(bytes.len().min(100) as u64) as usize;
                    bytes[at] = rng.u64() as u8;
                }
            }
            if rng.chance(0.2) {
                bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
            }
            let from = net.hosts[0].addr;
            net.inject(1, if rng.chance(0.5) { from } else { address(rng.below(100) as u32) }, &bytes);
            if rng.chance(0.01) {
                net.run(MS);
            }
        }
        net.run(30 * SECOND);
        net.send(0, 1, Class::Client, 100).unwrap();
        net.run(3 * SECOND);
        assert_eq!(net.witness.deliveries, 5);
        assert_eq!(net.hosts[1].links.len(), 1);
        assert!(net.stats(1).dropped[DropReason::Authentic.index()] > 1000);
    }
}

#[test]
fn one_process_cannot_pass_for_another_in_the_third_leg() {
    let mut net = daemon(21, true);
    let mut stranger = Stranger::new(&mut net, address(1));
    let cookie = stranger.cookie(&mut net);
    let mut answers = stranger.call(&mut net, Some(&cookie));
    let opened = stranger.sealer.open(&mut answers[0]).unwrap();
    assert_eq!(opened.header.kind, LongKind::Welcome);
    assert_eq!(opened.header.sender(), net.hosts[0].end);
    let id = opened.header.src_cid;
    let mut forged = vec![0x60, VERSION];
    forged.extend(id.0.to_be_bytes());
    forged.extend([0; 40]);
    assert!(stranger.deliver(&mut net, &forged).is_empty());
    stranger.addr = address(2);
    assert!(stranger.deliver(&mut net, &forged).is_empty());
    assert_eq!((net.stats(0).links, net.stats(0).half_open), (0, 1), "still waiting for {:?}", stranger.end);
}
