//! `explain`: why something is what it is, in words.

use stanch_model::When;
use std::collections::BTreeSet;

use stanch_server::api::types::{Finding, Item, ItemDetail, RemediationDetail};

use super::{findings, fix};
use crate::args::Explain;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: &Explain) -> Result<Exit, Failure> {
    let what = wanted.what.trim();
    if what.starts_with("rem-") {
        let detail: RemediationDetail = api.get(&format!("/remediations/{what}")).await?;
        return remediation(output, &detail);
    }
    if what.starts_with("find-") {
        let finding: Finding = api.get(&format!("/findings/{what}")).await?;
        return one_finding(output, &finding);
    }
    for id in findings::resolve(api, what).await? {
        let detail: ItemDetail = api.get(&format!("/items/{id}")).await?;
        item(output, &detail)?;
    }
    Ok(Exit::Done)
}

fn remediation(output: &Output, detail: &RemediationDetail) -> Result<Exit, Failure> {
    if output.json {
        output.object(detail)?;
        return Ok(Exit::Done);
    }
    let one = &detail.remediation;
    output.line(&output.paint(Tone::Strong, &format!("{}  {}", one.id, one.state.replace('_', " "))))?;
    output.line(&format!("for      {}", plain(&one.names.join(", "))))?;
    output.line(&format!("because  {} ({})", plain(&one.reason), plain(&one.asked_by)))?;
    if let Some(waiting) = &one.waiting_on {
        output.line(&format!("waits    {}", plain(waiting)))?;
    }
    for task in &detail.tasks {
        if let Some(missed) = &task.missed {
            output.line(&format!("missed   {}", plain(&format!("{} {missed}", task.asset_name))))?;
        }
    }
    if let Some(plan) = &detail.plan {
        output.line("")?;
        fix::difference(output, plan)?;
    }
    output.line("")?;
    for event in &detail.timeline {
        output.line(&format!("{}  {}", event.at.strftime("%Y-%m-%d %H:%M:%S"), plain(&event.text)))?;
    }
    if let Some(undo) = &detail.undo {
        output.line("")?;
        output.line(&output.paint(Tone::Strong, "undo would"))?;
        for line in &undo.lines {
            output.line(&format!("  {}", plain(line)))?;
        }
    }
    Ok(Exit::Done)
}

fn one_finding(output: &Output, finding: &Finding) -> Result<Exit, Failure> {
    if output.json {
        output.object(finding)?;
        return Ok(Exit::Done);
    }
    output.line(&output.paint(Tone::Strong, &format!("{} in {}", plain(&finding.advisory), plain(&finding.binary))))?;
    output.line(&format!("verdict   {} ({})", finding.verdict, finding.detector))?;
    output.line(&format!("because   {}", plain(&finding.reason)))?;
    output.line(&format!("seen      {}", When(finding.first_seen_at)))?;
    if let Some(doubt) = &finding.doubt {
        output.line(&format!("doubt     {}", plain(doubt)))?;
    }
    if let Some(feed) = &finding.feed {
        output.line(&format!("data      {}", plain(feed)))?;
    }
    Ok(Exit::Done)
}

fn item(output: &Output, detail: &ItemDetail) -> Result<(), Failure> {
    if output.json {
        output.object(detail)?;
        return Ok(());
    }
    let item: &Item = &detail.item;
    output.line(&output.paint(Tone::Strong, &format!("{}  on {}", plain(&item.name), plain(&item.asset_name))))?;
    output.line(&format!(
        "priority  {} (coordinator: {}; deadline: {})",
        word(&item.deployer),
        word(&item.coordinator),
        word(&item.bod)
    ))?;
    output.line(&format!("because   {}", plain(&item.reason)))?;
    output.line(&format!("exposure  {}", plain(detail.exposure.as_deref().unwrap_or("unknown"))))?;
    output.line(&format!(
        "tier      {}",
        detail.tier.map_or_else(|| "unknown, counted as 1".to_owned(), |tier| tier.to_string())
    ))?;
    output.line(&format!("decision  {}: {}", item.mode, plain(&item.decision)))?;
    if let Some(shadow) = detail.decided.as_ref().and_then(|decided| decided.shadow.as_ref()) {
        output.line(&format!("in shadow {}: {}", shadow.mode, plain(&shadow.reason)))?;
    }
    output.line(&format!("action    {}", item.action.as_deref().unwrap_or("none: a person's work")))?;
    if let Some(suppressed) = &item.suppressed {
        output.line(&format!(
            "left out  {} (since {})",
            plain(&suppressed.reason),
            suppressed.since.strftime("%Y-%m-%d")
        ))?;
    }
    let mut table = output.table(&["ID", "PRIORITY", "KEV", "EPSS", "CVSS", "WHY"]);
    // One id shows up once for each binary package; a person reads it once.
    let mut seen = BTreeSet::new();
    for member in detail.members.iter().filter(|member| seen.insert(member.id.as_str())) {
        table.add_row([
            plain(&member.id),
            word(&member.deployer),
            member.kev_added.clone().unwrap_or_else(|| "-".to_owned()),
            member
                .epss_e5
                .map_or_else(|| "unknown".to_owned(), |score| format!("{}.{:05}", score / 100_000, score % 100_000)),
            if member.cvss.is_empty() { "unknown".to_owned() } else { plain(&member.cvss.join(", ")) },
            plain(&member.reason),
        ]);
    }
    output.line(&table.to_string())?;
    if item.action.is_some() {
        output.say(&format!("Fix it with: stanch fix {}", plain(&item.name)));
    }
    Ok(())
}

/// `out_of_cycle` as people write it.
fn word(text: &str) -> String {
    text.replace('_', "-")
}
