//! Runs the seeds of the fuzz targets, and what fuzzing ever found, through the targets' own code.

use std::fs;
use std::path::Path;

#[allow(unreachable_pub, reason = "a library for the fuzz targets")]
#[path = "../../tests/fuzz/src/link.rs"]
mod link;
#[allow(unreachable_pub, reason = "a library for the fuzz targets")]
#[path = "../../tests/fuzz/src/wire.rs"]
mod wire;

fn run(target: &str, body: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(&seeds)
        .expect("the target has seeds")
        .map(|entry| entry.expect("the directory can be read").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {}", seeds.display());
    for path in paths {
        println!("{}", path.display());
        body(&fs::read(path).expect("a seed can be read"));
    }
}

#[test]
fn peer_messages_survive() {
    run("peer", wire::peer);
}

#[test]
fn client_messages_survive() {
    run("client", wire::client);
}

#[test]
fn server_messages_survive() {
    run("server", wire::server);
}

#[test]
fn commands_survive() {
    run("command", wire::command);
}

#[test]
fn frames_survive() {
    run("frames", wire::frames);
}

#[test]
fn datagrams_survive() {
    run("datagram", wire::datagram);
}

#[test]
fn key_files_survive() {
    run("keys", wire::keys);
}

#[test]
fn links_survive() {
    run("link", link::link);
}
