//! Connections to the outside, and the notices that go through them. For administrators.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Accepted, Connection, Notice, PutConnection, SavedConnection};
use super::{Body, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, put))
        .routes(routes!(remove))
        .routes(routes!(test))
        .routes(routes!(notices))
}

/// Providers of identities, mail servers and webhooks.
#[utoipa::path(get, path = "/connections", tag = "connections", operation_id = "connections",
    responses((status = 200, body = Vec<Connection>)))]
async fn list(State(app): State<App>) -> Result<Json<Vec<Connection>>, Problem> {
    view::connections(&app).await.map(Json)
}

/// Set up a connection, or change it.
#[utoipa::path(post, path = "/connections", tag = "connections", operation_id = "put_connection",
    request_body = PutConnection,
    responses((status = 200, body = SavedConnection), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn put(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<PutConnection>,
) -> Result<Json<SavedConnection>, Problem> {
    ask::connection::put(&app, &visitor.name, &wanted).await.map(Json)
}

/// Remove a connection. Notices that wait for it are given up.
#[utoipa::path(post, path = "/connections/{name}/remove", tag = "connections", operation_id = "remove_connection",
    params(("name" = String, Path)),
    responses((status = 200, body = Vec<Connection>), (status = 404, body = Problem)))]
async fn remove(
    State(app): State<App>,
    visitor: Visitor,
    Segment(name): Segment<String>,
) -> Result<Json<Vec<Connection>>, Problem> {
    ask::connection::remove(&app, &visitor.name, &name).await?;
    view::connections(&app).await.map(Json)
}

/// Try a connection now: send a test notice, or ask the provider for its description and keys.
#[utoipa::path(post, path = "/connections/{name}/test", tag = "connections", operation_id = "test_connection",
    params(("name" = String, Path)),
    responses((status = 200, body = Accepted), (status = 404, body = Problem), (status = 502, body = Problem)))]
async fn test(
    State(app): State<App>,
    visitor: Visitor,
    Segment(name): Segment<String>,
) -> Result<Json<Accepted>, Problem> {
    ask::connection::test(&app, &visitor.name, &name).await.map(Json)
}

/// The newest notices and what became of them.
#[utoipa::path(get, path = "/notices", tag = "connections", operation_id = "notices",
    responses((status = 200, body = Vec<Notice>)))]
async fn notices(State(app): State<App>) -> Result<Json<Vec<Notice>>, Problem> {
    view::notices(&app).await.map(Json)
}
