//! The record, with its verification.

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;

use super::{Page, Shell, page, show};
use crate::api::LedgerFilter;
use crate::api::types::{LedgerEntry, LedgerPage as Entries, LedgerVerification, Retention};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

#[derive(Template)]
#[template(path = "ledger.html")]
struct LedgerPage {
    shell: Shell,
    list: Entries,
    verified: LedgerVerification,
    retention: Retention,
    filter: LedgerFilter,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/ledger", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor, Query(mut filter): Query<LedgerFilter>) -> Page {
    filter.subject.take_if(|subject| subject.is_empty());
    let list = view::ledger(&app, &filter).await?;
    let verified = view::verify_ledger(&app).await?;
    let retention = view::retention(&app).await?;
    let shell = Shell::new(&app, &visitor, "Ledger", "Ledger").await?;
    page(&LedgerPage { shell, list, verified, retention, filter })
}

impl LedgerPage {
    /// The rest of an entry on one line.
    fn told(&self, entry: &LedgerEntry) -> String {
        if entry.body.get("removed").is_some() {
            return "taken away by retention".to_owned();
        }
        let payload = entry.body.get("payload").filter(|payload| !payload.is_null());
        payload.map(ToString::to_string).unwrap_or_default().chars().take(400).collect()
    }

    /// Where a subject leads.
    fn link(&self, entry: &LedgerEntry) -> Option<String> {
        entry.subject.starts_with("rem-").then(|| format!("/remediations/{}", entry.subject))
    }
}
