//! Tests of policies, with the evaluator that decides in earnest. A test that could not fail is told, and so is a
//! limit that no test notices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use stanch_model::decision::{Decision, Effect, Mode};
use stanch_model::id::ItemId;
use stanch_model::playbook::{PlaybookTest, Step, rungs};

use crate::bundle::Bundle;
use crate::document::{Free, Reason, TestDoc};
use crate::facts::{self, BadFact, DECIMAL, Fact, FactType, Facts, Value};
use crate::node::{Kind, Node};
use crate::policy::Policy;
use crate::problem::{At, Grade, Problem};
use crate::read::{Located, Reader};

/// One test.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    pub(crate) name: Option<String>,
    pub(crate) given: String,
    pub(crate) given_at: At,
    set: Vec<(&'static str, Value)>,
    unset: Vec<&'static str>,
    mode: Option<Mode>,
    rule: Option<String>,
    silent: Vec<String>,
    reason: Option<Reason>,
    pub(crate) at: At,
}

/// The value that a file gives to a fact; tells what is wrong with it.
pub(crate) fn fact_value(path: &str, free: &Free, reader: &mut Reader<'_>) -> Option<Value> {
    let node = &free.0;
    let Some((_, fact)) = facts::find(path) else {
        let error = BadFact::UnknownPath { path: path.chars().take(64).collect() };
        reader.error(node.at, "unknown-path", error.to_string(), error.remedy());
        return None;
    };
    let value = shaped(fact, node);
    let checked = value.ok_or(BadFact::Type { path: fact.path, wanted: fact.kind.name() }).and_then(|value| {
        let mut facts = Facts::default();
        facts.set(fact.path, value.clone()).map(|()| value)
    });
    match checked {
        Ok(value) => Some(value),
        Err(error) => {
            reader.error(node.at, "fact", error.to_string(), error.remedy());
            None
        }
    }
}

fn shaped(fact: &Fact, node: &Node) -> Option<Value> {
    match (fact.kind, &node.kind) {
        (_, Kind::Bool(value)) => Some(Value::Bool(*value)),
        (_, Kind::Int(value)) => Some(Value::Int(*value)),
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        (FactType::Decimal(_), Kind::Float(value)) => Some(Value::Decimal((value * DECIMAL as f64).round() as i64)),
        (_, Kind::Text(text)) => Some(Value::Text(text.clone())),
        (_, Kind::List(list)) => {
            list.iter().map(|one| one.text().map(str::to_owned)).collect::<Option<_>>().map(Value::Texts)
        }
        (_, Kind::Map(entries)) => entries
            .iter()
            .map(|(key, value)| Some((key.text()?.to_owned(), value.text()?.to_owned())))
            .collect::<Option<_>>()
            .map(Value::Labels),
        (_, Kind::Null | Kind::Float(_)) => None,
    }
}

impl Trial {
    pub(crate) fn from_doc(test: &Located<TestDoc>, reader: &mut Reader<'_>) -> Option<Self> {
        let doc = &test.value;
        let set: Vec<Option<(&'static str, Value)>> = doc
            .set
            .iter()
            .map(|(path, free)| {
                let value = fact_value(path, free, reader)?;
                facts::find(path).map(|(_, fact)| (fact.path, value))
            })
            .collect();
        let unset: Vec<Option<&'static str>> = doc
            .unset
            .iter()
            .map(|path| {
                let found = facts::find(&path.value).map(|(_, fact)| fact.path);
                if found.is_none() {
                    let error = BadFact::UnknownPath { path: path.value.chars().take(64).collect() };
                    reader.error(path.at, "unknown-path", error.to_string(), error.remedy());
                }
                found
            })
            .collect();
        let expect = &doc.expect;
        if expect.mode.is_none() && expect.rule.is_none() && expect.silent.is_empty() && expect.reason.is_none() {
            reader.error(test.at, "test-empty", "the test expects nothing", "add `mode:` to `expect`");
            return None;
        }
        Some(Self {
            name: doc.name.clone(),
            given: doc.given.value.0.clone(),
            given_at: doc.given.at,
            set: set.into_iter().collect::<Option<_>>()?,
            unset: unset.into_iter().collect::<Option<_>>()?,
            mode: expect.mode,
            rule: expect.rule.clone(),
            silent: expect.silent.clone(),
            reason: expect.reason,
            at: test.at,
        })
    }

    /// Rules it speaks of, as written.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &str> {
        self.rule.iter().chain(&self.silent).map(String::as_str)
    }

    /// The rule's name in the bundle: a policy's own tests may leave its name out.
    pub(crate) fn path_of(&self, rule: &str, policy: Option<&str>) -> String {
        match policy {
            Some(policy) if !rule.contains('/') => format!("{policy}/{rule}"),
            _ => rule.to_owned(),
        }
    }

    /// The facts it is about.
    fn facts(&self, bundle: &Bundle) -> Facts {
        let mut facts = bundle.facts.get(&self.given).cloned().unwrap_or_default();
        // Tests are about hosts that are one of ours and believe their server, unless they say otherwise.
        for (path, value) in [("asset.confirmed", true), ("asset.asks_signatures", false)] {
            if facts.get(path).is_none() {
                facts.put(path, Some(Value::Bool(value)));
            }
        }
        for (path, value) in &self.set {
            facts.put(path, Some(value.clone()));
        }
        for path in &self.unset {
            facts.unset(path);
        }
        facts
    }

    /// What is not as expected, in sentences.
    fn misses(&self, decision: &Decision, policy: Option<&str>) -> Vec<String> {
        let mut misses = Vec::new();
        if let Some(mode) = self.mode
            && mode != decision.mode
        {
            misses.push(format!("expected {}, got {}: {}", mode.name(), decision.mode.name(), decision.reason));
        }
        let spoke = |path: &str| decision.fired.iter().any(|word| word.rule == path);
        if let Some(rule) = &self.rule {
            let path = self.path_of(rule, policy);
            if !spoke(&path) {
                misses.push(format!("{path} had no word: {}", decision.reason));
            }
        }
        for rule in &self.silent {
            let path = self.path_of(rule, policy);
            if spoke(&path) {
                misses.push(format!("{path} was to stay silent and did not"));
            }
        }
        if let Some(reason) = self.reason
            && !holds(reason, decision)
        {
            misses.push(format!("expected the reason {}, got: {}", reason_name(reason), decision.reason));
        }
        misses
    }
}

const fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingField => "missing-field",
        Reason::Default => "default",
        Reason::Excepted => "excepted",
        Reason::BuiltIn => "built-in",
        Reason::Rule => "rule",
    }
}

/// Whether a decision has this kind of reason.
fn holds(reason: Reason, decision: &Decision) -> bool {
    let grants = decision.fired.iter().any(|word| word.effect == Effect::Grants);
    match reason {
        Reason::MissingField => !decision.missing.is_empty(),
        Reason::Default => !grants && decision.accepted.is_none(),
        Reason::Excepted => decision.accepted.is_some(),
        Reason::BuiltIn => {
            decision.fired.iter().any(|word| word.rule.starts_with("built-in/") && word.mode == decision.mode)
        }
        Reason::Rule => grants && decision.accepted.is_none(),
    }
}

/// One test and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrialResult {
    /// The policy or the tests document it stands in.
    pub of: String,
    /// What it shows, or which one it is.
    pub name: String,
    /// The file.
    pub file: String,
    /// Where in it.
    #[serde(flatten)]
    pub at: At,
    /// What was not as expected; empty when it passed.
    pub misses: Vec<String>,
}

/// How the tests of a bundle went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TrialReport {
    /// Every test.
    pub results: Vec<TrialResult>,
    /// Rules that never fired, or never failed to fire, in any test, and steps that never began: nothing shows that they
    /// work.
    pub unproven: Vec<Problem>,
    /// Limits that could be another without any test noticing.
    pub unnoticed: Vec<Problem>,
}

impl TrialReport {
    /// Whether every test passed and every rule was seen both firing and not firing.
    pub fn passed(&self) -> bool {
        self.unproven.is_empty() && self.failed() == 0
    }

    /// Tests that did not pass.
    pub fn failed(&self) -> usize {
        self.results.iter().filter(|result| !result.misses.is_empty()).count()
    }
}

/// An item for tests; nothing is decided by its id.
fn nobody() -> ItemId {
    ItemId::from_entropy([0; 10])
}

/// How a test of a playbook is run: what is not as it expects, in sentences.
pub type Walk = fn(&[Step], &PlaybookTest) -> Vec<String>;

/// Runs the tests of a bundle: each policy's own on that policy alone, those of playbooks with what carries them out in
/// earnest, the others on the whole bundle.
pub fn test(bundle: &Bundle, now: Timestamp, walk: Walk) -> TrialReport {
    let mut report = TrialReport::default();
    // What was seen of each rule: that it had its word, that it had none.
    let mut seen: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for policy in bundle.policies() {
        let alone = bundle.alone(policy);
        for (number, trial) in policy.trials.iter().enumerate() {
            let decision = run(&alone, trial, now, &mut seen);
            report.results.push(result(trial, number, &policy.name, &policy.file, &decision, Some(&policy.name)));
        }
    }
    for suite in &bundle.suites {
        for (number, trial) in suite.trials.iter().enumerate() {
            let decision = run(bundle, trial, now, &mut seen);
            report.results.push(result(trial, number, &suite.name, &suite.file, &decision, None));
        }
    }
    for written in bundle.written() {
        let mut begun: BTreeSet<&str> = BTreeSet::new();
        for (test, at) in &written.tests {
            begun.extend(test.begins.iter().map(String::as_str));
            report.results.push(TrialResult {
                of: written.name.clone(),
                name: test.name.clone(),
                file: written.file.to_string(),
                at: *at,
                misses: walk(&written.steps.steps, test),
            });
        }
        report.unproven.extend(rungs(&written.steps.steps).filter(|rung| !begun.contains(rung.id.as_str())).map(
            |rung| Problem {
                file: Arc::clone(&written.file),
                at: written.steps.place(&rung.id).unwrap_or(written.at),
                grade: Grade::Error,
                code: "step-untested",
                message: format!("no test shows that `{}` of `{}` begins", rung.id, written.name),
                remedy: "add a test to the playbook: what is `blocked` or `late`, and what then `begins`".to_owned(),
            },
        ));
    }
    for policy in bundle.policies() {
        report.unproven.extend(policy.rules.iter().filter_map(|rule| {
            let seen = seen.get(&rule.path);
            let saw = |what| seen.is_some_and(|seen| seen.contains(&what));
            let message = match (saw(true), saw(false)) {
                (true, true) => return None,
                (false, _) => format!("no test shows that {} fires", rule.path),
                (true, false) => format!("no test shows that {} can also stay silent", rule.path),
            };
            let remedy = "add a test with `given` facts that make it so, and the mode to expect".to_owned();
            Some(problem(policy, rule.at, Grade::Error, "rule-untested", message, remedy))
        }));
        report.unnoticed.extend(unnoticed(bundle, policy, now));
    }
    report
}

fn problem(policy: &Policy, at: At, grade: Grade, code: &'static str, message: String, remedy: String) -> Problem {
    Problem { file: Arc::clone(&policy.file), at, grade, code, message, remedy }
}

fn run(bundle: &Bundle, trial: &Trial, now: Timestamp, seen: &mut BTreeMap<String, BTreeSet<bool>>) -> Decision {
    let facts = trial.facts(bundle);
    let decision = bundle.decide(&nobody(), &facts, now);
    for policy in bundle.in_force() {
        for rule in &policy.rules {
            let word = decision.fired.iter().find(|word| word.rule == rule.path);
            // What cannot be decided is neither.
            let fired = match word.map(|word| word.effect) {
                Some(Effect::Undecided) => continue,
                Some(Effect::Grants | Effect::Caps) => true,
                None => false,
            };
            seen.entry(rule.path.clone()).or_default().insert(fired);
        }
    }
    decision
}

fn result(
    trial: &Trial,
    number: usize,
    of: &str,
    file: &str,
    decision: &Decision,
    policy: Option<&str>,
) -> TrialResult {
    TrialResult {
        of: of.to_owned(),
        name: trial.name.clone().unwrap_or_else(|| format!("test {}", number + 1)),
        file: file.to_owned(),
        at: trial.at,
        misses: trial.misses(decision, policy),
    }
}

/// Changes each number and comparison of a policy's conditions a little, and tells those that no test notices.
fn unnoticed(bundle: &Bundle, policy: &Policy, now: Timestamp) -> Vec<Problem> {
    let mut told = Vec::new();
    for (at, rule) in policy.rules.iter().enumerate() {
        for (change, mutant) in rule.when.iter().flat_map(|when| when.mutants()) {
            let mut changed = policy.clone();
            if let Some(rule) = changed.rules.get_mut(at) {
                rule.when = Some(mutant);
            }
            if !noticed(bundle, policy, changed, now) {
                let message = format!("{}: {change}, and every test still passes", rule.path);
                let remedy = "add a test on each side of the limit".to_owned();
                told.push(problem(policy, rule.when_at, Grade::Warning, "limit-untested", message, remedy));
            }
        }
    }
    told
}

fn noticed(bundle: &Bundle, policy: &Policy, changed: Policy, now: Timestamp) -> bool {
    let alone = bundle.alone(&changed);
    let own = policy.trials.iter().any(|trial| {
        let decision = alone.decide(&nobody(), &trial.facts(&alone), now);
        !trial.misses(&decision, Some(&policy.name)).is_empty()
    });
    if own {
        return true;
    }
    if bundle.suites.is_empty() {
        return false;
    }
    let policies =
        bundle.policies().iter().map(|one| if one.name == changed.name { changed.clone() } else { one.clone() });
    let whole = bundle.with_policies(policies.collect());
    bundle.suites.iter().flat_map(|suite| &suite.trials).any(|trial| {
        let decision = whole.decide(&nobody(), &trial.facts(&whole), now);
        !trial.misses(&decision, None).is_empty()
    })
}
