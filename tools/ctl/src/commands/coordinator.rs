//! `coordinator`: who looks after the nodes.

use serde_json::{Value, json};

use super::status::{View, ask, coordinator_json};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;

/// Shows who is the coordinator.
///
/// # Errors
/// If no daemon answers, or the one that does knows of none.
pub(crate) fn coordinator(context: &Context) -> Result<Exit, Failure> {
    let view = ask(context)?;
    view.founded()?;
    let Some(known) = view.coordinator() else {
        let said =
            format!("{} knows of no coordinator; `haystackctl status` shows what is missing", view.base.name);
        return Err(Failure::new(Exit::Unreachable, said));
    };
    if context.json {
        output::json(&shape(&view))?;
    } else {
        output::line(&text(&view))?;
    }
    Ok(if known.answers { Exit::Done } else { Exit::Unreachable })
}

fn text(view: &View) -> String {
    let Some(known) = view.coordinator() else { return String::new() };
    let node = known.ballot.node;
    let address = view.row(node).map_or_else(|| "address unknown".to_owned(), |row| row.addr.to_string());
    let answers = if known.answers { "" } else { "; it does NOT answer" };
    format!(
        "{} ({address}), id {node}, coordinator since ballot {}, as {} sees it{answers}",
        view.name_of(node),
        known.ballot.n,
        view.base.name
    )
}

fn shape(view: &View) -> Value {
    json!({
        "cluster": view.base.cluster.map(|cluster| cluster.to_string()),
        "epoch": view.base.epoch.0,
        "seen_by": view.base.name,
        "coordinator": coordinator_json(view),
    })
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{ballot, founding, status_of, view_of, without};
    use super::*;

    #[test]
    fn the_coordinator_is_told_with_its_ballot_and_whether_it_answers() {
        let id = "01".repeat(16);
        let told = format!("n1 (127.0.0.1:7400), id {id}, coordinator since ballot 1, as n2 sees it");
        assert_eq!(text(&view_of([status_of(2)])), told);
        assert_eq!(text(&view_of([without(status_of(2), 1)])), format!("{told}; it does NOT answer"));
        let mut status = status_of(2);
        status.coordinator = Some(ballot(8, 7));
        let stranger = text(&view_of([status]));
        assert!(stranger.starts_with("07070707 (address unknown), id 0707"), "{stranger}");
    }

    #[test]
    fn the_coordinator_has_the_documented_shape() {
        assert_eq!(
            shape(&view_of([without(status_of(2), 1)])),
            json!({
                "cluster": "09".repeat(16), "epoch": 1, "seen_by": "n2",
                "coordinator": {
                    "id": "01".repeat(16), "name": "n1", "address": "127.0.0.1:7400", "ballot": 1,
                    "answers": false
                }
            })
        );
    }

    #[test]
    fn before_founding_there_is_none_and_it_is_said_why() {
        let failure = view_of([founding()]).founded().unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        let said = "the cluster is not founded yet: founding: waiting for 127.0.0.3:7400";
        assert_eq!(failure.message, said);
        assert_eq!(view_of([status_of(1)]).founded(), Ok(()));
    }
}
