//! Sessions of people.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{ChangePassword, HeldBy};
use super::{Body, MaybeBody, Problem};
use crate::app::App;
use crate::auth::{self, Visitor};

/// Who is signed in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The name under which acts are recorded.
    pub name: String,
    /// To be sent as `x-csrf-token` with whatever acts; absent over the control socket and for tokens.
    pub csrf: Option<String>,
    /// The roles held, and where.
    pub roles: Vec<HeldBy>,
}

/// Whom a link is for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateLink {
    /// The person's name; the account of the machine's operator when left away.
    pub person: Option<String>,
}

/// A fresh sign-in link.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignInLink {
    /// Opens a page that asks to sign in; works once, for an hour.
    pub url: String,
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(me))
        .routes(routes!(sign_out))
        .routes(routes!(password))
        .routes(routes!(sign_in_link))
}

/// Who is signed in.
#[utoipa::path(get, path = "/session", tag = "session", operation_id = "session", responses((status = 200, body = Me)))]
async fn me(visitor: Visitor) -> Json<Me> {
    let roles = visitor.access.held();
    let roles = roles.map(|held| HeldBy { role: held.role.name().to_owned(), scope: held.scope.to_string() });
    Json(Me { roles: roles.collect(), name: visitor.name, csrf: visitor.csrf })
}

/// End this session.
#[utoipa::path(post, path = "/session/sign-out", tag = "session", responses((status = 204)))]
async fn sign_out(State(app): State<App>, visitor: Visitor) -> Result<(StatusCode, HeaderMap), Problem> {
    auth::sign_out(&app, &visitor).await?;
    Ok((StatusCode::NO_CONTENT, auth::forget_cookie(&app)))
}

/// Change one's own password. Every session of this person ends, and a new one begins.
#[utoipa::path(post, path = "/session/password", tag = "session", operation_id = "change_password",
    request_body = ChangePassword,
    responses((status = 204), (status = 400, body = Problem), (status = 403, body = Problem)))]
async fn password(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<ChangePassword>,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let person = crate::ask::people::own(&visitor)?;
    let session = auth::change_password(&app, person, wanted.old, wanted.new).await?;
    Ok((StatusCode::NO_CONTENT, session.cookie))
}

/// Make a sign-in link; over the control socket only.
#[utoipa::path(post, path = "/session/links", tag = "session", request_body = CreateLink,
    responses((status = 201, body = SignInLink), (status = 403, body = Problem), (status = 409, body = Problem)))]
async fn sign_in_link(
    State(app): State<App>,
    visitor: Visitor,
    MaybeBody(wanted): MaybeBody<CreateLink>,
) -> Result<(StatusCode, Json<SignInLink>), Problem> {
    if visitor.session.is_some() || visitor.is_token {
        return Err(Problem::forbidden("a session cannot let others in; ask over the control socket"));
    }
    let person = match &wanted.person {
        Some(name) => Some(crate::ask::people::find(&app, name).await?.id),
        None => None,
    };
    let url = app.sign_in_link(person).map_err(|error| Problem::internal("making a sign-in link", &error))?;
    let url = url.ok_or_else(|| {
        Problem::conflict("not_listening", "no server with web pages runs on this data folder")
            .hint("start one with: stanch up")
    })?;
    Ok((StatusCode::CREATED, Json(SignInLink { url })))
}
