//! Moves remediations that have a plan, and their tasks: everything that happens to them comes in here, and nothing else
//! moves them.

mod answers;
mod change;
mod take;

pub(crate) use take::{TakeError, Told, superseding, take, take_all};

use std::collections::BTreeMap;

use stanch_engine::hold::About;
use stanch_engine::rollout::{Event, Hold, Rollout};
use stanch_model::Digest;
use stanch_model::hold::HoldScope;
use stanch_model::id::{ActorId, RemediationId};
use stanch_store::remediation::{RemediationFilter, StoredRemediation};

use super::PassError;
use super::decide::named;
use super::surroundings::Estate;
use crate::app::App;
use crate::record::Record;

/// Ticks taken in one pass, at most: a task makes one move in each.
const TICKS: u32 = 24;

/// The id of an actor of this name.
pub(crate) fn actor(name: &str) -> ActorId {
    // A text always has a canonical form.
    let id = stanch_model::canonical::digest("stanch/actor/v1", name).unwrap_or(Digest::from_bytes([0; 32]));
    ActorId::from_digest(&id)
}

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    answers::receipts(app).await?;
    let filter = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    let rows = app.store.all_remediations(&filter).await?;
    let rows = rows.into_iter().filter_map(|row| Some((Record::read(&row.body).rollout?, row)));
    let rows: Vec<(Rollout, StoredRemediation)> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let estate = Estate::read(app).await?;
    for (rollout, row) in rows {
        quietly(hold(app, &row.id, &rollout).await)?;
        quietly(surroundings(app, &row, &rollout, &estate).await)?;
        facts(app, &row.id, &rollout).await?;
        for _ in 0..TICKS {
            if !tick(app, &row.id).await? {
                break;
            }
        }
    }
    Ok(())
}

/// One tick. A task for which the store has no room waits; the others go on without it.
async fn tick(app: &App, id: &RemediationId) -> Result<bool, PassError> {
    let taken = take(app, id, "server", Event::Tick, Vec::new()).await;
    if let Err(TakeError::Busy { task: Some(task), on: Some(blocked), .. }) = &taken {
        let event = Event::NoRoom { task: task.clone(), blocked: blocked.clone() };
        return quietly(take(app, id, "server", event, Vec::new()).await);
    }
    quietly(taken)
}

/// An event that makes no sense any more changes nothing, and the next pass sees why.
fn quietly(taken: Result<bool, TakeError>) -> Result<bool, PassError> {
    match taken {
        Ok(moved) => Ok(moved),
        Err(TakeError::Pass(error)) => Err(error),
        Err(error) => {
            tracing::debug!(%error, "an event was not taken");
            Ok(false)
        }
    }
}

async fn hold(app: &App, id: &RemediationId, rollout: &Rollout) -> Result<bool, TakeError> {
    let holds = app.store.holds().await?;
    let mut environments = BTreeMap::new();
    if !holds.is_empty() {
        // Where an asset stands now counts, as it does when orders are handed out.
        let targets = rollout.tasks.iter().map(|task| task.asset.clone()).collect();
        let assets = app.store.assets_named(&targets).await?.into_iter().map(|known| known.asset);
        environments.extend(assets.map(|asset| (asset.id, asset.environment)));
    }
    // One that covers a part of the targets stops all of them: what would go on without that part was not approved.
    let covers = |hold: &&stanch_store::hold::Hold| {
        let scope = crate::view::hold_scope(hold);
        rollout.tasks.iter().any(|task| {
            let about = About {
                asset: &task.asset,
                environment: environments.get(&task.asset).unwrap_or(&task.environment).as_deref(),
                policies: &rollout.policies,
                actions: &task.actions,
                versions: &task.brings,
            };
            about.is_covered_by(&scope)
        })
    };
    let hold = holds.iter().filter(covers).max_by_key(|hold| hold.level);
    let reason = |hold: &stanch_store::hold::Hold| match crate::view::hold_scope(hold) {
        HoldScope::Version(patch) => format!("{} is blocked as a bad patch: {}", named(&patch), hold.reason),
        _ => hold.reason.clone(),
    };
    let hold = hold.map(|hold| Hold { level: hold.level, reason: reason(hold) });
    if rollout.hold == hold {
        Ok(false)
    } else {
        take(app, id, "server", Event::HoldChanged { hold }, Vec::new()).await
    }
}

async fn surroundings(
    app: &App,
    row: &StoredRemediation,
    rollout: &Rollout,
    estate: &Estate,
) -> Result<bool, TakeError> {
    if rollout.state.is_over() {
        return Ok(false);
    }
    let surroundings = super::surroundings::of(app, row, rollout, estate).await?;
    if rollout.surroundings == surroundings {
        return Ok(false);
    }
    let event = Event::SurroundingsChanged { surroundings: Box::new(surroundings) };
    take(app, &row.id, "server", event, Vec::new()).await
}

async fn facts(app: &App, id: &RemediationId, rollout: &Rollout) -> Result<(), PassError> {
    let mut told = Vec::new();
    for task in &rollout.tasks {
        let Some(collected_at) = app.store.facts_at(&task.asset).await? else { continue };
        if task.facts_at.is_none_or(|at| at < collected_at) {
            told.push(Told::seen(Event::Facts { asset: task.asset.clone(), collected_at }));
        }
    }
    take_all(app, id, told).await.map(drop)
}
