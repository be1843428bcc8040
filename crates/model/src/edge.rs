//! What hangs together: which asset depends on which, what runs on what, and which of them stand in for each other.
//!
//! Edges come from people, clouds and hosts, so they may be wrong: they may go round in a circle, or be far too many.
//! Every walk is bounded in depth and in number, and says when it was cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::AssetId;

/// The longest way that a walk follows.
pub const MAX_DEPTH: u32 = 16;
/// The most assets that a walk comes back with.
pub const MAX_REACHED: usize = 10_000;

/// How one asset hangs on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// It does not work without the other.
    DependsOn,
    /// It is on the other: a service on a host, a container on a machine.
    RunsOn,
    /// It is one of those that the other is made of: a host of a cluster. Nothing follows for the others of them.
    MemberOf,
    /// It is used there: an account that can sign in on a host. Neither needs the other to work.
    UsedOn,
}

impl EdgeKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::DependsOn, Self::RunsOn, Self::MemberOf, Self::UsedOn];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DependsOn => "depends_on",
            Self::RunsOn => "runs_on",
            Self::MemberOf => "member_of",
            Self::UsedOn => "used_on",
        }
    }

    /// Whether the one does not work without the other.
    const fn needs(self) -> bool {
        matches!(self, Self::DependsOn | Self::RunsOn)
    }
}

/// `from` hangs on `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// What hangs on the other.
    pub from: AssetId,
    /// The other.
    pub to: AssetId,
    /// How.
    pub kind: EdgeKind,
}

/// That one asset was seen to call another: maybe it depends on it, which a person has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenEdge {
    /// What calls.
    pub from: AssetId,
    /// What is called.
    pub to: AssetId,
    /// The port there.
    pub port: u16,
    /// The program that calls, as its host says.
    pub program: Option<String>,
    /// When it was seen first.
    pub first_seen_at: Timestamp,
    /// When it was seen last.
    pub last_seen_at: Timestamp,
    /// What became of it.
    pub state: SeenState,
}

/// What people said of a call that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenState {
    /// Nothing yet.
    Proposed,
    /// The one depends on the other.
    Linked,
    /// It does not matter; nobody is asked again.
    Dismissed,
}

impl SeenState {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Linked => "linked",
            Self::Dismissed => "dismissed",
        }
    }
}

/// Assets that stand in for each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RedundancyGroup {
    /// What people call it.
    pub name: String,
    /// So many of them must work at any time.
    pub min_healthy: u32,
    /// The assets.
    pub members: BTreeSet<AssetId>,
}

impl RedundancyGroup {
    /// How many of its members may be away at once.
    pub fn spare(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX).saturating_sub(self.min_healthy)
    }
}

/// Which way a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// What a walk reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "what was reached may not be all there is"]
pub struct Reached {
    /// Every asset with the number of edges on the shortest way to it; not the one the walk began at.
    pub assets: BTreeMap<AssetId, u32>,
    /// There is more that was not looked at.
    pub cut: bool,
}

/// Edges and groups, ready to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    up: BTreeMap<AssetId, BTreeSet<AssetId>>,
    down: BTreeMap<AssetId, BTreeSet<AssetId>>,
    groups: Vec<RedundancyGroup>,
    group_of: BTreeMap<AssetId, Vec<usize>>,
}

impl Graph {
    /// The graph of these. An edge from an asset to itself says nothing and is left out.
    pub fn new(edges: impl IntoIterator<Item = Edge>, groups: impl IntoIterator<Item = RedundancyGroup>) -> Self {
        let mut graph = Self { groups: groups.into_iter().collect(), ..Self::default() };
        for edge in edges {
            if edge.from != edge.to && edge.kind.needs() {
                graph.up.entry(edge.from.clone()).or_default().insert(edge.to.clone());
                graph.down.entry(edge.to).or_default().insert(edge.from);
            }
        }
        for (at, group) in graph.groups.iter().enumerate() {
            for member in &group.members {
                graph.group_of.entry(member.clone()).or_default().push(at);
            }
        }
        graph
    }

    /// What this asset does not work without: what it depends on or runs on, and what those do.
    pub fn parents(&self, asset: &AssetId) -> Reached {
        self.walk(asset, Way::Up)
    }

    /// What does not work without this asset: what depends on it or runs on it, and what does on those.
    pub fn dependents(&self, asset: &AssetId) -> Reached {
        self.walk(asset, Way::Down)
    }

    /// The redundancy groups this asset is in.
    pub fn groups_of(&self, asset: &AssetId) -> impl Iterator<Item = &RedundancyGroup> {
        self.group_of.get(asset).into_iter().flatten().filter_map(|at| self.groups.get(*at))
    }

    fn walk(&self, from: &AssetId, way: Way) -> Reached {
        let edges = match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        };
        let mut reached = Reached::default();
        let mut waiting = VecDeque::from([(from, 0)]);
        while let Some((asset, depth)) = waiting.pop_front() {
            for next in edges.get(asset).into_iter().flatten() {
                if next == from || reached.assets.contains_key(next) {
                    continue;
                }
                if depth >= MAX_DEPTH || reached.assets.len() >= MAX_REACHED {
                    reached.cut = true;
                    continue;
                }
                reached.assets.insert(next.clone(), depth + 1);
                waiting.push_back((next, depth + 1));
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asset(number: u8) -> AssetId {
        AssetId::from_entropy([number; 10])
    }

    fn edge(from: u8, to: u8, kind: EdgeKind) -> Edge {
        Edge { from: asset(from), to: asset(to), kind }
    }

    fn reached(pairs: &[(u8, u32)]) -> BTreeMap<AssetId, u32> {
        pairs.iter().map(|(number, steps)| (asset(*number), *steps)).collect()
    }

    #[test]
    fn a_walk_follows_what_an_asset_hangs_on_and_what_hangs_on_it() {
        let graph = Graph::new(
            [
                edge(1, 2, EdgeKind::DependsOn),
                edge(2, 3, EdgeKind::RunsOn),
                edge(1, 3, EdgeKind::DependsOn),
                edge(3, 9, EdgeKind::MemberOf),
                edge(3, 8, EdgeKind::UsedOn),
            ],
            [],
        );
        assert_eq!(graph.parents(&asset(1)).assets, reached(&[(2, 1), (3, 1)]));
        assert_eq!(graph.dependents(&asset(3)).assets, reached(&[(1, 1), (2, 1)]));
        assert_eq!(graph.parents(&asset(3)).assets, reached(&[]));
    }

    #[test]
    fn a_circle_is_walked_once() {
        let graph = Graph::new([edge(1, 2, EdgeKind::DependsOn), edge(2, 1, EdgeKind::RunsOn)], []);
        assert_eq!(graph.parents(&asset(1)), Reached { assets: reached(&[(2, 1)]), cut: false });
    }

    #[test]
    fn a_long_chain_is_cut_and_says_so() {
        let chain = |length: u8| Graph::new((0..length).map(|n| edge(n, n + 1, EdgeKind::DependsOn)), []);
        assert_eq!(chain(16).parents(&asset(0)).assets.len(), 16);
        assert!(!chain(16).parents(&asset(0)).cut);
        assert_eq!(chain(40).parents(&asset(0)).assets.len(), 16);
        assert!(chain(40).parents(&asset(0)).cut);
    }

    #[test]
    fn a_group_tells_how_many_it_can_spare() {
        let group = |min_healthy| RedundancyGroup {
            name: "web".into(),
            min_healthy,
            members: BTreeSet::from([asset(1), asset(2), asset(3)]),
        };
        assert_eq!((group(2).spare(), group(3).spare(), group(9).spare()), (1, 0, 0));
        let graph = Graph::new([], [group(2)]);
        assert_eq!(graph.groups_of(&asset(2)).map(|group| group.name.as_str()).collect::<Vec<_>>(), ["web"]);
        assert_eq!(graph.groups_of(&asset(9)).count(), 0);
    }

    proptest! {
        #[test]
        fn parents_and_dependents_are_each_others(pairs in prop::collection::vec((0..12_u8, 0..12_u8), 0..30)) {
            let graph = Graph::new(pairs.into_iter().map(|(from, to)| edge(from, to, EdgeKind::DependsOn)), []);
            for from in 0..12 {
                let parents = graph.parents(&asset(from));
                prop_assert!(!parents.cut && !parents.assets.contains_key(&asset(from)));
                for (parent, steps) in parents.assets {
                    let back = graph.dependents(&parent);
                    prop_assert_eq!(back.assets.get(&asset(from)), Some(&steps));
                }
            }
        }
    }
}
