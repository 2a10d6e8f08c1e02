use std::net::SocketAddr;

use haystack_client::{Error, GroupId, GroupStatus, LogIndex, NodeId, NodeStatus, Status, Wait};
use haystack_wire::ids::{Ballot, ClusterId, Epoch, HistoryId, ViewId};
use haystack_wire::message::directory::Standing;

use super::health::{Report, judge, missing};
use super::survey::Survey;
use super::*;

fn node(number: u8) -> NodeId {
    NodeId([number; 16])
}

fn group(number: u32, leader: u8) -> GroupStatus {
    GroupStatus {
        group: GroupId(number),
        view: ViewId(0),
        leader: Some(Ballot { n: 1, priority: 0, node: node(leader) }),
        replicas: vec![node(1), node(2), node(3)],
        live: 3,
        len: LogIndex(10),
        decided: LogIndex(10),
        applied: LogIndex(10),
        keys: 5,
        bytes: 50,
        sessions: 1,
    }
}

/// What a node of a healthy cluster of three answers.
pub(super) fn status_of(number: u8) -> Status {
    let nodes = (1..=3).map(|other| NodeStatus {
        node: Some(node(other)),
        name: format!("n{other}"),
        addr: SocketAddr::from(([127, 0, 0, other], 7400)),
        up: true,
        standing: Some(Standing::Member),
        rtt_us: 250,
        loss_ppm: 1_000,
    });
    Status {
        node: node(number),
        name: format!("n{number}"),
        version: "0.1.0".to_owned(),
        standing: Standing::Member,
        waits_for: String::new(),
        cluster: Some(ClusterId([9; 16])),
        history: HistoryId(0),
        epoch: Epoch(1),
        founders: (1..=3).map(|other| format!("127.0.0.{other}:7400")).collect(),
        nodes: nodes.collect(),
        groups: vec![group(0, 1), group(1, 1), group(2, 2)],
        counters: vec![("node.requests".to_owned(), 7)],
    }
}

/// What a node answers that waits in a cluster where it has no part.
fn standby(number: u8) -> Status {
    let mut status = status_of(number);
    status.standing = Standing::Standby;
    status.waits_for = "standby: no vote".to_owned();
    status.groups.clear();
    status.epoch = Epoch(0);
    for other in &mut status.nodes {
        // Those without a part do not talk with each other all the time.
        other.up = other.node == Some(node(number));
    }
    status
}

fn view_of(answers: impl IntoIterator<Item = Status>) -> View {
    let answers = answers.into_iter().map(|status| (format!("{}:7400", status.name), status)).collect();
    View::of(Survey { answers, silent: Vec::new() }).unwrap()
}

fn judged(answers: impl IntoIterator<Item = Status>) -> Report {
    judge(&view_of(answers))
}

#[test]
fn a_whole_cluster_is_ok_and_ready_by_one_answer() {
    let view = view_of([status_of(2)]);
    assert_eq!(judge(&view), Report { health: Health::Ok, problems: Vec::new() });
    assert_eq!(missing(&view), [""; 0]);
}

#[test]
fn a_dead_node_or_a_lost_replica_is_degraded() {
    let mut status = status_of(1);
    status.nodes[2].up = false;
    let report = judged([status]);
    assert_eq!(report.health, Health::Degraded);
    assert_eq!(report.problems, ["n3 (127.0.0.3:7400) does not answer"]);
    let mut status = status_of(1);
    status.groups.iter_mut().for_each(|group| group.live = 2);
    let report = judged([status]);
    assert_eq!(report.health, Health::Degraded);
    assert!(report.problems[0].starts_with("the directory, partitions 1, 2: under-replicated; one more"));
}

#[test]
fn a_lost_replica_of_five_leaves_a_spare_one() {
    let mut status = status_of(1);
    for group in &mut status.groups {
        group.replicas = (1..=5).map(node).collect();
        group.live = 4;
    }
    let report = judged([status]);
    assert_eq!(report.problems, ["the directory, partitions 1, 2: under-replicated"]);
}

#[test]
fn a_standby_is_degraded_and_not_ready() {
    let mut status = status_of(1);
    status.nodes[2].standing = Some(Standing::Standby);
    let view = view_of([status]);
    assert_eq!(judge(&view).health, Health::Degraded);
    assert_eq!(missing(&view), ["n3 (127.0.0.3:7400) is standby: it serves nothing"]);
}

#[test]
fn no_leader_or_no_majority_is_unavailable() {
    let mut status = status_of(1);
    status.groups[1].leader = None;
    let view = view_of([status]);
    assert_eq!(judge(&view).health, Health::Unavailable);
    assert_eq!(missing(&view), ["partition 1: no leader"]);
    let mut status = status_of(1);
    status.groups[2].live = 1;
    assert_eq!(judged([status]).health, Health::Unavailable);
}

#[test]
fn a_cluster_that_is_not_founded_is_unavailable_and_says_what_it_waits_for() {
    let mut status = status_of(1);
    status.standing = Standing::Founding;
    status.groups.clear();
    status.waits_for = "1 of 3 founders are here".to_owned();
    status.nodes[2].up = false;
    let view = view_of([status]);
    assert_eq!(judge(&view).health, Health::Unavailable);
    assert_eq!(missing(&view), ["the cluster is not founded yet: 1 of 3 founders are here"]);
    assert!(show::text(&view, &judge(&view)).contains("\nn1: 1 of 3 founders are here\n"));
}

#[test]
fn a_node_that_was_cut_off_does_not_speak_for_the_cluster() {
    let mut cut = status_of(3);
    cut.nodes[0].up = false;
    cut.nodes[1].up = false;
    for group in &mut cut.groups {
        (group.leader, group.live, group.decided) = (None, 1, LogIndex(4));
    }
    let mut whole = status_of(1);
    whole.nodes[2].up = false;
    whole.groups.iter_mut().for_each(|group| group.live = 2);
    for answers in [[cut.clone(), whole.clone()], [whole, cut]] {
        let view = view_of(answers);
        let report = judge(&view);
        assert_eq!(report.health, Health::Degraded);
        assert!(
            report
                .problems
                .iter()
                .any(|problem| problem.contains("does not answer n1, though it answers here"))
        );
        assert!(view.groups.iter().all(|group| group.decided == LogIndex(10)));
    }
}

#[test]
fn a_standby_does_not_speak_for_the_cluster_and_all_standbys_are_none() {
    assert_eq!(judged([standby(3), status_of(1)]).health, Health::Degraded);
    let view = view_of([standby(1), standby(2), standby(3)]);
    let report = judge(&view);
    assert_eq!(report.health, Health::Unavailable);
    assert_eq!(report.problems[0], "no member of the cluster answers");
    assert!(view.nodes.iter().all(|node| node.up), "those that answer are up");
    assert!(show::text(&view, &report).contains("\nn1, n2, n3: standby: no vote\n"));
}

#[test]
fn a_daemon_of_another_cluster_is_told() {
    let mut other = status_of(3);
    other.cluster = Some(ClusterId([8; 16]));
    other.groups[1].decided = LogIndex(99);
    let view = view_of([status_of(1), status_of(2), other]);
    assert_eq!(judge(&view).problems, ["n3 at n3:7400 belongs to another cluster (08080808)"]);
    assert_eq!(view.groups[1].decided, LogIndex(10), "its groups are not these");
}

#[test]
fn groups_are_told_by_the_answer_that_knows_most() {
    let mut behind = status_of(1);
    behind.groups[2].keys = 1;
    behind.groups[2].decided = LogIndex(3);
    let mut newer = status_of(2);
    newer.groups[1].leader = Some(Ballot { n: 2, priority: 0, node: node(3) });
    newer.groups[1].decided = LogIndex(9);
    let view = view_of([behind, newer]);
    assert_eq!(view.groups[2].keys, 5);
    assert_eq!(view.groups[1].leader.map(|ballot| ballot.node), Some(node(3)));
}

#[test]
fn without_an_answer_there_is_no_view() {
    let error = Error::Timeout(Wait::Daemon);
    let survey = Survey { answers: Vec::new(), silent: vec![("a".to_owned(), error.clone())] };
    assert_eq!(View::of(survey).err(), Some(error));
}

#[test]
fn the_text_ends_with_the_health_and_shows_nodes_and_groups() {
    let mut status = status_of(1);
    status.nodes[2].up = false;
    let view = view_of([status]);
    let text = show::text(&view, &judge(&view));
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(
        lines.contains(&vec!["n2", "127.0.0.2:7400", "yes", "member", "0.25", "ms", "0.10", "%"]),
        "{text}"
    );
    assert!(lines.contains(&vec!["n3", "127.0.0.3:7400", "NO", "?", "-", "-"]), "{text}");
    assert!(lines.contains(&vec!["2", "n2", "3/3", "10", "10", "10", "5", "50"]), "{text}");
    assert!(lines.contains(&vec!["directory", "n1", "3/3", "10", "10", "10", "-", "-"]), "{text}");
    assert!(text.ends_with("\ndegraded: 2 of 3 nodes up, 2 of 2 partitions led, 10 keys"), "{text}");
}

#[test]
fn the_status_has_the_documented_shape() {
    let view = view_of([status_of(1)]);
    let json = show::json(&view, &judge(&view));
    let names =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let top = "answers cluster epoch founders groups health history nodes problems seen_by silent";
    assert_eq!(names(&json).join(" "), top);
    assert_eq!(
        json["nodes"][1],
        serde_json::json!({
            "id": "02020202020202020202020202020202", "name": "n2", "address": "127.0.0.2:7400", "up": true,
            "standing": "member", "rtt_us": 250, "loss_ppm": 1000, "answered": false
        })
    );
    assert_eq!(
        json["groups"][2],
        serde_json::json!({
            "group": 2, "view": 0, "replicas": ["n1", "n2", "n3"], "live": 3, "len": 10, "decided": 10,
            "applied": 10, "keys": 5, "bytes": 50, "sessions": 1,
            "leader": { "id": "02020202020202020202020202020202", "name": "n2", "ballot": 1 }
        })
    );
    assert_eq!(
        names(&json["answers"][0]).join(" "),
        "address cluster counters id name standing version waits_for"
    );
    assert_eq!(json["answers"][0]["counters"]["node.requests"], 7);
    assert_eq!((&json["health"], &json["epoch"]), (&"ok".into(), &1.into()));
}

#[test]
fn an_unseen_cluster_is_unavailable_in_json_too() {
    let json = show::unseen(&Failure::new(Exit::Unreachable, "nobody"));
    assert_eq!(
        json,
        serde_json::json!({
            "health": "unavailable", "problems": ["nobody"],
            "error": { "kind": "unreachable", "message": "nobody" }
        })
    );
}

#[test]
fn the_exit_status_follows_the_health() {
    let exits = [Health::Ok, Health::Degraded, Health::Unavailable].map(|health| health.exit() as u8);
    assert_eq!(exits, [0, 1, 5]);
}
