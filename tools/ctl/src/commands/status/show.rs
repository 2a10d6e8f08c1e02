//! A view of the cluster, for people and for programs.

use std::collections::BTreeMap;

use haystack_client::{GroupId, GroupStatus, NodeId, NodeStatus};
use haystack_wire::message::admin::{ReplicaReport, ReplicaStatus};
use haystack_wire::message::directory::{NodeState, Standing};
use haystack_wire::message::membership::MemberState;
use serde_json::{Map, Value, json};

use super::facts::{Deficit, lag};
use super::health::{Health, Report};
use super::view::View;
use crate::failure::Failure;
use crate::output::{self, Column};

/// The nodes, the partitions that are not well or all, what is missing and waited for, and the health in the last line.
pub(crate) fn text(view: &View, report: &Report, all_groups: bool) -> String {
    let mut text = format!("{}\n\n{}\n\n", headline(view), nodes(view));
    let shown: Vec<&GroupStatus> =
        view.groups.iter().filter(|group| all_groups || !is_well(view, group)).collect();
    if !shown.is_empty() {
        text.push_str(&format!("{}\n\n", groups(view, &shown)));
    }
    if !view.groups.is_empty() {
        text.push_str(&format!("{}\n", groups_in_short(view)));
    }
    for (names, waits_for) in waits(view) {
        text.push_str(&format!("{}: {waits_for}\n", names.join(", ")));
    }
    if report.health != Health::Ok && !view.silent.is_empty() {
        text.push_str(&format!("no answer from {}\n", view.silent.join(", ")));
    }
    for problem in &report.problems {
        text.push_str(&format!("- {problem}\n"));
    }
    if let Some(deficit) = deficit(view) {
        text.push_str(&format!("{deficit}\n"));
    }
    text + &summary(view, report)
}

fn headline(view: &View) -> String {
    let base = &view.base;
    let cluster = base.cluster.map_or_else(|| "not founded".to_owned(), |cluster| cluster.short());
    let coordinator = match view.coordinator() {
        None => "none".to_owned(),
        Some(known) if known.answers => view.name_of(known.ballot.node),
        Some(known) => format!("{} (does not answer)", view.name_of(known.ballot.node)),
    };
    let ready = if view.is_ready() { "ready" } else { "NOT ready" };
    format!(
        "cluster {cluster}, epoch {}, coordinator {coordinator}, {ready}, as {} sees it",
        base.epoch, base.name
    )
}

/// What the daemons wait for, with the names of those that say the same.
fn waits(view: &View) -> Vec<(Vec<&str>, &str)> {
    let mut said: Vec<(Vec<&str>, &str)> = Vec::new();
    let waits = |status: &haystack_client::Status| {
        // What a member says is among the problems.
        status.standing != Standing::Member && !status.waits_for.is_empty()
    };
    for (_, status) in view.answers.iter().filter(|(_, status)| waits(status)) {
        match said.iter_mut().find(|(_, text)| *text == status.waits_for) {
            Some((names, _)) => names.push(&status.name),
            None => said.push((vec![&status.name], &status.waits_for)),
        }
    }
    for (names, _) in &mut said {
        names.sort_unstable();
    }
    said
}

fn summary(view: &View, report: &Report) -> String {
    let up = view.nodes.iter().filter(|node| node.up).count();
    let led = view.partitions().filter(|group| group.leader.is_some()).count();
    format!(
        "{}: {up} of {} nodes up, {led} of {} partitions led, {}",
        report.health.word(),
        view.nodes.len(),
        view.partitions().count(),
        output::count(keys(view), "key")
    )
}

fn keys(view: &View) -> u64 {
    let best = view.partitions().filter_map(|group| view.facts(group).best);
    best.map(|report| report.keys).sum()
}

/// What is missing, in numbers; none if nothing is.
fn deficit(view: &View) -> Option<String> {
    let deficit = Deficit::of(&view.groups, view.base.degree);
    let directory = view.groups.iter().find(|group| group.group == GroupId::DIRECTORY);
    let size = directory.map_or(0, |group| group.replicas.len());
    let count = |number: usize, what| output::count(number as u64, what);
    let Deficit { replicas, partitions, directory, leaderless, without_majority } = &deficit;
    let replicas = format!("{} of {}", count(*replicas, "replica"), count(*partitions, "partition"));
    let parts: Vec<String> = [
        (*partitions > 0).then_some(replicas),
        (*directory > 0).then(|| format!("{directory} of {size} replicas of the directory")),
        (!leaderless.is_empty()).then(|| format!("the leader of {}", count(leaderless.len(), "group"))),
        (!without_majority.is_empty())
            .then(|| format!("the majority of {}", count(without_majority.len(), "group"))),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| format!("missing: {}", parts.join("; ")))
}

/// Replicas of partitions that a node has by the map, those of them that it reports, and the partitions that it leads.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    replicas: usize,
    reported: usize,
    leads: usize,
}

fn loads(view: &View) -> BTreeMap<NodeId, Load> {
    let mut loads: BTreeMap<NodeId, Load> = BTreeMap::new();
    for group in view.partitions() {
        for replica in &group.replicas {
            let load = loads.entry(replica.node).or_default();
            load.replicas += 1;
            load.reported += usize::from(replica.report.is_some());
        }
        if let Some(leader) = group.leader {
            loads.entry(leader.node).or_default().leads += 1;
        }
    }
    loads
}

fn nodes(view: &View) -> String {
    let has_zones = view.nodes.iter().any(|node| !node.zone.is_empty());
    let has_hosts = view.nodes.iter().any(|node| !node.host.is_empty());
    let mut columns = vec![Column::left("node"), Column::left("address")];
    columns.extend(has_zones.then(|| Column::left("zone")));
    columns.extend(has_hosts.then(|| Column::left("host")));
    columns.extend(["state", "up"].map(Column::left));
    columns.extend(["replicas", "leads", "rtt", "loss"].map(Column::right));
    let loads = loads(view);
    let rows = view.nodes.iter().map(|node| {
        let is_self = node.node == Some(view.base.node);
        let measured = |text: String| if node.up && !is_self { text } else { "-".to_owned() };
        let load = node.node.and_then(|id| loads.get(&id)).copied().unwrap_or_default();
        let mut cells = vec![or(&node.name, "?"), node.addr.to_string()];
        cells.extend(has_zones.then(|| or(&node.zone, "-")));
        cells.extend(has_hosts.then(|| or(&node.host, "-")));
        cells.push(state_of(node).unwrap_or("?").to_owned());
        cells.push(if node.up { "yes" } else { "NO" }.to_owned());
        cells.push(match load {
            Load { replicas, reported, .. } if reported < replicas => format!("{reported} of {replicas}"),
            Load { replicas, .. } => replicas.to_string(),
        });
        cells.push(load.leads.to_string());
        cells.push(measured(format!("{:.2} ms", node.rtt_us as f64 / 1000.0)));
        cells.push(measured(format!("{:.2} %", f64::from(node.loss_ppm) / 10_000.0)));
        cells
    });
    output::table(&columns, rows)
}

fn or(text: &str, instead: &str) -> String {
    if text.is_empty() { instead } else { text }.to_owned()
}

/// What is decided about a node, or where it stands as long as nothing is.
fn state_of(node: &NodeStatus) -> Option<&'static str> {
    node.state.map(state_word).or_else(|| node.standing.filter(|_| node.up).map(standing_word))
}

fn is_well(view: &View, group: &GroupStatus) -> bool {
    let facts = view.facts(group);
    group.leader.is_some() && facts.has_majority() && !facts.is_worn()
}

/// All groups in a line.
fn groups_in_short(view: &View) -> String {
    let well = view.groups.iter().filter(|group| is_well(view, group)).count();
    let views = || view.groups.iter().map(|group| group.view.0);
    let worst = view.groups.iter().map(|group| (view.facts(group).lag, group.group)).max();
    let lag = match worst {
        Some((lag, group)) if lag > 0 => {
            format!("largest lag {} ({})", output::count(lag, "entry"), super::group_name(group))
        }
        _ => "no lag".to_owned(),
    };
    let (first, last) = (views().min().unwrap_or(0), views().max().unwrap_or(0));
    let views = if first == last { format!("view {first}") } else { format!("views {first} to {last}") };
    let all = view.groups.len();
    format!("{well} of {all} groups are led and complete (the directory and the partitions), {views}, {lag}")
}

fn groups(view: &View, shown: &[&GroupStatus]) -> String {
    let columns = [
        Column::left("partition"),
        Column::left("leader"),
        Column::right("view"),
        Column::right("replicas"),
        Column::right("lag"),
        Column::right("decided"),
        Column::right("keys"),
        Column::right("bytes"),
    ];
    let rows = shown.iter().map(|group| {
        let is_directory = group.group == GroupId::DIRECTORY;
        let facts = view.facts(group);
        let told = |what: fn(&ReplicaReport) -> u64| facts.best.as_ref().map_or(0, what);
        let stored = |number: u64| if is_directory { "-".to_owned() } else { number.to_string() };
        vec![
            if is_directory { "directory".to_owned() } else { group.group.to_string() },
            group.leader.map_or_else(|| "NONE".to_owned(), |ballot| view.name_of(ballot.node)),
            group.view.to_string(),
            format!("{}/{}", facts.reporting, facts.wanted),
            facts.lag.to_string(),
            told(|report| report.decided.0).to_string(),
            stored(told(|report| report.keys)),
            stored(told(|report| report.bytes)),
        ]
    });
    output::table(&columns, rows)
}

/// The word for where a process stands.
pub(crate) const fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Founding => "founding",
        Standing::Member => "member",
        Standing::Standby => "standby",
    }
}

/// The word for what the directory has decided about a node.
pub(crate) const fn state_word(state: NodeState) -> &'static str {
    match state {
        NodeState::Joining => "joining",
        NodeState::Up => "up",
        NodeState::Suspect => "suspect",
        NodeState::Down => "down",
        NodeState::Draining => "draining",
        NodeState::Gone => "gone",
    }
}

/// The word for what the members take a node for.
pub(crate) const fn member_word(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Dead => "dead",
        MemberState::Left => "left",
    }
}

/// The documented shape.
pub(crate) fn json(view: &View, report: &Report) -> Value {
    let base = &view.base;
    let loads = loads(view);
    json!({
        "health": report.health.word(),
        "problems": report.problems,
        "ready": view.is_ready(),
        "cluster": base.cluster.map(|cluster| cluster.to_string()),
        "history": base.history.0,
        "epoch": base.epoch.0,
        "degree": base.degree,
        "coordinator": coordinator_json(view),
        "deficit": deficit_json(&Deficit::of(&view.groups, base.degree)),
        "seen_by": base.name,
        "waits_for": base.waits_for,
        "founders": base.founders,
        "nodes": view.nodes.iter().map(|node| {
            let load = node.node.and_then(|id| loads.get(&id)).copied().unwrap_or_default();
            node_json(view, node, load)
        }).collect::<Vec<_>>(),
        "groups": view.groups.iter().map(|group| group_json(view, group)).collect::<Vec<_>>(),
        "answers": view.answers.iter().map(|(address, status)| {
            let counters: Map<String, Value> =
                status.counters.iter().map(|(name, count)| (name.clone(), (*count).into())).collect();
            json!({
                "address": address,
                "id": status.node.to_string(),
                "name": status.name,
                "version": status.version,
                "standing": standing_word(status.standing),
                "cluster": status.cluster.map(|cluster| cluster.to_string()),
                "waits_for": status.waits_for,
                "counters": counters,
            })
        }).collect::<Vec<_>>(),
        "silent": view.silent,
    })
}

/// The shape where no daemon answers.
pub(crate) fn unseen(failure: &Failure) -> Value {
    let mut shape = failure.to_json();
    shape["health"] = Health::Unavailable.word().into();
    shape["problems"] = json!([failure.message]);
    shape
}

/// The coordinator, or null.
pub(crate) fn coordinator_json(view: &View) -> Value {
    let Some(known) = view.coordinator() else { return Value::Null };
    let node = known.ballot.node;
    json!({
        "id": node.to_string(),
        "name": view.known_name(node),
        "address": view.row(node).map(|row| row.addr.to_string()),
        "ballot": known.ballot.n,
        "answers": known.answers,
    })
}

fn deficit_json(deficit: &Deficit) -> Value {
    let numbers = |groups: &[GroupId]| groups.iter().map(|group| group.0).collect::<Vec<_>>();
    json!({
        "replicas": deficit.replicas,
        "partitions": deficit.partitions,
        "directory_replicas": deficit.directory,
        "without_leader": numbers(&deficit.leaderless),
        "without_majority": numbers(&deficit.without_majority),
    })
}

fn node_json(view: &View, node: &NodeStatus, load: Load) -> Value {
    json!({
        "id": node.node.map(|node| node.to_string()),
        "name": node.name,
        "address": node.addr.to_string(),
        "zone": node.zone,
        "host": node.host,
        "up": node.up,
        "state": node.state.map(state_word),
        "member": node.member.map(member_word),
        "standing": node.standing.map(standing_word),
        "replicas": load.replicas,
        "reported_replicas": load.reported,
        "leads": load.leads,
        "rtt_us": node.rtt_us,
        "loss_ppm": node.loss_ppm,
        "answered": view.answered(node.node),
    })
}

/// A group in the documented shape.
pub(crate) fn group_json(view: &View, group: &GroupStatus) -> Value {
    let facts = view.facts(group);
    let told = |what: fn(&ReplicaReport) -> u64| facts.best.as_ref().map_or(0, what);
    json!({
        "group": group.group.0,
        "slots": group.slots.map(|slots| [slots.first.0, slots.last.0]),
        "view": group.view.0,
        "leader": group.leader.map(|ballot| json!({
            "id": ballot.node.to_string(),
            "name": view.name_of(ballot.node),
            "address": view.row(ballot.node).map(|row| row.addr.to_string()),
            "ballot": ballot.n,
        })),
        "replicas": group.replicas.iter().map(|replica| view.name_of(replica.node)).collect::<Vec<_>>(),
        "reports": group.replicas.iter().map(|replica| replica_json(view, group, replica)).collect::<Vec<_>>(),
        "missing": facts.missing(),
        "lag": facts.lag,
        "live": facts.live,
        "len": told(|report| report.len.0),
        "decided": told(|report| report.decided.0),
        "applied": told(|report| report.applied.0),
        "keys": told(|report| report.keys),
        "bytes": told(|report| report.bytes),
        "sessions": told(|report| report.sessions),
    })
}

fn replica_json(view: &View, group: &GroupStatus, replica: &ReplicaStatus) -> Value {
    let report = replica.report;
    json!({
        "id": replica.node.to_string(),
        "name": view.name_of(replica.node),
        "address": view.row(replica.node).map(|row| row.addr.to_string()),
        "reports": report.is_some(),
        "view": report.map(|report| report.view.0),
        "decided": report.map(|report| report.decided.0),
        "applied": report.map(|report| report.applied.0),
        "lag": lag(group, replica),
    })
}

#[cfg(test)]
mod tests;
