//! Newer feeds. The last good one stays until a newer one is whole and could be read, and one that would turn too many
//! verdicts waits for a person.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use stanch_connect::feeds::{
    Client, ClientOptions, FetchError, Incoming, Location, Outcome, Source, State, known_sources, next_due,
};
use stanch_feeds::compiled::file_name;
use stanch_feeds::guard::{Admission, Change, compare};
use stanch_feeds::{Changes, Compiled, Knowledge, changes};
use stanch_ledger::NewEntry;
use stanch_model::facts::HostFacts;
use stanch_store::feed::{Feed, FeedStatus};
use stanch_store::overview::FindingCount;
use stanch_store::{Transition, Write};

use super::PassError;
use super::edition::judged_anew;
use crate::api::Problem;
use crate::api::types::{JudgeFeed, PendingFeed};
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::error::chain;

/// Stands for the publishers' own addresses.
const PUBLISHED: &str = "published";
/// What waits while no facts are there.
const BLIND: &str = "newer feeds";
/// So many hosts are looked at to tell what a newer edition would change.
const SAMPLE: u32 = 1_000;
/// Under this name a feed's row keeps the digest of the edition that a person refused.
const THROWN_AWAY: &str = "thrown_away";

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let wanted = app.feeds_wanted();
    let now = app.now();
    let every = SignedDuration::try_from(app.config.intervals.feeds).unwrap_or(SignedDuration::MAX);
    for from in &app.config.feeds {
        if from == PUBLISHED || from.starts_with("https://") || from.starts_with("http://") {
            for source in sources(app, from).await? {
                let state = State::load(&downloads(app), &source.name);
                let place = app.keys.root().to_string();
                if (wanted || next_due(&source, &state, &place, now) <= now) && can_tell(app).await? {
                    fetch(app, &source).await?;
                }
            }
        } else if (wanted || app.feeds_due(from, now, every)) && can_tell(app).await? {
            folder(app, Path::new(from)).await?;
            app.feeds_done(from, now);
        }
    }
    Ok(())
}

/// The facts of the hosts on which a newer edition may say something else, and how many findings are open on all others,
/// which stay as they are. Of too many hosts only some are looked at, and the others left out.
async fn concerned(app: &App, changes: Changes) -> Result<(Vec<HostFacts>, u64), PassError> {
    let mut assets = BTreeSet::new();
    for whom in judged_anew(changes) {
        assets.extend(app.store.whom(&whom, SAMPLE).await?);
    }
    let all = assets.len() < SAMPLE as usize;
    let mut hosts = Vec::new();
    for asset in assets.iter().take(SAMPLE as usize) {
        hosts.extend(app.store.facts(asset).await?.map(|facts| facts.facts));
    }
    if !all {
        return Ok((hosts, 0));
    }
    let open = |counts: BTreeMap<_, FindingCount>| counts.into_values().map(|count| count.open).sum::<u64>();
    let everywhere = open(app.store.finding_counts(None).await?);
    let there = open(app.store.finding_counts(Some(&assets)).await?);
    Ok((hosts, everywhere.saturating_sub(there)))
}

/// Whether it can be told what a newer edition would change. Over editions that were taken none is taken blindly.
async fn can_tell(app: &App) -> Result<bool, PassError> {
    let taken = app.knowledge.held().feeds.compiled().any(|feed| !feed.meta.snapshot);
    let told = !taken || app.store.any_facts().await?;
    if told {
        app.goes_on(BLIND);
    } else {
        app.waits(BLIND, "no host's facts are there yet, so it cannot be told what newer ones would change");
    }
    Ok(told)
}

fn downloads(app: &App) -> PathBuf {
    app.config.data_dir.join("downloads")
}

/// Where feeds come from: the publishers, or a mirror laid out like the folder of feeds.
async fn sources(app: &App, from: &str) -> Result<Vec<Source>, PassError> {
    let ecosystems = app.store.ecosystems().await?;
    let names: Vec<&str> = ecosystems.iter().map(String::as_str).collect();
    let mut all = known_sources(&names);
    if from != PUBLISHED {
        for source in &mut all {
            source.from = Location::Url(format!("{}/{}", from.trim_end_matches('/'), source.file));
        }
    }
    Ok(all)
}

/// Fetches one feed. A failure is kept with the feed and shown; it fails nothing else.
async fn fetch(app: &App, source: &Source) -> Result<(), PassError> {
    let now = app.now();
    let folder = downloads(app);
    let client = Client::new(&ClientOptions::default()).map_err(|error| PassError::Feeds(chain(&error)))?;
    let place = match &source.from {
        Location::Url(url) => url.clone(),
        Location::File(path) | Location::Folder(path) => path.display().to_string(),
    };
    match client.fetch(source, &folder, now, &mut |_| {}).await {
        Ok(Outcome::Unchanged) => {
            confirm(app, &source.name, Some(now))?;
            note(app, &source.name, &place, None).await
        }
        Ok(Outcome::Incoming(incoming)) => match read(app, incoming.path(), source).await? {
            Ok(compiled) => {
                let mut in_force = true;
                for feed in compiled {
                    in_force &= admit(app, feed, &place, Some(now)).await?;
                }
                // What the source is asked by next time belongs to the edition in force: only so does "nothing newer"
                // speak of that one.
                let kept =
                    if in_force { incoming.accept(now).map(drop) } else { set_aside(*incoming, &folder, source, now) };
                kept.map_err(|error| PassError::Feeds(chain(&error)))
            }
            Err(why) => {
                incoming.refuse(now, &why).map_err(|error| PassError::Feeds(chain(&error)))?;
                note(app, &source.name, &place, Some(why)).await
            }
        },
        Err(error) => note(app, &source.name, &place, Some(chain(&error))).await,
    }
}

/// Forgets a download that is not in force, without calling it a failure.
fn set_aside(incoming: Incoming, folder: &Path, source: &Source, now: Timestamp) -> Result<(), FetchError> {
    incoming.refuse(now, "it is not in force")?;
    let mut state = State::load(folder, &source.name);
    state.failures = 0;
    state.failure = None;
    state.save(folder, &source.name)
}

/// Reads a download as the feed it should be, in a folder of its own under its proper name.
async fn read(app: &App, path: &Path, source: &Source) -> Result<Result<Vec<Compiled>, String>, PassError> {
    let staging = app.config.data_dir.join("staging");
    let (from, to) = (path.to_owned(), staging.join(&source.file));
    let read = tokio::task::spawn_blocking(move || {
        let fresh = || -> std::io::Result<()> {
            if staging.exists() {
                std::fs::remove_dir_all(&staging)?;
            }
            std::fs::create_dir_all(to.parent().unwrap_or(&staging))?;
            std::fs::copy(&from, &to).map(drop)
        };
        fresh().map_err(|error| error.to_string())?;
        let knowledge = Knowledge::from_dir(&staging, None).map_err(|error| chain(&error));
        drop(std::fs::remove_dir_all(&staging));
        knowledge.map(|knowledge| knowledge.compiled().cloned().collect())
    });
    Ok(read.await?)
}

/// Takes every feed of a local folder that differs from the one in use.
async fn folder(app: &App, path: &Path) -> Result<(), PassError> {
    let now = app.now();
    let (from, cache) = (path.to_owned(), app.config.data_dir.join("cache"));
    let read = tokio::task::spawn_blocking(move || {
        // Without a cache everything is parsed anew, which is slow and right.
        let cache = std::fs::create_dir_all(&cache).is_ok().then_some(cache);
        Knowledge::from_dir(&from, cache.as_deref()).map_err(|error| chain(&error))
    });
    let place = path.display().to_string();
    let found = match read.await? {
        Ok(found) => found,
        // The folder as a whole is refused: nothing of it is used.
        Err(why) => return note(app, "folder", &place, Some(why)).await,
    };
    let held = app.knowledge.held();
    for feed in found.compiled() {
        let same = held
            .feeds
            .compiled()
            .any(|known| known.meta.name == feed.meta.name && known.meta.source == feed.meta.source);
        if same {
            note(app, &feed.meta.name, &place, None).await?;
        } else {
            admit(app, feed.clone(), &place, None).await?;
        }
    }
    app.goes_on("feeds");
    tracing::debug!(%now, place, "looked for feeds");
    Ok(())
}

/// Puts a feed in force, unless it would turn too many verdicts or is older than the one it would replace. Answers
/// whether it is in force. `asked` is when its publisher was asked for it: a file that lies in a folder is as old as its
/// content, however late it was found.
async fn admit(app: &App, feed: Compiled, place: &str, asked: Option<Timestamp>) -> Result<bool, PassError> {
    let now = app.now();
    let _feeding = app.feeding.lock().await;
    let held = app.knowledge.held();
    let is_this = |known: &Compiled| known.meta.name == feed.meta.name && known.meta.source == feed.meta.source;
    if held.feeds.compiled().any(is_this) {
        if asked.is_some() {
            confirm(app, &feed.meta.name, asked)?;
        }
        tried(app, &feed.meta.name, place, None).await?;
        return Ok(true);
    }
    let old = Arc::clone(&held.feeds);
    let candidate = feed.clone();
    let (new, changes) = tokio::task::spawn_blocking({
        let old = Arc::clone(&old);
        move || {
            let new = old.as_ref().clone().with([candidate]);
            let changes = changes(&old, &new, now);
            (new, changes)
        }
    })
    .await?;
    let (hosts, elsewhere) = concerned(app, changes).await?;
    // The snapshot is what one begins with, not an edition that somebody chose.
    let known = old.compiled().find(|known| known.meta.name == feed.meta.name && !known.meta.snapshot);
    let first = known.is_none();
    let older = known.is_some_and(|known| feed.meta.dated < known.meta.dated);
    let mut change: Change = tokio::task::spawn_blocking(move || compare(&old, &new, &hosts, now)).await?;
    change.same += elsewhere;
    let mut row = row(app, &feed.meta.name).await?;
    row.source = Some(place.to_owned());
    row.tried_at = Some(now);
    row.at = now;
    row.error = None;
    let known = row.validators.get(THROWN_AWAY).and_then(serde_json::Value::as_str);
    if known == Some(feed.meta.source.to_string().as_str()) {
        // A person said no to this very edition.
        app.store.put(Write::PutFeed(row)).await?;
        return Ok(false);
    }
    if older || (change.admission() == Admission::AskPerson && !first) {
        let pending = PendingFeed {
            changed: change.changed(),
            of: change.changed() + change.same,
            fetched_at: now,
            digest: feed.meta.source.to_string(),
        };
        let known: Option<PendingFeed> = row.review.clone().and_then(|review| serde_json::from_value(review).ok());
        if known.is_some_and(|known| known.digest == pending.digest) {
            // The question stands already.
            app.store.put(Write::PutFeed(row)).await?;
            return Ok(false);
        }
        let folder = pending_folder(app);
        std::fs::create_dir_all(&folder).map_err(|error| PassError::Feeds(error.to_string()))?;
        feed.write(&folder).map_err(|error| PassError::Feeds(chain(&error)))?;
        row.status = FeedStatus::Review;
        row.review = serde_json::to_value(&pending).ok();
        let entry = NewEntry::new(now, "server", "feed_waits")
            .with(serde_json::json!({ "feed": row.name, "changed": pending.changed, "of": pending.of }))
            .resting_on("feed", feed.meta.source);
        app.store.commit(Transition::new(entry).write(Write::PutFeed(row))).await?;
        tracing::warn!(
            feed = feed.meta.name,
            "a newer edition would change many verdicts: `stanch feeds accept` takes it"
        );
        app.bus.tell(Live::of("feeds", &feed.meta.name, "a newer one waits for a person"));
        return Ok(false);
    }
    put_in_force(app, &feed, row, "server", asked).await?;
    Ok(true)
}

async fn put_in_force(
    app: &App,
    feed: &Compiled,
    row: Feed,
    who: &str,
    asked: Option<Timestamp>,
) -> Result<(), PassError> {
    let now = app.now();
    feed.write(app.knowledge.folder()).map_err(|error| PassError::Feeds(chain(&error)))?;
    confirm(app, &feed.meta.name, asked)?;
    let row = Feed {
        status: FeedStatus::Good,
        dated: feed.meta.dated,
        model: feed.meta.model.clone(),
        digest: Some(feed.meta.source),
        records: Some(feed.meta.records),
        fetched_at: Some(now),
        review: None,
        error: None,
        at: now,
        ..row
    };
    let entry = NewEntry::new(now, who, "feed_taken")
        .with(serde_json::json!({ "feed": row.name, "dated": row.dated, "records": row.records }))
        .resting_on("feed", feed.meta.source);
    app.store.commit(Transition::new(entry).write(Write::PutFeed(row))).await?;
    app.bus.nudge(Stage::Ingest);
    app.bus.tell(Live::of("feeds", &feed.meta.name, "a newer one is in force"));
    Ok(())
}

/// Notes when a feed's publisher last had nothing newer, or that it was never asked, and reads the folder again.
fn confirm(app: &App, name: &str, at: Option<Timestamp>) -> Result<(), PassError> {
    let folder = app.knowledge.folder();
    stanch_feeds::load::confirm(folder, name, at).map_err(|error| PassError::Feeds(chain(&error)))?;
    app.knowledge.reload().map_err(|error| PassError::Feeds(chain(&error)))
}

fn pending_folder(app: &App) -> PathBuf {
    app.config.data_dir.join("feeds-waiting")
}

async fn row(app: &App, name: &str) -> Result<Feed, PassError> {
    let now = app.now();
    Ok(app.store.feed(name).await?.unwrap_or_else(|| Feed {
        name: name.to_owned(),
        status: FeedStatus::Absent,
        source: None,
        dated: None,
        model: None,
        digest: None,
        records: None,
        fetched_at: None,
        tried_at: None,
        error: None,
        validators: serde_json::Value::Null,
        review: None,
        at: now,
    }))
}

/// Keeps how an attempt ended.
async fn note(app: &App, name: &str, place: &str, error: Option<String>) -> Result<(), PassError> {
    let _feeding = app.feeding.lock().await;
    tried(app, name, place, error).await
}

async fn tried(app: &App, name: &str, place: &str, error: Option<String>) -> Result<(), PassError> {
    let now = app.now();
    let mut row = row(app, name).await?;
    row.source = Some(place.to_owned());
    row.tried_at = Some(now);
    row.at = now;
    if error.is_some() {
        row.status = FeedStatus::Failed;
    }
    if let Some(why) = &error {
        tracing::warn!(feed = name, why, "a feed was not refreshed; the last good one stays");
    }
    row.error = error;
    app.store.put(Write::PutFeed(row)).await?;
    app.bus.tell(Live::of("feeds", name, "looked for"));
    Ok(())
}

/// A person's word on a feed that waits.
pub(crate) async fn judge(app: &App, who: &str, word: &JudgeFeed) -> Result<(), Problem> {
    let missing = || Problem::not_found("feed that waits", &word.name);
    let _feeding = app.feeding.lock().await;
    let row = app.store.feed(&word.name).await?.ok_or_else(missing)?;
    let review = row.review.clone().ok_or_else(missing)?;
    let pending: PendingFeed = serde_json::from_value(review).map_err(|_| missing())?;
    if pending.digest != word.digest {
        return Err(Problem::conflict("changed_meanwhile", "another edition waits now").hint("look again"));
    }
    let path = pending_folder(app).join(file_name(&word.name));
    let failed = |error: &dyn std::error::Error| Problem::internal("judging a feed", error);
    if word.accept {
        let feed = Compiled::open(&path).map_err(|error| failed(&error))?;
        if feed.meta.source.to_string() != word.digest {
            return Err(Problem::conflict("changed_meanwhile", "another edition waits now").hint("look again"));
        }
        // Its publisher was asked when it was fetched, not when a person came to it.
        let network = row.source.as_deref().is_some_and(|from| from.starts_with("http"));
        let asked = network.then_some(pending.fetched_at);
        put_in_force(app, &feed, row, who, asked).await.map_err(|error| failed(&error))?;
        // The source is asked anew, not by what belonged to the edition before.
        State::default().save(&downloads(app), &word.name).map_err(|error| failed(&error))?;
    } else {
        let entry = NewEntry::new(app.now(), who, "feed_thrown_away")
            .with(serde_json::json!({ "feed": word.name, "digest": word.digest }));
        let validators = serde_json::json!({ THROWN_AWAY: word.digest });
        let row = Feed { review: None, status: FeedStatus::Good, validators, at: app.now(), ..row };
        app.store.commit(Transition::new(entry).write(Write::PutFeed(row))).await?;
    }
    drop(std::fs::remove_file(&path));
    Ok(())
}
