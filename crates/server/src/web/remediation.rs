//! One remediation: its timeline as it happens, the exact difference, the proof, kept output, approval and undo.

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;

use super::{Page, Shell, page, show};
use crate::api::types::{RemediationDetail, StepReport, Task};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

#[derive(Template)]
#[template(path = "remediation.html")]
struct RemediationPage {
    shell: Shell,
    detail: RemediationDetail,
    names: String,
}

/// The way of a remediation in the words of people.
struct Stage {
    name: &'static str,
    class: &'static str,
}

const WAY: [(&str, &[&str]); 7] = [
    ("plan", &["decided", "planned", "suggested"]),
    ("approval", &["awaiting_approval"]),
    ("start", &["approved", "scheduled"]),
    ("apply", &["rolling"]),
    ("verify", &["verifying"]),
    ("watch", &["baking"]),
    ("closed", &["verified", "awaiting_confirmation"]),
];

pub(super) fn routes() -> Router<App> {
    Router::new().route("/remediations/{id}", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Page {
    let detail = view::remediation(&app, &id).await?;
    let names = show::some(&detail.remediation.names);
    let live = format!("/api/v1/remediations/{}/events", detail.remediation.id);
    page(&RemediationPage {
        shell: Shell::new(&app, &visitor, "Remediations", format!("Fix {names}"))
            .await?
            .live(live, "remediation task progress"),
        detail,
        names,
    })
}

impl RemediationPage {
    fn way(&self) -> Vec<Stage> {
        let state = self.detail.remediation.state.as_str();
        let back =
            matches!(state, "halted" | "rolling_back" | "rolled_back" | "rollback_failed" | "closed_not_remediated");
        if back {
            let past = WAY.iter().take(4).map(|(name, _)| Stage { name, class: "past" });
            let class = if matches!(state, "rolled_back" | "closed_not_remediated") { "past" } else { "now" };
            return past.chain([Stage { name: "taken back", class }]).collect();
        }
        let at = WAY.iter().position(|(_, states)| states.contains(&state));
        let done = matches!(state, "closed" | "resolved_elsewhere");
        (0..)
            .zip(WAY)
            .map(|(place, (name, _))| {
                let class = match at {
                    _ if done => "past",
                    Some(at) if place < at => "past",
                    Some(at) if place == at => "now",
                    _ => "",
                };
                Stage { name, class }
            })
            .collect()
    }

    fn parts(&self, task: &Task) -> [(&'static str, Vec<StepReport>); 2] {
        [("What was done", task.applied.clone()), ("What was taken back", task.undone.clone())]
    }

    /// Steps that cannot be taken back: to be known before approving.
    fn one_way(&self) -> usize {
        let steps = self.detail.plan.iter().flat_map(|plan| &plan.leaves).flat_map(|leaf| &leaf.steps);
        steps.filter(|step| step.reversibility == "one_way").count()
    }

    fn quiet(&self, task: &Task) -> bool {
        task.progress.is_none() && task.waiting_on.is_none() && task.checks.is_empty() && task.applied.is_empty()
    }

    fn is(&self, state: &str) -> bool {
        self.detail.remediation.state == state
    }

    fn may_cancel(&self) -> bool {
        matches!(self.detail.remediation.state.as_str(), "approved" | "scheduled" | "rolling" | "paused")
    }

    fn may_dismiss(&self) -> bool {
        matches!(self.detail.remediation.state.as_str(), "awaiting_approval" | "needs_operator")
    }

    fn tone(&self, kind: &str) -> &'static str {
        if ["failed", "halted", "refused", "lost", "silent", "rejected"].iter().any(|word| kind.contains(word)) {
            "bad"
        } else if ["closed", "verified", "approved", "succeeded"].iter().any(|word| kind.ends_with(word)) {
            "good"
        } else {
            ""
        }
    }
}
