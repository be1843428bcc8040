//! `approve` and `answer`: a person's word on what policies prepared, and on what they had done.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use stanch_model::plan::Plan;
use stanch_server::api::types::{
    AnswerConfirmation, Approve as Request, Remediation, RemediationDetail, SignedApproval,
};

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
    let document = match &wanted.key {
        Some(_) => Some(whole(api, &plan.hash).await?),
        None => None,
    };
    if let (true, Some(document)) = (output.json, &document) {
        output.object(document)?;
    } else if output.json {
        output.object(&detail)?;
    } else {
        // What is signed is what is shown: the server's own rendering is not asked.
        let shown = document.as_ref().map(stanch_server::shown_plan).transpose();
        let shown = shown.map_err(|error| Failure::new("the plan cannot be shown").because(error))?;
        difference(output, shown.as_ref().unwrap_or(plan))?;
        if let Some(document) = &document {
            exactly(output, document);
        }
        output.say(&format!("Reason: {}", plain(&detail.remediation.reason)));
        blast::cut_off(output, &detail);
        needs(output, &detail);
    }
    if !wanted.yes && !confirm("Approve this plan?")? {
        output.say("Nothing was said; the plan still waits.");
        return Ok(Exit::Done);
    }
    let signed = match document.as_ref().zip(wanted.key.as_deref()) {
        Some((document, key)) => Some(sign(document, key, wanted)?),
        None => None,
    };
    let request = Request { plan_hash: plan.hash.clone(), signed };
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

/// The plan itself, which has the hash that the server says.
async fn whole(api: &Api, hash: &str) -> Result<Plan, Failure> {
    let plan: Plan = api.get(&format!("/plans/{hash}/document")).await?;
    let own = plan.hash().map_err(|error| Failure::new("the plan has no hash").because(error))?;
    if own.to_string() == hash {
        return Ok(plan);
    }
    Err(Failure::refused(format!("the server says that the plan has the hash {hash}, and it has {own}"))
        .hint("sign nothing, and look at the server"))
}

/// What is signed beside the words of the difference: on which assets, in which order, with which parameters.
fn exactly(output: &Output, plan: &Plan) {
    output.say("What is signed, exactly:");
    for leaf in &plan.leaves {
        output.say(&format!("  {}", plain(leaf.asset.as_str())));
        for step in &leaf.steps {
            output.say(&format!("    {} {}", plain(&step.action), plain(&step.params.to_string())));
        }
    }
}

fn sign(plan: &Plan, key: &Path, wanted: &Approve) -> Result<SignedApproval, Failure> {
    let hours = wanted.hours.map(|hours| SignedDuration::from_hours(hours.into()));
    let until = hours.and_then(|hours| Timestamp::now().saturating_add(hours).ok());
    let until = until.map_or(plan.valid_until, |until| until.min(plan.valid_until));
    let passphrase = wanted.passphrase.known()?;
    let word = stanch_server::pki::offline::vouch(plan, until, key, &passphrase)?;
    Ok(SignedApproval {
        leaves: word.body.leaves.to_string(),
        until,
        key: word.key.to_string(),
        signature: word.signature.into(),
    })
}

fn needs(output: &Output, detail: &RemediationDetail) {
    for quorum in &detail.approvals {
        let but = if quorum.exclude_author { ", not its author" } else { "" };
        let by = if quorum.by.is_empty() { String::new() } else { format!(" (agreed: {})", quorum.by.join(", ")) };
        let line = format!("{} of {}: {}{but}{by}", quorum.by.len(), quorum.count, quorum.roles.join(" or "));
        output.say(&format!("  {}", plain(&line)));
    }
    for asked in &detail.signatures {
        let line = format!("{} of {} signatures for {}", asked.have, asked.need, asked.targets.join(", "));
        output.say(&format!("  {} (stanch approve --key FILE)", plain(&line)));
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
