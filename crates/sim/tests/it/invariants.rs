//! The invariants over many seeds, in the build without planted defects.

use stanch_sim::defects::ALL;
use stanch_sim::{Figures, large, simulate, story};

/// Seeds of a quick run; `STANCH_SIM_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("STANCH_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[test]
fn the_invariants_hold_under_loss_crashes_lies_and_people() {
    let mut figures = Figures::default();
    for seed in 0..seeds() {
        match simulate(seed, 1_000, None) {
            Ok(seen) => figures.add(&seen),
            Err(failure) => {
                let short = failure.shrunk(None);
                panic!("invariant {}: {}\n{}", short.invariant, short.what, short.story(None));
            }
        }
    }
    // A simulator that never gets anywhere proves nothing.
    for end in ["closed", "rolled_back", "partially_remediated", "needs_operator"] {
        assert!(figures.ends.get(end).is_some_and(|count| *count > 0), "{end} was never reached: {figures:?}");
    }
    assert!(figures.starts > 100 && figures.deaths > 100 && figures.mishaps > 100, "{figures:?}");
}

#[test]
fn a_fleet_comes_to_completion_although_executors_die() {
    let figures = large(1, 60, 20).unwrap();
    assert_eq!(figures.ends.values().sum::<u64>(), 3, "{figures:?}");
    assert!(figures.starts >= 50, "{figures:?}");
}

#[test]
fn the_same_seed_gives_the_same_story() {
    assert_eq!(story(5, 400, None), story(5, 400, None));
    assert_ne!(story(5, 400, None), story(6, 400, None));
}

#[test]
fn what_a_model_leaves_out_is_caught_and_shrunk_to_a_few_lines() {
    let planted = ALL.iter().find(|planted| planted.name == "hand-out-held").unwrap();
    let failure = (0..200).find_map(|seed| simulate(seed, 1_000, Some(planted)).err()).unwrap();
    assert_eq!(failure.invariant, 5, "{}", failure.what);
    let short = failure.shrunk(Some(planted));
    assert!(short.steps < 40, "{} acts are left:\n{}", short.steps, short.story(Some(planted)));
    assert!(short.story(Some(planted)).contains("invariant 5 does not hold"), "{}", short.story(Some(planted)));
}
