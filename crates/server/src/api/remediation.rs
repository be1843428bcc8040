//! Remediations and plans: asking, approving, undoing.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{
    Accepted, AnswerConfirmation, Approve, Because, CreateRemediation, CreatedRemediation, Plan, Rehearse, Remediation,
    RemediationDetail, Undo,
};
use super::{Body, Filter, MaybeBody, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

/// Which remediations; what is left away does not filter.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemediationFilter {
    /// The state's name.
    pub(crate) state: Option<String>,
    /// Only those that are not over.
    #[serde(default)]
    pub(crate) open: bool,
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one))
        .routes(routes!(measure))
        .routes(routes!(rehearse))
        .routes(routes!(approve))
        .routes(routes!(answer))
        .routes(routes!(undo))
        .routes(routes!(cancel))
        .routes(routes!(dismiss))
        .routes(routes!(plan))
        .routes(routes!(plan_document))
}

/// Remediations, newest first.
#[utoipa::path(get, path = "/remediations", tag = "remediations", operation_id = "remediations",
    params(RemediationFilter), responses((status = 200, body = Vec<Remediation>), (status = 400, body = Problem)))]
async fn list(
    State(app): State<App>,
    visitor: Visitor,
    Filter(filter): Filter<RemediationFilter>,
) -> Result<Json<Vec<Remediation>>, Problem> {
    view::remediations(&app, &visitor.sight, &filter).await.map(Json)
}

/// Ask for items to be fixed. A plan is made; nothing changes before that plan is approved. Sending the same
/// `idempotency-key` again gives the same remediation.
#[utoipa::path(post, path = "/remediations", tag = "remediations", operation_id = "create_remediation",
    params(("idempotency-key" = Option<String>, Header)), request_body = CreateRemediation,
    responses((status = 201, body = CreatedRemediation), (status = 200, body = CreatedRemediation, description = "made before under this key, or nothing to do"),
        (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn create(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Body(wanted): Body<CreateRemediation>,
) -> Result<(StatusCode, Json<CreatedRemediation>), Problem> {
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    let (fresh, created) = ask::create(&app, &visitor.name, &visitor.access, wanted, key, None).await?;
    Ok((if fresh { StatusCode::CREATED } else { StatusCode::OK }, Json(created)))
}

/// One remediation with its timeline, tasks, plan, checks, kept output and what undo would do.
#[utoipa::path(get, path = "/remediations/{id}", tag = "remediations", operation_id = "remediation",
    params(("id" = String, Path)), responses((status = 200, body = RemediationDetail), (status = 404, body = Problem)))]
async fn one(State(app): State<App>, Segment(id): Segment<String>) -> Result<Json<RemediationDetail>, Problem> {
    view::remediation(&app, &id).await.map(Json)
}

/// Carry out a part of the plan in a copy of its target, check it and take it back there. The target stays as it is; what
/// came of it is then told with the remediation.
#[utoipa::path(post, path = "/remediations/{id}/rehearse", tag = "remediations", params(("id" = String, Path)),
    request_body = Rehearse,
    responses((status = 200, body = Remediation), (status = 404, body = Problem),
        (status = 409, body = Problem, description = "`wrong_state`, `busy`, or `away`: the executor is not connected")))]
async fn rehearse(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    MaybeBody(wanted): MaybeBody<Rehearse>,
) -> Result<Json<Remediation>, Problem> {
    ask::rehearse(&app, &visitor, &id, &wanted).await.map(Json)
}

/// Measure the targets that the plan touches first again: open sessions, and connections to what it cuts off. They are
/// told with the remediation when they arrive.
#[utoipa::path(post, path = "/remediations/{id}/measure", tag = "remediations", params(("id" = String, Path)),
    responses((status = 202, body = Accepted), (status = 404, body = Problem),
        (status = 409, body = Problem, description = "`wrong_state`, or `away`: no executor is connected")))]
async fn measure(
    State(app): State<App>,
    Segment(id): Segment<String>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(ask::measure(&app, &id).await?)))
}

/// Approve exactly the plan with this hash. It starts once everybody who must has agreed.
#[utoipa::path(post, path = "/remediations/{id}/approve", tag = "remediations", params(("id" = String, Path)),
    request_body = Approve,
    responses((status = 200, body = Remediation), (status = 404, body = Problem),
        (status = 409, body = Problem, description = "`wrong_plan`: the plan is another one now; `wrong_state`")))]
async fn approve(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    Body(wanted): Body<Approve>,
) -> Result<Json<Remediation>, Problem> {
    ask::approve(&app, &visitor, &id, &wanted).await.map(Json)
}

/// Answer whether what was done by itself may stay.
#[utoipa::path(post, path = "/remediations/{id}/answer", tag = "remediations", params(("id" = String, Path)),
    request_body = AnswerConfirmation,
    responses((status = 200, body = Remediation), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn answer(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    Body(wanted): Body<AnswerConfirmation>,
) -> Result<Json<Remediation>, Problem> {
    ask::answer(&app, &visitor, &id, wanted).await.map(Json)
}

/// Take back what was done, all of it or some items. A hold lets it through, unless it stops everything: then it waits.
#[utoipa::path(post, path = "/remediations/{id}/undo", tag = "remediations", params(("id" = String, Path)),
    request_body = Undo,
    responses((status = 200, body = Remediation), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
async fn undo(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    Body(wanted): Body<Undo>,
) -> Result<Json<Remediation>, Problem> {
    ask::undo(&app, &visitor.name, &id, wanted).await.map(Json)
}

/// Stop what has not begun.
#[utoipa::path(post, path = "/remediations/{id}/cancel", tag = "remediations", params(("id" = String, Path)),
    request_body = Because,
    responses((status = 200, body = Remediation), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn cancel(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    MaybeBody(because): MaybeBody<Because>,
) -> Result<Json<Remediation>, Problem> {
    ask::cancel(&app, &visitor.name, &id, because).await.map(Json)
}

/// Say no to a plan, or put a remediation that needs an operator aside.
#[utoipa::path(post, path = "/remediations/{id}/dismiss", tag = "remediations", params(("id" = String, Path)),
    request_body = Because,
    responses((status = 200, body = Remediation), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn dismiss(
    State(app): State<App>,
    visitor: Visitor,
    Segment(id): Segment<String>,
    MaybeBody(because): MaybeBody<Because>,
) -> Result<Json<Remediation>, Problem> {
    ask::dismiss(&app, &visitor.name, &id, because).await.map(Json)
}

/// One plan, by its hash.
#[utoipa::path(get, path = "/plans/{hash}", tag = "remediations", params(("hash" = String, Path)),
    responses((status = 200, body = Plan), (status = 404, body = Problem)))]
async fn plan(State(app): State<App>, Segment(hash): Segment<String>) -> Result<Json<Plan>, Problem> {
    view::plan(&app, &hash).await.map(Json)
}

/// One plan as it is hashed, by its hash: whoever signs it computes the hash from this.
#[utoipa::path(get, path = "/plans/{hash}/document", tag = "remediations", params(("hash" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 404, body = Problem)))]
async fn plan_document(
    State(app): State<App>,
    Segment(hash): Segment<String>,
) -> Result<Json<serde_json::Value>, Problem> {
    view::plan_document(&app, &hash).await.map(Json)
}
