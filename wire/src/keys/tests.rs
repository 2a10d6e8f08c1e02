//! Key files say what they must, and what is derived from a key never changes.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

fn counted() -> [u8; KEY_BYTES] {
    core::array::from_fn(|index| index as u8)
}

fn cluster() -> KeyRing {
    KeyRing::from_file_text(&new_cluster_key(counted())).unwrap()
}

const DIGITS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
fn a_cluster_key_file_has_its_golden_text_and_gives_all_roles_a_key() {
    let text = new_cluster_key(counted());
    assert_eq!(text, format!("haystack-cluster-key-1 {DIGITS}\n"));
    let ring = cluster();
    assert!(ring.is_cluster() && !ring.is_empty());
    assert_eq!(ring.client_role(), Role::Client(Rights::ALL));
    assert_eq!(ring.active(Role::Peer), Some(KeyId(0x2319_2ba6)));
    assert_eq!(ring.active(Role::Client(Rights::NONE)), None);
    assert_eq!(ring.find(KeyId::NONE).map(|key| key.id), None);
}

/// Computed by another program from the description of the module.
#[test]
fn derived_keys_have_their_golden_bytes() {
    let ring = cluster();
    let ids = [0xd112_49d5, 0xd4d8_da49, 0xe5fa_c51f, 0x1267_bcda, 0x4ff5_5359, 0x023c_7fdc, 0xb0a4_70b6];
    for (bits, id) in (1..).zip(ids) {
        assert_eq!(ring.active(Role::Client(Rights::from_bits(bits))), Some(KeyId(id)));
    }
    let all = "haystack-client-key-1 rwa 2a355cbdba86a62824553157c7988828e1acd1946ad56df4ad7904b1fee95a3d\n";
    let read = "haystack-client-key-1 r 03897df037167b9f5c56df84a6d739d2ef4c030a0d17c487e6e9f22837c88b16\n";
    assert_eq!(ring.client_key(Rights::ALL).as_deref(), Some(all));
    assert_eq!(ring.client_key(Rights::from_bits(1)).as_deref(), Some(read));
    assert_eq!(ring.client_key(Rights::NONE), None);
    let token = ring.reset_token(NetworkId([0x11; 16]), ConnectionId(0x0102_0304_0506_0708)).unwrap();
    assert_eq!(u128::from_be_bytes(token.0), 0x48c4_a25f_ecd4_5eed_495c_36c7_28fd_b045);
}

#[test]
fn a_client_key_file_gives_its_rights_and_nothing_else() {
    for bits in 1..=7 {
        let rights = Rights::from_bits(bits);
        let role = Role::Client(rights);
        let ring = KeyRing::from_file_text(&cluster().client_key(rights).unwrap()).unwrap();
        assert!(!ring.is_cluster() && !ring.is_empty());
        assert_eq!(ring.client_role(), role);
        assert_eq!(ring.active(role), cluster().active(role));
        assert_eq!(ring.active(Role::Peer), None);
        assert_eq!(ring.client_key(rights), None, "only the cluster key makes client keys");
        assert_eq!(ring.keys.len(), 1);
    }
}

#[test]
fn an_empty_ring_seals_nothing() {
    let ring = KeyRing::empty();
    assert!(ring.is_empty() && !ring.is_cluster());
    assert_eq!(ring.active(Role::Peer), Some(KeyId::NONE));
    assert_eq!(ring.client_key(Rights::ALL), None);
    assert_eq!(ring.reset_token(NetworkId::default(), ConnectionId(1)), None);
}

#[test]
fn comments_blank_lines_and_capital_digits_are_read() {
    let digits = DIGITS.to_uppercase();
    let text = format!("# made by hand\r\n\r\n  haystack-cluster-key-1\t{digits} \r\n# end");
    assert_eq!(KeyRing::from_file_text(&text).unwrap().active(Role::Peer), cluster().active(Role::Peer));
}

#[test]
fn a_wrong_key_file_is_told_with_its_line_and_the_cure_but_no_digit_of_the_key() {
    let cases = [
        (String::new(), KeyError::Empty, "haystackctl key new"),
        ("# nothing\n".into(), KeyError::Empty, "haystackctl key new"),
        (format!("{CLUSTER_WORD} {DIGITS}\n{CLUSTER_WORD} {DIGITS}\n"), KeyError::Several(2), "exactly one"),
        (format!("\nhaystack-cluster-key-2 {DIGITS}"), KeyError::Kind(2), "update this program"),
        (DIGITS.into(), KeyError::Kind(1), "copy the file again"),
        (CLUSTER_WORD.into(), KeyError::Words(1), "KEY"),
        (format!("{CLUSTER_WORD} {DIGITS} {DIGITS}"), KeyError::Words(1), "KEY"),
        (format!("{CLIENT_WORD} {DIGITS}"), KeyError::Words(1), "RIGHTS KEY"),
        (format!("{CLIENT_WORD} ar {DIGITS}"), KeyError::Rights(1), "in this order"),
        (format!("{CLIENT_WORD} rr {DIGITS}"), KeyError::Rights(1), "in this order"),
        (format!("{CLUSTER_WORD} {}", &DIGITS[1..]), KeyError::Digits(1), "copy the file again"),
        (format!("{CLUSTER_WORD} {DIGITS}0"), KeyError::Digits(1), "copy the file again"),
        (format!("{CLUSTER_WORD} {}", DIGITS.replace('f', "g")), KeyError::Digits(1), "copy the file again"),
        (
            format!("{CLUSTER_WORD} {}", DIGITS.replace("00", "+0")),
            KeyError::Digits(1),
            "copy the file again",
        ),
        (format!("{CLUSTER_WORD} {}", DIGITS.replace("00", "é")), KeyError::Digits(1), "copy the file again"),
    ];
    for (text, error, cure) in cases {
        assert_eq!(KeyRing::from_file_text(&text).err(), Some(error), "{text}");
        let message = error.to_string();
        assert!(message.contains(cure), "{message}");
        assert!(!message.contains(&DIGITS[8..16]), "{message}");
    }
}

#[test]
fn nothing_shows_a_secret() {
    let ring = cluster();
    let shown = format!("{ring:?} {:?}", ring.reset_token(NetworkId::default(), ConnectionId(1)));
    assert!(shown.contains("(secret)") && shown.contains("ResetToken(..)"));
    let bytes = format!("{:?}", &counted()[4..8]);
    assert!(!shown.contains("04050607") && !shown.contains(&bytes), "{shown}");
}

#[test]
fn rights_keep_their_bits_and_letters() {
    for bits in 0..=7 {
        let rights = Rights::from_bits(bits);
        assert_eq!(rights.bits(), bits);
        assert_eq!(Rights::from_bits(bits | 0xf8), rights);
        let written = Rights::from_letters(&rights.to_string());
        assert_eq!(written, (bits != 0).then_some(rights));
        for other in 0..=7 {
            assert_eq!(rights.covers(Rights::from_bits(other)), bits | other == bits);
        }
    }
    assert_eq!(Rights::ALL.to_string(), "rwa");
}

#[test]
fn reset_tokens_are_equal_only_if_every_byte_is() {
    let token = ResetToken([7; 16]);
    assert_eq!(token, ResetToken([7; 16]));
    for at in 0..16 {
        let mut other = [7; 16];
        other[at] ^= 0x80;
        assert_ne!(token, ResetToken(other));
    }
}

#[test]
fn reset_tokens_differ_by_key_network_and_connection() {
    let client = KeyRing::from_file_text(&cluster().client_key(Rights::ALL).unwrap()).unwrap();
    let (network, id) = (NetworkId([1; 16]), ConnectionId(1));
    let token = cluster().reset_token(network, id);
    assert!(token.is_some() && token == cluster().reset_token(network, id));
    assert_ne!(token, client.reset_token(network, id));
    assert_ne!(token, cluster().reset_token(NetworkId([2; 16]), id));
    assert_ne!(token, cluster().reset_token(network, ConnectionId(2)));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x6861_7973),
        ..Default::default()
    })]

    #[test]
    fn any_text_is_a_key_or_an_error(
        words in "(haystack-cluster-key-1|haystack-client-key-1|#)? ?(rwa|rw|é)? ?[0-9a-fA-F]{62,66}\n?\\PC{0,20}",
        noise in "\\PC*",
    ) {
        for text in [words, noise] {
            if let Ok(ring) = KeyRing::from_file_text(&text) {
                prop_assert!(!ring.is_empty());
            }
        }
    }
}
