//! Change requests: what other systems know of remediations, and say of them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Accepted, ChangeRequest, ChangeWord};
use super::{Body, Problem, Segment};
use crate::app::App;
use crate::auth::{MAX_BODY, Visitor};
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(close))
        .routes(routes!(hook))
}

/// Change requests, the newest first.
#[utoipa::path(get, path = "/changes", tag = "changes", operation_id = "changes",
    responses((status = 200, body = Vec<ChangeRequest>)))]
async fn list(State(app): State<App>, visitor: Visitor) -> Result<Json<Vec<ChangeRequest>>, Problem> {
    view::changes(&app, &visitor.sight, false).await.map(Json)
}

/// One change request.
#[utoipa::path(get, path = "/changes/{id}", tag = "changes", operation_id = "change", params(("id" = String, Path)),
    responses((status = 200, body = ChangeRequest), (status = 404, body = Problem)))]
async fn one(State(app): State<App>, Segment(id): Segment<String>) -> Result<Json<ChangeRequest>, Problem> {
    view::change(&app, &id).await.map(Json)
}

/// Agree to a change request in the place of the other system. It is bound to the plan.
#[utoipa::path(post, path = "/changes/{id}/approve", tag = "changes", operation_id = "approve_change",
    params(("id" = String, Path)), request_body = ChangeWord,
    responses((status = 200, body = ChangeRequest), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn approve(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    Body(word): Body<ChangeWord>,
) -> Result<Json<ChangeRequest>, Problem> {
    ask::change_word(&app, &visitor, &id, "approve", word).await.map(Json)
}

/// Refuse a change request in the place of the other system.
#[utoipa::path(post, path = "/changes/{id}/reject", tag = "changes", operation_id = "reject_change",
    params(("id" = String, Path)), request_body = ChangeWord,
    responses((status = 200, body = ChangeRequest), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn reject(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    Body(word): Body<ChangeWord>,
) -> Result<Json<ChangeRequest>, Problem> {
    ask::change_word(&app, &visitor, &id, "reject", word).await.map(Json)
}

/// Close a change request once what it is about was done and looked at.
#[utoipa::path(post, path = "/changes/{id}/close", tag = "changes", operation_id = "close_change",
    params(("id" = String, Path)), request_body = ChangeWord,
    responses((status = 200, body = ChangeRequest), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn close(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    Body(word): Body<ChangeWord>,
) -> Result<Json<ChangeRequest>, Problem> {
    ask::change_word(&app, &visitor, &id, "close", word).await.map(Json)
}

/// A signed message of another system: `{"do": "approve", "change": ID, "plan": HASH, "by": NAME}`, and `reference`,
/// `reject`, `close`, `open`. Signed as the notices are that go there.
#[utoipa::path(post, path = "/hooks/{name}", tag = "changes", operation_id = "hook", params(("name" = String, Path)),
    request_body(content = String, content_type = "application/json"),
    responses((status = 200, body = Accepted), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn hook(
    State(app): State<App>,
    Segment(name): Segment<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Accepted>, Problem> {
    if body.len() > MAX_BODY {
        return Err(Problem::bad_request("the message is too long"));
    }
    let signature = headers.get("stanch-signature").and_then(|value| value.to_str().ok());
    ask::heard(&app, &name, signature, &body).await.map(Json)
}
