//! What the forms of the pages do. Their token was checked at the door.

use axum::Router;
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::post;

use stanch_model::hold::HoldScope;
use stanch_model::patch::Patch;

use super::PageError;
use crate::api::Problem;
use crate::api::types::{
    AnswerConfirmation, Approve, Because, CreateRemediation, JudgeFeed, Rehearse, Scan, SetHold, Undo,
};
use crate::app::App;
use crate::ask;
use crate::auth::Visitor;

pub(super) type Fields = Form<Vec<(String, String)>>;
pub(super) type Done = Result<Response, PageError>;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/items/fix", post(fix))
        .route("/remediations/{id}/measure", post(measure))
        .route("/remediations/{id}/rehearse", post(rehearse))
        .route("/remediations/{id}/approve", post(approve))
        .route("/remediations/{id}/answer", post(answer))
        .route("/remediations/{id}/undo", post(undo))
        .route("/remediations/{id}/cancel", post(cancel))
        .route("/remediations/{id}/dismiss", post(dismiss))
        .route("/holds", post(hold))
        .route("/holds/release", post(release))
        .route("/holds/patch", post(block))
        .route("/feeds/refresh", post(refresh))
        .route("/feeds/judge", post(judge))
        .route("/scan", post(scan))
}

pub(super) fn field(fields: &[(String, String)], name: &str) -> String {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

pub(super) fn fields(all: &[(String, String)], name: &str) -> Vec<String> {
    all.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
}

pub(super) fn to(path: &str) -> Done {
    Ok(Redirect::to(path).into_response())
}

fn reason(form: &[(String, String)]) -> Option<String> {
    Some(field(form, "reason")).filter(|reason| !reason.is_empty())
}

async fn fix(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    let wanted = CreateRemediation {
        items: fields(&form, "item"),
        all: field(&form, "all") == "true",
        include_suppressed: field(&form, "include_suppressed") == "true",
        reason: reason(&form),
    };
    let (_, created) = ask::create(&app, &visitor.name, &visitor.access, wanted, None, None).await?;
    match created.remediation {
        Some(remediation) => to(&format!("/remediations/{}", remediation.id)),
        None => {
            let why = created.left_out.first().map_or("there is nothing to do".to_owned(), |one| one.reason.clone());
            Err(crate::api::Problem::conflict("nothing_to_do", why).into())
        }
    }
}

async fn measure(State(app): State<App>, Path(id): Path<String>) -> Done {
    ask::measure(&app, &id).await?;
    to(&format!("/remediations/{id}"))
}

async fn rehearse(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    let asset = Some(field(&form, "asset")).filter(|asset| !asset.is_empty());
    let done = ask::rehearse(&app, &visitor, &id, &Rehearse { asset }).await?;
    to(&format!("/remediations/{}", done.id))
}

async fn approve(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    let wanted = Approve { plan_hash: field(&form, "plan_hash"), signed: None };
    let done = ask::approve(&app, &visitor, &id, &wanted).await?;
    to(&format!("/remediations/{}", done.id))
}

async fn answer(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    let wanted = AnswerConfirmation { answer: field(&form, "answer"), reason: reason(&form) };
    let done = ask::answer(&app, &visitor, &id, wanted).await?;
    to(&format!("/remediations/{}", done.id))
}

async fn undo(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    let wanted = Undo { items: fields(&form, "item"), all: field(&form, "all") == "true", reason: reason(&form) };
    let done = ask::undo(&app, &visitor.name, &id, wanted).await?;
    to(&format!("/remediations/{}", done.id))
}

async fn cancel(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    let done = ask::cancel(&app, &visitor.name, &id, Because { reason: reason(&form) }).await?;
    to(&format!("/remediations/{}", done.id))
}

async fn dismiss(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    let done = ask::dismiss(&app, &visitor.name, &id, Because { reason: reason(&form) }).await?;
    to(&format!("/remediations/{}", done.id))
}

async fn hold(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    let scope = Some(field(&form, "scope")).filter(|scope| !scope.is_empty());
    let wanted = SetHold { scope, stop_all: field(&form, "stop_all") == "true", reason: field(&form, "reason") };
    ask::hold(&app, &visitor, wanted).await?;
    to("/")
}

/// Blocks a bad patch.
async fn block(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    let patch = Patch::new(&field(&form, "ecosystem"), &field(&form, "package"), &field(&form, "version"));
    let patch = patch.map_err(|error| Problem::bad_request(error.to_string()))?;
    let wanted =
        SetHold { scope: Some(HoldScope::Version(patch).to_string()), stop_all: false, reason: field(&form, "reason") };
    ask::hold(&app, &visitor, wanted).await?;
    to("/policies")
}

async fn release(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    ask::release(&app, &visitor, &field(&form, "id")).await?;
    to(if field(&form, "back") == "/policies" { "/policies" } else { "/" })
}

async fn refresh(State(app): State<App>, visitor: Visitor) -> Done {
    ask::refresh_feeds(&app, &visitor.name).await?;
    to("/feeds")
}

async fn judge(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    let word = JudgeFeed {
        name: field(&form, "name"),
        digest: field(&form, "digest"),
        accept: field(&form, "accept") == "true",
    };
    ask::judge_feed(&app, &visitor.name, word).await?;
    to("/feeds")
}

async fn scan(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    ask::scan(&app, &visitor.name, Scan { refresh: field(&form, "refresh") == "true" }).await?;
    to("/")
}
