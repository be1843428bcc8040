//! Tokens for programs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{CreateToken, CreatedToken, Token};
use super::{Body, Problem, Segment};
use crate::app::App;
use crate::ask;
use crate::auth::Visitor;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// One's own tokens; all of them for an administrator.
#[utoipa::path(get, path = "/tokens", tag = "tokens", operation_id = "tokens",
    responses((status = 200, body = Vec<Token>)))]
async fn list(State(app): State<App>, visitor: Visitor) -> Result<Json<Vec<Token>>, Problem> {
    ask::token::list(&app, &visitor).await.map(Json)
}

/// Make a token. It never lets do more than its maker may, and is shown in this answer only.
#[utoipa::path(post, path = "/tokens", tag = "tokens", operation_id = "create_token", request_body = CreateToken,
    responses((status = 201, body = CreatedToken), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem)))]
async fn create(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let token = ask::token::create(&app, &visitor, &wanted).await?;
    Ok((StatusCode::CREATED, Json(token)))
}

/// Take a token away, by its id or name.
#[utoipa::path(post, path = "/tokens/{id}/revoke", tag = "tokens", operation_id = "revoke_token",
    params(("id" = String, Path)), responses((status = 200, body = Vec<Token>), (status = 404, body = Problem)))]
async fn revoke(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
) -> Result<Json<Vec<Token>>, Problem> {
    ask::token::revoke(&app, &visitor, &id).await?;
    ask::token::list(&app, &visitor).await.map(Json)
}
