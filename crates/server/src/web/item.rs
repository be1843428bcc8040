//! One item with its reasons, and one finding.

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::get;

use super::{Page, Shell, page, show};
use crate::api::types::{Finding, ItemDetail, Member};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

#[derive(Template)]
#[template(path = "item.html")]
struct ItemPage {
    shell: Shell,
    detail: ItemDetail,
}

#[derive(Template)]
#[template(path = "finding.html")]
struct FindingPage {
    shell: Shell,
    finding: Finding,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/items/{id}", get(show_item)).route("/findings/{id}", get(show_finding))
}

async fn show_item(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Page {
    let detail = view::item(&app, &id).await?;
    if detail.item.id != id {
        return Ok(Redirect::to(&format!("/items/{}", detail.item.id)).into_response());
    }
    page(&ItemPage {
        shell: Shell::new(&app, &visitor, "Items", detail.item.name.clone())
            .await?
            .live("/api/v1/events", "items remediation"),
        detail,
    })
}

async fn show_finding(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Page {
    let finding = view::finding(&app, &id).await?;
    page(&FindingPage {
        shell: Shell::new(&app, &visitor, "Items", format!("{} in {}", finding.advisory, finding.binary)).await?,
        finding,
    })
}

impl ItemPage {
    /// One line an id: the same problem in ten binary packages is told once.
    fn distinct(&self) -> Vec<&Member> {
        let mut seen = std::collections::HashSet::new();
        self.detail.members.iter().filter(|member| seen.insert(&member.id)).collect()
    }

    fn members(&self) -> Vec<&Member> {
        let mut members = self.distinct();
        members.truncate(show::SHOWN);
        members
    }

    fn more_members(&self) -> u64 {
        self.distinct().len().saturating_sub(show::SHOWN) as u64
    }

    /// Inputs that were assumed for every member alike are told once.
    fn assumed(&self) -> Vec<&str> {
        let mut all: Vec<&str> =
            self.detail.members.iter().flat_map(|member| member.assumed.iter().map(String::as_str)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
