//! `haystack-sim`: runs seeds.

fn main() {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let report = haystack_sim::run(seed, &haystack_sim::Options::default());
    println!("{report:?}");
}
