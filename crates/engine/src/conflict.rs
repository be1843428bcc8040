//! Which changes get in each other's way: at the same time, on the same asset, on what it hangs on, on what hangs on
//! it, or on those that would stand in for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use stanch_model::calendar::Interval;
use stanch_model::edge::Graph;
use stanch_model::id::{AssetId, RemediationId};

/// The most conflicts that are told one by one.
pub const MAX_CONFLICTS: usize = 200;

/// A change that is planned or runs: what it touches, and from when until when at the most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub id: RemediationId,
    /// What it touches.
    pub assets: BTreeSet<AssetId>,
    /// When.
    pub during: Interval,
}

/// How what the other change touches stands to what this one does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Relation {
    /// The same.
    Same,
    /// This one does not work without it.
    Parent {
        /// Edges between them.
        steps: u32,
    },
    /// It does not work without this one.
    Dependent {
        /// Edges between them.
        steps: u32,
    },
    /// They stand in for each other.
    Group {
        /// What the group is called.
        name: String,
        /// So many of its members may be away at once.
        spare: u32,
    },
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("the same asset"),
            Self::Parent { steps: 1 } => f.write_str("what it depends on or runs on"),
            Self::Parent { steps } => write!(f, "what it depends on, {steps} steps away"),
            Self::Dependent { steps: 1 } => f.write_str("what depends on it or runs on it"),
            Self::Dependent { steps } => write!(f, "what depends on it, {steps} steps away"),
            Self::Group { name, spare } => write!(f, "another of the group `{name}`, which can spare {spare}"),
        }
    }
}

/// One other change that gets in the way at one asset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conflict {
    /// The other change.
    pub with: RemediationId,
    /// What this change touches.
    pub asset: AssetId,
    /// What the other touches.
    pub other: AssetId,
    /// How they stand to each other: the closest way.
    pub relation: Relation,
    /// When both run.
    pub during: Interval,
}

/// What gets in the way of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a conflict that nobody sees is one"]
pub struct Conflicts {
    /// The first of them, by the other change.
    pub found: Vec<Conflict>,
    /// So many more.
    pub more: usize,
    /// Not everything that hangs together was looked at, because it is too much.
    pub cut: bool,
}

/// Other changes that get in the way of this one. The change itself, should it be among them, does not.
pub fn conflicts(change: &Change, others: &[Change], graph: &Graph) -> Conflicts {
    let mut touching: BTreeMap<&AssetId, Vec<&Change>> = BTreeMap::new();
    for other in others.iter().filter(|other| other.id != change.id && !change.during.and(&other.during).is_empty()) {
        for asset in &other.assets {
            touching.entry(asset).or_default().push(other);
        }
    }
    let mut conflicts = Conflicts::default();
    if touching.is_empty() {
        return conflicts;
    }
    let mut found = BTreeSet::new();
    for asset in &change.assets {
        for (near, relation) in around(asset, graph, &mut conflicts.cut) {
            for other in touching.get(&near).into_iter().flatten() {
                found.insert(Conflict {
                    with: other.id.clone(),
                    asset: asset.clone(),
                    other: near.clone(),
                    relation: relation.clone(),
                    during: change.during.and(&other.during),
                });
                if found.len() > MAX_CONFLICTS && found.pop_last().is_some() {
                    conflicts.more += 1;
                }
            }
        }
    }
    conflicts.found = found.into_iter().collect();
    conflicts
}

/// Every asset that stands near this one, by its closest relation.
fn around(asset: &AssetId, graph: &Graph, cut: &mut bool) -> BTreeMap<AssetId, Relation> {
    let mut near = BTreeMap::from([(asset.clone(), Relation::Same)]);
    let (parents, dependents) = (graph.parents(asset), graph.dependents(asset));
    *cut |= parents.cut || dependents.cut;
    for (parent, steps) in parents.assets {
        near.entry(parent).or_insert(Relation::Parent { steps });
    }
    for (dependent, steps) in dependents.assets {
        near.entry(dependent).or_insert(Relation::Dependent { steps });
    }
    for group in graph.groups_of(asset) {
        for member in &group.members {
            near.entry(member.clone())
                .or_insert_with(|| Relation::Group { name: group.name.clone(), spare: group.spare() });
        }
    }
    near
}
