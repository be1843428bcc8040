//! `hold`: the kill switch.

use stanch_model::When;
use stanch_server::api::types::{Hold as InForce, SetHold};

use crate::args::Hold;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

pub(crate) async fn run(api: &Api, output: &Output, hold: &Hold) -> Result<Exit, Failure> {
    match hold {
        Hold::Set { reason, scope, all } => {
            let wanted = SetHold { scope: Some(scope.clone()), stop_all: *all, reason: reason.clone() };
            let _: InForce = api.post("/holds", &wanted).await?;
        }
        Hold::Release { scope } => {
            let holds: Vec<InForce> = api.get("/holds").await?;
            // What is meant by every hold stops changes; a bad patch stays blocked until it is named.
            let wanted = |hold: &&InForce| match scope {
                Some(scope) => hold.id == *scope,
                None => !super::patch::is(hold),
            };
            if let Some(scope) = scope.as_ref().filter(|_| !holds.iter().any(|hold| wanted(&hold))) {
                return Err(Failure::new(format!("there is no hold for {}", plain(scope))));
            }
            for hold in holds.iter().filter(wanted) {
                release(api, &hold.id).await?;
            }
        }
        Hold::Show => {}
    }
    let holds: Vec<InForce> = api.get("/holds").await?;
    if output.json {
        for hold in &holds {
            output.object(hold)?;
        }
        return Ok(Exit::Done);
    }
    if holds.iter().all(super::patch::is) {
        output.line("No hold: changes may start when a person asks or a policy allows.")?;
    }
    for hold in &holds {
        let level = if hold.stop_all { "everything is held" } else { "nothing new starts" };
        let level = if hold.id == "all" { level.to_owned() } else { format!("{}: {level}", plain(&hold.id)) };
        output.line(&format!(
            "{} since {} by {}: {}",
            output.paint(Tone::Bad, &level),
            When(hold.set_at),
            plain(&hold.set_by),
            plain(&hold.reason)
        ))?;
    }
    Ok(Exit::Done)
}

/// Ends the hold of a scope.
pub(super) async fn release(api: &Api, scope: &str) -> Result<(), Failure> {
    // A scope has a slash in it, which is not one of the path's.
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    let id: String = scope.bytes().map(escaped).collect();
    let _: Vec<InForce> = api.post(&format!("/holds/{id}/release"), &serde_json::json!({})).await?;
    Ok(())
}
