use std::net::SocketAddr;

use haystack_wire::ids::ClusterId;

use super::*;

/// Founders in so many zones and hosts (0: not told), on addresses of their own.
fn list(count: usize, zones: usize, hosts: usize, partitions: u32, degree: u32) -> FoundingList {
    let word = |at: usize, of: usize, letter: char| match of {
        0 => String::new(),
        of => format!("{letter}{}", at % of),
    };
    let founders: Vec<NodeInfo> = (0..count)
        .map(|at| {
            let node = NodeId(xxhash_rust::xxh3::xxh3_128(&[at as u8]).to_be_bytes());
            let addr = SocketAddr::from(([10, 0, 0, at as u8], 7400));
            NodeInfo {
                zone: word(at, zones, 'z'),
                host: word(at, hosts, 'h'),
                ..NodeInfo::new(node, &format!("n{at}"), addr)
            }
        })
        .collect();
    let proposer = founders.iter().map(|info| info.node).min().unwrap();
    FoundingList { proposer, cluster: ClusterId([7; 16]), partitions, degree, founders }
}

/// Replicas and preferred leaderships of each founder.
fn loads(list: &FoundingList) -> (Vec<usize>, Vec<usize>) {
    let map = founding_map(list);
    assert_eq!(map.validate(), Ok(()));
    let count = |of: &dyn Fn(&Partition, NodeId) -> bool| -> Vec<usize> {
        let on = |info: &NodeInfo| map.partitions.iter().filter(|part| of(part, info.node)).count();
        list.founders.iter().map(on).collect()
    };
    (
        count(&|part, node| part.replicas.contains(&node)),
        count(&|part, node| part.replicas.first() == Some(&node)),
    )
}

fn gap(loads: &[usize]) -> usize {
    loads.iter().max().unwrap() - loads.iter().min().unwrap()
}

#[test]
fn replicas_and_leaders_are_within_one_of_even() {
    for count in [1, 2, 3, 4, 5, 7, 9, 12, 16, 32] {
        for degree in [1, 2, 3, 5] {
            for partitions in [1, 2, 8, 63, 64, 100] {
                let list = list(count, 0, 0, partitions, degree);
                let (replicas, leaders) = loads(&list);
                let what = format!("{count} nodes, {degree} replicas, {partitions} partitions");
                assert!(gap(&replicas) <= 1, "{what}: replicas {replicas:?}");
                assert!(gap(&leaders) <= 1, "{what}: leaders {leaders:?}");
                let all = partitions as usize * (degree as usize).min(count);
                assert_eq!(replicas.iter().sum::<usize>(), all, "{what}");
            }
        }
    }
}

#[test]
fn the_largest_cluster_is_placed_in_little_time_and_evenly() {
    let list = list(64, 4, 0, 1024, 3);
    let (replicas, leaders) = loads(&list);
    assert!(gap(&replicas) <= 1, "{replicas:?}");
    assert!(gap(&leaders) <= 1, "{leaders:?}");
}

#[test]
fn replicas_are_in_different_zones_where_there_are_enough_and_still_even() {
    for (count, zones) in [(3, 3), (6, 3), (9, 3), (12, 4), (10, 5)] {
        let list = list(count, zones, 0, 64, 3);
        let map = founding_map(&list);
        let zone = |node: &NodeId| &map.record(*node).unwrap().info.zone;
        for partition in &map.partitions {
            let zones: std::collections::BTreeSet<_> = partition.replicas.iter().map(zone).collect();
            assert_eq!(zones.len(), 3, "{count} nodes in {zones:?}");
        }
        let (replicas, leaders) = loads(&list);
        assert!(gap(&replicas) <= 1 && gap(&leaders) <= 1, "{count} in {zones}: {replicas:?} {leaders:?}");
    }
}

#[test]
fn replicas_are_on_different_hosts_even_where_zones_are_unlike_in_size() {
    // Two zones only, nodes two to a host: hosts apart before loads even.
    let list = list(8, 2, 4, 64, 3);
    let map = founding_map(&list);
    for partition in &map.partitions {
        let host = |node: &NodeId| &map.record(*node).unwrap().info.host;
        let hosts: std::collections::BTreeSet<_> = partition.replicas.iter().map(host).collect();
        assert_eq!(hosts.len(), 3, "{partition:?}");
    }
}

#[test]
fn the_directory_has_one_two_three_or_five_replicas_apart_from_each_other() {
    for (count, wanted) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (6, 5), (9, 5), (64, 5)] {
        assert_eq!(directory_replicas(&list(count, 0, 0, 8, 3)).len(), wanted, "{count} founders");
    }
    let list = list(9, 3, 0, 8, 3);
    let zone = |node: &NodeId| list.founders.iter().find(|info| info.node == *node).unwrap().zone.clone();
    let zones: Vec<String> = directory_replicas(&list).iter().map(zone).collect();
    let most = zones.iter().map(|zone| zones.iter().filter(|other| *other == zone).count()).max();
    assert_eq!(most, Some(2), "five replicas in three zones: {zones:?}");
}

#[test]
fn placement_depends_on_nothing_but_the_list() {
    assert_eq!(founding_map(&list(9, 0, 0, 64, 3)), founding_map(&list(9, 0, 0, 64, 3)));
}
