//! What nodes that wait say of the reason.

use super::*;

#[test]
fn founders_that_would_found_different_clusters_found_none_and_both_say_why() {
    let other: [fn(&mut Config); 2] = [|config| config.partitions = 5, |config| config.replicas = 2];
    for set in other {
        let mut world = World::founders(1, 2, 2);
        let mut config = Config::new("n1", addr(1), (0..2).map(addr).collect());
        config.partitions = 2;
        set(&mut config);
        let theirs = format!("partitions = {} and replicas = {}", config.partitions, config.replicas);
        world.add(config, &[]);
        world.pass(Duration::from_secs(10));
        for (at, theirs) in [(0, theirs.as_str()), (1, "partitions = 2 and replicas = 3")] {
            assert_eq!(world.node(at).standing(), Standing::Founding);
            let word = world.node(at).waits_for();
            assert!(word.contains(&format!("configured with {theirs}, and this")), "{word}");
        }
    }
}

#[test]
fn a_joiner_that_nobody_answers_names_the_possible_causes() {
    let mut world = World::new(0);
    let at = world.join("n9", &[]);
    world.pass(Duration::from_secs(5));
    let word = world.node(at).waits_for();
    assert!(word.contains("`cluster`") && word.contains("`key_file`"), "{word}");
}

#[test]
fn whoever_hears_only_another_cluster_is_told_so_and_not_to_destroy_anything() {
    let mut world = World::founders(3, 3, 2);
    world.pass(Duration::from_secs(3));
    let own = ClusterId([9; 16]);
    let mut config = Config::new("n9", addr(3), Vec::new());
    config.seeds = vec![addr(0), addr(1)];
    let grant = crate::directory::life::Grant::Joined { cluster: own };
    let at = world.add_to(Life { grant, ..Life::fresh("n9") }, config, &[NodeId([99; 16])]);
    world.pass(Duration::from_secs(5));
    let word = world.node(at).waits_for();
    let theirs = world.node(0).cluster().unwrap();
    assert!(word.contains(&own.short()) && word.contains(&theirs.short()), "{word}");
    assert!(word.contains("n0 at") && !word.contains("abandon"), "{word}");
}

#[test]
fn a_grant_that_waits_is_a_reason_to_worry_only_after_a_while() {
    let mut world = World::new(3);
    while !world.node(2).waits_for().contains("granted") {
        world.pass(TURN);
    }
    world.cuts = [(0, 2), (1, 2)].into();
    world.pass(Duration::from_secs(4));
    let word = world.node(2).waits_for();
    assert!(word.contains("the word of n0") && !word.contains("abandon"), "{word}");
    world.pass(Duration::from_secs(2));
    assert!(world.node(2).waits_for().contains("abandon"));
}
