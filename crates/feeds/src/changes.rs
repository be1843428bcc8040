//! What two editions of the feeds say otherwise of whom: what has to be judged or assessed again, and nothing else.
//!
//! Comparing costs as much as the feeds that are another edition hold, whatever the fleet.

use std::collections::BTreeSet;

use jiff::Timestamp;
use stanch_model::assessment::{Enrichment, Epss};

use crate::compiled::Compiled;
use crate::detect::advisory::ecosystem_of;
use crate::knowledge::Knowledge;
use crate::meta::Kind;
use crate::releases;
use crate::vex::Statement;

/// What is said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Ecosystems of which everything has to be judged again: their feed is new or gone, or silence of it means something
    /// else than before.
    pub ecosystems: BTreeSet<String>,
    /// Names of which advisories say something else, each with its ecosystem.
    pub packages: BTreeSet<(String, String)>,
    /// Problems of which somebody says something else of some product.
    pub stated: BTreeSet<String>,
    /// What is known of problems themselves may be something else: [`says_else`] tells for each.
    pub enriched: bool,
}

impl Changes {
    /// Whether no verdict can be another.
    pub fn judges_nothing(&self) -> bool {
        self.ecosystems.is_empty() && self.packages.is_empty() && self.stated.is_empty()
    }
}

/// Compares two editions.
pub fn changes(old: &Knowledge, new: &Knowledge, now: Timestamp) -> Changes {
    let mut changes = Changes::default();
    let same = |one: &Compiled, other: &Knowledge| {
        let is = |known: &Compiled| {
            (&known.meta.name, known.meta.source, known.meta.snapshot)
                == (&one.meta.name, one.meta.source, one.meta.snapshot)
        };
        other.compiled().any(is)
    };
    let differ = |one: &Knowledge, other: &Knowledge| -> Vec<(Kind, String, Option<String>)> {
        let differ = one.compiled().filter(|compiled| !same(compiled, other));
        differ.map(|one| (one.meta.kind, one.meta.name.clone(), one.meta.ecosystem.clone())).collect()
    };
    let feeds: BTreeSet<_> = differ(old, new).into_iter().chain(differ(new, old)).collect();
    for (kind, name, ecosystem) in feeds {
        match kind {
            Kind::Osv => {
                let ecosystem = ecosystem.unwrap_or_default();
                let believed = |knowledge: &Knowledge| {
                    knowledge.freshness(&ecosystem, now).is_some_and(|freshness| freshness.is_believed())
                };
                match (old.index(&ecosystem), new.index(&ecosystem)) {
                    (Some((before, _)), Some((after, _))) if believed(old) == believed(new) => {
                        let names = before.differing(after).into_iter();
                        changes.packages.extend(names.map(|name| (ecosystem.clone(), name.to_owned())));
                    }
                    _ => drop(changes.ecosystems.insert(ecosystem)),
                }
            }
            Kind::Support => {
                let release = name.rsplit('/').next().and_then(releases::of_codename);
                changes.ecosystems.extend(release.map(ecosystem_of));
            }
            Kind::Vex => {
                let before: BTreeSet<String> = old.statements().map(key).collect();
                let after: BTreeSet<String> = new.statements().map(key).collect();
                let only = |here: &Knowledge, there: &BTreeSet<String>| -> BTreeSet<String> {
                    let differ = here.statements().filter(|statement| !there.contains(&key(statement)));
                    differ.flat_map(|statement| statement.ids.iter().cloned()).collect()
                };
                changes.stated.extend(only(old, &after).into_iter().chain(only(new, &before)));
            }
            Kind::Kev | Kind::Epss | Kind::Cvss | Kind::Vulnrichment => changes.enriched = true,
        }
    }
    changes
}

/// What tells one statement from another: all that it says.
fn key(statement: &Statement) -> String {
    // A statement always has a JSON form.
    serde_json::to_string(statement).unwrap_or_default()
}

/// Whether two editions know something else of a CVE. That the same score was given again on a later day is nothing else.
pub fn says_else(old: &Knowledge, new: &Knowledge, cve: &str) -> bool {
    let timeless = |knowledge: &Knowledge| {
        let known = knowledge.enrich(cve);
        let epss = known.epss.map(|Epss { score_e5, percentile_e5, model, date: _ }| (score_e5, percentile_e5, model));
        (epss, Enrichment { epss: None, ..known })
    };
    timeless(old) != timeless(new)
}
