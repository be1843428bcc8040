//! One field that leads to a problem or a host by its name.

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::get;
use serde::Deserialize;

use super::{Page, show};
use crate::api::AssetFilter;
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// What somebody typed.
#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default)]
    q: String,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/search", get(search))
}

async fn search(State(app): State<App>, visitor: Visitor, Query(wanted): Query<Wanted>) -> Page {
    let typed = show::cut(wanted.q.trim(), 255);
    let named = AssetFilter { named: Some(typed.clone()), limit: Some(2), ..AssetFilter::default() };
    let found = view::assets(&app, &visitor.sight, &named).await?.assets;
    let to = match found.as_slice() {
        [one] => format!("/hosts/{}", one.id),
        [] if view::is_problem_name(&typed) => format!("/cves/{}", show::segment(&typed)),
        _ => format!("/hosts?kind=&name={}", show::segment(&typed)),
    };
    Ok(Redirect::to(&to).into_response())
}
