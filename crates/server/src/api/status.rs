//! The whole at a glance.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Accepted, Scan, Status};
use super::{MaybeBody, Problem};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(scan))
}

/// How the server and what it watches are.
#[utoipa::path(get, path = "/status", tag = "status", responses((status = 200, body = Status)))]
async fn status(State(app): State<App>, visitor: Visitor) -> Result<Json<Status>, Problem> {
    view::status(&app, &visitor.sight).await.map(Json)
}

/// Read the facts of every asset again.
#[utoipa::path(post, path = "/scan", tag = "status", request_body = Scan,
    responses((status = 202, body = Accepted), (status = 409, body = Problem, description = "no executor is connected")))]
async fn scan(
    State(app): State<App>,
    visitor: Visitor,
    MaybeBody(scan): MaybeBody<Scan>,
) -> Result<(axum::http::StatusCode, Json<Accepted>), Problem> {
    let accepted = ask::scan(&app, &visitor.name, scan).await?;
    Ok((axum::http::StatusCode::ACCEPTED, Json(accepted)))
}
