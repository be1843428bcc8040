//! Executors, and vouching for one that was frozen.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Because, Executor};
use super::{MaybeBody, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(trust)).routes(routes!(confirm)).routes(routes!(revoke))
}

/// The executors, newest word first.
#[utoipa::path(get, path = "/executors", tag = "executors", operation_id = "executors",
    responses((status = 200, body = Vec<Executor>)))]
async fn list(State(app): State<App>, visitor: Visitor) -> Json<Vec<Executor>> {
    Json(view::executors(&app, &visitor.sight).await)
}

/// Vouch for an executor that was frozen: its next call pins whatever key it presents.
#[utoipa::path(post, path = "/executors/{id}/trust", tag = "executors", operation_id = "trust_executor",
    params(("id" = String, Path)),
    responses((status = 200, body = Vec<Executor>), (status = 404, body = Problem)))]
async fn trust(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
) -> Result<Json<Vec<Executor>>, Problem> {
    ask::trust(&app, &visitor.name, &id).await?;
    Ok(Json(view::executors(&app, &visitor.sight).await))
}

/// Say that an executor that was let in is one of ours: until then its asset is only looked at.
#[utoipa::path(post, path = "/executors/{id}/confirm", tag = "executors", operation_id = "confirm_executor",
    params(("id" = String, Path)),
    responses((status = 200, body = Vec<Executor>), (status = 404, body = Problem)))]
async fn confirm(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
) -> Result<Json<Vec<Executor>>, Problem> {
    ask::confirm_executor(&app, &visitor.name, &id).await?;
    Ok(Json(view::executors(&app, &visitor.sight).await))
}

/// Put an executor out at once: no certificate of it is in force any more. To come back it is vouched for and enrols anew.
#[utoipa::path(post, path = "/executors/{id}/revoke", tag = "executors", operation_id = "revoke_executor",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = Vec<Executor>), (status = 404, body = Problem)))]
async fn revoke(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    MaybeBody(because): MaybeBody<Because>,
) -> Result<Json<Vec<Executor>>, Problem> {
    ask::revoke_executor(&app, &visitor.name, &id, &because).await?;
    Ok(Json(view::executors(&app, &visitor.sight).await))
}
