//! Feeds and blind spots: what judgements rest on, how old it is, and what nobody can see from here.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::{Page, Shell, page, show};
use crate::api::types::{Asset, Feed, UnknownFact};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

#[derive(Template)]
#[template(path = "feeds.html")]
struct FeedsPage {
    shell: Shell,
    feeds: Vec<Feed>,
    assets: Vec<Asset>,
    unknown: Vec<UnknownFact>,
    blind: Vec<UnknownFact>,
    refreshable: bool,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/feeds", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor) -> Page {
    page(&FeedsPage {
        shell: Shell::new(&app, &visitor, "Feeds", "Feeds and blind spots")
            .await?
            .live("/api/v1/events", "feeds facts"),
        feeds: view::feeds(&app).await?,
        assets: view::assets(&app, &visitor.sight).await?,
        unknown: view::unknown(&app, &visitor.sight).await?,
        blind: view::blind_spots(&app, &visitor.sight).await?,
        refreshable: !app.config.feeds.is_empty(),
    })
}

impl FeedsPage {
    fn stale(&self) -> usize {
        self.feeds.iter().filter(|feed| feed.stale).count()
    }

    fn part(&self, asset: &Asset) -> u64 {
        u64::from(asset.coverage.with_data) * 200 / u64::from(asset.coverage.packages.max(1))
    }
}
