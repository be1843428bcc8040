//! A person wants to see, before anything is touched, what a plan does: it is carried out in a copy of one target.

use stanch_ledger::NewEntry;
use stanch_model::id::{AssetId, OrderId};
use stanch_model::order::Verb;
use stanch_model::plan::Plan;
use stanch_model::remediation::RemediationState as S;
use stanch_store::remediation::{EditRemediation, StoredRemediation};
use stanch_store::{CommitError, Transition, Write};

use super::{row, shown};
use crate::api::Problem;
use crate::api::types::{Rehearse, Remediation};
use crate::app::App;
use crate::auth::Visitor;
use crate::bus::Live;
use crate::clock::ten;
use crate::record::{REHEARSALS, Record, Rehearsal};
use crate::tasks::orders;

/// How often it is tried while the remediation moves.
const ATTEMPTS: u32 = 4;

/// Has one leaf of a plan carried out in a copy of its target. What is asked for is answered in the remediation.
pub(crate) async fn rehearse(
    app: &App,
    visitor: &Visitor,
    id: &str,
    wanted: &Rehearse,
) -> Result<Remediation, Problem> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match once(app, visitor, id, wanted).await? {
            Ok(()) => return shown(app, id).await,
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn once(app: &App, visitor: &Visitor, id: &str, wanted: &Rehearse) -> Result<Result<(), CommitError>, Problem> {
    let row = row(app, id).await?;
    let begun = !matches!(row.state, S::AwaitingApproval | S::Approved | S::Scheduled | S::Paused);
    let Some(hash) = row.plan.filter(|_| !begun) else {
        let why = format!("only a plan that waits can be rehearsed, and this is {}", row.state.name());
        return Err(Problem::conflict("wrong_state", why.replace('_', " ")));
    };
    let plan = app.store.plan(&hash).await?.ok_or_else(|| Problem::not_found("plan", &hash.to_string()))?;
    let asset = target(app, &plan, wanted).await?;
    let leaf = plan.leaves.iter().find(|leaf| leaf.asset == asset).cloned();
    let leaf = leaf.ok_or_else(|| Problem::not_found("target of this plan", asset.as_str()))?;
    let mut record = Record::read(&row.body);
    for known in record.rehearsals.iter().filter(|known| known.plan == hash && known.asset == asset) {
        if app.store.receipt(&known.order).await?.is_none() && app.now() < known.until {
            return Err(Problem::conflict("busy", "it is being rehearsed there").hint("wait for what comes of it"));
        }
    }
    let now = app.now();
    let caller = orders::executor_of(app, &asset).await;
    let patience = app.config.intervals.start_within;
    let Some((executor, caller)) = caller.filter(|(_, caller)| caller.is_connected(now, patience)) else {
        return Err(Problem::conflict("away", "the executor of that target is not connected"));
    };
    let task = record.rollout.iter().flat_map(|rollout| &rollout.tasks).find(|task| task.asset == asset);
    let task = task.map(|task| task.id.clone()).ok_or_else(|| Problem::not_found("task", asset.as_str()))?;
    let entropy = ten(app.config.entropy.as_ref()).map_err(|error| Problem::internal("drawing an id", &error))?;
    let order = OrderId::from_entropy(entropy);
    let write = orders::for_task(app, order.clone(), &executor, &task, Verb::Rehearse { leaf }, now);
    let until = if let Write::NewOrder(new) = &write { new.finish_before } else { now };
    let by = visitor.name.clone();
    record.rehearsals.push(Rehearsal { order: order.clone(), plan: hash, asset: asset.clone(), by, at: now, until });
    let surplus = record.rehearsals.len().saturating_sub(REHEARSALS);
    record.rehearsals.drain(..surplus);
    let entry = NewEntry::new(now, &visitor.name, "rehearsal_asked")
        .about(&row.id)
        .about(&asset)
        .about(&order)
        .with(serde_json::json!({ "why": format!("on {}", caller.asset.name) }))
        .resting_on("plan", hash);
    let edit = EditRemediation {
        id: row.id.clone(),
        generation: row.generation,
        waiting: row.waiting.clone(),
        body: Some(record.write()),
        at: now,
    };
    let transition = Transition::new(entry).write(write).write(Write::EditRemediation(edit));
    if let Err(error) = app.store.commit(transition).await {
        return Ok(Err(error));
    }
    app.bus.wake([&executor]);
    tell(app, &row, format!("is carried out in a copy of {}", caller.asset.name));
    Ok(Ok(()))
}

fn tell(app: &App, row: &StoredRemediation, text: String) {
    let id = row.id.to_string();
    app.bus.tell(Live { kind: "remediation", subject: id.clone(), remediation: Some(id), text });
}

/// The target that is meant: the one that is named, else the first that would be touched.
async fn target(app: &App, plan: &Plan, wanted: &Rehearse) -> Result<AssetId, Problem> {
    let Some(named) = wanted.asset.as_deref() else {
        let first = plan.waves.first().and_then(|wave| wave.assets.first());
        return first.cloned().ok_or_else(|| Problem::conflict("nothing_to_do", "the plan has no target"));
    };
    for leaf in &plan.leaves {
        let known = app.store.asset(&leaf.asset).await?;
        if leaf.asset.as_str() == named || known.is_some_and(|known| known.asset.name == named) {
            return Ok(leaf.asset.clone());
        }
    }
    let shown: String = named.chars().take(64).collect();
    Err(Problem::not_found("target of this plan", &shown))
}
