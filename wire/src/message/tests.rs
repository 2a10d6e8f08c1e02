//! Every message survives its way over the wire, and no bytes survive that are no message.

mod arbitrary;
mod golden;

use core::fmt::Debug;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::broadcast::{Entry, EntryKind};
use super::client::Command;
use super::{ClientMessage, PeerMessage, ServerMessage};
use crate::codec::{Decode, DecodeError, Encode, decode_whole, encode_whole};

/// The same cases in every run, and no files left behind.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x6861_7973),
        ..Default::default()
    }
}

fn read<T: Decode>(bytes: &Bytes) -> Result<T, DecodeError> {
    decode_whole(bytes, "message")
}

/// The value comes back from its bytes, which are as many as announced, and from no part of them.
fn there_and_back<T: Encode + Decode + PartialEq + Debug>(value: &T) {
    let bytes = encode_whole(value);
    assert_eq!(bytes.len(), value.encoded_len(), "{value:?}");
    assert_eq!(read::<T>(&bytes).as_ref(), Ok(value));
    let mut longer = BytesMut::from(&bytes[..]);
    longer.extend_from_slice(&[0]);
    assert_eq!(read::<T>(&longer.freeze()), Err(DecodeError::Trailing("message")));
    let step = bytes.len() / 64 + 1;
    for len in (0..bytes.len()).step_by(step) {
        assert!(read::<T>(&bytes.slice(..len)).is_err(), "{len} bytes of {value:?}");
    }
}

/// Bytes from outside are refused, or mean something that is at most as long and means the same again.
fn survives<T: Encode + Decode + PartialEq + Debug>(bytes: &Bytes) {
    if let Ok(value) = read::<T>(bytes) {
        let again = encode_whole(&value);
        assert!(again.len() <= bytes.len());
        assert_eq!(read::<T>(&again), Ok(value));
    }
}

fn all_survive(bytes: &Bytes) {
    survives::<PeerMessage>(bytes);
    survives::<ClientMessage>(bytes);
    survives::<ServerMessage>(bytes);
    survives::<Command>(bytes);
}

/// `bytes` with each of the changes made: at a place, the bits that turn.
fn mutated(bytes: &[u8], changes: &[(usize, u8)]) -> Bytes {
    let mut bytes = bytes.to_vec();
    for (at, bits) in changes {
        let len = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at % len) {
            *byte ^= bits;
        }
    }
    Bytes::from(bytes)
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn peer_messages_come_back(message in arbitrary::peer_message()) {
        there_and_back(&message);
    }

    #[test]
    fn client_messages_come_back(message in arbitrary::client_message()) {
        there_and_back(&message);
    }

    #[test]
    fn server_messages_come_back(message in arbitrary::server_message()) {
        there_and_back(&message);
    }

    #[test]
    fn commands_come_back(command in arbitrary::command()) {
        there_and_back(&command);
    }

    #[test]
    fn heartbeats_fit_their_bounds(heartbeat in arbitrary::group_heartbeat()) {
        let len = heartbeat.encoded_len();
        prop_assert!((super::election::HEARTBEAT_LEAST..=super::election::HEARTBEAT_MOST).contains(&len));
    }

    #[test]
    fn decoders_survive_changed_messages(
        peer in arbitrary::peer_message(),
        client in arbitrary::client_message(),
        server in arbitrary::server_message(),
        command in arbitrary::command(),
        changes in vec((any::<usize>(), 1..=255_u8), 1..4),
    ) {
        survives::<PeerMessage>(&mutated(&encode_whole(&peer), &changes));
        survives::<ClientMessage>(&mutated(&encode_whole(&client), &changes));
        survives::<ServerMessage>(&mutated(&encode_whole(&server), &changes));
        survives::<Command>(&mutated(&encode_whole(&command), &changes));
    }
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn decoders_survive_any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        all_survive(&Bytes::from(bytes));
    }

    #[test]
    fn decoders_survive_bytes_that_start_well(
        tags in vec(1..12_u8, 1..6),
        bytes in vec(prop_oneof![3 => 0..4_u8, 1 => any::<u8>()], 0..120),
    ) {
        all_survive(&Bytes::from([tags, bytes].concat()));
    }
}

/// Every single-bit change and every cut of every golden message, for every decoder.
#[test]
fn decoders_survive_every_bit_of_every_kind() {
    for bytes in golden::all_bytes() {
        for bit in 0..bytes.len() * 8 {
            all_survive(&mutated(&bytes, &[(bit / 8, 1 << (bit % 8))]));
        }
        for len in 0..bytes.len() {
            all_survive(&bytes.slice(..len));
        }
    }
}

#[test]
fn unknown_kinds_are_invalid() {
    for tag in [0, 12, 64, 255] {
        let bytes = Bytes::from(vec![tag; 64]);
        assert_eq!(read::<PeerMessage>(&bytes), Err(DecodeError::Invalid("PeerMessage")));
        assert_eq!(read::<ClientMessage>(&bytes), Err(DecodeError::Invalid("ClientMessage")));
        assert_eq!(read::<ServerMessage>(&bytes), Err(DecodeError::Invalid("ServerMessage")));
        assert_eq!(read::<Command>(&bytes), Err(DecodeError::Invalid("Command")));
    }
}

#[test]
fn bodies_of_entries_are_slices_of_the_message() {
    let message = golden::accept(vec![
        Entry { kind: EntryKind::Command, body: Bytes::from_static(b"needle") },
        Entry { kind: EntryKind::StopSign, body: Bytes::from_static(b"stop") },
    ]);
    let bytes = encode_whole(&message);
    let PeerMessage::Broadcast { message, .. } = read(&bytes).unwrap() else { panic!("not a broadcast") };
    let super::broadcast::BroadcastMessage::Accept { entries, .. } = message else { panic!("not an Accept") };
    let whole = bytes.as_ptr_range();
    for entry in entries {
        assert!(whole.contains(&entry.body.as_ptr()));
    }
}

#[test]
fn an_entry_of_a_hundred_bytes_takes_two_more() {
    let entry = Entry { kind: EntryKind::Command, body: Bytes::from(vec![7; 100]) };
    assert_eq!(entry.encoded_len(), 102);
}

#[test]
fn the_longest_entry_and_chunk_fit_a_message() {
    let body = Bytes::from(vec![7; super::broadcast::ENTRY_LIMIT]);
    let accept = golden::accept(vec![Entry { kind: EntryKind::Command, body: body.clone() }]);
    assert!(accept.encoded_len() <= super::MESSAGE_LIMIT);
    assert_eq!(read(&encode_whole(&accept)), Ok(accept));
    let chunk = PeerMessage::SnapshotChunk {
        group: golden::GROUP,
        snapshot: golden::SNAPSHOT,
        offset: 1 << 40,
        last: false,
        bytes: body,
    };
    assert!(chunk.encoded_len() <= super::MESSAGE_LIMIT);
    assert_eq!(read(&encode_whole(&chunk)), Ok(chunk));
}

#[test]
fn a_full_map_fits_a_message() {
    let map = golden::full_map();
    let message = ServerMessage::Map { id: 1, map: Some(map) };
    assert!(message.encoded_len() < super::MESSAGE_LIMIT / 8);
    assert_eq!(read(&encode_whole(&message)), Ok(message));
}
