//! Trying a draft of policies: nothing is changed by it.

use std::sync::Arc;

use jiff::SignedDuration;
use stanch_policy::{Bundle, Loaded, Replay, Source, WorstCase};

use crate::api::Problem;
use crate::api::types::{Draft, Tried, TriedHarm, TriedItem, TriedLockOut, TriedWorst};
use crate::app::App;
use crate::view;

/// Plays a draft over the past, and looks for its worst case.
pub(crate) async fn draft(app: &App, wanted: Draft) -> Result<Tried, Problem> {
    let sources: Vec<Source> =
        wanted.files.into_iter().map(|file| Source { name: file.name, text: file.text }).collect();
    let Loaded { bundle, problems } = Bundle::load(&sources);
    let Some(bundle) = bundle else {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        return Err(
            Problem::bad_request(format!("the draft has errors: {first}")).hint("stanch policy check tells all")
        );
    };
    let bundle = Arc::new(bundle);
    let since = SignedDuration::from_hours(i64::from(wanted.hours));
    let (replay, worst) = view::play(app, Arc::clone(&bundle), since).await?;
    Ok(told(&bundle, replay, worst))
}

fn told(bundle: &Bundle, replay: Replay, worst: WorstCase) -> Tried {
    let rate = replay.harm_rate_e6();
    let (busiest_day, busiest_day_targets) = replay.busiest_day.map_or((None, 0), |(day, count)| (Some(day), count));
    Tried {
        digest: bundle.digest().to_string(),
        items: replay.items,
        changes: replay.changes,
        changed: replay
            .changed
            .into_iter()
            .map(|one| TriedItem {
                item: one.item.to_string(),
                name: one.name,
                was: one.was.name().to_owned(),
                would_be: one.would_be.name().to_owned(),
                reason: one.reason,
            })
            .collect(),
        by_itself: replay.by_itself,
        known: replay.known,
        harmed: replay
            .harmed
            .into_iter()
            .map(|one| TriedHarm { item: one.item.to_string(), name: one.name, how: one.how.to_owned() })
            .collect(),
        harm_rate_e6: rate,
        busiest_day,
        busiest_day_targets,
        worst: worst
            .reach
            .into_iter()
            .map(|one| TriedWorst {
                held_by: format!(
                    "{} at a time, {} begun in an hour, {} % disrupted at once{}",
                    one.limits.concurrent,
                    one.limits.per_hour,
                    one.limits.disrupted_percent,
                    if one.timed { ", in its windows" } else { "" }
                ),
                action: one.action,
                mode: one.mode.name().to_owned(),
                assets: u64::try_from(one.assets).unwrap_or(u64::MAX),
                named: one.named,
                rules: one.rules,
            })
            .collect(),
        lock_outs: worst
            .lock_outs
            .into_iter()
            .map(|one| TriedLockOut {
                rule: one.rule.to_owned(),
                action: one.action,
                message: one.message,
                remedy: one.remedy,
            })
            .collect(),
    }
}
