//! The rules of the house. A breach is reported with its place and what to do instead.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// Crates and what of this workspace they may depend on. `tests/*` may see everything.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("daemon/core", &["haystack-wire"]),
    ("daemon/haystackd", &["haystack-wire", "haystack-core"]),
    ("tools/client", &["haystack-wire"]),
    ("tools/ctl", &["haystack-wire", "haystack-client"]),
    ("tools/bench", &["haystack-wire", "haystack-client"]),
];

/// Parts of the core that route through `node` and `group`, and so never name each other.
const SIBLINGS: &[&str] = &["membership", "election", "broadcast", "store", "directory"];

/// What deciding code may not touch, and what to use instead.
const BANNED: &[(&str, &str)] = &[
    ("Instant::now", "take `now: Instant` as an argument"),
    ("SystemTime", "no decision rests on the wall clock"),
    ("std::thread", "the core is one state machine; the driver owns threads"),
    ("std::fs", "hand a Record to the driver through poll_persist"),
    ("UdpSocket", "hand datagrams to the driver through poll_transmit"),
    ("TcpStream", "the links are the only transport"),
    ("std::env", "configuration is an argument"),
    ("getrandom", "draw from the Rng that the driver seeded"),
    ("thread_rng", "draw from the Rng that the driver seeded"),
    ("RandomState", "hash maps of random order make runs differ; use BTreeMap"),
    ("async fn", "the core is sans-IO: handle_*, poll_*"),
];

/// Longest source file, in lines: more than one subject hides in a longer one.
const LINES_MAX: usize = 650;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Lines of code with their numbers, comments left out.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate();
    lines
        .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .filter(|(_, line)| !line.trim().is_empty())
        .collect()
}

fn report(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn crates_depend_only_downwards() {
    let mut breaches = Vec::new();
    for (dir, allowed) in DIRECTIONS {
        let manifest = fs::read_to_string(root().join(dir).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        for section in ["dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for name in dependencies.keys().filter(|name| name.starts_with("haystack")) {
                if !allowed.contains(&name.as_str()) {
                    breaches.push(format!("{dir}/Cargo.toml: may not depend on {name}"));
                }
            }
        }
    }
    report(&breaches);
}

#[test]
fn deciding_crates_have_no_io_dependency() {
    let mut breaches = Vec::new();
    for dir in ["wire", "daemon/core"] {
        let manifest = fs::read_to_string(root().join(dir).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for banned in ["mio", "socket2", "getrandom", "rustix", "libc", "tokio", "signal-hook", "rand"] {
            if dependencies.contains_key(banned) {
                breaches.push(format!(
                    "{dir}/Cargo.toml: {banned} does I/O or is global; it belongs to a driver"
                ));
            }
        }
    }
    report(&breaches);
}

#[test]
fn siblings_of_the_core_do_not_know_each_other() {
    let mut breaches = Vec::new();
    for part in SIBLINGS {
        let dir = root().join("daemon/core/src").join(part);
        if !dir.is_dir() {
            continue;
        }
        for path in sources(&dir) {
            for (number, line) in code(&path) {
                for sibling in SIBLINGS.iter().filter(|sibling| *sibling != part) {
                    if line.contains(&format!("crate::{sibling}")) {
                        breaches.push(format!(
                            "{}:{number}: {part} names {sibling}; let group or node route between them",
                            path.display()
                        ));
                    }
                }
            }
        }
    }
    report(&breaches);
}

#[test]
fn deciding_code_touches_no_clock_no_randomness_no_socket() {
    let mut breaches = Vec::new();
    for dir in ["wire/src", "daemon/core/src", "tools/client/src/core"] {
        for path in sources(&root().join(dir)) {
            for (number, line) in code(&path) {
                for (banned, instead) in BANNED.iter().filter(|(banned, _)| line.contains(banned)) {
                    breaches.push(format!("{}:{number}: {banned}: {instead}", path.display()));
                }
            }
        }
    }
    report(&breaches);
}

#[test]
fn files_have_one_subject() {
    let mut breaches = Vec::new();
    for dir in ["wire", "daemon", "tools", "tests"] {
        for path in sources(&root().join(dir)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > LINES_MAX {
                breaches.push(format!("{}: {lines} lines; split it by subject", path.display()));
            }
        }
    }
    report(&breaches);
}

#[test]
fn structopt_comes_without_color() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let structopt = &manifest["workspace"]["dependencies"]["structopt"];
    assert_eq!(structopt["default-features"].as_bool(), Some(false));
    assert!(structopt.get("features").is_none(), "its color feature drags in unmaintained crates");
}
