//! `members`: the nodes as gossip tells of them to one daemon.

use haystack_client::NodeStatus;
use serde_json::{Value, json};

use super::status::{View, ask_one, member_word, standing_word, state_word};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{self, Column};

/// Shows the members.
///
/// # Errors
/// If no daemon answers.
pub(crate) fn members(context: &Context) -> Result<Exit, Failure> {
    let view = ask_one(context)?;
    if context.json {
        output::json(&shape(&view))?;
    } else {
        output::line(&text(&view))?;
    }
    Ok(Exit::Done)
}

fn text(view: &View) -> String {
    let columns = ["node", "id", "address", "member", "state", "zone", "host", "version"].map(Column::left);
    let rows = view.nodes.iter().map(|row| {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        vec![
            if row.name.is_empty() { "?".to_owned() } else { row.name.clone() },
            row.node.map_or_else(|| "?".to_owned(), |node| node.to_string()),
            row.addr.to_string(),
            row.member.map_or("-", member_word).to_owned(),
            row.state.map(state_word).or(row.standing.map(standing_word)).unwrap_or("-").to_owned(),
            or_dash(&row.zone),
            or_dash(&row.host),
            or_dash(version(view, row).unwrap_or("")),
        ]
    });
    let base = &view.base;
    let waits = if base.waits_for.is_empty() { String::new() } else { format!("\n{}", base.waits_for) };
    format!("{}\n\nas {} sees it{waits}", output::table(&columns, rows), base.name)
}

/// A daemon tells its own version only.
fn version<'a>(view: &'a View, row: &NodeStatus) -> Option<&'a str> {
    let own = view.answers.iter().find(|(_, status)| Some(status.node) == row.node);
    own.map(|(_, status)| &*status.version)
}

fn shape(view: &View) -> Value {
    let members: Vec<Value> = view
        .nodes
        .iter()
        .map(|row| {
            json!({
                "id": row.node.map(|node| node.to_string()),
                "name": row.name,
                "address": row.addr.to_string(),
                "member": row.member.map(member_word),
                "state": row.state.map(state_word),
                "standing": row.standing.map(standing_word),
                "zone": row.zone,
                "host": row.host,
                "version": version(view, row),
            })
        })
        .collect();
    json!({
        "cluster": view.base.cluster.map(|cluster| cluster.to_string()),
        "seen_by": view.base.name,
        "waits_for": view.base.waits_for,
        "members": members,
    })
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{founding, status_of, view_of, without, words};
    use super::*;

    #[test]
    fn members_are_shown_with_what_gossip_and_directory_say() {
        let mut status = without(status_of(1), 3);
        (status.nodes[1].zone, status.nodes[1].host) = ("east".to_owned(), "h2".to_owned());
        let text = text(&view_of([status]));
        let lines = words(&text);
        let id = |number: u8| format!("{number:02x}").repeat(16);
        let first = [&id(1), "127.0.0.1:7400", "alive", "up", "-", "-", "0.1.0"];
        assert_eq!(lines[1][1..], first, "{text}");
        assert_eq!(lines[2], ["n2", &id(2), "127.0.0.2:7400", "alive", "up", "east", "h2", "-"], "{text}");
        assert_eq!(lines[3], ["n3", &id(3), "127.0.0.3:7400", "dead", "suspect", "-", "-", "-"], "{text}");
        assert!(text.ends_with("\nas n1 sees it"), "{text}");
    }

    #[test]
    fn before_founding_there_are_no_members_yet_and_it_is_said_who_is_missing() {
        let text = text(&view_of([founding()]));
        assert_eq!(words(&text)[2][3..5], ["-", "founding"], "{text}");
        assert_eq!(words(&text)[3][..4], ["?", "?", "127.0.0.3:7400", "-"], "{text}");
        assert!(text.ends_with("\nfounding: waiting for 127.0.0.3:7400"), "{text}");
    }

    #[test]
    fn the_members_have_the_documented_shape() {
        let json = shape(&view_of([without(status_of(1), 3)]));
        assert_eq!((&json["seen_by"], &json["waits_for"]), (&"n1".into(), &"".into()));
        assert_eq!(json["cluster"], "09".repeat(16));
        let row = |number: u8, member: &str, state: &str, version: Option<&str>| {
            json!({
                "id": format!("{number:02x}").repeat(16), "name": format!("n{number}"),
                "address": format!("127.0.0.{number}:7400"), "member": member, "state": state,
                "standing": "member", "zone": "", "host": "", "version": version
            })
        };
        assert_eq!(
            json["members"],
            json!([
                row(1, "alive", "up", Some("0.1.0")),
                row(2, "alive", "up", None),
                row(3, "dead", "suspect", None)
            ])
        );
        assert_eq!(shape(&view_of([founding()]))["members"][2]["id"], json!(null));
    }
}
