//! The feeds of the server that leads, for those that may lead after it: they judge by the same ones from the first
//! moment, and no verdict turns because another server reads it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use stanch_model::Digest;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use super::Cluster;
use crate::app::App;
use crate::error::chain;

/// Where the one that leads shows them.
pub(super) const PATH: &str = "/server/v1/feeds";
/// Between two looks.
const LOOK: Duration = Duration::from_secs(30);
/// How long a copy of all of them may take.
const LONGEST: Duration = Duration::from_secs(600);
/// Largest file that is taken, in bytes.
const LARGEST: u64 = 1 << 30;
/// What waits while they cannot be had.
const COPYING: &str = "the feeds of the server that leads";

/// One edition of all feeds: what it is called, and its files with their digests.
#[derive(Debug, Serialize, Deserialize)]
struct Edition {
    stamp: Digest,
    files: BTreeMap<String, Digest>,
}

/// Answers another server: what there is, or one file of it.
pub(super) async fn show(app: &App, path: &str) -> Response {
    let folder = app.knowledge.folder().to_owned();
    let Some(name) = path.strip_prefix(PATH).map(|rest| rest.trim_start_matches('/')) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let stamp = app.knowledge.held().stamp;
    let listed = tokio::task::spawn_blocking(move || files(&folder).map(|files| (folder, files))).await;
    let (folder, files) = match listed {
        Ok(Ok(listed)) => listed,
        Ok(Err(error)) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    if name.is_empty() {
        return Json(Edition { stamp, files }).into_response();
    }
    // Only what was listed has a name here.
    if !files.contains_key(name) {
        return StatusCode::NOT_FOUND.into_response();
    }
    match tokio::fs::read(folder.join(name)).await {
        Ok(bytes) => Body::from(bytes).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn files(folder: &Path) -> std::io::Result<BTreeMap<String, Digest>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str()
            && is_name(name)
            && entry.file_type()?.is_file()
        {
            files.insert(name.to_owned(), Digest::of_bytes(&std::fs::read(entry.path())?));
        }
    }
    Ok(files)
}

/// Whether it is a plain name, whoever says it.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.ends_with(".feed") && !name.starts_with('.') && name.len() <= 200 && name.chars().all(plain)
}

/// Keeps the feeds of this server, while it follows, those of the one that leads.
pub(super) async fn run(app: App, mut stopping: watch::Receiver<bool>) {
    loop {
        if app.cluster.as_ref().is_some_and(|cluster| !cluster.leads()) {
            let copied = tokio::select! {
                copied = tokio::time::timeout(LONGEST, copy(&app)) => copied,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            match copied {
                Ok(Ok(())) => app.goes_on(COPYING),
                Ok(Err(why)) => {
                    // Its certificate may have run out.
                    app.cluster.as_ref().inspect(|cluster| cluster.relay.renew());
                    app.waits(COPYING, why);
                }
                Err(_) => app.waits(COPYING, "the server that leads does not hand them over"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

async fn copy(app: &App) -> Result<(), String> {
    let (Some(cluster), Some(authority)) = (&app.cluster, &app.authority) else { return Ok(()) };
    let Some(door) = cluster.leader().and_then(|leader| leader.door) else { return Ok(()) };
    let client = cluster.relay.get(authority)?;
    let get = async |rest: &str| {
        let answer = client.get(format!("https://{door}{PATH}{rest}")).send().await;
        answer.and_then(reqwest::Response::error_for_status).map_err(|error| chain(&error))
    };
    let edition: Edition = get("").await?.json().await.map_err(|error| chain(&error))?;
    if edition.stamp == app.knowledge.held().stamp {
        return Ok(());
    }
    let folder = app.knowledge.folder().to_owned();
    let own = files(&folder).map_err(|error| error.to_string())?;
    for (name, digest) in edition.files.iter().filter(|(name, digest)| own.get(*name) != Some(*digest)) {
        if !is_name(name) {
            return Err(format!("`{name}` is no name of a feed"));
        }
        let answer = get(&format!("/{name}")).await?;
        take(answer, &folder, name, digest).await?;
    }
    // It leads by now, and its feeds are its own.
    if app.cluster.as_ref().is_some_and(Cluster::leads) {
        return Ok(());
    }
    for name in own.keys().filter(|name| !edition.files.contains_key(*name)) {
        std::fs::remove_file(folder.join(name)).map_err(|error| error.to_string())?;
    }
    app.knowledge.reload().map_err(|error| chain(&error))
}

/// Takes a file whole, or not at all.
async fn take(answer: reqwest::Response, folder: &Path, name: &str, digest: &Digest) -> Result<(), String> {
    let part: PathBuf = folder.join(format!(".{name}.new"));
    let failed = |error: std::io::Error| format!("{}: {error}", part.display());
    let mut file = tokio::fs::File::create(&part).await.map_err(failed)?;
    let mut bytes = answer.bytes_stream();
    let (mut hasher, mut length) = (stanch_model::canonical::Hasher::new(), 0_u64);
    while let Some(some) = bytes.next().await {
        let some = some.map_err(|error| chain(&error))?;
        length = length.saturating_add(some.len() as u64);
        if length > LARGEST {
            return Err(format!("{name} is larger than any feed"));
        }
        hasher.update(&some);
        file.write_all(&some).await.map_err(failed)?;
    }
    file.sync_all().await.map_err(failed)?;
    if hasher.finish() != *digest {
        return Err(format!("{name} changed while it was read"));
    }
    tokio::fs::rename(&part, folder.join(name)).await.map_err(failed)
}
