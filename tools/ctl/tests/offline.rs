//! The tool as it is run, where no cluster is needed: what it prints, where, and how it exits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A port of loopback where nobody listens: that of the discard service.
const NOBODY: &str = "127.0.0.1:9";

fn ctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_haystackctl")).args(args).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn write(path: &Path, text: &str) -> String {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn help_and_version_go_to_standard_output_and_are_no_errors() {
    for args in [&["--help"][..], &["-V"], &["load", "--help"], &["key", "client", "-h"]] {
        let output = ctl(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_wrong_command_line_exits_with_2_and_says_so_on_standard_error() {
    for args in [&[][..], &["go"], &["get"], &["status", "--timeout", "x"], &["cas", "k", "v"]] {
        let output = ctl(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && said(&output).starts_with("haystackctl: "), "{args:?}");
    }
}

#[test]
fn where_nobody_listens_every_command_exits_with_5_in_time_and_names_whom_it_asked() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(&dir.path().join("lines"), "a\tb\n");
    let commands: &[&[&str]] = &[
        &["get", "k"],
        &["get", "k", "--stale"],
        &["put", "k", "v"],
        &["delete", "k"],
        &["cas", "k", "--absent", "v"],
        &["status"],
        &["members"],
        &["partitions", "--of", "n1"],
        &["coordinator"],
        &["where", "k"],
        &["events"],
        &["events", "--follow"],
        &["wait", "--ready"],
        &["load", &file],
        &["dump"],
        &["found", "--abandon-old-data", "--yes"],
    ];
    for args in commands {
        let output = ctl(&[&["--connect", NOBODY, "--timeout", "0.1"], *args].concat());
        assert_eq!(output.status.code(), Some(5), "{args:?}: {}", said(&output));
        assert!(output.stdout.is_empty() && said(&output).contains(NOBODY), "{args:?}: {}", said(&output));
        let output = ctl(&[&["--connect", NOBODY, "--timeout", "0.1", "--json"], *args].concat());
        assert_eq!(output.status.code(), Some(5), "{args:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["error"]["kind"], "unreachable", "{args:?}");
    }
}

#[test]
fn a_name_without_an_address_is_unreachable() {
    let output = ctl(&["--connect", "no..host", "get", "k"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(said(&output).contains("looking up"), "{}", said(&output));
}

#[test]
fn keys_are_made_and_derived() {
    let dir = tempfile::tempdir().unwrap();
    let output = ctl(&["key", "new"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("haystack-cluster-key-1 ") && text.ends_with('\n'), "{text}");
    let cluster = write(&dir.path().join("cluster.key"), &text);
    let output = ctl(&["key", "client", "--from", &cluster, "--rights", "wr", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let client = json["key"].as_str().unwrap();
    assert!(client.starts_with("haystack-client-key-1 rw "), "{client}");
    // From a client key nothing is derived.
    let client = write(&dir.path().join("client.key"), client);
    let output = ctl(&["key", "client", "--from", &client, "--rights", "r"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains(&client), "{}", said(&output));
}

#[test]
fn files_that_are_of_no_use_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let bad = write(&dir.path().join("bad.key"), "no key\n");
    for args in [
        &["--key-file", &bad, "get", "k"][..],
        &["get", "k", "--key-file", "/nowhere/key"],
        &["load", "/nowhere/lines"],
        &["load", dir.path().to_str().unwrap()],
    ] {
        let output = ctl(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        let file = args.iter().find(|arg| arg.starts_with('/')).unwrap();
        assert!(said(&output).contains(*file), "{args:?}: {}", said(&output));
    }
    let good = write(&dir.path().join("good.key"), &String::from_utf8(ctl(&["key", "new"]).stdout).unwrap());
    fs::set_permissions(&good, PermissionsExt::from_mode(0o644)).unwrap();
    let output = ctl(&["key", "client", "--from", &good, "--rights", "r"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("chmod 600"), "{}", said(&output));
}

#[test]
fn giving_up_data_must_be_confirmed() {
    // The confirmation comes after the daemons are found, so that it can name them: here there are none to find.
    let output = ctl(&["--connect", NOBODY, "--timeout", "0.2", "found", "--abandon-old-data"]);
    assert_eq!(output.status.code(), Some(5));
    let output = ctl(&["found"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_reader_that_has_enough_ends_the_tool_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_haystackctl"))
        .arg("--help")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), said(&output)), (Some(0), String::new()));
}
