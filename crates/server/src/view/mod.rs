//! What people and programs read: rows of the store in the words of the wire. Both API and pages read through here, so
//! they can never disagree.

mod asset;
mod blast;
mod calendar;
mod campaign;
mod case;
mod change;
mod cve;
mod draft;
mod feed;
mod finding;
mod item;
mod ledger;
mod people;
mod policy;
mod rehearsal;
mod remediation;
mod report;
mod retention;
mod status;

pub(crate) use asset::{
    AssetPage, EDGES, asset, asset_history, assets, blind_words, count_assets, facts, package_changes, package_history,
    seen_edges, unknown as unknown_of,
};
pub(crate) use blast::{first as first_leaves, is_asked as blast_is_asked};
pub(crate) use calendar::calendar;
pub(crate) use campaign::{campaign, campaign_of, campaigns};
pub(crate) use case::{case, case_assets, cases, find_case};
pub(crate) use change::{change, changes};
pub(crate) use cve::{cve, is_problem_name};
pub(crate) use draft::play;
pub(crate) use feed::feeds;
pub(crate) use finding::{finding, findings};
pub(crate) use item::{Context, Pages, all_rows, find_item, item, items, listed, target_version};
pub(crate) use ledger::{checkpoint, export_ledger, ledger, verify_ledger};
pub(crate) use people::{connections, notices, people, person, providers, team, teams};
pub(crate) use policy::{policies, span};
pub use remediation::shown_plan;
pub(crate) use remediation::{
    assets_of_remediation, one as remediation_row, plan, plan_document, remediation, remediations,
};
pub(crate) use report::report;
pub(crate) use retention::{held as held_records, retention, retention_preview};
pub(crate) use status::{blind_spots, executors, is_healthy, status, unknown};

use std::collections::BTreeSet;

use serde::Serialize;
use stanch_engine::hold::About;
use stanch_model::hold::HoldScope;
use stanch_model::id::AssetId;
use stanch_model::patch::{DEB, Patch};

use crate::api::Problem;
use crate::api::types::{Coverage, Hold};
use crate::app::App;

/// Rows read at once.
pub(crate) const PAGE: u32 = 1_000;
/// Edges that are read at once.
const MAX_EDGES: u32 = 200_000;

/// The name a value has on the wire.
fn name<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

fn coverage(from: &stanch_model::finding::Coverage) -> Coverage {
    Coverage { with_data: from.with_data, without_feed: from.without_feed, packages: from.packages }
}

/// The holds in force.
pub(crate) async fn holds(app: &App) -> Result<Vec<Hold>, Problem> {
    Ok(app.store.holds().await?.iter().map(hold).collect())
}

/// Those that stop more than a bad patch: what every page shows.
pub(crate) async fn whole_holds(app: &App) -> Result<Vec<Hold>, Problem> {
    let all = app.store.holds().await?;
    Ok(all.iter().filter(|one| !hold_scope(one).is_patch()).map(hold).collect())
}

/// Bad patches that are blocked.
pub(crate) async fn blocked_patches(app: &App) -> Result<Vec<BlockedPatch>, Problem> {
    let patch = |one: &stanch_store::hold::Hold| match hold_scope(one) {
        HoldScope::Version(patch) => Some(BlockedPatch { patch, hold: hold(one) }),
        _ => None,
    };
    Ok(app.store.holds().await?.iter().filter_map(patch).collect())
}

/// A version that must not be brought anywhere.
pub(crate) struct BlockedPatch {
    pub(crate) patch: Patch,
    pub(crate) hold: Hold,
}

impl BlockedPatch {
    /// Whether it is about packages of dpkg, which most are.
    pub(crate) fn is_debs(&self) -> bool {
        self.patch.ecosystem() == DEB
    }
}

/// What a stored hold covers. One that does not read covers everything.
pub(crate) fn hold_scope(from: &stanch_store::hold::Hold) -> HoldScope {
    from.scope.parse().unwrap_or(HoldScope::All)
}

/// Whether a hold of this scope covers whatever might be done to an asset of this environment.
pub(crate) fn covers_whole(scope: &HoldScope, asset: &AssetId, environment: Option<&str>) -> bool {
    let nothing = BTreeSet::new();
    let versions = BTreeSet::new();
    About { asset, environment, policies: &nothing, actions: &nothing, versions: &versions }.is_covered_by(scope)
}

/// The strongest hold that covers whatever an executor might do to its asset.
pub(crate) fn strongest_whole<'a>(
    holds: &'a [stanch_store::hold::Hold],
    asset: &AssetId,
    environment: Option<&str>,
) -> Option<&'a stanch_store::hold::Hold> {
    let whole = holds.iter().filter(|hold| covers_whole(&hold_scope(hold), asset, environment));
    whole.max_by_key(|hold| hold.level)
}

pub(crate) fn hold(from: &stanch_store::hold::Hold) -> Hold {
    Hold {
        id: from.scope.clone(),
        stop_all: from.level == stanch_store::hold::HoldLevel::StopAll,
        reason: from.reason.clone(),
        set_by: from.actor.clone(),
        set_at: from.at,
    }
}
