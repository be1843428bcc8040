//! Tokens with which hosts get in.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{CreateEnrolment, CreatedEnrolment, Enrolment};
use super::{Body, Problem, Segment};
use crate::app::App;
use crate::ask;
use crate::auth::Visitor;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// The enrolment tokens, oldest first, whether they still work or not.
#[utoipa::path(get, path = "/enrolments", tag = "executors", operation_id = "enrolments",
    responses((status = 200, body = Vec<Enrolment>)))]
async fn list(State(app): State<App>) -> Result<Json<Vec<Enrolment>>, Problem> {
    ask::enrolment::list(&app).await.map(Json)
}

/// Make an enrolment token. It is shown in this answer only.
#[utoipa::path(post, path = "/enrolments", tag = "executors", operation_id = "create_enrolment",
    request_body = CreateEnrolment,
    responses((status = 201, body = CreatedEnrolment), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<CreateEnrolment>,
) -> Result<(StatusCode, Json<CreatedEnrolment>), Problem> {
    let made = ask::enrolment::create(&app, &visitor.name, &wanted).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Take an enrolment token away. Hosts that got in with it stay.
#[utoipa::path(post, path = "/enrolments/{name}/revoke", tag = "executors", operation_id = "revoke_enrolment",
    params(("name" = String, Path)), responses((status = 200, body = Vec<Enrolment>), (status = 404, body = Problem)))]
async fn revoke(
    State(app): State<App>,
    visitor: Visitor,
    Segment(name): Segment<String>,
) -> Result<Json<Vec<Enrolment>>, Problem> {
    ask::enrolment::revoke(&app, &visitor.name, &name).await?;
    ask::enrolment::list(&app).await.map(Json)
}
