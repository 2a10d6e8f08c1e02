//! EPFD2, eventual strong accuracy: mistakes are rare at the loss that is measured, and come to an end.

use haystack_wire::time::Duration;

use super::world::{What, World, at, id, ms};

fn suspicions(world: &World, about: usize) -> usize {
    world.told.iter().filter(|told| told.what == What::Suspect && told.about == about).count()
}

#[test]
fn a_correct_process_is_not_suspected_at_independent_loss() {
    // After a minute to measure. One false suspicion per link-year is expected; this is 27 link-hours per loss.
    for loss in [0.0, 0.01, 0.05, 0.1, 0.2, 0.3] {
        let mut world = World::new(7, 10);
        world.loss = loss;
        world.run(ms(60_000));
        world.take_told();
        world.run(ms(1_080_000));
        assert_eq!(world.told, [], "at {loss}");
    }
}

#[test]
fn heavy_loss_from_the_start_causes_few_mistakes() {
    let mut mistakes = 0;
    for seed in 0..20 {
        let mut world = World::new(seed, 5);
        world.loss = 0.3;
        world.run(ms(60_000));
        mistakes += world.told.iter().filter(|told| told.what == What::Suspect).count();
    }
    assert!(mistakes <= 4, "{mistakes} on 400 links");
}

#[test]
fn the_timeout_follows_the_loss_up_and_down() {
    let mut world = World::new(3, 2);
    let mut last = ms(0);
    for (loss, low, high) in
        [(0.0, 500, 500), (0.05, 600, 900), (0.1, 800, 1_100), (0.2, 1_100, 1_400), (0.3, 1_400, 1_900)]
    {
        world.loss = loss;
        world.run(ms(120_000));
        let timeout = world.nodes[0].timeout(id(1));
        assert!((ms(low)..=ms(high)).contains(&timeout), "{timeout:?} at {loss}");
        assert!(timeout > last);
        assert!((f64::from(world.nodes[0].loss_ppm(id(1))) / 1e6 - loss).abs() < 0.06);
        last = timeout;
    }
    let floor = ms(500) + ms(200) * suspicions(&world, 1) as u32;
    world.loss = 0.0;
    world.run(ms(120_000));
    assert_eq!(world.nodes[0].timeout(id(1)), floor, "what remains is what mistakes have taught");
}

#[test]
fn mistakes_come_to_an_end_and_the_floor_never_falls() {
    // A direction that goes silent for 3 s again and again: delay, loss or a scheduler, the detector cannot know.
    let mut world = World::new(1, 2);
    world.run(ms(5_000));
    let mut floor = Duration::ZERO;
    let mut quiet = 0;
    for turn in 0..40 {
        let before = suspicions(&world, 1);
        world.cuts.insert((1, 0));
        world.run(ms(3_000));
        world.cuts.clear();
        world.run(ms(60_000));
        let timeout = world.nodes[0].timeout(id(1));
        assert!(timeout >= floor, "turn {turn}");
        floor = timeout;
        quiet = if suspicions(&world, 1) == before { quiet + 1 } else { 0 };
    }
    assert!(suspicions(&world, 1) <= 13, "3 s are reached in 13 steps of 200 ms from 500 ms");
    assert!(quiet > 20, "and then nobody is suspected any more: {quiet}");
    assert_eq!(suspicions(&world, 0), 0, "the other direction was never silent");
    assert!(floor <= ms(3_200));
}

#[test]
fn the_floor_has_a_limit_and_outlives_a_peers_absence() {
    let mut world = World::new(1, 2);
    world.run(ms(5_000));
    for silence in (0..60).map(|turn| (600 + 200 * turn).min(9_900)) {
        world.cuts.insert((1, 0));
        world.run(ms(silence));
        world.cuts.clear();
        world.run(ms(2_000));
    }
    let raised = world.nodes[0].timeout(id(1));
    assert!(raised > ms(9_000) && raised <= ms(10_000), "{raised:?}");
    let now = world.now;
    world.nodes[0].set_peers(now, std::iter::empty());
    assert_eq!(world.nodes[0].poll_timeout(), None);
    world.nodes[0].set_peers(now + ms(1), std::iter::once(id(1)));
    assert_eq!(world.nodes[0].timeout(id(1)), raised);
}

#[test]
fn a_cut_of_more_than_ten_seconds_raises_no_floor() {
    let mut world = World::new(1, 3);
    world.run(ms(5_000));
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        world.cuts.insert((from, to));
    }
    world.run(ms(11_000));
    assert!(world.suspects(0, 1) && world.suspects(1, 0) && world.suspects(0, 2));
    assert!(!world.suspects(1, 2));
    world.cuts.clear();
    world.run(ms(150));
    for (by, about) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        assert!(!world.suspects(by, about), "restored by the next heartbeat");
        assert_eq!(world.nodes[by].timeout(id(about)), ms(500));
        assert_eq!(world.nodes[by].loss_ppm(id(about)), 0, "the cut is no loss");
    }
    assert_eq!(world.nodes[0].stats().cuts, 2);
    assert_eq!(world.nodes[0].stats().mistakes, 0);
}

#[test]
fn gaps_inside_a_suspicion_are_no_loss() {
    let mut world = World::new(1, 2);
    world.run(ms(5_000));
    world.cuts.insert((1, 0));
    world.run(ms(4_000));
    world.cuts.clear();
    world.run(ms(2_000));
    assert_eq!(suspicions(&world, 1), 1);
    assert_eq!(world.nodes[0].loss_ppm(id(1)), 0);
    assert_eq!(world.nodes[0].stats().gaps_excused, 1);
}

#[test]
fn a_pause_of_this_process_blames_nobody() {
    for pause in [60, 400, 700, 2_000, 9_000, 45_000] {
        let mut world = World::new(pause, 3);
        world.loss = 0.05;
        world.run(ms(60_000));
        world.take_told();
        world.stall(0, ms(pause));
        world.run(ms(pause + 10_000));
        let blamed: Vec<_> = world.told.iter().filter(|told| told.by == 0).collect();
        assert!(blamed.is_empty(), "after {pause} ms: {blamed:?}");
        assert!(pause < 900 || world.told.iter().any(|told| told.about == 0), "others saw the pause");
    }
}

#[test]
fn a_pause_during_which_everything_was_lost_blames_nobody() {
    let mut world = World::new(1, 3);
    world.run(ms(60_000));
    world.stall(0, ms(2_000));
    world.cuts.extend([(1, 0), (2, 0)]);
    world.run(ms(1_990));
    world.cuts.clear();
    world.run(ms(30_000));
    assert_eq!(world.told.iter().filter(|told| told.by == 0).count(), 0);
    assert_eq!(
        world.nodes[0].loss_ppm(id(1)),
        0,
        "what an overflown socket buffer dropped is no loss of the path"
    );
}

#[test]
fn a_one_way_cut_is_seen_from_both_ends() {
    for loss in [0.0, 0.3] {
        let mut world = World::new(5, 3);
        world.loss = loss;
        world.run(ms(60_000));
        world.take_told();
        let cut = world.now;
        world.cuts.insert((0, 1));
        world.run(ms(5_000));
        let deaf: Vec<_> = world.told.iter().filter(|told| matches!(told.what, What::Deaf(_))).collect();
        assert_eq!(deaf.len(), 1, "{deaf:?}");
        assert_eq!((deaf[0].by, deaf[0].about, deaf[0].what), (0, 1, What::Deaf(true)));
        assert!(deaf[0].at <= cut + ms(3_000), "seen by the end that is not heard");
        assert!(world.suspects(1, 0) && !world.suspects(0, 1), "suspected by the end that hears nothing");
        assert_eq!(world.told.iter().filter(|told| told.what == What::Suspect).count(), 1);
        world.take_told();
        world.cuts.clear();
        world.run(ms(2_000));
        let told: Vec<_> = world.told.iter().map(|told| (told.by, told.about, told.what)).collect();
        assert_eq!(told, [(1, 0, What::Restore), (0, 1, What::Deaf(false))]);
    }
}

#[test]
fn neither_a_start_nor_a_healed_cut_nor_a_pause_looks_like_a_one_way_cut() {
    let mut world = World::new(5, 3);
    world.delay = (ms(1), ms(150));
    world.loss = 0.2;
    world.run(ms(30_000));
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        world.cuts.insert((from, to));
    }
    world.run(ms(70_000));
    world.cuts.clear();
    world.run(ms(30_000));
    world.stall(0, ms(8_000));
    world.run(ms(30_000));
    assert!(!world.told.iter().any(|told| matches!(told.what, What::Deaf(_))), "{:?}", world.told);
    assert!(world.now > at(0));
}
