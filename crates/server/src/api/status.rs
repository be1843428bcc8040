//! The whole at a glance.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Accepted, Health, Scan, Status};
use super::{MaybeBody, Problem};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, metrics, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(scan)).routes(routes!(health)).routes(routes!(metrics))
}

/// How the server and what it watches are.
#[utoipa::path(get, path = "/status", tag = "status", responses((status = 200, body = Status)))]
async fn status(State(app): State<App>, visitor: Visitor) -> Result<Json<Status>, Problem> {
    view::status(&app, &visitor.sight).await.map(Json)
}

/// Whether the server can do its work, for whoever decides whether to send it anything. It says no more than that.
#[utoipa::path(get, path = "/health", tag = "status",
    responses((status = 200, body = Health), (status = 503, body = Health)))]
async fn health(State(app): State<App>) -> (StatusCode, Json<Health>) {
    let healthy = view::is_healthy(&app).await;
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Health { healthy }))
}

/// Figures of the server and of what it watches, in the text form of OpenMetrics.
#[utoipa::path(get, path = "/metrics", tag = "status",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
async fn metrics(State(app): State<App>) -> Result<([(axum::http::HeaderName, &'static str); 1], String), Problem> {
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::tell(&app).await?))
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
