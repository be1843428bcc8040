//! All remediations, newest first.

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;

use super::{Page, Shell, page, show};
use crate::api::RemediationFilter;
use crate::api::types::Remediation;
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

#[derive(Template)]
#[template(path = "remediations.html")]
struct Remediations {
    shell: Shell,
    list: Vec<Remediation>,
    filter: RemediationFilter,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/remediations", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor, Query(mut filter): Query<RemediationFilter>) -> Page {
    filter.state.take_if(|state| state.is_empty());
    let list = view::remediations(&app, &visitor.sight, &filter).await?;
    page(&Remediations {
        shell: Shell::new(&app, &visitor, "Remediations", "Remediations").await?.live("/api/v1/events", "remediation"),
        list,
        filter,
    })
}
