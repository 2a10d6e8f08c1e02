use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use haystack_client::{GroupId, Wait};
use haystack_wire::ids::{Epoch, ViewId};
use haystack_wire::message::admin::ClusterEvent;
use haystack_wire::message::directory::{NodeInfo, NodeState};
use serde_json::json;

use super::super::status::tests::{ballot, node, status_of};
use super::*;

const SILENCE: Error = Error::Timeout(Wait::Daemon);

/// Daemons by number, each with its events; time stands still unless it is moved.
#[derive(Default)]
struct Cluster {
    feeds: BTreeMap<u8, Vec<EventRecord>>,
    silent: BTreeSet<u8>,
    now: Duration,
    /// Statuses asked for.
    looks: usize,
}

impl Cluster {
    fn happens(&mut self, daemon: u8, age_ms: u64, event: ClusterEvent) {
        let feed = self.feeds.entry(daemon).or_default();
        let number = feed.last().map_or(1, |last| last.number + 1);
        feed.push(EventRecord { number, age_ms, event });
    }

    fn answering(&self) -> Option<u8> {
        self.feeds.keys().copied().find(|daemon| !self.silent.contains(daemon))
    }
}

impl Source for Cluster {
    fn status(&mut self) -> Result<Status, Error> {
        self.looks += 1;
        self.answering().map(status_of).ok_or(Error::Unreachable(Wait::Connection))
    }

    fn status_of(&mut self, node: NodeId) -> Result<Status, Error> {
        self.looks += 1;
        Ok(status_of(node.0[0]))
    }

    fn events(&mut self, node: NodeId, from: u64) -> Result<Vec<EventRecord>, Error> {
        let daemon = node.0[0];
        let feed = self.feeds.get(&daemon).filter(|_| !self.silent.contains(&daemon)).ok_or(SILENCE)?;
        Ok(feed.iter().filter(|record| record.number >= from).cloned().collect())
    }

    fn elapsed(&self) -> Duration {
        self.now
    }
}

fn suspect(number: u8) -> ClusterEvent {
    ClusterEvent::Suspect { node: node(number) }
}

fn follows(name: &str, instead: bool) -> Told {
    Told::Follows { name: name.to_owned(), instead }
}

/// The daemon and the number of every event that is told, and nothing else.
fn numbers(told: &[Told]) -> Vec<(&str, u64)> {
    let numbers = told.iter().filter_map(|told| match told {
        Told::Event { seen_by, record } => Some((&**seen_by, record.number)),
        _ => None,
    });
    numbers.collect()
}

#[test]
fn every_event_is_told_once_in_order() {
    let mut cluster = Cluster::default();
    (0..3).for_each(|_| cluster.happens(1, 9_000, suspect(2)));
    let mut follower = Follower::new(0);
    let told = follower.poll(&mut cluster).unwrap();
    assert_eq!(told[0], follows("n1", false));
    assert_eq!(numbers(&told), [("n1", 1), ("n1", 2), ("n1", 3)]);
    assert_eq!(follower.poll(&mut cluster), Ok(Vec::new()));
    cluster.happens(1, 10, suspect(3));
    assert_eq!(numbers(&follower.poll(&mut cluster).unwrap()), [("n1", 4)]);
    let mut later = Follower::new(3);
    assert_eq!(numbers(&later.poll(&mut cluster).unwrap()), [("n1", 3), ("n1", 4)]);
}

#[test]
fn events_that_were_forgotten_are_counted() {
    let mut cluster = Cluster::default();
    (0..9).for_each(|_| cluster.happens(1, 9_000, suspect(2)));
    cluster.feeds.get_mut(&1).unwrap().drain(..4);
    let told = Follower::new(0).poll(&mut cluster).unwrap();
    assert!(!told.iter().any(|told| matches!(told, Told::Forgotten(_))), "all that it has was asked for");
    let told = Follower::new(2).poll(&mut cluster).unwrap();
    assert_eq!(told[1], Told::Forgotten(3));
    assert_eq!(show::notice(&told[1]), "3 events were forgotten before they could be told");
}

#[test]
fn without_a_daemon_at_the_start_there_is_nothing_to_follow() {
    let mut follower = Follower::new(0);
    assert_eq!(follower.poll(&mut Cluster::default()), Err(Error::Unreachable(Wait::Connection)));
    assert!(!follower.is_lost());
}

#[test]
fn another_daemon_goes_on_in_the_place_of_a_lost_one_and_repeats_nothing() {
    let mut cluster = Cluster::default();
    cluster.happens(1, 5_000, suspect(3));
    cluster.happens(2, 5_100, suspect(3));
    let mut follower = Follower::new(0);
    cluster.now = Duration::from_secs(60);
    follower.poll(&mut cluster).unwrap();
    cluster.now += Duration::from_secs(1);
    cluster.silent.insert(1);
    assert_eq!(follower.poll(&mut cluster), Ok(vec![Told::Lost("n1".to_owned())]));
    assert!(follower.is_lost());
    cluster.silent.insert(2);
    assert_eq!(follower.poll(&mut cluster), Err(Error::Unreachable(Wait::Connection)));
    assert!(follower.is_lost(), "one will come");
    cluster.silent.remove(&2);
    cluster.happens(2, 700, suspect(1));
    let told = follower.poll(&mut cluster).unwrap();
    assert_eq!(told[0], follows("n2", true));
    assert_eq!(numbers(&told), [("n2", 2)], "the first happened before the other daemon was lost");
    assert!(!follower.is_lost());
    cluster.happens(2, 0, suspect(1));
    assert_eq!(numbers(&follower.poll(&mut cluster).unwrap()), [("n2", 3)]);
}

#[test]
fn a_daemon_that_comes_back_as_the_same_process_goes_on_with_its_numbers() {
    let mut cluster = Cluster::default();
    (0..2).for_each(|_| cluster.happens(1, 9_000, suspect(3)));
    cluster.happens(2, 9_000, suspect(3));
    let mut follower = Follower::new(0);
    follower.poll(&mut cluster).unwrap();
    cluster.silent.insert(1);
    follower.poll(&mut cluster).unwrap();
    cluster.silent.remove(&1);
    cluster.happens(1, 9_000, suspect(2));
    let told = follower.poll(&mut cluster).unwrap();
    assert_eq!(told[0], follows("n1", true));
    assert_eq!(numbers(&told), [("n1", 3)]);
}

#[test]
fn names_come_from_the_events_or_are_asked_for_once() {
    let mut cluster = Cluster::default();
    cluster.happens(1, 0, suspect(2));
    let mut follower = Follower::new(0);
    follower.poll(&mut cluster).unwrap();
    assert_eq!(cluster.looks, 1, "the first look tells the names");
    let info = NodeInfo::new(node(7), "n7", "127.0.0.7:7400".parse().unwrap());
    cluster.happens(1, 0, ClusterEvent::Alive { info });
    cluster.happens(1, 0, suspect(7));
    follower.poll(&mut cluster).unwrap();
    assert_eq!((follower.names()[&node(7)].as_str(), cluster.looks), ("n7", 1));
    (0..2).for_each(|_| {
        cluster.happens(1, 0, suspect(8));
        follower.poll(&mut cluster).unwrap();
    });
    assert_eq!(cluster.looks, 2, "nobody knows it");
}

/// One event of each kind.
fn all() -> Vec<ClusterEvent> {
    let info = NodeInfo {
        zone: "east".to_owned(),
        ..NodeInfo::new(node(2), "n2", "127.0.0.2:7400".parse().unwrap())
    };
    vec![
        ClusterEvent::Alive { info },
        suspect(2),
        ClusterEvent::Restore { node: node(2) },
        ClusterEvent::Dead { node: node(9) },
        ClusterEvent::Left { node: node(2) },
        ClusterEvent::Decided { node: node(2), state: NodeState::Down },
        ClusterEvent::Leader { group: GroupId(5), leader: Some(ballot(7, 2)) },
        ClusterEvent::Leader { group: GroupId(0), leader: None },
        ClusterEvent::View { group: GroupId(5), view: ViewId(2) },
        ClusterEvent::Coordinator { leader: ballot(4, 2) },
        ClusterEvent::Map { epoch: Epoch(3) },
        ClusterEvent::Conflict("two daemons are called `n1`".to_owned()),
    ]
}

fn names() -> BTreeMap<NodeId, String> {
    BTreeMap::from([(node(2), "n2".to_owned())])
}

#[test]
fn events_are_lines_with_time_number_and_names() {
    let expected = [
        "alive       n2 (127.0.0.2:7400)",
        "suspect     n2",
        "restore     n2",
        "dead        09090909",
        "left        n2",
        "decided     n2: down",
        "leader      partition 5: n2 (ballot 7)",
        "leader      the directory: NONE",
        "view        partition 5: view 2",
        "coordinator n2 (ballot 4)",
        "map         epoch 3",
        "conflict    two daemons are called `n1`",
    ];
    for (event, expected) in all().into_iter().zip(expected) {
        let record = EventRecord { number: 17, age_ms: 0, event };
        assert_eq!(show::text(&record, "T", &names()), format!("T     17 {expected}"));
    }
}

#[test]
fn events_have_the_documented_shape() {
    let n2 = json!({ "id": "02".repeat(16), "name": "n2" });
    let leader = |n: u64| json!({ "id": "02".repeat(16), "name": "n2", "ballot": n });
    let expected = [
        json!({ "event": "alive", "node": n2, "address": "127.0.0.2:7400", "zone": "east", "host": "" }),
        json!({ "event": "suspect", "node": n2 }),
        json!({ "event": "restore", "node": n2 }),
        json!({ "event": "dead", "node": { "id": "09".repeat(16), "name": null } }),
        json!({ "event": "left", "node": n2 }),
        json!({ "event": "decided", "node": n2, "state": "down" }),
        json!({ "event": "leader", "group": 5, "leader": leader(7) }),
        json!({ "event": "leader", "group": 0, "leader": null }),
        json!({ "event": "view", "group": 5, "view": 2 }),
        json!({ "event": "coordinator", "leader": leader(4) }),
        json!({ "event": "map", "epoch": 3 }),
        json!({ "event": "conflict", "message": "two daemons are called `n1`" }),
    ];
    for (event, mut expected) in all().into_iter().zip(expected) {
        let record = EventRecord { number: 17, age_ms: 0, event };
        let all = expected.as_object_mut().unwrap();
        all.extend([
            ("number".into(), 17.into()),
            ("time".into(), "T".into()),
            ("seen_by".into(), "n1".into()),
        ]);
        assert_eq!(show::json(&record, "T", "n1", &names()), expected);
    }
}

#[test]
fn times_are_of_the_day_in_utc() {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_123);
    assert_eq!(show::time(at, 0), "2026-01-01T00:00:00.123Z");
    assert_eq!(show::time(at, 124), "2025-12-31T23:59:59.999Z");
    assert_eq!(show::time(at, u64::MAX), "1970-01-01T00:00:00.000Z");
}
