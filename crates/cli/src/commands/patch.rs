//! `patch`: versions that are not to be brought anywhere. Each is a hold of its own scope.

use stanch_model::When;
use stanch_server::api::types::{Hold, SetHold};

use super::hold::release;
use crate::args::Patch;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

/// What the scopes of bad patches begin with.
pub(super) const PREFIX: &str = "version/";

pub(crate) async fn run(api: &Api, output: &Output, patch: &Patch) -> Result<Exit, Failure> {
    match patch {
        Patch::Block { package, version, why } => {
            let scope = Some(format!("{PREFIX}{package}/{version}"));
            let _: Hold = api.post("/holds", &SetHold { scope, stop_all: false, reason: why.clone() }).await?;
        }
        Patch::Unblock { package, version } => release(api, &format!("{PREFIX}{package}/{version}")).await?,
        Patch::List => {}
    }
    let holds: Vec<Hold> = api.get("/holds").await?;
    let blocked: Vec<(&Hold, &str)> =
        holds.iter().filter_map(|hold| Some((hold, hold.id.strip_prefix(PREFIX)?))).collect();
    if output.json {
        for (hold, _) in &blocked {
            output.object(hold)?;
        }
        return Ok(Exit::Done);
    }
    if blocked.is_empty() {
        output.line("No patch is blocked.")?;
    }
    for (hold, patch) in blocked {
        output.line(&format!(
            "{} since {} by {}: {}",
            output.paint(Tone::Bad, &plain(&patch.replacen('/', " ", 1))),
            When(hold.set_at),
            plain(&hold.set_by),
            plain(&hold.reason)
        ))?;
    }
    Ok(Exit::Done)
}
