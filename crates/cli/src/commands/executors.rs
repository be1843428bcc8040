//! `executors`: what carries out orders, and whether it may.

use stanch_server::api::types::{Because, Executor};

use crate::args::Executors;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: &Executors) -> Result<Exit, Failure> {
    let executors: Vec<Executor> = match wanted {
        Executors::List => api.get("/executors").await?,
        Executors::Trust { id } => api.post(&format!("/executors/{id}/trust"), &serde_json::json!({})).await?,
        Executors::Confirm { id } => api.post(&format!("/executors/{id}/confirm"), &serde_json::json!({})).await?,
        Executors::Revoke { id, reason } => {
            let because = Because { reason: reason.clone() };
            api.post(&format!("/executors/{id}/revoke"), &because).await?
        }
    };
    if output.json {
        for executor in &executors {
            output.object(executor)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["EXECUTOR", "ON", "STATE", "ACTIONS"]);
    for executor in &executors {
        let state = match (&executor.frozen, executor.connected) {
            (Some(why), _) => output.paint(Tone::Bad, &format!("frozen: {}", plain(why))),
            (None, true) if !executor.confirmed => output.paint(Tone::Warn, "connected, not confirmed"),
            (None, true) => output.paint(Tone::Good, "connected"),
            (None, false) => output.paint(Tone::Warn, "silent"),
        };
        let actions =
            if executor.actions.is_empty() { "none: it can only look".to_owned() } else { executor.actions.join(", ") };
        table.add_row([executor.id.clone(), plain(&executor.asset), state, plain(&actions)]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}
