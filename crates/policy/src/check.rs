//! What a person should know of a bundle that can be read: rules that never fire, limits that are none, a freeze that
//! would stop containment, a rollout that cannot meet its deadline.

use std::sync::Arc;

use jiff::Timestamp;
use stanch_model::decision::Mode;
use stanch_model::playbook::KnownAction;
use stanch_model::script;
use stanch_model::terms::Allowance;

use crate::bundle::Bundle;
use crate::expr::Condition;
use crate::firing::{Firing, can_fire};
use crate::playbook::{Doing, Steps, acts};
use crate::policy::{Grant, Policy, Rule};
use crate::problem::{At, Grade, Problem, nearest};
use crate::scripts;

/// Actions that hold an attacker back rather than change a system: the lane `contain`. A name that is not here counts
/// as a change unless a rule asks for `action.lane`.
const CONTAINING: [&str; 12] = [
    "account.disable",
    "account.lock",
    "container.isolate",
    "container.pause",
    "credential.deactivate",
    "host.isolate",
    "network.block",
    "process.freeze",
    "process.kill",
    "process.stop",
    "session.revoke",
    "token.revoke",
];

const DAY: u64 = 86_400;

/// What is wrong or odd, in the order of the files. `known` are the actions of the catalogue.
pub fn check(bundle: &Bundle, known: &[KnownAction], now: Timestamp) -> Vec<Problem> {
    let mut problems = Vec::new();
    for policy in bundle.policies() {
        let mut told = Told { policy, problems: &mut problems };
        selection(&mut told);
        limits(&mut told);
        freezes(bundle, &mut told);
        deadline(&mut told);
        rules(bundle, &mut told);
        actions(bundle, known, &mut told);
    }
    for written in bundle.written() {
        let mut tell = |problem| problems.push(problem);
        params(bundle, &written.steps, &written.file, known, &mut tell);
    }
    problems.extend(scripts::expired(&bundle.scripts, now));
    for exception in bundle.exceptions() {
        if exception.expires <= now {
            problems.push(Problem {
                file: Arc::clone(&exception.file),
                at: exception.at,
                grade: Grade::Warning,
                code: "exception-ended",
                message: format!("the exception `{}` has ended and covers nothing", exception.name),
                remedy: "remove it, or have its owner accept the risk again".to_owned(),
            });
        }
    }
    problems.sort();
    problems
}

struct Told<'a> {
    policy: &'a Policy,
    problems: &'a mut Vec<Problem>,
}

impl Told<'_> {
    fn tell(&mut self, grade: Grade, at: At, code: &'static str, message: String, remedy: &str) {
        let file = Arc::clone(&self.policy.file);
        self.problems.push(Problem { file, at, grade, code, message, remedy: remedy.to_owned() });
    }
}

/// The furthest that a policy can grant.
fn furthest(policy: &Policy) -> Option<Mode> {
    let granted = policy.rules.iter().filter_map(|rule| match rule.grant {
        Grant::Mode(mode) => Some(mode),
        Grant::AtMost(_) => None,
    });
    granted.max()
}

fn selection(told: &mut Told<'_>) {
    let policy = told.policy;
    let remedy = "write `all: true` if it is about everything, or name at least one value";
    if policy.select.is_empty() {
        let message = format!("`{}` selects nothing: its match is empty", policy.name);
        told.tell(Grade::Error, policy.select_at, "selects-nothing", message, remedy);
    } else if let Some(part) = policy.select.empty_part() {
        let message = format!("`{}` selects nothing: `{part}` is empty", policy.name);
        told.tell(Grade::Error, policy.select_at, "selects-nothing", message, remedy);
    }
}

fn limits(told: &mut Told<'_>) {
    let policy = told.policy;
    let Some(furthest) = furthest(policy).filter(|mode| *mode > Mode::Suggest) else { return };
    let Some(at) = policy.limits_at else {
        let message = format!("`{}` states no limits, so the built-in ones hold: one target at a time", policy.name);
        told.tell(Grade::Warning, policy.at, "limits-built-in", message, "state `limits:` to say what you mean");
        return;
    };
    let limits = &policy.granting.limits;
    let off = [
        ("concurrent", limits.concurrent > 1_000, "so many targets at once is no limit"),
        ("per_hour", limits.per_hour > 20_000, "so many targets an hour is no limit"),
        ("disrupted_percent", limits.disrupted_percent > 50, "more than half of an environment may be down at once"),
        ("cooldown", limits.cooldown_seconds < 60, "an attempt may follow another at once"),
        ("max_attempts", limits.max_attempts > 5, "a target is tried again and again"),
    ];
    let grade = if furthest == Mode::Auto { Grade::Error } else { Grade::Warning };
    for (name, is_off, why) in off {
        if is_off {
            let message = format!("the limit `{name}` is as good as off: {why}");
            told.tell(grade, at, "limit-off", message, "state what you could bear to go wrong at once");
        }
    }
}

/// Whether a policy is about holding an attacker back.
fn contains(bundle: &Bundle, policy: &Policy) -> bool {
    let named = policy.select.actions.iter().flatten().map(String::as_str);
    let steps = bundle.steps(policy).unwrap_or_default();
    let stepped = acts(steps).map(|(_, act)| act.action.as_str());
    let lane = |rule: &Rule| {
        let asks = rule.asks_for().contains("action.lane");
        asks && rule
            .when
            .as_ref()
            .is_some_and(|when| when.source().contains("contain\"") || when.source().contains("contain'"))
    };
    named.chain(stepped).any(|action| CONTAINING.contains(&action)) || policy.rules.iter().any(lane)
}

fn freezes(bundle: &Bundle, told: &mut Told<'_>) {
    let policy = told.policy;
    if !contains(bundle, policy) {
        return;
    }
    for freeze in &policy.freezes {
        if !freeze.term.allow.contains(&Allowance::Contain) {
            let message = format!("the freeze `{}` would stop containment by `{}`", freeze.term.calendar, policy.name);
            let remedy = "add `allow: [contain]` to the freeze, or move containment to a policy of its own";
            told.tell(Grade::Error, freeze.at, "freeze-stops-containment", message, remedy);
        }
    }
}

/// The tightest deadline that the policy speaks of, in seconds, and where it comes from.
fn tightest(policy: &Policy) -> Option<(u64, String)> {
    let stated = policy.deadline_seconds.map(|seconds| (u64::from(seconds), "its own deadline".to_owned()));
    let classes = [("days3", 3), ("days3_forensics", 3), ("days14", 14), ("days60", 60)];
    let granting = policy.rules.iter().filter(|rule| matches!(rule.grant, Grant::Mode(mode) if mode > Mode::Suggest));
    let named = granting.filter_map(|rule| rule.when.as_ref()).flat_map(|when| {
        let source = when.source();
        let words = classes.into_iter().filter(move |(word, _)| {
            source.contains("item.bod")
                && (source.contains(&format!("\"{word}\"")) || source.contains(&format!("'{word}'")))
        });
        words.map(|(word, days)| (days * DAY, format!("the deadline `{word}` its condition names")))
    });
    stated.into_iter().chain(named).min()
}

fn deadline(told: &mut Told<'_>) {
    let policy = told.policy;
    let Some((deadline, whose)) = tightest(policy) else { return };
    // The last ring is verified after its bake as well.
    let bakes: u64 = policy.granting.rings.iter().map(|ring| u64::from(ring.bake_seconds)).sum();
    let first: u64 =
        policy.granting.promote_from.iter().map(|from| u64::from(from.verified_seconds)).max().unwrap_or(0);
    if bakes + first > deadline {
        let at = policy.rollout_at.unwrap_or(policy.at);
        let message = format!(
            "the rollout of `{}` cannot meet {whose}: it waits {} of {}",
            policy.name,
            hours(bakes + first),
            hours(deadline)
        );
        told.tell(
            Grade::Error,
            at,
            "deadline-missed",
            message,
            "shorten the bakes or promote_from, or allow more time",
        );
    }
}

fn hours(seconds: u64) -> String {
    if seconds < 3_600 { format!("{} min", seconds / 60) } else { format!("{} h", seconds / 3_600) }
}

fn rules(bundle: &Bundle, told: &mut Told<'_>) {
    let policy = told.policy;
    for rule in &policy.rules {
        if policy.select.is_empty() || policy.select.empty_part().is_some() {
            continue;
        }
        match can_fire(policy, rule) {
            Firing::Never => {
                let message = match rule.when.as_ref().is_some_and(Condition::is_constant) {
                    true => format!("{} can never fire: its condition is always false", rule.path),
                    false => format!("{} can never fire: no item fits both its match and its condition", rule.path),
                };
                told.tell(
                    Grade::Error,
                    rule.when_at,
                    "never-fires",
                    message,
                    "correct the condition or the match, or remove the rule",
                );
            }
            Firing::Can | Firing::Unknown => {}
        }
        if let Some(over) = overruled(bundle, policy, rule) {
            let message = format!("{} never decides: {} always holds as well and allows less", rule.path, over.path);
            told.tell(
                Grade::Warning,
                rule.at,
                "never-decides",
                message,
                "give the lower rule a condition, or remove this one",
            );
        }
    }
}

/// A rule without a condition that holds wherever this one does, and allows less.
fn overruled<'b>(bundle: &'b Bundle, policy: &Policy, rule: &Rule) -> Option<&'b Rule> {
    let Grant::Mode(mode) = rule.grant else { return None };
    bundle.in_force().filter(|other| other.select.covers(&policy.select)).flat_map(|other| &other.rules).find(|other| {
        other.path != rule.path && other.when.is_none() && other.requires.is_empty() && other.grant.mode() < mode
    })
}

fn actions(bundle: &Bundle, known: &[KnownAction], told: &mut Told<'_>) {
    let policy = told.policy;
    for name in policy.select.actions.iter().flatten() {
        if !known.iter().any(|action| action.name == name) {
            let message = format!("no action is called `{name}`");
            told.tell(Grade::Warning, policy.select_at, "unknown-action", message, &meant(name, known));
        }
    }
    // Those of a playbook are told of where it stands, once for all who name it.
    if let Doing::Steps(steps) = &policy.doing {
        let mut tell = |problem| told.problems.push(problem);
        params(bundle, steps, &policy.file, known, &mut tell);
    }
}

fn meant(name: &str, known: &[KnownAction]) -> String {
    nearest(name, known.iter().map(|action| action.name)).map_or_else(
        || format!("there are: {}", known.iter().map(|action| action.name).collect::<Vec<_>>().join(", ")),
        |meant| format!("did you mean `{meant}`?"),
    )
}

/// Whether the catalogue has the actions of these steps, and whether they take what is said of them.
fn params(bundle: &Bundle, steps: &Steps, file: &Arc<str>, known: &[KnownAction], tell: &mut dyn FnMut(Problem)) {
    for (rung, act) in acts(&steps.steps) {
        let at = steps.place(&rung.id).unwrap_or(At { line: 1, column: 1, offset: 0 });
        let mut wrong = |grade, code, message, remedy| {
            tell(Problem { file: Arc::clone(file), at, grade, code, message, remedy });
        };
        let Some(action) = known.iter().find(|action| action.name == act.action) else {
            let message = format!("no action is called `{}`", act.action);
            wrong(Grade::Error, "unknown-action", message, meant(&act.action, known));
            continue;
        };
        let runs_script = action.name == script::ACTION;
        for (grade, code, message, remedy) in
            runs_script.then(|| scripts::step(&bundle.scripts, act)).into_iter().flatten()
        {
            wrong(grade, code, message, remedy);
        }
        for (name, value) in &act.params {
            match action.params.iter().find(|rule| rule.name == name) {
                // The script says what it takes.
                None if runs_script => {}
                None => {
                    let remedy = nearest(name, action.params.iter().map(|rule| rule.name)).map_or_else(
                        || match action.params {
                            [] => "it takes none".to_owned(),
                            some => {
                                let names: Vec<&str> = some.iter().map(|rule| rule.name).collect();
                                format!("it takes: {}", names.join(", "))
                            }
                        },
                        |meant| format!("did you mean `{meant}`?"),
                    );
                    let message = format!("`{}` takes no `{name}`", act.action);
                    wrong(Grade::Error, "unknown-parameter", message, remedy);
                }
                Some(rule) if !rule.kind.takes(value) => {
                    let message = format!("`{name}` of `{}` is something else", act.action);
                    wrong(Grade::Error, "parameter", message, format!("write {}", rule.kind.words()));
                }
                Some(_) => {}
            }
        }
        for rule in action.params.iter().filter(|rule| rule.required && !act.params.contains_key(rule.name)) {
            let message = format!("`{}` lacks `{}`", act.action, rule.name);
            wrong(Grade::Error, "parameter", message, format!("write {}", rule.kind.words()));
        }
    }
}
