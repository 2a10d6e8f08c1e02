use std::collections::BTreeMap;

use haystack_client::{LogIndex, Pair, Version};

use super::*;
use crate::lines::{Record, parse};

type Store = BTreeMap<GroupId, BTreeMap<Bytes, Bytes>>;

fn store() -> Store {
    let record = |n: u8, m: u8| (Bytes::from(vec![b'k', n, m]), Bytes::from(vec![m, n, b'\t']));
    let group = |n: u8| (GroupId(u32::from(n)), (0..200).map(|m| record(n, m)).collect());
    let mut store: Store = (1..=3).map(group).collect();
    store.insert(GroupId(4), BTreeMap::new());
    store
}

/// Pages of three pairs.
fn page(store: &Store, group: GroupId, after: Option<&Bytes>) -> Page {
    let rest = store[&group].iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
    let version = Version { group, index: LogIndex(1) };
    let all: Vec<Pair> =
        rest.map(|(key, value)| Pair { key: key.clone(), value: value.clone(), version }).collect();
    let more = all.len() > 3;
    Page { at: LogIndex(9), pairs: all.into_iter().take(3).collect(), more }
}

fn dumped(store: &Store, json: bool) -> (Vec<Record>, Tally) {
    let groups: Vec<GroupId> = store.keys().copied().collect();
    let (mut out, mut tally) = (Vec::new(), Tally::default());
    let pages = |group, after: Option<Bytes>| Ok(page(store, group, after.as_ref()));
    write_all(&groups, pages, json, &mut out, &mut tally, |_| {}).unwrap();
    let lines = out.split(|byte| *byte == b'\n').filter_map(|line| parse(line).unwrap());
    (lines.collect(), tally)
}

#[test]
fn all_pages_of_all_partitions_are_written_in_the_order_of_keys() {
    let store = store();
    let expected: Vec<Record> = store
        .values()
        .flatten()
        .map(|(key, value)| Record { key: key.clone(), value: value.clone() })
        .collect();
    for json in [false, true] {
        let (records, tally) = dumped(&store, json);
        assert_eq!(records, expected);
        assert_eq!(tally, Tally { groups: 4, keys: 600, bytes: 3600 });
    }
}

#[test]
fn a_dump_that_breaks_off_says_where() {
    let store = store();
    let groups: Vec<GroupId> = store.keys().copied().collect();
    let (mut out, mut tally) = (Vec::new(), Tally::default());
    let pages = |group, after: Option<Bytes>| match group {
        GroupId(2) => Err(Error::Timeout(haystack_client::Wait::Answer(group))),
        _ => Ok(page(&store, group, after.as_ref())),
    };
    let ended = write_all(&groups, pages, false, &mut out, &mut tally, |_| {}).unwrap_err();
    assert!(matches!(ended, Ended::Cluster(GroupId(2), Error::Timeout(_))), "{ended:?}");
    assert_eq!((tally.groups, tally.keys), (1, 200));
}

#[test]
fn a_reader_that_has_enough_is_no_error_and_a_full_disk_is() {
    struct Broken(io::ErrorKind);
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let store = store();
    let end = |kind| {
        let pages = |group, after: Option<Bytes>| Ok(page(&store, group, after.as_ref()));
        write_all(&[GroupId(1)], pages, false, &mut Broken(kind), &mut Tally::default(), |_| {}).unwrap_err()
    };
    assert!(matches!(end(io::ErrorKind::BrokenPipe), Ended::Nobody));
    assert!(matches!(end(io::ErrorKind::StorageFull), Ended::Output(_)));
}

#[test]
fn a_page_that_leaves_keys_out_does_not_pass_for_the_end() {
    let page = |_, _| Ok(Page { at: LogIndex(9), pairs: Vec::new(), more: true });
    let ended = write_all(&[GroupId(7)], page, false, &mut Vec::new(), &mut Tally::default(), |_| {});
    assert!(matches!(ended, Err(Ended::Cluster(GroupId(7), Error::Protocol(_)))), "{ended:?}");
}
