//! The whole at a glance: what is exposed, what was done, what waits.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::chart::Chart;
use super::{Page, Shell, page, show};
use crate::api::ItemFilter;
use crate::api::types::{Item, Remediation, Status};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// Items shown, the most urgent first.
const URGENT: u32 = 8;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    status: Status,
    urgent: Vec<Item>,
    waiting: Vec<Remediation>,
    recent: Vec<Remediation>,
    chart: Chart,
    stale: bool,
    snapshots: usize,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor) -> Page {
    let status = view::status(&app, &visitor.sight).await?;
    let first = ItemFilter { limit: Some(URGENT), ..ItemFilter::default() };
    let urgent = view::items(&app, &visitor.sight, &first).await?.items;
    let feeds = view::feeds(&app).await?;
    let all = view::remediations(&app, &visitor.sight, &Default::default()).await?;
    let (waiting, other): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| matches!(one.state.as_str(), "awaiting_approval" | "needs_operator"));
    let recent = other.into_iter().take(8).collect();
    let chart = Chart::new(&status.trend);
    page(&Overview {
        shell: Shell::new(&app, &visitor, "Overview", "Overview")
            .await?
            .live("/api/v1/events", "remediation items facts feeds hold executor"),
        status,
        urgent,
        waiting,
        recent,
        chart,
        stale: feeds.iter().any(|feed| feed.stale),
        snapshots: feeds.iter().filter(|feed| feed.snapshot).count(),
    })
}

impl Overview {
    fn verdict(&self, name: &str) -> u64 {
        self.status.counts.by_verdict.get(name).copied().unwrap_or(0)
    }

    fn looking(&self) -> bool {
        self.status.coverage.packages == 0
    }
}
