//! Policies in force.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Problem;
use super::types::Policies;
use crate::app::App;
use crate::view;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(policies))
}

/// The policies in force, the newer ones that were refused, and what actions have earned.
#[utoipa::path(get, path = "/policies", tag = "policies", operation_id = "policies",
    responses((status = 200, body = Policies)))]
async fn policies(State(app): State<App>) -> Result<Json<Policies>, Problem> {
    view::policies(&app).await.map(Json)
}
