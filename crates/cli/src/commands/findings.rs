//! `findings`: what the server knows, as work items or one by one.

use std::time::Duration;

use serde::Serialize;
use stanch_server::api::types::{Accepted, Finding, FindingPage, Item, ItemList, Scan};

use crate::args::Findings;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, plain};
use crate::scan::table::{ItemRow, findings_table, items_table};

pub(crate) async fn run(api: &Api, output: &Output, wanted: &Findings) -> Result<Exit, Failure> {
    if wanted.refresh {
        refresh(api, output, false).await?;
    }
    if wanted.all || wanted.closed || wanted.detector.is_some() {
        let found = all(api, wanted).await?;
        return print(output, &found, || {
            findings_table(
                output,
                found.iter().map(|one| {
                    (
                        one.detector.as_str(),
                        one.advisory.as_str(),
                        one.binary.as_str(),
                        one.version.as_str(),
                        one.fixed_version.as_deref(),
                        one.verdict.as_str(),
                    )
                }),
            )
        });
    }
    let items = items(api).await?;
    let exit = print(output, &items, || items_table(output, items.iter().map(row)))?;
    let suppressed = items.iter().filter(|item| item.suppressed.is_some()).count();
    output.say(&format!(
        "{} work items{}.",
        items.len(),
        if suppressed > 0 { format!(", {suppressed} suppressed after an undo") } else { String::new() }
    ));
    Ok(exit)
}

fn print<T: Serialize>(
    output: &Output,
    all: &[T],
    table: impl FnOnce() -> std::io::Result<()>,
) -> Result<Exit, Failure> {
    if output.json {
        for one in all {
            output.object(one)?;
        }
    } else if all.is_empty() {
        output.say("Nothing is open.");
    } else {
        table()?;
    }
    Ok(Exit::Done)
}

/// An item as a row of the table that `scan` prints too.
fn row(item: &Item) -> ItemRow {
    let change = match (&item.version, &item.fixed_version, item.kind.as_str()) {
        (_, _, "service") => "restart".to_owned(),
        (_, _, "reboot") => "reboot".to_owned(),
        (Some(from), Some(to), _) => format!("{from} -> {to}"),
        (Some(from), None, _) => format!("{from} has no fix yet"),
        _ => item.verdict.clone(),
    };
    ItemRow {
        deployer: item.deployer.clone(),
        bod: item.bod.clone(),
        name: item.name.clone(),
        change,
        closes: format!("{} findings", item.findings),
        reason: match &item.suppressed {
            Some(suppressed) => format!("suppressed: {}", suppressed.reason),
            None => item.reason.clone(),
        },
    }
}

/// Every open item, most urgent first.
pub(crate) async fn items(api: &Api) -> Result<Vec<Item>, Failure> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page: ItemList = api.get(&format!("/items?limit=1000{after}")).await?;
        found.extend(page.items);
        match page.next {
            Some(next) => after = format!("&after={}", query(&next)),
            None => return Ok(found),
        }
    }
}

async fn all(api: &Api, wanted: &Findings) -> Result<Vec<Finding>, Failure> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut path = format!("/findings?limit=500&closed={}", wanted.closed);
        if let Some(detector) = &wanted.detector {
            path.push_str(&format!("&detector={}", query(detector)));
        }
        if let Some(after) = &after {
            path.push_str(&format!("&after={}", query(after)));
        }
        let page: FindingPage = api.get(&path).await?;
        found.extend(page.findings);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

/// Text made safe for a query string.
pub(crate) fn query(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// What a person typed, as item ids or short names: an advisory or CVE id stands for the items that hold it.
pub(crate) async fn resolve(api: &Api, typed: &str) -> Result<Vec<String>, Failure> {
    let items = items(api).await?;
    let named: Vec<String> = items
        .iter()
        .filter(|item| item.id == typed || item.name == typed || item.name.strip_suffix(".service") == Some(typed))
        .map(|item| item.id.clone())
        .collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let page: FindingPage = api.get(&format!("/findings?limit=500&id={}", query(typed))).await?;
    let mut held: Vec<String> = page.findings.into_iter().filter_map(|finding| finding.item).collect();
    held.sort();
    held.dedup();
    if held.is_empty() {
        return Err(Failure::new(format!("nothing open is called `{}`", plain(typed)))
            .hint("list what is open with: stanch findings (add --all for every id)"));
    }
    Ok(held)
}

/// Reads the host's facts again and waits until they are in.
pub(crate) async fn refresh(api: &Api, output: &Output, indexes: bool) -> Result<(), Failure> {
    let newest = async || -> Result<_, Failure> {
        let assets = super::assets::every(api, "").await?;
        Ok(assets.into_iter().filter_map(|asset| asset.facts_at).max())
    };
    let before = newest().await?;
    let _: Accepted = api.post("/scan", &Scan { refresh: indexes }).await?;
    if indexes {
        output.say("Fetching the archive indexes and reading facts ...");
    }
    let waited = std::time::Instant::now();
    while newest().await? <= before {
        if waited.elapsed() > Duration::from_secs(600) {
            return Err(Failure::new("no new facts came within ten minutes")
                .hint("is the executor connected? see: stanch findings"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
