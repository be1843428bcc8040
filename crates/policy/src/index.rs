//! Which policies can be about an item at all, by its classes and its environment: a bundle may have hundreds of
//! rules, and an item is decided as often as anything about it changes.

use std::collections::BTreeMap;

use crate::facts::Facts;
use crate::policy::Policy;

/// Policies by class and environment; no class and no environment stand for policies that do not ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    by_class: BTreeMap<Option<String>, BTreeMap<Option<String>, Vec<usize>>>,
}

impl Index {
    pub(crate) fn of(policies: &[Policy]) -> Self {
        let mut index = Self::default();
        for (at, policy) in policies.iter().enumerate() {
            // What is done about other updaters is about all that a policy does on an asset, whatever its class.
            let classes = policy.select.classes.as_ref().filter(|_| !policy.takes_over());
            for class in keys(classes) {
                let by_environment = index.by_class.entry(class).or_default();
                for environment in keys(policy.select.environments.as_ref()) {
                    by_environment.entry(environment).or_default().push(at);
                }
            }
        }
        index
    }

    /// The places of policies that may be about an item, in order. What nobody knows leaves every policy in.
    pub(crate) fn candidates(&self, facts: &Facts) -> Vec<usize> {
        let (classes, environment) = (facts.texts("item.classes"), facts.text("asset.environment"));
        let mut found: Vec<usize> = self
            .by_class
            .iter()
            .filter(|(class, _)| match (class, classes) {
                (Some(class), Some(classes)) => classes.contains(class),
                _ => true,
            })
            .flat_map(|(_, by_environment)| by_environment.iter())
            .filter(|(of, _)| match (of, environment) {
                (Some(of), Some(environment)) => of == environment,
                _ => true,
            })
            .flat_map(|(_, places)| places.iter().copied())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn keys(part: Option<&std::collections::BTreeSet<String>>) -> Vec<Option<String>> {
    part.map_or_else(|| vec![None], |values| values.iter().cloned().map(Some).collect())
}
