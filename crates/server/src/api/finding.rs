//! Findings.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Finding, FindingPage};
use super::{Filter, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// Which findings; what is left away does not filter.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FindingFilter {
    /// The asset's id.
    pub(crate) asset: Option<String>,
    /// The item's id.
    pub(crate) item: Option<String>,
    /// Source or binary package.
    pub(crate) package: Option<String>,
    /// The verdict.
    pub(crate) verdict: Option<String>,
    /// The detector.
    pub(crate) detector: Option<String>,
    /// An id or alias, exactly.
    pub(crate) id: Option<String>,
    /// Also those that are closed.
    #[serde(default)]
    pub(crate) closed: bool,
    /// The last id of the page before.
    pub(crate) after: Option<String>,
    /// How many, at most 1000; 200 when left away.
    pub(crate) limit: Option<u32>,
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one))
}

/// A page of findings.
#[utoipa::path(get, path = "/findings", tag = "findings", operation_id = "findings", params(FindingFilter),
    responses((status = 200, body = FindingPage), (status = 400, body = Problem)))]
async fn list(
    State(app): State<App>,
    visitor: Visitor,
    Filter(filter): Filter<FindingFilter>,
) -> Result<Json<FindingPage>, Problem> {
    view::findings(&app, &visitor.sight, &filter).await.map(Json)
}

/// One finding.
#[utoipa::path(get, path = "/findings/{id}", tag = "findings", operation_id = "finding", params(("id" = String, Path)),
    responses((status = 200, body = Finding), (status = 404, body = Problem)))]
async fn one(State(app): State<App>, Segment(id): Segment<String>) -> Result<Json<Finding>, Problem> {
    view::finding(&app, &id).await.map(Json)
}
