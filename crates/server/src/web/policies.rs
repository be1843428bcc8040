//! The policies in force: what each rule does and to how many items, what was refused, and what actions have earned.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::show::Mark;
use super::{Page, Shell, page, show};
use crate::api::types::{Earned, Policies, PolicyGroup};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

#[derive(Template)]
#[template(path = "policies.html")]
struct PoliciesPage {
    shell: Shell,
    told: Policies,
    /// Bad patches.
    blocked: Vec<view::BlockedPatch>,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/policies", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor) -> Page {
    page(&PoliciesPage {
        shell: Shell::new(&app, &visitor, "Policies", "Policies").await?.live("/api/v1/events", "policies items hold"),
        told: view::policies(&app).await?,
        blocked: view::blocked_patches(&app).await?,
    })
}

impl PoliciesPage {
    /// How many members of a group may be away for a change.
    fn spare(&self, group: &PolicyGroup) -> Mark {
        let at_work = group.members.saturating_sub(group.broken);
        match at_work.saturating_sub(u64::from(group.min_healthy)) {
            0 => show::say("warn", "none: its members are not changed"),
            spare => show::say("good", &format!("{spare} at a time")),
        }
    }

    /// The lower bound of a success rate in percent, with one decimal.
    fn rate(&self, earned: &Earned) -> String {
        earned
            .success_at_least_e6
            .map_or_else(|| "no run yet".to_owned(), |e6| format!("{}.{} %", e6 / 10_000, e6 / 1_000 % 10))
    }

    /// The same as a part of a meter of this width.
    fn part(&self, earned: &Earned) -> u32 {
        earned.success_at_least_e6.unwrap_or(0) / 5_000
    }
}
