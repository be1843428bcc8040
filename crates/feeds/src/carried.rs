//! What advisories could name on a host: the names under which it is found when the word on them changes.
//!
//! It errs on the side of naming too much: whatever [`crate::detect::advisory`] could look up has to be in it, or a new
//! advisory would not find its host.

use std::collections::BTreeSet;

use stanch_model::facts::{Carried, HostFacts};

use crate::detect::advisory::{ecosystem_of, sources};
use crate::detect::suite::{self, Suite};

/// The names, each in its ecosystem, with the versions that advisories are compared with.
pub fn carried(facts: &HostFacts) -> BTreeSet<Carried> {
    let own = facts.os.ecosystem();
    let mut all = BTreeSet::new();
    for package in &facts.packages {
        let other = match suite::of(facts, package) {
            Suite::Other(release) => Some(ecosystem_of(release)),
            Suite::Own | Suite::Foreign(_) => None,
        };
        for ecosystem in own.iter().chain(&other) {
            all.extend(sources(package).into_iter().map(|(name, version)| Carried {
                ecosystem: ecosystem.clone(),
                name: name.to_owned(),
                version: version.to_string(),
            }));
        }
    }
    let copies: Vec<_> = facts.copies().collect();
    for component in facts.components.iter().chain(&copies) {
        let source = component.source.as_deref().filter(|source| *source != component.name);
        all.extend(std::iter::once(component.name.as_str()).chain(source).map(|name| Carried {
            ecosystem: component.ecosystem.clone(),
            name: name.to_owned(),
            version: component.version.clone(),
        }));
    }
    all
}
