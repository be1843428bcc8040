//! Findings to urgency: assesses every open item.

use std::collections::BTreeSet;

use stanch_engine::{AssessInput, Index, assess};
use stanch_model::assessment::Enrichment;
use stanch_model::id::AssetId;
use stanch_store::item::{ItemFilter, StoredItem};
use stanch_store::{CommitError, Transition, Write};

use super::PassError;
use super::ingest::open;
use crate::app::{App, Undecided};
use crate::bus::{Live, Stage};
use crate::record::Detected;
use crate::view::{PAGE, all_rows};

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let mut changed = BTreeSet::new();
    let mut after = None;
    loop {
        let page = app.store.assets(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.asset.id.clone());
        let keys: Vec<String> = page.iter().map(|stored| Detected::key(&stored.asset.id)).collect();
        let mut said = app.store.settings(&keys).await?;
        for (stored, key) in page.into_iter().zip(&keys) {
            let detected = said.remove(key).and_then(|value| serde_json::from_value::<Detected>(value).ok());
            let Some(detected) = detected else { continue };
            if one(app, &stored.asset.id, detected).await? {
                changed.insert(stored.asset.id);
            }
        }
    }
    if !changed.is_empty() {
        app.want(Undecided::On(changed));
        app.bus.nudge(Stage::Decide);
        app.bus.tell(Live::of("items", "", "items were assessed"));
    }
    Ok(())
}

async fn one(app: &App, asset: &AssetId, detected: Detected) -> Result<bool, PassError> {
    if app.assessed(asset, detected.at) {
        return Ok(false);
    }
    // Assessments older than the last run of the detectors are out of date; all others only when people say something
    // else of the asset.
    let anew = app.assess_anew(asset);
    let wanted = ItemFilter { open: Some(true), asset: Some(asset.clone()), ..ItemFilter::default() };
    let rows: Vec<StoredItem> = all_rows(app, wanted)
        .await?
        .into_iter()
        .filter(|row| anew || row.assessment.as_ref().is_none_or(|last| last.at < detected.at))
        .collect();
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
