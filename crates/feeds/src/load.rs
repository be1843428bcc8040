//! Folders of feeds: as publishers name them, and as compiled before.
//!
//! A feed folder is laid out so: `osv/Debian-12/all.zip` (a folder for each ecosystem),
//! `kev/known_exploited_vulnerabilities.json`, `kev/cvss3.csv`, `epss/epss_scores-2026-08-22.csv.gz` (the newest
//! counts), `debian/support-status.json`, `vulnrichment/` and `vex/` with any files; what CVE records say
//! of versions of libraries is a feed of its own. Whatever is missing is not known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use jiff::Timestamp;
use stanch_model::canonical::Hasher;

use crate::archive::Limits;
use crate::compiled::{Compiled, Effort, FORMAT, MAX_FILE, read_file, write_file};
use crate::error::{FeedError, Problem};
use crate::{cvss, epss, kev, osv, support, upstream, vex, vulnrichment};

/// Largest archive read.
const MAX_ARCHIVE: u64 = 1 << 30;
/// Most files looked at in one folder, with its folders.
const MAX_FILES: usize = 500_000;
const CHECKED: &str = "checked.json";

/// What a part of a feed folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Osv(String),
    Kev,
    Cvss,
    Epss,
    Support,
    Vulnrichment,
    Upstream,
    Vex,
}

/// The feeds of a folder.
pub(crate) fn folder(dir: &Path, cache: Option<&Path>) -> Result<Vec<Compiled>, FeedError> {
    parts(dir)?.into_iter().filter_map(|(part, files)| one(&part, &files, cache).transpose()).collect()
}

/// The feeds of a folder, compiled as small as can be.
pub(crate) fn folder_small(dir: &Path) -> Result<Vec<Compiled>, FeedError> {
    parts(dir)?.into_iter().filter_map(|(part, files)| compile(&part, &files, Effort::Small).transpose()).collect()
}

fn parts(dir: &Path) -> Result<Vec<(Part, Vec<PathBuf>)>, FeedError> {
    let listed =
        |path: &Path| list(path).map_err(|problem| FeedError::at("feeds", &path.display().to_string(), problem));
    if !dir.is_dir() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let problem = Problem::Io { operation: "open the feed folder", source: missing };
        return Err(FeedError::at("feeds", &dir.display().to_string(), problem));
    }
    let mut parts = Vec::new();
    for folder in listed(&dir.join("osv"))? {
        let zip = folder.join("all.zip");
        if let Some(name) = folder.file_name().and_then(|name| name.to_str())
            && zip.is_file()
        {
            parts.push((Part::Osv(osv::ecosystem_of_folder(name)), vec![zip]));
        }
    }
    let single = [
        (Part::Kev, dir.join("kev/known_exploited_vulnerabilities.json")),
        (Part::Cvss, dir.join("kev/cvss3.csv")),
        (Part::Support, dir.join("debian/support-status.json")),
    ];
    parts.extend(single.into_iter().filter(|(_, path)| path.is_file()).map(|(part, path)| (part, vec![path])));
    let is_scores = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("epss_scores") && (name.ends_with(".csv.gz") || name.ends_with(".csv"))
    };
    // Their names hold the day, so the last in order is the newest.
    if let Some(newest) = listed(&dir.join("epss"))?.into_iter().rfind(is_scores) {
        parts.push((Part::Epss, vec![newest]));
    }
    for (part, name) in [(Part::Vulnrichment, "vulnrichment"), (Part::Vex, "vex")] {
        let mut files = Vec::new();
        let root = dir.join(name);
        walk(&root, 0, &mut files).map_err(|problem| FeedError::at(name, &root.display().to_string(), problem))?;
        if files.is_empty() {
            continue;
        }
        if part == Part::Vulnrichment {
            parts.push((Part::Upstream, files.clone()));
        }
        parts.push((part, files));
    }
    Ok(parts)
}

/// Entries of a folder in the order of their names; none when it does not exist.
fn list(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Problem::Io { operation: "list the folder", source: error }),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(Problem::io("list the folder"))?.path());
        if paths.len() > MAX_FILES {
            return Err(Problem::TooMany { limit: MAX_FILES });
        }
    }
    paths.sort();
    Ok(paths)
}

/// All JSON and zip files below a folder, without following links.
fn walk(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Problem> {
    for entry in list(path)? {
        let kind = entry.symlink_metadata().map_err(Problem::io("look at a file"))?.file_type();
        if kind.is_dir() && depth < 8 {
            walk(&entry, depth + 1, files)?;
        } else if kind.is_file()
            && entry.extension().is_some_and(|end| end.eq_ignore_ascii_case("json") || end.eq_ignore_ascii_case("zip"))
        {
            files.push(entry);
        }
        if files.len() > MAX_FILES {
            return Err(Problem::TooMany { limit: MAX_FILES });
        }
    }
    Ok(())
}

fn one(part: &Part, files: &[PathBuf], cache: Option<&Path>) -> Result<Option<Compiled>, FeedError> {
    let Some(cache) = cache else { return compile(part, files, Effort::Quick) };
    let key = key(part, files).map_err(|problem| FeedError::new("feeds", problem))?;
    let kept = cache.join(key);
    // A cache that is missing or damaged is made again; it never decides anything by itself.
    if let Ok(compiled) = Compiled::open(&kept) {
        return Ok(Some(compiled));
    }
    let Some(compiled) = compile(part, files, Effort::Quick)? else { return Ok(None) };
    // A cache that cannot be written costs time, nothing else.
    let _ = write_file(&kept, compiled.bytes());
    Ok(Some(compiled))
}

/// The name under which the result is cached: other files, sizes or times give another name.
fn key(part: &Part, files: &[PathBuf]) -> Result<String, Problem> {
    let mut hasher = Hasher::new();
    hasher.update(format!("{FORMAT} {} {part:?}", env!("CARGO_PKG_VERSION")).as_bytes());
    for file in files {
        let about = file.metadata().map_err(Problem::io("look at a file"))?;
        let modified = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        hasher.update(file.as_os_str().as_encoded_bytes());
        hasher.update(format!("\0{} {}\0", about.len(), modified.as_nanos()).as_bytes());
    }
    Ok(format!("{}.feed", hasher.finish()))
}

/// Nothing where the files may hold none of it.
fn compile(part: &Part, files: &[PathBuf], effort: Effort) -> Result<Option<Compiled>, FeedError> {
    let single = |name: &str, limit| {
        let path = files.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
        read_file(path, limit).map_err(|problem| FeedError::at(name, &path.display().to_string(), problem))
    };
    let compiled = match part {
        Part::Osv(ecosystem) => {
            let zip = single(&osv::feed_name(ecosystem), MAX_ARCHIVE)?;
            osv::compile_with(ecosystem, &zip, &Limits::default(), effort)
        }
        Part::Kev => kev::compile_with(&single("kev", MAX_FILE)?, effort),
        Part::Cvss => cvss::compile_with(&single("cvss", MAX_FILE)?, effort),
        Part::Epss => epss::compile_with(&single("epss", MAX_FILE)?, effort),
        Part::Support => support::compile_with(&single("support", MAX_FILE)?, effort),
        Part::Vulnrichment => {
            let mut reader = vulnrichment::Reading::default();
            each(vulnrichment::NAME, files, |name, bytes| reader.add(name, bytes))?;
            reader.finish(effort)
        }
        Part::Upstream => {
            let mut reader = upstream::Reading::default();
            each(upstream::NAME, files, |name, bytes| reader.add(name, bytes))?;
            return reader.finish(effort);
        }
        Part::Vex => {
            let mut reader = vex::Reading::default();
            each(vex::NAME, files, |name, bytes| reader.add(name, bytes))?;
            reader.finish(effort)
        }
    };
    compiled.map(Some)
}

fn each(
    feed: &str,
    files: &[PathBuf],
    mut add: impl FnMut(&str, &[u8]) -> Result<(), FeedError>,
) -> Result<(), FeedError> {
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = read_file(path, MAX_ARCHIVE).map_err(|problem| FeedError::at(feed, &name, problem))?;
        add(&name, &bytes)?;
    }
    Ok(())
}

/// The compiled feeds of a folder, with the times at which their sources last confirmed them.
pub(crate) fn store(folder: &Path) -> Result<Vec<Compiled>, FeedError> {
    let refuse = |problem| FeedError::at("feeds", &folder.display().to_string(), problem);
    let mut feeds = Vec::new();
    let checked = checked(folder);
    for path in list(folder).map_err(refuse)? {
        if path.extension().is_some_and(|end| end == "feed") {
            let mut compiled = Compiled::open(&path)?;
            compiled.meta.checked = checked.get(&compiled.meta.name).copied().max(compiled.meta.checked);
            feeds.push(compiled);
        }
    }
    Ok(feeds)
}

fn checked(folder: &Path) -> BTreeMap<String, Timestamp> {
    // Without it feeds merely look older than they are.
    read_file(&folder.join(CHECKED), MAX_FILE)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Notes when the publisher of a feed last confirmed that there is nothing newer; absent when it was never asked.
///
/// # Errors
/// When the folder cannot be written.
pub fn confirm(folder: &Path, feed: &str, at: Option<Timestamp>) -> Result<(), FeedError> {
    let mut all = checked(folder);
    match at {
        Some(at) => drop(all.insert(feed.to_owned(), at)),
        None => drop(all.remove(feed)),
    }
    let refuse = |problem| FeedError::new(feed, problem);
    let text = serde_json::to_vec(&all).map_err(|error| refuse(Problem::Json(error)))?;
    write_file(&folder.join(CHECKED), &text).map_err(refuse)
}
