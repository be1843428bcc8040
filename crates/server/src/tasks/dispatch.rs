//! Watches what was handed out: whether executors have it, whether they can be reached, and whether they fell silent.

use jiff::SignedDuration;
use stanch_engine::rollout::{Event, Rollout, Task, Word};
use stanch_model::id::RemediationId;
use stanch_model::remediation::TaskState;
use stanch_store::order::{OrderState, StoredOrder, VoidOrder};
use stanch_store::remediation::RemediationFilter;

use super::rollout::{TakeError, take};
use super::{PassError, orders};
use crate::app::App;

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let filter = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    for row in app.store.all_remediations(&filter).await? {
        let Some(rollout) = crate::record::Record::read(&row.body).rollout else { continue };
        for task in &rollout.tasks {
            reach(app, &row.id, task).await?;
            silence(app, &row.id, &rollout, task).await?;
        }
    }
    Ok(())
}

/// Longer than this without a poll, an executor counts as out of reach.
pub(crate) fn patience(app: &App) -> std::time::Duration {
    app.config.intervals.park.saturating_mul(2) + app.config.intervals.silence
}

async fn reach(app: &App, id: &RemediationId, task: &Task) -> Result<(), PassError> {
    let now = app.now();
    let caller = orders::executor_of(app, &task.asset).await;
    let reachable = caller.is_some_and(|(_, caller)| caller.is_connected(now, patience(app)));
    if task.away == reachable {
        let event = Event::Reach { asset: task.asset.clone(), reachable };
        told(take(app, id, "server", event, Vec::new()).await)?;
    }
    Ok(())
}

async fn silence(app: &App, id: &RemediationId, rollout: &Rollout, task: &Task) -> Result<(), PassError> {
    let number = match task.state {
        TaskState::Dispatched | TaskState::Accepted | TaskState::Running => task.apply_order,
        TaskState::Undoing if task.undo_order > 0 => task.undo_order,
        _ => return Ok(()),
    };
    let order = orders::numbered(&task.id, "order", number);
    let Some(order) = app.store.order(&order).await? else {
        // It could not be made, because no executor was known.
        return told(take(app, id, "server", Event::LeaseExpired { task: task.id.clone() }, Vec::new()).await);
    };
    if order.state == OrderState::Answered {
        return Ok(());
    }
    let now = app.now();
    let caller = orders::executor_of(app, &task.asset).await.map(|(_, caller)| caller);
    let has_it = caller.as_ref().is_some_and(|caller| caller.position >= order.position);
    if task.state == TaskState::Dispatched && has_it && order.state == OrderState::Delivered {
        let event = Event::Receipt { task: task.id.clone(), order: number, word: Word::Accepted };
        return told(take(app, id, &order.executor.to_string(), event, Vec::new()).await);
    }
    let limit = SignedDuration::try_from(app.config.intervals.silence).unwrap_or(SignedDuration::MAX);
    let last = last_word(app, &order);
    // An order that a hold keeps back is not silence of its executor.
    if rollout.hold.is_some() && matches!(order.state, OrderState::Waiting | OrderState::Void) {
        return Ok(());
    }
    // Orders are taken in their order: one that was kept back while a later one was taken is not taken any more.
    let passed = order.state == OrderState::Void || (order.state == OrderState::Waiting && has_it);
    if !passed && now.duration_since(last) <= limit {
        return Ok(());
    }
    if order.state == OrderState::Waiting && !has_it {
        // Never handed out: taken back, so that it cannot start after its journal said that it did not.
        app.store.put(stanch_store::Write::VoidOrder(VoidOrder { id: order.id })).await?;
    }
    told(take(app, id, "server", Event::LeaseExpired { task: task.id.clone() }, Vec::new()).await)
}

/// When something was last heard of an order: handed out, or a word on the way.
fn last_word(app: &App, order: &StoredOrder) -> jiff::Timestamp {
    let progress = app.progress(&order.id).map(|progress| progress.at);
    [Some(order.created_at), order.delivered_at, progress].into_iter().flatten().max().unwrap_or(order.created_at)
}

fn told(taken: Result<bool, TakeError>) -> Result<(), PassError> {
    match taken {
        Err(TakeError::Pass(error)) => Err(error),
        _ => Ok(()),
    }
}
