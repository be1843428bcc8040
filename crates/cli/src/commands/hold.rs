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
            let wanted = |hold: &&InForce| scope.as_ref().is_none_or(|scope| hold.id == *scope);
            if let Some(scope) = scope.as_ref().filter(|_| !holds.iter().any(|hold| wanted(&hold))) {
                return Err(Failure::new(format!("there is no hold for {}", plain(scope))));
            }
            for hold in holds.iter().filter(wanted) {
                // A scope has a slash in it, which is not one of the path's.
                let id = hold.id.replace('%', "%25").replace('/', "%2F").replace(' ', "%20");
                let _: Vec<InForce> = api.post(&format!("/holds/{id}/release"), &serde_json::json!({})).await?;
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
    if holds.is_empty() {
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
