//! The work items, most urgent first, to choose from.

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;

use super::{Page, PageError, Shell, page, show};
use crate::api::ItemFilter;
use crate::api::types::ItemList;
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

#[derive(Template)]
#[template(path = "items.html")]
struct Items {
    shell: Shell,
    list: ItemList,
    filter: ItemFilter,
    actionable: u64,
    suppressed: u64,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/items", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor, Query(mut filter): Query<ItemFilter>) -> Page {
    // A form sends its empty fields too.
    for field in [&mut filter.asset, &mut filter.kind, &mut filter.verdict, &mut filter.deployer, &mut filter.name] {
        field.take_if(|text| text.is_empty());
    }
    let list = view::items(&app, &visitor.sight, &filter).await.map_err(PageError::from)?;
    let ready = |suppressed: bool| {
        list.items.iter().filter(|item| item.action.is_some() && item.suppressed.is_some() == suppressed).count() as u64
    };
    page(&Items {
        shell: Shell::new(&app, &visitor, "Items", "Work items").await?.live("/api/v1/events", "items remediation"),
        actionable: ready(false),
        suppressed: ready(true),
        list,
        filter,
    })
}

impl Items {
    fn is(&self, field: &Option<String>, value: &str) -> bool {
        field.as_deref() == Some(value)
    }
}
