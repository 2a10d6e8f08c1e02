//! What all versions share has its bytes for ever, parameters come back, and everything else is refused.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::parameters::{COOKIE_TYPE, CRITICAL, FEATURES_TYPE, GREASE_TYPE, RANDOM_TYPE, VERSIONS_TYPE};
use super::*;
use crate::keys::{KeyRing, ResetToken, new_cluster_key};

const NETWORK: NetworkId = NetworkId([0x11; 16]);

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x6861_7973),
        ..Default::default()
    }
}

fn cluster() -> KeyRing {
    KeyRing::from_file_text(&new_cluster_key(core::array::from_fn(|index| index as u8))).unwrap()
}

fn hex(digits: &str) -> Vec<u8> {
    let digit = |at| char::from(digits.as_bytes()[at]).to_digit(16).unwrap() as u8;
    (0..digits.len() / 2).map(|at| digit(2 * at) << 4 | digit(2 * at + 1)).collect()
}

fn verneg() -> Vec<u8> {
    let mut out = Vec::new();
    put_version_negotiation(&mut out, ConnectionId(0xc5), ConnectionId(0xd0), Versions { min: 1, max: 2 });
    out
}

fn reset(keys: &KeyRing) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(put_reset(&mut out, 100, ConnectionId(0x0102_0304_0506_0708), NETWORK, keys));
    out
}

fn peek_reset(datagram: &[u8]) -> Reset {
    let Ok(Peeked::Reset(reset)) = peek(datagram) else { panic!("no RESET: {datagram:02x?}") };
    reset
}

/// Computed by another program from the description of the module, like all golden bytes here.
#[test]
fn what_all_versions_share_has_its_golden_bytes() {
    assert_eq!(verneg(), hex("c000686179730600000000000000c500000000000000d0010268972f2c"));
    assert_eq!(reset(&KeyRing::empty()), hex("c0006861797305010203040506070807e18318"));
    assert_eq!(reset(&cluster()), hex("e0006861797305010203040506070848c4a25fecd45eed495c36c728fdb045"));
    let (dst_cid, src_cid) = (ConnectionId(0xc5), ConnectionId(0xd0));
    let versions = Versions { min: 1, max: 2 };
    assert_eq!(peek(&verneg()), Ok(Peeked::VersionNegotiation { dst_cid, src_cid, versions }));
}

#[test]
fn a_stranger_of_any_version_can_be_told_from_its_first_bytes() {
    let mut hello = hex("c0ff686179730100000000000000000000000000000009");
    hello.resize(HELLO_MIN_BYTES, 0x5a);
    let (dst_cid, src_cid) = (ConnectionId(0), ConnectionId(9));
    assert_eq!(peek(&hello), Ok(Peeked::Long { version: 255, kind: 1, dst_cid, src_cid }));
    assert!(verneg().len() < hello.len());
    let short = hex("4fff0102030405060708000000000000002a");
    let dst_cid = ConnectionId(0x0102_0304_0506_0708);
    assert_eq!(peek(&short), Ok(Peeked::Short { dst_cid, packet_number: 42 }));
}

#[test]
fn a_damaged_version_negotiation_is_refused() {
    for bit in 0..verneg().len() * 8 {
        let mut damaged = verneg();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(!matches!(peek(&damaged), Ok(Peeked::VersionNegotiation { .. })), "bit {bit}");
    }
    let mut longer = verneg();
    longer.push(0);
    assert_eq!(peek(&longer), Err(DropReason::Authentic));
}

#[test]
fn a_reset_is_shorter_than_its_trigger_or_not_sent() {
    for (keys, len) in [(KeyRing::empty(), 19), (cluster(), 31)] {
        assert_eq!(reset(&keys).len(), len);
        for trigger in 0..100 {
            let mut out = vec![7];
            assert_eq!(put_reset(&mut out, trigger, ConnectionId(1), NETWORK, &keys), trigger > len);
            assert_eq!(out.len(), 1 + if trigger > len { len } else { 0 });
        }
    }
    // The smallest datagram with a frame has 23 bytes unsealed and 35 sealed: it can always be answered.
    const { assert!(19 <= SHORT_HEADER_BYTES + CRC_BYTES && 31 <= SHORT_HEADER_BYTES + TAG_BYTES) };
}

#[test]
fn a_reset_proves_itself_to_those_who_were_told_its_token() {
    let unknown = ConnectionId(0x0102_0304_0506_0708);
    let sealed = peek_reset(&reset(&cluster()));
    let token = cluster().reset_token(NETWORK, unknown).unwrap();
    assert_eq!(sealed.unknown, unknown);
    assert_eq!(sealed.verify(NETWORK, Some(&token)), Ok(()));
    assert_eq!(sealed.verify(NETWORK, Some(&ResetToken([0; 16]))), Err(DropReason::Authentic));
    assert_eq!(sealed.verify(NETWORK, None), Err(DropReason::Sealed));

    let unsealed = peek_reset(&reset(&KeyRing::empty()));
    assert_eq!(unsealed.unknown, unknown);
    assert_eq!(unsealed.verify(NETWORK, None), Ok(()));
    assert_eq!(unsealed.verify(NetworkId([0x12; 16]), None), Err(DropReason::Authentic));
    assert_eq!(unsealed.verify(NETWORK, Some(&token)), Err(DropReason::Unsealed));
}

#[test]
fn a_damaged_reset_proves_nothing() {
    let token = cluster().reset_token(NETWORK, ConnectionId(0x0102_0304_0506_0708)).unwrap();
    let told = |unknown| cluster().reset_token(NETWORK, unknown).unwrap();
    for (whole, told_token) in [(reset(&KeyRing::empty()), None), (reset(&cluster()), Some(&token))] {
        for bit in (0..whole.len() * 8).filter(|bit| told_token.is_none() || bit / 8 > 0) {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(Peeked::Reset(reset)) = peek(&damaged) {
                let expected = told_token.map(|_| told(reset.unknown));
                assert!(reset.verify(NETWORK, expected.as_ref()).is_err(), "bit {bit}");
            }
        }
        assert!((0..whole.len()).all(|len| peek(&whole[..len]).is_err()));
    }
}

#[test]
fn versions_agree_on_the_minimum_of_the_maxima() {
    let range = |min, max| Versions { min, max };
    assert_eq!(range(1, 2).agree(range(2, 3)), Some(2));
    assert_eq!(range(2, 3).agree(range(1, 2)), Some(2));
    assert_eq!(range(1, 2).agree(range(3, 4)), None);
    assert_eq!(range(3, 4).agree(range(1, 2)), None);
    assert_eq!(range(1, 1).agree(range(1, 1)), Some(1));
    assert_eq!(range(1, 4).agree(range(3, 2)), None, "an empty range");
    assert!(VERSIONS.contains(VERSION) && !VERSIONS.contains(VERSION_SHARED));
}

#[test]
fn parameters_have_their_golden_bytes() {
    let parameters = Parameters {
        versions: Some(Versions { min: 1, max: 2 }),
        features: Some(5),
        random: Some([0x0a; 16]),
        cookie: Some(b"ck"),
        reset_token: Some(ResetToken([0x0b; 16])),
        session: Some(9),
        message: Some(b"hay"),
    };
    let mut out = Vec::new();
    parameters.encode(&mut out);
    let ten = "0a".repeat(16);
    let eleven = "0b".repeat(16);
    let golden = format!(
        "800100020102 000200080000000000000005 80030010{ten} 00040002636b 00050010{eleven} \
         800600080000000000000009 80070003686179"
    );
    assert_eq!(out, hex(&golden.replace(' ', "")));
    assert_eq!(Parameters::decode(&out), Ok(parameters));
    assert_eq!(Parameters::decode(b""), Ok(Parameters::default()));
}

#[test]
fn unknown_parameters_are_skipped_unless_critical() {
    for kind in (0..CRITICAL).filter(|kind| ![FEATURES_TYPE, COOKIE_TYPE, 5].contains(kind)) {
        let mut bytes = vec![(kind >> 8) as u8, kind as u8, 0, 3, 1, 2, 3];
        bytes.extend([0, 2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(Parameters::decode(&bytes), Ok(Parameters { features: Some(7), ..Parameters::default() }));
    }
    for kind in [0x8000u16, 0x8002, 0x8004, 0x8005, 0x8008, CRITICAL | GREASE_TYPE, 0xffff] {
        let bytes = [(kind >> 8) as u8, kind as u8, 0, 0];
        assert_eq!(Parameters::decode(&bytes), Err(DecodeError::Invalid("critical parameter")));
    }
}

#[test]
fn parameters_twice_or_of_the_wrong_length_are_refused() {
    let of = |kind: u16, len: u16| {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend(len.to_be_bytes());
        bytes.resize(bytes.len() + usize::from(len), 7);
        bytes
    };
    let lengths = [(VERSIONS_TYPE, 2), (FEATURES_TYPE, 8), (RANDOM_TYPE, 16), (5, 16), (0x8006, 8)];
    for (kind, len) in lengths {
        assert!(Parameters::decode(&of(kind, len)).is_ok());
        assert!(matches!(Parameters::decode(&of(kind, len - 1)), Err(DecodeError::Truncated(_))));
        assert_eq!(Parameters::decode(&of(kind, len + 1)), Err(DecodeError::Trailing("parameter")));
        let twice = of(kind, len).repeat(2);
        assert_eq!(Parameters::decode(&twice), Err(DecodeError::Invalid("repeated parameter")));
    }
    let longest = of(COOKIE_TYPE, COOKIE_MAX_BYTES as u16);
    assert_eq!(Parameters::decode(&longest).unwrap().cookie.map(<[u8]>::len), Some(COOKIE_MAX_BYTES));
    let longer = of(COOKIE_TYPE, COOKIE_MAX_BYTES as u16 + 1);
    assert_eq!(Parameters::decode(&longer), Err(DecodeError::TooLong("cookie")));
    let cut = &of(RANDOM_TYPE, 16)[..10];
    assert_eq!(Parameters::decode(cut), Err(DecodeError::Truncated("parameter")));
}

#[test]
fn padding_reaches_its_length_and_means_nothing() {
    for missing in 0..20 {
        let mut out = vec![9; 3];
        put_grease(&mut out, 3, missing, 0x1ff);
        let len = if missing == 0 { 0 } else { missing.max(4) };
        assert_eq!(out.len(), 3 + len);
        assert_eq!(Parameters::decode(&out[3..]), Ok(Parameters::default()));
        assert!(len == 0 || out[3..5] == [0x2a, 0xff]);
    }
}

#[test]
fn every_reason_to_drop_has_a_counter_and_a_name_of_its_own() {
    let reasons = [
        DropReason::Short,
        DropReason::Foreign,
        DropReason::Version,
        DropReason::Kind,
        DropReason::Network,
        DropReason::Own,
        DropReason::Unsealed,
        DropReason::Sealed,
        DropReason::UnknownKey,
        DropReason::KeyPhase,
        DropReason::Role,
        DropReason::PacketNumber,
        DropReason::Authentic,
        DropReason::Malformed(DecodeError::Invalid("x")),
    ];
    assert!(reasons.iter().map(|reason| reason.index()).eq(0..DropReason::COUNT));
    let names: std::collections::BTreeSet<_> = DropReason::NAMES.into_iter().collect();
    assert_eq!(names.len(), DropReason::COUNT);
}

#[test]
fn what_is_not_ours_is_refused_for_its_reason() {
    let peek_hex = |digits: &str| peek(&hex(digits)).unwrap_err();
    assert_eq!(peek_hex(""), DropReason::Short);
    assert_eq!(peek_hex("0001"), DropReason::Foreign);
    assert_eq!(peek_hex("8001686179730100"), DropReason::Foreign);
    assert_eq!(peek_hex("400101020304050607080000000000002a"), DropReason::Short);
    assert_eq!(peek_hex("400101020304050607084000000000000000"), DropReason::PacketNumber);
    assert_eq!(peek_hex("c00168617974"), DropReason::Foreign);
    assert_eq!(peek_hex("c001686179"), DropReason::Short);
    assert_eq!(peek_hex("c0006861797301000000000000000000000000000000c5"), DropReason::Kind);
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn parameters_come_back(
        min: u8, max: u8, features in option::of(any::<u64>()), random in option::of(any::<[u8; 16]>()),
        cookie in option::of(vec(any::<u8>(), 0..=COOKIE_MAX_BYTES)), token in option::of(any::<[u8; 16]>()),
        session in option::of(any::<u64>()), message in option::of(vec(any::<u8>(), 0..300)), pad in 0usize..800,
    ) {
        let parameters = Parameters {
            versions: features.map(|_| Versions { min, max }),
            features,
            random,
            cookie: cookie.as_deref(),
            reset_token: token.map(ResetToken),
            session,
            message: message.as_deref(),
        };
        let mut out = Vec::new();
        parameters.encode(&mut out);
        put_grease(&mut out, 0, pad, pad as u64);
        prop_assert_eq!(Parameters::decode(&out), Ok(parameters));
    }

    #[test]
    fn any_bytes_are_peeked_at_or_refused(
        mut bytes in vec(any::<u8>(), 0..120), start in 0usize..5, flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let starts = [verneg(), reset(&KeyRing::empty()), reset(&cluster()), hex("c0016861797301"), hex("4001")];
        if start > 0 || bytes.len() % 2 == 0 {
            let valid = &starts[start];
            bytes.splice(..valid.len().min(bytes.len()), valid.iter().copied());
        }
        for (at, bits) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
        }
        let peeked = peek(&bytes);
        let least = match peeked {
            Err(_) => 0,
            Ok(Peeked::Short { packet_number, .. }) => {
                prop_assert!(packet_number <= VARINT_MAX);
                18
            }
            Ok(Peeked::Long { .. }) => 23,
            Ok(Peeked::VersionNegotiation { .. }) => 29,
            Ok(Peeked::Reset(_)) => 19,
        };
        prop_assert!(bytes.len() >= least);
        let header = LongHeader::decode(&bytes);
        let long = matches!(peeked, Ok(Peeked::Long { version: VERSION, .. }));
        prop_assert!(header.is_err() || long);
        let _ = Parameters::decode(&bytes);
    }
}
