//! Runs the seeds of the fuzz targets, and what fuzzing ever found, through the targets' own code.

use std::fs;
use std::path::Path;

#[allow(unreachable_pub, reason = "a library for the fuzz targets")]
#[path = "../../../tests/fuzz/src/node.rs"]
mod node;
#[allow(unreachable_pub, reason = "a library for the fuzz targets")]
#[path = "../../../tests/fuzz/src/core.rs"]
mod targets;

fn run(target: &str, body: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds").join(target);
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
fn life_files_survive() {
    run("life", targets::life);
}

#[test]
fn snapshots_survive() {
    run("snapshot", targets::snapshot);
}

#[test]
fn logs_survive() {
    run("store", targets::store);
}

#[test]
fn nodes_survive() {
    run("node", node::node);
}
