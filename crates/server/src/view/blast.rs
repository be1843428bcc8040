//! What a plan that waits cuts off, as whoever has to agree reads it.

use std::collections::{BTreeSet, HashMap};

use stanch_engine::blast::{Blast, blast};
use stanch_engine::rollout::Group;
use stanch_model::edge::{Graph, Reached};
use stanch_model::id::AssetId;
use stanch_model::plan::{Leaf, Plan};
use stanch_model::remediation::RemediationState as S;

use super::{MAX_EDGES, name};
use crate::api::Problem;
use crate::api::types::{BlastRadius, CutPort, GroupNow};
use crate::app::App;
use crate::tasks::Estate;

/// Targets of which it is told, and dependents that are named of each.
const SHOWN: usize = 20;

/// Whether anybody may still ask what a plan will cut off.
pub(crate) const fn is_asked(state: &S) -> bool {
    matches!(state, S::AwaitingApproval | S::Approved | S::Scheduled | S::Suggested)
}

/// The leaves of a plan whose targets come first.
pub(crate) fn first(plan: &Plan) -> impl Iterator<Item = &Leaf> {
    let order = plan.waves.iter().flat_map(|wave| &wave.assets);
    order.filter_map(|asset| plan.leaves.iter().find(|leaf| leaf.asset == *asset)).take(SHOWN)
}

/// What the first targets of a plan lose, and what hangs on them.
pub(super) async fn radius(app: &App, plan: &Plan) -> Result<Vec<BlastRadius>, Problem> {
    let groups = match app.policies.held().bundle.groups().is_empty() {
        true => Estate::default(),
        // Groups are made of labels, so who is in them is known only once every asset was looked at.
        false => Estate::read(app).await?,
    };
    let targets: BTreeSet<AssetId> = first(plan).map(|leaf| leaf.asset.clone()).collect();
    // All edges are read only where some lead to a target at all.
    let graph = match app.store.edges_at(&targets).await?.is_empty() {
        true => Graph::default(),
        false => Graph::new(app.store.edges(MAX_EDGES).await?, []),
    };
    let reached: Vec<(&Leaf, Reached)> = first(plan).map(|leaf| (leaf, graph.dependents(&leaf.asset))).collect();
    let mut wanted: BTreeSet<AssetId> = BTreeSet::new();
    for (leaf, dependents) in &reached {
        wanted.insert(leaf.asset.clone());
        wanted.extend(nearest(dependents).cloned());
    }
    let known = app.store.assets_named(&wanted).await?.into_iter();
    let names: HashMap<AssetId, String> = known.map(|row| (row.asset.id, row.asset.name)).collect();
    let named = |id: &AssetId| names.get(id).cloned().unwrap_or_else(|| id.to_string());
    let mut all = Vec::with_capacity(reached.len());
    for (leaf, dependents) in &reached {
        let facts = app.store.facts(&leaf.asset).await?.map(|stored| stored.facts);
        let told = facts.as_ref().map(|facts| blast(leaf, facts));
        let mine = groups.groups.iter().filter(|(_, group)| group.members.contains(&leaf.asset));
        all.push(BlastRadius {
            dependents: nearest(dependents).map(named).collect(),
            dependents_count: u32::try_from(dependents.assets.len()).unwrap_or(u32::MAX),
            more_dependents: dependents.cut,
            groups: mine.map(|(name, group)| now(name, group)).collect(),
            measured_at: facts.as_ref().map(|facts| facts.collected_at),
            ..wire(&leaf.asset, named(&leaf.asset), leaf, told)
        });
    }
    Ok(all)
}

/// The dependents that are fewest edges away.
fn nearest(reached: &Reached) -> impl Iterator<Item = &AssetId> {
    let mut order: Vec<(&u32, &AssetId)> = reached.assets.iter().map(|(asset, steps)| (steps, asset)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, asset)| asset).take(SHOWN)
}

fn now(name: &str, group: &Group) -> GroupNow {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    GroupNow {
        name: name.to_owned(),
        members: count(group.members.len()),
        at_work: count(group.members.difference(&group.broken).count()),
        min_healthy: group.min_healthy,
    }
}

fn wire(asset: &AssetId, asset_name: String, leaf: &Leaf, told: Option<Blast>) -> BlastRadius {
    let told = told.unwrap_or_else(|| Blast::unmeasured(leaf, "nothing was read of it yet"));
    let port = |cut: stanch_engine::blast::Cut| CutPort {
        protocol: cut.protocol,
        port: cut.port,
        program: cut.program,
        local: cut.local,
        connections: cut.connections,
    };
    BlastRadius {
        asset: asset.to_string(),
        asset_name,
        disruption: name(&told.disruption),
        cut: told.cut.into_iter().map(port).collect(),
        untouched_ports: told.untouched,
        sessions: told.sessions.known().copied(),
        unknown: told.unknown,
        measured_at: None,
        dependents: Vec::new(),
        dependents_count: 0,
        more_dependents: false,
        groups: Vec::new(),
    }
}
