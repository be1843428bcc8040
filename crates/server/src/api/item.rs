//! Work items.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{ItemDetail, ItemList};
use super::{Filter, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// Which items; what is left away does not filter.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemFilter {
    /// The asset's id.
    pub(crate) asset: Option<String>,
    /// `source_package`, `service`, `reboot`, `support`, `component`.
    pub(crate) kind: Option<String>,
    /// The worst verdict.
    pub(crate) verdict: Option<String>,
    /// Outcome of the deployer table.
    pub(crate) deployer: Option<String>,
    /// Only those for which something can be done.
    #[serde(default)]
    pub(crate) actionable: bool,
    /// A part of the short name.
    pub(crate) name: Option<String>,
    /// The `next` of the page before.
    pub(crate) after: Option<String>,
    /// How many, at most 1000; 200 when left away.
    pub(crate) limit: Option<u32>,
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(explain))
}

/// The open items, most urgent first.
#[utoipa::path(get, path = "/items", tag = "items", operation_id = "items", params(ItemFilter),
    responses((status = 200, body = ItemList), (status = 400, body = Problem)))]
async fn list(
    State(app): State<App>,
    visitor: Visitor,
    Filter(filter): Filter<ItemFilter>,
) -> Result<Json<ItemList>, Problem> {
    view::items(&app, &visitor.sight, &filter).await.map(Json)
}

/// One item with its reasons; by id, or by its short name where only one asset has an item of that name.
#[utoipa::path(get, path = "/items/{id}", tag = "items", operation_id = "item", params(("id" = String, Path)),
    responses((status = 200, body = ItemDetail), (status = 404, body = Problem)))]
async fn explain(State(app): State<App>, Segment(id): Segment<String>) -> Result<Json<ItemDetail>, Problem> {
    view::item(&app, &id).await.map(Json)
}
