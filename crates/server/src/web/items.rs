//! The work items, most urgent first, to choose from.

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use stanch_store::item::ItemCounts;

use super::{Page, PageError, Shell, page, show};
use crate::api::types::ItemList;
use crate::api::{ItemFilter, Problem};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

#[derive(Template)]
#[template(path = "items.html")]
struct Items {
    shell: Shell,
    list: ItemList,
    filter: ItemFilter,
    counts: ItemCounts,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/items", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor, Query(mut filter): Query<ItemFilter>) -> Page {
    // A form sends its empty fields too.
    for field in [&mut filter.asset, &mut filter.kind, &mut filter.verdict, &mut filter.deployer, &mut filter.name] {
        field.take_if(|text| text.is_empty());
    }
    filter.after.take_if(|text| text.is_empty());
    let list = view::items(&app, &visitor.sight, &filter).await.map_err(PageError::from)?;
    let counts = app.store.count_items(visitor.sight.among().as_ref(), app.now()).await.map_err(Problem::from)?;
    page(&Items {
        shell: Shell::new(&app, &visitor, "Items", "Work items").await?.live("/api/v1/events", "items remediation"),
        list,
        filter,
        counts,
    })
}

impl Items {
    /// What the next page narrows by too.
    fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let filter = &self.filter;
        let texts = [
            ("name", &filter.name),
            ("verdict", &filter.verdict),
            ("deployer", &filter.deployer),
            ("kind", &filter.kind),
            ("asset", &filter.asset),
            ("after", &self.list.next),
        ];
        let texts = texts.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        texts.chain(filter.actionable.then_some(("actionable", "true")))
    }

    fn is(&self, field: &Option<String>, value: &str) -> bool {
        field.as_deref() == Some(value)
    }
}
