//! Events, for people and for programs.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use haystack_client::NodeId;
use haystack_wire::ids::Ballot;
use haystack_wire::message::admin::{ClusterEvent, EventRecord};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::super::status::{group_name, state_word};
use super::follow::Told;

/// When something happened that is so old: in UTC, to the millisecond, `2026-01-31T12:34:56.789Z`.
pub(super) fn time(wall: SystemTime, age_ms: u64) -> String {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = since.saturating_sub(Duration::from_millis(age_ms));
    let at =
        time::Duration::try_from(since).ok().and_then(|since| OffsetDateTime::UNIX_EPOCH.checked_add(since));
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second, millisecond) = (at.hour(), at.minute(), at.second(), at.millisecond());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// An event as a line.
pub(super) fn text(record: &EventRecord, time: &str, names: &BTreeMap<NodeId, String>) -> String {
    let name = |node: &NodeId| names.get(node).cloned().unwrap_or_else(|| node.short());
    let leader = |ballot: &Ballot| format!("{} (ballot {})", name(&ballot.node), ballot.n);
    let what = match &record.event {
        ClusterEvent::Alive { info } => format!("{} ({})", name(&info.node), info.addr),
        ClusterEvent::Suspect { node }
        | ClusterEvent::Restore { node }
        | ClusterEvent::Dead { node }
        | ClusterEvent::Left { node } => name(node),
        ClusterEvent::Decided { node, state } => format!("{}: {}", name(node), state_word(*state)),
        ClusterEvent::Leader { group, leader: led } => {
            format!("{}: {}", group_name(*group), led.as_ref().map_or_else(|| "NONE".to_owned(), leader))
        }
        ClusterEvent::View { group, view } => format!("{}: view {view}", group_name(*group)),
        ClusterEvent::Coordinator { leader: ballot } => leader(ballot),
        ClusterEvent::Map { epoch } => format!("epoch {epoch}"),
        ClusterEvent::Conflict(what) => what.clone(),
    };
    format!("{time} {:>6} {:<11} {what}", record.number, record.event.name())
}

/// An event in the documented shape.
pub(super) fn json(
    record: &EventRecord,
    time: &str,
    seen_by: &str,
    names: &BTreeMap<NodeId, String>,
) -> Value {
    let mut object = Map::new();
    object.insert("number".into(), record.number.into());
    object.insert("time".into(), time.into());
    object.insert("seen_by".into(), seen_by.into());
    object.insert("event".into(), record.event.name().into());
    let node = |node: NodeId| json!({ "id": node.to_string(), "name": names.get(&node) });
    let leader = |ballot: &Ballot| json!({ "id": ballot.node.to_string(), "name": names.get(&ballot.node), "ballot": ballot.n });
    let fields = match &record.event {
        ClusterEvent::Alive { info } => vec![
            ("node", node(info.node)),
            ("address", info.addr.to_string().into()),
            ("zone", info.zone.clone().into()),
            ("host", info.host.clone().into()),
        ],
        ClusterEvent::Decided { node: about, state } => {
            vec![("node", node(*about)), ("state", state_word(*state).into())]
        }
        ClusterEvent::Suspect { node: about }
        | ClusterEvent::Restore { node: about }
        | ClusterEvent::Dead { node: about }
        | ClusterEvent::Left { node: about } => vec![("node", node(*about))],
        ClusterEvent::Leader { group, leader: led } => {
            vec![("group", group.0.into()), ("leader", led.as_ref().map_or(Value::Null, leader))]
        }
        ClusterEvent::View { group, view } => vec![("group", group.0.into()), ("view", view.0.into())],
        ClusterEvent::Coordinator { leader: ballot } => vec![("leader", leader(ballot))],
        ClusterEvent::Map { epoch } => vec![("epoch", epoch.0.into())],
        ClusterEvent::Conflict(what) => vec![("message", what.clone().into())],
    };
    object.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(object)
}

/// What is said to people beside the events.
pub(super) fn notice(told: &Told) -> String {
    match told {
        Told::Event { seen_by, record } => format!("{seen_by}: event {}", record.number),
        Told::Forgotten(1) => "1 event was forgotten before it could be told".to_owned(),
        Told::Forgotten(count) => format!("{count} events were forgotten before they could be told"),
        Told::Lost(name) => format!("{name} does not answer any more; looking for another daemon"),
        Told::Follows { name, instead: false } => format!("as {name} saw it:"),
        Told::Follows { name, instead: true } => {
            format!("from here on as {name} saw it, by its own numbers:")
        }
    }
}
