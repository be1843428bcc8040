//! The record.

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Checkpoint, LedgerPage, LedgerVerification};
use super::{Filter, Problem};
use crate::app::App;
use crate::view;

/// Which entries.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LedgerFilter {
    /// Only entries with a lower number.
    pub(crate) before: Option<u64>,
    /// Only entries about this id.
    pub(crate) subject: Option<String>,
    /// How many, at most 500; 100 when left away.
    pub(crate) limit: Option<u32>,
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(checkpoint))
        .routes(routes!(verify))
        .routes(routes!(export))
}

/// Entries, newest first.
#[utoipa::path(get, path = "/ledger", tag = "ledger", operation_id = "ledger", params(LedgerFilter),
    responses((status = 200, body = LedgerPage), (status = 400, body = Problem)))]
async fn list(State(app): State<App>, Filter(filter): Filter<LedgerFilter>) -> Result<Json<LedgerPage>, Problem> {
    view::ledger(&app, &filter).await.map(Json)
}

/// The newest signed checkpoint: keep it somewhere this server cannot write.
#[utoipa::path(get, path = "/ledger/checkpoint", tag = "ledger",
    responses((status = 200, body = Checkpoint), (status = 404, body = Problem, description = "nothing is sealed yet")))]
async fn checkpoint(State(app): State<App>) -> Result<Json<Checkpoint>, Problem> {
    view::checkpoint(&app).await?.map(Json).ok_or_else(|| Problem::not_found("checkpoint", "newest"))
}

/// Verify the whole record here and now. Who does not trust this server verifies an export instead.
#[utoipa::path(get, path = "/ledger/verify", tag = "ledger", responses((status = 200, body = LedgerVerification)))]
async fn verify(State(app): State<App>) -> Result<Json<LedgerVerification>, Problem> {
    view::verify_ledger(&app).await.map(Json)
}

/// The whole record as a file that `stanch audit verify` checks offline.
#[utoipa::path(get, path = "/ledger/export", tag = "ledger",
    responses((status = 200, body = String, content_type = "application/octet-stream")))]
async fn export(State(app): State<App>) -> Result<Response, Problem> {
    let bytes = view::export_ledger(&app).await?;
    let mut response = HttpBody::from(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers
        .insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"stanch-ledger.export\""));
    Ok(response)
}
