//! Watches what was handed out: whether executors have it, whether they can be reached, and whether they fell silent.

use jiff::{SignedDuration, Timestamp};
use stanch_engine::rollout::{Awaited, Event, OrderStands, Rollout, Silence, Task, Word};
use stanch_model::id::RemediationId;
use stanch_store::Effect;
use stanch_store::order::{OrderState, StoredOrder, VoidOrder};
use stanch_store::remediation::RemediationFilter;

use super::rollout::{TakeError, Told, take, take_all};
use super::{PassError, orders};
use crate::app::App;

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let filter = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    let rows = app.store.all_remediations(&filter).await?;
    // A break of half that leaves those who were heard before it the time to call again.
    let since = app.look(borne(patience(app) / 2));
    for row in rows {
        let Some(rollout) = crate::record::Record::read(&row.body).rollout else { continue };
        let mut told = Vec::new();
        for task in &rollout.tasks {
            told.extend(reach(app, task, since).await);
        }
        take_all(app, &row.id, told).await?;
        for task in &rollout.tasks {
            silence(app, &row.id, &rollout, task, since).await?;
        }
    }
    Ok(())
}

/// Longer than this without a poll, an executor counts as out of reach.
pub(crate) fn patience(app: &App) -> std::time::Duration {
    app.config.intervals.park.saturating_mul(2) + app.config.intervals.silence
}

fn borne(within: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX)
}

async fn reach(app: &App, task: &Task, since: Timestamp) -> Option<Told> {
    let (now, patience) = (app.now(), patience(app));
    let caller = orders::executor_of(app, &task.asset).await;
    let reachable = caller.as_ref().is_some_and(|(_, caller)| caller.is_connected(now, patience));
    // One that could not call while nobody listened is not known to be away.
    let is_late = caller.is_some_and(|(_, caller)| caller.frozen.is_none() && caller.seen_at < since);
    if !reachable && is_late && now.duration_since(since) <= borne(patience) {
        return None;
    }
    (task.away == reachable).then(|| Told::seen(Event::Reach { asset: task.asset.clone(), reachable }))
}

async fn silence(
    app: &App,
    id: &RemediationId,
    rollout: &Rollout,
    task: &Task,
    since: Timestamp,
) -> Result<(), PassError> {
    let Some(number) = task.awaits() else { return Ok(()) };
    // Who carries it out is looked up first: of an order that is taken in between, the order tells.
    let caller = orders::executor_of(app, &task.asset).await.map(|(_, caller)| caller);
    let order = app.store.order(&orders::numbered(&task.id, "order", number)).await?;
    let now = app.now();
    let awaited = match &order {
        None => Awaited { order: OrderStands::Missing, passed: false, over: false, quiet: true },
        Some(order) => Awaited {
            order: match order.state {
                OrderState::Waiting => OrderStands::Waiting,
                OrderState::Delivered => OrderStands::Delivered,
                OrderState::Answered => OrderStands::Answered,
                OrderState::Void => OrderStands::Void,
            },
            passed: caller.is_some_and(|caller| caller.position >= order.position),
            over: now >= order.finish_before,
            quiet: is_quiet(app, task, order, since).await?,
        },
    };
    let expired = || Event::LeaseExpired { task: task.id.clone() };
    let (who, event) = match (task.silence(awaited, rollout.hold.as_ref().map(|hold| hold.level)), order) {
        (Silence::Wait, _) => return Ok(()),
        (Silence::Accepted, Some(order)) => {
            let event = Event::Receipt { task: task.id.clone(), order: number, word: Word::Accepted };
            (order.executor.to_string(), event)
        }
        (Silence::TakenBack, Some(order)) => {
            let void = VoidOrder { id: order.id, unless_delivered: true };
            if app.store.put(stanch_store::Write::VoidOrder(void)).await?.effects.contains(&Effect::Unchanged) {
                // It was handed out in this moment: the next pass sees where it stands.
                return Ok(());
            }
            ("server".to_owned(), expired())
        }
        (Silence::Expired | Silence::Accepted | Silence::TakenBack, _) => ("server".to_owned(), expired()),
    };
    told(take(app, id, &who, event, Vec::new()).await)
}

/// Whether nothing was heard of an order, nor asked about it, for longer than is borne, while somebody listened.
async fn is_quiet(app: &App, task: &Task, order: &StoredOrder, since: Timestamp) -> Result<bool, PassError> {
    let limit = borne(app.config.intervals.silence);
    let now = app.now();
    if now.duration_since(last_word(app, order).max(since)) <= limit {
        return Ok(false);
    }
    let asked = app.store.order(&orders::numbered(&task.id, "order", task.reconcile_order)).await?;
    Ok(asked.is_none_or(|asked| now.duration_since(asked.created_at) > limit))
}

/// When something was last heard of an order: handed out, or a word on the way.
fn last_word(app: &App, order: &StoredOrder) -> Timestamp {
    let progress = app.progress(&order.id).map(|progress| progress.at);
    [Some(order.created_at), order.delivered_at, progress].into_iter().flatten().max().unwrap_or(order.created_at)
}

fn told(taken: Result<bool, TakeError>) -> Result<(), PassError> {
    match taken {
        Err(TakeError::Pass(error)) => Err(error),
        _ => Ok(()),
    }
}
