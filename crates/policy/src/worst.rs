//! The worst case: how far forged findings could make a bundle go. Whoever can plant findings chooses every fact of an
//! item; what people said of an asset, and what an action is, they do not choose. So facts of items are taken as
//! whatever suits the attacker, and the answer is a bound from above: nothing beyond it can be reached by findings alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use stanch_model::decision::Mode;
use stanch_model::plan::Limits;
use stanch_model::terms::Terms;

use crate::bundle::Bundle;
use crate::expr::{Answer, Inputs};
use crate::facts::{Facts, SCHEMA};
use crate::policy::{Grant, Policy, Rule};
use crate::selector::Selected;

/// Percent of an environment that may be disrupted at once before a bundle counts as able to take it down.
pub const MOST_DISRUPTED: u8 = 20;
/// Assets named in one line.
const NAMED: usize = 20;

/// How far one action could be driven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Worst {
    /// The action.
    pub action: String,
    /// The mode.
    pub mode: Mode,
    /// On so many assets.
    pub assets: usize,
    /// The first of them, by name.
    pub named: Vec<String>,
    /// Rules that could be made to grant it.
    pub rules: Vec<String>,
    /// What holds it back once it runs: the loosest of all terms that could come to hold.
    pub limits: Limits,
    /// Every act waits for a window, a freeze or another environment.
    pub timed: bool,
}

/// A rule against lock-out that the bundle breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LockOut {
    /// Which: `own-parts`, `one-way`, `too-much-at-once`.
    pub rule: &'static str,
    /// The action.
    pub action: String,
    /// What could happen.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// What forged findings could make a bundle do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[must_use = "a worst case that nobody reads protects nobody"]
pub struct WorstCase {
    /// By action, the highest mode first. What is only shown is left out.
    pub reach: Vec<Worst>,
    /// Lock-out rules that are broken.
    pub lock_outs: Vec<LockOut>,
}

/// What was found of one action in one mode.
#[derive(Default)]
struct Gathered {
    assets: BTreeSet<String>,
    rules: BTreeSet<String>,
    terms: Option<Terms>,
}

/// How far forged findings could drive actions on assets. A place is what is known of one action on one asset; what it
/// says of an item is not looked at. Linear in places and rules.
pub fn worst_case(bundle: &Bundle, places: &[Facts]) -> WorstCase {
    let mut found: BTreeMap<(String, Mode), Gathered> = BTreeMap::new();
    let mut lock_outs = BTreeSet::new();
    for place in places {
        let facts = place.without_item();
        let Some(action) = facts.text("action.kind").map(str::to_owned) else { continue };
        let Some(reached) = reach(bundle, &facts) else { continue };
        let name = facts.text("asset.name").unwrap_or("an asset").to_owned();
        lock_outs.extend(locked_out(&facts, &action, &name, &reached));
        let entry = found.entry((action, reached.mode)).or_default();
        entry.assets.insert(name);
        entry.rules.extend(reached.rules);
        entry.terms = Some(match entry.terms.take() {
            Some(terms) => looser(terms, reached.terms),
            None => reached.terms,
        });
    }
    let mut reach: Vec<Worst> = found
        .into_iter()
        .map(|((action, mode), Gathered { assets, rules, terms })| {
            let terms = terms.unwrap_or_default();
            Worst {
                action,
                mode,
                assets: assets.len(),
                named: assets.into_iter().take(NAMED).collect(),
                rules: rules.into_iter().collect(),
                limits: terms.limits,
                timed: !terms.windows.is_empty() || !terms.freezes.is_empty() || !terms.promote_from.is_empty(),
            }
        })
        .collect();
    reach.sort_by(|a, b| b.mode.cmp(&a.mode).then_with(|| a.action.cmp(&b.action)));
    WorstCase { reach, lock_outs: lock_outs.into_iter().collect() }
}

/// How far one action can be driven on one asset.
struct Reached {
    mode: Mode,
    rules: Vec<String>,
    terms: Terms,
}

/// What a rule can be made to say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    /// Nothing, whatever the findings.
    Not,
    /// Its word, whatever the findings.
    Does,
    /// Its word, by some findings.
    Might,
}

fn may(policy: &Policy, rule: &Rule, facts: &Facts, inputs: &Inputs<'_>) -> May {
    let forged = rule.asks_for().iter().any(|path| path.starts_with("item."))
        || policy.select.classes.is_some()
        || policy.select.min_severity.is_some();
    // What nobody said of an asset cannot be forged either: a rule that needs it does not grant.
    let unsaid = |path: &str| !path.starts_with("item.") && facts.get(path).is_none();
    let selected = match policy.select.selects(facts) {
        Selected::No(_) => return May::Not,
        Selected::Unknown(path) if unsaid(path) => return May::Not,
        Selected::Unknown(_) | Selected::Yes => true,
    };
    let needs = rule.requires.iter().filter_map(|index| SCHEMA.get(*index));
    if needs.map(|fact| fact.path).any(unsaid) {
        return May::Not;
    }
    let answer = rule.when.as_ref().map_or(Answer::Yes, |when| when.answer(inputs, true));
    match answer {
        Answer::No => May::Not,
        Answer::Unknown { missing: Some(path), .. } if unsaid(path) => May::Not,
        Answer::Yes if selected && !forged => May::Does,
        _ => May::Might,
    }
}

fn reach(bundle: &Bundle, facts: &Facts) -> Option<Reached> {
    let inputs = Inputs::new(facts);
    let mut most: Option<Mode> = None;
    let mut cap = Mode::Auto;
    let (mut rules, mut terms) = (Vec::new(), None);
    for policy in bundle.in_force() {
        for rule in &policy.rules {
            let (word, mode) = (may(policy, rule, facts, &inputs), rule.grant.mode());
            match (word, rule.grant) {
                (May::Not, _) | (May::Might, Grant::AtMost(_)) => {}
                (May::Does, Grant::AtMost(_)) => cap = cap.min(mode),
                (May::Does | May::Might, Grant::Mode(_)) => {
                    if word == May::Does {
                        cap = cap.min(mode);
                    }
                    most = Some(most.map_or(mode, |most| most.max(mode)));
                    rules.push((rule.path.clone(), mode));
                    let mine = policy.granting.clone();
                    terms = Some(match terms.take() {
                        Some(terms) => looser(terms, mine),
                        None => mine,
                    });
                }
            }
        }
    }
    let mode = bundle.bound(facts, most?.min(cap));
    if mode == Mode::Alert {
        return None;
    }
    let rules = rules.into_iter().filter(|(_, granted)| *granted >= mode).map(|(path, _)| path).collect();
    Some(Reached { mode, rules, terms: terms.unwrap_or_default() })
}

/// Of two sets of terms the looser limits: the attacker chooses which policy is in the way.
fn looser(mut one: Terms, other: Terms) -> Terms {
    let (a, b) = (&one.limits, &other.limits);
    one.limits = Limits {
        concurrent: a.concurrent.max(b.concurrent),
        per_hour: a.per_hour.max(b.per_hour),
        disrupted_percent: a.disrupted_percent.max(b.disrupted_percent),
        max_attempts: a.max_attempts.max(b.max_attempts),
        cooldown_seconds: a.cooldown_seconds.min(b.cooldown_seconds),
    };
    one.windows.retain(|window| other.windows.contains(window));
    one.freezes.retain(|freeze| other.freezes.contains(freeze));
    one.promote_from.retain(|from| other.promote_from.contains(from));
    one.changes.retain(|change| other.changes.contains(change));
    one
}

fn locked_out(facts: &Facts, action: &str, name: &str, reached: &Reached) -> Vec<LockOut> {
    let mut broken = Vec::new();
    if reached.mode != Mode::Auto {
        return broken;
    }
    let mut tell = |rule, message: String, remedy: &str| {
        broken.push(LockOut { rule, action: action.to_owned(), message, remedy: remedy.to_owned() });
    };
    if facts.flag("asset.own") != Some(false) {
        tell(
            "own-parts",
            format!("forged findings could have Stanch change its own parts on {name}"),
            "do not say `asset.own` is false where Stanch runs",
        );
    }
    if facts.text("action.reversibility") == Some("one_way") {
        tell(
            "one-way",
            "forged findings could cause acts that cannot be taken back".to_owned(),
            "grant no more than approve for this action",
        );
    }
    let disrupts = facts.text("action.disruption") != Some("none");
    let percent = reached.terms.limits.disrupted_percent;
    if disrupts && percent > MOST_DISRUPTED {
        tell(
            "too-much-at-once",
            format!("forged findings could disrupt {percent} % of an environment at once"),
            "state limits: {disrupted_percent: 20} or less",
        );
    }
    broken
}
