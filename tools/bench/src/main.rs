//! `haystack-bench`: closed-loop load on a cluster, and the floor that the kernel sets, in one run.

mod compare;
mod floor;
mod load;
mod relay;
mod report;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use haystack_client::core::Config;
use haystack_wire::ids::NetworkId;
use haystack_wire::keys::KeyRing;
use structopt::StructOpt;

#[derive(StructOpt)]
#[structopt(about = "Measures a cluster beside what the kernel gives")]
enum Command {
    /// Closed-loop load on a running cluster
    Load(LoadOptions),
    /// Ours beside the floor, on a local cluster of its own, as a table; pin it to one core by
    /// `taskset -c 1 chrt -r 5`
    Compare(CompareOptions),
    /// A bare UDP relay in the pattern of a replicated write: client, leader, two followers, leader, client
    Floor(FloorOptions),
    #[structopt(setting = structopt::clap::AppSettings::Hidden)]
    Relay(RelayOptions),
}

#[derive(StructOpt)]
struct LoadOptions {
    /// Daemons, HOST:PORT[,...]
    #[structopt(long, default_value = "127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402")]
    connect: String,
    /// The cluster's name
    #[structopt(long, default_value = haystack_wire::ids::DEFAULT_CLUSTER_NAME)]
    cluster: String,
    /// File with a client key or the cluster key
    #[structopt(long)]
    key_file: Option<PathBuf>,
    /// Connections, each with a socket of its own
    #[structopt(long, default_value = "1")]
    connections: usize,
    /// Operations that each connection keeps under way
    #[structopt(long, default_value = "1")]
    outstanding: usize,
    /// Bytes of each value
    #[structopt(long, default_value = "100")]
    value: usize,
    /// Different keys
    #[structopt(long, default_value = "10000")]
    keys: u64,
    /// Share of gets
    #[structopt(long, default_value = "0")]
    get: u32,
    /// Share of puts
    #[structopt(long, default_value = "1")]
    put: u32,
    /// Share of compare-and-swaps, each on a key that only its connection writes
    #[structopt(long, default_value = "0")]
    cas: u32,
    /// Seconds
    #[structopt(long, default_value = "5")]
    duration: f64,
}

#[derive(StructOpt)]
struct FloorOptions {
    /// Closed-loop clients, each with a socket of its own
    #[structopt(long, default_value = "1")]
    connections: usize,
    /// Gather all requests of one wake-up into one datagram to each follower
    #[structopt(long)]
    batch: bool,
    /// Bytes of each request: a value and what goes with it
    #[structopt(long, default_value = "160")]
    bytes: usize,
    /// First of three UDP ports on 127.0.0.1
    #[structopt(long, default_value = "7480")]
    port: u16,
    /// Seconds
    #[structopt(long, default_value = "5")]
    duration: f64,
}

#[derive(StructOpt)]
struct CompareOptions {
    /// First of three UDP ports on 127.0.0.1 for the floor
    #[structopt(long, default_value = "7480")]
    port: u16,
    /// Seconds for each measurement
    #[structopt(long, default_value = "5")]
    duration: f64,
}

#[derive(StructOpt)]
struct RelayOptions {
    #[structopt(long)]
    listen: SocketAddr,
    #[structopt(long)]
    follower: Vec<SocketAddr>,
    #[structopt(long)]
    batch: bool,
}

fn main() -> ExitCode {
    let result = match Command::from_args() {
        Command::Load(options) => load(&options),
        Command::Compare(options) => compare::run(options.port, options.duration),
        Command::Floor(options) => floor(&options),
        Command::Relay(options) if options.follower.is_empty() => {
            relay::follower(options.listen).map_err(|error| error.to_string())
        }
        Command::Relay(options) => {
            relay::leader(options.listen, &options.follower, options.batch).map_err(|error| error.to_string())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("haystack-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn load(options: &LoadOptions) -> Result<(), String> {
    let mut addresses = Vec::new();
    for address in options.connect.split(',') {
        let resolved = address.to_socket_addrs().map_err(|error| format!("--connect {address}: {error}"))?;
        addresses.extend(resolved.take(1));
    }
    let mut client = Config::new(addresses);
    client.network = NetworkId::of_cluster(&options.cluster);
    if let Some(file) = &options.key_file {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        client.keys =
            KeyRing::from_file_text(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if options.get + options.put + options.cas == 0 || options.connections == 0 || options.outstanding == 0 {
        return Err("--connections, --outstanding and one of --get, --put, --cas must be above 0".to_owned());
    }
    let measured = load::run(&load::Load {
        name: format!(
            "{} x {} get:put:cas {}:{}:{}",
            options.connections, options.outstanding, options.get, options.put, options.cas
        ),
        connections: options.connections,
        outstanding: options.outstanding,
        value: options.value,
        keys: options.keys,
        operations: u64::MAX,
        mix: (options.get, options.put, options.cas),
        duration: Duration::from_secs_f64(options.duration),
        client,
    })?;
    println!("{}", measured.line());
    Ok(())
}

fn floor(options: &FloorOptions) -> Result<(), String> {
    let relay = floor::Relay::start(options.port, options.batch).map_err(|error| error.to_string())?;
    let name = if options.batch { "floor, replica leg batched" } else { "floor" };
    let duration = Duration::from_secs_f64(options.duration);
    let measured = floor::run(name, &relay, options.connections, options.bytes, duration);
    println!("{}", measured.map_err(|error| error.to_string())?.line());
    Ok(())
}
