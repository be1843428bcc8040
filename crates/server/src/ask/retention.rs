//! Holding records: nothing of a remediation or an asset is taken away until somebody lifts it.

use serde_json::json;
use stanch_ledger::NewEntry;
use stanch_model::id::{AssetId, RemediationId};
use stanch_store::retention::{LiftRetentionHold, RetentionHold};
use stanch_store::{CommitError, Transition, Write};

use super::reason;
use crate::api::Problem;
use crate::api::types::{HoldRecords, RecordsHeld};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// Assets read at once where one is looked for by its name.
const PAGE: u32 = 1_000;

/// Holds the records of a remediation or an asset.
pub(crate) async fn hold_records(app: &App, visitor: &Visitor, wanted: HoldRecords) -> Result<RecordsHeld, Problem> {
    if wanted.reason.trim().is_empty() {
        return Err(Problem::bad_request("a hold of records needs a reason: others will ask"));
    }
    let subject = subject(app, wanted.name.trim()).await?;
    let (now, why) = (app.now(), reason(Some(&wanted.reason), ""));
    let hold = RetentionHold { subject, reason: why.clone(), actor: visitor.name.clone(), at: now };
    let entry = NewEntry::new(now, &visitor.name, "retention_held").about(&hold.subject).with(json!({ "reason": why }));
    match app.store.commit(Transition::new(entry).write(Write::HoldRecords(hold.clone()))).await {
        Ok(_) => view::held_records(app, &hold).await,
        Err(CommitError::Exists { .. }) => {
            Err(Problem::conflict("held", format!("the records of {} are held already", wanted.name.trim())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Lets them go again. Answers what is still held.
pub(crate) async fn lift_records(app: &App, visitor: &Visitor, name: &str) -> Result<Vec<RecordsHeld>, Problem> {
    let holds = app.store.retention_holds().await?;
    let subject = match holds.iter().find(|hold| hold.subject == name) {
        Some(hold) => hold.subject.clone(),
        None => subject(app, name).await?,
    };
    let entry = NewEntry::new(app.now(), &visitor.name, "retention_lifted").about(&subject);
    let lift = Write::LiftRecords(LiftRetentionHold { subject });
    match app.store.commit(Transition::new(entry).write(lift)).await {
        Ok(_) => Ok(view::retention(app).await?.holds),
        Err(CommitError::Missing { .. }) => Err(Problem::not_found("hold of records", name)),
        Err(error) => Err(error.into()),
    }
}

/// The id of a remediation or an asset, which may also be called by its name.
async fn subject(app: &App, name: &str) -> Result<String, Problem> {
    if let Ok(id) = name.parse::<RemediationId>()
        && app.store.remediation(&id).await?.is_some()
    {
        return Ok(id.to_string());
    }
    let (mut found, mut after): (Vec<AssetId>, Option<AssetId>) = (Vec::new(), None);
    loop {
        let page = app.store.assets(after.as_ref(), PAGE).await?;
        let named = page.iter().map(|stored| &stored.asset);
        found.extend(
            named.filter(|asset| asset.name == name || asset.id.as_str() == name).map(|asset| asset.id.clone()),
        );
        let Some(last) = page.last().filter(|_| page.len() as u64 >= u64::from(PAGE)) else { break };
        after = Some(last.asset.id.clone());
    }
    match found.as_slice() {
        [one] => Ok(one.to_string()),
        [] => Err(Problem::not_found("remediation or asset", name)),
        _ => Err(Problem::conflict("ambiguous", format!("{} assets are called {name}: say the id", found.len()))),
    }
}
