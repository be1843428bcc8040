//! `feeds`: the data that judgements rest on, with its dates.

use std::path::Path;

use jiff::Timestamp;
use stanch_feeds::Knowledge;
use stanch_server::api::types::{Accepted, Feed, JudgeFeed};

use crate::args::Feeds;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: Feeds) -> Result<Exit, Failure> {
    match wanted {
        Feeds::List { .. } => {}
        Feeds::Update => {
            let accepted: Accepted = api.post("/feeds/refresh", &serde_json::json!({})).await?;
            output.say(&accepted.message);
        }
        Feeds::Accept { name } => return judge(api, output, &name, true).await,
        Feeds::Reject { name } => return judge(api, output, &name, false).await,
    }
    let feeds: Vec<Feed> = api.get("/feeds").await?;
    list(output, &feeds)
}

async fn judge(api: &Api, output: &Output, name: &str, accept: bool) -> Result<Exit, Failure> {
    let feeds: Vec<Feed> = api.get("/feeds").await?;
    let pending = feeds.iter().find(|feed| feed.name == name).and_then(|feed| feed.pending.as_ref());
    let Some(pending) = pending else {
        return Err(
            Failure::refused(format!("no newer {} waits for a person", plain(name))).hint("see: stanch feeds list")
        );
    };
    let word = JudgeFeed { name: name.to_owned(), digest: pending.digest.clone(), accept };
    let feeds: Vec<Feed> = api.post("/feeds/judge", &word).await?;
    list(output, &feeds)
}

fn list(output: &Output, feeds: &[Feed]) -> Result<Exit, Failure> {
    if output.json {
        for feed in feeds {
            output.object(feed)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["FEED", "DATED", "MODEL", "RECORDS", "STATE"]);
    for feed in feeds {
        let words = match feed.state.as_str() {
            "ageless" => "no age limit",
            "absent" => "not at hand",
            other => other,
        };
        let words = if feed.snapshot { format!("built-in snapshot, {words}") } else { plain(words) };
        let mut state = match (feed.stale, feed.state.as_str()) {
            (true, _) => output.paint(Tone::Warn, &words),
            (false, "fresh") => output.paint(Tone::Good, &words),
            (false, _) => words,
        };
        if let Some(pending) = &feed.pending {
            state.push_str(&format!(
                "; a newer one would change {} of {} verdicts and waits: stanch feeds accept {}",
                pending.changed, pending.of, feed.name
            ));
        }
        if let Some(error) = &feed.error {
            state.push_str(&format!("; last refresh failed: {}", plain(error)));
        }
        table.add_row([
            plain(&feed.name),
            feed.dated.map_or_else(|| "undated".to_owned(), |at| at.strftime("%Y-%m-%d").to_string()),
            plain(feed.model.as_deref().unwrap_or("-")),
            feed.records.to_string(),
            state,
        ]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}

/// The feeds of a folder; needs no server.
pub(crate) fn list_folder(output: &Output, folder: &Path) -> Result<Exit, Failure> {
    let knowledge = Knowledge::from_dir(folder, crate::data::cache("feeds").as_deref())
        .map_err(|error| Failure::new(format!("the feeds in {} cannot be used", folder.display())).because(error))?;
    let mut table = output.table(&["FEED", "DATED", "MODEL", "RECORDS", "STATE"]);
    for feed in knowledge.feeds(Timestamp::now()) {
        if output.json {
            output.object(&feed)?;
            continue;
        }
        table.add_row([
            plain(&feed.meta.name),
            feed.meta.dated.map_or_else(|| "undated".to_owned(), |at| at.strftime("%Y-%m-%d").to_string()),
            plain(feed.meta.model.as_deref().unwrap_or("-")),
            feed.meta.records.to_string(),
            feed.damaged.clone().unwrap_or_else(|| feed.freshness.to_string()),
        ]);
    }
    if !output.json {
        output.line(&table.to_string())?;
    }
    Ok(Exit::Done)
}
