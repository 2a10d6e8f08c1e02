//! Targets of `haystack-wire`. Each takes any bytes, and panics only if a rule is broken.

use core::fmt::Debug;

use bytes::Bytes;
use haystack_wire::codec::{Decode, Encode, decode_whole, encode_whole};
use haystack_wire::datagram::{
    ConnectionId, DropReason, HELLO_MIN_BYTES, LongKind, Parameters, Peeked, VERSION, peek,
};
use haystack_wire::frame::{Frame, decode_frames};
use haystack_wire::ids::{Boot, LinkEnd, NetworkId, NodeId};
use haystack_wire::keys::{KeyId, KeyRing, Rights, Role, new_cluster_key};
use haystack_wire::message::client::Command;
use haystack_wire::message::{ClientMessage, PeerMessage, ServerMessage};
use haystack_wire::seal::{Association, Envelope, LongSealer, Sealer};

/// What one daemon reads from another.
pub fn peer(data: &[u8]) {
    decodes::<PeerMessage>(data);
}

/// What a daemon reads from a client.
pub fn client(data: &[u8]) {
    decodes::<ClientMessage>(data);
}

/// What a client reads from a daemon.
pub fn server(data: &[u8]) {
    decodes::<ServerMessage>(data);
}

/// What a group reads from its log.
pub fn command(data: &[u8]) {
    decodes::<Command>(data);
}

/// Bytes mean nothing, or something that is as long at most, as long as it says, and that means the same again.
fn decodes<T: Encode + Decode + PartialEq + Debug>(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let Ok(value) = decode_whole::<T>(&bytes, "message") else { return };
    let again = encode_whole(&value);
    assert_eq!(again.len(), value.encoded_len());
    assert!(again.len() <= bytes.len(), "{value:?} grew");
    assert_eq!(decode_whole::<T>(&again, "message").as_ref(), Ok(&value));
}

/// What every datagram carries once it is open.
pub fn frames(data: &[u8]) {
    let frames: Vec<_> = decode_frames(data).collect();
    let good = frames.iter().filter_map(|frame| frame.as_ref().ok());
    let mut again = Vec::new();
    for frame in good.clone() {
        let start = again.len();
        frame.encode(&mut again);
        assert_eq!(again.len() - start, frame.encoded_len());
        if let Frame::Ack { largest, ranges, .. } = frame {
            assert_eq!(ranges.iter().next().map(|range| *range.end()), Some(*largest));
            assert_eq!(ranges.iter().count(), ranges.count());
            assert!(ranges.iter().is_sorted_by(|high, low| *high.start() > low.end() + 1));
        }
    }
    // Runs of padding are one frame, so two of them may become one.
    let meant = |frames: &[u8]| -> Vec<_> {
        let all = decode_frames(frames).map(|frame| frame.map(|frame| format!("{frame:?}")));
        all.filter(|frame| frame.as_deref() != Ok("Pad")).collect()
    };
    let expected: Vec<_> =
        good.map(|frame| format!("{frame:?}")).filter(|frame| frame != "Pad").map(Ok).collect();
    assert_eq!(meant(&again), expected);
}

const NETWORK: NetworkId = NetworkId([0x11; 16]);
const HERE: LinkEnd = LinkEnd { node: NodeId([0xaa; 16]), boot: Boot(0) };
const THERE: LinkEnd = LinkEnd { node: NodeId([0xbb; 16]), boot: Boot(0) };
const ID: ConnectionId = ConnectionId(0x0102_0304_0506_0708);

fn cluster_keys() -> KeyRing {
    KeyRing::from_file_text(&new_cluster_key([7; 32])).expect("a new key is a good one")
}

fn association(keys: &KeyRing) -> (Sealer, Sealer) {
    let association = Association {
        version: VERSION,
        network: NETWORK,
        initiator: THERE,
        responder: HERE,
        random_a: [1; 16],
        random_b: [2; 16],
    };
    let key = keys.active(Role::Peer).expect("a cluster's ring speaks as a peer");
    Sealer::derive(keys, key, &association).expect("the key is in the ring")
}

/// What the socket hands in: as it is, and with a good checksum over whatever it says.
pub fn datagram(data: &[u8]) {
    if let Ok(Peeked::Reset(reset)) = peek(data) {
        let token = cluster_keys().reset_token(NETWORK, reset.unknown);
        assert!(token.is_some() && reset.verify(NETWORK, token.as_ref()).is_err(), "a forged RESET passed");
        let _ = reset.verify(NETWORK, None);
    }
    let keys = cluster_keys();
    let (to_here, _) = association(&keys);
    assert!(to_here.open(&mut data.to_vec()).is_err(), "a forged datagram opened");
    let sealed = LongSealer::new(NETWORK, HERE, Role::Peer, keys, [3; 16]).expect("the ring has a key");
    assert!(sealed.open(&mut data.to_vec()).is_err(), "a forged handshake opened");

    let (mut to_here, _) = association(&KeyRing::empty());
    let _ = to_here.open(&mut data.to_vec()).map(|opened| decode_frames(opened.frames).count());
    let mut good = Vec::new();
    let draft = to_here.start(&mut good, ID, 1, false).expect("the number is small");
    good.extend_from_slice(data);
    to_here.finish(&mut good, draft);
    assert_eq!(to_here.open(&mut good).expect("just sealed").frames, data);

    let plain =
        LongSealer::new(NETWORK, HERE, Role::Peer, KeyRing::empty(), [3; 16]).expect("no key is needed");
    let _ = plain.open(&mut data.to_vec());
    let mut handshake = checksummed(data, NETWORK, HERE);
    if let Ok(opened) = plain.open(&mut handshake) {
        assert_eq!((opened.header.network, opened.header.key_id), (NETWORK, KeyId::NONE));
        answered(opened.header.kind, opened.parameters);
    }
}

/// `data` as a long datagram of this network and to this receiver whose CRC-32 is right; HELLOs with padding.
pub fn checksummed(data: &[u8], network: NetworkId, receiver: LinkEnd) -> Vec<u8> {
    const CRC: usize = 4;
    let mut out = data.to_vec();
    if let Some(place) = out.get_mut(23..39) {
        place.copy_from_slice(&network.0);
    }
    let kind = out.get(6).copied().unwrap_or(0);
    if kind == LongKind::Hello as u8 && out.len() < HELLO_MIN_BYTES - CRC {
        out.resize(HELLO_MIN_BYTES - CRC, 0);
    }
    let binds = [LongKind::Retry, LongKind::Welcome, LongKind::Confirm].map(|kind| kind as u8);
    let mut covered = Vec::new();
    if binds.contains(&kind) {
        covered.extend_from_slice(&receiver.node.0);
        covered.extend_from_slice(&receiver.boot.0.to_be_bytes());
    }
    covered.extend_from_slice(&out);
    out.extend_from_slice(&crc32(&covered).to_be_bytes());
    out
}

/// CRC-32 as in IEEE 802.3, bit by bit: not the one that is tested.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// Whatever was read can be said again, and is heard as it was said.
fn answered(kind: LongKind, parameters: Parameters<'_>) {
    let mut there =
        LongSealer::new(NETWORK, THERE, Role::Peer, KeyRing::empty(), [4; 16]).expect("no key is needed");
    let here =
        LongSealer::new(NETWORK, HERE, Role::Peer, KeyRing::empty(), [3; 16]).expect("no key is needed");
    let envelope = Envelope {
        kind,
        version: VERSION,
        dst_cid: ID,
        src_cid: ID,
        key_id: KeyId::NONE,
        receiver: kind.binds_receiver().then_some(HERE),
    };
    let mut out = Vec::new();
    there.seal(&mut out, &envelope, &parameters).expect("nothing is exhausted");
    assert_eq!(here.open(&mut out).map(|opened| opened.parameters), Ok(parameters));
    let mut wrong = out.clone();
    wrong[23] ^= 1;
    assert_eq!(here.open(&mut wrong).map(|opened| opened.header), Err(DropReason::Network));
}

/// A key file, as someone may have edited it.
pub fn keys(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let Ok(ring) = KeyRing::from_file_text(text) else { return };
    assert!(!ring.is_empty());
    assert_eq!(ring.is_cluster(), ring.client_key(Rights::ALL).is_some());
    let shown = format!("{ring:?}");
    let secret =
        text.lines().filter(|line| !line.trim().starts_with('#')).flat_map(str::split_whitespace).last();
    assert!(secret.is_some_and(|secret| !shown.contains(secret)), "a secret is shown");
}
