//! Sessions of people.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Problem;
use crate::app::App;
use crate::auth::{self, Visitor};

/// Who is signed in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The name under which acts are recorded.
    pub name: String,
    /// To be sent as `x-csrf-token` with whatever acts; absent over the control socket.
    pub csrf: Option<String>,
}

/// A fresh sign-in link.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignInLink {
    /// Opens a page that asks to sign in; works once, for an hour.
    pub url: String,
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(me)).routes(routes!(sign_out)).routes(routes!(sign_in_link))
}

/// Who is signed in.
#[utoipa::path(get, path = "/session", tag = "session", operation_id = "session", responses((status = 200, body = Me)))]
async fn me(visitor: Visitor) -> Json<Me> {
    Json(Me { name: visitor.name, csrf: visitor.csrf })
}

/// End this session.
#[utoipa::path(post, path = "/session/sign-out", tag = "session", responses((status = 204)))]
async fn sign_out(State(app): State<App>, visitor: Visitor) -> Result<(StatusCode, HeaderMap), Problem> {
    auth::sign_out(&app, &visitor).await?;
    Ok((StatusCode::NO_CONTENT, auth::forget_cookie()))
}

/// Make a sign-in link; over the control socket only.
#[utoipa::path(post, path = "/session/links", tag = "session",
    responses((status = 201, body = SignInLink), (status = 403, body = Problem), (status = 409, body = Problem)))]
async fn sign_in_link(State(app): State<App>, visitor: Visitor) -> Result<(StatusCode, Json<SignInLink>), Problem> {
    if visitor.csrf.is_some() {
        return Err(Problem::forbidden("a session cannot let others in; ask over the control socket"));
    }
    let url = app.sign_in_link().map_err(|error| Problem::internal("making a sign-in link", &error))?;
    let url = url.ok_or_else(|| {
        Problem::conflict("not_listening", "no server with web pages runs on this data folder")
            .hint("start one with: stanch up")
    })?;
    Ok((StatusCode::CREATED, Json(SignInLink { url })))
}
