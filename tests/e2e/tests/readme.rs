//! Every command of the README does what the README says.
//!
//! Lines in `sh` fences are run in their order, on a local cluster as `tools/dev` starts it, but on ports that are
//! free. Lines in `console` fences
//! run until Ctrl-C, need other hosts or would run these tests again: their program and flags must exist.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::Command;

use haystack_e2e::{Dev, binary, root, text};

/// The lines of all fences of a language.
fn fences(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut lines = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line.strip_prefix("```") {
            Some(begun) => inside = begun == language,
            None if inside => lines.push(line.to_owned()),
            None => {}
        }
    }
    lines
}

/// The addresses of the cluster that `tools/dev` starts, which `haystackctl` talks to by itself.
const README_ADDRS: [&str; 3] = ["127.0.0.1:7400", "127.0.0.1:7401", "127.0.0.1:7402"];

/// The README names release binaries; these are the same programs as this test was built with.
fn here(line: &str) -> String {
    let directory = binary("haystackd").parent().unwrap().display().to_string();
    line.replace("target/release", &directory)
}

/// The same command for a cluster at other addresses: they take the place of those that the README names, and of those
/// that `haystackctl` takes where it is told none. Nothing else changes.
fn at(addrs: &[&str], line: &str) -> String {
    let mut line = line.to_owned();
    if !line.contains("--connect") {
        line = line.replace("/haystackctl ", &format!("/haystackctl --connect {} ", README_ADDRS.join(",")));
    }
    // By marks, since the addresses of the one may be among those of the other.
    for (place, addr) in README_ADDRS.iter().enumerate() {
        line = line.replace(addr, &format!("<{place}>"));
    }
    for (place, addr) in addrs.iter().enumerate() {
        line = line.replace(&format!("<{place}>"), addr);
    }
    line
}

#[test]
fn only_addresses_of_a_command_are_changed() {
    let addrs = ["127.0.0.1:7401", "127.0.0.1:9", "127.0.0.1:8"];
    let all = addrs.join(",");
    assert_eq!(at(&addrs, "cmp a b"), "cmp a b");
    assert_eq!(
        at(&addrs, "x/haystackctl get a | cmp - b"),
        format!("x/haystackctl --connect {all} get a | cmp - b")
    );
    let given = "x/haystackctl --connect 127.0.0.1:7400,127.0.0.1:7402 get a";
    assert_eq!(at(&addrs, given), "x/haystackctl --connect 127.0.0.1:7401,127.0.0.1:8 get a");
}

#[test]
fn every_command_of_the_readme_succeeds() {
    let lines = fences("sh");
    assert!(lines.len() >= 10, "the README lost its commands");
    fs::create_dir_all(root().join("target")).unwrap();
    // Free ports, so that a cluster of somebody who tries things out is left alone.
    let dev = Dev::start(&[]);
    let addrs: Vec<&str> = dev.daemons.values().map(|(addr, _)| addr.as_str()).collect();
    for line in lines {
        let run = at(&addrs, &here(&line));
        let output = Command::new("bash").args(["-c", &run]).current_dir(root()).output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "`{line}` ended with {:?}:\n{said}", output.status.code());
    }
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn every_other_command_of_the_readme_exists_with_its_flags() {
    for line in fences("console") {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (program, rest) = match &words[..] {
            ["cargo", "run", "--release", "-p", package, "--", rest @ ..] => (binary(package), rest.to_vec()),
            ["cargo", "build", ..] => continue,
            // Another program under the same name, which is not built here.
            ["cargo", "run", ..] if words.contains(&"--features") => continue,
            [path, rest @ ..] if path.starts_with("target/release/") => {
                (binary(path.trim_start_matches("target/release/")), rest.to_vec())
            }
            [script, ..] => {
                assert!(root().join(script).exists(), "{script} does not exist");
                continue;
            }
            [] => continue,
        };
        let mut help = String::new();
        let is_name = |word: &&&str| word.chars().all(|letter| letter.is_ascii_lowercase());
        let subcommand = rest.iter().find(is_name).copied();
        for args in [None, subcommand] {
            let output = Command::new(&program).args(args).arg("--help").output().unwrap();
            help += &text(&output.stdout);
        }
        for flag in rest.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "`{line}`: no {flag} in the help of {}", program.display());
        }
    }
}
