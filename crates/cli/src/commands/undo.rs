//! `undo`: take back what a fix did, all of it or some of its items.

use stanch_server::api::types::{Hold, Remediation, RemediationDetail, Undo as Request};

use super::fix::{confirm, is_settled, outcome};
use crate::args::Undo;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::follow::Follow;
use crate::output::{Output, plain};

pub(crate) async fn run(api: &Api, output: &Output, undo: &Undo) -> Result<Exit, Failure> {
    let id = remediation(api, &undo.remediation).await?;
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
        reason: Some("asked for on the command line".to_owned()),
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
