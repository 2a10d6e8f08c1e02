//! Bytes that another program (Python's `cryptography`, `hmac` and `zlib`) computed from the documentation: they hold
//! the derivation of keys, the nonces, the associated data and the pseudo-headers.

use ring::digest::{SHA256, digest};

use super::long::{Received, sealer};
use super::*;
use crate::datagram::{LongKind, Parameters, Versions};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn short_datagrams_have_their_golden_bytes() {
    let golden = [
        ["260dd9f9", "5c4638c8"].map(|crc| format!("48010102030405060708000000000000002a01{crc}")),
        ["be9ef84dfa1972291a2bdee738b1716b9d", "761b4e263ae04d2ecf135b36429101478f"]
            .map(|sealed| format!("68010102030405060708000000000000002a{sealed}")),
    ];
    for (keys, [there, back]) in rings().iter().zip(golden) {
        let (out_way, back_way) = sealers(keys, &ASSOCIATION);
        for (mut sealer, golden) in [(out_way, there), (back_way, back)] {
            let mut out = Vec::new();
            let draft = sealer.start(&mut out, CID, 42, true).unwrap();
            out.push(1);
            sealer.finish(&mut out, draft);
            assert_eq!(hex(&out), golden);
        }
    }
}

/// HELLO, RETRY, WELCOME, CONFIRM, GOSSIP, one after the other.
fn datagrams(keys: KeyRing) -> [Vec<u8>; 5] {
    let versions = Some(Versions { min: 1, max: 1 });
    let random = Some([0x0a; 16]);
    let cookie = Some(&b"cookie"[..]);
    let none = Parameters::default();
    let hello = Parameters {
        versions,
        features: Some(5),
        random,
        cookie,
        reset_token: keys.reset_token(NETWORK, CID),
        session: Some(9),
        message: None,
    };
    let gossip = Parameters { message: Some(b"hay"), ..none };
    let mut alice = sealer(ALICE, Role::Peer, keys, [0x77; 16]);
    let mut seal = |kind: LongKind, dst_cid, parameters| {
        let mut out = Vec::new();
        let receiver = kind.binds_receiver().then_some(BOB);
        let (dst_cid, src_cid) = (ConnectionId(dst_cid), ConnectionId(0xc5));
        let envelope = Envelope { kind, version: 1, dst_cid, src_cid, key_id: alice.active_key(), receiver };
        alice.seal(&mut out, &envelope, &parameters).unwrap();
        out
    };
    [
        seal(LongKind::Hello, 0, hello),
        seal(LongKind::Retry, 0xd0, Parameters { cookie, ..none }),
        seal(LongKind::Welcome, 0xd0, Parameters { versions, random, ..none }),
        seal(LongKind::Confirm, 0xd0, none),
        seal(LongKind::Gossip, 0, gossip),
    ]
}

#[test]
fn long_datagrams_have_their_golden_bytes() {
    let hellos = [
        "4d543b4dccdf26ab0d6aa30b84f02c0ee61d52d1b3295aec1236e9f0a6b20aec",
        "7c45df949e5a19023f0532d94e6f74a8058b5895cdfc0c8d55406d828df15c48",
    ];
    // After network, node and boot: role, process random, counter, key id, parameters, CRC or tag.
    let middle = format!("{}{}0000000000000003", "11".repeat(16), "aa".repeat(16));
    let start = "68617973";
    let random = format!("00{}00000000000000", "77".repeat(16));
    let golden = [
        [
            format!(
                "c001{start}0200000000000000d000000000000000c5{middle}{random}010000000000040006636f6f6b6965208895be"
            ),
            format!(
                "c001{start}0300000000000000d000000000000000c5{middle}{random}0200000000800100020101800300100a0a0a0a0a0a0a0a\
                 0a0a0a0a0a0a0a0a2baca03e"
            ),
            format!("c001{start}0400000000000000d000000000000000c5{middle}{random}03000000007aa0def1"),
            format!(
                "c001{start}07000000000000000000000000000000c5{middle}{random}040000000080070003686179e44fc9f5"
            ),
        ],
        [
            format!(
                "e001{start}0200000000000000d000000000000000c5{middle}{random}0123192ba6169321dfa764e174564c313443db83cda5\
                 6f090bc7141ee1c09f"
            ),
            format!(
                "e001{start}0300000000000000d000000000000000c5{middle}{random}0223192ba615d5fbe0bf720c947fe10057978698432\
                 226291802abd64357d89b3a20764718ff0473cf4d3bf89a7acc"
            ),
            format!(
                "e001{start}0400000000000000d000000000000000c5{middle}{random}0323192ba66596faec6e985f1c19bf2ccdb988e774"
            ),
            format!(
                "e001{start}07000000000000000000000000000000c5{middle}{random}0423192ba6309dc18e53a4c582eeb24dbf87e97c72\
                 240c34ff7811c2"
            ),
        ],
    ];
    for ((keys, hello_hash), golden) in rings().into_iter().zip(hellos).zip(golden) {
        let [hello, rest @ ..] = datagrams(keys);
        assert_eq!(hello.len(), 1200);
        assert_eq!(hex(digest(&SHA256, &hello).as_ref()), hello_hash);
        assert_eq!(rest.map(|datagram| hex(&datagram)), golden);
    }
}

#[test]
fn all_golden_datagrams_open() {
    for keys in rings() {
        let bob = sealer(BOB, Role::Peer, keys.clone(), [0x78; 16]);
        for (counter, mut datagram) in (0..).zip(datagrams(keys.clone())) {
            let Received { header, .. } = Received::open(&bob, &mut datagram).unwrap();
            assert_eq!((header.sender(), header.counter, header.version), (ALICE, counter, 1));
            assert_eq!(
                (header.network, header.role, header.process_random),
                (NETWORK, Role::Peer, [0x77; 16])
            );
        }
    }
}
