//! The rows of the performance table: ours beside the floor, measured in one run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use haystack_client::core::Config;

use crate::floor::{self, Relay};
use crate::load::{self, Load};
use crate::report::Measured;

/// Bytes of a key in the memory row.
const MEMORY_KEYS: u64 = 1_000_000;

/// A local cluster for the time of the measurement.
struct Cluster {
    child: Child,
    addresses: Vec<std::net::SocketAddr>,
    processes: Vec<u32>,
}

impl Cluster {
    fn start() -> Result<Self, String> {
        let mut daemon: PathBuf = std::env::current_exe().map_err(|error| error.to_string())?;
        daemon.set_file_name("haystackd");
        let mut child = Command::new(&daemon)
            .args(["dev", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}; build it first", daemon.display()))?;
        let output = child.stdout.take().ok_or("no output")?;
        let mut cluster = Self { child, addresses: Vec::new(), processes: Vec::new() };
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| error.to_string())?;
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [_, addr, "process", process] = words[..] {
                cluster.addresses.push(addr.parse().map_err(|_| format!("no address: {line}"))?);
                cluster.processes.push(process.parse().map_err(|_| format!("no process: {line}"))?);
            }
            if line.starts_with("ready") {
                return Ok(cluster);
            }
        }
        Err("the cluster ended before it was ready".to_owned())
    }

    /// Resident memory of the largest daemon, in MB.
    fn resident(&self) -> Result<f64, String> {
        let mut largest = 0.0_f64;
        for process in &self.processes {
            let path = format!("/proc/{process}/status");
            let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
            let kib: f64 = line.trim().trim_end_matches(" kB").parse().map_err(|_| "no VmRSS".to_owned())?;
            largest = largest.max(kib * 1024.0 / 1e6);
        }
        Ok(largest)
    }

    fn load(
        &self,
        name: &str,
        shape: (usize, usize),
        mix: (u32, u32, u32),
        seconds: f64,
    ) -> Result<Measured, String> {
        let measured = load::run(&Load {
            name: name.to_owned(),
            connections: shape.0,
            outstanding: shape.1,
            value: 100,
            keys: 10_000,
            operations: u64::MAX,
            mix,
            duration: Duration::from_secs_f64(seconds),
            client: Config::new(self.addresses.clone()),
        })?;
        eprintln!("{}", measured.line());
        Ok(measured)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Its daemons end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn floor_of(connections: usize, batch: bool, port: u16, seconds: f64) -> Result<Measured, String> {
    let relay = Relay::start(port, batch).map_err(|error| error.to_string())?;
    let name = if batch { "floor, replica leg batched" } else { "floor" };
    let duration = Duration::from_secs_f64(seconds);
    let measured = floor::run(name, &relay, connections, 160, duration).map_err(|error| error.to_string())?;
    eprintln!("{}", measured.line());
    Ok(measured)
}

/// Measures all rows and prints the table.
///
/// # Errors
/// If the cluster or the floor cannot be run.
pub(crate) fn run(port: u16, seconds: f64) -> Result<(), String> {
    let cluster = Cluster::start()?;
    let idle = cluster.resident()?;
    let floor = floor_of(1, false, port, seconds)?;
    let put = cluster.load("PUT, 1 client", (1, 1), (0, 1, 0), seconds)?;
    let get = cluster.load("GET, 1 client", (1, 1), (1, 0, 0), seconds)?;
    let batched = floor_of(64, true, port, seconds)?;
    let puts = cluster.load("PUT, 64 clients", (64, 1), (0, 1, 0), seconds)?;
    let cas = cluster.load("CAS, 64 clients", (64, 1), (0, 0, 1), seconds)?;
    let piped = cluster.load("PUT, 4 clients x 64", (4, 64), (0, 1, 0), seconds)?;
    let filled = load::run(&Load {
        name: "1M x 100 B".to_owned(),
        connections: 4,
        outstanding: 256,
        value: 100,
        keys: MEMORY_KEYS,
        operations: MEMORY_KEYS,
        mix: (0, 1, 0),
        duration: Duration::from_secs(600),
        client: Config::new(cluster.addresses.clone()),
    })?;
    eprintln!("{}", filled.line());
    let full = cluster.resident()?;
    println!("| # | what | floor | ours | ratio | first floor | aim |");
    println!("|---|---|---|---|---|---|---|");
    let us = |value: f64| format!("{value:.1} us");
    let kops = |value: f64| format!("{:.1}k/s", value / 1e3);
    let row = |number: u8, what: &str, floor: String, ours: String, ratio: String, least: &str, aim: &str| {
        println!("| {number} | {what} | {floor} | {ours} | {ratio} | {least} | {aim} |");
    };
    let times = |ours: f64, floor: f64| format!("{:.2}", ours / floor);
    let share = |ours: f64, floor: f64| format!("{:.0} %", 100.0 * ours / floor);
    let (p50, p99) = (floor.percentile(0.5), floor.percentile(0.99));
    row(
        1,
        "PUT p50, 1 client",
        us(p50),
        us(put.percentile(0.5)),
        times(put.percentile(0.5), p50),
        "1.6",
        "1.15",
    );
    row(
        2,
        "PUT p99, 1 client",
        us(p99),
        us(put.percentile(0.99)),
        times(put.percentile(0.99), p99),
        "2.0",
        "1.25",
    );
    row(
        3,
        "linearizable GET p50, 1 client",
        us(p50),
        us(get.percentile(0.5)),
        times(get.percentile(0.5), p50),
        "1.6",
        "1.2",
    );
    row(
        4,
        "PUT, 64 clients",
        kops(batched.rate()),
        kops(puts.rate()),
        share(puts.rate(), batched.rate()),
        "50 %",
        "85 %",
    );
    row(
        5,
        "CAS to PUT, 64 clients",
        kops(puts.rate()),
        kops(cas.rate()),
        share(cas.rate(), puts.rate()),
        "90 %",
        "97 %",
    );
    row(
        6,
        "256 pipelined over 4 clients",
        String::new(),
        kops(piped.rate()),
        String::new(),
        "300k/s",
        "1M/s",
    );
    row(8, "resident memory, idle", String::new(), format!("{idle:.1} MB"), String::new(), "20 MB", "6 MB");
    row(
        8,
        "resident memory, 1M x 100 B",
        String::new(),
        format!("{full:.0} MB"),
        String::new(),
        "171 MB",
        "150 MB",
    );
    let failed = put.failed + get.failed + puts.failed + cas.failed + piped.failed + filled.failed;
    println!("\nfailed operations: {failed}");
    Ok(())
}
