//! EPFD1, strong completeness: who crashed is suspected, soon, and for ever.

use super::world::{What, World, ms};
use crate::membership::detector::DetectorTiming;

#[test]
fn who_crashed_is_suspected_by_everyone_for_ever() {
    for (loss, most) in [(0.0, 700), (0.01, 700), (0.05, 900), (0.1, 1_200), (0.2, 1_500), (0.3, 1_900)] {
        for seed in 0..5 {
            let mut world = World::new(seed, 5);
            world.loss = loss;
            world.run(ms(60_000 + seed * 37));
            world.take_told();
            let crashed = world.now;
            world.crashed.insert(2);
            world.run(ms(most));
            assert!(
                (0..5).filter(|by| *by != 2).all(|by| world.suspects(by, 2)),
                "{most} ms at {loss}, seed {seed}"
            );
            world.run(ms(600_000));
            assert!((0..5).filter(|by| *by != 2).all(|by| world.suspects(by, 2)));
            let restored = world
                .told
                .iter()
                .any(|told| told.about == 2 && told.what == What::Restore && told.at > crashed + ms(100));
            assert!(!restored, "nobody takes it back");
        }
    }
}

#[test]
fn a_detection_is_bounded_whatever_was_measured_before() {
    // Total loss for a while, twenty mistakes, the longest delays: the timeout has a bound all the same.
    let limit = DetectorTiming::default().floor_limit;
    for seed in 0..5 {
        let mut world = World::new(seed, 2);
        world.loss = 0.9;
        world.run(ms(600_000));
        world.loss = 0.0;
        world.run(ms(1_000));
        assert!(world.nodes[0].timeout(super::world::id(1)) <= limit);
        world.crashed.insert(1);
        world.run(limit + ms(100));
        assert!(world.suspects(0, 1));
    }
}

#[test]
fn silence_never_puts_off_its_own_detection() {
    let mut world = World::new(1, 2);
    world.loss = 0.3;
    world.run(ms(60_000));
    let before = world.nodes[0].timeout(super::world::id(1));
    world.crashed.insert(1);
    world.run(ms(60_000));
    assert!(world.nodes[0].timeout(super::world::id(1)) <= before.max(ms(2_000)));
    let suspicion = world.told.iter().rfind(|told| told.what == What::Suspect).unwrap();
    assert!(suspicion.at <= super::world::at(60_000) + before + ms(1));
}

#[test]
fn a_process_that_is_always_late_still_suspects() {
    let mut world = World::new(1, 2);
    world.run(ms(10_000));
    world.crashed.insert(1);
    for _ in 0..40 {
        world.stall(0, ms(170));
        world.run(ms(170));
    }
    assert!(world.suspects(0, 1), "its own time passes slower, but it passes");
}
