//! Death at every point, and the same end every time.

use stanch_model::order::{Answer, StepOutcome, Verb};
use stanch_model::plan::Reversibility;

use super::report::{ConformanceReport, point_name};
use super::{
    Crash, Death, Moment, Pass, Point, Points, Reference, World, Wrong, all_well, demand, same, steps_of, undo_of,
};
use crate::definition::Idempotency;

pub(super) fn run(world: &mut dyn World, reference: &Reference, points: Points, report: &mut ConformanceReport) {
    let deaths = world.deaths();
    let mut apply_points = choose(reference.apply_appends, &deaths, points);
    for name in world.inside() {
        apply_points.extend(deaths.iter().map(|death| Crash { point: Point::Inside(name.clone()), death: *death }));
    }
    for crash in &apply_points {
        let name = point_name(&crash.point, crash.death);
        report.row("apply, crash, restart", &name, || during_apply(world, reference, &[crash]));
    }
    if let Some(appends) = reference.undo_appends {
        for crash in &choose(appends, &deaths, points) {
            let name = point_name(&crash.point, crash.death);
            report.row("undo, crash, restart", &name, || during_undo(world, reference, &[crash]));
        }
    }
    // The recovery is interrupted too: the first life ends in the middle, the second at each early append.
    if let Some(death) = deaths.first() {
        let middle = reference.apply_appends.div_ceil(2);
        let first = Crash { point: Point::Append(middle, Moment::After), death: *death };
        let second: Vec<u64> = if points == Points::All { (1..=4).collect() } else { vec![2] };
        for number in second {
            let again = Crash { point: Point::Append(number, Moment::After), death: *death };
            let name = format!("{}, then {}", point_name(&first.point, *death), point_name(&again.point, *death));
            report.row("apply, crash, crash in recovery", &name, || during_apply(world, reference, &[&first, &again]));
            if reference.undo_appends.is_some() {
                report
                    .row("undo, crash, crash in recovery", &name, || during_undo(world, reference, &[&first, &again]));
            }
        }
    }
}

/// The points to try of a run with this many appends.
fn choose(appends: u64, deaths: &[Death], points: Points) -> Vec<Crash> {
    let mut all = Vec::new();
    for number in 1..=appends {
        for moment in [Moment::Before, Moment::After] {
            for death in deaths {
                all.push(Crash { point: Point::Append(number, moment), death: *death });
            }
        }
    }
    match points {
        Points::All => all,
        Points::Sampled(count) if count >= all.len() => all,
        Points::Sampled(count) => {
            let last = all.len() - 1;
            // A stride that shares no factor with the turns of moments and deaths would be luck; so positions are
            // spread evenly and shifted by one in turn.
            let mut chosen: Vec<usize> =
                (0..count).map(|turn| (turn * last / count.saturating_sub(1).max(1) + turn % 2).min(last)).collect();
            chosen.dedup();
            chosen.into_iter().filter_map(|at| all.get(at).cloned()).collect()
        }
    }
}

fn during_apply(world: &mut dyn World, reference: &Reference, crashes: &[&Crash]) -> Result<(), Wrong> {
    let idempotency = world.idempotency();
    let mut pass = Pass::fresh(world)?;
    let grant = pass.grant()?;
    let answer = pass.survive(&Verb::Apply(grant.clone()), crashes)?;
    if idempotency == Idempotency::No && interrupted(&answer) {
        // Only undo leads on from here, and it must.
        if reference.reversibility == Reversibility::Restorable {
            all_well(&pass.ask(undo_of(&grant, 1))?)?;
            same("undo of an interrupted step", &reference.before, &pass.world.observe()?)?;
        }
        return Ok(());
    }
    all_well(&answer)?;
    let entered = u32::try_from(crashes.len()).unwrap_or(u32::MAX).saturating_add(1);
    for step in steps_of(&answer)? {
        demand(step.entered <= entered, || format!("step {} was entered {} times", step.step, step.entered))?;
    }
    demand(pass.world.is_fixed()?, || "it reports success, and the problem is still there".to_owned())?;
    same("after the crash the target differs from a clean run", &reference.after, &pass.world.observe()?)?;
    let twice = pass.world.happened_twice()?;
    demand(twice.is_empty(), || format!("it happened twice: {}", twice.join("; ")))?;
    demand(pass.plan()?.is_empty(), || "something is left to plan".to_owned())?;
    if reference.reversibility == Reversibility::Restorable {
        all_well(&pass.ask(undo_of(&grant, 1))?)?;
        same("undo after the crash", &reference.before, &pass.world.observe()?)?;
    }
    Ok(())
}

fn interrupted(answer: &Answer) -> bool {
    steps_of(answer).is_ok_and(|steps| steps.iter().any(|step| matches!(step.outcome, StepOutcome::Interrupted { .. })))
}

fn during_undo(world: &mut dyn World, reference: &Reference, crashes: &[&Crash]) -> Result<(), Wrong> {
    let idempotency = world.idempotency();
    let mut pass = Pass::fresh(world)?;
    let grant = pass.grant()?;
    all_well(&pass.ask(Verb::Apply(grant.clone()))?)?;
    let answer = pass.survive(&undo_of(&grant, 1), crashes)?;
    if idempotency == Idempotency::No && interrupted(&answer) {
        all_well(&pass.ask(undo_of(&grant, 2))?)?;
    } else {
        all_well(&answer)?;
    }
    same("undo, interrupted", &reference.before, &pass.world.observe()?)?;
    demand(!pass.plan()?.is_empty(), || "the problem is back, and nothing is planned for it".to_owned())
}
