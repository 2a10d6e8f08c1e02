//! Single rules, by hand.

use haystack_wire::Instant;
use haystack_wire::message::membership::Beat;
use haystack_wire::rng::Rng;
use haystack_wire::time::Duration;

use super::world::{World, at, id, ms};
use crate::membership::detector::{Detector, DetectorTiming, FLOORS_LIMIT, Output, PEERS_LIMIT};

fn detector(peers: usize) -> Detector {
    let mut detector = Detector::new(DetectorTiming::default(), Instant::ZERO);
    detector.set_peers(Instant::ZERO, (1..=peers).map(id));
    detector
}

fn outputs(detector: &mut Detector) -> Vec<Output> {
    std::iter::from_fn(|| detector.poll_output()).collect()
}

/// Lets the detector do all that is due until then, at its time.
fn run(detector: &mut Detector, until: Instant) -> Vec<(Instant, Output)> {
    let mut told = Vec::new();
    while let Some(due) = detector.poll_timeout().filter(|due| *due <= until) {
        detector.handle_timeout(due);
        told.extend(outputs(detector).into_iter().map(|output| (due, output)));
    }
    told
}

#[test]
fn a_new_peer_gets_a_full_timeout_of_grace() {
    let mut detector = detector(1);
    run(&mut detector, at(450));
    detector.set_peers(at(450), [id(1), id(2)].into_iter());
    let suspected: Vec<_> = run(&mut detector, at(2_000))
        .into_iter()
        .filter(|(_, output)| matches!(output, Output::Suspect(_)))
        .collect();
    assert_eq!(suspected, [(at(900), Output::Suspect(id(1))), (at(1_350), Output::Suspect(id(2)))]);
    assert!(!detector.suspects(id(9)), "who is not watched is not suspected");
}

#[test]
fn the_first_word_of_a_peer_is_no_mistake_corrected() {
    let mut detector = detector(1);
    run(&mut detector, at(950));
    assert!(detector.suspects(id(1)));
    detector.heard(at(960), id(1));
    assert_eq!(outputs(&mut detector), [Output::Restore(id(1))]);
    assert_eq!(detector.timeout(id(1)), ms(900));
    assert_eq!((detector.stats().late_starts, detector.stats().mistakes), (1, 0));
}

#[test]
fn any_packet_is_a_sign_of_life_and_a_stale_heartbeat_is_none() {
    let mut detector = detector(1);
    detector.handle(at(10), id(1), Beat { sequence: 5, heard_ms: None });
    for now in (50..3_000).step_by(50) {
        assert!(!run(&mut detector, at(now)).iter().any(|(_, output)| matches!(output, Output::Suspect(_))));
        detector.heard(at(now), id(1));
    }
    for now in (3_000..4_000).step_by(50) {
        run(&mut detector, at(now));
        detector.handle(at(now), id(1), Beat { sequence: 5, heard_ms: None });
    }
    assert!(detector.suspects(id(1)), "a replay keeps nobody alive");
    assert_eq!(detector.stats().drop_stale_beat, 20);
}

#[test]
fn the_path_counts_and_a_shorter_timeout_takes_effect_at_once() {
    let mut detector = detector(1);
    (1..=32).for_each(|sequence| detector.handle(at(10), id(1), Beat { sequence, heard_ms: None }));
    detector.path(id(1), ms(80), ms(30));
    assert_eq!(detector.timeout(id(1)), ms(700));
    detector.path(id(1), Duration::MAX, Duration::MAX);
    assert_eq!(detector.timeout(id(1)), ms(10_500), "no path is believed to take more than 10 s");
    run(&mut detector, at(600));
    assert!(!detector.suspects(id(1)));
    detector.path(id(1), ms(80), ms(30));
    assert!(detector.poll_timeout() <= Some(at(710)));
    run(&mut detector, at(710));
    assert!(detector.suspects(id(1)));
    assert_eq!(detector.stats().stalls, 0, "a deadline that moved is no lateness");
}

#[test]
fn at_most_twenty_heartbeats_a_second_whenever_it_is_woken() {
    for seed in 0..20 {
        let mut rng = Rng::from_u64(seed);
        let mut detector = Detector::new(DetectorTiming::default(), Instant::ZERO);
        let mut sent: Vec<Instant> = Vec::new();
        let mut now = Instant::ZERO;
        while now < at(60_000) {
            let most = [3, 40, 130, 700][rng.below(4) as usize];
            now += ms(rng.below(most));
            if rng.chance(0.2) {
                // Comes and goes: a new peer's first heartbeat must not come on top.
                detector.set_peers(now, std::iter::empty());
                detector.set_peers(now, [id(1), id(2)].into_iter());
            }
            detector.handle_timeout(now);
            let beats = outputs(&mut detector).into_iter();
            sent.extend(
                beats.filter(|output| matches!(output, Output::Send { to, .. } if *to == id(1))).map(|_| now),
            );
        }
        assert!(sent.len() > 100);
        let most = sent
            .iter()
            .map(|from| sent.iter().filter(|at| *at >= from && **at < *from + ms(1_000)).count())
            .max();
        assert!(most <= Some(20), "{most:?}");
    }
}

#[test]
fn heartbeats_are_regular_and_say_when_the_peer_was_heard() {
    let mut world = World::new(1, 3);
    world.run(ms(60_000));
    assert!(world.sent.values().all(|sent| (599..=600).contains(sent)), "{:?}", world.sent);
    let mut detector = detector(1);
    let echo = |told: &[(Instant, Output)]| match told.last() {
        Some((_, Output::Send { beat, .. })) => beat.heard_ms,
        other => panic!("{other:?}"),
    };
    assert_eq!(echo(&run(&mut detector, at(100))), None);
    detector.heard(at(130), id(1));
    assert_eq!(echo(&run(&mut detector, at(200))), Some(70));
    assert_eq!(echo(&run(&mut detector, at(60_130))), Some(59_970));
    assert_eq!(echo(&run(&mut detector, at(60_200))), None, "more than a minute ago");
}

#[test]
fn a_restarted_peer_counts_anew() {
    let mut detector = detector(1);
    (1..1_000).for_each(|sequence| detector.handle(at(0), id(1), Beat { sequence, heard_ms: None }));
    detector.restarted(at(10), id(1));
    detector.handle(at(20), id(1), Beat { sequence: 1, heard_ms: None });
    assert_eq!((detector.stats().drop_stale_beat, detector.loss_ppm(id(1))), (0, 0));
}

#[test]
fn spurious_calls_do_nothing_and_strangers_are_counted() {
    let mut detector = detector(2);
    run(&mut detector, at(200));
    let due = detector.poll_timeout();
    for _ in 0..5 {
        detector.handle_timeout(at(210));
    }
    assert_eq!((detector.poll_output(), detector.poll_timeout()), (None, due));
    detector.heard(at(210), id(7));
    detector.handle(at(210), id(7), Beat { sequence: u64::MAX, heard_ms: Some(u32::MAX) });
    detector.path(id(7), ms(1), ms(1));
    assert_eq!(detector.stats().drop_not_watched, 2);
}

#[test]
fn tables_are_bounded() {
    let named = |number: u32| {
        let mut node = [1; 16];
        node[..4].copy_from_slice(&number.to_be_bytes());
        haystack_wire::ids::NodeId(node)
    };
    let mut detector = Detector::new(DetectorTiming::default(), Instant::ZERO);
    detector.set_peers(Instant::ZERO, (0..2_000).map(named));
    assert_eq!(detector.peers().count(), PEERS_LIMIT);
    assert_eq!(detector.stats().drop_too_many_peers, 2_000 - PEERS_LIMIT as u64);
    // Each of many peers causes a mistake, and goes: their floors are remembered, within a bound.
    let mut now = at(0);
    for number in 0..FLOORS_LIMIT as u32 + 10 {
        detector.set_peers(now, std::iter::once(named(number)));
        detector.heard(now, named(number));
        run(&mut detector, now + ms(1_000));
        now += ms(1_000);
        detector.heard(now, named(number));
        assert_eq!(detector.peers[&named(number)].floor, ms(700));
        outputs(&mut detector);
    }
    detector.set_peers(now, std::iter::empty());
    assert_eq!(detector.floors.len(), FLOORS_LIMIT);
    assert_eq!(detector.stats().floors_forgotten, 10);
}

#[test]
fn a_packet_of_a_peer_moves_no_timer() {
    let mut detector = detector(16);
    run(&mut detector, at(50));
    let due = detector.checks.clone();
    for now in 51..90 {
        (1..=16).for_each(|peer| detector.heard(at(now), id(peer)));
    }
    assert_eq!(detector.checks, due, "deadlines that only grow are looked at when they are due");
}
