//! `haystackd run` and `check-config` as real processes: what they say and how they end.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

use crate::support::{Daemon, LIMIT, haystackd, outcome};
use rustix::process::Signal;

/// A port that was free a moment ago.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Arguments of a cluster of one.
fn alone(port: u16, state: &std::path::Path) -> Vec<String> {
    let addr = format!("127.0.0.1:{port}");
    let state = format!("{}", state.display());
    ["run", "--name", "n1", "--listen", &addr, "--founders", &addr, "--state-dir", &state]
        .map(str::to_owned)
        .to_vec()
}

fn args(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for wrong in [&["run", "--listn", "x"][..], &["go"], &[], &["run", "--memory-limit", "much"]] {
        let (code, _, err) = outcome(wrong);
        assert_eq!(code, 2, "{wrong:?}: {err}");
        assert!(err.starts_with("haystackd: "), "{err}");
    }
    let (code, out, _) = outcome(&["--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("EXIT CODES"), "{out}");
}

#[test]
fn check_config_tells_what_a_file_comes_to_or_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("h.toml");
    let path = file.display().to_string();
    std::fs::write(&file, "name = \"n1\"\nfounders = [\"127.0.0.1:7411\"]\nlisten = \"127.0.0.1:7411\"\n")
        .unwrap();
    let (code, out, err) = outcome(&["check-config", &path]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("advertise = \"127.0.0.1:7411\""), "{out}");
    std::fs::write(&file, "name = \"n1\"\nfoundrs = []\n").unwrap();
    let (code, _, err) = outcome(&["check-config", &path]);
    assert_eq!(code, 78);
    assert!(err.contains(&format!("{path}:2: unknown key `foundrs`: did you mean `founders`?")), "{err}");
}

#[test]
fn a_port_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, _, err) = outcome(&args(&alone(port, dir.path())));
    assert_eq!(code, 69, "{err}");
    assert!(err.contains(&format!("UDP port {port} is in use")) && err.contains("ss -ulpn"), "{err}");
    assert!(!dir.path().join("life").exists(), "no life began");
}

#[test]
fn a_second_daemon_in_one_state_directory_is_refused_and_told_by_whom() {
    let dir = tempfile::tempdir().unwrap();
    let first = Daemon::start(&mut haystackd(&args(&alone(free_port(), dir.path()))));
    first.logs_until("ready: every partition");
    let life = std::fs::read(dir.path().join("life")).unwrap();
    let (code, _, err) = outcome(&args(&alone(free_port(), dir.path())));
    assert_eq!(code, 73, "{err}");
    assert!(err.contains(&format!("(process {})", first.pid())), "{err}");
    assert_eq!(std::fs::read(dir.path().join("life")).unwrap(), life);
}

#[test]
fn systemd_hears_ready_and_stopping_and_a_clean_stop_exits_with_0() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(LIMIT)).unwrap();
    let heard = |mark: &str| {
        let mut buf = [0; 1024];
        while let Ok(len) = systemd.recv(&mut buf) {
            if String::from_utf8_lossy(&buf[..len]).lines().any(|line| line == mark) {
                return;
            }
        }
        panic!("not heard: {mark}");
    };
    let state = dir.path().join("state");
    let daemon = Daemon::start(haystackd(&args(&alone(free_port(), &state))).env("NOTIFY_SOCKET", &path));
    heard("READY=1");
    heard("STATUS=ready");
    daemon.signal(Signal::TERM);
    heard("STOPPING=1");
    let (status, _, err) = daemon.end();
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(err.contains("stopped"), "{err}");
}

#[test]
fn a_clean_stop_hands_over_warns_and_its_successor_has_no_vote() {
    let dir = tempfile::tempdir().unwrap();
    // Held together, so that they differ.
    let held: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let addrs: Vec<String> = held.iter().map(|socket| socket.local_addr().unwrap().to_string()).collect();
    drop(held);
    let founders = addrs.join(",");
    let start = |n: usize| {
        let (name, state) = (format!("n{n}"), dir.path().join(n.to_string()).display().to_string());
        let what =
            ["run", "--name", &name, "--listen", &addrs[n], "--founders", &founders, "--state-dir", &state];
        Daemon::start(&mut haystackd(&what))
    };
    let daemons: Vec<Daemon> = (0..3).map(start).collect();
    daemons.iter().for_each(|daemon| drop(daemon.logs_until("ready: every partition")));
    let mut daemons = daemons.into_iter();
    let first = daemons.next().unwrap();
    first.signal(Signal::TERM);
    let (status, _, err) = first.end();
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(
        err.contains("handing leadership over") && err.contains("ONE MORE STOP WOULD LOSE DATA"),
        "{err}"
    );
    // With leaders spread, some partitions were without one for a moment at most.
    let others: Vec<Daemon> = daemons.collect();
    others.iter().for_each(|daemon| drop(daemon.logs_until("ready: every partition")));
    start(0).logs_until("standby: this daemon has no vote");
    let second = others.into_iter().next().unwrap();
    second.signal(Signal::TERM);
    let (_, _, err) = second.end();
    assert!(err.contains("DATA IS LOST WITH THIS STOP") && !err.contains("ONE MORE STOP"), "{err}");
}

#[test]
fn logs_can_be_json_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mut list = alone(free_port(), dir.path());
    list.extend(["--log-format", "json"].map(str::to_owned));
    let daemon = Daemon::start(&mut haystackd(&args(&list)));
    let lines = daemon.logs_until("listening");
    assert!(lines.iter().all(|line| line.starts_with('{') && line.ends_with('}')), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("\"name\":\"n1\"")), "{lines:?}");
    // Its end by a failure, too: here that of another one in its place.
    let (code, _, err) = outcome(&args(&list));
    assert_eq!(code, 73);
    assert!(err.lines().all(|line| line.starts_with('{')) && err.contains("\"exit_code\":73"), "{err}");
}

#[test]
fn sighup_stops_nothing_that_has_no_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&mut haystackd(&args(&alone(free_port(), dir.path()))));
    daemon.logs_until("listening");
    daemon.signal(Signal::HUP);
    daemon.logs_until("SIGHUP changes nothing");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.end().0.code(), Some(0));
}
