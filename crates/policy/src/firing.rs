//! Whether a rule can fire at all. Conditions compare facts with what is written in them, so that a few values of
//! each fact stand for all of them: the ones written, and those on either side.

use std::collections::{BTreeMap, BTreeSet};

use crate::expr::{Answer, Condition, Inputs};
use crate::facts::{DECIMAL, FactType, Facts, SCHEMA, Value};
use crate::policy::{Policy, Rule};
use crate::selector::Selected;

/// Combinations tried for one rule; more say nothing.
const MAX_TRIED: usize = 4_096;
/// A text that no condition names.
const ANOTHER: &str = "\u{1}another";

/// Whether a rule can fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Firing {
    Can,
    Never,
    /// There are too many combinations to tell.
    Unknown,
}

/// Tries every combination of values that could matter.
pub(crate) fn can_fire(policy: &Policy, rule: &Rule) -> Firing {
    let Some(when) = &rule.when else { return Firing::Can };
    let asked = asked(policy, when);
    let domains: Vec<(usize, Vec<Value>)> =
        asked.into_iter().map(|index| (index, values(index, policy, when))).collect();
    let combinations =
        domains.iter().try_fold(1_usize, |all, (_, values)| all.checked_mul(values.len()).filter(|n| *n <= MAX_TRIED));
    let Some(combinations) = combinations else { return Firing::Unknown };
    for number in 0..combinations {
        let (mut facts, mut rest) = (Facts::default(), number);
        for (index, values) in &domains {
            let value = values.get(rest % values.len().max(1));
            rest /= values.len().max(1);
            if let (Some(fact), Some(value)) = (SCHEMA.get(*index), value) {
                facts.put(fact.path, Some(value.clone()));
            }
        }
        if policy.select.selects(&facts) == Selected::Yes && when.answer(&Inputs::new(&facts), false) == Answer::Yes {
            return Firing::Can;
        }
    }
    Firing::Never
}

/// Facts that the condition or the match asks for.
fn asked(policy: &Policy, when: &Condition) -> BTreeSet<usize> {
    let select = &policy.select;
    let of_match = [
        ("item.classes", select.classes.is_some()),
        ("asset.environment", select.environments.is_some()),
        ("item.severity", select.min_severity.is_some()),
        ("asset.kind", select.kinds.is_some()),
        ("asset.labels", select.labels.is_some()),
        ("action.kind", select.actions.is_some()),
        ("asset.owner", select.owners.is_some()),
    ];
    let of_match = of_match.into_iter().filter(|(_, is)| *is).filter_map(|(path, _)| crate::facts::find(path));
    when.paths().iter().copied().chain(of_match.map(|(index, _)| index)).collect()
}

/// Values of one fact that stand for all.
fn values(index: usize, policy: &Policy, when: &Condition) -> Vec<Value> {
    let Some(fact) = SCHEMA.get(index) else { return Vec::new() };
    let literals = when.literals();
    let around = |low: i64, high: i64, step: i64| {
        let near = literals.numbers.iter().flat_map(|number| [number - step, *number, number + step]);
        let all: BTreeSet<i64> = near.filter(|one| (low..=high).contains(one)).chain([low, high]).collect();
        all
    };
    let select = &policy.select;
    let of_match = match fact.path {
        "asset.environment" => select.environments.as_ref(),
        "action.kind" => select.actions.as_ref(),
        "asset.owner" => select.owners.as_ref(),
        _ => None,
    };
    match fact.kind {
        FactType::Bool => vec![Value::Bool(false), Value::Bool(true)],
        FactType::Int(low, high) => {
            let whole = around(low.saturating_mul(DECIMAL), high.saturating_mul(DECIMAL), DECIMAL);
            whole.into_iter().map(|number| Value::Int(number.div_euclid(DECIMAL))).collect()
        }
        FactType::Decimal(high) => around(0, high * DECIMAL, 1).into_iter().map(Value::Decimal).collect(),
        FactType::Text => {
            let written = literals.texts.iter().chain(of_match.into_iter().flatten()).cloned();
            let all: BTreeSet<String> = written.chain([ANOTHER.to_owned()]).collect();
            all.into_iter().map(Value::Text).collect()
        }
        FactType::Choice(words) => words.iter().map(|word| Value::Text((*word).to_owned())).collect(),
        FactType::Texts => lists(literals.texts.iter().cloned()),
        FactType::Choices(words) => lists(words.iter().map(|word| (*word).to_owned())),
        FactType::Labels => labels(policy, &literals),
    }
}

/// No element, each alone, and all together.
fn lists(texts: impl Iterator<Item = String>) -> Vec<Value> {
    let all: Vec<String> = texts.chain([ANOTHER.to_owned()]).collect();
    let alone = all.iter().map(|one| Value::Texts(vec![one.clone()]));
    alone.chain([Value::Texts(Vec::new()), Value::Texts(all.clone())]).collect()
}

/// Labels that the match and the condition name, with the values they name; and none at all.
fn labels(policy: &Policy, literals: &Literals) -> Vec<Value> {
    let fixed: Vec<(&String, &BTreeSet<String>)> = policy.select.labels.iter().flatten().collect();
    let base: BTreeMap<String, String> =
        fixed.iter().filter_map(|(name, values)| Some(((*name).clone(), values.first()?.clone()))).collect();
    let mut made = vec![base.clone()];
    for name in literals.labels.iter().chain(&literals.texts) {
        let values = policy.select.labels.as_ref().and_then(|labels| labels.get(name));
        let values: Vec<String> = values.map_or_else(
            || literals.texts.iter().cloned().chain([ANOTHER.to_owned()]).collect(),
            |values| values.iter().cloned().collect(),
        );
        let before = made.clone();
        for value in values {
            made.extend(before.iter().map(|labels| {
                let mut labels = labels.clone();
                labels.insert(name.clone(), value.clone());
                labels
            }));
            // More than this is not tried anyway.
            if made.len() > MAX_TRIED {
                return made.into_iter().map(Value::Labels).collect();
            }
        }
    }
    made.into_iter().map(Value::Labels).collect()
}

/// What is written in a condition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Literals {
    /// In parts per 100,000.
    pub(crate) numbers: BTreeSet<i64>,
    pub(crate) texts: BTreeSet<String>,
    /// Names of labels that are asked for by a path.
    pub(crate) labels: BTreeSet<String>,
}
