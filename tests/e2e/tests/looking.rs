//! A cluster looked at from its daemons: what they say agrees, and can be followed while they die.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use haystack_e2e::{Dev, json, signal, text};
use serde_json::Value;

/// The object that a command prints, asked of one daemon.
fn seen(dev: &Dev, daemon: &str, args: &[&str]) -> Value {
    json(&dev.ctl_at(daemon, &[&["--json"], args].concat()))
}

fn strings<'a>(rows: &'a Value, field: &str) -> BTreeSet<&'a str> {
    rows.as_array().unwrap().iter().map(|row| row[field].as_str().unwrap_or("-")).collect()
}

#[test]
fn every_daemon_tells_the_same_of_nodes_partitions_coordinator_and_keys() {
    let dev = Dev::start(&["--nodes", "5"]);
    let names: BTreeSet<&str> = dev.daemons.keys().map(String::as_str).collect();
    let coordinator = seen(&dev, "n1", &["coordinator"])["coordinator"].take();
    assert_eq!(coordinator["answers"], true, "{coordinator}");
    let place = seen(&dev, "n1", &["where", "greeting"]);
    for daemon in &names {
        // Gossip takes a moment to reach everybody.
        let members = loop {
            let members = seen(&dev, daemon, &["members"]);
            if strings(&members["members"], "member") == BTreeSet::from(["alive"]) {
                break members;
            }
        };
        assert_eq!(
            (strings(&members["members"], "name"), &members["seen_by"]),
            (names.clone(), &(*daemon).into())
        );
        assert_eq!(seen(&dev, daemon, &["coordinator"])["coordinator"]["id"], coordinator["id"]);
        let here = seen(&dev, daemon, &["where", "greeting"]);
        assert_eq!((&here["group"], &here["leader"]["id"]), (&place["group"], &place["leader"]["id"]));
        let status = seen(&dev, daemon, &["status"]);
        assert_eq!((&status["health"], &status["ready"]), (&"ok".into(), &true.into()), "{status}");
        assert_eq!((&status["seen_by"], status["answers"].as_array().unwrap().len()), (&(*daemon).into(), 1));
    }
    let all = seen(&dev, "n1", &["partitions"]);
    let of = seen(&dev, "n1", &["partitions", "--of", "n2"]);
    let has_n2 = |group: &&Value| group["replicas"].as_array().unwrap().contains(&"n2".into());
    let numbers =
        |groups: Vec<&Value>| groups.iter().map(|group| group["group"].as_u64()).collect::<Vec<_>>();
    let expected = all["groups"].as_array().unwrap().iter().filter(has_n2).collect();
    assert_eq!(numbers(of["groups"].as_array().unwrap().iter().collect()), numbers(expected));
    let output = dev.ctl(&["partitions", "--of", "n99"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("The nodes are n1 ("), "{}", text(&output.stderr));
    assert_eq!(dev.stop(), Some(0));
}

/// `events --follow`, of one daemon at first.
fn follow(dev: &Dev, daemon: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = dev.ctl_command(&["--connect", &dev.daemons[daemon].0, "events", "--follow", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn next(lines: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    assert!(lines.read_line(&mut line).unwrap() > 0, "the events ended");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn events_are_followed_beyond_the_death_of_the_daemon_that_tells_them_until_ctrl_c() {
    let dev = Dev::start(&["--nodes", "3"]);
    let (child, mut lines) = follow(&dev, "n2");
    let mut number = 0;
    let mut seen: BTreeSet<String> = BTreeSet::new();
    while !["alive", "decided", "map", "leader", "coordinator"].iter().all(|event| seen.contains(*event)) {
        let event = next(&mut lines);
        number += 1;
        assert_eq!((&event["number"], &event["seen_by"]), (&number.into(), &"n2".into()), "{event}");
        seen.insert(event["event"].as_str().unwrap().to_owned());
    }
    dev.kill("n2");
    loop {
        let event = next(&mut lines);
        if event["event"] == "dead" && event["seen_by"] != "n2" {
            assert_eq!(event["node"]["name"], "n2", "{event}");
            break;
        }
    }
    signal(child.id(), "INT");
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("n2 does not answer any more") && said.contains("from here on as n"), "{said}");
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn events_end_when_nobody_reads_them_any_more() {
    let dev = Dev::start(&["--nodes", "1"]);
    let (mut child, mut lines) = follow(&dev, "n1");
    next(&mut lines);
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(dev.stop(), Some(0));
}
