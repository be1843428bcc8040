//! Cases: one problem with everything that is done about it, step by step.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Because, Case, CaseRow, OpenCase, TaskWord};
use super::{Body, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one))
        .routes(routes!(done))
        .routes(routes!(decline))
        .routes(routes!(close))
        .routes(routes!(undo))
}

/// Cases, the newest first.
#[utoipa::path(get, path = "/cases", tag = "cases", operation_id = "cases",
    responses((status = 200, body = Vec<CaseRow>)))]
async fn list(State(app): State<App>, visitor: Visitor) -> Result<Json<Vec<CaseRow>>, Problem> {
    view::cases(&app, &visitor.sight).await.map(Json)
}

/// Open a case for items with a playbook. Every step is planned, and waits for approval, on its own.
#[utoipa::path(post, path = "/cases", tag = "cases", operation_id = "open_case", request_body = OpenCase,
    responses((status = 201, body = Case), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem, description = "`busy`")))]
async fn create(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<OpenCase>,
) -> Result<(StatusCode, Json<Case>), Problem> {
    ask::open_case(&app, &visitor, wanted).await.map(|case| (StatusCode::CREATED, Json(case)))
}

/// One case with everything about it.
#[utoipa::path(get, path = "/cases/{id}", tag = "cases", operation_id = "case", params(("id" = String, Path)),
    responses((status = 200, body = Case), (status = 404, body = Problem)))]
async fn one(State(app): State<App>, Segment(id): Segment<String>) -> Result<Json<Case>, Problem> {
    view::case(&app, &id).await.map(Json)
}

/// Say that a person's task is done. Where a check can see it, the check has the last word.
#[utoipa::path(post, path = "/cases/{id}/tasks/{run}/done", tag = "cases", operation_id = "do_task",
    params(("id" = String, Path), ("run" = usize, Path)), request_body = TaskWord,
    responses((status = 200, body = Case), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
async fn done(
    State(app): State<App>,
    visitor: Visitor,
    Segment((id, run)): Segment<(String, usize)>,
    Body(word): Body<TaskWord>,
) -> Result<Json<Case>, Problem> {
    ask::do_task(&app, &visitor, &id, run, word).await.map(Json)
}

/// Say that a person's task will not be done.
#[utoipa::path(post, path = "/cases/{id}/tasks/{run}/decline", tag = "cases", operation_id = "decline_task",
    params(("id" = String, Path), ("run" = usize, Path)), request_body = TaskWord,
    responses((status = 200, body = Case), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
async fn decline(
    State(app): State<App>,
    visitor: Visitor,
    Segment((id, run)): Segment<(String, usize)>,
    Body(word): Body<TaskWord>,
) -> Result<Json<Case>, Problem> {
    ask::decline_task(&app, &visitor, &id, run, word).await.map(Json)
}

/// End a case: nothing more begins, and what was done stays.
#[utoipa::path(post, path = "/cases/{id}/close", tag = "cases", operation_id = "close_case",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = Case), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn close(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    Body(because): Body<Because>,
) -> Result<Json<Case>, Problem> {
    ask::close_case(&app, &visitor, &id, because).await.map(Json)
}

/// Take back everything that a case did, the last first.
#[utoipa::path(post, path = "/cases/{id}/undo", tag = "cases", operation_id = "undo_case",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = Case), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn undo(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    Body(because): Body<Because>,
) -> Result<Json<Case>, Problem> {
    ask::undo_case(&app, &visitor, &id, because).await.map(Json)
}
