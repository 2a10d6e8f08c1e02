//! Targets of `haystack-wire`. Each takes any bytes, and panics only if a rule is broken.

use core::fmt::Debug;

use bytes::Bytes;
use haystack_wire::codec::{Decode, Encode, decode_whole, encode_whole};
use haystack_wire::message::client::Command;
use haystack_wire::message::{ClientMessage, PeerMessage, ServerMessage};

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
