//! Change requests in the words of the wire, and other changes that get in the way of one.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use stanch_engine::conflict::{Change as Planned, conflicts};
use stanch_engine::rollout::Rollout;
use stanch_model::calendar::Interval;
use stanch_model::edge::{Graph, RedundancyGroup};
use stanch_model::id::{AssetId, ChangeId, RemediationId};
use stanch_model::remediation::RemediationState as S;
use stanch_store::change::{ChangeFilter, StoredChange};
use stanch_store::remediation::{RemediationFilter, StoredRemediation};

use super::calendar::foreseen;
use super::{MAX_EDGES, PAGE};
use crate::api::Problem;
use crate::api::types::{ChangeConflict, ChangeRequest};
use crate::app::App;
use crate::auth::Sight;
use crate::record::{Change, Record};
use crate::tasks::Estate;

/// Change requests that are seen, the newest first.
pub(crate) async fn changes(app: &App, sight: &Sight, open: bool) -> Result<Vec<ChangeRequest>, Problem> {
    let mut all = Vec::new();
    for stored in app.store.changes(&ChangeFilter { live: open, ..ChangeFilter::default() }, PAGE).await? {
        let seen = match sight.is_everything() {
            true => true,
            false => {
                let row = app.store.remediation(&stored.remediation).await?;
                row.is_some_and(|row| row.assets.iter().any(|asset| sight.covers(asset)))
            }
        };
        all.extend(wire(&stored).filter(|_| seen));
    }
    Ok(all)
}

/// The change requests of a remediation.
pub(super) async fn changes_of(app: &App, remediation: &RemediationId) -> Result<Vec<ChangeRequest>, Problem> {
    let filter = ChangeFilter { remediation: Some(remediation.clone()), live: false };
    Ok(app.store.changes(&filter, PAGE).await?.iter().filter_map(wire).collect())
}

/// One change request.
pub(crate) async fn change(app: &App, id: &str) -> Result<ChangeRequest, Problem> {
    let missing = || Problem::not_found("change request", id);
    let known: ChangeId = id.parse().map_err(|_| missing())?;
    let stored = app.store.change(&known).await?.ok_or_else(missing)?;
    wire(&stored).ok_or_else(missing)
}

fn wire(stored: &StoredChange) -> Option<ChangeRequest> {
    let change = Change::read(&stored.body)?;
    Some(ChangeRequest {
        id: stored.id.to_string(),
        remediation: stored.remediation.to_string(),
        connection: stored.connection.clone(),
        class: change.class.name().to_owned(),
        state: change.state.name().to_owned(),
        reference: change.reference,
        plan: change.plan.to_string(),
        by: change.by,
        why: change.why,
        created_at: stored.created_at,
        updated_at: stored.updated_at,
    })
}

/// From when until when a rollout may be at work: as it is foreseen, or else as long as it may start anything.
fn during(app: &App, row: &StoredRemediation, rollout: &Rollout, now: Timestamp) -> Option<Interval> {
    if row.state.is_over() || matches!(row.state, S::AwaitingConfirmation | S::PartiallyRemediated | S::NeedsOperator) {
        return None;
    }
    let (from, until) = match foreseen(app, row, rollout, now) {
        Some(told) => {
            let starts_at = told.typical.waves.first().map(|wave| wave.starts_at);
            (starts_at.unwrap_or(now), told.slow.ending.at().unwrap_or(rollout.valid_until))
        }
        None => (now, rollout.valid_until),
    };
    Some(Interval::new(from, until.max(from)))
}

/// Other changes that are planned or run at the same time where this one does, on what it hangs on or what hangs on it,
/// or on those that would stand in for it.
pub(super) async fn conflicts_of(
    app: &App,
    row: &StoredRemediation,
    rollout: &Rollout,
) -> Result<(Vec<ChangeConflict>, bool), Problem> {
    let now = app.now();
    let planned = |row: &StoredRemediation, rollout: &Rollout| {
        let assets: BTreeSet<AssetId> = rollout.tasks.iter().map(|task| task.asset.clone()).collect();
        Some(Planned { id: row.id.clone(), assets, during: during(app, row, rollout, now)? })
    };
    let Some(mine) = planned(row, rollout) else { return Ok((Vec::new(), false)) };
    let filter = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    let rows = app.store.all_remediations(&filter).await?;
    let others: Vec<Planned> = rows
        .iter()
        .filter(|other| other.id != row.id)
        .filter_map(|other| planned(other, &Record::read(&other.body).rollout?))
        .collect();
    if others.is_empty() {
        return Ok((Vec::new(), false));
    }
    let estate = Estate::read(app).await?;
    let groups = estate.groups.into_iter().map(|(name, group)| RedundancyGroup {
        name,
        min_healthy: group.min_healthy,
        members: group.members,
    });
    let graph = Graph::new(app.store.edges(MAX_EDGES).await?, groups);
    let found = conflicts(&mine, &others, &graph);
    let ends: BTreeSet<AssetId> = found.found.iter().flat_map(|one| [one.asset.clone(), one.other.clone()]).collect();
    let known = app.store.assets_named(&ends).await?.into_iter();
    let names: HashMap<AssetId, String> = known.map(|row| (row.asset.id, row.asset.name)).collect();
    let named = |id: &AssetId| names.get(id).cloned().unwrap_or_else(|| id.to_string());
    let more = found.cut || found.more > 0;
    let told = found.found.iter().map(|one| ChangeConflict {
        with: one.with.to_string(),
        asset: named(&one.asset),
        other: named(&one.other),
        relation: one.relation.to_string(),
        from: one.during.start,
        until: one.during.end,
    });
    Ok((told.collect(), more))
}
