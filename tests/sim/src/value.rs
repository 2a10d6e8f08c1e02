//! Values that say who wrote them: every write has its own number, and the rest of the bytes follow from it, so that
//! a value with a wrong byte is noticed.

use bytes::Bytes;

/// The number of a value, unique per write of a run.
pub(crate) type Value = u64;

fn filler(value: Value, at: usize) -> u8 {
    (value as u8).wrapping_mul(31).wrapping_add(at as u8)
}

/// The bytes of a value: `v<number>/<length>:` and a pattern up to `length`, at least the words themselves.
pub(crate) fn encode(value: Value, length: usize) -> Bytes {
    let mut length = length;
    while name(value, length).len() >= length {
        length += 1;
    }
    let mut bytes = name(value, length).into_bytes();
    bytes.push(b':');
    let from = bytes.len();
    bytes.extend((from..length).map(|at| filler(value, at)));
    Bytes::from(bytes)
}

/// How a value is written in a history.
pub(crate) fn name(value: Value, length: usize) -> String {
    format!("v{value}/{length}")
}

/// The number of the value that has exactly these bytes.
pub(crate) fn decode(bytes: &[u8]) -> Option<Value> {
    let colon = bytes.iter().take(32).position(|byte| *byte == b':')?;
    let words = std::str::from_utf8(&bytes[..colon]).ok()?;
    let (number, length) = words.strip_prefix('v')?.split_once('/')?;
    let (value, length): (Value, usize) = (number.parse().ok()?, length.parse().ok()?);
    let whole = bytes.len() == length
        && bytes.iter().enumerate().skip(colon + 1).all(|(at, byte)| *byte == filler(value, at));
    whole.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_back_whole_or_not_at_all() {
        for (value, length) in [(1, 0), (7, 8), (u64::MAX, 0), (100_000, 9), (12, 64), (99, 100_000)] {
            let bytes = encode(value, length);
            assert!(bytes.len() >= length);
            assert_eq!(decode(&bytes), Some(value));
            let mut broken = bytes.to_vec();
            if let Some(last) = broken.last_mut() {
                *last ^= 1;
            }
            assert_eq!(decode(&broken), None);
            assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
    }
}
