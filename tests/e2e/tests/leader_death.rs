//! A real list of words survives the death of the daemon that leads most of its partitions, in the middle of loading.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};

use haystack_e2e::{Dev, json, text, word_lines};
use serde_json::Value;

fn status(dev: &Dev) -> Value {
    json(&dev.ctl(&["status", "--json"]))
}

fn partitions(status: &Value) -> impl Iterator<Item = &Value> {
    status["groups"].as_array().unwrap().iter().filter(|group| group["group"] != 0)
}

/// The daemon that leads most partitions.
fn busiest(dev: &Dev) -> String {
    let status = status(dev);
    let mut led: BTreeMap<String, usize> = BTreeMap::new();
    for group in partitions(&status) {
        *led.entry(group["leader"]["name"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    led.into_iter().max_by_key(|(_, count)| *count).unwrap().0
}

/// Waits until at least `least` keys are stored, or the load ended.
fn wait_for_keys(dev: &Dev, load: &mut Child, least: u64) {
    loop {
        let keys: u64 = partitions(&status(dev)).map(|group| group["keys"].as_u64().unwrap()).sum();
        if keys >= least {
            return;
        }
        assert!(load.try_wait().unwrap().is_none(), "the load ended before the daemon could be killed");
    }
}

#[test]
fn a_word_list_survives_the_death_of_the_busiest_daemon_with_each_key_written_once() {
    let lines = word_lines();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("words.tsv");
    fs::write(&file, [lines.join(&b'\n'), vec![b'\n']].concat()).unwrap();

    let dev = Dev::start(&[]);
    let victim = busiest(&dev);
    let mut command = dev.ctl_command(&["load", file.to_str().unwrap()]);
    let mut load = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_keys(&dev, &mut load, 10_000);
    dev.kill(&victim);
    let output = load.wait_with_output().unwrap();
    let said = text(&output.stderr) + &text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    println!("killed {victim}; {said}");

    let dump = dev.ctl(&["dump"]);
    assert_eq!(dump.status.code(), Some(0), "{}", text(&dump.stderr));
    let mut dumped: Vec<&[u8]> =
        dump.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    dumped.sort_unstable();
    let mut expected: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    expected.sort_unstable();
    assert_eq!(dumped.len(), expected.len(), "lines");
    assert!(dumped == expected, "the dump differs from the list");

    // Writes that took effect, at each replica over all partitions: a retry that was applied twice would show.
    for name in dev.daemons.keys().filter(|name| **name != victim) {
        let status = json(&dev.ctl_at(name, &["status", "--json"]));
        let own = &status["answers"][0];
        let writes = own["counters"]["store.writes"].as_u64().unwrap();
        assert_eq!(
            (own["name"].as_str(), writes),
            (Some(name.as_str()), lines.len() as u64),
            "each key once"
        );
    }
    assert_eq!(dev.ctl(&["status"]).status.code(), Some(1), "one of three is gone: degraded");
    assert_eq!(dev.stop(), Some(0));
}
