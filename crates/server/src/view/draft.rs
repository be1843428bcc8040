//! A draft of policies over what happened here, and what forged findings could make it do.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use stanch_model::asset::Asset;
use stanch_model::decision::Mode;
use stanch_model::finding::Finding;
use stanch_model::id::{AssetId, ItemId};
use stanch_model::remediation::TaskState;
use stanch_policy::{Bundle, Past, Replay, WorstCase};
use stanch_store::finding::FindingFilter;
use stanch_store::item::{ItemFilter, StoredItem};
use stanch_store::remediation::RemediationFilter;

use super::PAGE;
use crate::app::App;
use crate::record::Record;
use crate::tasks::Decider;

/// Items that are looked at, at most.
const MOST: usize = 100_000;

/// Plays a bundle over every item that was seen since, and looks for its worst case on every asset.
pub(crate) async fn play(
    app: &App,
    bundle: std::sync::Arc<Bundle>,
    since: SignedDuration,
) -> Result<(Replay, WorstCase), stanch_store::ReadError> {
    let now = app.now();
    let from = now.checked_sub(since).unwrap_or(Timestamp::MIN);
    let mut decider = Decider::load(app).await?;
    let assets = assets(app).await?;
    decider.learn(app, assets.keys()).await?;
    let ends = ends(app).await?;
    let mut past = Vec::new();
    for row in items(app, from).await? {
        let Some(asset) = assets.get(&row.item.asset) else { continue };
        let filter = FindingFilter { item: Some(row.item.id.clone()), ..FindingFilter::default() };
        let stored = app.store.findings(&filter, None, PAGE).await?;
        let findings: Vec<&Finding> = stored.iter().map(|stored| &stored.finding).collect();
        let end = ends.get(&row.item.id);
        past.push(Past {
            name: row.item.subject.name().to_owned(),
            asset: row.item.asset.clone(),
            facts: decider.facts(asset, &row, &findings, None),
            at: row.first_seen,
            was: row.decision.as_ref().map_or(Mode::Alert, |decision| decision.mode),
            done: end.is_some_and(|end| end.done),
            harm: end.and_then(|end| end.harm),
            item: row.item.id,
        });
    }
    let places: Vec<_> = assets.values().flat_map(|asset| decider.places(asset)).collect();
    // Blocking: a large past takes a while.
    let played = tokio::task::spawn_blocking(move || {
        (stanch_policy::replay(&bundle, &past, now), stanch_policy::worst_case(&bundle, &places))
    });
    Ok(played.await.unwrap_or_default())
}

async fn assets(app: &App) -> Result<HashMap<AssetId, Asset>, stanch_store::ReadError> {
    let mut all = HashMap::new();
    let mut last = None;
    loop {
        let page = app.store.assets(last.as_ref(), PAGE).await?;
        let Some(end) = page.last() else { return Ok(all) };
        last = Some(end.asset.id.clone());
        all.extend(page.into_iter().map(|stored| (stored.asset.id.clone(), stored.asset)));
    }
}

/// Items that are open, or were seen since.
async fn items(app: &App, from: Timestamp) -> Result<Vec<StoredItem>, stanch_store::ReadError> {
    let mut all: Vec<StoredItem> = Vec::new();
    let mut last = None;
    loop {
        let page = app.store.items(&ItemFilter::default(), last.as_ref(), PAGE).await?;
        let Some(end) = page.last() else { return Ok(all) };
        last = Some(end.cursor.clone());
        all.extend(page.into_iter().filter(|row| row.closed_at.is_none_or(|closed| closed >= from)));
        if all.len() >= MOST {
            return Ok(all);
        }
    }
}

/// What became of what was done about an item.
#[derive(Default)]
struct End {
    done: bool,
    harm: Option<&'static str>,
}

async fn ends(app: &App) -> Result<BTreeMap<ItemId, End>, stanch_store::ReadError> {
    let mut ends: BTreeMap<ItemId, End> = BTreeMap::new();
    let called_wrong: BTreeSet<String> = app.store.tasks_with_outcome("misfire").await?;
    let mut pages = app.store.remediation_pages(RemediationFilter::default());
    while let Some(page) = pages.next().await? {
        for row in page {
            let Some(rollout) = Record::read(&row.body).rollout else { continue };
            for task in rollout.tasks.iter().filter(|task| task.sends > 0) {
                for item in &task.items {
                    let end = ends.entry(item.clone()).or_default();
                    end.done |= task.state == TaskState::Verified && !task.undone.contains(item);
                    let harm = match task.state {
                        _ if called_wrong.contains(task.id.as_str()) => Some("called wrong"),
                        _ if task.failed.is_some() => Some("failed"),
                        TaskState::Undone | TaskState::Undoing => Some("taken back"),
                        TaskState::Failed
                        | TaskState::VerifyFailed
                        | TaskState::UndoFailed
                        | TaskState::Interrupted => Some("failed"),
                        _ if task.undone.contains(item) => Some("taken back"),
                        _ => None,
                    };
                    end.harm = end.harm.or(harm);
                }
            }
        }
    }
    Ok(ends)
}
