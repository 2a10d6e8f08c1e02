//! A view of the cluster, for people and for programs.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use haystack_client::{GroupId, GroupStatus, NodeStatus};
use haystack_wire::message::directory::Standing;
use serde_json::{Map, Value, json};

use super::health::{Health, Report};
use super::view::View;
use crate::failure::Failure;
use crate::output;

/// Tables, what is waited for, and the health in the last line.
pub(crate) fn text(view: &View, report: &Report) -> String {
    let base = &view.base;
    let cluster = base.cluster.map_or_else(|| "not founded".to_owned(), |cluster| cluster.short());
    let mut text = format!("cluster {cluster}, epoch {}, as {} sees it\n\n", base.epoch, base.name);
    text.push_str(&format!("{}\n\n", nodes(view).trim_fmt()));
    if !view.groups.is_empty() {
        text.push_str(&format!("{}\n\n", groups(view).trim_fmt()));
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
    text + &summary(view, report)
}

/// What the daemons wait for, with the names of those that say the same.
fn waits(view: &View) -> Vec<(Vec<&str>, &str)> {
    let mut said: Vec<(Vec<&str>, &str)> = Vec::new();
    for (_, status) in view.answers.iter().filter(|(_, status)| !status.waits_for.is_empty()) {
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
    let data = || view.groups.iter().filter(|group| group.group != GroupId::DIRECTORY);
    let led = data().filter(|group| group.leader.is_some()).count();
    let keys: u64 = data().map(|group| group.keys).sum();
    format!(
        "{}: {up} of {} nodes up, {led} of {} partitions led, {}",
        report.health.word(),
        view.nodes.len(),
        data().count(),
        output::count(keys, "key")
    )
}

fn table(header: &[&str], right_from: usize) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(right_from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn nodes(view: &View) -> Table {
    let mut table = table(&["node", "address", "up", "standing", "rtt", "loss"], 4);
    for node in &view.nodes {
        let is_self = node.node == Some(view.base.node);
        let measured = |text: String| if node.up && !is_self { text } else { "-".to_owned() };
        let name = if node.name.is_empty() { "?" } else { &node.name };
        table.add_row([
            name.to_owned(),
            node.addr.to_string(),
            if node.up { "yes" } else { "NO" }.to_owned(),
            node.standing.filter(|_| node.up).map_or("?", word).to_owned(),
            measured(format!("{:.2} ms", node.rtt_us as f64 / 1000.0)),
            measured(format!("{:.2} %", f64::from(node.loss_ppm) / 10_000.0)),
        ]);
    }
    table
}

fn groups(view: &View) -> Table {
    let header = ["partition", "leader", "replicas", "log", "decided", "applied", "keys", "bytes"];
    let mut table = table(&header, 2);
    for group in &view.groups {
        let is_directory = group.group == GroupId::DIRECTORY;
        let stored = |number: u64| if is_directory { "-".to_owned() } else { number.to_string() };
        table.add_row([
            if is_directory { "directory".to_owned() } else { group.group.to_string() },
            group.leader.map_or_else(|| "NONE".to_owned(), |ballot| view.name_of(ballot.node)),
            format!("{}/{}", group.live, group.replicas.len()),
            group.len.to_string(),
            group.decided.to_string(),
            group.applied.to_string(),
            stored(group.keys),
            stored(group.bytes),
        ]);
    }
    table
}

const fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Founding => "founding",
        Standing::Member => "member",
        Standing::Standby => "standby",
    }
}

/// The documented shape.
pub(crate) fn json(view: &View, report: &Report) -> Value {
    let base = &view.base;
    json!({
        "health": report.health.word(),
        "problems": report.problems,
        "cluster": base.cluster.map(|cluster| cluster.to_string()),
        "history": base.history.0,
        "epoch": base.epoch.0,
        "seen_by": base.name,
        "founders": base.founders,
        "nodes": view.nodes.iter().map(|node| node_json(view, node)).collect::<Vec<_>>(),
        "groups": view.groups.iter().map(|group| group_json(view, group)).collect::<Vec<_>>(),
        "answers": view.answers.iter().map(|(address, status)| {
            let counters: Map<String, Value> =
                status.counters.iter().map(|(name, count)| (name.clone(), (*count).into())).collect();
            json!({
                "address": address,
                "id": status.node.to_string(),
                "name": status.name,
                "version": status.version,
                "standing": word(status.standing),
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

fn node_json(view: &View, node: &NodeStatus) -> Value {
    json!({
        "id": node.node.map(|node| node.to_string()),
        "name": node.name,
        "address": node.addr.to_string(),
        "up": node.up,
        "standing": node.standing.map(word),
        "rtt_us": node.rtt_us,
        "loss_ppm": node.loss_ppm,
        "answered": view.answered(node.node),
    })
}

fn group_json(view: &View, group: &GroupStatus) -> Value {
    json!({
        "group": group.group.0,
        "view": group.view.0,
        "leader": group.leader.map(|ballot| json!({
            "id": ballot.node.to_string(),
            "name": view.name_of(ballot.node),
            "ballot": ballot.n,
        })),
        "replicas": group.replicas.iter().map(|node| view.name_of(*node)).collect::<Vec<_>>(),
        "live": group.live,
        "len": group.len.0,
        "decided": group.decided.0,
        "applied": group.applied.0,
        "keys": group.keys,
        "bytes": group.bytes,
        "sessions": group.sessions,
    })
}
