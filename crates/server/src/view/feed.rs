//! Feeds: what is in force, and what was tried.

use crate::api::Problem;
use crate::api::types::{Feed, PendingFeed};
use crate::app::App;

/// The data that judgements rest on.
pub(crate) async fn feeds(app: &App) -> Result<Vec<Feed>, Problem> {
    let tried = app.store.feeds().await?;
    let held = app.knowledge.held();
    let mut all: Vec<Feed> = held
        .feeds
        .feeds(app.now())
        .into_iter()
        .map(|feed| Feed {
            name: feed.meta.name.clone(),
            kind: feed.meta.kind.name().to_owned(),
            dated: feed.meta.dated,
            model: feed.meta.model.clone(),
            fetched_at: feed.meta.checked,
            snapshot: feed.meta.snapshot,
            stale: !feed.freshness.is_believed(),
            state: feed.freshness.name().to_owned(),
            source: None,
            records: feed.meta.records,
            error: feed.damaged,
            pending: None,
        })
        .collect();
    for row in tried {
        let place = all.iter().position(|feed| feed.name == row.name);
        let place = place.unwrap_or_else(|| {
            all.push(Feed {
                name: row.name.clone(),
                kind: row.name.split('/').next().unwrap_or_default().to_owned(),
                dated: row.dated,
                model: row.model.clone(),
                fetched_at: None,
                snapshot: false,
                stale: true,
                state: "absent".to_owned(),
                source: None,
                records: 0,
                error: None,
                pending: None,
            });
            all.len() - 1
        });
        if let Some(feed) = all.get_mut(place) {
            feed.source.clone_from(&row.source);
            feed.fetched_at = row.fetched_at.max(feed.fetched_at);
            feed.error = row.error.or(feed.error.take());
            feed.pending = row.review.and_then(|review| serde_json::from_value::<PendingFeed>(review).ok());
        }
    }
    Ok(all)
}
