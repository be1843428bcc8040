//! The hosts, by name, page by page: how each is, whose it is, what is open on it, and what nobody can see there.

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;

use super::{Page, PageError, Shell, page, show};
use crate::api::AssetFilter;
use crate::api::types::Asset;
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// Hosts on a page when nobody says.
const PAGE: u32 = 100;

#[derive(Template)]
#[template(path = "hosts.html")]
struct Hosts {
    shell: Shell,
    hosts: Vec<Asset>,
    more: bool,
    number: u64,
    filter: AssetFilter,
    /// What the blind spot means that is looked at.
    blind: Option<String>,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/hosts", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor, Query(mut filter): Query<AssetFilter>) -> Page {
    // Hosts are meant unless somebody asks for every kind.
    filter.kind.get_or_insert_with(|| "host".to_owned());
    let AssetFilter { kind, named, name, environment, owner, ring, label, state, blind, after, limit: _ } = &mut filter;
    // A form sends its empty fields too.
    for field in [kind, named, name, environment, owner, ring, label, state, blind, after] {
        field.take_if(|text| text.trim().is_empty());
    }
    filter.limit.get_or_insert(PAGE);
    let view::AssetPage { assets, more } =
        view::assets(&app, &visitor.sight, &filter).await.map_err(PageError::from)?;
    page(&Hosts {
        shell: Shell::new(&app, &visitor, "Hosts", "Hosts").await?.live("/api/v1/events", "executor"),
        hosts: assets,
        more,
        number: view::count_assets(&app, &visitor.sight, &filter).await?,
        blind: filter.blind.as_deref().and_then(|name| view::blind_words(&app, name)),
        filter,
    })
}

impl Hosts {
    /// The fields of the form that asks for the next page.
    fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let filter = &self.filter;
        let texts = [
            ("kind", Some(filter.kind.as_deref().unwrap_or_default())),
            ("named", filter.named.as_deref()),
            ("name", filter.name.as_deref()),
            ("environment", filter.environment.as_deref()),
            ("owner", filter.owner.as_deref()),
            ("ring", filter.ring.as_deref()),
            ("label", filter.label.as_deref()),
            ("state", filter.state.as_deref()),
            ("blind", filter.blind.as_deref()),
            ("after", self.hosts.last().map(|last| last.id.as_str())),
        ];
        texts.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    fn is(&self, field: &Option<String>, value: &str) -> bool {
        field.as_deref() == Some(value)
    }
}
