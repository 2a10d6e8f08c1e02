//! Gossip and heartbeats.

use super::*;
use crate::message::membership::*;

/// `cc*16` in cluster, `aa*16` from, `07 00 02 412c 07 aa*16` beacon.
const HEAD: &str = "01 cc*16 aa*16 07 00 02 412c 07 aa*16";
/// `bb*16 00 03`
const WHOM: Accused = Accused { node: B, boot: Boot(0), incarnation: 3 };
/// `bb*16 00 03 01 04 7f000001 1ce8 0102 02 'n2' 02 'z1' 02 'h2' 01 01 'k' 01 'v'`
const MEMBER: &str = "bb*16 00 03 01 04 7f000001 1ce8 0102 02 'n2' 02 'z1' 02 'h2' 01 01 'k' 01 'v'";

fn member() -> Member {
    Member {
        node: B,
        boot: Boot(0),
        incarnation: 3,
        state: MemberState::Alive,
        addr: SocketAddr::from(([127, 0, 0, 1], 7400)),
        versions: (1, 2),
        name: "n2".to_owned(),
        meta: Meta {
            zone: "z1".to_owned(),
            host: "h2".to_owned(),
            tags: vec![("k".to_owned(), "v".to_owned())],
        },
    }
}

fn gossip(body: GossipBody, updates: Vec<Update>) -> Gossip {
    let beacon = Beacon { epoch: Epoch(7), history: HistoryId(0), view: VIEW, coordinator: BALLOT };
    Gossip { cluster: Some(CLUSTER), from: A, beacon, body, updates }
}

fn bodies() -> Vec<(GossipBody, String)> {
    let addr = member().addr;
    let states = [MemberState::Alive, MemberState::Suspect, MemberState::Dead, MemberState::Left];
    let entries = states.map(|state| DigestEntry { node: B, boot: Boot(0), incarnation: 3, state }).to_vec();
    let entry = "bb*16 00 03";
    vec![
        (GossipBody::Ping { sequence: 77, target: B }, "01 404d bb*16".to_owned()),
        (GossipBody::Ack { sequence: 77, of: None }, "02 404d 00".to_owned()),
        (GossipBody::Ack { sequence: 77, of: Some(B) }, "02 404d 01 bb*16".to_owned()),
        (GossipBody::PingReq { sequence: 77, target: B, addr }, "03 404d bb*16 04 7f000001 1ce8".to_owned()),
        (GossipBody::Nack { sequence: 77 }, "04 404d".to_owned()),
        (
            GossipBody::Join { succeeds: vec![B], founders_hash: NONCE, padding: 3 },
            "05 01 bb*16 0102030405060708 03 000000".to_owned(),
        ),
        (GossipBody::Digest { hash: NONCE }, "06 0102030405060708".to_owned()),
        (GossipBody::Buckets { hashes: vec![NONCE, 0] }, "07 02 0102030405060708 00*8".to_owned()),
        (
            GossipBody::Entries { parts: 5, entries },
            format!("08 00*7 05 04 {entry} 01 {entry} 02 {entry} 03 {entry} 04"),
        ),
        (GossipBody::Pull { nodes: vec![A, B] }, "09 02 aa*16 bb*16".to_owned()),
        (GossipBody::Pull { nodes: vec![] }, "09 00".to_owned()),
        (GossipBody::Delta, "0a".to_owned()),
        (GossipBody::Leave, "0b".to_owned()),
    ]
}

fn updates() -> Vec<(Update, String)> {
    vec![
        (Update::Member(member()), format!("01 {MEMBER}")),
        (Update::Suspect { whom: WHOM, by: A }, "02 bb*16 00 03 aa*16".to_owned()),
        (Update::Dead { whom: WHOM }, "03 bb*16 00 03".to_owned()),
        (Update::Left { whom: WHOM }, "04 bb*16 00 03".to_owned()),
    ]
}

fn beats() -> Vec<(Beat, String)> {
    vec![
        (Beat { sequence: 300, heard_ms: Some(9) }, "412c 01 09".to_owned()),
        (Beat { sequence: 0, heard_ms: None }, "00 00".to_owned()),
    ]
}

/// As messages between daemons.
pub(super) fn peers() -> Vec<(PeerMessage, String)> {
    let wrap = |(body, bytes)| (gossip(body, vec![]), format!("{HEAD} {bytes} 00"));
    let mut all: Vec<_> = bodies().into_iter().map(wrap).collect();
    let (news, bytes): (Vec<_>, Vec<_>) = updates().into_iter().unzip();
    all.push((gossip(GossipBody::Delta, news), format!("{HEAD} 0a 04 {}", bytes.join(" "))));
    let join = GossipBody::Join { succeeds: vec![], founders_hash: 0, padding: 0 };
    let stranger =
        Gossip { cluster: None, beacon: Beacon::default(), ..gossip(join, vec![Update::Member(member())]) };
    all.push((stranger, format!("00 aa*16 00 00 00 00*18 05 00 00*8 00 01 01 {MEMBER}")));
    let gossips =
        all.into_iter().map(|(gossip, bytes)| (PeerMessage::Gossip(Box::new(gossip)), format!("08 {bytes}")));
    let beats = beats().into_iter().map(|(beat, bytes)| (PeerMessage::Beat(beat), format!("09 {bytes}")));
    gossips.chain(beats).collect()
}

#[test]
fn gossip_has_these_bytes() {
    check(&borrowed(bodies()));
    has_all_kinds(&borrowed(bodies()), 0, 11);
    check(&borrowed(updates()));
    has_all_kinds(&borrowed(updates()), 0, 4);
    check(&borrowed(beats()));
}

#[test]
fn a_ping_between_calm_members_is_small() {
    let ping = gossip(GossipBody::Ping { sequence: 1 << 20, target: B }, vec![]);
    assert!(ping.encoded_len() <= 80, "{}", ping.encoded_len());
}

#[test]
fn full_pages_fit_a_datagram() {
    let widest = DigestEntry { node: A, boot: Boot(1 << 14), incarnation: 1 << 14, state: MemberState::Dead };
    let bodies = [
        GossipBody::Entries { parts: u64::MAX, entries: vec![widest; ENTRIES_LIMIT / 2] },
        GossipBody::Entries {
            parts: u64::MAX,
            entries: vec![DigestEntry { boot: Boot(0), incarnation: 9, ..widest }; ENTRIES_LIMIT],
        },
        GossipBody::Buckets { hashes: vec![u64::MAX; BUCKETS] },
        GossipBody::Pull { nodes: vec![A; PULL_LIMIT] },
    ];
    for body in bodies {
        assert!(gossip(body, vec![]).encoded_len() <= GOSSIP_LIMIT);
    }
}

#[test]
fn attributes_over_their_limit_are_refused() {
    let mut wide = member();
    wide.meta.tags = vec![("k".repeat(META_TEXT_LIMIT), "v".repeat(META_TEXT_LIMIT)); 3];
    let bytes = encode_whole(&wide);
    assert_eq!(read::<Member>(&bytes), Err(crate::codec::DecodeError::TooLong("Member.meta")));
    wide.name = "n".repeat(500);
    wide.meta.cut();
    assert!(read::<Member>(&encode_whole(&wide)).is_ok());
    let bare = Member { name: String::new(), meta: Meta::default(), ..wide.clone() };
    assert!(wide.encoded_len() - bare.encoded_len() <= ATTRIBUTES_LIMIT);
}

#[test]
fn a_beacon_takes_what_is_newer_and_only_that() {
    let (low, high) = (OLD, BALLOT);
    let at = |epoch, history, view, coordinator| Beacon {
        epoch: Epoch(epoch),
        history: HistoryId(history),
        view: ViewId(view),
        coordinator,
    };
    let merged = |mut old: Beacon, new: Beacon| (old.merge(&new), old);
    let old = at(5, 1, 3, low);
    assert_eq!(merged(old, old), (false, old));
    assert_eq!(merged(old, at(6, 0, 9, high)), (true, at(6, 1, 3, low)));
    assert_eq!(merged(old, at(4, 1, 3, high)), (true, at(5, 1, 3, high)));
    assert_eq!(merged(old, at(4, 1, 2, high)), (false, old));
    assert_eq!(merged(old, at(4, 2, 0, low)), (true, at(5, 2, 0, low)));
}
