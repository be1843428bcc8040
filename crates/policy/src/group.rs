//! Redundancy groups: assets that stand in for each other, and how many of them must work at any time. Members are chosen
//! by what the server knows of an asset; its name is not, because a host gives that to itself.

use std::collections::{BTreeMap, BTreeSet};

use stanch_model::asset::Asset;

use crate::document::GroupDoc;
use crate::read::Reader;

/// A redundancy group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// So many of its members must work at any time.
    pub min_healthy: u32,
    environments: Option<BTreeSet<String>>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Group {
    pub(crate) fn from_doc(doc: GroupDoc, reader: &mut Reader<'_>) -> Option<Self> {
        let select = doc.select.value;
        if select.labels.is_none() && select.environments.is_none() {
            let remedy = "name labels, environments or both: what is empty selects nothing";
            reader.error(doc.select.at, "selector-empty", "the group has no members", remedy);
            return None;
        }
        let labels = select.labels.unwrap_or_default().into_iter();
        Some(Self {
            name: doc.name.value.0,
            description: doc.metadata.and_then(|metadata| metadata.description),
            min_healthy: doc.min_healthy.0,
            environments: select.environments.map(|names| names.into_iter().collect()),
            labels: labels.map(|(name, values)| (name, values.0.into_iter().collect())).collect(),
        })
    }

    /// Whether an asset is a member.
    pub fn has(&self, asset: &Asset) -> bool {
        let place = self
            .environments
            .as_ref()
            .is_none_or(|names| asset.environment.as_ref().is_some_and(|environment| names.contains(environment)));
        place
            && self
                .labels
                .iter()
                .all(|(name, values)| asset.labels.get(name).is_some_and(|value| values.contains(value)))
    }
}

#[cfg(test)]
mod tests {
    use stanch_model::asset::AssetKind;

    use crate::bundle::{Bundle, Source};

    use super::*;

    fn load(text: &str) -> Result<Bundle, Vec<String>> {
        let source = Source { name: "groups.yaml".to_owned(), text: text.to_owned() };
        let loaded = Bundle::load(&[source]);
        let told = loaded.problems.iter().map(|problem| format!("{}: {}", problem.at.line, problem.message)).collect();
        loaded.bundle.ok_or(told)
    }

    #[test]
    fn members_are_all_that_every_part_of_the_selector_fits() {
        let text = "apiVersion: stanch/v1\nkind: Group\nname: web\nmin_healthy: 2\nmatch:\n  environments: [prod]\n  \
             labels: {role: [web, edge]}\n";
        let bundle = load(text).unwrap();
        let group = &bundle.groups()[0];
        assert_eq!((group.name.as_str(), group.min_healthy), ("web", 2));
        let asset = |environment: Option<&str>, role: Option<&str>| Asset {
            environment: environment.map(str::to_owned),
            labels: role.map(|role| ("role".to_owned(), role.to_owned())).into_iter().collect(),
            ..Asset::unlabelled(AssetKind::Host, "web", "web")
        };
        assert!(group.has(&asset(Some("prod"), Some("edge"))));
        for other in [
            asset(Some("test"), Some("web")),
            asset(None, Some("web")),
            asset(Some("prod"), Some("db")),
            asset(Some("prod"), None),
        ] {
            assert!(!group.has(&other), "{other:?}");
        }
    }

    #[test]
    fn a_group_that_selects_nothing_is_refused() {
        let told = load("apiVersion: stanch/v1\nkind: Group\nname: web\nmin_healthy: 2\nmatch: {}\n").unwrap_err();
        assert_eq!(told, ["5: the group has no members"]);
    }
}
