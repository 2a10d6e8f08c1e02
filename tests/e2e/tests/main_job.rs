//! The main job: a local cluster of three daemons answers every operation as documented.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use haystack_e2e::{Dev, feed, text};

#[test]
fn the_four_operations_answer_with_their_exit_statuses() {
    let dev = Dev::start(&[]);
    let cases: &[(&[&str], i32, Option<&str>)] = &[
        (&["get", "greeting"], 1, None),
        (&["put", "greeting", "hello"], 0, None),
        (&["get", "greeting"], 0, Some("hello")),
        (&["cas", "greeting", "--expect", "hello", "salut"], 0, None),
        (&["cas", "greeting", "--expect", "hello", "hallo"], 1, None),
        (&["cas", "greeting", "--absent", "hallo"], 1, None),
        (&["get", "greeting"], 0, Some("salut")),
        (&["delete", "greeting"], 0, None),
        (&["get", "greeting"], 1, None),
        (&["cas", "greeting", "--absent", "again"], 0, None),
        (&["get", "greeting"], 0, Some("again")),
        (&["status"], 0, None),
        (&["wait", "--ready"], 0, None),
        (&["no-such-command"], 2, None),
        (&["get"], 2, None),
    ];
    for (args, code, expected) in cases {
        let output = dev.ctl(args);
        let said = format!("{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(*code), "{said}");
        if let Some(expected) = expected {
            assert_eq!(text(&output.stdout).trim_end(), *expected, "{said}");
        }
    }
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn any_bytes_survive_and_every_daemon_answers() {
    let dev = Dev::start(&["--nodes", "3"]);
    let value: Vec<u8> = (0..=255).collect();
    let output = feed(&mut dev.ctl_command(&["put", "bytes", "-"]), &value);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for (addr, _) in dev.daemons.values() {
        // Whoever is asked: who does not lead forwards.
        let mut command = std::process::Command::new(haystack_e2e::binary("haystackctl"));
        let output = command.args(["--connect", addr, "get", "bytes"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(output.stdout, value, "through {addr}");
    }
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn a_cluster_that_is_not_there_is_unreachable_and_says_what_was_tried() {
    let mut command = std::process::Command::new(haystack_e2e::binary("haystackctl"));
    let output = command.args(["--connect", "127.0.0.1:9", "--timeout", "1", "get", "k"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("127.0.0.1:9"), "{}", text(&output.stderr));
}

#[test]
fn a_sealed_cluster_answers_only_those_who_hold_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("cluster.key");
    let output = std::process::Command::new(haystack_e2e::binary("haystackctl"))
        .args(["key", "new"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    std::fs::write(&key, &output.stdout).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).unwrap();
    let file = key.to_str().unwrap();
    let dev = Dev::start(&["--key-file", file]);
    assert_eq!(dev.ctl(&["--timeout", "1", "put", "k", "v"]).status.code(), Some(5), "without a key");
    let output = dev.ctl(&["--key-file", file, "put", "k", "v"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = dev.ctl(&["--key-file", file, "get", "k"]);
    assert_eq!(output.stdout, b"v", "{}", text(&output.stderr));
    assert_eq!(dev.stop(), Some(0));
}
