//! What executors answered about tasks becomes events of their rollouts.

use std::collections::BTreeMap;

use serde_json::json;
use stanch_engine::rollout::{Event, Rollout, Word};
use stanch_ledger::NewEntry;
use stanch_model::id::{AssetId, RemediationId, TaskId};
use stanch_model::order::{Answer, CheckOutcome, Receipt, Verb};
use stanch_store::receipt::HandleReceipt;
use stanch_store::{Transition, Write};

use super::take::{Told, take_all};
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::record::Record;
use crate::tasks::{PassError, orders};

/// Acts on what executors answered about tasks.
pub(super) async fn receipts(app: &App) -> Result<(), PassError> {
    let mut answered: BTreeMap<RemediationId, Vec<(TaskId, Receipt)>> = BTreeMap::new();
    for stored in app.store.unhandled_receipts(&Stage::Rollout.takes_up(), 256).await? {
        let body = stored.receipt.body;
        let Some(order) = app.store.order(&body.order).await? else { continue };
        match order.verb {
            Verb::Verify { .. } => {
                app.store.put(handled(app, &body)).await?;
                app.bus.nudge(Stage::Verify);
            }
            Verb::Hold { .. } | Verb::Release | Verb::Observe { .. } | Verb::Plan { .. } => {
                app.store.put(handled(app, &body)).await?;
            }
            Verb::Rehearse { ref leaf } => {
                rehearsed(app, &order.task, &leaf.asset, &body, handled(app, &body)).await?;
            }
            // A question that was refused says nothing of what it asked about: it is asked again.
            Verb::Reconcile { .. } if matches!(body.answer, Answer::Refused { .. }) => {
                app.store.put(handled(app, &body)).await?;
            }
            Verb::Apply(_) | Verb::Undo { .. } | Verb::Reconcile { .. } => {
                let task = match &order.task {
                    Some(task) => app.store.task(task).await?,
                    None => None,
                };
                match task {
                    Some(task) => answered.entry(task.remediation).or_default().push((task.id, body)),
                    None => drop(app.store.put(handled(app, &body)).await?),
                }
            }
        }
    }
    for (remediation, receipts) in answered {
        taken_up(app, &remediation, receipts).await?;
    }
    Ok(())
}

fn handled(app: &App, receipt: &Receipt) -> Write {
    Write::HandleReceipt(HandleReceipt { order: receipt.order.clone(), forget: false, at: app.now() })
}

/// Takes up what was answered about tasks of one remediation.
async fn taken_up(app: &App, remediation: &RemediationId, receipts: Vec<(TaskId, Receipt)>) -> Result<(), PassError> {
    let row = app.store.remediation(remediation).await?;
    let rollout = row.and_then(|row| Record::read(&row.body).rollout);
    let steps = match &rollout {
        Some(rollout) if receipts.iter().any(|(_, receipt)| matches!(receipt.answer, Answer::Reconciled { .. })) => {
            let plan = app.store.plan(&rollout.plan).await?;
            plan.into_iter().flat_map(|plan| plan.leaves).map(|leaf| (leaf.asset, leaf.steps.len())).collect()
        }
        _ => BTreeMap::new(),
    };
    let mut told = Vec::with_capacity(receipts.len());
    let mut over = Vec::new();
    for (task, receipt) in receipts {
        let with = vec![handled(app, &receipt)];
        match rollout.as_ref().and_then(|rollout| event_of(rollout, &task, &steps, &receipt)) {
            Some(event) => told.push(Told { who: receipt.executor.to_string(), event, with }),
            None => over.extend(with),
        }
    }
    // Whatever did not take its write along (nothing moved, or it made no sense) is handled all the same.
    over.extend(take_all(app, remediation, told).await?.into_iter().flat_map(|left| left.with));
    for write in over {
        match app.store.put(write).await {
            Err(error) if !error.is_conflict() => return Err(error.into()),
            _ => {}
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

fn event_of(rollout: &Rollout, task: &TaskId, steps: &BTreeMap<AssetId, usize>, receipt: &Receipt) -> Option<Event> {
    let known = rollout.task(task)?;
    let number = (1..=known.orders).find(|number| orders::numbered(task, "order", *number) == receipt.order)?;
    let steps = steps.get(&known.asset).copied().unwrap_or(0);
    let word = Word::of(&receipt.answer, steps, receipt.at)?;
    Some(Event::Receipt { task: task.clone(), order: number, word })
}
