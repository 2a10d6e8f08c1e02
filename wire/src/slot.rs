//! The slots of the key space: which keys stay together, and how partitions divide them.
//!
//! The rule is Redis Cluster's, so that keys tagged for it keep their meaning here.

use crate::ids::Slot;

/// How many slots there are.
pub const SLOTS: u16 = 16_384;

/// CRC-16/XMODEM: polynomial 0x1021, initial value 0, nothing reflected, nothing added at the end.
const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The part of `key` that decides its slot: what stands between the first `{` and the first `}` after it, if that
/// is not empty, else the whole key.
fn hashed(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let inside = &key[open + 1..];
    match inside.iter().position(|byte| *byte == b'}') {
        None | Some(0) => key,
        Some(close) => &inside[..close],
    }
}

/// The slot of a key: CRC-16/XMODEM of the key, or of its `{tag}`, modulo 16,384.
pub fn slot_of(key: &[u8]) -> Slot {
    Slot(crc16(hashed(key)) % SLOTS)
}

/// First and last slot (inclusive) of `count` partitions that cover all slots in order, as even as can be.
///
/// # Panics
/// If `count` is 0 or more than there are slots: founding lists are checked when they are read.
pub fn even_partitions(count: u32) -> Vec<(Slot, Slot)> {
    assert!(count > 0 && count <= u32::from(SLOTS), "{count} partitions of {SLOTS} slots");
    let start = |index: u32| (index * u32::from(SLOTS) / count) as u16;
    (0..count).map(|index| (Slot(start(index)), Slot(start(index + 1) - 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_has_the_catalogued_check_value() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn slots_are_those_of_redis_cluster() {
        for (key, slot) in [("foo", 12_182), ("bar", 5_061), ("hello", 866), ("123456789", 12_739)] {
            assert_eq!(slot_of(key.as_bytes()), Slot(slot), "{key}");
        }
    }

    #[test]
    fn a_tag_alone_decides() {
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"{user1000}.followers"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"a}b{foo}c{bar}"), slot_of(b"foo"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
    }

    #[test]
    fn an_empty_or_open_tag_is_no_tag() {
        for key in [&b"foo{}{bar}"[..], b"foo{bar", b"foo}bar", b"{", b"{}", b""] {
            assert_eq!(slot_of(key), Slot(crc16(key) % SLOTS));
        }
    }

    #[test]
    fn even_partitions_cover_all_slots_once_and_differ_by_one_at_most() {
        for count in (1..=1024).chain([4095, 16_383, 16_384]) {
            let parts = even_partitions(count);
            assert_eq!(parts.len(), count as usize);
            let mut next = 0;
            for (first, last) in &parts {
                assert_eq!(first.0, next);
                let size = u32::from(last.0 - first.0) + 1;
                assert!(size.abs_diff(u32::from(SLOTS) / count) <= 1);
                next = last.0 + 1;
            }
            assert_eq!(next, SLOTS);
        }
    }
}
