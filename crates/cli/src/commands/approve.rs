//! `approve` and `answer`: a person's word on what policies prepared, and on what they had done.

use stanch_server::api::types::{AnswerConfirmation, Approve as Request, Remediation, RemediationDetail};

use super::blast;
use super::fix::{confirm, difference};
use super::undo::remediation;
use crate::args::{Answer, Approve, MayStay};
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

/// `stanch approve`.
pub(crate) async fn approve(api: &Api, output: &Output, wanted: &Approve) -> Result<Exit, Failure> {
    let id = remediation(api, &wanted.remediation).await?;
    let mut detail: RemediationDetail = api.get(&format!("/remediations/{id}")).await?;
    if detail.remediation.state == "awaiting_approval" && !wanted.yes {
        detail = blast::measured(api, output, detail).await?;
    }
    let Some(plan) = detail.plan.as_ref().filter(|_| detail.remediation.state == "awaiting_approval") else {
        let state = detail.remediation.state.replace('_', " ");
        return Err(Failure::refused(format!("{id} does not wait for approval: it is {state}")));
    };
    if output.json {
        output.object(&detail)?;
    } else {
        difference(output, plan)?;
        output.say(&format!("Reason: {}", plain(&detail.remediation.reason)));
        blast::cut_off(output, &detail);
        needs(output, &detail);
    }
    if !wanted.yes && !confirm("Approve this plan?")? {
        output.say("Nothing was said; the plan still waits.");
        return Ok(Exit::Done);
    }
    let request = Request { plan_hash: plan.hash.clone() };
    let _: Remediation = api.post(&format!("/remediations/{id}/approve"), &request).await?;
    let detail: RemediationDetail = api.get(&format!("/remediations/{id}")).await?;
    if detail.remediation.state == "awaiting_approval" {
        output.say("Approved; others still have to agree.");
        needs(output, &detail);
    } else {
        output.say(&format!("{} {id}", output.paint(Tone::Good, &detail.remediation.state.replace('_', " "))));
    }
    Ok(Exit::Done)
}

fn needs(output: &Output, detail: &RemediationDetail) {
    for quorum in &detail.approvals {
        let but = if quorum.exclude_author { ", not its author" } else { "" };
        let by = if quorum.by.is_empty() { String::new() } else { format!(" (agreed: {})", quorum.by.join(", ")) };
        let line = format!("{} of {}: {}{but}{by}", quorum.by.len(), quorum.count, quorum.roles.join(" or "));
        output.say(&format!("  {}", plain(&line)));
    }
}

/// `stanch answer`.
pub(crate) async fn answer(api: &Api, output: &Output, wanted: &Answer) -> Result<Exit, Failure> {
    let id = remediation(api, &wanted.remediation).await?;
    let answer = match wanted.answer {
        MayStay::Confirm => "confirm",
        MayStay::Undo => "undo",
        MayStay::Except => "except",
    };
    let request = AnswerConfirmation { answer: answer.to_owned(), reason: wanted.reason.clone() };
    let one: Remediation = api.post(&format!("/remediations/{id}/answer"), &request).await?;
    if output.json {
        output.object(&one)?;
    } else {
        output.say(&format!("{} {id}", one.state.replace('_', " ")));
    }
    Ok(Exit::Done)
}
