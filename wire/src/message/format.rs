//! How fields look on the wire: one small format per kind of field, and two tables (`record!`, `tagged!`) that
//! make size, encoding and decoding of a type out of the same lines, so that they cannot drift apart.
//!
//! Tags start at 1 and are only ever appended. Numbers are QUIC varints unless a field is random or a hash.

use core::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes};

use crate::codec::{Decode, DecodeError, Encode, Reader, VARINT_MAX, put_bytes, put_varint, varint_len};
use crate::ids::{
    Ballot, Boot, ClusterId, Epoch, GroupId, HistoryId, LogIndex, NetworkId, NodeId, SessionId, Slot,
    Version, ViewId,
};
use crate::slot::SLOTS;

/// Largest counter (position, round, epoch, sequence) that is taken from outside: 2^60. Two bits of room to a
/// varint's end let anyone count on from a hostile number without ever failing to encode the result.
pub const COUNTER_LIMIT: u64 = 1 << 60;

/// How a field of type `T` looks on the wire.
pub(super) trait Format<T> {
    /// Bytes that `value` takes.
    fn len(&self, value: &T) -> usize;
    /// Appends `value`.
    fn put<B: BufMut>(&self, value: &T, out: &mut B);
    /// Reads a value, never allocating more than a fixed multiple of the bytes that are there.
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<T, DecodeError>;
}

/// As the type itself says.
pub(super) struct Plain;

impl<T: Encode + Decode> Format<T> for Plain {
    fn len(&self, value: &T) -> usize {
        value.encoded_len()
    }
    fn put<B: BufMut>(&self, value: &T, out: &mut B) {
        value.encode(out);
    }
    fn get(&self, reader: &mut Reader<'_>, _: &'static str) -> Result<T, DecodeError> {
        T::decode(reader)
    }
}

/// As the boxed type itself says.
pub(super) struct Boxed;

impl<T: Encode + Decode> Format<Box<T>> for Boxed {
    fn len(&self, value: &Box<T>) -> usize {
        value.as_ref().encoded_len()
    }
    fn put<B: BufMut>(&self, value: &Box<T>, out: &mut B) {
        value.as_ref().encode(out);
    }
    fn get(&self, reader: &mut Reader<'_>, _: &'static str) -> Result<Box<T>, DecodeError> {
        T::decode(reader).map(Box::new)
    }
}

/// A varint that others count on from: at most [`COUNTER_LIMIT`].
pub(super) struct Counter;

impl Format<u64> for Counter {
    fn len(&self, value: &u64) -> usize {
        varint_len(*value)
    }
    fn put<B: BufMut>(&self, value: &u64, out: &mut B) {
        put_varint(out, *value);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<u64, DecodeError> {
        let value = reader.varint(field)?;
        if value <= COUNTER_LIMIT { Ok(value) } else { Err(DecodeError::TooLong(field)) }
    }
}

/// A varint that is only ever given back: any value below 2^62.
pub(super) struct Mark;

impl Format<u64> for Mark {
    fn len(&self, value: &u64) -> usize {
        varint_len(*value)
    }
    fn put<B: BufMut>(&self, value: &u64, out: &mut B) {
        put_varint(out, *value);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<u64, DecodeError> {
        reader.varint(field)
    }
}

/// A varint that measures something; what is over 2^62 - 1 is said as 2^62 - 1.
pub(super) struct Amount;

impl Format<u64> for Amount {
    fn len(&self, value: &u64) -> usize {
        varint_len(*value)
    }
    fn put<B: BufMut>(&self, value: &u64, out: &mut B) {
        put_varint(out, (*value).min(VARINT_MAX));
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<u64, DecodeError> {
        reader.varint(field)
    }
}

impl Format<u32> for Amount {
    fn len(&self, value: &u32) -> usize {
        varint_len(u64::from(*value))
    }
    fn put<B: BufMut>(&self, value: &u32, out: &mut B) {
        put_varint(out, u64::from(*value));
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(reader.varint(field)?).map_err(|_| DecodeError::TooLong(field))
    }
}

/// Big-endian in full: for random numbers and hashes, which no varint shortens.
pub(super) struct Fixed;

impl Format<u64> for Fixed {
    fn len(&self, _: &u64) -> usize {
        8
    }
    fn put<B: BufMut>(&self, value: &u64, out: &mut B) {
        out.put_u64(*value);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<u64, DecodeError> {
        reader.u64(field)
    }
}

impl Format<u128> for Fixed {
    fn len(&self, _: &u128) -> usize {
        16
    }
    fn put<B: BufMut>(&self, value: &u128, out: &mut B) {
        out.put_u128(*value);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<u128, DecodeError> {
        reader.array(field).map(u128::from_be_bytes)
    }
}

/// A byte, 0 or 1.
pub(super) struct Flag;

impl Format<bool> for Flag {
    fn len(&self, _: &bool) -> usize {
        1
    }
    fn put<B: BufMut>(&self, value: &bool, out: &mut B) {
        out.put_u8(u8::from(*value));
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<bool, DecodeError> {
        reader.bool(field)
    }
}

/// Length-prefixed bytes of at most so many.
pub(super) struct Blob(pub(super) usize);

impl Format<Bytes> for Blob {
    fn len(&self, value: &Bytes) -> usize {
        varint_len(value.len() as u64) + value.len()
    }
    fn put<B: BufMut>(&self, value: &Bytes, out: &mut B) {
        put_bytes(out, value);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<Bytes, DecodeError> {
        reader.bytes(self.0, field)
    }
}

/// Length-prefixed UTF-8 of at most so many bytes. Longer text is cut when it is sent: a long sentence must not
/// make the whole message unreadable.
pub(super) struct Text(pub(super) usize);

impl Text {
    fn cut<'a>(&self, text: &'a str) -> &'a str {
        let mut end = text.len().min(self.0);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        &text[..end]
    }
}

impl Format<String> for Text {
    fn len(&self, value: &String) -> usize {
        let cut = self.cut(value);
        varint_len(cut.len() as u64) + cut.len()
    }
    fn put<B: BufMut>(&self, value: &String, out: &mut B) {
        put_bytes(out, self.cut(value).as_bytes());
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<String, DecodeError> {
        let len = reader.size(self.0, field)?;
        let text = core::str::from_utf8(reader.take(len, field)?);
        Ok(text.map_err(|_| DecodeError::Invalid(field))?.to_owned())
    }
}

/// A byte, 0 or 1, and after 1 the value.
pub(super) struct Maybe<F>(pub(super) F);

impl<T, F: Format<T>> Format<Option<T>> for Maybe<F> {
    fn len(&self, value: &Option<T>) -> usize {
        1 + value.as_ref().map_or(0, |value| self.0.len(value))
    }
    fn put<B: BufMut>(&self, value: &Option<T>, out: &mut B) {
        out.put_u8(u8::from(value.is_some()));
        if let Some(value) = value {
            self.0.put(value, out);
        }
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<Option<T>, DecodeError> {
        if reader.bool(field)? { self.0.get(reader, field).map(Some) } else { Ok(None) }
    }
}

/// A varint count and so many values.
pub(super) struct Many<F> {
    limit: usize,
    least: usize,
    each: F,
    cut: bool,
}

impl<F> Many<F> {
    /// At most `limit` values (sending more is a bug), of at least `least` bytes each: a count that the rest of the
    /// input cannot hold is refused before memory is taken.
    pub(super) const fn of(limit: usize, least: usize, each: F) -> Self {
        Self { limit, least, each, cut: false }
    }

    /// The same for what people read: what is over the limit stays behind.
    pub(super) const fn cut(limit: usize, least: usize, each: F) -> Self {
        Self { limit, least, each, cut: true }
    }

    fn sent<'a, T>(&self, values: &'a [T]) -> &'a [T] {
        assert!(
            self.cut || values.len() <= self.limit,
            "{} values in a list of at most {}",
            values.len(),
            self.limit
        );
        &values[..values.len().min(self.limit)]
    }
}

impl<T, F: Format<T>> Format<Vec<T>> for Many<F> {
    fn len(&self, values: &Vec<T>) -> usize {
        let values = self.sent(values);
        varint_len(values.len() as u64) + values.iter().map(|value| self.each.len(value)).sum::<usize>()
    }
    fn put<B: BufMut>(&self, values: &Vec<T>, out: &mut B) {
        let values = self.sent(values);
        put_varint(out, values.len() as u64);
        for value in values {
            self.each.put(value, out);
        }
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<T>, DecodeError> {
        let count = reader.size(self.limit, field)?;
        if count > reader.remaining() / self.least {
            return Err(DecodeError::Truncated(field));
        }
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.each.get(reader, field)?);
        }
        Ok(values)
    }
}

/// A socket address: 4 or 6, the address, the port. Flow label and scope mean nothing on another host and stay
/// behind.
pub(super) struct Addr;

/// Fewest bytes of an [`Addr`].
pub(super) const ADDR_LEAST: usize = 1 + 4 + 2;

impl Format<SocketAddr> for Addr {
    fn len(&self, value: &SocketAddr) -> usize {
        if value.is_ipv4() { ADDR_LEAST } else { 1 + 16 + 2 }
    }
    fn put<B: BufMut>(&self, value: &SocketAddr, out: &mut B) {
        match value.ip() {
            IpAddr::V4(ip) => {
                out.put_u8(4);
                out.put_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.put_u8(6);
                out.put_slice(&ip.octets());
            }
        }
        out.put_u16(value.port());
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<SocketAddr, DecodeError> {
        let ip = match reader.u8(field)? {
            4 => IpAddr::from(reader.array::<4>(field)?),
            6 => IpAddr::from(reader.array::<16>(field)?),
            _ => return Err(DecodeError::Invalid(field)),
        };
        Ok(SocketAddr::new(ip, reader.u16(field)?))
    }
}

/// Encoding, decoding and size of a struct: its fields in order, each with its format.
macro_rules! record {
    ($name:ident { $($field:ident: $format:expr),+ $(,)? }) => {
        impl $crate::codec::Encode for $name {
            fn encode<B: bytes::BufMut>(&self, out: &mut B) {
                use $crate::message::format::Format as _;
                $($format.put(&self.$field, out);)+
            }
            fn encoded_len(&self) -> usize {
                use $crate::message::format::Format as _;
                0 $(+ $format.len(&self.$field))+
            }
        }

        impl $crate::codec::Decode for $name {
            fn decode(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                use $crate::message::format::Format as _;
                Ok(Self {
                    $($field: $format.get(reader, concat!(stringify!($name), ".", stringify!($field)))?,)+
                })
            }
        }
    };
}
pub(super) use record;

/// Encoding, decoding and size of an enum: a tag byte, then the variant's fields in order, each with its format.
macro_rules! tagged {
    ($name:ident {
        $($tag:literal => $variant:ident
            $({ $($field:ident: $format:expr),+ $(,)? })?
            $(($inner:ident: $inner_format:expr))?
        ),+ $(,)?
    }) => {
        impl $crate::codec::Encode for $name {
            fn encode<B: bytes::BufMut>(&self, out: &mut B) {
                #[allow(unused_imports, reason = "an enum may have no fields")]
                use $crate::message::format::Format as _;
                match self {
                    $(Self::$variant $({ $($field),+ })? $(($inner))? => {
                        out.put_u8($tag);
                        $($($format.put($field, out);)+)?
                        $($inner_format.put($inner, out);)?
                    })+
                }
            }
            fn encoded_len(&self) -> usize {
                #[allow(unused_imports, reason = "an enum may have no fields")]
                use $crate::message::format::Format as _;
                match self {
                    $(Self::$variant $({ $($field),+ })? $(($inner))? => {
                        1 $($(+ $format.len($field))+)? $(+ $inner_format.len($inner))?
                    })+
                }
            }
        }

        impl $crate::codec::Decode for $name {
            fn decode(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                #[allow(unused_imports, reason = "an enum may have no fields")]
                use $crate::message::format::Format as _;
                Ok(match reader.u8(stringify!($name))? {
                    $($tag => Self::$variant
                        $({ $($field: $format.get(
                            reader,
                            concat!(stringify!($name), "::", stringify!($variant), ".", stringify!($field)),
                        )?),+ })?
                        $(($inner_format.get(
                            reader,
                            concat!(stringify!($name), "::", stringify!($variant), ".", stringify!($inner)),
                        )?))?,
                    )+
                    _ => return Err($crate::codec::DecodeError::Invalid(stringify!($name))),
                })
            }
        }
    };
}
pub(super) use tagged;

macro_rules! wrapped {
    ($($name:ident: $format:expr),+ $(,)?) => {
        $(impl Encode for $name {
            fn encode<B: BufMut>(&self, out: &mut B) {
                $format.put(&self.0, out);
            }
            fn encoded_len(&self) -> usize {
                $format.len(&self.0)
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                $format.get(reader, stringify!($name)).map(Self)
            }
        })+
    };
}

/// Sixteen bytes as they are.
struct Raw;

impl Format<[u8; 16]> for Raw {
    fn len(&self, _: &[u8; 16]) -> usize {
        16
    }
    fn put<B: BufMut>(&self, value: &[u8; 16], out: &mut B) {
        out.put_slice(value);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<[u8; 16], DecodeError> {
        reader.array(field)
    }
}

/// A slot: two bytes, below 16,384.
struct SlotNumber;

impl Format<u16> for SlotNumber {
    fn len(&self, _: &u16) -> usize {
        2
    }
    fn put<B: BufMut>(&self, value: &u16, out: &mut B) {
        out.put_u16(*value);
    }
    fn get(&self, reader: &mut Reader<'_>, field: &'static str) -> Result<u16, DecodeError> {
        let slot = reader.u16(field)?;
        if slot < SLOTS { Ok(slot) } else { Err(DecodeError::Invalid(field)) }
    }
}

wrapped! {
    NodeId: Raw,
    ClusterId: Raw,
    NetworkId: Raw,
    Boot: Counter,
    GroupId: Amount,
    ViewId: Amount,
    Epoch: Counter,
    HistoryId: Counter,
    LogIndex: Counter,
    Slot: SlotNumber,
}

record!(Ballot { n: Counter, priority: Amount, node: Plain });
record!(SessionId { group: Plain, index: Plain });
record!(Version { group: Plain, index: Plain });

#[cfg(test)]
mod tests;
