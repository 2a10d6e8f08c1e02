//! `where`: which nodes serve a key.

use std::os::unix::ffi::OsStrExt as _;

use haystack_client::GroupStatus;
use haystack_wire::ids::Slot;
use haystack_wire::slot::slot_of;
use serde_json::Value;

use super::partitions::replicas;
use super::status::{View, ask, group_json};
use crate::cli::Where;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;

/// Shows the slot, the partition and the nodes of a key.
///
/// # Errors
/// If no daemon answers that knows the partitions.
pub(crate) fn locate(asked: &Where, context: &Context) -> Result<Exit, Failure> {
    let key = asked.key.as_bytes();
    let view = ask(context)?;
    view.founded()?;
    let slot = slot_of(key);
    let group = group_of(&view, slot).ok_or_else(|| {
        Failure::new(Exit::Unreachable, format!("{} knows of no partition of slot {slot}", view.base.name))
    })?;
    if context.json {
        output::json(&shape(&view, group, key, slot))?;
    } else {
        output::line(&text(&view, group, slot))?;
    }
    Ok(Exit::Done)
}

fn group_of(view: &View, slot: Slot) -> Option<&GroupStatus> {
    view.groups
        .iter()
        .find(|group| group.slots.is_some_and(|slots| slots.first <= slot && slot <= slots.last))
}

fn text(view: &View, group: &GroupStatus, slot: Slot) -> String {
    let slots = group.slots.map_or_else(String::new, |slots| format!("{} to {}", slots.first, slots.last));
    let leader = group.leader.map_or_else(
        || "NONE".to_owned(),
        |ballot| view.row(ballot.node).map_or_else(|| ballot.node.short(), super::status::who),
    );
    let replicas = replicas(view, group);
    let (group, number) = (group.group, group.view);
    format!(
        "slot {slot}, partition {group} (slots {slots}, view {number})\nleader {leader}\nreplicas {replicas}"
    )
}

fn shape(view: &View, group: &GroupStatus, key: &[u8], slot: Slot) -> Value {
    let mut object = output::about(key);
    object.insert("slot".into(), slot.0.into());
    if let Value::Object(group) = group_json(view, group) {
        object.extend(group);
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{status_of, view_of, without};
    use super::*;

    #[test]
    fn a_key_is_located_by_its_slot() {
        let view = view_of([without(status_of(1), 3)]);
        // The check value of the hash: slot 12739, in the upper half.
        let slot = slot_of(b"123456789");
        let group = group_of(&view, slot).unwrap();
        assert_eq!(
            text(&view, group, slot),
            "slot 12739, partition 2 (slots 8192 to 16383, view 0)\nleader n2 (127.0.0.2:7400)\nreplicas n1, n2, n3 \
             (silent)"
        );
        let view = view_of([without(status_of(1), 2)]);
        let group = group_of(&view, slot).unwrap();
        assert!(text(&view, group, slot).contains("\nleader NONE\n"));
    }

    #[test]
    fn a_located_key_has_the_documented_shape() {
        let view = view_of([status_of(1)]);
        let (slot, group) = (Slot(5), group_of(&view, Slot(5)).unwrap());
        let json = shape(&view, group, b"\xff", slot);
        assert_eq!((&json["key_b64"], &json["slot"], &json["group"]), (&"/w==".into(), &5.into(), &1.into()));
        assert_eq!(json["leader"]["name"], "n1");
        assert_eq!(json["replicas"], serde_json::json!(["n1", "n2", "n3"]));
    }
}
