//! Exposure time.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::Report;
use super::{Filter, Problem};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// Of which time.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportFilter {
    /// What was closed in so many days before now, 1 to 366; 30 when left away.
    pub(crate) days: Option<u16>,
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(report))
}

/// How long problems were open, what they waited for, and how much of it persons had to do.
#[utoipa::path(get, path = "/report", tag = "report", operation_id = "report", params(ReportFilter),
    responses((status = 200, body = Report), (status = 400, body = Problem)))]
async fn report(
    State(app): State<App>,
    visitor: Visitor,
    Filter(filter): Filter<ReportFilter>,
) -> Result<Json<Report>, Problem> {
    view::report(&app, &visitor.sight, &filter).await.map(Json)
}
