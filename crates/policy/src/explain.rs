//! Why something was decided: every rule of the bundle with its word or its silence, and the facts it asked for.

use jiff::Timestamp;
use serde::Serialize;
use stanch_model::decision::{Decision, Effect, Mode};
use stanch_model::id::ItemId;

use crate::bundle::Bundle;
use crate::decide::shown;
use crate::expr::Condition;
use crate::facts::Facts;
use crate::policy::Grant;

/// One fact a rule asks for, and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The path.
    pub path: &'static str,
    /// The value in words; `unknown` where nobody knows.
    pub value: String,
}

/// One rule and what it said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The rule, `policy/rule`; or a cap that is built in, or an exception.
    pub rule: String,
    /// What its word does; none when it was silent.
    pub effect: Option<Effect>,
    /// The mode it counted with, or would count with.
    pub mode: Mode,
    /// Why.
    pub reason: String,
    /// Its condition.
    pub when: Option<String>,
    /// The facts it asks for.
    pub asked: Vec<Asked>,
}

/// A decision with everything it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// Rules that had a word, then those that match and were silent, then those about something else.
    pub rules: Vec<Explained>,
}

/// Explains a decision.
pub fn explain(bundle: &Bundle, item: &ItemId, facts: &Facts, now: Timestamp) -> Explanation {
    let every: Vec<usize> = (0..bundle.policies().len()).collect();
    let findings = bundle.weigh(facts, now, &every, true);
    let silent: Vec<Explained> =
        findings.abstained.iter().map(|one| entry(bundle, facts, &one.rule, None, None, one.reason.clone())).collect();
    let decision = bundle.decide(item, facts, now);
    let mut rules: Vec<Explained> = decision
        .fired
        .iter()
        .map(|word| entry(bundle, facts, &word.rule, Some(word.effect), Some(word.mode), word.reason.clone()))
        .collect();
    let (elsewhere, here): (Vec<_>, Vec<_>) =
        silent.into_iter().partition(|one| one.reason.starts_with("the policy is about something else"));
    for word in decision.shadow.iter().flat_map(|shadow| &shadow.words) {
        let reason = format!("in shadow: {}", word.reason);
        rules.push(entry(bundle, facts, &word.rule, Some(word.effect), Some(word.mode), reason));
    }
    rules.extend(here);
    rules.extend(elsewhere);
    Explanation { decision, rules }
}

fn entry(
    bundle: &Bundle,
    facts: &Facts,
    path: &str,
    effect: Option<Effect>,
    mode: Option<Mode>,
    reason: String,
) -> Explained {
    let rule = bundle.policies().iter().flat_map(|policy| &policy.rules).find(|rule| rule.path == path);
    let asked = rule.map(|rule| rule.asks_for()).unwrap_or_default();
    Explained {
        rule: path.to_owned(),
        effect,
        mode: mode.or_else(|| rule.map(|rule| rule.grant).map(Grant::mode)).unwrap_or(Mode::Alert),
        reason,
        when: rule.and_then(|rule| rule.when.as_ref()).map(Condition::source).map(str::to_owned),
        asked: asked.into_iter().map(|path| Asked { path, value: shown(facts, path) }).collect(),
    }
}
