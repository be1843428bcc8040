//! `plan` and `fix`: ask for a plan, show it, and apply exactly that one.

use std::io::Write as _;

use serde::Deserialize as _;
use stanch_model::When;
use stanch_model::script::Script;
use stanch_server::api::types::{
    Approve, Because, CreateRemediation, CreatedRemediation, LeftOut, Plan, Remediation, RemediationDetail, Step,
};

use super::{blast, findings};
use crate::args::{Fix, Select};
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::follow::Follow;
use crate::output::{Output, Tone, plain};

/// States in which a person reads the plan.
fn is_planned(detail: &RemediationDetail) -> bool {
    detail.remediation.over
        || matches!(detail.remediation.state.as_str(), "awaiting_approval" | "needs_operator" | "suggested")
}

/// States in which a fix has ended, well or not.
pub(crate) fn is_settled(detail: &RemediationDetail) -> bool {
    detail.remediation.over
        || matches!(
            detail.remediation.state.as_str(),
            "needs_operator" | "partially_remediated" | "awaiting_confirmation" | "rollback_failed" | "paused"
        )
}

/// `stanch plan`.
pub(crate) async fn plan(api: &Api, output: &Output, select: &Select) -> Result<Exit, Failure> {
    let Some(detail) = ask(api, output, select).await? else { return Ok(Exit::Done) };
    show(output, &detail)?;
    let Some(hash) = waiting_plan(&detail) else { return Ok(Exit::Refused) };
    output.say("");
    output.say(&format!("Nothing was changed. To apply exactly this: stanch fix --plan {hash}"));
    output.say(&format!("To see first what it does, in a copy: stanch rehearse {hash}"));
    Ok(Exit::Done)
}

/// `stanch fix`.
pub(crate) async fn fix(api: &Api, output: &Output, fix: &Fix) -> Result<Exit, Failure> {
    if fix.refresh {
        findings::refresh(api, output, true).await?;
    }
    if let Some(hash) = &fix.plan {
        let mut detail = waiting(api, hash).await?;
        if !fix.yes {
            detail = blast::measured(api, output, detail).await?;
        }
        show(output, &detail)?;
        let whole = waiting_plan(&detail).unwrap_or_default();
        if !fix.yes && !confirm("Apply this plan?")? {
            output.say("Nothing was changed; the plan still waits.");
            return Ok(Exit::Done);
        }
        return approve(api, output, &detail.remediation.id, &whole).await;
    }
    let Some(mut detail) = ask(api, output, &fix.select).await? else { return Ok(Exit::Done) };
    if !fix.yes && !fix.dry_run && waiting_plan(&detail).is_some() {
        detail = blast::measured(api, output, detail).await?;
    }
    show(output, &detail)?;
    let id = detail.remediation.id.clone();
    let Some(hash) = waiting_plan(&detail) else { return Ok(Exit::Refused) };
    if fix.dry_run {
        dismiss(api, &id, "dry run").await?;
        output.say("");
        output.say("Dry run: nothing was changed.");
        return Ok(Exit::Done);
    }
    if !fix.yes && !confirm("Apply this plan?")? {
        dismiss(api, &id, "not confirmed").await?;
        output.say("Nothing was changed.");
        return Ok(Exit::Done);
    }
    approve(api, output, &id, &hash).await
}

/// The remediation whose plan has this hash and waits to be approved.
pub(super) async fn waiting(api: &Api, hash: &str) -> Result<RemediationDetail, Failure> {
    let waiting: Vec<Remediation> = api.get("/remediations?state=awaiting_approval").await?;
    let mut matching = waiting.into_iter().filter(|one| one.plan.as_deref().is_some_and(|plan| plan.starts_with(hash)));
    match (matching.next(), matching.next()) {
        (Some(one), None) => api.get(&format!("/remediations/{}", one.id)).await,
        (None, _) => {
            Err(Failure::refused(format!("no plan {hash} waits for approval")).hint("make one with: stanch plan"))
        }
        (Some(_), Some(_)) => {
            Err(Failure::refused(format!("more than one plan begins with {hash}")).hint("type more of it"))
        }
    }
}

/// Asks the server for a plan; `None` when there is nothing to do.
async fn ask(api: &Api, output: &Output, select: &Select) -> Result<Option<RemediationDetail>, Failure> {
    // Empty means nothing: all of it must be spelled.
    if select.items.is_empty() && !select.all {
        return Err(Failure::usage("nothing is named").hint("name items, packages, services or CVE ids, or pass --all"));
    }
    let mut items = Vec::new();
    for wanted in &select.items {
        items.extend(findings::resolve(api, wanted).await?);
    }
    items.dedup();
    let request = CreateRemediation {
        items,
        all: select.all,
        include_suppressed: select.include_suppressed,
        reason: Some("asked for on the command line".to_owned()),
    };
    let created: CreatedRemediation = api.post("/remediations", &request).await?;
    let Some(remediation) = created.remediation else {
        left_out(output, &created.left_out);
        output.say("Nothing to do.");
        if output.json {
            output.object(&serde_json::json!({"remediation": null, "left_out": created.left_out}))?;
        }
        return Ok(None);
    };
    let detail = Follow::new(api, output).until(&remediation.id, is_planned).await?;
    Ok(Some(detail))
}

/// The hash of the plan that waits to be approved.
fn waiting_plan(detail: &RemediationDetail) -> Option<String> {
    (detail.remediation.state == "awaiting_approval")
        .then(|| detail.plan.as_ref().map(|plan| plan.hash.clone()))
        .flatten()
}

async fn dismiss(api: &Api, id: &str, reason: &str) -> Result<(), Failure> {
    let because = Because { reason: Some(reason.to_owned()) };
    let _: Remediation = api.post(&format!("/remediations/{id}/dismiss"), &because).await?;
    Ok(())
}

async fn approve(api: &Api, output: &Output, id: &str, hash: &str) -> Result<Exit, Failure> {
    let _: Remediation =
        api.post(&format!("/remediations/{id}/approve"), &Approve { plan_hash: hash.to_owned(), signed: None }).await?;
    let now: RemediationDetail = api.get(&format!("/remediations/{id}")).await?;
    if now.remediation.state == "awaiting_approval" {
        output.say("Approved; policies want others to agree too. It goes on by itself once they have.");
        return Ok(Exit::Done);
    }
    let detail = Follow::new(api, output).until(id, is_settled).await?;
    outcome(output, &detail, "closed")
}

/// Tells how it ended, with the proof. `wanted` is the state that counts as done besides the obvious ones: a partial
/// undo is what was asked for, a partial fix is not.
pub(crate) fn outcome(output: &Output, detail: &RemediationDetail, wanted: &str) -> Result<Exit, Failure> {
    if output.json {
        output.object(detail)?;
    }
    for task in &detail.tasks {
        for check in &task.checks {
            let (tone, mark) = match check.outcome.as_str() {
                "successful" => (Tone::Good, "ok  "),
                "inconclusive" => (Tone::Warn, "?   "),
                _ => (Tone::Bad, "FAIL"),
            };
            output.say(&format!("  {} {:<16} {}", output.paint(tone, mark), check.name, plain(&check.detail)));
        }
        for report in task.applied.iter().chain(&task.undone) {
            if let Some(message) = &report.message {
                output.say(&format!("  {} {}: {}", output.paint(Tone::Bad, "!   "), report.action, plain(message)));
                if let Some(hint) = &report.hint {
                    output.say(&format!("       {}", plain(hint)));
                }
            }
            for change in report.changes.iter().filter(|change| change.note.is_some()) {
                output.say(&format!(
                    "       {}: {}",
                    plain(&change.subject),
                    plain(change.note.as_deref().unwrap_or_default())
                ));
            }
        }
    }
    left_out(output, &detail.left_out);
    let one = &detail.remediation;
    let state = one.state.replace('_', " ");
    let (exit, tone) = match one.state.as_str() {
        state if state == wanted => (Exit::Done, Tone::Good),
        "awaiting_confirmation" | "resolved_elsewhere" => (Exit::Done, Tone::Good),
        "dismissed" | "rejected" | "cancelled" | "expired" | "superseded" => (Exit::Refused, Tone::Warn),
        _ => (Exit::NotProven, Tone::Bad),
    };
    output.say(&format!("{} {}: {}", output.paint(tone, &state), one.id, plain(&one.names.join(", "))));
    if let Some(waiting) = &one.waiting_on {
        output.say(&format!("Waits: {}", plain(waiting)));
    }
    if detail.undo.as_ref().is_some_and(|undo| !undo.items.is_empty()) {
        output.say(&format!("Take it back with: stanch undo {}", one.id));
    }
    Ok(exit)
}

/// Prints the exact difference.
fn show(output: &Output, detail: &RemediationDetail) -> Result<(), Failure> {
    if output.json {
        output.object(detail)?;
        return Ok(());
    }
    if let Some(plan) = &detail.plan {
        difference(output, plan)?;
    }
    blast::cut_off(output, detail);
    left_out(output, &detail.left_out);
    if detail.remediation.state != "awaiting_approval" {
        output.say(&format!(
            "{}: {}",
            detail.remediation.state.replace('_', " "),
            plain(detail.remediation.waiting_on.as_deref().unwrap_or(&detail.remediation.reason))
        ));
    }
    Ok(())
}

/// Prints what each step of a plan changes.
pub(crate) fn difference(output: &Output, plan: &Plan) -> Result<(), Failure> {
    for leaf in &plan.leaves {
        for (number, step) in leaf.steps.iter().enumerate() {
            output.line(
                &output.paint(Tone::Strong, &format!("{}. {}  ({})", number + 1, step.action, character(step))),
            )?;
            let mut table = output.table(&["", "WHAT", "NOW", "THEN", ""]);
            for change in &step.changes {
                let mark = match (&change.before, &change.after) {
                    (None, _) => "+",
                    (_, None) => "-",
                    _ => "~",
                };
                table.add_row([
                    mark.to_owned(),
                    plain(&change.subject),
                    plain(change.before.as_deref().unwrap_or("-")),
                    plain(change.after.as_deref().unwrap_or("-")),
                    plain(change.note.as_deref().unwrap_or("")),
                ]);
            }
            output.line(&table.to_string())?;
            if let Some(script) = step.params.get("script").and_then(|script| Script::deserialize(script).ok()) {
                output.line(&format!("   script: SHA-256 {}, {} files", script.fingerprint(), script.files.len()))?;
            }
            output.line(&format!("   undo: {}", plain(&step.undo)))?;
        }
    }
    output.line(&format!("plan {} (valid until {})", plan.hash, When(plan.valid_until)))?;
    Ok(())
}

fn character(step: &Step) -> String {
    format!("{}, disruption: {}", step.reversibility.replace('_', " "), step.disruption.replace('_', " "))
}

fn left_out(output: &Output, left_out: &[LeftOut]) {
    for one in left_out {
        output.say(&format!("Left out: {} - {}", plain(&one.name), plain(&one.reason)));
        if let Some(hint) = &one.hint {
            output.say(&format!("          {}", plain(hint)));
        }
    }
}

/// Asks a person. Anything but a clear yes is a no; without a terminal it is an error that names the flag.
pub(crate) fn confirm(question: &str) -> Result<bool, Failure> {
    use std::io::IsTerminal as _;
    if !std::io::stdin().is_terminal() {
        return Err(Failure::refused("a person must confirm, and there is no terminal to ask on")
            .hint("pass --yes to go ahead without being asked"));
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush().map_err(Failure::from)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Failure::new("no answer could be read").because(error))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
