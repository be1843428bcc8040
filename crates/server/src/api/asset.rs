//! Assets and their facts.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{Asset, Facts, LabelAsset, LinkAsset};
use super::{Body, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(facts))
        .routes(routes!(label))
        .routes(routes!(link))
}

/// All assets.
#[utoipa::path(get, path = "/assets", tag = "assets", operation_id = "assets",
    responses((status = 200, body = Vec<Asset>)))]
async fn list(State(app): State<App>, visitor: Visitor) -> Result<Json<Vec<Asset>>, Problem> {
    view::assets(&app, &visitor.sight).await.map(Json)
}

/// One asset.
#[utoipa::path(get, path = "/assets/{id}", tag = "assets", operation_id = "asset", params(("id" = String, Path)),
    responses((status = 200, body = Asset), (status = 404, body = Problem)))]
async fn one(State(app): State<App>, Segment(id): Segment<String>) -> Result<Json<Asset>, Problem> {
    view::asset(&app, &id).await.map(Json)
}

/// A summary of the newest facts of one asset.
#[utoipa::path(get, path = "/assets/{id}/facts", tag = "assets", params(("id" = String, Path)),
    responses((status = 200, body = Facts), (status = 404, body = Problem)))]
async fn facts(State(app): State<App>, Segment(id): Segment<String>) -> Result<Json<Facts>, Problem> {
    view::facts(&app, &id).await.map(Json)
}

/// Say what an asset's environment, owner, tier and classification are. Roles and policies go by it.
#[utoipa::path(post, path = "/assets/{id}/labels", tag = "assets", operation_id = "label_asset",
    params(("id" = String, Path)), request_body = LabelAsset,
    responses((status = 200, body = Asset), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn label(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    Body(wanted): Body<LabelAsset>,
) -> Result<Json<Asset>, Problem> {
    ask::label(&app, &visitor.name, &id, &wanted).await?;
    view::asset(&app, &id).await.map(Json)
}

/// Say how an asset hangs on another. Playbooks act on what is linked, and urgency counts what depends on an asset.
#[utoipa::path(post, path = "/assets/{id}/links", tag = "assets", operation_id = "link_asset",
    params(("id" = String, Path)), request_body = LinkAsset,
    responses((status = 200, body = Asset), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn link(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    Body(wanted): Body<LinkAsset>,
) -> Result<Json<Asset>, Problem> {
    ask::link(&app, &visitor.name, &id, &wanted).await?;
    view::asset(&app, &id).await.map(Json)
}
