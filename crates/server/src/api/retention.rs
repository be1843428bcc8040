//! How long what is old is kept.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{HoldRecords, RecordsHeld, Retention, RetentionPreview};
use super::{Body, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(preview)).routes(routes!(hold)).routes(routes!(lift))
}

/// What is kept, for how long, and of what nothing is taken away.
#[utoipa::path(get, path = "/retention", tag = "retention", operation_id = "retention",
    responses((status = 200, body = Retention)))]
async fn show(State(app): State<App>) -> Result<Json<Retention>, Problem> {
    view::retention(&app).await.map(Json)
}

/// What would go if it were taken away now.
#[utoipa::path(get, path = "/retention/preview", tag = "retention", operation_id = "retention_preview",
    responses((status = 200, body = Vec<RetentionPreview>)))]
async fn preview(State(app): State<App>) -> Result<Json<Vec<RetentionPreview>>, Problem> {
    view::retention_preview(&app).await.map(Json)
}

/// Take nothing of a remediation or an asset away until it is lifted.
#[utoipa::path(post, path = "/retention/holds", tag = "retention", operation_id = "hold_records",
    request_body = HoldRecords,
    responses((status = 201, body = RecordsHeld), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn hold(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<HoldRecords>,
) -> Result<(StatusCode, Json<RecordsHeld>), Problem> {
    let held = ask::hold_records(&app, &visitor, wanted).await?;
    Ok((StatusCode::CREATED, Json(held)))
}

/// Let the records of a remediation or an asset go again.
#[utoipa::path(post, path = "/retention/holds/{name}/lift", tag = "retention", operation_id = "lift_records",
    params(("name" = String, Path)),
    responses((status = 200, body = Vec<RecordsHeld>, description = "what is still held"), (status = 404, body = Problem)))]
async fn lift(
    State(app): State<App>,
    visitor: Visitor,
    Segment(name): Segment<String>,
) -> Result<Json<Vec<RecordsHeld>>, Problem> {
    ask::lift_records(&app, &visitor, &name).await.map(Json)
}
