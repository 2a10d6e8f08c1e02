//! Long datagrams open for the process they are for, and only if the key allows what the sender says it is.

use super::*;
use crate::datagram::{HELLO_MIN_BYTES, LONG_HEADER_BYTES, LongHeader, LongKind, Parameters, Versions};
use crate::keys::Rights;

pub(super) fn sealer(local: LinkEnd, role: Role, keys: KeyRing, process_random: [u8; 16]) -> LongSealer {
    LongSealer::new(NETWORK, local, role, keys, process_random).unwrap()
}

/// What came out, without the parameters' borrow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) header: LongHeader,
    random: Option<[u8; 16]>,
}

impl Received {
    pub(super) fn open(sealer: &LongSealer, datagram: &mut [u8]) -> Result<Self, DropReason> {
        sealer.open(datagram).map(|opened| Self { header: opened.header, random: opened.parameters.random })
    }
}

fn open(sealer: &LongSealer, datagram: &[u8]) -> Result<Received, DropReason> {
    Received::open(sealer, &mut datagram.to_vec())
}

const KINDS: [LongKind; 5] =
    [LongKind::Hello, LongKind::Retry, LongKind::Welcome, LongKind::Confirm, LongKind::Gossip];

/// A datagram of `kind` with all that any kind needs, to BOB.
fn seal_with(sealer: &mut LongSealer, kind: LongKind, key_id: KeyId) -> Vec<u8> {
    let parameters = Parameters {
        versions: Some(Versions { min: 1, max: 1 }),
        random: Some([5; 16]),
        cookie: Some(b"c"),
        message: Some(b"m"),
        ..Parameters::default()
    };
    let receiver = kind.binds_receiver().then_some(BOB);
    let envelope =
        Envelope { kind, version: 1, dst_cid: ConnectionId(1), src_cid: ConnectionId(2), key_id, receiver };
    let mut out = Vec::new();
    sealer.seal(&mut out, &envelope, &parameters).unwrap();
    out
}

fn seal(sealer: &mut LongSealer, kind: LongKind) -> Vec<u8> {
    let key = sealer.active_key();
    seal_with(sealer, kind, key)
}

fn alice(keys: &KeyRing) -> LongSealer {
    sealer(ALICE, Role::Peer, keys.clone(), [0x77; 16])
}

fn bob(keys: &KeyRing) -> LongSealer {
    sealer(BOB, Role::Peer, keys.clone(), [0x78; 16])
}

const READER: Rights = Rights { read: true, write: false, admin: false };

fn client_ring(rights: Rights) -> KeyRing {
    KeyRing::from_file_text(&cluster().client_key(rights).unwrap()).unwrap()
}

#[test]
fn no_long_datagram_opens_with_a_bit_turned_or_cut_short() {
    for keys in rings() {
        let (mut alice, bob) = (alice(&keys), bob(&keys));
        for kind in KINDS {
            let whole = seal(&mut alice, kind);
            for bit in 0..whole.len() * 8 {
                let mut turned = whole.clone();
                turned[bit / 8] ^= 1 << (bit % 8);
                assert!(open(&bob, &turned).is_err(), "{kind:?} bit {bit}");
            }
            assert!((0..whole.len()).all(|len| open(&bob, &whole[..len]).is_err()));
            assert!(open(&bob, &[&whole[..], &[0]].concat()).is_err());
            assert!(open(&bob, &whole).is_ok());
        }
    }
}

#[test]
fn an_answer_opens_only_for_the_process_that_asked() {
    for keys in rings() {
        let mut alice = alice(&keys);
        let others = [
            sealer(LinkEnd { node: NodeId([0xbc; 16]), ..BOB }, Role::Peer, keys.clone(), [0x79; 16]),
            sealer(LinkEnd { boot: Boot(1), ..BOB }, Role::Peer, keys.clone(), [0x79; 16]),
        ];
        for kind in KINDS {
            let datagram = seal(&mut alice, kind);
            for other in &others {
                let expected = if kind.binds_receiver() { Err(DropReason::Authentic) } else { Ok(()) };
                assert_eq!(open(other, &datagram).map(|_| ()), expected, "{kind:?}");
            }
        }
    }
}

#[test]
fn hellos_are_padded_and_refused_if_they_are_not() {
    for keys in rings() {
        let hello = seal(&mut alice(&keys), LongKind::Hello);
        assert_eq!(hello.len(), HELLO_MIN_BYTES);
        assert_eq!(open(&bob(&keys), &hello[..HELLO_MIN_BYTES - 1]), Err(DropReason::Short));
        for kind in KINDS {
            let len = seal(&mut alice(&keys), kind).len();
            assert!(
                kind == LongKind::Hello || len <= HELLO_MIN_BYTES / 3,
                "an answer is far smaller than a HELLO"
            );
        }
    }
}

#[test]
fn strangers_are_refused_for_their_reason() {
    let hello = |keys: &KeyRing| seal(&mut alice(keys), LongKind::Hello);
    let [none, cluster] = rings();
    let stranger = KeyRing::from_file_text(&new_cluster_key([9; 32])).unwrap();
    assert_eq!(open(&bob(&cluster), &hello(&none)), Err(DropReason::Unsealed));
    assert_eq!(open(&bob(&none), &hello(&cluster)), Err(DropReason::Sealed));
    assert_eq!(open(&bob(&cluster), &hello(&stranger)), Err(DropReason::UnknownKey));
    let elsewhere =
        LongSealer::new(NetworkId([0x12; 16]), BOB, Role::Peer, none.clone(), [0x78; 16]).unwrap();
    assert_eq!(open(&elsewhere, &hello(&none)), Err(DropReason::Network));
    assert_eq!(open(&alice(&none), &hello(&none)), Err(DropReason::Own));
    let patched = |at: usize, byte: u8| {
        let mut hello = hello(&none);
        hello[at] = byte;
        open(&bob(&none), &hello).unwrap_err()
    };
    assert_eq!(patched(1, 2), DropReason::Version);
    assert_eq!(patched(6, 99), DropReason::Kind);
    assert_eq!(patched(6, LongKind::Reset as u8), DropReason::Kind);
    assert_eq!(patched(6, LongKind::VerNeg as u8), DropReason::Kind);
    assert_eq!(patched(63, 1), DropReason::Role);
    assert_eq!(patched(0, 0xd0), DropReason::KeyPhase);
    assert_eq!(patched(0, 0xe0), DropReason::UnknownKey, "sealed without a key id");
    assert_eq!(patched(91, 1), DropReason::Unsealed, "a key id, but not sealed");
}

/// Who may send what to whom, with which key: everything else is refused before anything is authenticated.
#[test]
fn a_key_allows_its_role_and_no_other() {
    let roles = [Role::Peer, Role::Client(READER), Role::Client(Rights::ALL)];
    for receiver_role in roles {
        let receiver = sealer(BOB, receiver_role, cluster(), [0x78; 16]);
        for sender_role in roles {
            for key_role in roles {
                for kind in KINDS {
                    let mut sender = sealer(ALICE, sender_role, cluster(), [0x77; 16]);
                    let datagram = seal_with(&mut sender, kind, cluster().active(key_role).unwrap());
                    let allowed = match (receiver_role, sender_role) {
                        (Role::Peer, Role::Peer) => key_role == Role::Peer,
                        (Role::Peer, Role::Client(_)) => {
                            key_role == sender_role && [LongKind::Hello, LongKind::Confirm].contains(&kind)
                        }
                        (Role::Client(_), Role::Peer) => {
                            key_role == receiver_role && [LongKind::Retry, LongKind::Welcome].contains(&kind)
                        }
                        (Role::Client(_), Role::Client(_)) => false,
                    };
                    let expected = if allowed { Ok(()) } else { Err(DropReason::Role) };
                    let case =
                        format!("{kind:?} from {sender_role:?} to {receiver_role:?} with {key_role:?}");
                    assert_eq!(open(&receiver, &datagram).map(|_| ()), expected, "{case}");
                }
            }
        }
    }
}

#[test]
fn without_keys_a_client_still_cannot_speak_as_a_daemon_does() {
    let none = KeyRing::empty();
    let mut client = sealer(ALICE, Role::Client(Rights::ALL), none.clone(), [0x77; 16]);
    for kind in KINDS {
        let allowed = matches!(kind, LongKind::Hello | LongKind::Confirm);
        let expected = if allowed { Ok(()) } else { Err(DropReason::Role) };
        assert_eq!(open(&bob(&none), &seal(&mut client, kind)).map(|_| ()), expected, "{kind:?}");
    }
}

#[test]
fn a_client_that_writes_more_rights_into_its_key_file_is_refused() {
    let text = cluster().client_key(READER).unwrap().replace(" r ", " rwa ");
    let ring = KeyRing::from_file_text(&text).unwrap();
    let mut client = sealer(ALICE, ring.client_role(), ring, [0x77; 16]);
    assert_eq!(open(&bob(&cluster()), &seal(&mut client, LongKind::Hello)), Err(DropReason::Role));
}

#[test]
fn a_client_and_a_daemon_with_the_cluster_key_understand_each_other() {
    let ring = client_ring(READER);
    let role = ring.client_role();
    let mut client = sealer(BOB, role, ring.clone(), [0x78; 16]);
    let mut daemon = alice(&cluster());
    let received = open(&daemon, &seal(&mut client, LongKind::Hello)).unwrap();
    assert_eq!((received.header.role, received.random), (role, Some([5; 16])));
    let key = received.header.key_id;
    let welcome = seal_with(&mut daemon, LongKind::Welcome, key);
    assert_eq!(open(&client, &welcome).unwrap().header.role, Role::Peer);
    let (mut there, _) = Sealer::derive(&ring, key, &ASSOCIATION).unwrap();
    let (here, _) = Sealer::derive(&cluster(), key, &ASSOCIATION).unwrap();
    let mut out = Vec::new();
    let draft = there.start(&mut out, CID, 0, false).unwrap();
    there.finish(&mut out, draft);
    assert!(here.open(&mut out).is_ok());
}

#[test]
fn a_ring_without_a_key_for_the_role_makes_no_sealer() {
    let made = |role, keys| LongSealer::new(NETWORK, ALICE, role, keys, [0; 16]).err();
    assert_eq!(made(Role::Peer, client_ring(Rights::ALL)), Some(SealError::UnknownKey));
    assert_eq!(made(Role::Client(READER), client_ring(Rights::ALL)), Some(SealError::UnknownKey));
    assert_eq!(made(Role::Client(READER), cluster()), None);
    let mut out = Vec::new();
    let envelope = Envelope {
        kind: LongKind::Confirm,
        version: 1,
        dst_cid: CID,
        src_cid: CID,
        key_id: KeyId::NONE,
        receiver: Some(BOB),
    };
    let sealed = alice(&cluster()).seal(&mut out, &envelope, &Parameters::default());
    assert_eq!((sealed, out.len()), (Err(SealError::UnknownKey), 0), "a ring never goes unsealed");
}

/// Key and nonce: the process random makes the key, the counter the nonce.
#[test]
fn no_two_long_datagrams_share_a_nonce() {
    let mut process = alice(&cluster());
    let mut reborn = sealer(ALICE, Role::Peer, cluster(), [0x79; 16]);
    let nonce_of = |datagram: &[u8]| datagram[64..88].to_vec();
    let mut seen = std::collections::BTreeSet::new();
    for kind in KINDS.into_iter().cycle().take(50) {
        assert!(seen.insert(nonce_of(&seal(&mut process, kind))));
        assert!(seen.insert(nonce_of(&seal(&mut reborn, kind))));
    }
}

#[test]
fn parameters_are_not_read_before_the_datagram_is_authentic() {
    for keys in rings() {
        let mut alice = alice(&keys);
        let bob = bob(&keys);
        let trailer = if keys.is_empty() { 4 } else { 16 };
        let mut gossip = seal(&mut alice, LongKind::Gossip);
        // A critical parameter that nobody knows, but with the wrong CRC or tag.
        gossip.truncate(LONG_HEADER_BYTES);
        gossip.extend_from_slice(&[0xff, 0xff, 0, 0]);
        gossip.resize(gossip.len() + trailer, 0);
        assert_eq!(open(&bob, &gossip), Err(DropReason::Authentic));
    }
    let mut gossip = seal(&mut alice(&KeyRing::empty()), LongKind::Gossip);
    gossip.truncate(LONG_HEADER_BYTES);
    gossip.extend_from_slice(&[0xff, 0xff, 0, 0]);
    let crc = crc32fast::hash(&gossip);
    gossip.extend_from_slice(&crc.to_be_bytes());
    assert!(matches!(open(&bob(&KeyRing::empty()), &gossip), Err(DropReason::Malformed(_))));
}

#[test]
fn a_kind_without_its_parameters_is_refused() {
    let keys = KeyRing::empty();
    for kind in KINDS {
        let mut datagram = seal(&mut alice(&keys), kind);
        datagram.truncate(LONG_HEADER_BYTES);
        if kind == LongKind::Hello {
            crate::datagram::put_grease(&mut datagram, 0, HELLO_MIN_BYTES - 4, 0);
        }
        let receiver = kind.binds_receiver().then_some(BOB);
        let mut hasher = Hasher::new();
        if let Some(end) = receiver {
            hasher.update(&link_end_bytes(end));
        }
        hasher.update(&datagram);
        datagram.extend_from_slice(&hasher.finalize().to_be_bytes());
        let missing = crate::codec::DecodeError::Invalid("set of parameters");
        let expected = if kind == LongKind::Confirm { Ok(()) } else { Err(DropReason::Malformed(missing)) };
        assert_eq!(open(&bob(&keys), &datagram).map(|_| ()), expected, "{kind:?}");
    }
}

#[test]
fn nothing_shows_a_key() {
    let mut alice = alice(&cluster());
    seal(&mut alice, LongKind::Hello);
    assert!(format!("{alice:?}").ends_with("counter: 1, .. }"));
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn any_bytes_are_refused(
        mut bytes in vec(any::<u8>(), 0..300), with_keys: bool, kind in 0usize..KINDS.len(), keep in 0usize..LONG_HEADER_BYTES + 1,
        flips in vec((any::<prop::sample::Index>(), 1u8..), 0..4),
    ) {
        let keys = &rings()[usize::from(with_keys)];
        let valid = seal(&mut alice(keys), KINDS[kind]);
        if let [(at, bits), ..] = &flips[..] {
            let at = at.index(valid.len());
            bytes = valid.clone();
            bytes[at] ^= bits;
        } else {
            let keep = keep.min(bytes.len());
            bytes[..keep].copy_from_slice(&valid[..keep]);
        }
        prop_assert!(open(&bob(keys), &bytes).is_err());
    }
}
