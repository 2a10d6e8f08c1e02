//! The bounds of failure detector and membership: short runs of what `haystack-sim membership` measures.

use haystack_sim::membership::{Network, Outcome, Plan, gossip, watch};

fn plan(nodes: usize, network: Network, crashes: bool, minutes: f64) -> Plan {
    Plan { seed: 1, nodes, network, crashes, seconds: minutes * 60.0 }
}

fn p95(samples: &haystack_sim::membership::Samples) -> f64 {
    assert!(samples.len() > 10, "{} samples are too few", samples.len());
    samples.percentile(95).expect("there are some")
}

#[test]
fn the_failure_detector_sees_a_crash_within_its_goal() {
    for nodes in [3, 5] {
        for (percent, most) in [(0, 0.7), (1, 0.7), (5, 0.9), (10, 1.1), (20, 1.5), (30, 1.8)] {
            let seen = watch(&plan(nodes, Network::Loss(percent * 10_000), true, 60.0));
            assert!(
                p95(&seen.suspected) <= most,
                "{nodes} nodes, {percent} %: {:?}",
                seen.suspected.percentile(95)
            );
            assert_eq!(seen.missed, 0);
        }
    }
    let ring = watch(&plan(32, Network::Loss(300_000), true, 12.0));
    assert!(p95(&ring.suspected) <= 1.8 && ring.missed == 0);
}

#[test]
fn the_failure_detector_suspects_nobody_by_independent_loss_or_elsewhere_than_a_cut_is() {
    let networks = [0, 10_000, 50_000, 100_000, 200_000, 300_000].map(Network::Loss);
    for network in networks.into_iter().chain([Network::OneWayCuts]) {
        let calm = watch(&plan(5, network, false, 120.0));
        assert_eq!((calm.false_suspicions, calm.false_one_way), (0, 0), "{network:?}");
        if network == Network::OneWayCuts {
            assert!(p95(&calm.one_way) < 2.5, "{:?}", calm.one_way.percentile(95));
        }
    }
}

#[test]
fn mistakes_by_bursts_and_pauses_come_to_an_end() {
    for (network, late) in [(Network::Bursts, 20), (Network::Pauses, 4)] {
        let calm = watch(&plan(5, network, false, 240.0));
        // Nine steps of 200 ms are above a pause, on 20 links.
        assert!((20..=9 * 20).contains(&calm.false_suspicions), "{network:?}: {}", calm.false_suspicions);
        assert!(calm.late_suspicions <= late, "{network:?}: {} in the last hour", calm.late_suspicions);
    }
}

#[test]
fn the_membership_sees_a_crash_sooner_than_others() {
    // memberlist 0.5 at 5 nodes: first detection in 5.0 s at no loss and 6.0 s at 30 %, in the median.
    for (nodes, percent, suspected, dead) in [(5, 0, 2.5, 9.0), (5, 30, 2.5, 15.0), (32, 0, 2.5, 12.0)] {
        let seen = gossip(&plan(nodes, Network::Loss(percent * 10_000), true, 60.0));
        assert!(seen.first.percentile(50) <= Some(suspected), "{:?}", seen.first.percentile(50));
        assert!(p95(&seen.dead) <= dead, "{nodes} nodes, {percent} %: {:?}", seen.dead.percentile(95));
        assert_eq!((seen.missed, seen.conflicts), (0, 0));
    }
}

#[test]
fn nobody_who_lives_is_declared_dead() {
    let networks =
        [Network::Loss(0), Network::Loss(300_000), Network::Bursts, Network::OneWayCuts, Network::Pauses];
    for network in networks {
        for (nodes, minutes) in [(3, 120.0), (5, 240.0), (32, 10.0)] {
            let calm = gossip(&plan(nodes, network, false, minutes));
            assert_eq!(calm.deaths, [], "{nodes} nodes, {network:?}");
            assert_eq!((calm.false_deaths, calm.conflicts), (0, 0));
        }
    }
}

/// Seeds where newcomers once stayed unknown because their wish to join was lost, or heard of a death from one that had
/// nobody else to ask.
#[test]
fn nobody_who_lives_is_declared_dead_where_others_crash_and_come_back() {
    let loss = Network::Loss(300_000);
    let cuts = Network::OneWayCuts;
    for (nodes, network, seeds) in
        [(3, loss, [3, 5, 11].as_slice()), (5, loss, &[19, 39]), (3, cuts, &[3, 7, 26])]
    {
        for seed in seeds {
            let outcome = gossip(&Plan { seed: *seed, ..plan(nodes, network, true, 240.0) });
            assert_eq!(outcome.deaths, [], "{nodes} nodes, {network:?}, seed {seed}");
            assert_eq!((outcome.missed, outcome.conflicts), (0, 0));
        }
    }
}

#[test]
fn traffic_per_node_does_not_grow_with_the_cluster() {
    let rest = |nodes| gossip(&plan(nodes, Network::Loss(0), false, 1.0));
    let small = rest(32);
    let rates = |outcome: &Outcome| {
        (outcome.per_node_second(outcome.messages), outcome.per_node_second(outcome.bytes))
    };
    let (messages, bytes) = rates(&small);
    assert!(messages < 5.0 && bytes < 1_000.0, "{messages} messages, {bytes} bytes");
    for nodes in [64, 128, 256] {
        let large = rest(nodes);
        let (more, heavier) = rates(&large);
        assert!(
            more <= 1.1 * messages && heavier <= 1.1 * bytes,
            "{nodes} nodes: {more} messages, {heavier} bytes"
        );
        assert!(large.busiest as f64 <= 1.5 * more * large.seconds, "no node does the work of others");
        assert!(large.converged < 90.0, "{nodes} nodes know each other after {} s", large.converged);
    }
    let beats = |nodes| watch(&plan(nodes, Network::Loss(0), false, 0.2));
    for nodes in [17, 64, 128] {
        let sent = beats(nodes);
        assert!((sent.per_node_second(sent.messages) - 160.0).abs() < 2.0);
    }
}

#[test]
fn one_seed_is_one_run() {
    let told = |outcome: Outcome| format!("{outcome:?}");
    let run = |seed| {
        let plan = Plan { seed, ..plan(5, Network::Loss(300_000), true, 30.0) };
        (told(gossip(&plan)), told(watch(&plan)))
    };
    let (once, again, other) = (run(3), run(3), run(4));
    assert!(once == again && once.0 != other.0 && once.1 != other.1);
}
