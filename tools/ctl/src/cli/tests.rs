use super::*;
use crate::failure::Exit;

fn asked(line: &str) -> (Command, Options) {
    match parse(line.split(' ').map(OsString::from)) {
        Ok(Asked::Command(command, options)) => (*command, options),
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> Failure {
    match parse(line.split(' ').map(OsString::from)) {
        Err(failure) => failure,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn options_go_before_and_after_the_command_and_the_later_wins() {
    let (_, options) = asked("haystackctl --connect a,b:1 --timeout 2 get k --timeout 0.5 --json");
    assert_eq!(options.connect, Some(Addresses(vec!["a".into(), "b:1".into()])));
    assert_eq!(options.timeout, Some(Duration::from_millis(500)));
    assert!(options.json);
    let (_, options) = asked("haystackctl --cluster c key --json client --from f --rights wr --cluster d");
    assert_eq!((options.cluster.as_deref(), options.json), (Some("d"), true));
    let (_, options) =
        asked("haystackctl --connect a --connect b status --timeout 1 --timeout 2 --json --json");
    assert_eq!(options.connect, Some(Addresses(vec!["b".into()])));
    assert_eq!(options.timeout, Some(Duration::from_secs(2)));
    let (_, options) = asked("haystackctl status");
    assert_eq!(options, Options::default());
}

#[test]
fn a_wrong_command_line_is_a_usage_failure_and_help_is_none() {
    for line in [
        "haystackctl",
        "haystackctl go",
        "haystackctl get",
        "haystackctl get a b",
        "haystackctl put k",
        "haystackctl put k v w",
        "haystackctl cas k new",
        "haystackctl cas k --absent --version 1.2 new",
        "haystackctl cas k --version 7 new",
        "haystackctl wait",
        "haystackctl where",
        "haystackctl members x",
        "haystackctl events --from x",
        "haystackctl partitions --of",
        "haystackctl found",
        "haystackctl key",
        "haystackctl key client --from f --rights x",
        "haystackctl key client --rights r",
        "haystackctl status --timeout 0",
        "haystackctl status --timeout -1",
        "haystackctl status --timeout nan",
        "haystackctl status --timeout soon",
        "haystackctl --connect , status",
        "haystackctl get k --stael",
    ] {
        assert_eq!(refusal(line).exit, Exit::Usage, "{line}");
    }
    for line in ["haystackctl --help", "haystackctl cas --help", "haystackctl key new -h", "haystackctl -V"] {
        let text = parse(line.split(' ').map(OsString::from));
        assert!(matches!(text, Ok(Asked::Text(_))), "{line}: {text:?}");
    }
}

#[test]
fn arguments_are_bytes_and_dashes_are_possible() {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = std::ffi::OsStr::from_bytes(b"\xff\xfe").to_owned();
    let args = ["haystackctl".into(), "put".into(), bytes.clone(), "-".into()];
    let Ok(Asked::Command(command, _)) = parse(args) else { panic!("no command") };
    let Command::Put(put) = *command else { panic!("no put") };
    assert_eq!((put.key, put.value), (bytes, "-".into()));
    let (Command::Put(put), _) = asked("haystackctl put -- -5 --json") else { panic!("no put") };
    assert_eq!((put.key, put.value), ("-5".into(), "--json".into()));
    let (Command::Cas(cas), _) = asked("haystackctl cas k --expect -5 6") else { panic!("no cas") };
    assert_eq!((cas.expect, cas.new), (Some("-5".into()), "6".into()));
}

#[test]
fn versions_and_rights_read_back_as_they_are_printed() {
    let at = Version { group: GroupId(3), index: LogIndex(1207) };
    assert_eq!(version(&at.to_string()), Ok(at));
    assert_eq!(rights("awr"), Ok(Rights::ALL));
    assert_eq!(rights("r").map(|rights| rights.to_string()), Ok("r".to_owned()));
    assert!(rights("").is_err());
}

#[test]
fn the_help_of_the_tool_says_what_it_is_for_and_how_it_exits() {
    let Ok(Asked::Text(help)) = parse(["haystackctl", "--help"].map(OsString::from)) else {
        panic!("no help")
    };
    assert!(help.contains("Reads and writes a stormy-haystack cluster"), "{help}");
    for status in 0..=5 {
        assert!(help.contains(&format!("\n    {status}  ")), "{status}: {help}");
    }
}

#[test]
fn the_cluster_can_be_looked_at_from_many_sides() {
    let (Command::Status(status), _) = asked("haystackctl status --groups --json") else {
        panic!("no status")
    };
    assert!(status.groups);
    let (Command::Partitions(parts), options) = asked("haystackctl partitions --of n2 --json") else {
        panic!("no partitions")
    };
    assert_eq!((parts.of.as_deref(), options.json), (Some("n2"), true));
    let (Command::Events(events), _) = asked("haystackctl events") else { panic!("no events") };
    assert_eq!((events.follow, events.from), (false, 0));
    let (Command::Events(events), _) = asked("haystackctl events --follow --from 17") else {
        panic!("no events")
    };
    assert_eq!((events.follow, events.from), (true, 17));
    let (Command::Where(key), _) = asked("haystackctl where -- -k") else { panic!("no where") };
    assert_eq!(key.key, "-k");
    assert!(matches!(asked("haystackctl members --timeout 1").0, Command::Members(_)));
    assert!(matches!(asked("haystackctl coordinator").0, Command::Coordinator(_)));
}

#[test]
fn an_unknown_word_gets_a_near_match() {
    for (line, meant) in [
        ("haystackctl statsu", "`status`"),
        ("haystackctl member", "`members`"),
        ("haystackctl event --follow", "`events`"),
        ("haystackctl get k --stael", "`--stale`"),
        ("haystackctl events --folow", "`--follow`"),
    ] {
        let message = refusal(line).message;
        let first = message.lines().next().unwrap();
        assert!(first.ends_with(&format!(". Did you mean {meant}?")), "{line}: {message}");
        assert!(message.contains("USAGE"), "{line}: {message}");
    }
    assert!(!refusal("haystackctl go").message.contains("Did you mean"));
}

#[test]
fn every_word_that_may_be_meant_exists() {
    let help = |line: &str| match parse(line.split(' ').map(OsString::from)) {
        Ok(Asked::Text(text)) => text,
        other => panic!("{line}: {other:?}"),
    };
    let tool = help("haystackctl --help");
    let mut all = tool.clone() + &help("haystackctl key client --help");
    for command in COMMANDS {
        assert!(tool.contains(&format!("\n    {command} ")), "{command}: {tool}");
        all += &help(&format!("haystackctl {command} --help"));
    }
    let listed = tool.split("SUBCOMMANDS:").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    assert_eq!(listed.trim().lines().count(), COMMANDS.len(), "{listed}");
    for flag in FLAGS {
        assert!(all.contains(flag), "{flag}: {all}");
    }
}

#[test]
fn a_wrong_number_is_told_with_what_is_right() {
    let events = refusal("haystackctl events --from x");
    assert!(events.message.contains("`x` is no number of an event"), "{}", events.message);
    for line in ["haystackctl get k --timeout -1", "haystackctl --timeout -1 get k"] {
        let timeout = refusal(line);
        assert!(timeout.message.contains("`-1` is no number of seconds from 0.001"), "{}", timeout.message);
    }
}
