//! One remediation: its timeline as it happens, the exact difference, the proof, kept output, approval and undo.

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;

use super::{Page, Shell, page, show};
use crate::api::types::{Rehearsal, RemediationDetail, StepReport, Task};
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

/// One wave as it is shown.
struct WaveRow {
    name: String,
    now: bool,
    targets: u32,
    /// Verified targets, as a part of a meter of 200.
    part: u32,
    words: String,
    bake: String,
    number: u32,
}

/// Targets of one wave that the grid shows.
const GRID: usize = 400;

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
            .live(live, "remediation task progress facts"),
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

    /// Targets on which something happens or has happened come first; of many only some are shown.
    fn shown(&self) -> Vec<&Task> {
        let mut tasks: Vec<&Task> = self.detail.tasks.iter().collect();
        tasks.sort_by_key(|task| (self.quiet(task), task.wave));
        tasks.truncate(show::SHOWN);
        tasks
    }

    fn hidden(&self) -> usize {
        self.detail.tasks.len().saturating_sub(show::SHOWN)
    }

    /// The waves with what became of their targets.
    fn waves(&self) -> Vec<WaveRow> {
        let plan = self.detail.plan.iter().flat_map(|plan| &plan.waves);
        (0..)
            .zip(plan)
            .map(|(number, wave)| {
                let tasks = self.detail.tasks.iter().filter(|task| task.wave == number);
                let mut states: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
                let mut all = 0_u32;
                for task in tasks {
                    *states.entry(task.state.as_str()).or_default() += 1;
                    all += 1;
                }
                let done = states.get("verified").copied().unwrap_or_default();
                let words: Vec<String> =
                    states.iter().map(|(state, count)| format!("{count} {}", show::words(state))).collect();
                WaveRow {
                    name: format!("{} of {}", number + 1, self.detail.plan.as_ref().map_or(0, |plan| plan.waves.len())),
                    now: self.detail.remediation.wave == Some(number),
                    targets: all,
                    part: done.saturating_mul(200).checked_div(all).unwrap_or_default(),
                    words: words.join(", "),
                    bake: show::seconds(wave.bake_seconds),
                    number,
                }
            })
            .collect()
    }

    /// The targets of a wave by name, and how many more there are: those that are not as they should be come first.
    fn grid(&self, wave: &u32) -> (Vec<&Task>, usize) {
        let mut tasks: Vec<&Task> = self.detail.tasks.iter().filter(|task| task.wave == *wave).collect();
        tasks.sort_by_key(|task| (matches!(task.state.as_str(), "pending" | "verified"), &task.asset_name));
        let hidden = tasks.len().saturating_sub(GRID);
        tasks.truncate(GRID);
        (tasks, hidden)
    }

    /// What the button says that lets a plan start.
    fn yes(&self) -> &'static str {
        let open: usize = self
            .detail
            .approvals
            .iter()
            .map(|quorum| usize::from(quorum.count).saturating_sub(quorum.by.len()))
            .max()
            .unwrap_or_default();
        match (self.detail.remediation.mode.as_deref(), open) {
            (Some("suggest"), 0) => "Start it",
            (_, 0 | 1) => "Approve and start",
            _ => "Approve",
        }
    }

    fn parts(&self, task: &Task) -> [(&'static str, Vec<StepReport>); 2] {
        [("What was done", task.applied.clone()), ("What was taken back", task.undone.clone())]
    }

    fn rehearsed<'a>(&self, one: &'a Rehearsal) -> [(&'static str, &'a [StepReport]); 2] {
        [("Done", &one.applied), ("Taken back", &one.undone)]
    }

    fn is_rehearsing(&self) -> bool {
        self.detail.rehearsals.iter().any(|one| one.state == "running")
    }

    fn kilobytes(&self, one: &Rehearsal) -> String {
        match one.wrote_bytes / 1_000 {
            small @ ..1_000 => format!("{small} kB"),
            large => format!("{} MB", large / 1_000),
        }
    }

    fn seconds(&self, one: &Rehearsal) -> String {
        format!("{}.{} s", one.took_ms / 1_000, one.took_ms % 1_000 / 100)
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
