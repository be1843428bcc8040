//! What is different in facts since they were told before. A host at rest tells next to nothing, and nobody has to take a
//! difference on trust: it names the digest of what it starts from and of what it leads to.
//!
//! Of facts, what belongs to the moment of reading ([`Moment`]) is told whole each time and is in no digest. All else is
//! what lasts; its JSON form is compared and patched, so that a fact that is added to [`HostFacts`] needs nothing here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::asset::Asset;
use crate::canonical::{CanonicalError, Digest, digest};
use crate::facts::{HostFacts, InUse, Talks};

/// The form of [`FactsDelta`] that this release writes and reads; an executor that knows none tells facts whole.
pub const FORM: u32 = 1;

/// The most bytes, about, that facts may have after a difference: no more than can be told whole.
pub const LARGEST: usize = 32 << 20;

/// Fields of [`HostFacts`] that belong to the moment of reading.
const OF_THE_MOMENT: [&str; 4] = ["asset", "collected_at", "in_use", "talks"];

/// What belongs to the moment at which facts were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The asset.
    pub asset: Asset,
    /// When reading began.
    pub collected_at: Timestamp,
    /// Who and what made use of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<InUse>,
    /// With whom it talked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talks: Option<Talks>,
}

impl Moment {
    fn of(facts: &HostFacts) -> Self {
        let HostFacts { asset, collected_at, in_use, talks, .. } = facts;
        Self { asset: asset.clone(), collected_at: *collected_at, in_use: in_use.clone(), talks: talks.clone() }
    }
}

/// Facts as they are now, as what is different since they were told before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsDelta {
    /// Digest of what lasts of the facts that it starts from.
    pub base: Digest,
    /// Digest of what lasts of the facts that it leads to.
    pub result: Digest,
    /// What belongs to the moment.
    pub moment: Moment,
    /// What else is different; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Patch>,
}

/// How one JSON value becomes another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Patch {
    /// It is this one from now on.
    Is(Value),
    /// It is an object, and these fields of it are different.
    Fields {
        /// Fields that become something else; what was not there before can only be given whole.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        change: BTreeMap<String, Patch>,
        /// Fields that are not there any more.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        drop: BTreeSet<String>,
    },
    /// It is a list, and is now made of these.
    List(Vec<Run>),
}

/// Entries of a list that follow one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// So many of the list before, from this place on.
    Kept(u32, u32),
    /// New ones.
    New(Vec<Value>),
}

/// Why a difference is refused.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// It starts from other facts than those at hand.
    #[error("it starts from facts that are not at hand")]
    OtherBase,
    /// It leads to other facts than it says.
    #[error("it does not lead to the facts that it promises")]
    OtherResult,
    /// It names a place that is not in the facts it starts from.
    #[error("it names a place that is not there")]
    NoSuchPlace,
    /// It would make facts that are too large.
    #[error("it would make more than {} MiB of facts", LARGEST >> 20)]
    TooLarge,
    /// What it makes are no facts.
    #[error("it does not lead to facts")]
    NotFacts(#[source] serde_json::Error),
    /// They have no canonical form.
    #[error("it leads to facts without a canonical form")]
    Canonical(#[from] CanonicalError),
}

/// What lasts of facts, to be compared with what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lasting {
    fields: Map<String, Value>,
    digest: Digest,
}

impl Lasting {
    /// What lasts of these facts.
    ///
    /// # Errors
    /// When they have no canonical form.
    pub fn of(facts: &HostFacts) -> Result<Self, CanonicalError> {
        let mut fields = match serde_json::to_value(facts).map_err(CanonicalError::NotJson)? {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        for field in OF_THE_MOMENT {
            fields.remove(field);
        }
        let digest = digest("stanch/facts/v1", &fields)?;
        Ok(Self { fields, digest })
    }

    /// Its digest.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Its JSON text, to be kept.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn to_text(&self) -> Result<String, CanonicalError> {
        serde_json::to_string(&self.fields).map_err(CanonicalError::NotJson)
    }

    /// What was kept under this digest. Nothing where it does not read.
    pub fn from_text(text: &str, digest: Digest) -> Option<Self> {
        Some(Self { fields: serde_json::from_str(text).ok()?, digest })
    }

    /// These facts, of which this is what lasts, as what is different since `base`.
    pub fn since(&self, base: &Self, facts: &HostFacts) -> FactsDelta {
        let patch = if self.digest == base.digest { None } else { fields(&base.fields, &self.fields) };
        FactsDelta { base: base.digest, result: self.digest, moment: Moment::of(facts), patch }
    }
}

impl FactsDelta {
    /// The facts that it leads to, from those before, whose digest is `known`.
    ///
    /// # Errors
    /// When it starts elsewhere, does not lead where it says, or would make too much.
    pub fn apply(&self, base: &HostFacts, known: Digest) -> Result<HostFacts, DeltaError> {
        if self.base != known {
            return Err(DeltaError::OtherBase);
        }
        let Moment { asset, collected_at, in_use, talks } = self.moment.clone();
        let Some(patch) = &self.patch else {
            let same = HostFacts { asset, collected_at, in_use, talks, ..base.clone() };
            return if self.result == known { Ok(same) } else { Err(DeltaError::OtherResult) };
        };
        let before = Value::Object(Lasting::of(base)?.fields);
        let mut left = LARGEST;
        let Value::Object(mut fields) = patch.apply(&before, &mut left)? else { return Err(DeltaError::NoSuchPlace) };
        let moment = serde_json::to_value(&self.moment).map_err(DeltaError::NotFacts)?;
        if let Value::Object(moment) = moment {
            fields.extend(moment);
        }
        let facts: HostFacts = serde_json::from_value(Value::Object(fields)).map_err(DeltaError::NotFacts)?;
        if Lasting::of(&facts)?.digest == self.result { Ok(facts) } else { Err(DeltaError::OtherResult) }
    }
}

impl Patch {
    /// How one value becomes another; nothing where they are the same.
    pub fn between(old: &Value, new: &Value) -> Option<Self> {
        match (old, new) {
            _ if old == new => None,
            (Value::Object(old), Value::Object(new)) => fields(old, new),
            (Value::Array(old), Value::Array(new)) => Some(Self::List(runs(old, new))),
            _ => Some(Self::Is(new.clone())),
        }
    }

    /// What becomes of a value. `left` is how much may still be made, in bytes, about.
    fn apply(&self, old: &Value, left: &mut usize) -> Result<Value, DeltaError> {
        match (self, old) {
            (Self::Is(new), _) => take(new, left),
            (Self::Fields { change, drop }, Value::Object(old)) => {
                let mut new = Map::new();
                for (name, value) in old.iter().filter(|(name, _)| !drop.contains(*name)) {
                    let value = match change.get(name) {
                        Some(patch) => patch.apply(value, left)?,
                        None => take(value, left)?,
                    };
                    spend(name.len(), left)?;
                    new.insert(name.clone(), value);
                }
                for (name, patch) in change.iter().filter(|(name, _)| !old.contains_key(*name)) {
                    spend(name.len(), left)?;
                    new.insert(name.clone(), patch.apply(&Value::Null, left)?);
                }
                Ok(Value::Object(new))
            }
            (Self::List(runs), Value::Array(old)) => {
                let mut new = Vec::new();
                for run in runs {
                    let entries = match run {
                        Run::New(entries) => entries.as_slice(),
                        Run::Kept(from, count) => {
                            let (from, count) = (*from as usize, *count as usize);
                            let end = from.checked_add(count).ok_or(DeltaError::NoSuchPlace)?;
                            old.get(from..end).ok_or(DeltaError::NoSuchPlace)?
                        }
                    };
                    for entry in entries {
                        new.push(take(entry, left)?);
                    }
                }
                Ok(Value::Array(new))
            }
            _ => Err(DeltaError::NoSuchPlace),
        }
    }
}

fn spend(bytes: usize, left: &mut usize) -> Result<(), DeltaError> {
    *left = left.checked_sub(bytes).ok_or(DeltaError::TooLarge)?;
    Ok(())
}

/// A copy, if there is room for it.
fn take(value: &Value, left: &mut usize) -> Result<Value, DeltaError> {
    spend(weight(value), left)?;
    Ok(value.clone())
}

/// How many bytes a value takes, about.
fn weight(value: &Value) -> usize {
    const EACH: usize = 8;
    match value {
        Value::String(text) => EACH + text.len(),
        Value::Array(entries) => EACH + entries.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => EACH + fields.iter().map(|(name, value)| name.len() + weight(value)).sum::<usize>(),
        _ => EACH,
    }
}

fn fields(old: &Map<String, Value>, new: &Map<String, Value>) -> Option<Patch> {
    let drop: BTreeSet<String> = old.keys().filter(|name| !new.contains_key(*name)).cloned().collect();
    let changed = new.iter().filter_map(|(name, value)| {
        let patch = match old.get(name) {
            Some(before) => Patch::between(before, value)?,
            None => Patch::Is(value.clone()),
        };
        Some((name.clone(), patch))
    });
    let change: BTreeMap<String, Patch> = changed.collect();
    (!change.is_empty() || !drop.is_empty()).then_some(Patch::Fields { change, drop })
}

/// A list as runs of the one before and new entries. It costs as much as both lists are long: what is not where it is
/// expected is looked up by what it is.
fn runs(old: &[Value], new: &[Value]) -> Vec<Run> {
    let mut places: HashMap<&Value, usize> = HashMap::new();
    for (place, value) in old.iter().enumerate().rev() {
        places.insert(value, place);
    }
    let mut runs: Vec<Run> = Vec::new();
    let mut expected = 0;
    for value in new {
        let place = match old.get(expected) {
            Some(here) if here == value => Some(expected),
            _ => places.get(value).copied(),
        };
        let place = place.and_then(|place| Some((place, u32::try_from(place).ok()?)));
        match (place, runs.last_mut()) {
            (Some((place, _)), Some(Run::Kept(_, count))) if place == expected && *count < u32::MAX => *count += 1,
            (Some((_, from)), _) => runs.push(Run::Kept(from, 1)),
            (None, Some(Run::New(entries))) => entries.push(value.clone()),
            (None, _) => runs.push(Run::New(vec![value.clone()])),
        }
        // After something new, what stood behind the one in its place is likely to follow.
        expected = place.map_or(expected + 1, |(place, _)| place + 1);
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn patched(old: &Value, new: &Value) -> Value {
        match Patch::between(old, new) {
            Some(patch) => {
                let told: Patch = serde_json::from_str(&serde_json::to_string(&patch).unwrap()).unwrap();
                told.apply(old, &mut LARGEST.clone()).unwrap()
            }
            None => old.clone(),
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4_i64).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map("[a-d]", inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_leads_from_any_value_to_any_other(old in value(), new in value()) {
            prop_assert_eq!(patched(&old, &new), new);
        }

        #[test]
        fn any_patch_is_followed_or_refused(old in value(), new in value(), other in value()) {
            if let Some(patch) = Patch::between(&old, &new) {
                let _ = patch.apply(&other, &mut 1_000);
            }
        }
    }

    #[test]
    fn one_entry_of_a_long_list_costs_one_entry() {
        let list = |changed: usize| (0..1_000).map(|n| json!({ "name": n, "is": n == changed })).collect::<Vec<_>>();
        let (old, mut new) = (list(5_000), list(500));
        assert_eq!(runs(&old, &new).len(), 3, "kept, new, kept");
        new.remove(10);
        new.insert(800, json!("more"));
        let patch = Patch::between(&json!(old), &json!(new)).unwrap();
        assert!(serde_json::to_string(&patch).unwrap().len() < 200, "{patch:?}");
        assert_eq!(patched(&json!(old), &json!(new)), json!(new));
    }

    #[test]
    fn a_patch_that_repeats_what_is_there_cannot_make_more_than_it_may() {
        let old = json!(["x".repeat(1_000)]);
        let bomb = Patch::List(vec![Run::Kept(0, 1); 100]);
        assert!(matches!(bomb.apply(&old, &mut 50_000), Err(DeltaError::TooLarge)));
        assert!(bomb.apply(&old, &mut 200_000).is_ok());
        let beyond = Patch::List(vec![Run::Kept(u32::MAX, u32::MAX)]);
        assert!(matches!(beyond.apply(&old, &mut 50_000), Err(DeltaError::NoSuchPlace)));
    }
}
