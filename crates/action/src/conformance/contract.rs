//! The contract, walked once without a crash.

use serde_json::Value;
use stanch_model::order::{Answer, CheckOutcome, Grant, StepOutcome, StepRequest, Verb};
use stanch_model::plan::{PlannedStep, Reversibility};

use super::report::ConformanceReport;
use super::{Pass, Reference, World, Wrong, all_well, brief, demand, same, steps_of, undo_of, wrong};

/// Fills the rows of the contract; gives what crashes are compared with, if the contract holds.
pub(super) fn run(world: &mut dyn World, report: &mut ConformanceReport) -> Option<Reference> {
    let reference = clean_pass(world, report);
    report.row("drift before apply is refused", "", || drift_before_apply(world));
    if reference.as_ref().is_some_and(|reference| reference.reversibility == Reversibility::Restorable) {
        report.row("drift before undo is refused", "", || drift_before_undo(world));
    }
    for want in world.bad_wants() {
        report.row(&named("bad request plans nothing", &want), "", || bad_want(world, &want));
    }
    for params in world.bad_params() {
        report.row(&named("bad parameters change nothing", &params), "", || bad_params(world, &params));
    }
    reference
}

/// A check with what was tried in it, cut short.
fn named(check: &str, input: &Value) -> String {
    let mut name = format!("{check}: {input}");
    if name.len() > 80 {
        name.truncate(name.floor_char_boundary(77));
        name.push_str("...");
    }
    name
}

fn clean_pass(world: &mut dyn World, report: &mut ConformanceReport) -> Option<Reference> {
    let mut pass = report.row("break", "", || Pass::fresh(world))?;
    let before = report.row("observe", "", || Ok(pass.world.observe()?))?;
    let grant = report.row("plan names the difference", "", || {
        let grant = pass.grant()?;
        for step in &grant.leaf.steps {
            demand(!step.changes.is_empty(), || {
                format!("`{}` plans a step without a line of difference", step.action)
            })?;
        }
        same("planning changed the target", &before, &pass.world.observe()?)?;
        Ok(grant)
    })?;
    report.row("plan twice is the same plan", "", || {
        let again = pass.plan()?;
        demand(again == grant.leaf.steps, || "two plans of one state differ".to_owned())
    });
    let apply_appends = report.row("apply", "", || {
        let sent = pass.world.send(Verb::Apply(grant.clone()), None)?;
        pass.note(&sent)?;
        match sent.receipts.last() {
            Some(receipt) => all_well(&receipt.answer)?,
            None => return wrong("apply was not answered"),
        }
        demand(pass.world.is_fixed()?, || "apply reports success, and the problem is still there".to_owned())?;
        Ok(sent.appends)
    })?;
    let after = report.row("observe after", "", || Ok(pass.world.observe()?))?;
    report.row("verify", "", || verify(&mut pass, &grant))?;
    report.row("same order again changes nothing", "", || {
        let answer = pass.ask(Verb::Apply(grant.clone()))?;
        for step in steps_of(&answer)? {
            demand(step.outcome == StepOutcome::Unchanged, || format!("the second time it is {:?}", step.outcome))?;
        }
        same("the second time changed the target", &after, &pass.world.observe()?)
    })?;
    report.row("nothing is left to plan", "", || {
        let steps = pass.plan()?;
        demand(steps.is_empty(), || format!("{} steps are planned on a solved problem", steps.len()))
    })?;
    report.row("a new attempt is harmless", "", || {
        let mut grant = grant.clone();
        grant.attempt += 1;
        let grant_steps = grant.leaf.steps.clone();
        let answer = pass.ask(Verb::Apply(grant))?;
        for step in steps_of(&answer)? {
            let harmless = !matches!(step.outcome, StepOutcome::Done) || step.changes.is_empty();
            // A transient step may do its work again: that is what a restart is.
            let planned = usize::try_from(step.step).ok().and_then(|number| grant_steps.get(number));
            let transient = planned.is_some_and(|step| step.reversibility == Reversibility::Transient);
            demand(harmless || transient, || format!("a new attempt did {:?}", step.changes))?;
        }
        same("a new attempt changed the target", &after, &pass.world.observe()?)
    })?;
    report.row("nothing happened twice", "", || {
        let twice = pass.world.happened_twice()?;
        demand(twice.is_empty(), || twice.join("; "))
    });
    let reversibility = class(&grant.leaf.steps);
    let undo_appends = match reversibility {
        Reversibility::Restorable => Some(report.row("undo restores", "", || {
            let sent = pass.world.send(undo_of(&grant, 1), None)?;
            pass.note(&sent)?;
            match sent.receipts.last() {
                Some(receipt) => all_well(&receipt.answer)?,
                None => return wrong("undo was not answered"),
            }
            same("undo did not bring back what was", &before, &pass.world.observe()?)?;
            let answer = pass.ask(undo_of(&grant, 1))?;
            all_well(&answer)?;
            same("undo a second time changed the target", &before, &pass.world.observe()?)?;
            Ok(sent.appends)
        })?),
        Reversibility::Transient => {
            report.row("undo is harmless", "", || {
                let answer = pass.ask(undo_of(&grant, 1))?;
                steps_of(&answer)?;
                same("undo of what is transient changed the target", &after, &pass.world.observe()?)
            })?;
            None
        }
        Reversibility::OneWay => {
            report.row("undo is refused", "", || {
                let answer = pass.ask(undo_of(&grant, 1))?;
                for step in steps_of(&answer)? {
                    demand(matches!(step.outcome, StepOutcome::Refused { .. }), || brief(&answer))?;
                }
                same("a refused undo changed the target", &after, &pass.world.observe()?)
            })?;
            None
        }
        Reversibility::Timed => {
            report.untested("ends by itself", "no world waits for the end of a lease yet");
            None
        }
    };
    Some(Reference { before, after, reversibility, apply_appends, undo_appends })
}

/// The class the whole leaf is held to: if anything can be restored, the target must be as before.
fn class(steps: &[PlannedStep]) -> Reversibility {
    let has = |class| steps.iter().any(|step| step.reversibility == class);
    if has(Reversibility::OneWay) {
        Reversibility::OneWay
    } else if has(Reversibility::Restorable) {
        Reversibility::Restorable
    } else if has(Reversibility::Timed) {
        Reversibility::Timed
    } else {
        Reversibility::Transient
    }
}

fn verify(pass: &mut Pass<'_>, grant: &Grant) -> Result<(), Wrong> {
    match pass.ask(Verb::Verify { task: grant.task.clone(), leaf: grant.leaf.clone() })? {
        Answer::Verified { checks } => {
            demand(!checks.is_empty(), || "verify checked nothing".to_owned())?;
            match checks.iter().find(|check| check.outcome == CheckOutcome::Failed) {
                Some(check) => wrong(format!("{}: {}", check.name, check.detail)),
                None => Ok(()),
            }
        }
        other => wrong(format!("asked to verify, it answered {}", brief(&other))),
    }
}

fn drift_before_apply(world: &mut dyn World) -> Result<(), Wrong> {
    let mut pass = Pass::fresh(world)?;
    let grant = pass.grant()?;
    if !pass.world.meddle()? {
        return Err(Wrong::Untested("there is nothing that somebody else could move".to_owned()));
    }
    let moved = pass.world.observe()?;
    let answer = pass.ask(Verb::Apply(grant))?;
    let refused = steps_of(&answer)?.iter().any(|step| matches!(step.outcome, StepOutcome::Refused { .. }));
    demand(refused, || format!("the target moved, and apply answered {}", brief(&answer)))?;
    same("a refused apply changed the target", &moved, &pass.world.observe()?)
}

fn drift_before_undo(world: &mut dyn World) -> Result<(), Wrong> {
    let mut pass = Pass::fresh(world)?;
    let grant = pass.grant()?;
    all_well(&pass.ask(Verb::Apply(grant.clone()))?)?;
    if !pass.world.meddle()? {
        return Err(Wrong::Untested("there is nothing that somebody else could move".to_owned()));
    }
    let answer = pass.ask(undo_of(&grant, 1))?;
    let said = steps_of(&answer)?
        .iter()
        .any(|step| matches!(&step.outcome, StepOutcome::Refused { moved, .. } if !moved.is_empty()));
    demand(said, || format!("the target moved, and undo does not say what: {}", brief(&answer)))?;
    // Other steps of the leaf may be taken back; what somebody else changed stays theirs.
    demand(pass.world.is_meddled()?, || "undo overwrote what somebody else had changed".to_owned())
}

fn bad_want(world: &mut dyn World, want: &Value) -> Result<(), Wrong> {
    let mut pass = Pass::fresh(world)?;
    let before = pass.world.observe()?;
    let requests: Vec<StepRequest> =
        pass.world.requests().into_iter().map(|request| StepRequest { want: want.clone(), ..request }).collect();
    match pass.ask(Verb::Plan { asset: pass.world.asset(), requests })? {
        Answer::Planned { steps, refused, .. } => {
            demand(steps.is_empty(), || format!("{} steps were planned for it", steps.len()))?;
            demand(!refused.is_empty(), || "it was neither planned nor refused".to_owned())?;
        }
        Answer::Refused { .. } => {}
        other => return wrong(format!("it answered {}", brief(&other))),
    }
    same("a refused request changed the target", &before, &pass.world.observe()?)
}

fn bad_params(world: &mut dyn World, params: &Value) -> Result<(), Wrong> {
    let mut pass = Pass::fresh(world)?;
    let before = pass.world.observe()?;
    let mut steps = pass.plan()?;
    for step in &mut steps {
        step.params = params.clone();
    }
    let grant = pass.grant_of(steps)?;
    let answer = pass.ask(Verb::Apply(grant))?;
    if let Answer::Applied { steps } = &answer {
        let acted =
            steps.iter().any(|step| matches!(step.outcome, StepOutcome::Done | StepOutcome::Interrupted { .. }));
        demand(!acted, || format!("it acted: {}", brief(&answer)))?;
    }
    same("bad parameters changed the target", &before, &pass.world.observe()?)
}
