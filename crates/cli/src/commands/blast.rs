//! What a plan cuts off, measured just before a person is asked.

use std::time::{Duration, Instant};

use stanch_model::When;
use stanch_server::api::types::{Accepted, BlastRadius, RemediationDetail};

use crate::client::Api;
use crate::failure::Failure;
use crate::output::{Output, Tone, plain};

/// How long a person waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The remediation once its targets were measured anew, or as it is when they do not answer in time.
pub(crate) async fn measured(
    api: &Api,
    output: &Output,
    before: RemediationDetail,
) -> Result<RemediationDetail, Failure> {
    let id = &before.remediation.id;
    let asked: Result<Accepted, Failure> = api.post(&format!("/remediations/{id}/measure"), &()).await;
    if let Err(failure) = asked {
        output.say(&format!("What it cuts off cannot be measured now: {failure}"));
        return Ok(before);
    }
    let old = |detail: &RemediationDetail| {
        let known = |one: &BlastRadius| before.blast_radius.iter().any(|old| old.measured_at == one.measured_at);
        detail.blast_radius.iter().any(known)
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let detail: RemediationDetail = api.get(&format!("/remediations/{id}")).await?;
        if !old(&detail) {
            return Ok(detail);
        }
        if Instant::now() > deadline {
            output.say("Not every target was measured in time; each line says when it was.");
            return Ok(detail);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Prints what a plan cuts off.
pub(crate) fn cut_off(output: &Output, detail: &RemediationDetail) {
    for one in &detail.blast_radius {
        let measured = one.measured_at.map_or_else(String::new, |at| format!(" (measured {})", When(at)));
        let disruption = one.disruption.replace('_', " ");
        let target = format!("On {}, disruption: {disruption}{measured}", one.asset_name);
        output.say(&output.paint(Tone::Strong, &plain(&target)));
        for line in one.lines() {
            output.say(&format!("  {}", plain(&line)));
        }
    }
    let all = detail.plan.as_ref().map_or(0, |plan| plan.leaves.len());
    let more = all.saturating_sub(detail.blast_radius.len());
    if more > 0 && !detail.blast_radius.is_empty() {
        output.say(&format!("{more} more targets come later and were not measured."));
    }
}
