use std::net::SocketAddr;

use haystack_client::{Error, GroupId, GroupStatus, LogIndex, NodeId, NodeStatus, Status, Wait};
use haystack_wire::ids::{Ballot, ClusterId, Epoch, HistoryId, Slot, ViewId};
use haystack_wire::message::admin::{ReplicaReport, ReplicaStatus, SlotRange};
use haystack_wire::message::directory::{NodeState, Standing};
use haystack_wire::message::membership::MemberState;

use super::facts::Deficit;
use super::health::{Report, judge, missing};
use super::*;

pub(crate) fn node(number: u8) -> NodeId {
    NodeId([number; 16])
}

pub(crate) fn ballot(n: u64, leader: u8) -> Ballot {
    Ballot { n, priority: 0, node: node(leader) }
}

fn report(group: u32, leader: u8) -> ReplicaReport {
    ReplicaReport {
        group: GroupId(group),
        view: ViewId(0),
        leader: Some(ballot(1, leader)),
        live: 3,
        len: LogIndex(10),
        decided: LogIndex(10),
        applied: LogIndex(10),
        keys: 5,
        bytes: 50,
        sessions: 1,
    }
}

/// A group of the nodes 1, 2 and 3.
fn group(number: u32, leader: u8, slots: Option<(u16, u16)>) -> GroupStatus {
    let replica = |replica| ReplicaStatus { node: node(replica), report: Some(report(number, leader)) };
    GroupStatus {
        group: GroupId(number),
        slots: slots.map(|(first, last)| SlotRange { first: Slot(first), last: Slot(last) }),
        view: ViewId(0),
        leader: Some(ballot(1, leader)),
        replicas: (1..=3).map(replica).collect(),
    }
}

/// What a node of a healthy cluster of three answers.
pub(crate) fn status_of(number: u8) -> Status {
    let nodes = (1..=3).map(|other| NodeStatus {
        node: Some(node(other)),
        name: format!("n{other}"),
        addr: SocketAddr::from(([127, 0, 0, other], 7400)),
        up: true,
        standing: Some(Standing::Member),
        state: Some(NodeState::Up),
        member: Some(MemberState::Alive),
        reported: true,
        zone: String::new(),
        host: String::new(),
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
        degree: 3,
        coordinator: Some(ballot(1, 1)),
        founders: (1..=3).map(|other| format!("127.0.0.{other}:7400")).collect(),
        nodes: nodes.collect(),
        groups: vec![group(0, 1, None), group(1, 1, Some((0, 8191))), group(2, 2, Some((8192, 16383)))],
        counters: vec![("node.requests".to_owned(), 7)],
    }
}

/// What is answered once a node has died and its groups have found out: it led none, or others lead now.
pub(crate) fn without(mut status: Status, dead: u8) -> Status {
    for row in status.nodes.iter_mut().filter(|row| row.node == Some(node(dead))) {
        (row.up, row.reported, row.member) = (false, false, Some(MemberState::Dead));
        row.state = Some(NodeState::Suspect);
    }
    for group in &mut status.groups {
        silence(group, dead);
    }
    status
}

/// A replica of the group does not report any more, nor answer the leader.
fn silence(group: &mut GroupStatus, dead: u8) {
    for replica in &mut group.replicas {
        if replica.node == node(dead) {
            replica.report = None;
        } else if let Some(report) = &mut replica.report {
            report.live -= 1;
        }
    }
    if group.leader.is_some_and(|leader| leader.node == node(dead)) {
        leave_headless(group);
    }
}

/// Nobody leads the group.
fn leave_headless(group: &mut GroupStatus) {
    group.leader = None;
    group.replicas.iter_mut().filter_map(|replica| replica.report.as_mut()).for_each(|report| {
        report.leader = None;
    });
}

fn change(group: &mut GroupStatus, change: impl Fn(&mut ReplicaReport)) {
    group.replicas.iter_mut().filter_map(|replica| replica.report.as_mut()).for_each(change);
}

/// What a node answers that waits in a cluster where it has no part.
pub(super) fn standby(number: u8) -> Status {
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

/// What a node answers that waits for the third founder.
pub(crate) fn founding() -> Status {
    let mut status = status_of(1);
    status.standing = Standing::Founding;
    status.groups.clear();
    (status.cluster, status.coordinator) = (None, None);
    (status.epoch, status.degree) = (Epoch(0), 0);
    status.waits_for = "founding: waiting for 127.0.0.3:7400".to_owned();
    for row in &mut status.nodes {
        (row.standing, row.state, row.member, row.reported) = (Some(Standing::Founding), None, None, false);
    }
    let stranger = &mut status.nodes[2];
    (stranger.node, stranger.up, stranger.standing) = (None, false, None);
    stranger.name.clear();
    status
}

pub(crate) fn view_of(answers: impl IntoIterator<Item = Status>) -> View {
    let answers = answers.into_iter().map(|status| (format!("{}:7400", status.name), status)).collect();
    View::of(Survey { answers, silent: Vec::new() }).unwrap()
}

fn judged(answers: impl IntoIterator<Item = Status>) -> Report {
    judge(&view_of(answers))
}

pub(super) fn text_of(view: &View) -> String {
    show::text(view, &judge(view), false)
}

pub(crate) fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn a_whole_cluster_is_ok_and_ready_by_one_answer() {
    let view = view_of([status_of(2)]);
    assert_eq!(judge(&view), Report { health: Health::Ok, problems: Vec::new() });
    assert_eq!(missing(&view), [""; 0]);
    assert!(view.is_ready());
}

#[test]
fn a_dead_node_or_a_lost_replica_is_degraded() {
    let mut status = status_of(1);
    status.nodes[2].up = false;
    let report = judged([status]);
    assert_eq!(report.health, Health::Degraded);
    assert_eq!(report.problems, ["n3 (127.0.0.3:7400) does not answer"]);
    let mut status = status_of(1);
    status.groups.iter_mut().for_each(|group| silence(group, 3));
    let report = judged([status]);
    assert_eq!(report.health, Health::Degraded);
    assert!(report.problems[0].starts_with("the directory, partitions 1, 2: under-replicated; one more"));
}

#[test]
fn a_replica_that_does_not_answer_its_leader_is_lost_though_it_reports() {
    let mut status = status_of(1);
    change(&mut status.groups[1], |report| report.live = 2);
    let view = view_of([status]);
    let report = judge(&view);
    assert_eq!(report.health, Health::Degraded);
    assert!(report.problems[0].starts_with("partition 1: under-replicated; one more"), "{report:?}");
    assert!(Deficit::of(&view.groups, 3) == Deficit::default(), "it is there");
}

#[test]
fn a_lost_replica_of_five_leaves_a_spare_one() {
    let mut status = status_of(1);
    status.degree = 5;
    for group in &mut status.groups {
        let number = group.group.0;
        let more =
            (4..=5).map(|replica| ReplicaStatus { node: node(replica), report: Some(report(number, 1)) });
        group.replicas.extend(more);
        change(group, |report| report.live = 5);
        silence(group, 4);
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
    leave_headless(&mut status.groups[1]);
    let view = view_of([status]);
    assert_eq!(judge(&view).problems, ["partition 1: no leader; not served"]);
    assert_eq!(judge(&view).health, Health::Unavailable);
    assert_eq!(missing(&view), ["partition 1: no leader"]);
    let mut status = status_of(1);
    change(&mut status.groups[2], |report| report.live = 1);
    let report = judged([status]);
    assert_eq!(report.problems, ["partition 2: no majority of replicas; not served"]);
    assert_eq!(report.health, Health::Unavailable);
}

#[test]
fn a_directory_without_a_leader_is_unavailable_and_has_no_coordinator_that_answers() {
    let mut status = status_of(2);
    status.coordinator = Some(ballot(1, 1));
    let view = view_of([without(status, 1)]);
    let report = judge(&view);
    assert_eq!(report.health, Health::Unavailable);
    assert_eq!(report.problems[0], "the directory, partition 1: no leader; not served");
    let coordinator = view.coordinator().unwrap();
    assert_eq!((coordinator.ballot, coordinator.answers), (ballot(1, 1), false));
    let text = text_of(&view);
    assert!(text.contains(", coordinator n1 (does not answer), NOT ready, as n2 sees it\n"), "{text}");
    assert!(words(&text).contains(&vec!["directory", "NONE", "0", "2/3", "0", "10", "-", "-"]), "{text}");
    assert!(!words(&text).iter().any(|line| line.first() == Some(&"2") && line.contains(&"3/3")), "{text}");
}

#[test]
fn the_coordinator_is_the_newest_that_is_heard_of() {
    let mut status = status_of(1);
    status.coordinator = Some(ballot(3, 2));
    let coordinator = view_of([status]).coordinator().unwrap();
    assert_eq!((coordinator.ballot, coordinator.answers), (ballot(3, 2), false), "it leads out of sight");
    let mut status = status_of(1);
    status.coordinator = None;
    let coordinator = view_of([status]).coordinator().unwrap();
    assert_eq!((coordinator.ballot, coordinator.answers), (ballot(1, 1), true), "it says so itself");
    assert_eq!(view_of([founding()]).coordinator(), None);
}

#[test]
fn a_cluster_that_is_not_founded_is_unavailable_and_says_who_is_missing() {
    let view = view_of([founding()]);
    let report = judge(&view);
    assert_eq!(report.health, Health::Unavailable);
    assert_eq!(report.problems, ["the cluster is not founded yet", "no daemon was seen at 127.0.0.3:7400"]);
    let why = "the cluster is not founded yet: founding: waiting for 127.0.0.3:7400";
    assert_eq!(missing(&view), [why]);
    let text = text_of(&view);
    assert!(text.starts_with("cluster not founded, epoch 0, coordinator none, NOT ready, as n1 sees it\n"));
    assert!(text.contains("\nn1: founding: waiting for 127.0.0.3:7400\n"), "{text}");
    let lines = words(&text);
    assert!(lines.contains(&vec!["?", "127.0.0.3:7400", "?", "NO", "0", "0", "-", "-"]), "{text}");
    assert!(lines.contains(&vec![
        "n2",
        "127.0.0.2:7400",
        "founding",
        "yes",
        "0",
        "0",
        "0.25",
        "ms",
        "0.10",
        "%"
    ]));
    assert!(text.ends_with("\nunavailable: 2 of 3 nodes up, 0 of 0 partitions led, 0 keys"), "{text}");
}

#[test]
fn founders_are_found_by_address_or_counted_if_they_are_told_by_name() {
    let joined = |founders: &[&str]| {
        let mut status = without(status_of(1), 3);
        status.groups.retain(|group| group.leader.is_some());
        status.founders = founders.iter().map(|founder| (*founder).to_owned()).collect();
        missing(&view_of([status]))
    };
    let dead = ["n3 (127.0.0.3:7400) does not answer"];
    assert_eq!(joined(&["127.0.0.1:7400", "127.0.0.2", "127.0.0.3"]), dead);
    assert_eq!(joined(&["127.0.0.1:7400", "127.0.0.2:7400"]), [""; 0], "one that joined later may be gone");
    assert_eq!(joined(&["one", "two:7400", "three"]), dead);
    assert_eq!(joined(&["one", "two:7400"]), [""; 0]);
    assert_eq!(joined(&["127.0.0.9:1"]), ["127.0.0.9:1 is not a member"]);
}

#[test]
fn a_node_that_was_cut_off_does_not_speak_for_the_cluster() {
    let mut cut = status_of(3);
    cut.nodes[0].up = false;
    cut.nodes[1].up = false;
    for group in &mut cut.groups {
        silence(group, 1);
        silence(group, 2);
        leave_headless(group);
        change(group, |report| (report.decided, report.applied) = (LogIndex(4), LogIndex(4)));
    }
    let mut whole = status_of(1);
    whole.nodes[2].up = false;
    whole.groups.iter_mut().for_each(|group| silence(group, 3));
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
        for group in &view.groups {
            let facts = view.facts(group);
            assert_eq!(facts.best.unwrap().decided, LogIndex(10));
            assert_eq!((facts.lag, facts.missing()), (6, 0), "the cut one is behind, and there");
        }
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
    assert!(text_of(&view).contains("\nn1, n2, n3: standby: no vote\n"));
}

#[test]
fn a_daemon_of_another_cluster_is_told() {
    let mut other = status_of(3);
    other.cluster = Some(ClusterId([8; 16]));
    change(&mut other.groups[1], |report| report.decided = LogIndex(99));
    let view = view_of([status_of(1), status_of(2), other]);
    assert_eq!(judge(&view).problems, ["n3 at n3:7400 belongs to another cluster (08080808)"]);
    let best = view.facts(&view.groups[1]).best.unwrap();
    assert_eq!(best.decided, LogIndex(10), "its groups are not these");
}

#[test]
fn groups_are_told_by_the_answer_that_knows_most() {
    let mut behind = status_of(1);
    change(&mut behind.groups[2], |report| {
        (report.keys, report.decided, report.applied) = (1, LogIndex(3), LogIndex(3));
    });
    let mut newer = status_of(2);
    change(&mut newer.groups[1], |report| report.leader = Some(ballot(2, 3)));
    let view = view_of([behind, newer]);
    assert_eq!(view.facts(&view.groups[2]).best.unwrap().keys, 5);
    assert_eq!(view.groups[1].leader.map(|ballot| ballot.node), Some(node(3)));
}

#[test]
fn without_an_answer_there_is_no_view() {
    let error = Error::Timeout(Wait::Daemon);
    let survey = Survey { answers: Vec::new(), silent: vec![("a".to_owned(), error.clone())] };
    assert_eq!(View::of(survey).err(), Some(error));
}

#[test]
fn the_deficit_is_exact() {
    let groups = |status: Status| Deficit::of(&status.groups, status.degree);
    assert_eq!(groups(status_of(1)), Deficit::default());
    let one = groups(without(status_of(1), 3));
    assert_eq!((one.replicas, one.partitions, one.directory), (2, 2, 1));
    assert_eq!((one.leaderless.len(), one.without_majority.len()), (0, 0));
    let two = groups(without(without(status_of(2), 3), 1));
    assert_eq!((two.replicas, two.partitions, two.directory), (4, 2, 2));
    assert_eq!(two.leaderless, [GroupId(0), GroupId(1)], "partition 2 is led, though in vain");
    assert_eq!(two.without_majority, [GroupId(0), GroupId(1), GroupId(2)]);
    let mut wanting = status_of(1);
    wanting.degree = 5;
    let wanting = groups(wanting);
    assert_eq!((wanting.replicas, wanting.partitions, wanting.directory), (4, 2, 0), "too few nodes for it");
}

#[test]
fn the_state_of_a_node_counts_beside_whether_it_answers() {
    let told = |change: fn(&mut NodeStatus)| {
        let mut status = status_of(1);
        change(&mut status.nodes[2]);
        judged([status]).problems
    };
    let n3 = "n3 (127.0.0.3:7400)";
    assert_eq!(
        told(|row| row.state = Some(NodeState::Suspect)),
        [format!("{n3} answers n1, and the coordinator does not hear it")]
    );
    assert_eq!(
        told(|row| (row.state, row.up) = (Some(NodeState::Gone), false)),
        [format!("{n3} has ended for good: a daemon that is started there joins as a spare")]
    );
    assert_eq!(
        told(|row| (row.state, row.standing) = (None, None)),
        [format!("{n3} has not said where it stands")]
    );
    let forgotten = |row: &mut NodeStatus| {
        (row.state, row.standing, row.up, row.member) = (None, None, false, Some(MemberState::Dead));
    };
    assert_eq!(told(forgotten), [""; 0], "a process that was replaced");
    assert_eq!(told(|row| row.state = Some(NodeState::Draining)), [""; 0]);
    assert_eq!(told(|row| row.state = Some(NodeState::Joining)), [""; 0]);
}

#[test]
fn a_daemon_that_joins_is_not_said_to_wait_for_a_founding() {
    let mut status = founding();
    status.founders.clear();
    let report = judged([status]);
    assert_eq!(report.problems[0], "this daemon has not joined a cluster yet");
}

#[test]
fn what_an_administrator_must_settle_is_degraded() {
    let mut status = status_of(1);
    status.waits_for = "two daemons are called `n1`".to_owned();
    let report = judged([status]);
    assert_eq!(report.health, Health::Degraded);
    assert_eq!(report.problems, ["n1 says: two daemons are called `n1`"]);
}

#[test]
fn an_answer_without_any_report_says_nothing_of_the_groups() {
    let mut status = status_of(1);
    status.nodes.iter_mut().for_each(|row| row.reported = false);
    for group in &mut status.groups {
        (1..=3).for_each(|dead| silence(group, dead));
    }
    let report = judged([status]);
    assert_eq!(report.health, Health::Unavailable);
    assert_eq!(report.problems, ["n1 had no time to ask how the replicas stand: ask again"]);
}

#[test]
fn the_exit_status_follows_the_health() {
    let exits = [Health::Ok, Health::Degraded, Health::Unavailable].map(|health| health.exit() as u8);
    assert_eq!(exits, [0, 1, 5]);
}
