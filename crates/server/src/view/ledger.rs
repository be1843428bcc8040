//! The record: entries, checkpoints, verification and export.

use std::collections::BTreeMap;

use stanch_ledger::{Entry, Trust, verify};

use crate::api::types::{Checkpoint, LedgerEntry, LedgerPage, LedgerVerification};
use crate::api::{LedgerFilter, Problem};
use crate::app::App;

/// Entries on a page when nobody says.
const DEFAULT: u32 = 100;
/// Entries on a page at most.
const MOST: u32 = 500;

/// Entries, newest first.
pub(crate) async fn ledger(app: &App, filter: &LedgerFilter) -> Result<LedgerPage, Problem> {
    let limit = filter.limit.unwrap_or(DEFAULT).clamp(1, MOST);
    let (entries, next) = match &filter.subject {
        Some(subject) => {
            let mut all = app.store.timeline(subject, 0, 10_000).await?;
            all.retain(|entry| filter.before.is_none_or(|before| entry.index < before));
            all.reverse();
            let more = all.len() > limit as usize;
            all.truncate(limit as usize);
            let next = all.last().filter(|_| more).map(|last| last.index);
            (all, next)
        }
        None => {
            let all = app.store.newest_entries(filter.before, limit).await?;
            let next = all.last().filter(|last| last.index > 0).map(|last| last.index);
            (all, next)
        }
    };
    Ok(LedgerPage { entries: entries.iter().map(entry).collect(), next, checkpoint: checkpoint(app).await? })
}

pub(super) fn entry(from: &Entry) -> LedgerEntry {
    let digests: BTreeMap<&String, String> =
        from.entry.digests.iter().map(|(name, digest)| (name, digest.to_string())).collect();
    LedgerEntry {
        index: Some(from.index),
        at: from.entry.at,
        kind: from.entry.event.clone(),
        actor: from.entry.actor.clone(),
        subject: from.entry.subjects.first().cloned().unwrap_or_default(),
        body: match from.leaf {
            None => serde_json::json!({
                "subjects": from.entry.subjects, "payload": from.entry.payload, "digests": digests,
            }),
            // What it said is not there any more, and that is not the same as nothing.
            Some(leaf) => serde_json::json!({
                "subjects": from.entry.subjects, "digests": digests, "removed": true, "leaf": leaf,
            }),
        },
    }
}

/// The newest signed checkpoint.
pub(crate) async fn checkpoint(app: &App) -> Result<Option<Checkpoint>, Problem> {
    let Some(note) = app.store.last_checkpoint().await? else { return Ok(None) };
    let said = note.checkpoint();
    let covered = said.size.checked_sub(1);
    let at = match covered {
        Some(last) => app.store.entries(last, 1).await?.first().map(|entry| entry.entry.at),
        None => None,
    };
    Ok(Some(Checkpoint {
        size: said.size,
        root: said.root.to_string(),
        at: at.unwrap_or(app.started_at),
        key: app.signer.verifying_key().to_string(),
        signed: serde_json::json!({ "origin": said.origin, "note": note.to_string() }),
    }))
}

/// The whole record as a file.
pub(crate) async fn export_ledger(app: &App) -> Result<Vec<u8>, Problem> {
    // An export ends at the last checkpoint; one is signed now, so that it holds everything.
    if let Err(error) = crate::tasks::seal_now(app).await {
        tracing::warn!(error = crate::error::chain(&error), "no checkpoint could be signed before an export");
    }
    let mut out = Vec::new();
    app.store.export(&mut out, app.signer.origin(), app.signer.verifying_key()).await?;
    Ok(out)
}

/// Verifies the whole record here and now, against the checkpoints that were copied outside.
pub(crate) async fn verify_ledger(app: &App) -> Result<LedgerVerification, Problem> {
    // Read before the export: a checkpoint that is signed meanwhile would cover more than the export holds.
    let kept = app.config.checkpoints.clone().map(std::fs::read_to_string).and_then(Result::ok).unwrap_or_default();
    let export = export_ledger(app).await?;
    let key = app.signer.verifying_key();
    let origin = app.signer.origin().to_owned();
    let at = app.now();
    let verified = tokio::task::spawn_blocking(move || {
        let kept = stanch_ledger::file::read_notes(&kept).map_err(|error| error.to_string())?;
        let trust = Trust { key: Some(key), origin: Some(origin), checkpoints: kept.checkpoints };
        verify(std::io::Cursor::new(export), &trust).map_err(|fault| crate::error::chain(&fault))
    })
    .await
    .map_err(|error| Problem::internal("verifying the ledger", &error))?;
    Ok(match verified {
        Ok(report) => LedgerVerification {
            good: true,
            entries: report.entries,
            removed: report.removed,
            checkpoints: report.checkpoints,
            root: Some(report.root.to_string()),
            problem: None,
            at,
        },
        Err(problem) => LedgerVerification {
            good: false,
            entries: 0,
            removed: 0,
            checkpoints: 0,
            root: None,
            problem: Some(problem),
            at,
        },
    })
}
