//! Findings to urgency: assesses every open item.

use std::collections::BTreeSet;

use stanch_engine::{AssessInput, Index, assess};
use stanch_model::assessment::Enrichment;
use stanch_model::edge::Graph;
use stanch_model::id::AssetId;
use stanch_store::asset::StoredAsset;
use stanch_store::detection::Detection;
use stanch_store::item::{ItemFilter, StoredItem};
use stanch_store::touched::{Untouch, Work};
use stanch_store::{CommitError, Write};

use super::PassError;
use super::ingest::open;
use super::taken::Taken;
use super::together::together;
use crate::app::{App, Unassessed};
use crate::bus::{Live, Stage};
use crate::view::{PAGE, all_rows};

/// Edges that are read at once; what hangs on more is counted as far as they go.
const MAX_EDGES: u32 = 200_000;

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let unassessed = app.take_unassessed();
    if !unassessed.everything && unassessed.on.is_empty() {
        return Ok(());
    }
    let taken = Taken::new(app, unassessed, |app, left| {
        app.assess_after_all(left);
        app.end_assessing();
    });
    if let Some(unassessed) = taken.get() {
        assess_all(app, unassessed).await?;
    }
    taken.done();
    app.end_assessing();
    Ok(())
}

async fn assess_all(app: &App, wanted: &Unassessed) -> Result<(), PassError> {
    let named: BTreeSet<AssetId> = wanted.on.keys().cloned().collect();
    let graph = Graph::new(app.store.edges(MAX_EDGES).await?, []);
    let mut after = None;
    loop {
        let page = match wanted.everything {
            true => app.store.assets(after.as_ref(), PAGE).await?,
            false => app.store.assets_named(&named).await?,
        };
        after = page.last().map(|last| last.asset.id.clone());
        let more = page.len() == PAGE as usize && wanted.everything;
        let mut said = app.store.detections(page.iter().map(|stored| &stored.asset.id)).await?;
        let mut jobs = Vec::new();
        for stored in page {
            let Some(detected) = said.remove(&stored.asset.id) else { continue };
            let anew = wanted.on.get(&stored.asset.id).copied().unwrap_or_default();
            let dependents = graph.dependents(&stored.asset.id).assets.len();
            jobs.push((stored, detected, anew, dependents));
        }
        let done = together(jobs, |(stored, detected, anew, dependents)| {
            let app = app.clone();
            async move {
                if one(&app, &stored, detected, anew, dependents).await? {
                    app.want([stored.asset.id]);
                }
                Ok(())
            }
        });
        done.await?;
        app.bus.nudge(Stage::Decide);
        app.bus.tell(Live::of("items", "", "items were assessed"));
        if !more {
            return Ok(());
        }
    }
}

async fn one(
    app: &App,
    stored: &StoredAsset,
    detected: Detection,
    anew: bool,
    dependents: usize,
) -> Result<bool, PassError> {
    let asset = &stored.asset.id;
    // Assessments older than the last run of the detectors are out of date; all others only when people say something
    // else of the asset.
    let wanted = ItemFilter { open: Some(true), asset: Some(asset.clone()), ..ItemFilter::default() };
    let rows: Vec<StoredItem> = all_rows(app, wanted)
        .await?
        .into_iter()
        .filter(|row| anew || row.assessment.as_ref().is_none_or(|last| last.at < detected.at))
        .collect();
    // By the edition that the list of what is touched was made for, so that what it says is what is taken off.
    let (edition, held) = match app.edition() {
        Some(edition) => (Some(edition.number), edition.held),
        None => (None, app.knowledge.held()),
    };
    let done = edition.filter(|_| anew).map(|edition| Untouch { work: Work::Assess, edition, asset: asset.clone() });
    if rows.is_empty() {
        untouch(app, done).await?;
        return Ok(false);
    }
    let stored = stored.clone();
    let facts = app.store.facts(asset).await?.map(|facts| facts.facts);
    let findings = open(app, asset).await?;
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
                    dependents: u32::try_from(dependents).unwrap_or(u32::MAX),
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
        match app.store.put(Write::PutAssessments(chunk.to_vec())).await {
            // The item was closed meanwhile.
            Err(CommitError::Exists { .. } | CommitError::Missing { .. }) => return Ok(false),
            done => drop(done?),
        }
    }
    untouch(app, done).await?;
    Ok(true)
}

async fn untouch(app: &App, done: Option<Untouch>) -> Result<(), PassError> {
    if let Some(done) = done {
        app.store.put(Write::Untouch(done)).await?;
    }
    Ok(())
}
