//! What executors answered about tasks becomes events of their rollouts.

use serde_json::json;
use stanch_engine::rollout::{Event, Word};
use stanch_ledger::NewEntry;
use stanch_model::id::{AssetId, RemediationId, TaskId};
use stanch_model::order::{Answer, CheckOutcome, Receipt, Verb};
use stanch_store::receipt::HandleReceipt;
use stanch_store::{Transition, Write};

use super::{TakeError, quietly, take};
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::record::Record;
use crate::tasks::{PassError, orders};

/// Acts on what executors answered about tasks.
pub(super) async fn receipts(app: &App) -> Result<(), PassError> {
    for stored in app.store.unhandled_receipts(&Stage::Rollout.takes_up(), 256).await? {
        let body = &stored.receipt.body;
        let Some(order) = app.store.order(&body.order).await? else { continue };
        let handled =
            || Write::HandleReceipt(HandleReceipt { order: body.order.clone(), forget: false, at: app.now() });
        match order.verb {
            Verb::Verify { .. } => {
                app.store.put(handled()).await?;
                app.bus.nudge(Stage::Verify);
                continue;
            }
            Verb::Hold { .. } | Verb::Release | Verb::Observe { .. } | Verb::Plan { .. } => {
                app.store.put(handled()).await?;
                continue;
            }
            Verb::Rehearse { ref leaf } => {
                rehearsed(app, &order.task, &leaf.asset, body, handled()).await?;
                continue;
            }
            // A question that was refused says nothing of what it asked about: it is asked again.
            Verb::Reconcile { .. } if matches!(body.answer, Answer::Refused { .. }) => {
                app.store.put(handled()).await?;
                continue;
            }
            Verb::Apply(_) | Verb::Undo { .. } | Verb::Reconcile { .. } => {}
        }
        let event = event_of(app, &order.task, body).await?;
        let taken = match event {
            Some((remediation, event)) => {
                take(app, &remediation, &body.executor.to_string(), event, vec![handled()]).await
            }
            None => Ok(false),
        };
        if let Err(TakeError::Busy { .. }) = taken {
            // What follows from the answer cannot begin yet: it is taken up again in the next pass.
            continue;
        }
        // Whatever did not take the write along (nothing moved, or it made no sense) is handled all the same.
        if !quietly(taken)? {
            match app.store.put(handled()).await {
                Err(error) if !error.is_conflict() => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Notes with the remediation what came of carrying it out in a copy of a target.
async fn rehearsed(
    app: &App,
    task: &Option<TaskId>,
    asset: &AssetId,
    receipt: &Receipt,
    handled: Write,
) -> Result<(), PassError> {
    let task = match task {
        Some(task) => app.store.task(task).await?,
        None => None,
    };
    let Some(id) = task.map(|task| task.remediation) else {
        app.store.put(handled).await?;
        return Ok(());
    };
    let (outcome, why) = match &receipt.answer {
        Answer::Rehearsed { rehearsed } => (rehearsed.outcome(), None),
        Answer::Refused { message, .. } => (CheckOutcome::Inconclusive, Some(message.as_str())),
        _ => (CheckOutcome::Inconclusive, Some("the executor answered something else")),
    };
    let event = match outcome {
        CheckOutcome::Successful => "rehearsal_successful",
        CheckOutcome::Failed => "rehearsal_failed",
        CheckOutcome::Inconclusive => "rehearsal_inconclusive",
    };
    let entry = NewEntry::new(app.now(), receipt.executor.to_string(), event)
        .about(&id)
        .about(asset)
        .about(&receipt.order)
        .with(json!({ "why": why }));
    app.store.commit(Transition::new(entry).write(handled)).await?;
    let id = id.to_string();
    let text = format!("rehearsal: {outcome:?}").to_lowercase();
    app.bus.tell(Live { kind: "remediation", subject: id.clone(), remediation: Some(id), text });
    Ok(())
}

async fn event_of(
    app: &App,
    task: &Option<TaskId>,
    receipt: &Receipt,
) -> Result<Option<(RemediationId, Event)>, PassError> {
    let Some(task) = task else { return Ok(None) };
    let Some(row) = app.store.task(task).await? else { return Ok(None) };
    let Some(remediation) = app.store.remediation(&row.remediation).await? else { return Ok(None) };
    let Some(rollout) = Record::read(&remediation.body).rollout else { return Ok(None) };
    let Some(known) = rollout.task(task) else { return Ok(None) };
    let Some(number) = (1..=known.orders).find(|number| orders::numbered(task, "order", *number) == receipt.order)
    else {
        return Ok(None);
    };
    let steps = match &receipt.answer {
        Answer::Reconciled { .. } => {
            let plan = app.store.plan(&rollout.plan).await?;
            let leaf = plan.and_then(|plan| plan.leaves.into_iter().find(|leaf| leaf.asset == known.asset));
            leaf.map_or(0, |leaf| leaf.steps.len())
        }
        _ => 0,
    };
    let word = Word::of(&receipt.answer, steps, receipt.at);
    Ok(word.map(|word| (row.remediation, Event::Receipt { task: task.clone(), order: number, word })))
}
