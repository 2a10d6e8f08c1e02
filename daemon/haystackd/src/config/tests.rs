use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::file::{Places, parse};
use super::resolve::{Endpoint, Host, resolve_on};
use super::*;

/// A host with a DNS of its own.
fn host() -> Host {
    Host {
        lookup: |name, port| {
            let ips: &[&str] = match name {
                "n1" => &["fd00::1", "10.0.0.9", "10.0.0.1"],
                "n2" => &["10.0.0.2"],
                "n3" => &["10.0.0.3"],
                "n6" => &["fd00::6"],
                "self" => &["127.0.1.1"],
                _ => return Err(io::Error::other("no such name")),
            };
            Ok(ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect())
        },
        owns: |ip| ip == IpAddr::from([10, 0, 0, 2]),
        name: || "thishost".to_owned(),
    }
}

fn load_text(text: &str) -> Result<Resolved, Failure> {
    let (settings, places) = parse(Path::new("h.toml"), text).map_err(Failure::Config)?;
    resolve_on(&host(), settings, places)
}

/// A key file in a directory of its own.
fn key_file(text: &str, mode: u32) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let shown = path.display().to_string();
    (dir, shown)
}

fn cluster_key() -> String {
    haystack_wire::keys::new_cluster_key([7; 32])
}

#[test]
fn the_smallest_file_has_a_default_for_everything_else() {
    let resolved = load_text("founders = [\"127.0.0.1\"]").unwrap();
    assert_eq!(resolved.listen, "127.0.0.1:7400".parse().unwrap());
    assert_eq!(resolved.node.advertise, resolved.listen);
    assert_eq!(resolved.node.name, "thishost");
    assert_eq!(resolved.node.network, haystack_wire::ids::NetworkId::of_cluster("haystack"));
    assert_eq!(resolved.state_dir, Path::new("/var/lib/haystack"));
    assert_eq!((resolved.levels, resolved.format), (Levels::default(), Format::Terminal));
}

#[test]
fn one_file_does_for_all_hosts() {
    let (_dir, key) = key_file(&cluster_key(), 0o600);
    let file = format!(
        "listen = \"[::]:7400\"\nfounders = [\"n1\", \"n2:7400\", \"10.0.0.3:7400\"]\ncluster = \"blue\"\n\
         key_file = {key:?}\nmemory_limit = \"64MiB\"\nvalue_limit = 4096\npartitions = 5"
    );
    let resolved = load_text(&file).unwrap();
    let addrs = ["10.0.0.1:7400", "10.0.0.2:7400", "10.0.0.3:7400"].map(|addr| addr.parse().unwrap());
    assert_eq!(resolved.node.founders, addrs, "the lowest IPv4 address of a name, on every host alike");
    assert_eq!(resolved.node.founder_names, ["n1", "n2:7400", "10.0.0.3:7400"], "as written");
    assert_eq!(resolved.node.advertise, addrs[1], "the founder that is this host");
    assert_eq!(resolved.node.network, haystack_wire::ids::NetworkId::of_cluster("blue"));
    assert!(resolved.node.keys.is_cluster());
    assert_eq!((resolved.node.memory_limit, resolved.node.value_limit), (64 << 20, 4096));
    assert_eq!(resolved.node.partitions, 5);
}

#[test]
fn what_check_config_prints_reads_back_alike() {
    let resolved =
        load_text("founders = [\"127.0.0.1\"]\nname = \"a \\\"b\\\"\"\nlog_level = \"info,links=debug\"");
    let printed = resolved.unwrap().to_string();
    let again = load_text(&printed).unwrap();
    assert_eq!(again.to_string(), printed);
}

/// Wrong files, the place that must be told, and a part of the cure.
const WRONG: &[(&str, &str, &str)] = &[
    ("name = \"a\"\nfoundrs = []", "h.toml:2", "did you mean `founders`"),
    ("\n\nkey-file = \"k\"", "h.toml:3", "did you mean `key_file`"),
    ("kitchen = 1", "h.toml:1", "The keys are name, cluster"),
    ("founders = [\"n1\"\npartitions = 3", "h.toml:", "array"),
    ("partitions = \"many\"", "h.toml:1", "expected u32"),
    ("a = 1\nname = \"x\"\nname = \"y\"", "h.toml:3", "duplicate key"),
    ("name = \"x\"", "founders", "haystackd dev"),
    ("founders = [\"n1\", \"10.0.0.1:7400\"]", "h.toml:1: founders", "the same address"),
    ("founders = [\"10.0.0.1:0\"]", "h.toml:1: founders", "port 0"),
    ("founders = [\"n1:70000\"]", "h.toml:1: founders", "1 to 65535"),
    ("founders = [\"10.0.0\"]", "h.toml:1: founders", "10.0.0.1:7400"),
    ("founders = [\"http://n1\"]", "h.toml:1: founders", "1 to 65535"),
    ("founders = [\"0.0.0.0\"]", "h.toml:1: founders", "not the address of one daemon"),
    ("founders = [\"n6\"]\nlisten = \"10.0.0.2\"", "h.toml:1: founders", "no IPv4 address"),
    ("founders = [\"fd00::1\"]\nlisten = \"10.0.0.2\"", "h.toml:1: founders", "listen on `[::]`"),
    ("founders = [\"self\", \"n2\"]\nlisten = \"0.0.0.0\"", "h.toml:1: founders", "/etc/hosts"),
    ("founders = [\"n1\", \"n3\"]\nlisten = \"0.0.0.0\"", "advertise", "cannot be seen"),
    (
        "founders = [\"n1\"]\nlisten = \"10.0.0.2\"",
        "h.toml:2: listen",
        "not among the founders (10.0.0.1:7400)",
    ),
    ("founders = [\"n1\"]\nadvertise = \"n2\"", "h.toml:2: advertise", "not among the founders"),
    ("founders = [\"n2\"]\nlisten = \"n2\"", "h.toml:2: listen", "write the IP address"),
    ("founders = [\"n2\"]\nlisten = \"10.0.0.2\"", "h.toml:2: listen", "haystackctl key new"),
    ("founders = [\"n2\"]\ninsecure_listen_without_key = \"sure\"", "h.toml:2", "yes-i-know"),
    ("founders = [\"n2\"]\nkey_file = \"nokey\"", "h.toml:2: key_file", "there is no such file"),
    ("founders = [\"n2\"]\npartitions = 0", "h.toml:2: partitions", "1 is the least"),
    ("founders = [\"n2\"]\npartitions = 1025", "h.toml:2: partitions", "1024 is the most"),
    ("founders = [\"n2\"]\nmemory_limit = 1000", "h.toml:2: memory_limit", "1MiB is the least"),
    ("founders = [\"n2\"]\nmemory_limit = \"1 GB\"", "h.toml:2", "GiB or TiB"),
    ("founders = [\"n2\"]\nmemory_limit = -1", "h.toml:2", "negative"),
    ("founders = [\"n2\"]\nvalue_limit = \"1TiB\"", "h.toml:2: value_limit", "is the most"),
    ("founders = [\"n2\"]\nname = \"\"", "h.toml:2: name", "1 to 64 bytes"),
    ("founders = [\"n2\"]\nname = \"a\\nb\"", "h.toml:2: name", "control characters"),
    ("founders = [\"n2\"]\nlog_level = \"info,lnks=debug\"", "h.toml:2: log_level", "did you mean `links`"),
    ("founders = [\"n2\"]\nlog_format = \"xml\"", "h.toml:2: log_format", "`json`"),
];

#[test]
fn every_mistake_is_told_with_its_place_and_its_cure() {
    for (text, place, cure) in WRONG {
        let failure = load_text(text).expect_err(text);
        assert_eq!(failure.code(), 78, "{text}: {failure}");
        let Failure::Config(Problems(problems)) = &failure else { panic!("{failure:?}") };
        let told =
            problems.iter().any(|problem| problem.place.starts_with(place) && problem.text.contains(cure));
        assert!(told, "{text}\n-> {failure}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "founders = [\"n1\", \"n1\"]\nlisten = \"x\"\npartitions = 0\nlog_format = \"xml\"";
    let told = load_text(text).unwrap_err().to_string();
    assert!(
        ["founders", "listen", "partitions", "log_format"].iter().all(|key| told.contains(key)),
        "{told}"
    );
    let told = load_text("foundrs = []\nlisten = \"x\"\npartition = 3").unwrap_err().to_string();
    assert!(told.contains("h.toml:1") && told.contains("h.toml:3"), "{told}");
    let text = "foundrs = [\"n1\"]\npartitions = \"many\"\nmemory_limit = \"1 GB\"\nvalue_limit = \"2TiB\"\n\
                listen = \"x\"\nlog_format = \"xml\"\nname = 7";
    let Failure::Config(Problems(problems)) = load_text(text).unwrap_err() else { panic!("not wrong") };
    let mut places: Vec<_> = problems.iter().map(|problem| problem.place.as_str()).collect();
    places.sort_unstable();
    let keys = ["", ": partitions", ": memory_limit", ": value_limit", ": listen", ": log_format", ": name"];
    let expected: Vec<_> = (1..).zip(keys).map(|(line, key)| format!("h.toml:{line}{key}")).collect();
    assert_eq!(places, expected, "each once, and nothing else");
}

#[test]
fn a_list_that_is_written_as_a_text_is_told_how_to_write_it() {
    for key in ["founders", "seeds"] {
        let told = load_text(&format!("{key} = \"127.0.0.1:7400\"")).unwrap_err().to_string();
        let cure = format!("h.toml:1: {key}: a single text. Write a list: {key} = [\"HOST:PORT\", ...]");
        assert!(told.starts_with(&cure), "{told}");
    }
}

#[test]
fn a_name_without_an_address_is_another_failure_than_a_wrong_one() {
    let text = "founders = [\"n2\", \"gone.example\"]\nlisten = \"0.0.0.0\"\ninsecure_listen_without_key = \"yes-i-know\"";
    let failure = load_text(text).unwrap_err();
    assert_eq!(failure.code(), 75, "{failure}");
    assert!(failure.to_string().contains("gone.example"));
    assert_eq!(load_text(&format!("{text}\npartitions = 0")).unwrap_err().code(), 78);
}

#[test]
fn without_a_key_only_this_host_is_served_unless_said_in_so_many_words() {
    let open = "founders = [\"n2\"]\nlisten = \"0.0.0.0\"";
    assert!(load_text(open).is_err());
    assert!(load_text(&format!("{open}\ninsecure_listen_without_key = \"yes-i-know\"")).is_ok());
    assert!(load_text("founders = [\"127.0.0.1\"]\nlisten = \"127.0.0.1\"").is_ok());
    assert!(load_text("founders = [\"::1\"]\nlisten = \"::1\"").is_ok());
}

#[test]
fn a_key_file_is_secret_and_holds_a_cluster_key() {
    let refused = |text: &str, mode| {
        let (_dir, key) = key_file(text, mode);
        let failure = load_text(&format!("founders = [\"127.0.0.1\"]\nkey_file = {key:?}")).unwrap_err();
        assert_eq!(failure.code(), 78);
        failure.to_string()
    };
    assert!(refused(&cluster_key(), 0o644).contains("chmod o="));
    assert!(refused("no key at all", 0o600).contains("h.toml:2: key_file"));
    let ring = haystack_wire::keys::KeyRing::from_file_text(&cluster_key()).unwrap();
    let client = ring.client_key(haystack_wire::keys::Rights::ALL).unwrap();
    assert!(refused(&client, 0o600).contains("daemons need the cluster key"));
}

#[test]
fn flags_win_over_the_file_and_are_named_in_messages() {
    let (written, places) = parse(Path::new("h.toml"), "founders = [\"n1\"]\npartitions = 0").unwrap();
    let flags = Settings { partitions: Some(7), log_level: Some("x".into()), ..Settings::default() };
    let places = places.overlaid(&flags);
    let failure = resolve_on(&host(), flags.over(written), places).unwrap_err().to_string();
    assert!(failure.contains("--log-level: `x`") && !failure.contains("partitions"), "{failure}");
}

#[test]
fn a_relative_path_is_relative_to_what_names_it() {
    let text = "founders = [\"127.0.0.1\"]\nstate_dir = \"state\"";
    let (written, places) = parse(Path::new("/etc/haystack/h.toml"), text).unwrap();
    let (again, same) = parse(Path::new("/etc/haystack/h.toml"), text).unwrap();
    let resolved = resolve_on(&host(), again, same).unwrap();
    assert_eq!(resolved.state_dir, Path::new("/etc/haystack/state"));
    let flags = Settings { state_dir: Some("here".into()), ..Settings::default() };
    let places = places.overlaid(&flags);
    assert_eq!(resolve_on(&host(), flags.over(written), places).unwrap().state_dir, Path::new("here"));
}

#[test]
fn keys_flags_and_their_places_are_one_list() {
    let full = Settings {
        name: Some("x".into()),
        cluster: Some("x".into()),
        listen: Some("x".into()),
        advertise: Some("x".into()),
        founders: vec!["x".into()],
        seeds: vec!["x".into()],
        zone: Some("x".into()),
        host: Some("x".into()),
        replicas: Some(1),
        repair_after: Some(1),
        partitions: Some(1),
        key_file: Some("x".into()),
        state_dir: Some("x".into()),
        memory_limit: Some(Size(1)),
        value_limit: Some(Size(1)),
        insecure_listen_without_key: Some("x".into()),
        log_level: Some("x".into()),
        log_format: Some("x".into()),
    };
    assert_eq!(full.given().collect::<Vec<_>>(), KEYS);
    assert_eq!(full.clone().over(Settings::default()), full);
    assert_eq!(Settings::default().over(full.clone()), full);
    let app = Settings::clap();
    let flags: Vec<String> =
        app.p.opts.iter().filter_map(|opt| opt.s.long.map(|l| l.replace('-', "_"))).collect();
    assert_eq!(flags, KEYS);
    // The file takes the same keys: an unknown one would be refused, a known one of the wrong type is told as such.
    for key in KEYS {
        let (_, places) = parse(Path::new("h.toml"), &format!("{key} = [[1]]")).unwrap();
        let problems = places.problems;
        assert_eq!(problems.len(), 1, "{key} is not read");
        assert!(problems[0].text.contains("invalid type"), "{key}: {}", problems[0].text);
    }
}

#[test]
fn sizes_are_read_as_people_write_them() {
    for (text, size) in
        [("0", 0), ("17", 17), ("4KiB", 4 << 10), ("64 MiB", 64 << 20), ("3GiB", 3 << 30), ("5B", 5)]
    {
        assert_eq!(text.parse(), Ok(Size(size)));
        assert_eq!(Size(size).to_string().parse(), Ok(Size(size)));
    }
    for text in ["", "MiB", "1MB", "1.5GiB", "-1", "99999999999999999999", "99999999TiB"] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
}

#[test]
fn addresses_are_read_as_people_write_them() {
    let ip = |text: &str| Ok(Endpoint::Ip(text.parse().unwrap()));
    assert_eq!("10.0.0.1".parse(), ip("10.0.0.1:7400"));
    assert_eq!("fd00::1".parse(), ip("[fd00::1]:7400"));
    assert_eq!("[fd00::1]".parse(), ip("[fd00::1]:7400"));
    assert_eq!("[fd00::1]:1".parse(), ip("[fd00::1]:1"));
    assert_eq!("::ffff:10.0.0.1".parse(), ip("10.0.0.1:7400"));
    assert_eq!("a-1.example:9".parse(), Ok(Endpoint::Name("a-1.example".into(), 9)));
    assert_eq!("a".parse(), Ok(Endpoint::Name("a".into(), 7400)));
    for text in ["", ":7400", "a b", "10.0.0.256", "a:", "[::1", "a:-1", "user@host"] {
        assert!(text.parse::<Endpoint>().is_err(), "{text}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let failure = load(Some(Path::new("/nonexistent/h.toml")), Settings::default()).unwrap_err();
    assert!(failure.to_string().contains("/nonexistent/h.toml: cannot read the configuration"), "{failure}");
    assert_eq!(Places::default().of("listen"), "listen");
}

#[test]
fn the_example_is_correct_and_shows_every_key_with_its_default() {
    let example = include_str!("../../haystackd.toml");
    let bare = load_text(example).unwrap();
    let (_dir, key) = key_file(&cluster_key(), 0o640);
    let shown: Vec<&str> = example.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    let shown =
        shown.into_iter().filter(|line| KEYS.iter().any(|key| line.starts_with(&format!("{key} = "))));
    let all = shown.fold("founders = [\"127.0.0.1:7400\"]".to_owned(), |all, line| all + "\n" + line);
    let all = all.replace("\"cluster.key\"", &format!("{key:?}"));
    let (settings, places) = parse(Path::new("h.toml"), &all).unwrap();
    let mut given: Vec<&str> = settings.given().collect();
    let mut keys = KEYS.to_vec();
    given.sort_unstable();
    keys.sort_unstable();
    assert_eq!(given, keys);
    let full = resolve_on(&host(), settings, places).unwrap();
    let defaults = |resolved: &Resolved| {
        let node = &resolved.node;
        let limits = (node.partitions, node.memory_limit, node.value_limit, node.replicas, node.repair_after);
        let logs = (resolved.levels.clone(), resolved.format);
        (resolved.listen, node.advertise, limits, resolved.state_dir.clone(), logs)
    };
    assert_eq!(defaults(&full), defaults(&bare));
    let most = Size(haystack_wire::message::client::VALUE_LIMIT as u64);
    assert!(example.contains(&format!("up to {most}.")));
}

#[test]
fn a_daemon_with_seeds_only_joins() {
    let (_dir, key) = key_file(&cluster_key(), 0o600);
    let text = format!("seeds = [\"n1\", \"n2:7500\"]\nlisten = \"10.0.0.2\"\nkey_file = \"{key}\"");
    let resolved = load_text(&text).unwrap();
    assert!(resolved.node.founders.is_empty());
    let seeds: Vec<String> = resolved.node.seeds.iter().map(SocketAddr::to_string).collect();
    assert_eq!(seeds, ["10.0.0.1:7400", "10.0.0.9:7400", "10.0.0.2:7500"], "all addresses of a seed");
    assert_eq!(resolved.node.advertise, resolved.listen);
}

#[test]
fn a_seed_that_has_no_address_now_is_looked_up_later() {
    let mut resolved = load_text("seeds = [\"nowhere\"]").unwrap();
    assert_eq!(resolved.node.seeds, []);
    assert!(resolved.names.may_change());
    let looked = resolved.names.look_up_by(|_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 9], port))]));
    assert_eq!(looked.seeds, ["127.0.0.9:7400".parse().unwrap()]);
}

#[test]
fn a_seed_whose_name_cannot_be_looked_up_now_keeps_its_addresses() {
    let mut resolved = load_text("seeds = [\"one\", \"other\"]").unwrap();
    let both = |name: &str, port| {
        let last = if name == "one" { 1 } else { 2 };
        Ok(vec![SocketAddr::from(([127, 0, 0, last], port))])
    };
    let before = resolved.names.look_up_by(both);
    let one_fails = |name: &str, port| match name {
        "one" => Ok(vec![SocketAddr::from(([127, 0, 0, 7], port))]),
        _ => Err(io::Error::other("the name server is silent")),
    };
    let after = resolved.names.look_up_by(one_fails);
    assert_eq!(after.seeds, [SocketAddr::from(([127, 0, 0, 7], 7400)), before.seeds[1]]);
}

#[test]
fn a_joiner_that_listens_everywhere_must_say_where_it_is() {
    let (_dir, key) = key_file(&cluster_key(), 0o600);
    let text = format!("seeds = [\"n1\"]\nlisten = \"[::]\"\nkey_file = \"{key}\"");
    let Err(Failure::Config(problems)) = load_text(&text) else { panic!("taken") };
    assert!(problems.to_string().contains("advertise"), "{problems}");
}

#[test]
fn addresses_in_numbers_are_never_looked_up_again() {
    let resolved = load_text("founders = [\"127.0.0.1\"]\nseeds = [\"127.0.0.1:7500\"]").unwrap();
    assert!(!resolved.names.may_change());
}

#[test]
fn replicas_zones_and_times_out_of_range_are_refused() {
    for line in ["replicas = 0", "replicas = 10", "repair_after = 0", "repair_after = 100000"] {
        let text = format!("founders = [\"127.0.0.1\"]\n{line}");
        assert!(matches!(load_text(&text), Err(Failure::Config(_))), "{line}");
    }
    let text = format!("founders = [\"127.0.0.1\"]\nzone = \"{}\"", "z".repeat(65));
    assert!(matches!(load_text(&text), Err(Failure::Config(_))));
}
