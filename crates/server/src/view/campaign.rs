//! Campaigns: what of a policy's acts is taken back, and how far that has come.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use stanch_model::id::{AssetId, CampaignId, ItemId, RemediationId};

use crate::api::Problem;
use crate::api::types::{Campaign as Wire, CampaignStep as WireStep};
use crate::app::App;
use crate::record::{Campaign, Record, StepState};

/// Campaigns shown.
const SHOWN: u32 = 100;

/// Campaigns, the newest first.
pub(crate) async fn campaigns(app: &App) -> Result<Vec<Wire>, Problem> {
    let mut all = Vec::new();
    for stored in app.store.campaigns(SHOWN).await? {
        let campaign = Campaign::read(&stored.body);
        all.push(campaign_of(app, Some(&stored.id), &campaign, stored.over, stored.created_at).await?);
    }
    Ok(all)
}

/// One campaign.
pub(crate) async fn campaign(app: &App, id: &str) -> Result<Wire, Problem> {
    let missing = || Problem::not_found("campaign", id);
    let known: CampaignId = id.parse().map_err(|_| missing())?;
    let stored = app.store.campaign(&known).await?.ok_or_else(missing)?;
    campaign_of(app, Some(&known), &Campaign::read(&stored.body), stored.over, stored.created_at).await
}

/// A campaign in the words of the wire; without an id it is only a look at what would be.
pub(crate) async fn campaign_of(
    app: &App,
    id: Option<&CampaignId>,
    campaign: &Campaign,
    over: bool,
    asked_at: Timestamp,
) -> Result<Wire, Problem> {
    let assets: BTreeSet<AssetId> = campaign.steps.iter().map(|step| step.back.asset.clone()).collect();
    let assets = app.store.assets_named(&assets).await?.into_iter();
    let assets: HashMap<AssetId, String> = assets.map(|row| (row.asset.id, row.asset.name)).collect();
    let mut names: HashMap<RemediationId, HashMap<ItemId, String>> = HashMap::new();
    for step in &campaign.steps {
        let of = &step.back.remediation;
        if names.contains_key(of) {
            continue;
        }
        let row = app.store.remediation(of).await?;
        let named = row.map(|row| row.items.into_iter().zip(Record::read(&row.body).names).collect());
        names.insert(of.clone(), named.unwrap_or_default());
    }
    let name = |of: &RemediationId, item: &ItemId| {
        names.get(of).and_then(|names| names.get(item)).cloned().unwrap_or_else(|| item.to_string())
    };
    let steps = campaign.steps.iter().map(|step| WireStep {
        remediation: step.back.remediation.to_string(),
        asset: step.back.asset.to_string(),
        asset_name: assets.get(&step.back.asset).cloned().unwrap_or_default(),
        items: step.back.items.iter().map(|item| name(&step.back.remediation, item)).collect(),
        state: step.state.name().to_owned(),
        why: if let StepState::Kept { why } = &step.state { Some(why.clone()) } else { None },
    });
    Ok(Wire {
        id: id.map(ToString::to_string),
        policy: campaign.policy.clone(),
        since: campaign.from,
        until: campaign.until,
        by: campaign.by.clone(),
        reason: campaign.reason.clone(),
        asked_at,
        over,
        steps: steps.collect(),
    })
}
