//! Newer facts to verdicts: has a task done what it was for? The same detectors that found the problem say so.

use std::sync::Arc;

use stanch_action::catalogue;
use stanch_engine::rollout::{Event, Task};
use stanch_engine::{JudgeInput, Judgement, judge, judge_held_off};
use stanch_feeds::detect;
use stanch_feeds::detect::posture::on_request;
use stanch_model::finding::Finding;
use stanch_model::id::{RemediationId, TaskId};
use stanch_model::order::{Answer, Check, CheckOutcome, Verb};
use stanch_model::remediation::TaskState;
use stanch_store::Write;
use stanch_store::order::StoredOrder;
use stanch_store::remediation::RemediationFilter;
use stanch_store::verification::Verification;

use super::rollout::{TakeError, take};
use super::{PassError, orders};
use crate::app::App;
use crate::record::Record;

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let filter = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    for row in app.store.all_remediations(&filter).await? {
        let record = Record::read(&row.body);
        let Some(rollout) = &record.rollout else { continue };
        for task in &rollout.tasks {
            let asked = task.round > 0 && task.judged_round != task.round;
            if asked && matches!(task.state, TaskState::Succeeded | TaskState::Verified) {
                one(app, &row.id, &record, task).await?;
            }
        }
    }
    Ok(())
}

/// The name of the orders of one round.
pub(super) fn kind(round: u32) -> String {
    format!("verify-{round}")
}

/// The orders that asked for the checks of one round, oldest first.
pub(super) async fn asked(app: &App, task: &TaskId, round: u32) -> Result<Vec<StoredOrder>, PassError> {
    let all = app.store.orders_of(task).await?;
    let checks: Vec<StoredOrder> = all.into_iter().filter(|order| matches!(order.verb, Verb::Verify { .. })).collect();
    let ids: Vec<_> = (0..u32::try_from(checks.len()).unwrap_or(u32::MAX))
        .map(|number| orders::numbered(task, &kind(round), number))
        .collect();
    Ok(checks.into_iter().filter(|order| ids.contains(&order.id)).collect())
}

async fn one(app: &App, remediation: &RemediationId, record: &Record, task: &Task) -> Result<(), PassError> {
    let mut checks = None;
    let mut since = None;
    for order in asked(app, &task.id, task.round).await? {
        since = since.or(Some(order.created_at));
        if let Some(receipt) = app.store.receipt(&order.id).await? {
            checks = Some((checks_of(&receipt.receipt.body.answer), receipt.receipt.body.at));
        }
    }
    let (Some((checks, checked_at)), Some(since)) = (checks, since) else { return Ok(()) };
    if holds_off(task) {
        let judgement = judge_held_off(&task.items, &checks, checked_at, task.acted_at);
        return tell(app, remediation, task, judgement).await;
    }
    let Some(facts) = app.store.facts(&task.asset).await? else { return Ok(()) };
    let read_at = facts.facts.collected_at;
    // Facts read before the checks were asked for belong to an earlier round, or to the time before the act.
    if read_at < since || task.acted_at.is_some_and(|acted_at| read_at <= acted_at) {
        return Ok(());
    }
    let before = before(app, record, task).await?;
    let items: Vec<_> = record.before.iter().filter(|item| task.items.contains(&item.id)).cloned().collect();
    let now = app.now();
    let held = app.knowledge.held();
    let feeds_fresh = held.feeds.feeds(now).iter().all(|feed| feed.freshness.is_believed());
    let facts = Arc::new(facts.facts);
    let after: Vec<Finding> = {
        let (facts, feeds) = (Arc::clone(&facts), Arc::clone(&held.feeds));
        let all = move || {
            let mut findings = detect(&facts, &feeds, now).findings;
            findings.extend(on_request(&facts));
            findings
        };
        tokio::task::spawn_blocking(all).await?
    };
    let judgement = judge(&JudgeInput {
        items: &items,
        before: &before,
        after: &after,
        facts: &facts,
        checks: &checks,
        acted_at: task.acted_at,
        feeds_fresh,
    });
    tell(app, remediation, task, judgement).await
}

/// Whether nothing that a task does ends the problem: then no detector can say whether it did it.
fn holds_off(task: &Task) -> bool {
    let declared = || task.actions.iter().map(|action| catalogue::find(action));
    !task.actions.is_empty() && declared().all(|known| known.is_some_and(|known| !known.fixes))
}

/// Tells the rollout, and keeps what was judged.
async fn tell(app: &App, remediation: &RemediationId, task: &Task, judgement: Judgement) -> Result<(), PassError> {
    let kept = Write::PutVerification(Verification {
        task: task.id.clone(),
        at: app.now(),
        outcome: judgement.outcome,
        facts_at: Some(judgement.facts_at),
        checks: judgement.checks.clone(),
    });
    tracing::debug!(task = %task.id, outcome = ?judgement.outcome, "judged");
    let event = Event::Judged { task: task.id.clone(), round: task.round, judgement: Box::new(judgement) };
    match take(app, remediation, "server", event, vec![kept]).await {
        // Where the lane is taken, the same is judged again in the next pass.
        Ok(_) | Err(TakeError::Illegal(_) | TakeError::Missing(_) | TakeError::NoPlan(_) | TakeError::Busy { .. }) => {
            Ok(())
        }
        Err(TakeError::Pass(error)) => Err(error),
    }
}

fn checks_of(answer: &Answer) -> Vec<Check> {
    let told =
        |detail: String| vec![Check { name: "action-checks".to_owned(), outcome: CheckOutcome::Inconclusive, detail }];
    match answer {
        Answer::Verified { checks } => checks.clone(),
        Answer::Refused { message, .. } => told(format!("the executor did not run them: {message}")),
        _ => told("the executor answered something else".to_owned()),
    }
}

/// The findings as they were when the plan was made; rows of findings keep what was last seen of them.
async fn before(app: &App, record: &Record, task: &Task) -> Result<Vec<Finding>, PassError> {
    let mut findings = Vec::new();
    for item in record.before.iter().filter(|item| task.items.contains(&item.id)) {
        for id in &item.findings {
            findings.extend(app.store.finding(id).await?.map(|stored| stored.finding));
        }
    }
    Ok(findings)
}
