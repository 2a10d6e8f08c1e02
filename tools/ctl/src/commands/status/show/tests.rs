use haystack_client::LogIndex;
use haystack_wire::ids::ViewId;
use serde_json::json;

use super::super::health::judge;
use super::super::tests::{founding, status_of, text_of, view_of, without, words};
use super::*;
use crate::failure::Exit;

#[test]
fn the_deficit_is_told_in_words_above_the_health() {
    let text = text_of(&view_of([without(status_of(1), 3)]));
    let line = "missing: 2 replicas of 2 partitions; 1 of 3 replicas of the directory";
    assert!(text.contains(&format!("\n{line}\ndegraded: 2 of 3 nodes up")), "{text}");
    let text = text_of(&view_of([without(without(status_of(2), 3), 1)]));
    let line = "missing: 4 replicas of 2 partitions; 2 of 3 replicas of the directory; the leader of 2 groups; the \
                majority of 3 groups";
    assert!(text.contains(&format!("\n{line}\nunavailable: 1 of 3 nodes up")), "{text}");
    assert!(!text_of(&view_of([status_of(1)])).contains("missing"));
}

#[test]
fn the_text_ends_with_the_health_and_shows_nodes_and_groups_that_are_not_well() {
    let view = view_of([without(status_of(1), 3)]);
    let text = text_of(&view);
    let lines = words(&text);
    let first = "cluster 09090909, epoch 1, coordinator n1, ready, as n1 sees it";
    assert!(text.starts_with(first), "{text}");
    assert!(
        lines.contains(&vec!["n2", "127.0.0.2:7400", "up", "yes", "2", "1", "0.25", "ms", "0.10", "%"]),
        "{text}"
    );
    assert!(
        lines.contains(&vec!["n3", "127.0.0.3:7400", "suspect", "NO", "0", "of", "2", "0", "-", "-"]),
        "{text}"
    );
    assert!(lines.contains(&vec!["2", "n2", "0", "2/3", "0", "10", "5", "50"]), "{text}");
    assert!(lines.contains(&vec!["directory", "n1", "0", "2/3", "0", "10", "-", "-"]), "{text}");
    let short = "0 of 3 groups are led and complete (the directory and the partitions), view 0, no lag";
    assert!(text.contains(short), "{text}");
    assert!(text.ends_with("\ndegraded: 2 of 3 nodes up, 2 of 2 partitions led, 10 keys"), "{text}");
}

#[test]
fn groups_that_are_well_are_summed_up_unless_all_are_asked_for() {
    let mut status = status_of(1);
    status.groups[2].view = ViewId(4);
    let replica = &mut status.groups[2].replicas[2];
    replica.report.iter_mut().for_each(|report| report.applied = LogIndex(7));
    let view = view_of([status]);
    let row = vec!["2", "n2", "4", "3/3", "3", "10", "5", "50"];
    let short_text = text_of(&view);
    assert!(!words(&short_text).contains(&row), "{short_text}");
    let short = "3 of 3 groups are led and complete (the directory and the partitions), views 0 to 4, largest lag 3 \
                 entries (partition 2)";
    assert!(short_text.contains(short), "{short_text}");
    let all = text(&view, &judge(&view), true);
    assert!(words(&all).contains(&row), "{all}");
}

#[test]
fn zones_and_hosts_are_shown_where_there_are_any() {
    let text = text_of(&view_of([status_of(1)]));
    assert!(!text.contains("zone") && !text.contains("host"), "{text}");
    let mut status = status_of(1);
    status.nodes[1].zone = "east".to_owned();
    let text = text_of(&view_of([status]));
    let lines = words(&text);
    assert!(lines.iter().any(|line| line.starts_with(&["n2", "127.0.0.2:7400", "east", "up"])), "{text}");
    assert!(lines.iter().any(|line| line.starts_with(&["n1", "127.0.0.1:7400", "-", "up"])), "{text}");
    assert!(!text.contains("host"), "{text}");
}

fn json_of(view: &View) -> Value {
    json(view, &judge(view))
}

#[test]
fn the_status_has_the_documented_shape() {
    let mut status = status_of(1);
    let replica = &mut status.groups[2].replicas[2];
    replica.report.iter_mut().for_each(|report| report.applied = LogIndex(7));
    let view = view_of([without(status, 1)]);
    let json = json_of(&view);
    let names = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let top = "answers cluster coordinator deficit degree epoch founders groups health history nodes problems ready \
               seen_by silent waits_for";
    assert_eq!(names(&json).join(" "), top);
    assert_eq!(
        json["nodes"][1],
        json!({
            "id": "02020202020202020202020202020202", "name": "n2", "address": "127.0.0.2:7400", "up": true,
            "standing": "member", "state": "up", "member": "alive", "zone": "", "host": "", "replicas": 2,
            "reported_replicas": 2, "leads": 1, "rtt_us": 250, "loss_ppm": 1000, "answered": false
        })
    );
    let reports = |number: u8, lag: u64| {
        json!({
            "id": format!("{number:02x}").repeat(16), "name": format!("n{number}"),
            "address": format!("127.0.0.{number}:7400"), "reports": true, "view": 0, "decided": 10, "applied": 10 - lag, "lag": lag
        })
    };
    let silent = json!({
        "id": "01".repeat(16), "name": "n1", "address": "127.0.0.1:7400", "reports": false, "view": null, "decided": null, "applied": null,
        "lag": null
    });
    assert_eq!(
        json["groups"][2],
        json!({
            "group": 2, "slots": [8192, 16383], "view": 0, "replicas": ["n1", "n2", "n3"], "live": 2, "len": 10,
            "decided": 10, "applied": 10, "keys": 5, "bytes": 50, "sessions": 1, "missing": 1, "lag": 3,
            "reports": [silent, reports(2, 0), reports(3, 3)],
            "leader": { "id": "02020202020202020202020202020202", "name": "n2", "address": "127.0.0.2:7400", "ballot": 1 }
        })
    );
    assert_eq!(
        names(&json["answers"][0]).join(" "),
        "address cluster counters id name standing version waits_for"
    );
    assert_eq!(json["answers"][0]["counters"]["node.requests"], 7);
    assert_eq!((&json["health"], &json["epoch"]), (&"unavailable".into(), &1.into()));
    assert_eq!(
        json["deficit"],
        json!({
            "replicas": 2, "partitions": 2, "directory_replicas": 1, "without_leader": [0, 1],
            "without_majority": []
        })
    );
    assert_eq!(
        json["coordinator"],
        json!({
            "id": "01".repeat(16), "name": "n1", "address": "127.0.0.1:7400", "ballot": 1, "answers": false
        })
    );
    let unfounded = view_of([founding()]);
    let early = json_of(&unfounded);
    assert_eq!(
        (&early["cluster"], &early["coordinator"], &early["ready"]),
        (&json!(null), &json!(null), &json!(false))
    );
    assert_eq!(early["waits_for"], "founding: waiting for 127.0.0.3:7400");
}

#[test]
fn an_unseen_cluster_is_unavailable_in_json_too() {
    let json = unseen(&Failure::new(Exit::Unreachable, "nobody"));
    assert_eq!(
        json,
        json!({
            "health": "unavailable", "problems": ["nobody"],
            "error": { "kind": "unreachable", "message": "nobody" }
        })
    );
}
