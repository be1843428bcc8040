//! How long what is old is kept, what there is of it, and of what nothing is taken away.

use jiff::SignedDuration;
use stanch_model::id::AssetId;
use stanch_store::retention::{Noun, RetentionHold};

use crate::api::Problem;
use crate::api::types::{RecordsHeld, Retention, RetentionNoun, RetentionPreview};
use crate::app::App;
use crate::retention::{Keep, least};

/// How long it is not measured anew: every row is looked at.
const MEASURED: SignedDuration = SignedDuration::from_mins(5);

/// What is kept, noun by noun.
pub(crate) async fn retention(app: &App) -> Result<Retention, Problem> {
    let (now, next_at) = (app.now(), app.sweep.lock().await.next);
    let mut known = app.kept.lock().await;
    if known.as_ref().is_none_or(|(at, _)| now.duration_since(*at) > MEASURED) {
        let mut all = Vec::with_capacity(Noun::ALL.len());
        for noun in Noun::ALL {
            all.push((noun, app.store.kept(noun).await?));
        }
        *known = Some((now, all));
    }
    let (measured_at, all) = known.clone().unwrap_or((now, Vec::new()));
    drop(known);
    let nouns = all.into_iter().map(|(noun, kept)| {
        let keep = app.config.retention.keep(noun);
        let due = match keep {
            Keep::Forever => None,
            Keep::For(time) => kept.oldest.and_then(|oldest| oldest.checked_add(time).ok()),
        };
        RetentionNoun {
            noun: noun.name().to_owned(),
            about: about(noun).to_owned(),
            rows: kept.rows,
            bytes: kept.bytes,
            oldest: kept.oldest,
            keep: keep.to_string(),
            least: least(noun).0.to_string(),
            next: due.map(|due| next_at.map_or(due, |next| due.max(next))),
        }
    });
    let nouns = nouns.collect();
    let mut holds = Vec::new();
    for hold in app.store.retention_holds().await? {
        holds.push(held(app, &hold).await?);
    }
    Ok(Retention { nouns, holds, measured_at, next_at })
}

/// What would go if a sweep began now.
pub(crate) async fn retention_preview(app: &App) -> Result<Vec<RetentionPreview>, Problem> {
    let mut all = Vec::new();
    for noun in Noun::ALL {
        let Some(before) = app.config.retention.before(noun, app.now()) else { continue };
        let rows = app.store.count_due(noun, before).await?;
        let keep = app.config.retention.keep(noun).to_string();
        all.push(RetentionPreview { noun: noun.name().to_owned(), rows, before, keep });
    }
    Ok(all)
}

/// A hold as people read it.
pub(crate) async fn held(app: &App, hold: &RetentionHold) -> Result<RecordsHeld, Problem> {
    let name = match hold.subject.parse::<AssetId>() {
        Ok(id) => app.store.asset(&id).await?.map(|stored| stored.asset.name),
        Err(_) => None,
    };
    Ok(RecordsHeld {
        name: name.unwrap_or_else(|| hold.subject.clone()),
        subject: hold.subject.clone(),
        reason: hold.reason.clone(),
        set_by: hold.actor.clone(),
        set_at: hold.at,
    })
}

const fn about(noun: Noun) -> &'static str {
    match noun {
        Noun::Orders => "orders that belong to no task, such as those to read facts, with their answers",
        Noun::Evidence => "what executors answered in remediations that ended; digests stay",
        Noun::Cases => "cases that ended",
        Noun::Campaigns => "campaigns that ended",
        Noun::Remediations => "remediations that ended and left nothing that could be taken back",
        Noun::Undo => "remediations that ended and can still be taken back, until they go",
        Noun::Plans => "plans that no remediation has any more",
        Noun::Decisions => "decisions and assessments that newer ones have replaced",
        Noun::Findings => "findings that are closed",
        Noun::Items => "items that are closed",
        Noun::Packages => "what was installed and is not any more",
        Noun::Facts => "when facts were read",
        Noun::Notices => "notices that were sent or given up",
        Noun::Tokens => "tokens that ran out or were used up",
        Noun::Limits => "what was used of limits in hours that are over",
        Noun::Ledger => "what the entries of the ledger say; the entries themselves stay",
    }
}
