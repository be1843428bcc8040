//! `rehearse`: a plan is carried out in a copy of one of its targets, to see what it does before anybody agrees.

use stanch_server::api::types::{Rehearsal, Rehearse as Request, Remediation, RemediationDetail, StepReport as Report};

use super::fix::waiting;
use super::undo::remediation;
use crate::args::Rehearse;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::follow::Follow;
use crate::output::{Output, Tone, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: &Rehearse) -> Result<Exit, Failure> {
    let id = match remediation(api, &wanted.plan).await {
        Ok(id) => id,
        Err(_) => waiting(api, &wanted.plan).await?.remediation.id,
    };
    let request = Request { asset: wanted.on.clone() };
    let _: Remediation = api.post(&format!("/remediations/{id}/rehearse"), &request).await?;
    let newest = |detail: &RemediationDetail| detail.rehearsals.first().cloned();
    let running = |detail: &RemediationDetail| newest(detail).is_some_and(|one| one.state == "running");
    let detail = Follow::new(api, output).until(&id, |detail| !running(detail)).await?;
    let Some(one) = newest(&detail) else {
        return Err(Failure::new("the rehearsal is not known any more").hint(format!("look with: stanch explain {id}")));
    };
    if output.json {
        output.object(&one)?;
    } else {
        told(output, &one)?;
    }
    Ok(match one.state.as_str() {
        "successful" => Exit::Done,
        "failed" | "inconclusive" => Exit::NotProven,
        _ => Exit::Refused,
    })
}

fn told(output: &Output, one: &Rehearsal) -> std::io::Result<()> {
    let tone = match one.state.as_str() {
        "successful" => Tone::Good,
        "failed" => Tone::Bad,
        _ => Tone::Dim,
    };
    let seconds = format!("{}.{}", one.took_ms / 1_000, one.took_ms % 1_000 / 100);
    let state = output.paint(tone, &one.state);
    output.line(&format!("{state} in a copy of {}, which took {seconds} s", plain(&one.asset_name)))?;
    if let Some(message) = &one.message {
        output.line(&format!("  {}", plain(message)))?;
    }
    if let Some(hint) = &one.hint {
        output.line(&format!("  {}", plain(hint)))?;
    }
    for report in &one.applied {
        step(output, "done", report)?;
    }
    for check in &one.checks {
        output.line(&format!("  {}  {}: {}", check.outcome, plain(&check.name), plain(&check.detail)))?;
    }
    for report in &one.undone {
        step(output, "taken back", report)?;
    }
    for line in &one.left_out {
        output.line(&format!("  not shown by a copy: {}", plain(line)))?;
    }
    for line in &one.not_copied {
        output.line(&format!("  not in the copy: {}", plain(line)))?;
    }
    output.say("");
    output.say("The target stays as it is; the plan still waits.");
    Ok(())
}

fn step(output: &Output, what: &str, report: &Report) -> std::io::Result<()> {
    output.line(&format!("  {what}  {}: {}", report.action, report.outcome.replace('_', " ")))?;
    if let Some(message) = &report.message {
        output.line(&format!("      {}", plain(message)))?;
    }
    for change in &report.changes {
        let part = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
        let line = format!("{}  {} -> {}", change.subject, part(&change.before), part(&change.after));
        output.line(&format!("      {}", plain(&line)))?;
    }
    Ok(())
}
