//! A datagram opens for those it was sealed for, unchanged, and for nobody else.

mod golden;
mod long;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::frame::{Class, Extent, Part, put_message};
use crate::ids::{Boot, NodeId};
use crate::keys::{Role, new_cluster_key};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x6861_7973),
        ..Default::default()
    }
}

const NETWORK: NetworkId = NetworkId([0x11; 16]);
const ALICE: LinkEnd = LinkEnd { node: NodeId([0xaa; 16]), boot: Boot(3) };
const BOB: LinkEnd = LinkEnd { node: NodeId([0xbb; 16]), boot: Boot(0) };
const ASSOCIATION: Association = Association {
    version: 1,
    network: NETWORK,
    initiator: ALICE,
    responder: BOB,
    random_a: [0x0a; 16],
    random_b: [0x0b; 16],
};
const CID: ConnectionId = ConnectionId(0x0102_0304_0506_0708);

fn cluster() -> KeyRing {
    KeyRing::from_file_text(&new_cluster_key(core::array::from_fn(|index| index as u8))).unwrap()
}

/// Without keys, and with the cluster key.
fn rings() -> [KeyRing; 2] {
    [KeyRing::empty(), cluster()]
}

/// Both directions, with the key that daemons use.
fn sealers(keys: &KeyRing, association: &Association) -> (Sealer, Sealer) {
    Sealer::derive(keys, keys.active(Role::Peer).unwrap(), association).unwrap()
}

fn seal(sealer: &mut Sealer, packet_number: u64, frames: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let draft = sealer.start(&mut out, CID, packet_number, false).unwrap();
    out.extend_from_slice(frames);
    sealer.finish(&mut out, draft);
    out
}

/// Opens a copy, and keeps only what went wrong or the frames.
fn open(sealer: &Sealer, datagram: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut copy = datagram.to_vec();
    sealer.open(&mut copy).map(|opened| opened.frames.to_vec())
}

#[test]
fn a_lone_message_of_100_bytes_costs_27_more_and_39_sealed() {
    for (keys, cost) in rings().iter().zip([27, 39]) {
        let (mut out_way, _) = sealers(keys, &ASSOCIATION);
        let mut frames = Vec::new();
        put_message(&mut frames, Class::Client, 1 << 40, Part::Whole, &[7; 100], Extent::Rest);
        assert_eq!(seal(&mut out_way, 1 << 40, &frames).len(), 100 + cost);
        assert_eq!(out_way.overhead() + 5, cost);
    }
}

#[test]
fn what_was_sealed_opens_with_its_number_and_wish() {
    for keys in rings() {
        let (mut sealer, _) = sealers(&keys, &ASSOCIATION);
        let (opener, _) = sealers(&keys, &ASSOCIATION);
        for (packet_number, immediate_ack) in [(0, true), (1, false), (VARINT_MAX, true)] {
            let mut out = b"another datagram".to_vec();
            let draft = sealer.start(&mut out, CID, packet_number, immediate_ack).unwrap();
            assert_eq!((draft.start(), draft.frames_start()), (16, 16 + SHORT_HEADER_BYTES));
            out.extend_from_slice(b"frames");
            sealer.finish(&mut out, draft);
            let datagram = &mut out[16..];
            assert_eq!(datagram.len(), 6 + sealer.overhead());
            assert_eq!(peek(datagram), Ok(Peeked::Short { dst_cid: CID, packet_number }));
            let opened = Opened { packet_number, immediate_ack, frames: b"frames" };
            assert_eq!(opener.open(datagram), Ok(opened));
        }
    }
}

#[test]
fn datagrams_without_frames_open_and_shorter_ones_do_not() {
    for keys in rings() {
        let (mut sealer, _) = sealers(&keys, &ASSOCIATION);
        let whole = seal(&mut sealer, 1, b"");
        assert_eq!(open(&sealer, &whole), Ok(Vec::new()));
        assert!((0..whole.len()).all(|len| open(&sealer, &whole[..len]) == Err(DropReason::Short)));
    }
}

#[test]
fn no_datagram_opens_with_a_bit_turned_a_byte_more_or_a_byte_less() {
    for keys in rings() {
        let (mut sealer, _) = sealers(&keys, &ASSOCIATION);
        let mut whole = Vec::new();
        let draft = sealer.start(&mut whole, CID, 77, true).unwrap();
        put_message(&mut whole, Class::Client, 9, Part::Whole, &[7; 100], Extent::Rest);
        sealer.finish(&mut whole, draft);
        for bit in 0..whole.len() * 8 {
            let mut turned = whole.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&sealer, &turned).is_err(), "bit {bit}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(open(&sealer, &longer), Err(DropReason::Authentic));
        assert_eq!(open(&sealer, &whole[..whole.len() - 1]), Err(DropReason::Authentic));
        assert!(open(&sealer, &whole).is_ok());
    }
}

#[test]
fn reserved_bits_are_ignored_but_covered() {
    for keys in rings() {
        let (mut sealer, _) = sealers(&keys, &ASSOCIATION);
        let mut out = Vec::new();
        let draft = sealer.start(&mut out, CID, 5, false).unwrap();
        assert_eq!(out[0] & 0x07, 0, "reserved bits are sent 0");
        out[0] |= 0x07;
        sealer.finish(&mut out, draft);
        assert_eq!(open(&sealer, &out), Ok(Vec::new()));
        out[0] &= !0x01;
        assert_eq!(open(&sealer, &out), Err(DropReason::Authentic));
    }
}

#[test]
fn the_wrong_direction_never_opens() {
    for keys in rings() {
        let (mut out_way, mut back) = sealers(&keys, &ASSOCIATION);
        let there = seal(&mut out_way, 1, b"frames");
        let here = seal(&mut back, 1, b"frames");
        assert_eq!(open(&back, &there), Err(DropReason::Authentic));
        assert_eq!(open(&out_way, &here), Err(DropReason::Authentic));
    }
}

#[test]
fn another_association_never_opens() {
    let other = |change: fn(&mut Association)| {
        let mut association = ASSOCIATION;
        change(&mut association);
        association
    };
    let others = [
        other(|a| a.network.0[15] ^= 1),
        other(|a| a.initiator.node.0[0] ^= 1),
        other(|a| a.initiator.boot.0 += 1),
        other(|a| a.responder.node.0[15] ^= 0x80),
        other(|a| a.responder.boot.0 += 1),
        other(|a| a.random_a[0] ^= 1),
        other(|a| a.random_b[15] ^= 1),
        other(|a| core::mem::swap(&mut a.initiator, &mut a.responder)),
        other(|a| core::mem::swap(&mut a.random_a, &mut a.random_b)),
    ];
    for keys in rings() {
        let datagram = seal(&mut sealers(&keys, &ASSOCIATION).0, 1, b"frames");
        for association in &others {
            let (out_way, back) = sealers(&keys, association);
            assert_eq!(open(&out_way, &datagram), Err(DropReason::Authentic), "{association:?}");
            assert_eq!(open(&back, &datagram), Err(DropReason::Authentic), "{association:?}");
        }
        let later = other(|a| a.version = 2);
        assert_eq!(open(&sealers(&keys, &later).0, &datagram), Err(DropReason::Version));
        let mut renamed = datagram.clone();
        renamed[1] = 2;
        assert_eq!(open(&sealers(&keys, &later).0, &renamed), Err(DropReason::Authentic));
    }
}

#[test]
fn another_key_never_opens() {
    let datagram = seal(&mut sealers(&cluster(), &ASSOCIATION).0, 1, b"frames");
    let stranger = KeyRing::from_file_text(&new_cluster_key([9; 32])).unwrap();
    assert_eq!(open(&sealers(&stranger, &ASSOCIATION).0, &datagram), Err(DropReason::Authentic));
    let client = cluster().active(Role::Client(crate::keys::Rights::ALL)).unwrap();
    let (as_client, _) = Sealer::derive(&cluster(), client, &ASSOCIATION).unwrap();
    assert_eq!(open(&as_client, &datagram), Err(DropReason::Authentic));
}

#[test]
fn the_sealed_and_the_unsealed_refuse_each_other() {
    let (mut plain, _) = sealers(&KeyRing::empty(), &ASSOCIATION);
    let (mut sealed, _) = sealers(&cluster(), &ASSOCIATION);
    let (plain_datagram, sealed_datagram) = (seal(&mut plain, 1, &[1; 20]), seal(&mut sealed, 1, &[1; 20]));
    assert_eq!(open(&sealed, &plain_datagram), Err(DropReason::Unsealed));
    assert_eq!(open(&plain, &sealed_datagram), Err(DropReason::Sealed));
    assert!(Sealer::derive(&cluster(), KeyId::NONE, &ASSOCIATION).is_err(), "a ring never goes unsealed");
    assert!(Sealer::derive(&cluster(), KeyId(1), &ASSOCIATION).is_err());
    assert!(Sealer::derive(&KeyRing::empty(), KeyId(1), &ASSOCIATION).is_err());
}

#[test]
fn the_other_key_phase_is_dropped_and_counted_as_such() {
    for keys in rings() {
        let (mut sealer, _) = sealers(&keys, &ASSOCIATION);
        let mut datagram = seal(&mut sealer, 1, b"frames");
        datagram[0] |= KEY_PHASE;
        assert_eq!(open(&sealer, &datagram), Err(DropReason::KeyPhase));
    }
}

#[test]
fn long_datagrams_and_hints_are_no_short_ones() {
    let mut out = Vec::new();
    crate::datagram::put_reset(&mut out, 100, CID, NETWORK, &cluster());
    let (sealer, _) = sealers(&cluster(), &ASSOCIATION);
    assert_eq!(open(&sealer, &out), Err(DropReason::Kind));
}

#[test]
#[should_panic(expected = "was used before")]
fn a_packet_number_is_never_sealed_twice() {
    let (mut sealer, _) = sealers(&cluster(), &ASSOCIATION);
    seal(&mut sealer, 7, b"");
    seal(&mut sealer, 7, b"");
}

#[test]
#[should_panic(expected = "was used before")]
fn packet_numbers_only_ascend() {
    let (mut sealer, _) = sealers(&cluster(), &ASSOCIATION);
    seal(&mut sealer, 7, b"");
    seal(&mut sealer, 6, b"");
}

#[test]
fn no_packet_number_of_2_to_the_62_is_sealed_or_opened() {
    for keys in rings() {
        let (mut sealer, _) = sealers(&keys, &ASSOCIATION);
        let mut out = Vec::new();
        for number in [1 << 62, u64::MAX] {
            assert_eq!(sealer.start(&mut out, CID, number, false).err(), Some(SealError::Exhausted));
            assert!(out.is_empty());
            let mut datagram = seal(&mut sealers(&keys, &ASSOCIATION).0, 1, b"frames");
            datagram[10..18].copy_from_slice(&u64::to_be_bytes(number));
            assert_eq!(open(&sealer, &datagram), Err(DropReason::PacketNumber));
        }
        let last = seal(&mut sealer, VARINT_MAX, b"x");
        assert_eq!(open(&sealer, &last), Ok(b"x".to_vec()));
    }
}

/// Frames stay where they are and the buffer stays the same one, in both directions.
#[test]
fn sealing_and_opening_happen_in_place() {
    for keys in rings() {
        let (mut sealer, _) = sealers(&keys, &ASSOCIATION);
        let mut buffer = Vec::with_capacity(1200);
        let (place, capacity) = (buffer.as_ptr(), buffer.capacity());
        for packet_number in 0..10 {
            buffer.clear();
            let draft = sealer.start(&mut buffer, CID, packet_number, false).unwrap();
            buffer.resize(1200 - sealer.trailer(), 7);
            sealer.finish(&mut buffer, draft);
            assert_eq!((buffer.as_ptr(), buffer.capacity(), buffer.len()), (place, capacity, 1200));
            let frames = sealer.open(&mut buffer).unwrap().frames.as_ptr();
            assert_eq!(frames as usize, place as usize + SHORT_HEADER_BYTES);
        }
    }
}

#[test]
fn sealed_frames_cannot_be_read_and_differ_by_packet_number() {
    let (mut sealer, _) = sealers(&cluster(), &ASSOCIATION);
    let frames = [0; 64];
    let (first, second) = (seal(&mut sealer, 1, &frames), seal(&mut sealer, 2, &frames));
    assert!(first[18..82] != frames && first[18..82] != second[18..82]);
}

#[test]
fn nothing_shows_a_key() {
    let (sealer, _) = sealers(&cluster(), &ASSOCIATION);
    assert_eq!(format!("{sealer:?}"), "Sealer { sealed: true, next: 0, .. }");
    assert_eq!(format!("{:?}", CookieKey::new([7; 32])), "CookieKey(..)");
}

mod cookies {
    use super::*;
    use crate::time::{Duration, Instant};
    use core::net::SocketAddr;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_its_bearer_at_its_address_for_a_while() {
        let key = CookieKey::new([7; 32]);
        let now = Instant::from_nanos(5_000_000_000);
        let home = addr("192.0.2.1:7400");
        let cookie = key.mint(now, home, ALICE);
        assert!(cookie.len() <= crate::datagram::COOKIE_MAX_BYTES);
        assert!(key.check(now, home, ALICE, &cookie));
        assert!(key.check(now + COOKIE_LIFETIME, home, ALICE, &cookie));
        // A socket for both families names an IPv4 address as an IPv6 one.
        assert!(key.check(now, addr("[::ffff:192.0.2.1]:7400"), ALICE, &cookie));

        assert!(!key.check(now + COOKIE_LIFETIME + Duration::from_nanos(1), home, ALICE, &cookie));
        assert!(!key.check(Instant::ZERO, home, ALICE, &cookie), "made in the future");
        assert!(!key.check(now, addr("192.0.2.1:7401"), ALICE, &cookie));
        assert!(!key.check(now, addr("192.0.2.2:7400"), ALICE, &cookie));
        assert!(!key.check(now, home, BOB, &cookie));
        assert!(!key.check(now, home, LinkEnd { boot: Boot(4), ..ALICE }, &cookie));
        assert!(!CookieKey::new([8; 32]).check(now, home, ALICE, &cookie));
    }

    #[test]
    fn a_changed_or_cut_cookie_is_no_good() {
        let key = CookieKey::new([7; 32]);
        let now = Instant::from_nanos(5_000_000_000);
        let home = addr("[2001:db8::1]:7400");
        let cookie = key.mint(now, home, ALICE);
        for bit in 0..cookie.len() * 8 {
            let mut changed = cookie;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.check(now, home, ALICE, &changed), "bit {bit}");
        }
        assert!((0..cookie.len()).all(|len| !key.check(now, home, ALICE, &cookie[..len])));
        assert!(!key.check(now, home, ALICE, &[&cookie[..], &[0]].concat()));
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn any_frames_come_back(frames in vec(any::<u8>(), 0..1500), number in 0..=VARINT_MAX, with_keys: bool) {
        let (mut sealer, _) = sealers(&rings()[usize::from(with_keys)], &ASSOCIATION);
        let datagram = seal(&mut sealer, number, &frames);
        prop_assert_eq!(datagram.len(), frames.len() + sealer.overhead());
        prop_assert_eq!(open(&sealer, &datagram), Ok(frames));
    }

    #[test]
    fn any_bytes_are_refused(
        mut bytes in vec(any::<u8>(), 0..200), with_keys: bool, header: bool,
        flips in vec((any::<prop::sample::Index>(), 1u8..), 0..4),
    ) {
        let (mut sealer, _) = sealers(&rings()[usize::from(with_keys)], &ASSOCIATION);
        let valid = seal(&mut sealer, 77, b"frames of some length");
        if header {
            let keep = SHORT_HEADER_BYTES.min(bytes.len());
            bytes[..keep].copy_from_slice(&valid[..keep]);
        } else if let [(at, bits), ..] = &flips[..] {
            let at = at.index(valid.len());
            bytes = valid.clone();
            bytes[at] ^= bits;
        }
        prop_assert!(open(&sealer, &bytes).is_err());
    }
}
