//! `haystackd dev` as a real cluster of processes: ready, a death, the end, and nothing left.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Daemon, haystackd, kill, outcome};
use rustix::process::Signal;

/// A cluster on free ports, with a directory of its own for temporary files.
fn cluster(nodes: u16) -> (Daemon, tempfile::TempDir) {
    let temp = tempfile::tempdir().unwrap();
    let nodes = nodes.to_string();
    let mut command = haystackd(&["dev", "--port", "0", "--nodes", &nodes, "--partitions", "2"]);
    (Daemon::start(command.env("TMPDIR", temp.path())), temp)
}

/// The daemons' processes, by the lines that name them.
fn pids(lines: &[String]) -> Vec<u32> {
    lines.iter().filter_map(|line| line.split_once("process ")?.1.parse().ok()).collect()
}

fn is_empty(dir: &tempfile::TempDir) -> bool {
    std::fs::read_dir(dir.path()).unwrap().next().is_none()
}

#[test]
fn a_cluster_gets_ready_says_how_to_talk_to_it_and_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM] {
        let (dev, temp) = cluster(3);
        let lines = dev.until("ready after");
        assert_eq!(pids(&lines).len(), 3, "{lines:?}");
        let how = dev.until("status").join("\n");
        assert!(
            how.contains("haystackctl --connect 127.0.0.1:") && how.contains(" put greeting hello"),
            "{how}"
        );
        dev.signal(signal);
        let (status, _, err) = dev.end();
        assert_eq!(status.code(), Some(0), "{err}");
        assert!(is_empty(&temp));
    }
}

#[test]
fn a_sealed_cluster_gets_ready_and_says_which_key_to_use() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key").display().to_string();
    std::fs::write(&file, haystack_wire::keys::new_cluster_key([3; 32])).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let dev =
        Daemon::start(&mut haystackd(&["dev", "--port", "0", "--partitions", "2", "--key-file", &file]));
    dev.until("ready after");
    assert!(dev.until("status").join("\n").contains(&format!("--key-file {file} status")));
}

#[test]
fn a_cluster_whose_parent_is_killed_leaves_nothing_either() {
    let (dev, temp) = cluster(3);
    dev.until("ready after");
    dev.signal(Signal::KILL);
    dev.end();
    assert!(is_empty(&temp));
}

#[test]
fn a_cluster_that_is_stopped_before_it_is_ready_leaves_nothing() {
    let (dev, temp) = cluster(3);
    dev.until("process");
    dev.signal(Signal::TERM);
    assert_eq!(dev.end().0.code(), Some(0));
    assert!(is_empty(&temp));
}

#[test]
fn deaths_are_named_until_the_last() {
    let (dev, temp) = cluster(3);
    let pids = pids(&dev.until("ready after"));
    kill(pids[1], Signal::KILL);
    let told = dev.until("n2").pop().unwrap();
    assert!(told.contains("was ended by SIGKILL") && told.contains("not replaced"), "{told}");
    let outlook = "2 of 3 daemons are left: nothing is lost and all goes on, but 2 of 2 partitions have just a majority";
    assert!(told.contains(outlook), "{told}");
    kill(pids[0], Signal::KILL);
    let told = dev.until("n1").pop().unwrap();
    assert!(told.contains("DATA IS LOST: 2 of 2 partitions have no majority"), "{told}");
    kill(pids[2], Signal::KILL);
    let (status, _, err) = dev.end();
    assert_eq!(status.code(), Some(69));
    assert!(err.contains("n3") && err.contains("the cluster and its data are gone"), "{err}");
    assert!(is_empty(&temp));
}

#[test]
fn two_deaths_of_five_lose_what_had_both_and_that_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let mut command = haystackd(&["dev", "--port", "0", "--nodes", "5", "--partitions", "10"]);
    let dev = Daemon::start(command.env("TMPDIR", temp.path()));
    let pids = pids(&dev.until("ready after"));
    kill(pids[1], Signal::KILL);
    let told = dev.until("n2").pop().unwrap();
    // Each has replicas of six partitions.
    assert!(told.contains("nothing is lost and all goes on, but 6 of 10 partitions have just"), "{told}");
    kill(pids[0], Signal::KILL);
    let told = dev.until("n1").pop().unwrap();
    assert!(told.contains("DATA IS LOST") && told.contains("of 10 partitions have no majority"), "{told}");
}

#[test]
fn a_daemon_that_is_told_to_stop_did_not_end_by_itself() {
    let (dev, _temp) = cluster(3);
    let pids = pids(&dev.until("ready after"));
    kill(pids[1], Signal::TERM);
    let told = dev.until("daemons are left").pop().unwrap();
    assert!(told.contains("n2 (127.0.0.1:") && told.contains("was stopped by SIGTERM"), "{told}");
}

#[test]
fn a_port_in_use_ends_it_before_it_begins() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, out, err) = outcome(&["dev", "--nodes", "1", "--port", &port]);
    assert_eq!(code, 69, "{err}");
    assert!(err.contains(&format!("UDP port {port} is in use")) && err.contains("--port"), "{err}");
    assert_eq!(out, "");
}

#[test]
fn wrong_options_are_told_once() {
    assert_eq!(outcome(&["dev", "--nodes", "0"]).0, 2);
    assert_eq!(outcome(&["dev", "--nodes", "3", "--port", "65534"]).0, 2);
    let (code, _, err) = outcome(&["dev", "--nodes", "2", "--replicas", "3"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--replicas 3") && err.contains("--nodes 3"), "{err}");
    for port in ["70000", "-1", "http"] {
        let (code, _, err) = outcome(&["dev", &format!("--port={port}")]);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("--port") && err.contains(port) && err.contains("1 to 65535"), "{err}");
    }
    let (code, _, err) = outcome(&["dev", "--port", "0", "--partitions", "0", "--log-level", "x"]);
    assert_eq!(code, 78, "{err}");
    assert_eq!((err.matches("--partitions").count(), err.matches("--log-level").count()), (1, 1), "{err}");
}
