//! A large fleet to completion: many remediations, a little trouble all the time.

use jiff::SignedDuration;
use stanch_model::terms::{RingSize, RingTerm};

use crate::act::Act;
use crate::commit::has_ended;
use crate::dice::Dice;
use crate::plan::Wanted;
use crate::setup::Setup;
use crate::world::{Figures, Violation, World};

/// Rounds until everything must have ended, 45 s each.
const ROUNDS: u32 = 4_000;

/// Brings so many assets to completion, so many to a remediation: a canary wave, then the rest.
///
/// # Errors
/// The number of the invariant that does not hold, and what was seen.
pub fn large(seed: u64, assets: usize, each: usize) -> Result<Figures, (u8, String)> {
    let mut world = World::new(Setup::large(seed, assets, each), None, false);
    let mut dice = Dice::new(seed);
    let mut run = || {
        let all: Vec<u32> = (0..u32::try_from(assets).unwrap_or(u32::MAX)).collect();
        for hosts in all.chunks(each.max(1)) {
            let bake_seconds = 300;
            world.begin_row(&Wanted {
                hosts: hosts.iter().map(|host| (*host, 7)).collect(),
                rings: vec![
                    RingTerm { size: RingSize::Percent(2), min: 1, bake_seconds },
                    RingTerm { size: RingSize::Percent(100), min: 0, bake_seconds },
                ],
                concurrent: 20,
                valid_for: SignedDuration::from_hours(72),
                by_hand: true,
                auto: true,
            })?;
        }
        world.chaos = false;
        for _ in 0..ROUNDS {
            if world.store.live.iter().all(|row| world.store.row(*row).is_none_or(has_ended)) {
                break;
            }
            // One executor in a thousand dies in each round, and one letter in a thousand is lost.
            for _ in 0..assets.div_ceil(1_000) {
                let host = dice.index(assets);
                world.act(Act::Dies { host, reboot: dice.percent(50) })?;
                let host = dice.index(assets);
                world.act(Act::Lost { host, nth: 0, up: dice.percent(50) })?;
            }
            match world.settle(1, has_ended) {
                Ok(()) => break,
                // Not yet.
                Err(Violation { invariant: 16, .. }) => {}
                Err(violation) => return Err(violation),
            }
        }
        world.check_all()
    };
    run().map_err(|Violation { invariant, what }| (invariant, what))?;
    for row in &world.store.live {
        if let Some(row) = world.store.row(*row) {
            *world.figures.ends.entry(row.rollout.state.name()).or_default() += 1;
        }
    }
    Ok(world.figures)
}
