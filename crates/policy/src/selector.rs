//! What a policy is about. A selector is answered with yes, no, or "nobody knows": a restricting policy must not
//! vanish because an input is missing. What is empty selects nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{ExceptionSelectorDoc, OneOrMore, SelectorDoc};
use crate::facts::{Facts, SEVERITIES, Value};
use crate::read::Located;

/// Whether something is selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selected {
    Yes,
    /// The part that does not fit.
    No(&'static str),
    /// The fact that nobody knows.
    Unknown(&'static str),
}

impl Selected {
    /// Both: one no is enough, and then one unknown.
    fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::No(_) => self,
            Self::Yes => other(),
            Self::Unknown(_) => match other() {
                no @ Self::No(_) => no,
                _ => self,
            },
        }
    }
}

/// The parts of a policy's `match`; a part that is not stated is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Everything, as it was spelled.
    pub all: bool,
    /// Classes of findings.
    pub classes: Option<BTreeSet<String>>,
    /// Environments.
    pub environments: Option<BTreeSet<String>>,
    /// The least severity.
    pub min_severity: Option<&'static str>,
    /// Kinds of assets.
    pub kinds: Option<BTreeSet<String>>,
    /// Labels with the values that fit.
    pub labels: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Actions.
    pub actions: Option<BTreeSet<String>>,
    /// Owners.
    pub owners: Option<BTreeSet<String>>,
}

impl Selector {
    /// Whether nothing is stated, so that nothing is selected.
    pub fn is_empty(&self) -> bool {
        let stated = self.classes.is_some()
            || self.environments.is_some()
            || self.min_severity.is_some()
            || self.kinds.is_some()
            || self.labels.is_some()
            || self.actions.is_some()
            || self.owners.is_some();
        !self.all && !stated
    }

    /// The name of a part that is stated as empty, which selects nothing.
    pub(crate) fn empty_part(&self) -> Option<&'static str> {
        let empty = |part: &Option<BTreeSet<String>>| part.as_ref().is_some_and(BTreeSet::is_empty);
        let labels =
            self.labels.as_ref().is_some_and(|labels| labels.is_empty() || labels.values().any(BTreeSet::is_empty));
        [
            ("classes", empty(&self.classes)),
            ("environments", empty(&self.environments)),
            ("kinds", empty(&self.kinds)),
            ("labels", labels),
            ("actions", empty(&self.actions)),
            ("owners", empty(&self.owners)),
        ]
        .into_iter()
        .find_map(|(name, is)| is.then_some(name))
    }

    /// Whether an item is selected.
    pub(crate) fn selects(&self, facts: &Facts) -> Selected {
        if self.is_empty() {
            return Selected::No("an empty match selects nothing");
        }
        any_of(self.classes.as_ref(), facts.texts("item.classes"), "item.classes", "its class is another")
            .and(|| one_of(self.environments.as_ref(), facts, "asset.environment", "its environment is another"))
            .and(|| one_of(self.kinds.as_ref(), facts, "asset.kind", "the asset is of another kind"))
            .and(|| one_of(self.actions.as_ref(), facts, "action.kind", "the action is another"))
            .and(|| one_of(self.owners.as_ref(), facts, "asset.owner", "the owner is another"))
            .and(|| labelled(self.labels.as_ref(), facts))
            .and(|| self.severe(facts))
    }

    /// Whether the place of an item is selected, whatever the item is about.
    pub(crate) fn selects_place(&self, facts: &Facts) -> Selected {
        if self.is_empty() {
            return Selected::No("an empty match selects nothing");
        }
        one_of(self.environments.as_ref(), facts, "asset.environment", "its environment is another")
            .and(|| one_of(self.kinds.as_ref(), facts, "asset.kind", "the asset is of another kind"))
            .and(|| one_of(self.owners.as_ref(), facts, "asset.owner", "the owner is another"))
            .and(|| labelled(self.labels.as_ref(), facts))
    }

    fn severe(&self, facts: &Facts) -> Selected {
        let Some(least) = self.min_severity else { return Selected::Yes };
        let Some(severity) = facts.text("item.severity") else { return Selected::Unknown("item.severity") };
        let rank = |word: &str| SEVERITIES.iter().position(|one| *one == word);
        if rank(severity) >= rank(least) { Selected::Yes } else { Selected::No("it is less severe") }
    }

    /// Whether everything that `other` selects is selected too, as far as the stated parts tell.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        fn wider<T: Ord>(mine: &Option<BTreeSet<T>>, theirs: &Option<BTreeSet<T>>) -> bool {
            match (mine, theirs) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(mine), Some(theirs)) => theirs.is_subset(mine),
            }
        }
        let rank = |word: &str| SEVERITIES.iter().position(|one| *one == word);
        let severity = match (self.min_severity, other.min_severity) {
            (None, _) => true,
            (Some(mine), Some(theirs)) => rank(mine) <= rank(theirs),
            (Some(_), None) => false,
        };
        let labels = self.labels.is_none() || self.labels == other.labels;
        !self.is_empty()
            && severity
            && labels
            && wider(&self.classes, &other.classes)
            && wider(&self.environments, &other.environments)
            && wider(&self.kinds, &other.kinds)
            && wider(&self.actions, &other.actions)
            && wider(&self.owners, &other.owners)
    }
}

impl From<&SelectorDoc> for Selector {
    fn from(doc: &SelectorDoc) -> Self {
        Self {
            all: doc.all.unwrap_or(false),
            classes: doc.classes.as_ref().map(|list| list.value.iter().map(|word| word.0.to_owned()).collect()),
            environments: texts(doc.environments.as_ref()),
            min_severity: doc.min_severity.map(|word| word.0),
            kinds: doc.kinds.as_ref().map(|list| list.value.iter().map(|word| word.0.to_owned()).collect()),
            labels: labels(doc.labels.as_ref()),
            actions: texts(doc.actions.as_ref()),
            owners: texts(doc.owners.as_ref()),
        }
    }
}

fn texts(list: Option<&Located<Vec<String>>>) -> Option<BTreeSet<String>> {
    list.map(|list| list.value.iter().cloned().collect())
}

fn labels(map: Option<&Located<BTreeMap<String, OneOrMore>>>) -> Option<BTreeMap<String, BTreeSet<String>>> {
    map.map(|map| map.value.iter().map(|(name, values)| (name.clone(), values.0.iter().cloned().collect())).collect())
}

fn any_of(wanted: Option<&BTreeSet<String>>, has: Option<&[String]>, path: &'static str, no: &'static str) -> Selected {
    match (wanted, has) {
        (None, _) => Selected::Yes,
        // Nothing known could make an empty list fit.
        (Some(wanted), _) if wanted.is_empty() => Selected::No(no),
        (Some(_), None) => Selected::Unknown(path),
        (Some(wanted), Some(has)) if has.iter().any(|one| wanted.contains(one)) => Selected::Yes,
        (Some(_), Some(_)) => Selected::No(no),
    }
}

fn one_of(wanted: Option<&BTreeSet<String>>, facts: &Facts, path: &'static str, no: &'static str) -> Selected {
    let Some(wanted) = wanted else { return Selected::Yes };
    match facts.text(path) {
        _ if wanted.is_empty() => Selected::No(no),
        None => Selected::Unknown(path),
        Some(text) if wanted.contains(text) => Selected::Yes,
        Some(_) => Selected::No(no),
    }
}

fn labelled(wanted: Option<&BTreeMap<String, BTreeSet<String>>>, facts: &Facts) -> Selected {
    const NO: &str = "its labels are others";
    let Some(wanted) = wanted else { return Selected::Yes };
    if wanted.is_empty() {
        return Selected::No(NO);
    }
    match facts.get("asset.labels") {
        Some(Value::Labels(has)) => {
            let fits =
                |(name, values): (&String, &BTreeSet<String>)| has.get(name).is_some_and(|one| values.contains(one));
            if wanted.iter().all(fits) { Selected::Yes } else { Selected::No(NO) }
        }
        _ if wanted.values().any(BTreeSet::is_empty) => Selected::No(NO),
        _ => Selected::Unknown("asset.labels"),
    }
}

/// What a risk is accepted for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Covers {
    /// Ids of findings.
    pub ids: Option<BTreeSet<String>>,
    /// Names of items.
    pub packages: Option<BTreeSet<String>>,
    /// Names of assets.
    pub assets: Option<BTreeSet<String>>,
    /// Environments.
    pub environments: Option<BTreeSet<String>>,
    /// Labels with the values that fit.
    pub labels: Option<BTreeMap<String, BTreeSet<String>>>,
}

impl From<&ExceptionSelectorDoc> for Covers {
    fn from(doc: &ExceptionSelectorDoc) -> Self {
        Self {
            ids: texts(doc.ids.as_ref()),
            packages: texts(doc.packages.as_ref()),
            assets: texts(doc.assets.as_ref()),
            environments: texts(doc.environments.as_ref()),
            labels: labels(doc.labels.as_ref()),
        }
    }
}

impl Covers {
    /// Whether it names anything at all. Environments and labels alone are too wide for an accepted risk.
    pub(crate) fn is_narrow(&self) -> bool {
        [&self.ids, &self.packages, &self.assets].into_iter().any(Option::is_some)
    }

    /// Everything but the ids.
    pub(crate) fn place(&self, facts: &Facts) -> Selected {
        one_of(self.packages.as_ref(), facts, "item.name", "the item is another")
            .and(|| one_of(self.assets.as_ref(), facts, "asset.name", "the asset is another"))
            .and(|| one_of(self.environments.as_ref(), facts, "asset.environment", "its environment is another"))
            .and(|| labelled(self.labels.as_ref(), facts))
    }
}
