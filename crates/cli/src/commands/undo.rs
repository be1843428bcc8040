//! `undo`: take back what a fix did, all of it or some of its items.

use std::time::Duration;

use stanch_server::api::types::{Campaign, Hold, Remediation, RemediationDetail, Undo as Request, UndoCampaign};

use super::fix::{confirm, is_settled, outcome};
use crate::args::Undo;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::follow::Follow;
use crate::output::{Output, plain};

/// How often it is looked how far a campaign has come.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) async fn run(api: &Api, output: &Output, undo: &Undo) -> Result<Exit, Failure> {
    if let Some(policy) = &undo.policy {
        return campaign(api, output, undo, policy).await;
    }
    let id = remediation(api, undo.remediation.as_deref().unwrap_or("last")).await?;
    let detail: RemediationDetail = api.get(&format!("/remediations/{id}")).await?;
    let Some(preview) = detail.undo.as_ref().filter(|preview| !preview.items.is_empty()) else {
        return Err(Failure::refused(format!(
            "{id} has nothing that can be taken back (it is {})",
            detail.remediation.state.replace('_', " ")
        )));
    };
    if undo.items.is_empty() {
        for line in &preview.lines {
            output.say(&format!("  {}", plain(line)));
        }
    }
    for cannot in &preview.cannot {
        output.say(&format!("  cannot be taken back: {}", plain(cannot)));
    }
    output.say("This brings back what was vulnerable before; it will not be fixed again by itself.");
    if !undo.yes && !confirm("Take it back?")? {
        output.say("Nothing was changed.");
        return Ok(Exit::Done);
    }
    let request = Request {
        items: undo.items.clone(),
        all: undo.items.is_empty(),
        reason: undo.reason.clone().or_else(|| Some("asked for on the command line".to_owned())),
    };
    let holds: Vec<Hold> = api.get("/holds").await?;
    let _: Remediation = api.post(&format!("/remediations/{id}/undo"), &request).await?;
    if let Some(hold) = holds.iter().find(|hold| hold.stop_all) {
        let reason = plain(&hold.reason);
        output.say(&format!("Everything is held ({reason}): it waits until that is released (stanch hold release)."));
    }
    let detail = Follow::new(api, output).until(&id, is_settled).await?;
    let wanted = if undo.items.is_empty() { "rolled_back" } else { "partially_remediated" };
    // Undoing the last item that was left takes back the whole.
    let wanted = if detail.remediation.state == "rolled_back" { "rolled_back" } else { wanted };
    outcome(output, &detail, wanted)
}

/// Everything that a policy did since.
async fn campaign(api: &Api, output: &Output, undo: &Undo, policy: &str) -> Result<Exit, Failure> {
    let wanted = |dry_run| UndoCampaign {
        policy: policy.to_owned(),
        since: undo.since.unwrap_or(jiff::Timestamp::UNIX_EPOCH),
        until: undo.until,
        reason: undo.reason.clone(),
        dry_run,
    };
    let preview: Campaign = api.post("/campaigns", &wanted(true)).await?;
    if undo.dry_run {
        steps(output, &preview)?;
        return Ok(Exit::Done);
    }
    let back = preview.steps.iter().filter(|step| step.state == "waiting").count();
    if back == 0 {
        steps(output, &preview)?;
        return Err(Failure::refused(format!("{} did nothing since then that can be taken back", plain(policy))));
    }
    if !output.json {
        steps(output, &preview)?;
    }
    output.say("This brings back what was vulnerable before; it will not be fixed again by itself.");
    if !undo.yes && !confirm(&format!("Take {back} of it back?"))? {
        output.say("Nothing was changed.");
        return Ok(Exit::Done);
    }
    let mut begun: Campaign = api.post("/campaigns", &wanted(false)).await?;
    let id = begun.id.clone().unwrap_or_default();
    let mut told = String::new();
    while !begun.over {
        let of = |state: &str| begun.steps.iter().filter(|step| step.state == state).count();
        let line = format!("{} taken back, {} under way, {} to go", of("done"), of("asked"), of("waiting"));
        if line != told {
            output.say(&line);
            told = line;
        }
        tokio::time::sleep(LOOK).await;
        begun = api.get(&format!("/campaigns/{id}")).await?;
    }
    steps(output, &begun)?;
    // What was kept from the beginning was shown before the question.
    let failed = begun.steps.iter().filter(|step| step.state == "kept").count();
    let known = preview.steps.iter().filter(|step| step.state == "kept").count();
    Ok(if failed > known { Exit::NotProven } else { Exit::Done })
}

fn steps(output: &Output, campaign: &Campaign) -> Result<(), Failure> {
    if output.json {
        output.object(campaign)?;
        return Ok(());
    }
    for step in &campaign.steps {
        let why = step.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        let line = format!("{:<8} {} {}{why}", step.state, step.asset_name, step.items.join(", "));
        output.say(&format!("  {}", plain(&line)));
    }
    Ok(())
}

/// The remediation meant: its id, an unambiguous beginning of it, or the last one that changed something.
pub(super) async fn remediation(api: &Api, typed: &str) -> Result<String, Failure> {
    let all: Vec<Remediation> = api.get("/remediations").await?;
    if typed == "last" {
        let ended = |one: &&Remediation| {
            matches!(
                one.state.as_str(),
                "closed" | "awaiting_confirmation" | "partially_remediated" | "needs_operator" | "verified"
            )
        };
        // The last one may have done nothing: then the one before it is meant.
        for one in all.iter().filter(ended) {
            let detail: RemediationDetail = api.get(&format!("/remediations/{}", one.id)).await?;
            if detail.undo.is_some_and(|undo| !undo.items.is_empty()) {
                return Ok(one.id.clone());
            }
        }
        return Err(Failure::refused("nothing has been done yet that could be taken back"));
    }
    let matching: Vec<&Remediation> = all.iter().filter(|one| one.id.starts_with(typed)).collect();
    match matching.as_slice() {
        [only] => Ok(only.id.clone()),
        [] => {
            Err(Failure::new(format!("there is no remediation `{}`", plain(typed)))
                .hint("list them with: stanch history"))
        }
        many => Err(Failure::new(format!("`{}` could be any of {} remediations", plain(typed), many.len()))
            .hint("type more of its id")),
    }
}
