//! The tree holds what an ordered map of the standard library holds, whatever happens to it.

use std::collections::BTreeMap;

use haystack_wire::ids::LogIndex;
use haystack_wire::rng::Rng;
use proptest::prelude::*;

use super::*;

const HOME: GroupId = GroupId(3);
const TINY: Shape = Shape { leaf: 192, fanout: 4 };

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Vec<u8>, Version),
    Remove(Vec<u8>),
    Keep(Vec<u8>),
}

fn version() -> impl Strategy<Value = Version> {
    (prop_oneof![9 => Just(3), 1 => 0u32..9], 0..1u64 << 60)
        .prop_map(|(group, index)| Version { group: GroupId(group), index: LogIndex(index) })
}

/// Keys with long common prefixes, prefixes of each other, empty ones, zeros and large ones.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u32..400).prop_map(|n| format!("user:{n:06}").into_bytes()),
        4 => proptest::collection::vec(0u8..3, 0..6),
        2 => (0u32..40).prop_map(|n| [vec![b'p'; 90], n.to_be_bytes().to_vec()].concat()),
        2 => any::<u32>().prop_map(|n| n.to_le_bytes().to_vec()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..30),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
    ];
    prop_oneof![
        5 => (key(), value, version()).prop_map(|(key, value, version)| Step::Put(key, value, version)),
        3 => key().prop_map(Step::Remove),
        1 => key().prop_map(Step::Keep),
    ]
}

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Version)>;

fn shown(record: Record<'_>) -> (Vec<u8>, (Vec<u8>, Version)) {
    assert_eq!(record.share(), record.value);
    (record.key.to_vec(), (record.value.to_vec(), record.version))
}

fn run(tree: &mut Tree, model: &mut Model, step: &Step) {
    match step {
        Step::Put(key, value, version) => {
            let old = model.insert(key.clone(), (value.clone(), *version));
            let seen = tree.update(key, |old| {
                let seen = old.map(|old| shown(old).1);
                (Change::Put(*version, Contents::Copy(value)), seen)
            });
            assert_eq!(seen, old);
        }
        Step::Remove(key) => {
            let old = model.remove(key);
            let seen = tree.update(key, |old| (Change::Remove, old.map(|old| shown(old).1)));
            assert_eq!(seen, old);
        }
        Step::Keep(key) => {
            let seen = tree.update(key, |old| (Change::Keep, old.map(|old| shown(old).1)));
            assert_eq!(seen.as_ref(), model.get(key));
        }
    }
}

fn check(tree: &Tree, model: &Model) {
    let held: Vec<_> = tree.iter(None).map(shown).collect();
    assert_eq!(held, model.clone().into_iter().collect::<Vec<_>>());
    assert_eq!(tree.len(), model.len() as u64);
    let bytes: usize = model.iter().map(|(key, (value, _))| key.len() + value.len()).sum();
    assert_eq!(tree.bytes(), bytes as u64);
}

fn nodes(node: &Node) -> usize {
    match node {
        Node::Leaf(_) => 1,
        Node::Inner(inner) => 1 + (0..inner.len()).map(|index| nodes(inner.child(index))).sum::<usize>(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_holds_what_an_ordered_map_holds(
        steps in proptest::collection::vec(step(), 0..600),
        probes in proptest::collection::vec(key(), 8),
    ) {
        let (mut tree, mut model) = (Tree::new(HOME, TINY), Model::new());
        for step in &steps {
            run(&mut tree, &mut model, step);
        }
        check(&tree, &model);
        for probe in &probes {
            let found = tree.get(probe).map(|record| shown(record).1);
            prop_assert_eq!(found.as_ref(), model.get(probe));
            let after: Vec<_> = tree.iter(Some(probe)).map(shown).collect();
            let expected = model.iter().filter(|(key, _)| *key > probe);
            prop_assert_eq!(after, expected.map(|(key, held)| (key.clone(), held.clone())).collect::<Vec<_>>());
        }
        for key in model.keys().cloned().collect::<Vec<_>>() {
            run(&mut tree, &mut model, &Step::Remove(key));
        }
        check(&tree, &model);
        prop_assert!(nodes(&tree.root) < 2 * TINY.fanout, "an empty tree has few nodes left");
    }
}

/// Bytes that a tree's nodes hold, without the allocator's own.
fn footprint(node: &Node) -> usize {
    match node {
        Node::Leaf(leaf) => leaf.footprint(),
        Node::Inner(inner) => {
            (0..inner.len()).map(|index| size_of::<Node>() + footprint(inner.child(index))).sum()
        }
    }
}

fn number(key: u64) -> [u8; 16] {
    *format!("{key:016}").as_bytes().first_chunk().unwrap()
}

#[test]
fn memory_stays_near_the_data_in_any_order_and_follows_it_down() {
    let version = Version { group: HOME, index: LogIndex(1) };
    let mut rng = Rng::from_u64(5);
    let orders: [Box<dyn FnMut(u64) -> u64>; 3] =
        [Box::new(|n| n), Box::new(|n| 1_000_000 - n), Box::new(move |_| rng.below(1_000_000))];
    for mut order in orders {
        let mut tree = Tree::new(HOME, Shape::DEFAULT);
        for n in 0..20_000 {
            tree.put(&number(order(n)), version, Contents::Copy(&[7; 100]));
        }
        let held = footprint(&tree.root);
        assert!(held < tree.bytes() as usize * 5 / 4, "{held} bytes for {}", tree.bytes());
        let keys: Vec<_> = tree.iter(None).map(|record| record.key.to_vec()).collect();
        for key in &keys {
            tree.put(key, version, Contents::Copy(&[7; 40]));
        }
        let held = footprint(&tree.root);
        assert!(held < tree.bytes() as usize * 2, "{held} bytes for {}", tree.bytes());
        for key in keys.iter().filter(|key| key[15] != b'0') {
            tree.update(key, |_| (Change::Remove, ()));
        }
        let held = footprint(&tree.root);
        assert!(held < tree.bytes() as usize * 5 / 3, "{held} bytes for {}", tree.bytes());
    }
}

#[test]
fn overwriting_with_values_of_all_sizes_does_not_let_the_leaf_grow() {
    let mut rng = Rng::from_u64(6);
    let mut tree = Tree::new(HOME, Shape::DEFAULT);
    for n in 0..50_000 {
        let value = vec![1; rng.below(300) as usize];
        let version = Version { group: HOME, index: LogIndex(n) };
        tree.put(&number(rng.below(100)), version, Contents::Copy(&value));
    }
    let held = footprint(&tree.root);
    assert!(held < tree.bytes() as usize * 2, "{held} bytes for {}", tree.bytes());
}

#[test]
fn large_values_are_shared_and_not_copied() {
    let version = Version { group: HOME, index: LogIndex(1) };
    let mut tree = Tree::new(HOME, Shape::DEFAULT);
    tree.put(b"k", version, Contents::Copy(&[9; 5000]));
    let (one, two) = (tree.get(b"k").unwrap().share(), tree.get(b"k").unwrap().share());
    assert_eq!(one.as_ptr(), two.as_ptr());
    let mut other = Tree::new(HOME, Shape::DEFAULT);
    other.put(b"k", version, Contents::of(&tree.get(b"k").unwrap()));
    assert_eq!(other.get(b"k").unwrap().share().as_ptr(), one.as_ptr());
    assert_eq!(other.get(b"k"), tree.get(b"k"));
}
