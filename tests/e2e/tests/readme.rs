//! Every command of the README does what the README says.
//!
//! Lines in `sh` fences are run in their order, on the local cluster that `tools/dev` starts. Lines in `console` fences
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

/// The README names release binaries; these are the same programs as this test was built with.
fn here(line: &str) -> String {
    let directory = binary("haystackd").parent().unwrap().display().to_string();
    line.replace("target/release", &directory)
}

#[test]
fn every_command_of_the_readme_succeeds() {
    let lines = fences("sh");
    assert!(lines.len() >= 10, "the README lost its commands");
    fs::create_dir_all(root().join("target")).unwrap();
    let dev = Dev::start_at(7400, &[]);
    for line in lines {
        let output = Command::new("bash").args(["-c", &here(&line)]).current_dir(root()).output().unwrap();
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
            // Of another build, which `.ci/run` makes and uses.
            ["cargo", "run", "--release", "-p", package, "--features", ..] => {
                assert!(binary(package).exists());
                continue;
            }
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
