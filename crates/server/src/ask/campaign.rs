//! Taking back everything that a policy did between two times.

use std::collections::BTreeSet;

use serde_json::json;
use stanch_engine::campaign::{self, Back, Done, Kept};
use stanch_ledger::NewEntry;
use stanch_model::id::{AssetId, CampaignId};
use stanch_model::plan::Reversibility;
use stanch_store::campaign::PutCampaign;
use stanch_store::remediation::RemediationFilter;
use stanch_store::{Transition, Write};

use super::{can_undo, reason};
use crate::api::Problem;
use crate::api::types::{Campaign as Wire, UndoCampaign};
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::clock::ten;
use crate::record::{Campaign, CampaignStep, Record, StepState};
use crate::view;

/// What would be taken back, or, unless it is only tried, the beginning of it.
pub(crate) async fn undo_campaign(app: &App, who: &str, wanted: UndoCampaign) -> Result<Wire, Problem> {
    let now = app.now();
    let until = wanted.until.unwrap_or(now);
    if wanted.policy.trim().is_empty() {
        return Err(Problem::bad_request("no policy is named: nothing is taken back"));
    }
    if until <= wanted.since {
        return Err(Problem::bad_request("`since` is not before `until`: nothing is taken back"));
    }
    let found = campaign::campaign(&done(app).await?, &wanted.policy, wanted.since, until);
    let step = |back: Back, state| CampaignStep { back, state };
    let kept = |(back, why): (Back, Kept)| step(back, StepState::Kept { why: why.to_string() });
    let steps = found.back.into_iter().map(|back| step(back, StepState::Waiting));
    let campaign = Campaign {
        policy: wanted.policy.trim().to_owned(),
        from: wanted.since,
        until,
        by: who.to_owned(),
        reason: reason(wanted.reason.as_deref(), "no reason given"),
        steps: steps.chain(found.kept.into_iter().map(kept)).collect(),
    };
    if wanted.dry_run {
        return view::campaign_of(app, None, &campaign, false, now).await;
    }
    if !campaign.steps.iter().any(|step| step.state == StepState::Waiting) {
        let why = format!("{} did nothing in that time that can be taken back", campaign.policy);
        return Err(Problem::conflict("nothing_done", why).hint("look at what it did with: stanch history"));
    }
    let id = CampaignId::from_entropy(ten(app.config.entropy.as_ref())?);
    let remediations: BTreeSet<_> = campaign.steps.iter().map(|step| &step.back.remediation).collect();
    let assets: BTreeSet<&AssetId> = campaign.steps.iter().map(|step| &step.back.asset).collect();
    let entry = NewEntry::new(now, who, "campaign_undo_asked").about(&id).with(json!({
        "policy": campaign.policy,
        "from": campaign.from,
        "until": campaign.until,
        "reason": campaign.reason,
        "steps": campaign.steps.iter().filter(|step| step.state == StepState::Waiting).count(),
        "remediations": remediations.iter().take(500).collect::<Vec<_>>(),
        "assets": assets.len(),
    }));
    let put = PutCampaign { id: id.clone(), generation: 0, over: false, body: campaign.write(), at: now };
    app.store.commit(Transition::new(entry).write(Write::PutCampaign(put))).await?;
    app.bus.nudge(Stage::Campaign);
    app.bus.tell(Live::of("campaign", &id, "asked for"));
    view::campaign_of(app, Some(&id), &campaign, false, now).await
}

/// Everything that was done and could be taken back. One pass over all remediations.
async fn done(app: &App) -> Result<Vec<Done>, Problem> {
    let mut all = Vec::new();
    let mut pages = app.store.remediation_pages(RemediationFilter::default());
    while let Some(page) = pages.next().await? {
        for row in page {
            let Some(rollout) = Record::read(&row.body).rollout else { continue };
            let mut one_way: BTreeSet<AssetId> = BTreeSet::new();
            if let Some(plan) = app.store.plan(&rollout.plan).await? {
                let lost = |step: &stanch_model::plan::PlannedStep| step.reversibility == Reversibility::OneWay;
                let leaves = plan.leaves.into_iter().filter(|leaf| leaf.steps.iter().any(lost));
                one_way.extend(leaves.map(|leaf| leaf.asset));
            }
            for task in rollout.tasks.iter().filter(|task| can_undo(task.state)) {
                let Some(at) = task.acted_at else { continue };
                all.push(Done {
                    remediation: row.id.clone(),
                    policies: rollout.policies.clone(),
                    asset: task.asset.clone(),
                    items: task.items.iter().filter(|item| !task.undone.contains(item)).cloned().collect(),
                    at,
                    rests_on: BTreeSet::new(),
                    // Executors find out, and refuse.
                    changed_since: Vec::new(),
                    taken_back: task.items.iter().all(|item| task.undone.contains(item)),
                    one_way: one_way.contains(&task.asset),
                });
            }
        }
    }
    Ok(all)
}
