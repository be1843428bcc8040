//! `change`: change requests at other systems, and a person's word in their place.

use stanch_server::api::types::{ChangeRequest, ChangeWord};

use crate::args::Changes;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: Changes) -> Result<Exit, Failure> {
    let (id, verb, word) = match wanted {
        Changes::List { open } => return list(api, output, open).await,
        Changes::Approve { change, plan, reason } => (change, "approve", ChangeWord { plan: Some(plan), reason }),
        Changes::Reject { change, reason } => (change, "reject", ChangeWord { plan: None, reason }),
        Changes::Close { change, reason } => (change, "close", ChangeWord { plan: None, reason }),
    };
    let told: ChangeRequest = api.post(&format!("/changes/{id}/{verb}"), &word).await?;
    show(output, std::slice::from_ref(&told))
}

async fn list(api: &Api, output: &Output, open: bool) -> Result<Exit, Failure> {
    let all: Vec<ChangeRequest> = api.get("/changes").await?;
    let over = |one: &ChangeRequest| matches!(one.state.as_str(), "closed" | "withdrawn");
    let rows: Vec<ChangeRequest> = all.into_iter().filter(|one| !open || !over(one)).collect();
    show(output, &rows)
}

fn show(output: &Output, rows: &[ChangeRequest]) -> Result<Exit, Failure> {
    if output.json {
        for one in rows {
            output.object(one)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["CHANGE", "AT", "CLASS", "STATE", "REFERENCE", "REMEDIATION", "PLAN"]);
    for one in rows {
        table.add_row([
            one.id.clone(),
            plain(&one.connection),
            one.class.clone(),
            one.state.clone(),
            plain(one.reference.as_deref().unwrap_or_default()),
            one.remediation.clone(),
            one.plan.chars().take(12).collect(),
        ]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}
