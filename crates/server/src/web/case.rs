//! Cases: which there are, and one with its steps, its tasks for people and everything that happened.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use stanch_model::person::Power;

use super::act::{Done, Fields, field};
use super::{Page, Shell, page, show};
use crate::api::types::{Because, Case, CaseEvent, CaseRow, CaseRun, OpenCase, TaskWord};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

#[derive(Template)]
#[template(path = "cases.html")]
struct Cases {
    shell: Shell,
    list: Vec<CaseRow>,
}

#[derive(Template)]
#[template(path = "case.html")]
struct CasePage {
    shell: Shell,
    told: Case,
    may_operate: bool,
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/cases", get(list).post(open))
        .route("/cases/{id}", get(show_page))
        .route("/cases/{id}/tasks/{run}/done", post(done))
        .route("/cases/{id}/tasks/{run}/decline", post(decline))
        .route("/cases/{id}/close", post(close))
        .route("/cases/{id}/undo", post(undo))
}

async fn list(State(app): State<App>, visitor: Visitor) -> Page {
    let list = view::cases(&app, &visitor.sight).await?;
    page(&Cases { shell: Shell::new(&app, &visitor, "Cases", "Cases").await?.live("/api/v1/events", "case"), list })
}

async fn show_page(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Page {
    let told = view::case(&app, &id).await?;
    let shell = Shell::new(&app, &visitor, "Cases", format!("Case: {}", told.case.title)).await?;
    let may_operate = visitor.access.may_somewhere(Power::Operate);
    page(&CasePage { shell: shell.live("/api/v1/events", "case remediation"), told, may_operate })
}

async fn open(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    let wanted = OpenCase {
        items: super::act::fields(&form, "item"),
        playbook: field(&form, "playbook"),
        reason: reason(&form),
    };
    to(&ask::open_case(&app, &visitor, wanted).await?)
}

async fn done(
    State(app): State<App>,
    visitor: Visitor,
    Path((id, run)): Path<(String, usize)>,
    Form(form): Fields,
) -> Done {
    to(&ask::do_task(&app, &visitor, &id, run, TaskWord { note: reason(&form) }).await?)
}

async fn decline(
    State(app): State<App>,
    visitor: Visitor,
    Path((id, run)): Path<(String, usize)>,
    Form(form): Fields,
) -> Done {
    to(&ask::decline_task(&app, &visitor, &id, run, TaskWord { note: reason(&form) }).await?)
}

async fn close(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    to(&ask::close_case(&app, &visitor, &id, Because { reason: reason(&form) }).await?)
}

async fn undo(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    to(&ask::undo_case(&app, &visitor, &id, Because { reason: reason(&form) }).await?)
}

fn reason(form: &[(String, String)]) -> Option<String> {
    Some(field(form, "reason")).filter(|reason| !reason.is_empty())
}

fn to(case: &Case) -> Done {
    Ok(Redirect::to(&format!("/cases/{}", case.case.id)).into_response())
}

impl CasePage {
    /// Tasks that wait for a person's word.
    fn tasks(&self) -> Vec<&CaseRun> {
        self.told.runs.iter().filter(|run| run.task.as_ref().is_some_and(|task| task.open)).collect()
    }

    fn may_close(&self) -> bool {
        self.may_operate && self.told.case.state == "open"
    }

    /// The newest first.
    fn happened(&self) -> impl Iterator<Item = &CaseEvent> {
        self.told.happened.iter().rev()
    }

    fn run_of(&self, event: &CaseEvent) -> Option<&CaseRun> {
        self.told.runs.get(usize::try_from(event.run?).ok()?)
    }

    /// The step that is being done.
    fn is_now(&self, number: &u64) -> bool {
        !self.told.case.over && *number == self.told.case.step
    }
}
