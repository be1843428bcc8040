//! Feeds.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Accepted, Feed, JudgeFeed};
use super::{Body, Problem};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(refresh)).routes(routes!(judge))
}

/// The data that judgements rest on.
#[utoipa::path(get, path = "/feeds", tag = "feeds", operation_id = "feeds", responses((status = 200, body = Vec<Feed>)))]
async fn list(State(app): State<App>) -> Result<Json<Vec<Feed>>, Problem> {
    view::feeds(&app).await.map(Json)
}

/// Fetch newer feeds now.
#[utoipa::path(post, path = "/feeds/refresh", tag = "feeds", operation_id = "refresh_feeds",
    responses((status = 202, body = Accepted), (status = 409, body = Problem, description = "no source is configured")))]
async fn refresh(State(app): State<App>, visitor: Visitor) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let accepted = ask::refresh_feeds(&app, &visitor.name).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

/// Take or throw away a newer feed that waits because it would change too much.
#[utoipa::path(post, path = "/feeds/judge", tag = "feeds", operation_id = "judge_feed", request_body = JudgeFeed,
    responses((status = 200, body = Vec<Feed>), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn judge(
    State(app): State<App>,
    visitor: Visitor,
    Body(word): Body<JudgeFeed>,
) -> Result<Json<Vec<Feed>>, Problem> {
    ask::judge_feed(&app, &visitor.name, word).await.map(Json)
}
