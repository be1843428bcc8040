//! Campaigns to undos: asks for what a policy did to be taken back, the last first on every asset, and notes how each
//! ended. What was done later and stays keeps what was done before it on the same asset.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use stanch_engine::rollout::{Illegal, Rollout, Task};
use stanch_ledger::NewEntry;
use stanch_model::id::{AssetId, ItemId, RemediationId};
use stanch_model::remediation::{RemediationState, TaskState};
use stanch_store::campaign::{PutCampaign, StoredCampaign};
use stanch_store::{Transition, Write};

use super::PassError;
use super::rollout::TakeError;
use crate::app::App;
use crate::ask;
use crate::bus::Live;
use crate::record::{Campaign, CampaignStep, Record, StepState};

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let mut first = Ok(());
    for stored in app.store.live_campaigns().await? {
        // One that cannot go on keeps no other from it.
        first = first.and(go_on(app, &stored).await);
    }
    first
}

async fn go_on(app: &App, stored: &StoredCampaign) -> Result<(), PassError> {
    let before = Campaign::read(&stored.body);
    let mut campaign = before.clone();
    // What was done earlier on these assets waits, or stays.
    let mut waits: BTreeSet<AssetId> = BTreeSet::new();
    let mut stays: BTreeSet<AssetId> = BTreeSet::new();
    let mut due: BTreeMap<RemediationId, Vec<usize>> = BTreeMap::new();
    for (at, step) in campaign.steps.iter_mut().enumerate() {
        let asset = step.back.asset.clone();
        match &step.state {
            StepState::Waiting if stays.contains(&asset) => {
                step.state = StepState::Kept { why: "what was done after it on this asset stays".to_owned() };
            }
            StepState::Waiting if !waits.contains(&asset) => {
                due.entry(step.back.remediation.clone()).or_default().push(at);
            }
            StepState::Asked => step.state = ended(app, step).await?,
            _ => {}
        }
        match &step.state {
            StepState::Waiting | StepState::Asked => drop(waits.insert(asset)),
            StepState::Kept { .. } => drop(stays.insert(asset)),
            StepState::Done => {}
        }
    }
    let mut first = Ok(());
    for steps in due.into_values() {
        first = first.and(begin(app, &mut campaign, steps).await);
    }
    let over = campaign.steps.iter().all(|step| matches!(step.state, StepState::Done | StepState::Kept { .. }));
    if campaign == before && !over {
        return first;
    }
    let now = app.now();
    let put =
        PutCampaign { id: stored.id.clone(), generation: stored.generation, over, body: campaign.write(), at: now };
    let mut transition = Transition::silent(Write::PutCampaign(put));
    if over {
        let kept = campaign.steps.iter().filter(|step| matches!(step.state, StepState::Kept { .. })).count();
        transition = transition.entry(
            NewEntry::new(now, "server", "campaign_ended")
                .about(&stored.id)
                .with(json!({ "policy": campaign.policy, "taken_back": campaign.steps.len() - kept, "kept": kept })),
        );
    }
    app.store.commit(transition).await?;
    app.bus.tell(Live::of("campaign", &stored.id, if over { "over" } else { "goes on" }));
    first
}

/// Asks for the undo of what one remediation did on these assets, all of it at once: while it goes back on one of them, it
/// takes no other word. What a server that stopped since has asked already is not asked again.
async fn begin(app: &App, campaign: &mut Campaign, steps: Vec<usize>) -> Result<(), PassError> {
    let (mut asked, mut items) = (Vec::new(), Vec::new());
    for at in steps {
        let Some(step) = campaign.steps.get_mut(at) else { continue };
        match task(app, step).await? {
            None => step.state = StepState::Kept { why: "its remediation is not known any more".to_owned() },
            Some((_, task)) if is_back(step, &task) || is_mine(step, &task) => step.state = ended(app, step).await?,
            // Something else of it goes back: afterwards.
            Some((_, task)) if task.state == TaskState::Undoing => {}
            Some((_, task)) => {
                let left: Vec<ItemId> =
                    step.back.items.iter().filter(|item| !task.undone.contains(item)).cloned().collect();
                asked.push((at, left.clone()));
                items.extend(left);
            }
        }
    }
    let reason = format!("everything that {} did: {}", campaign.policy, campaign.reason);
    let Some(id) = asked.first().and_then(|(at, _)| campaign.steps.get(*at)).map(|step| step.back.remediation.clone())
    else {
        return Ok(());
    };
    let mut groups = vec![(asked, items)];
    while let Some((asked, items)) = groups.pop() {
        let state = match ask::take_back(app, &campaign.by, &id, items, &reason, false).await {
            Ok(()) => StepState::Asked,
            Err(TakeError::Busy { .. }) => StepState::Waiting,
            Err(TakeError::Illegal(Illegal::NotNow { state, .. })) if is_going_back(state) => StepState::Waiting,
            Err(TakeError::Pass(error)) => return Err(error),
            // One that cannot go back keeps no other from it.
            Err(_) if asked.len() > 1 => {
                groups.extend(asked.into_iter().map(|(at, left)| (vec![(at, left.clone())], left)));
                continue;
            }
            Err(error) => StepState::Kept { why: error.to_string() },
        };
        for (at, _) in asked {
            if let Some(step) = campaign.steps.get_mut(at) {
                step.state = state.clone();
            }
        }
    }
    Ok(())
}

/// Whether it takes something back, and takes another word about that only afterwards.
const fn is_going_back(state: RemediationState) -> bool {
    matches!(state, RemediationState::Halted | RemediationState::RollingBack)
}

async fn ended(app: &App, step: &CampaignStep) -> Result<StepState, PassError> {
    let Some((_, task)) = task(app, step).await? else {
        return Ok(StepState::Kept { why: "its remediation is not known any more".to_owned() });
    };
    Ok(if is_back(step, &task) {
        StepState::Done
    } else if task.state == TaskState::Undoing || is_mine(step, &task) {
        StepState::Asked
    } else {
        let said = task.message.unwrap_or_else(|| format!("its task is {}", task.state.name()));
        StepState::Kept { why: format!("it could not be taken back: {said}") }
    })
}

fn is_back(step: &CampaignStep, task: &Task) -> bool {
    step.back.items.iter().all(|item| task.undone.contains(item))
}

/// Whether something of the step is to go back.
fn is_mine(step: &CampaignStep, task: &Task) -> bool {
    task.state != TaskState::UndoFailed && step.back.items.iter().any(|item| task.to_undo.contains(item))
}

async fn task(app: &App, step: &CampaignStep) -> Result<Option<(Rollout, Task)>, PassError> {
    let Some(row) = app.store.remediation(&step.back.remediation).await? else { return Ok(None) };
    let Some(rollout) = Record::read(&row.body).rollout else { return Ok(None) };
    let task = rollout.tasks.iter().find(|task| task.asset == step.back.asset).cloned();
    Ok(task.map(|task| (rollout, task)))
}
