//! The ranges of an acknowledgement, coded as in RFC 9000, section 19.3.1.

use core::ops::RangeInclusive;

use bytes::BufMut;

use super::ACK;
#[cfg(doc)]
use crate::codec::VARINT_MAX;
use crate::codec::{DecodeError, Reader, put_varint, varint_len};

/// Most ranges in one ACK (LINKS, frames).
pub const ACK_RANGES_MAX: usize = 32;

/// Appends an ACK of as many of `ranges` as fit into `room` bytes, at most [`ACK_RANGES_MAX`], and returns how many.
/// Appends nothing if not even the first one fits, or there is none.
///
/// # Panics
/// If the ranges are empty, touch, are not in descending order, or reach over [`VARINT_MAX`]; or if `delay_us` does.
pub fn put_ack(
    out: &mut Vec<u8>,
    room: usize,
    delay_us: u64,
    ranges: impl IntoIterator<Item = RangeInclusive<u64>>,
) -> usize {
    let mut ranges = ranges.into_iter();
    let Some(first) = ranges.next() else { return 0 };
    let (mut low, largest) = first.into_inner();
    assert!(low <= largest, "an empty range has nothing to acknowledge");
    let start = out.len();
    let head = 1 + varint_len(largest) + varint_len(delay_us) + 1 + varint_len(largest - low);
    if head > room {
        return 0;
    }
    out.put_u8(ACK);
    put_varint(out, largest);
    put_varint(out, delay_us);
    let count_at = out.len();
    out.put_u8(1);
    put_varint(out, largest - low);
    let mut count = 1;
    for range in ranges.take(ACK_RANGES_MAX - 1) {
        let (next_low, next_high) = range.into_inner();
        assert!(next_low <= next_high && next_high + 1 < low, "ranges descend with a gap between them");
        let (gap, length) = (low - next_high - 2, next_high - next_low);
        if out.len() - start + varint_len(gap) + varint_len(length) > room {
            break;
        }
        put_varint(out, gap);
        put_varint(out, length);
        low = next_low;
        count += 1;
    }
    out[count_at] = count;
    usize::from(count)
}

/// The ranges of an ACK, highest first; checked when the frame was decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct AckRanges<'a> {
    largest: u64,
    count: u8,
    body: &'a [u8],
}

impl core::fmt::Debug for AckRanges<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> AckRanges<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, largest: u64) -> Result<Self, DecodeError> {
        let count = reader.u8("ack range count")?;
        if count == 0 {
            return Err(DecodeError::Invalid("ack range count"));
        }
        if usize::from(count) > ACK_RANGES_MAX {
            return Err(DecodeError::TooLong("ack range count"));
        }
        let whole = reader.rest();
        let below = || DecodeError::Invalid("ack range");
        let mut low = largest.checked_sub(reader.varint("ack range")?).ok_or_else(below)?;
        for _ in 1..count {
            // A varint is below 2^62, so that two more is no overflow.
            let high = low.checked_sub(reader.varint("ack gap")? + 2).ok_or_else(below)?;
            low = high.checked_sub(reader.varint("ack range")?).ok_or_else(below)?;
        }
        let body = &whole[..whole.len() - reader.remaining()];
        Ok(Self { largest, count, body })
    }

    pub(super) const fn encoded_len(&self) -> usize {
        1 + self.body.len()
    }

    pub(super) fn encode<B: BufMut>(&self, out: &mut B) {
        out.put_u8(self.count);
        out.put_slice(self.body);
    }

    /// How many ranges there are: 1 to [`ACK_RANGES_MAX`].
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The ranges, highest first, with at least one number missing between two of them.
    pub fn iter(&self) -> AckRangesIter<'a> {
        AckRangesIter { ceiling: self.largest, left: self.count, first: true, body: Reader::new(self.body) }
    }
}

impl<'a> IntoIterator for AckRanges<'a> {
    type Item = RangeInclusive<u64>;
    type IntoIter = AckRangesIter<'a>;
    fn into_iter(self) -> AckRangesIter<'a> {
        self.iter()
    }
}

/// Walks the ranges of an ACK.
#[derive(Clone, Debug)]
pub struct AckRangesIter<'a> {
    /// The largest number acknowledged at first, then the lowest one of the range before.
    ceiling: u64,
    left: u8,
    first: bool,
    body: Reader<'a>,
}

impl Iterator for AckRangesIter<'_> {
    type Item = RangeInclusive<u64>;

    fn next(&mut self) -> Option<RangeInclusive<u64>> {
        self.left = self.left.checked_sub(1)?;
        let high = if core::mem::take(&mut self.first) {
            self.ceiling
        } else {
            self.ceiling - self.body.varint("ack gap").ok()? - 2
        };
        let low = high - self.body.varint("ack range").ok()?;
        self.ceiling = low;
        Some(low..=high)
    }
}
