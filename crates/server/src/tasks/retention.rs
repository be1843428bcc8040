//! What is old is taken away: a sweep a day, in slices of a few rows with a pause between them, so that nothing waits for
//! it. What a slice takes, and that it takes it, is one transition; whatever stops it, the next sweep finds the rest.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use stanch_store::retention::Noun;
use stanch_store::setting::Setting;
use stanch_store::{Transition, Write};

use super::PassError;
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::retention::{EVERY, Step, Sweep};

/// The setting that says when the next sweep begins.
const NEXT: &str = "retention/next";
/// Rows, or what they hang on, in one slice; each takes a few milliseconds of the one writer.
const SLICE: u32 = 500;
/// Slices in one pass.
const SLICES: u32 = 50;
/// Between two slices: longer than one takes.
const PAUSE: Duration = Duration::from_millis(50);
/// Who takes it away, for the record.
const ACTOR: &str = "server";

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let mut sweep = app.sweep.lock().await;
    if sweep.next.is_none() {
        let known = app.store.setting(NEXT).await?.and_then(|value| serde_json::from_value(value).ok());
        // The first one begins a day after the first start, and a clock that was wrong once puts none off for long.
        let latest = app.now().saturating_add(EVERY).unwrap_or(Timestamp::MAX);
        let next = known.map_or(latest, |next: Timestamp| next.min(latest));
        if known.is_none() {
            put_next(app, next).await?;
        }
        sweep.next = Some(next);
    }
    for _ in 0..SLICES {
        match sweep.step(&app.config.retention, app.now()) {
            Step::Rest => return Ok(()),
            Step::Take(noun, before) => {
                if slice(app, &mut sweep, noun, before).await? {
                    app.bus.tell(Live::of("retention", "", format!("old {} went", noun.name())));
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Step::End => {
                let next = sweep.end(app.now());
                put_next(app, next).await?;
                *app.kept.lock().await = None;
                return Ok(());
            }
        }
    }
    app.bus.nudge(Stage::Retention);
    Ok(())
}

async fn put_next(app: &App, next: Timestamp) -> Result<(), PassError> {
    let setting = Setting { key: NEXT.to_owned(), value: json!(next), at: app.now() };
    app.store.put(Write::PutSetting(setting)).await?;
    Ok(())
}

/// Takes a slice of a noun away. Answers whether anything went.
async fn slice(app: &App, sweep: &mut Sweep, noun: Noun, before: Timestamp) -> Result<bool, PassError> {
    let (now, keep) = (app.now(), app.config.retention.keep(noun).to_string());
    let (transition, more): (Option<Transition>, bool) = match noun {
        Noun::Ledger => {
            let due = app.store.due_payloads(before, sweep.from, SLICE).await?;
            let more = due.next.is_some();
            sweep.from = due.next.unwrap_or_default();
            let any = !due.entries.is_empty();
            (any.then(|| due.transition(before, &keep, ACTOR, now)).transpose()?, more)
        }
        _ => {
            let due = app.store.due(noun, before, &sweep.after, SLICE).await?;
            let more = due.next.is_some();
            sweep.after = due.next.clone().unwrap_or_default();
            (Some(due).filter(|due| due.rows > 0).map(|due| due.transition(noun, before, &keep, ACTOR, now)), more)
        }
    };
    let goes = transition.is_some();
    if let Some(transition) = transition {
        app.store.commit(transition).await?;
    }
    if !more {
        sweep.pass_on();
    }
    Ok(goes)
}
