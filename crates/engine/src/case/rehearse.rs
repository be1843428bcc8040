//! Tests of playbooks: the case as it would go if some rungs could not be done, with the same steps that decide in
//! earnest.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use stanch_model::id::{AssetId, CaseId, ItemId};
use stanch_model::playbook::{Doing, PlaybookTest, Step, VerifiedBy, rungs};

use super::{Case, Checked, Effect, Errand, Fate, MAX_RUNS, Member, Seen, State};

/// What is not as a test expects, in sentences; nothing when it passes.
pub fn misses(steps: &[Step], test: &PlaybookTest) -> Vec<String> {
    let known: Vec<&str> = rungs(steps).map(|rung| rung.id.as_str()).collect();
    let lifts = test.lifts.iter().flatten();
    let named = test.blocked.iter().chain(&test.failed).chain(&test.late).chain(&test.refused);
    let unknown = named.chain(&test.begins).chain(lifts).find(|name| !known.contains(&name.as_str()));
    if let Some(name) = unknown {
        return vec![format!("no step is called `{name}`; there are: {}", known.join(", "))];
    }
    let walk = walk(steps, test);
    let list = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let mut misses = Vec::new();
    if walk.begins != test.begins {
        misses.push(format!("expected {} to begin, and {} did", list(&test.begins), list(&walk.begins)));
    }
    if let Some(lifts) = &test.lifts
        && *lifts != walk.lifts
    {
        misses.push(format!("expected {} to be lifted, and {} was", list(lifts), list(&walk.lifts)));
    }
    if let Some(done) = test.done
        && done != walk.done
    {
        misses.push(format!(
            "expected everything to be {}done, and it is {}",
            not(done),
            if walk.done { "" } else { "not" }
        ));
    }
    misses
}

const fn not(done: bool) -> &'static str {
    if done { "" } else { "not " }
}

/// How a case went.
struct Walk {
    begins: Vec<String>,
    lifts: Vec<String>,
    done: bool,
}

fn walk(steps: &[Step], test: &PlaybookTest) -> Walk {
    let id = CaseId::from_entropy([0; 10]);
    let item = ItemId::from_entropy([0; 10]);
    let member = Member { item: item.clone(), asset: AssetId::from_entropy([0; 10]) };
    let mut case = Case::new(steps.to_vec(), vec![member]);
    let mut walk = Walk { begins: Vec::new(), lifts: Vec::new(), done: false };
    let mut seen = Seen::default();
    let mut now = Timestamp::UNIX_EPOCH;
    // Every round something ends; what is late ends when nothing else is left to.
    for _ in 0..4 * MAX_RUNS {
        let (next, effects) = case.advance(&id, &seen, now);
        let still = next == case && effects.is_empty();
        case = next;
        for effect in effects {
            match effect {
                Effect::Begin { run } => walk.begins.extend(name(&case, run)),
                Effect::TakeBack { run, lifted, .. } => {
                    if lifted {
                        walk.lifts.extend(name(&case, run));
                    }
                    tell(&case, run, &item, Fate::Undone, &mut seen);
                }
                _ => {}
            }
        }
        if case.state.is_over() {
            break;
        }
        let mut ended = false;
        for at in 0..case.runs.len() {
            ended |= end(&mut case, at, &item, test, still, &mut seen, now);
        }
        if !ended && still {
            // Only time goes on: to when a late one is late.
            now = now.saturating_add(SignedDuration::from_hours(24 * 366)).unwrap_or(now);
            if now.as_second() > 20 * 366 * 86_400 {
                break;
            }
        }
    }
    walk.done = case.state == State::Done;
    walk
}

fn name(case: &Case, run: usize) -> Option<String> {
    let run = case.runs.get(run)?;
    case.rung(run).map(|rung| rung.id.clone())
}

fn tell(case: &Case, run: usize, item: &ItemId, fate: Fate, seen: &mut Seen) {
    if let Some(Errand::Remediation(id)) = case.runs.get(run).map(|run| &run.what) {
        seen.fates.insert(id.clone(), BTreeMap::from([(item.clone(), fate)]));
    }
}

/// Ends a run as the test says. One that is late ends once everything else waits for it and it was late before.
fn end(
    case: &mut Case,
    at: usize,
    item: &ItemId,
    test: &PlaybookTest,
    still: bool,
    seen: &mut Seen,
    now: Timestamp,
) -> bool {
    let Some(run) = case.runs.get(at) else { return false };
    let Some(rung) = case.rung(run) else { return false };
    if run.fates.get(item) != Some(&Fate::Running) {
        return false;
    }
    let is_late = test.late.contains(&rung.id);
    if is_late && !(run.late && still) {
        return false;
    }
    let fate = if test.blocked.contains(&rung.id) {
        Fate::Blocked("the test says so".to_owned())
    } else if test.failed.contains(&rung.id) {
        Fate::Failed("the test says so".to_owned())
    } else if test.refused.contains(&rung.id) {
        Fate::Refused("the test says so".to_owned())
    } else {
        Fate::Done
    };
    match &run.what {
        Errand::Remediation(id) => {
            let known = seen.fates.get(id).and_then(|fates| fates.get(item));
            let news = known != Some(&fate);
            tell(case, at, item, fate, seen);
            news
        }
        Errand::Human(_) if fate == Fate::Done => {
            let by_check = matches!(&rung.doing, Doing::Human(task) if task.verified_by == VerifiedBy::Check);
            let Ok(said) = case.said(at, "a person", "", now) else { return false };
            *case = said;
            if by_check {
                let later = now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(now);
                seen.checks.insert(item.clone(), Checked { open: false, facts_at: Some(later) });
            }
            true
        }
        Errand::Human(_) => {
            let Some(run) = case.runs.get_mut(at) else { return false };
            run.fates.insert(item.clone(), fate);
            true
        }
    }
}
