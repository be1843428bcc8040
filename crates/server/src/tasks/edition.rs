//! Newer feeds to the assets that they are about: a newer edition is compared with the one before, and only the assets on
//! which it says something else are judged or assessed again. They are found by what they carry and by the problems that
//! were found on them; the fleet is not walked.
//!
//! What is found is on a list in the store in the transition that says which edition it is for, so that nothing is
//! forgotten, whatever stops in between.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stanch_feeds::{Changes, Knowledge, changes, says_else};
use stanch_model::Digest;
use stanch_store::setting::Setting;
use stanch_store::touched::{Touch, Whom, Work};
use stanch_store::{Transition, Write};

use super::PassError;
use crate::app::App;
use crate::bus::Stage;
use crate::knowledge::Held;

/// The setting that names the edition by which the fleet is judged.
const EDITION: &str = "feeds_edition";

/// An edition of all feeds, with its number: each differs from the one before.
#[derive(Clone)]
pub(crate) struct Edition {
    /// 0 for what no list was made for yet.
    pub(crate) number: u64,
    pub(crate) held: Held,
}

#[derive(Serialize, Deserialize)]
struct Recorded {
    number: u64,
    stamp: Digest,
}

/// The edition by which assets are judged now. Where the feeds are others than at the last time, the assets that they
/// touch are listed first.
pub(super) async fn follow(app: &App) -> Result<Edition, PassError> {
    let held = app.knowledge.held();
    let known = app.edition();
    if let Some(known) = known.clone().filter(|known| known.held.stamp == held.stamp) {
        return Ok(known);
    }
    let recorded = app.store.setting(EDITION).await?;
    let recorded: Option<Recorded> = recorded.and_then(|value| serde_json::from_value(value).ok());
    let edition = match &recorded {
        Some(recorded) if recorded.stamp == held.stamp => Edition { number: recorded.number, held },
        _ => {
            let number = recorded.as_ref().map_or(0, |recorded| recorded.number).saturating_add(1);
            // Only what this server itself had in force can be compared with.
            let before = known.clone().filter(|known| recorded.is_some_and(|last| last.stamp == known.held.stamp));
            let touches = match before {
                Some(before) => touches(app, before.held, &held, number).await?,
                None => vec![Touch { work: Work::Judge, edition: number, whom: Whom::Everyone }],
            };
            let (now, value) = (app.now(), Recorded { number, stamp: held.stamp });
            let value = serde_json::to_value(value).unwrap_or_default();
            let setting = Write::PutSetting(Setting { key: EDITION.to_owned(), value, at: now });
            let transition = touches.into_iter().map(Write::Touch).fold(Transition::silent(setting), Transition::write);
            app.store.commit(transition).await?;
            Edition { number, held }
        }
    };
    for asset in app.store.touched(Work::Judge).await? {
        app.judge(asset);
    }
    for asset in app.store.touched(Work::Assess).await? {
        app.assess(asset, true);
    }
    if known.is_none() {
        // What arrived before the last start, and nobody came to.
        for asset in app.store.unjudged().await? {
            app.judge(asset);
        }
    }
    app.take_edition(edition.clone());
    app.bus.nudge(Stage::Assess);
    Ok(edition)
}

/// Whom a newer edition touches.
async fn touches(app: &App, before: Held, after: &Held, edition: u64) -> Result<Vec<Touch>, PassError> {
    let (old, new, now) = (Arc::clone(&before.feeds), Arc::clone(&after.feeds), app.now());
    let changes = tokio::task::spawn_blocking(move || changes(&old, &new, now)).await?;
    let enriched = match changes.enriched {
        true => enriched(app, before.feeds, Arc::clone(&after.feeds)).await?,
        false => BTreeSet::new(),
    };
    tracing::info!(
        edition,
        ecosystems = changes.ecosystems.len(),
        packages = changes.packages.len(),
        statements = changes.stated.len(),
        problems = enriched.len(),
        "feeds of another edition are in force"
    );
    let judge = judged_anew(changes).into_iter().map(|whom| (Work::Judge, whom));
    let assess = (!enriched.is_empty()).then_some((Work::Assess, Whom::Having(enriched)));
    Ok(judge.chain(assess).map(|(work, whom)| Touch { work, edition, whom }).collect())
}

/// Whom the detectors have to look at again.
pub(super) fn judged_anew(changes: Changes) -> Vec<Whom> {
    if changes.judges_nothing() {
        return Vec::new();
    }
    let Changes { ecosystems, packages, stated, enriched: _ } = changes;
    let all = [
        (!ecosystems.is_empty()).then_some(Whom::Of(ecosystems)),
        (!packages.is_empty()).then_some(Whom::Carrying(packages)),
        (!stated.is_empty()).then_some(Whom::Having(stated)),
        // What they carry will be known with their next facts.
        Some(Whom::Unlisted),
    ];
    all.into_iter().flatten().collect()
}

/// The problems that were found anywhere and of which two editions know something else.
async fn enriched(app: &App, old: Arc<Knowledge>, new: Arc<Knowledge>) -> Result<BTreeSet<String>, PassError> {
    let cves = app.store.known_cves().await?;
    let differ = move || cves.into_iter().filter(|cve| says_else(&old, &new, cve)).collect();
    Ok(tokio::task::spawn_blocking(differ).await?)
}
