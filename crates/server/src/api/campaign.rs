//! Taking back everything that a policy did between two times.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Campaign, UndoCampaign};
use super::{Body, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(one))
}

/// Campaigns, the newest first.
#[utoipa::path(get, path = "/campaigns", tag = "campaigns", operation_id = "campaigns",
    responses((status = 200, body = Vec<Campaign>)))]
async fn list(State(app): State<App>) -> Result<Json<Vec<Campaign>>, Problem> {
    view::campaigns(&app).await.map(Json)
}

/// Take back everything that a policy did between two times, or only show what that would be.
#[utoipa::path(post, path = "/campaigns", tag = "campaigns", operation_id = "undo_campaign", request_body = UndoCampaign,
    responses((status = 201, body = Campaign), (status = 200, body = Campaign, description = "only shown"),
        (status = 400, body = Problem), (status = 409, body = Problem, description = "`nothing_done`")))]
async fn create(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<UndoCampaign>,
) -> Result<(StatusCode, Json<Campaign>), Problem> {
    let begun = if wanted.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    ask::undo_campaign(&app, &visitor.name, wanted).await.map(|campaign| (begun, Json(campaign)))
}

/// One campaign and how far it has come.
#[utoipa::path(get, path = "/campaigns/{id}", tag = "campaigns", operation_id = "campaign",
    params(("id" = String, Path)), responses((status = 200, body = Campaign), (status = 404, body = Problem)))]
async fn one(State(app): State<App>, Segment(id): Segment<String>) -> Result<Json<Campaign>, Problem> {
    view::campaign(&app, &id).await.map(Json)
}
