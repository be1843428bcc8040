//! What was carried out in copies of targets, as whoever has to agree reads it.

use stanch_model::order::Answer;
use stanch_store::remediation::StoredRemediation;

use super::name;
use super::remediation::{check, report};
use crate::api::Problem;
use crate::api::types::Rehearsal;
use crate::app::App;
use crate::record::{Record, Rehearsal as Known};

/// The rehearsals of a remediation, the newest first.
pub(super) async fn rehearsals(app: &App, row: &StoredRemediation, record: &Record) -> Result<Vec<Rehearsal>, Problem> {
    let mut all = Vec::with_capacity(record.rehearsals.len());
    for known in record.rehearsals.iter().rev() {
        all.push(one(app, row, known).await?);
    }
    Ok(all)
}

async fn one(app: &App, row: &StoredRemediation, known: &Known) -> Result<Rehearsal, Problem> {
    let asset_name = app.store.asset(&known.asset).await?.map(|stored| stored.asset.name).unwrap_or_default();
    let mut shown = Rehearsal {
        asset: known.asset.to_string(),
        asset_name,
        by: known.by.clone(),
        at: known.at,
        state: if app.now() < known.until { "running" } else { "unanswered" }.to_owned(),
        outdated: row.plan != Some(known.plan),
        message: app.progress(&known.order).map(|word| word.message),
        hint: None,
        applied: Vec::new(),
        checks: Vec::new(),
        undone: Vec::new(),
        left_out: Vec::new(),
        not_copied: Vec::new(),
        wrote_bytes: 0,
        took_ms: 0,
    };
    match app.store.receipt(&known.order).await?.map(|stored| stored.receipt.body.answer) {
        Some(Answer::Rehearsed { rehearsed }) => {
            shown.state = name(&rehearsed.outcome());
            shown.message = None;
            shown.applied = rehearsed.steps.iter().map(report).collect();
            shown.checks = rehearsed.checks.iter().map(check).collect();
            shown.undone = rehearsed.undone.iter().map(report).collect();
            shown.left_out = rehearsed.left_out;
            shown.not_copied = rehearsed.not_copied;
            shown.wrote_bytes = rehearsed.wrote_bytes;
            shown.took_ms = rehearsed.took_ms;
        }
        Some(Answer::Refused { message, hint }) => {
            shown.state = "refused".to_owned();
            (shown.message, shown.hint) = (Some(message), hint);
        }
        _ => {}
    }
    Ok(shown)
}
