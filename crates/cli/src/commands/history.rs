//! `history`: what was done, newest first.

use stanch_server::api::types::Remediation;

use crate::args::History;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: &History) -> Result<Exit, Failure> {
    let all: Vec<Remediation> = api.get("/remediations").await?;
    let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let mut table = output.table(&["WHEN", "REMEDIATION", "STATE", "WHAT", "ASKED BY"]);
    if all.is_empty() && !output.json {
        output.say("Nothing has been done yet.");
        return Ok(Exit::Done);
    }
    for one in all.iter().take(limit) {
        if output.json {
            output.object(one)?;
        } else {
            table.add_row([
                one.created_at.strftime("%Y-%m-%d %H:%M").to_string(),
                one.id.clone(),
                one.state.replace('_', " "),
                plain(&one.names.join(", ")),
                plain(&one.asked_by),
            ]);
        }
    }
    if !output.json {
        output.line(&table.to_string())?;
    }
    Ok(Exit::Done)
}
