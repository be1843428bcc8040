//! `hold`: the kill switch.

use stanch_server::api::types::{Hold as InForce, SetHold};

use crate::args::Hold;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

pub(crate) async fn run(api: &Api, output: &Output, hold: &Hold) -> Result<Exit, Failure> {
    match hold {
        Hold::Set { reason, all } => {
            let _: InForce = api.post("/holds", &SetHold { stop_all: *all, reason: reason.clone() }).await?;
        }
        Hold::Release => {
            let holds: Vec<InForce> = api.get("/holds").await?;
            for hold in holds {
                let _: Vec<InForce> = api.post(&format!("/holds/{}/release", hold.id), &serde_json::json!({})).await?;
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
        output.line(&format!(
            "{} since {} by {}: {}",
            output.paint(Tone::Bad, level),
            hold.set_at.strftime("%Y-%m-%d %H:%M UTC"),
            plain(&hold.set_by),
            plain(&hold.reason)
        ))?;
    }
    Ok(Exit::Done)
}
