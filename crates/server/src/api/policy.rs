//! Policies in force.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Calendar, Draft, Policies, Tried};
use super::{Body, Problem};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(policies)).routes(routes!(calendar)).routes(routes!(draft))
}

/// The policies in force, the newer ones that were refused, and what actions have earned.
#[utoipa::path(get, path = "/policies", tag = "policies", operation_id = "policies",
    responses((status = 200, body = Policies)))]
async fn policies(State(app): State<App>) -> Result<Json<Policies>, Problem> {
    view::policies(&app).await.map(Json)
}

/// When the calendars of the policies are in force, and when what has not ended can start and be over.
#[utoipa::path(get, path = "/calendar", tag = "policies", operation_id = "calendar",
    responses((status = 200, body = Calendar)))]
async fn calendar(State(app): State<App>, visitor: Visitor) -> Result<Json<Calendar>, Problem> {
    view::calendar(&app, &visitor.sight).await.map(Json)
}

/// Try a draft over what happened here. Nothing is changed.
#[utoipa::path(post, path = "/policies/draft", tag = "policies", operation_id = "try_policies", request_body = Draft,
    responses((status = 200, body = Tried), (status = 400, body = Problem)))]
async fn draft(State(app): State<App>, Body(wanted): Body<Draft>) -> Result<Json<Tried>, Problem> {
    ask::draft(&app, wanted).await.map(Json)
}
