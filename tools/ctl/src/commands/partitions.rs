//! `partitions`: which slots are served by which nodes.

use haystack_client::{GroupStatus, NodeId};
use haystack_wire::message::admin::ReplicaStatus;
use serde_json::{Value, json};

use super::node::find_node;
use super::status::{View, ask, group_json, lag};
use crate::cli::Partitions;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{self, Column};

/// Shows the directory and the partitions, or those that a node has a replica of.
///
/// # Errors
/// If no daemon answers that knows them, or there is no such node.
pub(crate) fn partitions(asked: &Partitions, context: &Context) -> Result<Exit, Failure> {
    let view = ask(context)?;
    view.founded()?;
    let of = asked.of.as_deref().map(|text| find_node(&view, text)).transpose()?;
    let shown = shown(&view, of);
    if context.json {
        output::json(&shape(&view, &shown))?;
    } else {
        output::line(&text(&view, &shown))?;
    }
    Ok(Exit::Done)
}

fn shown(view: &View, of: Option<NodeId>) -> Vec<&GroupStatus> {
    let has = |group: &&GroupStatus| {
        of.is_none_or(|node| group.replicas.iter().any(|replica| replica.node == node))
    };
    view.groups.iter().filter(has).collect()
}

fn text(view: &View, shown: &[&GroupStatus]) -> String {
    let columns = [
        Column::left("partition"),
        Column::left("slots"),
        Column::left("leader"),
        Column::right("view"),
        Column::left("replicas"),
    ];
    let rows = shown.iter().map(|group| {
        vec![
            group.slots.map_or_else(|| "directory".to_owned(), |_| group.group.to_string()),
            group.slots.map_or_else(|| "-".to_owned(), |slots| format!("{}-{}", slots.first, slots.last)),
            group.leader.map_or_else(|| "NONE".to_owned(), |ballot| view.name_of(ballot.node)),
            group.view.to_string(),
            replicas(view, group),
        ]
    });
    format!("{}\n\nas {} sees it", output::table(&columns, rows), view.base.name)
}

/// The replicas in order of preference for leading, with what they lag behind.
pub(crate) fn replicas(view: &View, group: &GroupStatus) -> String {
    let one = |replica: &ReplicaStatus| {
        let name = view.name_of(replica.node);
        match lag(group, replica) {
            Some(0) => name,
            Some(lag) => format!("{name} (lag {lag})"),
            None => format!("{name} (silent)"),
        }
    };
    group.replicas.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn shape(view: &View, shown: &[&GroupStatus]) -> Value {
    json!({
        "epoch": view.base.epoch.0,
        "degree": view.base.degree,
        "seen_by": view.base.name,
        "groups": shown.iter().map(|group| group_json(view, group)).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use haystack_client::LogIndex;

    use super::super::status::tests::{node, status_of, view_of, without, words};
    use super::*;

    #[test]
    fn partitions_are_shown_with_slots_leader_view_and_lagging_replicas() {
        let mut status = without(status_of(1), 3);
        let replica = &mut status.groups[2].replicas[0];
        replica.report.iter_mut().for_each(|report| report.applied = LogIndex(7));
        let view = view_of([status]);
        let text = text(&view, &shown(&view, None));
        let lines = words(&text);
        assert_eq!(lines[1], ["directory", "-", "n1", "0", "n1,", "n2,", "n3", "(silent)"], "{text}");
        assert_eq!(lines[2], ["1", "0-8191", "n1", "0", "n1,", "n2,", "n3", "(silent)"], "{text}");
        let last = ["2", "8192-16383", "n2", "0", "n1", "(lag", "3),", "n2,", "n3", "(silent)"];
        assert_eq!(lines[3], last, "{text}");
        assert!(text.ends_with("\nas n1 sees it"), "{text}");
    }

    #[test]
    fn those_of_a_node_are_those_that_it_has_a_replica_of() {
        let mut status = status_of(1);
        status.groups[1].replicas.pop();
        let view = view_of([status]);
        let numbers = |of| shown(&view, of).iter().map(|group| group.group.0).collect::<Vec<_>>();
        assert_eq!(numbers(None), [0, 1, 2]);
        assert_eq!(numbers(Some(node(3))), [0, 2]);
    }

    #[test]
    fn the_partitions_have_the_documented_shape() {
        let view = view_of([status_of(1)]);
        let json = shape(&view, &shown(&view, None));
        assert_eq!((&json["epoch"], &json["degree"], &json["seen_by"]), (&1.into(), &3.into(), &"n1".into()));
        assert_eq!(json["groups"][0]["slots"], json!(null));
        assert_eq!(json["groups"][2]["slots"], json!([8192, 16383]));
        assert_eq!(json["groups"][2]["leader"]["address"], "127.0.0.2:7400");
        assert_eq!(json["groups"][2]["reports"][1]["address"], "127.0.0.2:7400");
    }
}
