//! Holds: the kill switch.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Hold, SetHold};
use super::{Body, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, set)).routes(routes!(release))
}

/// The holds in force.
#[utoipa::path(get, path = "/holds", tag = "holds", operation_id = "holds", responses((status = 200, body = Vec<Hold>)))]
async fn list(State(app): State<App>) -> Result<Json<Vec<Hold>>, Problem> {
    view::holds(&app).await.map(Json)
}

/// Stop what is new, everywhere or in a scope. Undo stays allowed unless everything is stopped.
#[utoipa::path(post, path = "/holds", tag = "holds", operation_id = "set_hold", request_body = SetHold,
    responses((status = 201, body = Hold), (status = 400, body = Problem)))]
async fn set(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<SetHold>,
) -> Result<(StatusCode, Json<Hold>), Problem> {
    let hold = ask::hold(&app, &visitor, wanted).await?;
    Ok((StatusCode::CREATED, Json(hold)))
}

/// End a hold.
#[utoipa::path(post, path = "/holds/{id}/release", tag = "holds", operation_id = "release_hold",
    params(("id" = String, Path)),
    responses((status = 200, body = Vec<Hold>, description = "the holds still in force"), (status = 404, body = Problem)))]
async fn release(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
) -> Result<Json<Vec<Hold>>, Problem> {
    ask::release(&app, &visitor, &id).await.map(Json)
}
