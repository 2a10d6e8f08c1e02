//! Encoding and decoding: big-endian numbers, QUIC varints (RFC 9000, section 16), length-prefixed bytes.
//!
//! Decoders never panic, never allocate more than the bytes they were given, and refuse trailing bytes.

use byteorder::{BigEndian, ByteOrder};
use bytes::{BufMut, Bytes};
use thiserror::Error;

/// Largest number a varint holds (2^62 - 1).
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// Why bytes have no meaning. Each variant names the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ended inside the field.
    #[error("{0} is cut short")]
    Truncated(&'static str),
    /// The field has a value that means nothing.
    #[error("{0} has no such value")]
    Invalid(&'static str),
    /// The field is over its limit.
    #[error("{0} is over its limit")]
    TooLong(&'static str),
    /// Bytes are left after the last field.
    #[error("bytes are left after {0}")]
    Trailing(&'static str),
}

/// A value that knows its bytes. Encoding stands beside decoding in every implementation.
pub trait Encode {
    /// Appends the value's bytes to `out`.
    fn encode<B: BufMut>(&self, out: &mut B);

    /// How many bytes [`Encode::encode`] appends. Types that are sent often override this by arithmetic.
    fn encoded_len(&self) -> usize {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.len()
    }
}

/// The bytes of one value, in one allocation of exactly their size.
pub fn encode_whole<T: Encode>(value: &T) -> Bytes {
    let mut out = Vec::with_capacity(value.encoded_len());
    value.encode(&mut out);
    Bytes::from(out)
}

/// A value that can be read back.
pub trait Decode: Sized {
    /// Reads one value from the front of `reader`.
    ///
    /// # Errors
    /// If the bytes are no such value.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Reads the one value that `bytes` holds; byte strings inside are slices of `bytes`, not copies.
///
/// # Errors
/// If the bytes are no such value, or more than one.
pub fn decode_whole<T: Decode>(bytes: &Bytes, what: &'static str) -> Result<T, DecodeError> {
    let mut reader = Reader::shared(bytes);
    let value = T::decode(&mut reader)?;
    reader.finish(what)?;
    Ok(value)
}

/// Appends a varint.
///
/// # Panics
/// If `value` is over [`VARINT_MAX`]: no counter of ours gets there.
pub fn put_varint<B: BufMut>(out: &mut B, value: u64) {
    match value {
        0..=0x3f => out.put_u8(value as u8),
        0x40..=0x3fff => out.put_u16(0x4000 | value as u16),
        0x4000..=0x3fff_ffff => out.put_u32(0x8000_0000 | value as u32),
        0x4000_0000..=VARINT_MAX => out.put_u64(0xc000_0000_0000_0000 | value),
        _ => panic!("varint over 2^62: {value}"),
    }
}

/// Bytes that `value` takes as a varint: 1, 2, 4 or 8.
pub const fn varint_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `bytes` with a varint length before them.
pub fn put_bytes<B: BufMut>(out: &mut B, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// A cursor over bytes from outside.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    origin: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; byte strings are copied out.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, origin: None }
    }

    /// Reads `bytes`; byte strings are shared slices of it.
    pub fn shared(bytes: &'a Bytes) -> Self {
        Self { rest: bytes, origin: Some(bytes) }
    }

    /// What is not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes are not read yet.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated(field))?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `count` bytes as a value of their own.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn take_bytes(&mut self, count: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        let slice = self.take(count, field)?;
        Ok(match self.origin {
            Some(origin) => origin.slice_ref(slice),
            None => Bytes::copy_from_slice(slice),
        })
    }

    /// One byte.
    ///
    /// # Errors
    /// If the input is empty.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.take(1, field)?[0])
    }

    /// A big-endian 16-bit number.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(BigEndian::read_u16(self.take(2, field)?))
    }

    /// A big-endian 32-bit number.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(BigEndian::read_u32(self.take(4, field)?))
    }

    /// A big-endian 64-bit number.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(BigEndian::read_u64(self.take(8, field)?))
    }

    /// An array of bytes.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    /// A varint.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let first = *self.rest.first().ok_or(DecodeError::Truncated(field))?;
        Ok(match first >> 6 {
            0 => u64::from(self.u8(field)?),
            1 => u64::from(self.u16(field)? & 0x3fff),
            2 => u64::from(self.u32(field)? & 0x3fff_ffff),
            _ => self.u64(field)? & VARINT_MAX,
        })
    }

    /// A varint of at most `limit`, as a size in memory.
    ///
    /// # Errors
    /// If the input is too short or the number is over `limit`.
    pub fn size(&mut self, limit: usize, field: &'static str) -> Result<usize, DecodeError> {
        let value = self.varint(field)?;
        usize::try_from(value).ok().filter(|size| *size <= limit).ok_or(DecodeError::TooLong(field))
    }

    /// Length-prefixed bytes of at most `limit`.
    ///
    /// # Errors
    /// If the input is too short or the length is over `limit`.
    pub fn bytes(&mut self, limit: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        let len = self.size(limit, field)?;
        self.take_bytes(len, field)
    }

    /// A flag byte, 0 or 1.
    ///
    /// # Errors
    /// If the input is empty or the byte is neither.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid(field)),
        }
    }

    /// Succeeds only if everything is read.
    ///
    /// # Errors
    /// If bytes are left.
    pub const fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(what)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_the_bytes_of_rfc_9000_appendix_a() {
        for (value, bytes) in [
            (37, vec![0x25]),
            (15_293, vec![0x7b, 0xbd]),
            (494_878_333, vec![0x9d, 0x7f, 0x3e, 0x7d]),
            (151_288_809_941_952_652, vec![0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(Reader::new(&out).varint("v"), Ok(value));
        }
    }

    #[test]
    fn lengths_over_the_limit_or_the_input_are_refused() {
        let mut out = Vec::new();
        put_bytes(&mut out, b"hay");
        assert_eq!(Reader::new(&out).bytes(3, "b").as_deref(), Ok(&b"hay"[..]));
        assert_eq!(Reader::new(&out).bytes(2, "b"), Err(DecodeError::TooLong("b")));
        assert_eq!(Reader::new(&out[..3]).bytes(3, "b"), Err(DecodeError::Truncated("b")));
    }

    #[test]
    fn shared_readers_do_not_copy() {
        let whole = Bytes::from_static(b"\x03hay");
        let taken = Reader::shared(&whole).bytes(3, "b").unwrap();
        assert_eq!(taken.as_ptr(), whole[1..].as_ptr());
    }
}
