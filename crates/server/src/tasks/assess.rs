//! Findings to urgency: assesses every open item.

use stanch_engine::{AssessInput, Index, assess};
use stanch_model::assessment::Enrichment;
use stanch_model::id::AssetId;
use stanch_store::item::StoredItem;
use stanch_store::{CommitError, Transition, Write};

use super::PassError;
use super::ingest::open;
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::record::Detected;

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let mut changed = false;
    for stored in app.store.assets(None, 1_000).await? {
        changed |= one(app, &stored.asset.id).await?;
    }
    if changed {
        app.want_decisions();
        app.bus.nudge(Stage::Decide);
        app.bus.tell(Live::of("items", "", "items were assessed"));
    }
    Ok(())
}

async fn one(app: &App, asset: &AssetId) -> Result<bool, PassError> {
    let Some(detected) = app.store.setting(&Detected::key(asset)).await? else { return Ok(false) };
    let Ok(detected) = serde_json::from_value::<Detected>(detected) else { return Ok(false) };
    if app.assessed(asset, detected.at) {
        return Ok(false);
    }
    // Assessments older than the last run of the detectors are out of date; all others are not.
    let rows = crate::view::open_rows(app, Some(asset)).await?;
    let rows: Vec<StoredItem> =
        rows.into_iter().filter(|row| row.assessment.as_ref().is_none_or(|last| last.at < detected.at)).collect();
    if rows.is_empty() {
        app.set_assessed(asset, detected.at);
        return Ok(false);
    }
    let Some(stored) = app.store.asset(asset).await? else { return Ok(false) };
    let facts = app.store.facts(asset).await?.map(|facts| facts.facts);
    let findings = open(app, asset).await?;
    let held = app.knowledge.held();
    let now = app.now();
    let assessments = tokio::task::spawn_blocking(move || {
        let index = Index::new(&findings);
        let enrich = |id: &str| Some(held.feeds.enrich(id)).filter(|known| *known != Enrichment::default());
        rows.iter()
            .map(|row| {
                let input = AssessInput {
                    item: &row.item,
                    members: &index.members(&row.item),
                    asset: &stored.asset,
                    facts: facts.as_ref(),
                    dependents: 0,
                    first_seen: row.first_seen,
                    feeds: &detected.feeds,
                    enrich: &enrich,
                };
                assess(&input, now)
            })
            .collect::<Vec<_>>()
    })
    .await?;
    for chunk in assessments.chunks(200) {
        let writes = chunk.iter().cloned().map(Write::PutAssessment).collect();
        match app.store.commit(Transition { writes, ..Transition::default() }).await {
            // The item was closed meanwhile.
            Err(CommitError::Exists { .. } | CommitError::Missing { .. }) => return Ok(false),
            done => drop(done?),
        }
    }
    app.set_assessed(asset, detected.at);
    Ok(true)
}
