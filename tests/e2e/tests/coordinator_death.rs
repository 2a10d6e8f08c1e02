//! Nine daemons with three replicas of every partition lose their coordinator and two more at once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "how long real daemons take is measured in real time")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use haystack_client::{Connection, GroupId, NodeId, Operation, Options, PartitionMap};
use haystack_e2e::{Dev, json, text, word_lines};
use haystack_wire::slot::slot_of;
use serde_json::Value;

/// No group takes longer than this to serve again; what is aimed at is printed beside it. On a machine that does other
/// things as well this test is about whether, not about how fast.
const SERVES_AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// A key for every partition.
fn keys(map: &PartitionMap) -> BTreeMap<GroupId, String> {
    let mut keys = BTreeMap::new();
    for number in 0.. {
        let key = format!("probe-{number}");
        keys.entry(map.group_of(slot_of(key.as_bytes())).unwrap()).or_insert(key);
        if keys.len() == map.partitions.len() {
            break;
        }
    }
    keys
}

/// Writes a key in each group, all at once, and tells how long it took until all were acknowledged.
fn write_all(connection: &mut Connection, keys: &BTreeMap<GroupId, String>, groups: &[GroupId]) -> Duration {
    let began = Instant::now();
    for group in groups {
        connection.submit(Operation::put(keys[group].clone(), "probe")).unwrap();
    }
    for _ in groups {
        let ended = connection.completion(SERVES_AGAIN_WITHIN).unwrap().expect("an answer in time");
        ended.outcome.unwrap();
    }
    began.elapsed()
}

/// The coordinator and two more: one of the directory and one that is not, so that the directory of five lives.
fn victims(map: &PartitionMap, coordinator: NodeId) -> Vec<NodeId> {
    let others = |of_directory: bool| {
        let nodes = map.nodes.iter().map(|record| record.info.node);
        nodes
            .filter(|node| *node != coordinator)
            .find(|node| map.directory.replicas.contains(node) == of_directory)
    };
    vec![coordinator, others(true).unwrap(), others(false).unwrap()]
}

fn name(map: &PartitionMap, node: NodeId) -> String {
    map.record(node).unwrap().info.name.clone()
}

/// The coordinator that each of these daemons names, asked again until all name one that lives.
fn new_coordinator(dev: &Dev, survivors: &[String], dead: &BTreeSet<String>) -> String {
    let deadline = Instant::now() + SERVES_AGAIN_WITHIN;
    loop {
        let said = survivors.iter().map(|survivor| {
            let known = json(&dev.ctl_at(survivor, &["coordinator", "--json"]));
            known["coordinator"]["name"].as_str().unwrap_or_default().to_owned()
        });
        let names: BTreeSet<String> = said.collect();
        if let (1, Some(name)) = (names.len(), names.first())
            && !name.is_empty()
            && !dead.contains(name)
        {
            return name.clone();
        }
        assert!(Instant::now() < deadline, "the survivors name {names:?}");
    }
}

#[test]
fn nine_daemons_outlive_their_coordinator_and_two_more() {
    let dev = Dev::start(&["--nodes", "9", "--partitions", "64"]);
    let seconds: f64 = dev.ready.split_whitespace().nth(2).unwrap().parse().unwrap();
    println!("ready {seconds} s after the first start (aim: below 3 s after the last)");

    let lines = word_lines();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("words.tsv");
    fs::write(&file, [lines.join(&b'\n'), vec![b'\n']].concat()).unwrap();
    let load = dev.ctl(&["load", file.to_str().unwrap()]);
    assert_eq!(load.status.code(), Some(0), "{}", text(&load.stderr));

    let addrs: Vec<String> = dev.daemons.values().map(|(addr, _)| addr.clone()).collect();
    let mut connection = Connection::connect(Options::new(addrs)).unwrap();
    let map = connection.map().unwrap();
    let coordinator = connection.status().unwrap().coordinator.expect("a coordinator").node;
    let keys = keys(&map);
    let all: Vec<GroupId> = keys.keys().copied().collect();
    write_all(&mut connection, &keys, &all);

    let dead = victims(&map, coordinator);
    let kept: Vec<GroupId> = map
        .partitions
        .iter()
        .filter(|part| part.replicas.iter().filter(|node| dead.contains(node)).count() < 2)
        .map(|part| part.group)
        .collect();
    let names: BTreeSet<String> = dead.iter().map(|node| name(&map, *node)).collect();
    names.iter().for_each(|name| dev.kill(name));
    connection.set_timeout(SERVES_AGAIN_WITHIN);
    let took = write_all(&mut connection, &keys, &kept);
    println!(
        "killed {names:?}: all {} partitions that keep a majority, of {}, serve again after {took:?} (aim: below 1 s)",
        kept.len(),
        all.len()
    );

    let survivors: Vec<String> = dev.daemons.keys().filter(|name| !names.contains(*name)).cloned().collect();
    let next = new_coordinator(&dev, &survivors, &names);
    println!("every survivor names {next} the coordinator");

    // What is missing, counted from the map.
    let lost = |replicas: &[NodeId]| replicas.iter().filter(|node| dead.contains(node)).count();
    let missing: usize = map.partitions.iter().map(|part| lost(&part.replicas)).sum();
    let short = map.partitions.iter().filter(|part| lost(&part.replicas) > 0).count();
    let ended: BTreeSet<u64> = map
        .partitions
        .iter()
        .filter(|part| lost(&part.replicas) > 1)
        .map(|part| u64::from(part.group.0))
        .collect();
    for survivor in survivors.iter().take(2) {
        let output = dev.ctl_at(survivor, &["status", "--json"]);
        assert_eq!(
            output.status.code(),
            Some(if ended.is_empty() { 1 } else { 5 }),
            "{}",
            text(&output.stderr)
        );
        let status = json(&output);
        let deficit = &status["deficit"];
        assert_eq!(deficit["replicas"], missing, "{deficit}");
        assert_eq!(deficit["partitions"], short, "{deficit}");
        assert_eq!(deficit["directory_replicas"], 2, "{deficit}");
        let without: BTreeSet<u64> =
            deficit["without_majority"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        assert_eq!(without, ended, "{deficit}");
    }
    assert_eq!(dev.stop(), Some(0));
}
