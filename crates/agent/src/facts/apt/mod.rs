//! What apt knows: which archives carry the installed versions, what they offer instead, what the owner wants kept
//! back, and what was installed only because something else needed it.

pub(crate) mod config;
pub(crate) mod index;
pub(crate) mod pins;
pub(crate) mod release;
mod sources;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read};

use jiff::Timestamp;
use stanch_model::facts::{Candidate, Known, Origin, Package};
use stanch_model::version::DebVersion;

use super::Root;
use super::cache::Cache;
use super::deb822::Stanzas;
use super::root::Stamp;
use config::Config;
pub(crate) use index::Entry;
use pins::{Archive, Fate, Offer, Pins};
use release::{ListName, Release};
use sources::Sources;

const LISTS: &str = "/var/lib/apt/lists";
const MAX_STATES: u64 = 32 << 20;
const MAX_LISTS: usize = 2000;

/// What the indexes say.
#[derive(Debug)]
pub(crate) struct Indexes {
    pub(crate) candidates: Known<BTreeMap<String, Vec<Candidate>>>,
    pub(crate) fetched_at: Option<Timestamp>,
    pub(crate) gaps: Vec<String>,
}

/// Reads the indexes, and writes the origins of installed versions and the automatic mark into `packages`.
pub(crate) fn read(root: &Root, config: &Config, packages: &mut [Package], cache: &mut Cache) -> Indexes {
    mark_automatic(root, packages);
    let pins = Pins::read(root, config);
    let mut gaps = Vec::new();
    if let Some(first) = pins.unclear.first() {
        let count = pins.unclear.len();
        gaps.push(format!("{count} settings of apt's preferences were not understood; the first: {first}"));
    }
    if let Some(first) = config.damaged.first() {
        let count = config.damaged.len();
        gaps.push(format!("{count} files of apt's settings were not understood to their end; the first: {first}"));
    }
    let unknown = |why: String, gaps| Indexes { candidates: Known::Unknown(why), fetched_at: None, gaps };
    let names = match root.list(LISTS) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return unknown(format!("the archive indexes cannot be read: {error}"), gaps),
    };
    let mut lists = release::lists(&names);
    if let Some(sources) = Sources::read(root, config) {
        let there = lists.len();
        lists.retain(|list| sources.have(&list.file));
        let left = there.saturating_sub(lists.len());
        if left > 0 {
            gaps.push(format!("{left} archive indexes are left over from sources that are not in use any more"));
        }
    }
    if lists.is_empty() {
        return unknown("no archive indexes are here: `apt-get update` fetches them".to_owned(), gaps);
    }
    if lists.len() > MAX_LISTS {
        return unknown(format!("more than {MAX_LISTS} archive indexes"), gaps);
    }
    let (loaded, failures) = load(root, &lists, packages, cache);
    let candidates = join(&lists, &loaded, &releases(root, &lists), &pins, packages);
    let fetched_at = fetched_at(root, &names);
    let candidates = match failures.first() {
        None => Known::Known(candidates),
        Some(first) => Known::Unknown(format!(
            "{} of {} archive indexes could not be read; the first: {first}",
            failures.len(),
            lists.len()
        )),
    };
    Indexes { candidates, fetched_at, gaps }
}

/// Fills `automatic`. apt writes nothing down for what was asked for, so a package without an entry is not automatic.
fn mark_automatic(root: &Root, packages: &mut [Package]) {
    let Ok(bytes) = root.read("/var/lib/apt/extended_states", MAX_STATES) else { return };
    let mut automatic = HashSet::new();
    for stanza in Stanzas::new(&bytes) {
        if stanza.get("Auto-Installed") == Some(b"1")
            && let (Some(name), Some(architecture)) = (stanza.text("Package"), stanza.text("Architecture"))
        {
            automatic.insert((name, architecture));
            // Packages of all machines are filed under the host's own.
            automatic.insert((name, "all"));
        }
    }
    for package in packages {
        package.automatic = Some(automatic.contains(&(package.name.as_str(), package.architecture.as_str())));
    }
}

/// The entries of every index, in the order of `lists`, and what failed.
fn load(root: &Root, lists: &[ListName], packages: &[Package], cache: &mut Cache) -> (Vec<Vec<Entry>>, Vec<String>) {
    let names: HashSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let path = |list: &ListName| format!("{LISTS}/{}", list.file);
    let mut loaded: Vec<Option<Vec<Entry>>> = Vec::with_capacity(lists.len());
    let mut stamps: Vec<Option<Stamp>> = Vec::with_capacity(lists.len());
    for list in lists {
        let stamp = root.stamp(&path(list)).ok();
        loaded.push(stamp.and_then(|stamp| cache.index(&list.file, stamp)));
        stamps.push(stamp);
    }
    let missing: Vec<usize> = (0..lists.len()).filter(|at| matches!(loaded.get(*at), Some(None))).collect();
    let read = |at: usize| -> (usize, io::Result<Vec<Entry>>) {
        let entries = match lists.get(at) {
            Some(list) => index::read(root, &path(list), &names),
            None => Ok(Vec::new()),
        };
        (at, entries)
    };
    let results = two_at_once(&missing, &read);
    let mut failures = Vec::new();
    for (at, result) in results {
        let (Some(list), Some(slot)) = (lists.get(at), loaded.get_mut(at)) else { continue };
        match result {
            Ok(entries) => {
                if let Some(Some(stamp)) = stamps.get(at) {
                    cache.keep_index(&list.file, *stamp, &entries);
                }
                *slot = Some(entries);
            }
            Err(error) => failures.push(format!("{}: {error}", list.file)),
        }
    }
    let there: HashSet<&str> = lists.iter().map(|list| list.file.as_str()).collect();
    cache.retain(|file| there.contains(file));
    (loaded.into_iter().map(Option::unwrap_or_default).collect(), failures)
}

type Loaded = (usize, io::Result<Vec<Entry>>);

/// Does independent reads on two threads: there are rarely more than two large indexes.
fn two_at_once(work: &[usize], read: &(dyn Fn(usize) -> Loaded + Sync)) -> Vec<Loaded> {
    if work.len() < 2 {
        return work.iter().map(|at| read(*at)).collect();
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        while let Some(at) = work.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            done.push(read(*at));
        }
        done
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(run);
        let mut done = run();
        // A thread of ours does not panic; if it did, its indexes are read here.
        done.extend(other.join().unwrap_or_default());
        let seen: HashSet<usize> = done.iter().map(|(at, _)| *at).collect();
        done.extend(work.iter().filter(|at| !seen.contains(at)).map(|at| read(*at)));
        done
    })
}

/// The Release that covers each index, in the order of `lists`.
fn releases(root: &Root, lists: &[ListName]) -> Vec<Release> {
    let mut read: HashMap<&str, Release> = HashMap::new();
    lists
        .iter()
        .map(|list| {
            let Some(name) = list.release.as_deref() else { return Release::default() };
            read.entry(name)
                .or_insert_with(|| head(root, name).map_or_else(|_| Release::default(), |head| Release::parse(&head)))
                .clone()
        })
        .collect()
}

fn head(root: &Root, name: &str) -> io::Result<Vec<u8>> {
    let (file, _) = root.file(&format!("{LISTS}/{name}"))?;
    let mut head = Vec::new();
    file.take(release::HEAD).read_to_end(&mut head)?;
    Ok(head)
}

/// One version of one package with the indexes that carry it.
struct Version<'a> {
    entry: &'a Entry,
    lists: Vec<usize>,
}

/// Writes origins into `packages` and answers what is newer than what is installed.
fn join(
    lists: &[ListName],
    loaded: &[Vec<Entry>],
    releases: &[Release],
    pins: &Pins,
    packages: &mut [Package],
) -> BTreeMap<String, Vec<Candidate>> {
    let mut offers: HashMap<&str, Vec<Version<'_>>> = HashMap::new();
    for (at, entries) in loaded.iter().enumerate() {
        for entry in entries {
            let versions = offers.entry(&entry.name).or_default();
            let same = |known: &&mut Version<'_>| {
                known.entry.version == entry.version && known.entry.architecture == entry.architecture
            };
            match versions.iter_mut().find(same) {
                Some(known) => known.lists.push(at),
                None => versions.push(Version { entry, lists: vec![at] }),
            }
        }
    }
    let origin = |at: &usize| -> Option<Origin> { Some(releases.get(*at)?.component(&lists.get(*at)?.component)) };
    let archives = |from: &[usize]| -> Vec<Archive<'_>> {
        let archive = |at: &usize| {
            let list = lists.get(*at)?;
            Some(Archive { release: releases.get(*at)?, site: &list.site, component: &list.component })
        };
        from.iter().filter_map(archive).collect()
    };
    let mut candidates: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    for package in packages {
        let fits = |version: &&Version<'_>| {
            let architecture = &version.entry.architecture;
            *architecture == package.architecture || architecture == "all" || package.architecture == "all"
        };
        let Some(versions) = offers.get(package.name.as_str()) else { continue };
        let versions: Vec<&Version<'_>> = versions.iter().filter(fits).collect();
        let carried: Vec<usize> = versions
            .iter()
            .filter(|version| version.entry.version == package.version.as_str())
            .flat_map(|version| version.lists.iter().copied())
            .collect();
        package.origins = carried.iter().filter_map(&origin).collect();
        package.origins.sort();
        package.origins.dedup();
        let carried = archives(&carried);
        let installed = Offer {
            name: &package.name,
            architecture: &package.architecture,
            source: &package.source,
            version: package.version.as_str(),
            archives: &carried,
            installed: true,
        };
        let newer: Vec<(&Version<'_>, DebVersion, Vec<Archive<'_>>)> = versions
            .iter()
            .filter(|version| version.entry.version != package.version.as_str())
            .filter_map(|version| Some((*version, version.entry.version.parse::<DebVersion>().ok()?)))
            .filter(|(_, number)| *number > package.version)
            .map(|(version, number)| (version, number, archives(&version.lists)))
            .collect();
        let offers = newer.iter().map(|(version, _, archives)| Offer {
            name: &package.name,
            architecture: &version.entry.architecture,
            source: version.entry.source().0,
            version: &version.entry.version,
            archives,
            installed: false,
        });
        let rivals: Vec<Offer<'_>> = offers.chain([installed]).collect();
        for ((version, number, _), offer) in newer.iter().zip(&rivals) {
            let fate = pins.fate(offer, &rivals);
            if fate == Fate::NotAutomatic {
                continue;
            }
            let source_version = version.entry.source().1.parse().unwrap_or_else(|_| number.clone());
            let known = candidates.entry(package.name.clone()).or_default();
            for origin in version.lists.iter().filter_map(&origin) {
                let candidate = Candidate {
                    version: number.clone(),
                    source_version: source_version.clone(),
                    origin,
                    pinned_away: fate == Fate::KeptAway,
                };
                if !known.contains(&candidate) {
                    known.push(candidate);
                }
            }
        }
    }
    for known in candidates.values_mut() {
        known.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| a.origin.cmp(&b.origin)));
    }
    candidates.retain(|_, known| !known.is_empty());
    candidates
}

/// When the indexes were last fetched. A fetch that finds nothing new renews no index, but it touches apt's folders,
/// or the stamp that its hooks leave.
fn fetched_at(root: &Root, names: &[String]) -> Option<Timestamp> {
    let release = |name: &&String| name.ends_with("_InRelease") || name.ends_with("_Release");
    let releases = names.iter().filter(release).map(|name| format!("{LISTS}/{name}"));
    let others =
        [LISTS.to_owned(), format!("{LISTS}/partial"), "/var/lib/apt/periodic/update-success-stamp".to_owned()];
    let newest =
        releases.chain(others).filter_map(|path| root.stamp(&path).ok()).map(|stamp| stamp.modified()).max()?;
    Timestamp::from_second(newest).ok()
}
