//! Assets and their facts.

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{
    Asset, Facts, ImportAssets, ImportedAssets, JudgeEdge, LabelAsset, LinkAsset, PackageHistory, SeenEdge,
};
use super::{Body, Filter, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

/// A file that is taken over, as JSON writes it.
const LARGEST_IMPORT: usize = 2 * crate::import::LARGEST;

/// Which assets; what is left away does not filter.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssetFilter {
    /// `host`, `inventory`, `container`, `image`, `cloud_resource`, `account`, `repository`, `service`.
    pub(crate) kind: Option<String>,
    /// Exactly this name, or this id.
    pub(crate) named: Option<String>,
    /// A part of the name.
    pub(crate) name: Option<String>,
    /// The environment.
    pub(crate) environment: Option<String>,
    /// The team that owns it.
    pub(crate) owner: Option<String>,
    /// The value of its label `ring`.
    pub(crate) ring: Option<String>,
    /// `NAME=VALUE`, or `NAME` for whatever has that label; several are separated by commas.
    pub(crate) label: Option<String>,
    /// How its executor is: `connected`, `away`, `unconfirmed`, `frozen`, `put_out`, `no_executor`.
    pub(crate) state: Option<String>,
    /// What is missing: `no_executor`, `stale`, `unconfirmed`, `frozen`, `no_policy`, `unsupported`, `unmatched`.
    pub(crate) blind: Option<String>,
    /// The last id of the page before.
    pub(crate) after: Option<String>,
    /// How many, at most 1000; 200 when left away.
    pub(crate) limit: Option<u32>,
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(facts))
        .routes(routes!(history))
        .routes(routes!(label))
        .routes(routes!(link))
        .routes(routes!(seen_edges))
        .routes(routes!(judge_edge))
        .merge(OpenApiRouter::new().routes(routes!(import)).layer(DefaultBodyLimit::max(LARGEST_IMPORT)))
}

/// A page of the assets, by name. A page that is full may be followed by another: pass its last id as `after`.
#[utoipa::path(get, path = "/assets", tag = "assets", operation_id = "assets", params(AssetFilter),
    responses((status = 200, body = Vec<Asset>), (status = 400, body = Problem)))]
async fn list(
    State(app): State<App>,
    visitor: Visitor,
    Filter(filter): Filter<AssetFilter>,
) -> Result<Json<Vec<Asset>>, Problem> {
    view::assets(&app, &visitor.sight, &filter).await.map(|page| Json(page.assets))
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

/// Which packages of an asset, and when.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryFilter {
    /// Only of the package or component of exactly this name.
    pub(crate) package: Option<String>,
    /// Only what was installed then.
    #[param(value_type = Option<String>, format = DateTime)]
    pub(crate) at: Option<Timestamp>,
    /// How many, at most 20000; 1000 when left away.
    pub(crate) limit: Option<u32>,
}

/// What was installed on an asset when, the newest first. What is gone is kept for 400 days.
#[utoipa::path(get, path = "/assets/{id}/history", tag = "assets", operation_id = "asset_history",
    params(("id" = String, Path), HistoryFilter),
    responses((status = 200, body = PackageHistory), (status = 404, body = Problem)))]
async fn history(
    State(app): State<App>,
    Segment(id): Segment<String>,
    Filter(filter): Filter<HistoryFilter>,
) -> Result<Json<PackageHistory>, Problem> {
    view::package_history(&app, &id, &filter).await.map(Json)
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

/// Which calls between assets.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EdgeFilter {
    /// Only those of which nobody has said anything yet.
    pub(crate) proposed: Option<bool>,
    /// How many, at most 1000; 200 when left away.
    pub(crate) limit: Option<u32>,
}

/// Which asset was seen to call which, the newest first. A person says whether the one depends on the other.
#[utoipa::path(get, path = "/edges", tag = "assets", operation_id = "seen_edges", params(EdgeFilter),
    responses((status = 200, body = Vec<SeenEdge>)))]
async fn seen_edges(
    State(app): State<App>,
    Filter(filter): Filter<EdgeFilter>,
) -> Result<Json<Vec<SeenEdge>>, Problem> {
    view::seen_edges(&app, None, &filter).await.map(Json)
}

/// Say whether an asset depends on another that it was seen to call. What is dismissed stays so.
#[utoipa::path(post, path = "/edges", tag = "assets", operation_id = "judge_edge", request_body = JudgeEdge,
    responses((status = 200, body = SeenEdge), (status = 404, body = Problem)))]
async fn judge_edge(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<JudgeEdge>,
) -> Result<Json<SeenEdge>, Problem> {
    ask::judge_edge(&app, &visitor.name, &wanted).await.map(Json)
}

/// Take over from a file whose assets are and how they hang together. All of it or nothing; `dry_run` only tells.
#[utoipa::path(post, path = "/assets/import", tag = "assets", operation_id = "import_assets",
    request_body = ImportAssets,
    responses((status = 200, body = ImportedAssets), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn import(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<ImportAssets>,
) -> Result<Json<ImportedAssets>, Problem> {
    ask::import(&app, &visitor.name, &wanted).await.map(Json)
}
