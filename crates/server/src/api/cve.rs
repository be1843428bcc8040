//! One problem over all hosts.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::Cve;
use super::{Filter, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// Which places are told; what is left away does not filter.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct CveFilter {
    /// `open`, `held`, `no_fix`, `in_work`, `excepted`, `unknown`, `fixed`, `gone`, `not_affected`.
    pub(crate) state: Option<String>,
    /// The `next` of the page before.
    pub(crate) after: Option<String>,
    /// How many, at most 1000; 200 when left away.
    pub(crate) limit: Option<u32>,
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(one))
}

/// Where a problem was found, what is done about it and when that can be over, by a CVE or what a publisher calls it.
#[utoipa::path(get, path = "/cves/{id}", tag = "findings", operation_id = "cve", params(("id" = String, Path), CveFilter),
    responses((status = 200, body = Cve), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn one(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    Filter(filter): Filter<CveFilter>,
) -> Result<Json<Cve>, Problem> {
    view::cve(&app, &visitor.sight, &id, &filter).await.map(Json)
}
