//! Making orders: who gets them, under which id, for how long.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use stanch_model::asset::AssetKind;
use stanch_model::canonical::{Digest, digest};
use stanch_model::delta;
use stanch_model::id::{AssetId, ExecutorId, OrderId, TaskId};
use stanch_model::order::{Position, Verb};
use stanch_store::facts::Told;
use stanch_store::order::NewOrder;
use stanch_store::{Transition, Write};

use super::PassError;
use crate::app::App;
use crate::clock::ten;
use crate::gateway::Caller;

/// Until when an order that only reads must be over.
const READS: SignedDuration = SignedDuration::from_mins(30);
/// Facts are read whole at least so often.
const WHOLE: SignedDuration = SignedDuration::from_hours(24);
/// Until when an order that changes, if only a copy, must be over.
const CHANGES: SignedDuration = SignedDuration::from_hours(2);

/// The executor of an asset, if one was ever known.
pub(crate) async fn executor_of(app: &App, asset: &AssetId) -> Option<(ExecutorId, Caller)> {
    let callers = app.callers.lock().await;
    callers.of(asset).map(|(id, caller)| (id.clone(), caller.clone()))
}

/// The executor of an asset that has facts to be read: nothing but a host has.
pub(crate) async fn host_executor_of(app: &App, asset: &AssetId) -> Option<(ExecutorId, Caller)> {
    executor_of(app, asset).await.filter(|(_, caller)| caller.asset.kind == AssetKind::Host)
}

/// The id of the order that a task's number names: the same whenever it is asked, so that making it twice makes one.
pub(crate) fn numbered(task: &TaskId, kind: &str, number: u32) -> OrderId {
    // Texts and numbers always have a canonical form.
    let id = digest("stanch/order-id/v1", &(task, kind, number)).unwrap_or(Digest::from_bytes([0; 32]));
    OrderId::from_digest(&id)
}

/// What has the facts of an asset read: what is different since those at hand, where its executor can tell that and they
/// may be built on; else all of it, and so once a day whatever comes of differences.
pub(crate) async fn observe(app: &App, asset: &AssetId, caller: &Caller, refresh: bool) -> Result<Verb, PassError> {
    let told = match caller.deltas {
        delta::FORM => app.store.told(asset).await?,
        _ => None,
    };
    let now = app.now();
    let fits = |told: &Told| told.epoch == app.epoch && now.duration_since(told.whole_at) < WHOLE;
    Ok(Verb::Observe { refresh, since: told.filter(fits).and_then(|told| told.digest) })
}

/// The executors that a transition makes orders for: their polls are to be woken once it is committed.
pub(crate) fn receivers(transition: &Transition) -> BTreeSet<ExecutorId> {
    let receivers = transition.writes.iter().filter_map(|write| match write {
        Write::NewOrder(new) => Some(new.executor.clone()),
        _ => None,
    });
    receivers.collect()
}

/// A new order under a drawn id.
pub(crate) fn order(
    app: &App,
    executor: &ExecutorId,
    verb: Verb,
    now: Timestamp,
) -> Result<(OrderId, Write), PassError> {
    let id = OrderId::from_entropy(ten(app.config.entropy.as_ref())?);
    Ok((id.clone(), write(app, id, executor, None, verb, now)))
}

/// The same, and its position is above `position`, whatever was given to this executor before.
pub(crate) fn after(
    app: &App,
    executor: &ExecutorId,
    verb: Verb,
    position: Position,
    now: Timestamp,
) -> Result<Write, PassError> {
    let (_, write) = order(app, executor, verb, now)?;
    Ok(match write {
        Write::NewOrder(new) => Write::NewOrder(NewOrder { after: Some(position), ..new }),
        other => other,
    })
}

/// A new order for a task.
pub(crate) fn for_task(
    app: &App,
    id: OrderId,
    executor: &ExecutorId,
    task: &TaskId,
    verb: Verb,
    now: Timestamp,
) -> Write {
    write(app, id, executor, Some(task.clone()), verb, now)
}

fn write(app: &App, id: OrderId, executor: &ExecutorId, task: Option<TaskId>, verb: Verb, now: Timestamp) -> Write {
    let life = if matches!(verb, Verb::Apply(_) | Verb::Undo { .. } | Verb::Rehearse { .. }) { CHANGES } else { READS };
    let start_within = u32::try_from(app.config.intervals.start_within.as_secs()).unwrap_or(60);
    Write::NewOrder(NewOrder {
        id,
        executor: executor.clone(),
        epoch: app.epoch,
        task,
        verb,
        after: None,
        start_within_seconds: start_within,
        finish_before: now.saturating_add(life).unwrap_or(now),
        at: now,
    })
}
