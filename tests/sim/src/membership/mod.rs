//! How fast and how rightly memberships and failure detectors see a crash, and what they cost: the very state
//! machines of the daemon, over a network without links that loses what is sent.
//!
//! Heartbeats and gossip are fair-loss. What gossip asks to be sent reliably is sent again until it arrives, as the
//! perfect link would. Each host has a clock of its own phase, and everything is drawn from one seed. Detectors and
//! memberships run in worlds of their own: the membership so is measured without the help that the heartbeats of
//! neighbours give it in the daemon.

mod gossip;
mod net;
mod table;
mod tally;
mod watch;
mod world;

use std::time::Duration;

use structopt::StructOpt;

use gossip::{Cluster, Gossiper};
pub use net::Network;
use net::{MS, SECOND};
use table::Pair;
pub use tally::{Outcome, Samples};
use watch::Watcher;
use world::World;

/// Longest that nodes may take to know each other before the measurement, in seconds.
const ACQUAINTANCE: u64 = 600;
/// Time for detectors to measure the loss, and for first news to be spread, in seconds.
const WARM_UP: u64 = 60;
/// Sizes of which the traffic is told.
const TRAFFIC_NODES: [usize; 5] = [32, 64, 128, 256, 512];

/// Measures failure detector and membership in virtual time.
#[derive(Clone, Debug, StructOpt)]
pub struct Options {
    /// Draws everything from this seed.
    #[structopt(long, default_value = "1")]
    seed: u64,
    /// Numbers of nodes.
    #[structopt(long, use_delimiter = true, default_value = "3,5,32,128")]
    nodes: Vec<usize>,
    /// Networks: loss-0, loss-1, loss-5, loss-10, loss-20, loss-30, bursts, one-way, pauses. All by default.
    #[structopt(long, use_delimiter = true)]
    networks: Vec<String>,
    /// Parts: epfd, swim, day (24 hours at 30 % loss, N = 5), traffic.
    #[structopt(long, use_delimiter = true, default_value = "epfd,swim,day,traffic")]
    parts: Vec<String>,
    /// Multiplies the simulated times.
    #[structopt(long, default_value = "1")]
    scale: f64,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Draws everything.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// What is wrong all the time.
    pub network: Network,
    /// Whether nodes crash, one at a time: then the mistakes in between count as well.
    pub crashes: bool,
    /// Simulated seconds that are measured.
    pub seconds: f64,
}

/// Runs failure detectors: all pairs up to 16 nodes, 16 peers each in more.
pub fn watch(plan: &Plan) -> Outcome {
    let mut world: World<Watcher> = World::new(plan.seed, plan.nodes, plan.network, 100 * MS, plan.nodes);
    world.run(Duration::from_secs(WARM_UP));
    world.measure(plan.crashes, Duration::from_secs_f64(plan.seconds))
}

/// Runs memberships.
pub fn gossip(plan: &Plan) -> Outcome {
    let cluster = Cluster::new(plan.seed, plan.nodes);
    let spread = 50 * MS * plan.nodes as u64;
    let mut world: World<Gossiper> = World::new(plan.seed, plan.nodes, plan.network, spread, cluster);
    world.outcome.converged = f64::INFINITY;
    while world.now() < ACQUAINTANCE * SECOND {
        world.run(Duration::from_millis(100));
        let known = world.processes().map(Gossiper::living).min();
        if world.processes().count() == plan.nodes && known >= Some(plan.nodes - 1) {
            world.outcome.converged = world.now() as f64 / 1e9;
            break;
        }
    }
    world.run(Duration::from_secs(WARM_UP));
    world.measure(plan.crashes, Duration::from_secs_f64(plan.seconds))
}

/// How long a number of nodes is watched for a row, in seconds: failure detectors, memberships with crashes and
/// without. Enough crashes for a 95th percentile, and no more messages than two minutes for the whole table allow.
fn spans(nodes: usize) -> (f64, f64, f64) {
    let hours = match nodes {
        0..=8 => (4.0, 4.0, 4.0),
        9..=16 => (1.0, 2.0, 2.0),
        17..=64 => (0.25, 1.0, 0.5),
        _ => (0.1, 0.5, 0.2),
    };
    (hours.0 * 3_600.0, hours.1 * 3_600.0, hours.2 * 3_600.0)
}

/// Prints the tables. `Err` is what is wrong with the options.
pub fn tables(options: &Options) -> Result<(), String> {
    let networks = chosen(options)?;
    let has = |part: &str| options.parts.iter().any(|chosen| chosen == part);
    println!("seed {}", options.seed);
    let plan = |nodes, network, crashes, seconds: f64| Plan {
        seed: options.seed,
        nodes,
        network,
        crashes,
        seconds: seconds * options.scale,
    };
    if has("epfd") || has("swim") {
        for nodes in options.nodes.iter().copied() {
            println!("\n{}", table::heading(nodes));
            for network in networks.iter().copied() {
                let (watching, crashing, calm) = spans(nodes);
                let watched =
                    has("epfd").then(|| Pair::of(|crashes| watch(&plan(nodes, network, crashes, watching))));
                let gossiped = has("swim").then(|| {
                    let span = |crashes| if crashes { crashing } else { calm };
                    Pair::of(|crashes| gossip(&plan(nodes, network, crashes, span(crashes))))
                });
                println!("{}", table::row(network, watched.as_ref(), gossiped.as_ref()));
            }
        }
        println!("\n{}", table::TO_BEAT);
    }
    if has("day") {
        println!("\n24 hours without a crash at 30 % loss\n{}", table::heading(5));
        let plan = plan(5, Network::Loss(300_000), false, 24.0 * 3_600.0);
        let calm = |calm| Pair { crashing: Outcome::default(), calm };
        println!("{}", table::row(plan.network, Some(&calm(watch(&plan))), Some(&calm(gossip(&plan)))));
    }
    if has("traffic") {
        println!("\nSWIM at rest without loss, per node and second; bytes with all headers");
        println!(
            "{:>5} | {:>10} {:>10} {:>12} {:>12}",
            "N", "messages", "bytes", "busiest node", "all known, s"
        );
        for nodes in TRAFFIC_NODES {
            println!("{}", table::traffic(&gossip(&plan(nodes, Network::Loss(0), false, 60.0))));
        }
        println!("\nEPFD, the same");
        for nodes in TRAFFIC_NODES {
            println!("{}", table::traffic(&watch(&plan(nodes, Network::Loss(0), false, 20.0))));
        }
    }
    Ok(())
}

fn chosen(options: &Options) -> Result<Vec<Network>, String> {
    if let Some(part) =
        options.parts.iter().find(|part| !["epfd", "swim", "day", "traffic"].contains(&part.as_str()))
    {
        return Err(format!("no part is called {part}; there are: epfd, swim, day, traffic"));
    }
    if let Some(few) = options.nodes.iter().find(|nodes| !(2..=1_024).contains(*nodes)) {
        return Err(format!("{few} nodes are no membership; from 2 to 1024 can be simulated"));
    }
    if options.networks.is_empty() {
        return Ok(Network::ALL.to_vec());
    }
    let named = |name: &String| {
        let known = Network::ALL.map(Network::name).join(", ");
        let found = Network::ALL.into_iter().find(|network| network.name() == *name);
        found.ok_or(format!("no network is called {name}; there are: {known}"))
    };
    options.networks.iter().map(named).collect()
}
