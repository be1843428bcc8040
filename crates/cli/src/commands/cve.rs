//! `cve`: one problem over all hosts.

use stanch_server::api::types::{Cve as Told, CvePlace};

use super::findings::query;
use super::people::segment;
use crate::args::Cve;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, many, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: &Cve) -> Result<Exit, Failure> {
    let state = wanted.state.as_ref().map(|state| format!("&state={state}")).unwrap_or_default();
    let path = format!("/cves/{}?limit=1000{state}", segment(&wanted.id));
    let mut told: Told = api.get(&path).await?;
    while let Some(next) = told.next.take() {
        let page: Told = api.get(&format!("{path}&after={}", query(&next))).await?;
        told.places.extend(page.places);
        told.next = page.next;
    }
    if output.json {
        output.object(&told)?;
        return Ok(Exit::Done);
    }
    output.line(&format!("{}  {}", output.paint(Tone::Strong, &plain(&told.id)), about(output, &told)))?;
    if !told.known {
        output.line(
            &output.paint(Tone::Warn, "No feed and no finding here knows this name: not finding it says nothing."),
        )?;
    }
    let hosts = &told.hosts;
    let of = |name: &str| hosts.by_state.get(name).copied().unwrap_or_default();
    output.line(&format!(
        "It is on {} now, {} of them in work; on {} it is gone. Of {} {} were looked at.",
        many(hosts.exposed, "asset"),
        of("in_work"),
        of("fixed") + of("gone"),
        many(hosts.all, "host"),
        hosts.looked_at
    ))?;
    if hosts.not_looked_at > 0 {
        let line = format!("{} could not be looked at: unknown, not clean.", many(hosts.not_looked_at, "host"));
        output.line(&output.paint(Tone::Warn, &line))?;
        for one in &hosts.unseen {
            output.line(&format!("  {} {} (stanch assets list --blind {})", one.hosts, plain(&one.why), one.name))?;
        }
    }
    let end =
        told.finished_at.map(|at| format!("{} at the latest, when nothing fails: ", at.strftime("%Y-%m-%d %H:%M UTC")));
    output.line(&format!("Finished: {}{}.", end.unwrap_or_default(), plain(&told.finish)))?;
    if !told.work.is_empty() {
        let mut table = output.table(&["REMEDIATION", "STATE", "HOSTS", "WAITS FOR", "OVER"]);
        for work in &told.work {
            table.add_row([
                work.id.clone(),
                work.state.replace('_', " "),
                work.hosts.to_string(),
                plain(&work.waits_for),
                plain(work.forecast.as_deref().unwrap_or("no time can be told")),
            ]);
        }
        output.line(&format!("\n{table}"))?;
    }
    if !told.places.is_empty() {
        let mut table = output.table(&["HOST", "ENVIRONMENT", "PACKAGE", "INSTALLED", "FIXED IN", "STATE"]);
        for place in &told.places {
            table.add_row([
                plain(&place.asset_name),
                plain(place.environment.as_deref().unwrap_or("unknown")),
                plain(&place.package),
                plain(&place.version),
                plain(place.fixed_version.as_deref().unwrap_or("no fix known")),
                stands(output, place),
            ]);
        }
        output.line(&format!("\n{table}"))?;
    }
    if told.cut {
        output.say("There are more places than were counted.");
    }
    Ok(Exit::Done)
}

/// What the feeds know of it, in a line.
fn about(output: &Output, told: &Told) -> String {
    let mut words = Vec::new();
    if told.kev_added.is_some() {
        words.push(output.paint(Tone::Bad, "known to be exploited"));
    }
    words.push(match told.cvss_e1 {
        Some(score) => format!("CVSS {}.{} ({})", score / 10, score % 10, told.severity),
        None => "CVSS unknown".to_owned(),
    });
    words.push(match told.epss_e5 {
        Some(score) => format!("EPSS {}.{} %", score / 1000, score % 1000 / 100),
        None => "EPSS unknown".to_owned(),
    });
    if !told.other_names.is_empty() {
        words.push(plain(&told.other_names.join(", ")));
    }
    words.join(", ")
}

fn stands(output: &Output, place: &CvePlace) -> String {
    let (tone, word) = match place.state.as_str() {
        "open" => (Tone::Bad, "can be fixed"),
        "no_fix" => (Tone::Warn, "no fix yet"),
        "in_work" => (Tone::Strong, "in work"),
        "fixed" => (Tone::Good, "fixed"),
        "gone" => (Tone::Good, "gone"),
        "not_affected" => (Tone::Dim, "not affected"),
        other => (Tone::Warn, other),
    };
    output.paint(tone, word)
}
