//! Chained hashes of a log: two logs with the same chain at an index are byte-equal below it.

use haystack_wire::message::broadcast::{Entry, EntryKind};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Chain of the empty log.
pub const EMPTY: u64 = 0;

/// Keeps a stop-sign apart from a command with the same body.
const STOP_SIGN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Chain of a log that ends in `entry`, given the chain of everything before: XXH3-64 of the body, seeded with
/// `before`. It is a check against our own mistakes and stray bits, not against an attacker.
pub fn chain(before: u64, entry: &Entry) -> u64 {
    let seed = match entry.kind {
        EntryKind::Command => before,
        EntryKind::StopSign => before ^ STOP_SIGN,
    };
    xxh3_64_with_seed(&entry.body, seed)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_chain_tells_content_order_kind_and_boundaries_apart() {
        let entry = |body: &'static str| Entry { kind: EntryKind::Command, body: Bytes::from(body) };
        let of = |entries: &[Entry]| entries.iter().fold(EMPTY, chain);
        let (ab, c) = (entry("ab"), entry("c"));
        assert_eq!(of(&[ab.clone(), c.clone()]), of(&[entry("ab"), entry("c")]));
        assert_ne!(of(&[ab.clone(), c.clone()]), of(&[c.clone(), ab.clone()]));
        assert_ne!(of(&[ab.clone(), c.clone()]), of(&[entry("a"), entry("bc")]));
        assert_ne!(of(std::slice::from_ref(&ab)), of(&[ab.clone(), entry("")]));
        assert_ne!(of(std::slice::from_ref(&c)), of(&[Entry { kind: EntryKind::StopSign, ..c }]));
    }

    #[test]
    fn the_chain_is_pinned_because_replicas_of_different_versions_compare_it() {
        let entry = Entry { kind: EntryKind::Command, body: Bytes::from_static(b"hay") };
        assert_eq!(chain(EMPTY, &entry), xxhash_rust::xxh3::xxh3_64(b"hay"));
        assert_eq!(chain(1, &entry), xxh3_64_with_seed(b"hay", 1));
    }
}
