//! Feeds and blind spots: what judgements rest on, how old it is, and what nobody can see from here.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::{Page, Shell, page, show};
use crate::api::AssetFilter;
use crate::api::types::{Asset, Feed, UnknownFact};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// Assets whose coverage is shown.
const SHOWN: u32 = 20;

#[derive(Template)]
#[template(path = "feeds.html")]
struct FeedsPage {
    shell: Shell,
    feeds: Vec<Feed>,
    assets: Vec<Asset>,
    more: bool,
    unknown: Vec<UnknownFact>,
    blind: Vec<UnknownFact>,
    refreshable: bool,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/feeds", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor) -> Page {
    let first = AssetFilter { limit: Some(SHOWN), ..AssetFilter::default() };
    let view::AssetPage { assets, more } = view::assets(&app, &visitor.sight, &first).await?;
    page(&FeedsPage {
        shell: Shell::new(&app, &visitor, "Feeds", "Feeds and blind spots")
            .await?
            .live("/api/v1/events", "feeds facts"),
        feeds: view::feeds(&app).await?,
        assets,
        more,
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
