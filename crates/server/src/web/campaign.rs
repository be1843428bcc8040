//! Taking back everything that a policy did: first what that would be, then how far it has come.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::act::{Done, Fields, field};
use super::{Page, PageError, Shell, page, show};
use crate::api::Problem;
use crate::api::types::{Campaign, UndoCampaign};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

#[derive(Template)]
#[template(path = "campaign.html")]
struct CampaignPage {
    shell: Shell,
    told: Campaign,
}

/// What a person wants to look at.
#[derive(Debug, Deserialize)]
struct Wanted {
    policy: String,
    hours: i64,
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/campaigns/new", get(preview))
        .route("/campaigns", post(begin))
        .route("/campaigns/{id}", get(show_page))
}

async fn preview(State(app): State<App>, visitor: Visitor, Query(wanted): Query<Wanted>) -> Page {
    let since = SignedDuration::from_hours(wanted.hours.clamp(1, 24 * 366));
    let since = app.now().checked_sub(since).unwrap_or(Timestamp::MIN);
    let wanted = UndoCampaign { policy: wanted.policy, since, until: None, reason: None, dry_run: true };
    let told = ask::undo_campaign(&app, &visitor.name, wanted).await?;
    page(&CampaignPage { shell: Shell::new(&app, &visitor, "Policies", "Take back what a policy did").await?, told })
}

async fn begin(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    let time = |name: &str| {
        let text = field(&form, name);
        text.parse().map_err(|_| PageError::from(Problem::bad_request(format!("`{name}` is no time"))))
    };
    let wanted = UndoCampaign {
        policy: field(&form, "policy"),
        since: time("since")?,
        until: Some(time("until")?),
        reason: Some(field(&form, "reason")).filter(|reason| !reason.is_empty()),
        dry_run: false,
    };
    let begun = ask::undo_campaign(&app, &visitor.name, wanted).await?;
    Ok(Redirect::to(&format!("/campaigns/{}", begun.id.unwrap_or_default())).into_response())
}

async fn show_page(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Page {
    let told = view::campaign(&app, &id).await?;
    let shell = Shell::new(&app, &visitor, "Policies", "Taking back what a policy did").await?;
    page(&CampaignPage { shell: shell.live("/api/v1/events", "campaign remediation"), told })
}

impl CampaignPage {
    fn waits(&self) -> usize {
        self.told.steps.iter().filter(|step| step.state == "waiting").count()
    }

    fn of(&self, state: &str) -> usize {
        self.told.steps.iter().filter(|step| step.state == state).count()
    }
}
