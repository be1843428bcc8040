//! `patch`: versions that are not to be brought anywhere. Each is a hold of its own scope.

use stanch_model::When;
use stanch_model::hold::HoldScope;
use stanch_model::patch::{DEB, Patch as BadPatch};
use stanch_server::api::types::{Hold, SetHold};

use super::hold::release;
use crate::args::{Named, Patch};
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

/// Whether a hold is one of a bad patch.
pub(super) fn is(hold: &Hold) -> bool {
    hold.id.parse().is_ok_and(|scope: HoldScope| scope.is_patch())
}

/// The scope of a bad patch that is named so.
fn scope(named: &Named) -> Result<String, Failure> {
    let patch = match &named.version {
        Some(version) => BadPatch::new(&named.ecosystem, &named.package, version),
        None => named.package.parse(),
    };
    Ok(HoldScope::Version(patch.map_err(|error| Failure::usage(error.to_string()))?).to_string())
}

/// A bad patch as people read it. What is no package of dpkg says where it is from.
fn shown(patch: &BadPatch) -> String {
    let of = if patch.ecosystem() == DEB { String::new() } else { format!(" ({})", patch.ecosystem()) };
    format!("{} {}{of}", patch.package(), patch.versions())
}

pub(crate) async fn run(api: &Api, output: &Output, patch: &Patch) -> Result<Exit, Failure> {
    match patch {
        Patch::Block { patch, why } => {
            let scope = Some(scope(patch)?);
            let _: Hold = api.post("/holds", &SetHold { scope, stop_all: false, reason: why.clone() }).await?;
        }
        Patch::Unblock { patch } => release(api, &scope(patch)?).await?,
        Patch::List => {}
    }
    let holds: Vec<Hold> = api.get("/holds").await?;
    let patch_of = |hold: &Hold| match hold.id.parse() {
        Ok(HoldScope::Version(patch)) => Some(patch),
        _ => None,
    };
    let blocked: Vec<(&Hold, BadPatch)> = holds.iter().filter_map(|hold| Some((hold, patch_of(hold)?))).collect();
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
            output.paint(Tone::Bad, &plain(&shown(&patch))),
            When(hold.set_at),
            plain(&hold.set_by),
            plain(&hold.reason)
        ))?;
    }
    Ok(Exit::Done)
}
