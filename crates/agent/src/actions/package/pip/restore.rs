//! What pip changed, and how that is made undone: exactly that, and nothing that others put beside it.
//!
//! What changed is what is another now than before, if it is a file that a package of the step lists, a folder on the way to
//! one, or went with such a folder. What Python compiles by itself follows the file it was compiled from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufWriter;

use serde::{Deserialize, Serialize};
use stanch_action::{ActionError, Run};
use stanch_model::plan::Change;

use super::apply::{Kept, Wheel, leftovers};
use super::archive::Archive;
use super::params::Params;
use super::place::Place;
use super::snapshot::{self, CACHE, Entries, Entry, is_compiled, same, source_of};
use super::{Pip, failed};

/// What pip did at one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Act {
    pub(super) before: Option<Entry>,
    pub(super) after: Option<Entry>,
    /// The packages it was done for.
    of: BTreeSet<String>,
}

/// All that pip did, by paths below the environment.
pub(super) type Acts = BTreeMap<String, Act>;

/// How paths shall be; what shall not be there is none.
pub(super) type Targets = BTreeMap<String, Option<Entry>>;

/// Lists of files, by package.
type Lists = BTreeMap<String, BTreeSet<String>>;

/// Whose a path is.
#[derive(Default)]
struct Owners<'a> {
    files: BTreeMap<&'a str, BTreeSet<&'a str>>,
    folders: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Owners<'a> {
    fn of(lists: impl Iterator<Item = &'a Lists>) -> Self {
        let mut owners = Self::default();
        for (name, paths) in lists.flatten() {
            for path in paths {
                owners.files.entry(path).or_default().insert(name);
                let mut at = path.as_str();
                while let Some((folder, _)) = at.rsplit_once('/') {
                    owners.folders.entry(folder).or_default().insert(name);
                    at = folder;
                }
            }
        }
        owners
    }

    /// Who lists this file, the file that it was compiled from, or a file in this folder.
    fn named(&self, path: &str, is_folder: bool) -> BTreeSet<&'a str> {
        if is_folder {
            let above = path.strip_suffix(CACHE).map_or(path, |above| above.trim_end_matches('/'));
            return self.folders.get(path).or_else(|| self.folders.get(above)).cloned().unwrap_or_default();
        }
        let mut found = self.files.get(path).cloned().unwrap_or_default();
        if let Some(source) = source_of(path) {
            found.extend(self.files.get(source.as_str()).into_iter().flatten());
        }
        found
    }

    /// Who lists files in the nearest folder above that has any.
    fn above(&self, path: &str) -> BTreeSet<&'a str> {
        let mut at = path;
        while let Some((folder, _)) = at.rsplit_once('/') {
            if let Some(found) = self.folders.get(folder) {
                return found.clone();
            }
            at = folder;
        }
        BTreeSet::new()
    }
}

/// What was done between two moments, by packages that listed these files before and list those now.
pub(super) fn acts(kept: &Kept, now: &Entries, lists: &Lists) -> Acts {
    let (both, new) = (Owners::of([&kept.lists, lists].into_iter()), Owners::of(std::iter::once(lists)));
    let paths: BTreeSet<&String> = kept.entries.keys().chain(now.keys()).collect();
    let mut acts = Acts::new();
    for path in paths {
        let (before, after) = (kept.entries.get(path), now.get(path));
        if same(before, after) {
            continue;
        }
        let is_folder = |entry: Option<&Entry>| entry.is_some_and(Entry::is_folder);
        let of = match after {
            // What is there now and nobody of these lists, somebody else has put there.
            Some(_) if new.named(path, is_folder(after)).is_empty() => BTreeSet::new(),
            Some(_) => both.named(path, is_folder(after)),
            None => {
                let named = both.named(path, is_folder(before));
                if named.is_empty() { both.above(path) } else { named }
            }
        };
        if !of.is_empty() {
            let of = of.into_iter().map(str::to_owned).collect();
            acts.insert(path.clone(), Act { before: before.cloned(), after: after.cloned(), of });
        }
    }
    acts
}

/// The part of it that was done for these packages.
///
/// # Errors
/// A path that was changed for one of them and for another.
pub(super) fn acts_of<'a>(acts: &'a Acts, back: &BTreeSet<&str>) -> Result<BTreeMap<&'a str, &'a Act>, String> {
    let mut found = BTreeMap::new();
    for (path, act) in acts {
        let here = act.of.iter().filter(|name| back.contains(name.as_str())).count();
        let folder = [&act.before, &act.after].into_iter().flatten().all(Entry::is_folder);
        if here == 0 {
            continue;
        }
        if here < act.of.len() && !folder {
            return Err(path.clone());
        }
        found.insert(path.as_str(), act);
    }
    Ok(found)
}

/// What is neither as pip left it nor as it was before: somebody else changed it.
pub(super) fn moved(acts: &BTreeMap<&str, &Act>, now: &Entries) -> Vec<Change> {
    let shown = |entry: &Entry| match entry {
        Entry::Folder { mode } => format!("a folder ({mode:o})"),
        Entry::File { mode, sha256, .. } => format!("{} ({mode:o})", sha256.short()),
        Entry::Link { to } => format!("a link to {to}"),
        Entry::Other => "something else".to_owned(),
    };
    let change = |(path, act): (&&str, &&Act)| {
        let is = now.get(*path);
        let folders = is.is_some_and(Entry::is_folder)
            && [&act.before, &act.after].into_iter().any(|one| one.as_ref().is_some_and(Entry::is_folder));
        let known = same(is, act.after.as_ref()) || same(is, act.before.as_ref()) || folders || is_compiled(path);
        (!known).then(|| Change {
            subject: (*path).to_owned(),
            before: act.after.as_ref().map(shown),
            after: is.map(shown),
            note: None,
        })
    };
    acts.iter().filter_map(change).collect()
}

/// How an environment has to become where pip was broken off: what it had changed is as before, what it had brought is gone.
/// What others changed there since stays.
pub(super) fn half_done(kept: &Kept, now: &Entries, wheels: &[Wheel]) -> Targets {
    let coming: Lists = wheels.iter().map(|wheel| (wheel.name.clone(), wheel.files.clone())).collect();
    let (both, new) = (Owners::of([&kept.lists, &coming].into_iter()), Owners::of(std::iter::once(&coming)));
    // While it works, pip also makes files of passing names in the folder that tells of a package.
    let abouts: Vec<&str> = coming.values().flatten().filter_map(|path| path.strip_suffix("METADATA")).collect();
    let mut targets = Targets::new();
    for (path, was) in &kept.entries {
        let is = now.get(path);
        if !same(is, Some(was)) && (is.is_none() || !both.named(path, was.is_folder()).is_empty()) {
            targets.insert(path.clone(), Some(was.clone()));
        }
    }
    for (path, is) in now.iter().filter(|(path, _)| !kept.entries.contains_key(*path)) {
        // Where it moves a folder aside, it does so beside it, under a name that begins with a tilde.
        let aside = path.split('/').any(|part| part.starts_with('~'));
        let of_about = abouts.iter().any(|about| path.starts_with(about) || path == about.trim_end_matches('/'));
        if aside || of_about || !new.named(path, is.is_folder()).is_empty() {
            targets.insert(path.clone(), None);
        }
    }
    targets
}

/// Adds what was compiled of files that are put back or removed: it is as it was before, too.
fn with_compiled(place: &Place, mut targets: Targets, before: &Entries) -> std::io::Result<Targets> {
    let sources: BTreeSet<String> = targets.keys().filter(|path| path.ends_with(".py")).cloned().collect();
    let folders: BTreeSet<&str> = sources.iter().map(|path| path.rsplit_once('/').map_or("", |(f, _)| f)).collect();
    let mut reader = place.reader();
    for folder in folders {
        let cache = if folder.is_empty() { CACHE.to_owned() } else { format!("{folder}/{CACHE}") };
        for name in reader.names(&cache)? {
            let path = format!("{cache}/{name}");
            if source_of(&path).is_some_and(|source| sources.contains(&source)) {
                targets.entry(path.clone()).or_insert_with(|| before.get(&path).cloned());
            }
        }
        targets.entry(cache.clone()).or_insert_with(|| before.get(&cache).cloned());
    }
    for (path, was) in before {
        if source_of(path).is_some_and(|source| sources.contains(&source)) {
            targets.entry(path.clone()).or_insert_with(|| Some(was.clone()));
        }
    }
    Ok(targets)
}

impl Pip<'_> {
    /// Puts back what a former life left half done. Safe to enter again.
    pub(super) fn put_back_half(
        &self,
        place: &Place,
        params: &Params,
        kept: &Kept,
        wheels: &[Wheel],
        run: &mut dyn Run,
    ) -> Result<(), ActionError> {
        let wait = params.lock_timeout_seconds;
        // Until what that life began is done, nothing stands still.
        self.change("waiting for pip", &place.changing(&["true"], wait, run)?, run)?;
        let left: Vec<String> =
            leftovers(place, &place.read())?.into_iter().filter(|path| !kept.leftovers.contains(path)).collect();
        if !left.is_empty() {
            let words = ["xargs", "--null", "rm", "--recursive", "--force", "--"];
            let remove = place.changing(&words, wait, run)?.fed(null_separated(left.iter().map(String::as_str)));
            let output = self.change("removing leftovers", &remove, run)?;
            if !output.ok() {
                return Err(ActionError::failed(format!("cannot remove leftovers: {}", output.complaint())));
            }
        }
        let now = place.reader().area(&kept.area).map_err(|e| failed(e, "cannot read the environment"))?;
        self.restore(place, wait, half_done(kept, &now, wheels), &kept.entries, run)
    }

    /// Makes it so at these paths, with the owner's power. Safe to enter again.
    pub(super) fn restore(
        &self,
        place: &Place,
        wait: u32,
        targets: Targets,
        before: &Entries,
        run: &mut dyn Run,
    ) -> Result<(), ActionError> {
        let cannot = |e: std::io::Error| failed(e, "cannot read the environment");
        let targets = with_compiled(place, targets, before).map_err(cannot)?;
        let entries = || -> std::io::Result<Entries> {
            let mut reader = place.reader();
            let mut entries = Entries::new();
            for path in targets.keys() {
                if let Some(entry) = reader.entry(path)? {
                    entries.insert(path.clone(), entry);
                }
            }
            Ok(entries)
        };
        let now = entries().map_err(cannot)?;
        let other: Vec<(&String, &Option<Entry>)> =
            targets.iter().filter(|(path, target)| !same(now.get(*path), target.as_ref())).collect();
        let is_folder = |path: &String| now.get(path).map(Entry::is_folder);
        let wants_folder = |target: &Option<Entry>| target.as_ref().is_some_and(Entry::is_folder);
        let files = other.iter().filter(|(path, _)| is_folder(path) == Some(false)).map(|(path, _)| path.as_str());
        self.remove(place, wait, &["rm", "--force"], "removing new files", files, run)?;
        let folders =
            other.iter().rev().filter(|(path, target)| is_folder(path) == Some(true) && !wants_folder(target));
        let words = ["rmdir", "--ignore-fail-on-non-empty"];
        self.remove(place, wait, &words, "removing empty folders", folders.map(|(path, _)| path.as_str()), run)?;
        let back: Vec<(&String, &Entry)> =
            other.iter().filter_map(|(path, target)| Some((*path, target.as_ref()?))).collect();
        if !back.is_empty() {
            self.unpack(place, wait, &back, run)?;
        }
        let now = entries().map_err(cannot)?;
        let wrong: Vec<&str> = targets
            .iter()
            .filter(|(path, target)| {
                // Others have put something into a folder that came along new.
                let shared = target.is_none() && now.get(*path).is_some_and(Entry::is_folder);
                !is_compiled(path) && !shared && !same(now.get(*path), target.as_ref())
            })
            .map(|(path, _)| path.as_str())
            .take(10)
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(ActionError::failed(format!("not all is as before: {}", wrong.join(", "))))
    }

    fn remove<'p>(
        &self,
        place: &Place,
        wait: u32,
        words: &[&str],
        what: &str,
        paths: impl Iterator<Item = &'p str>,
        run: &mut dyn Run,
    ) -> Result<(), ActionError> {
        let paths = null_separated(paths);
        if paths.is_empty() {
            return Ok(());
        }
        let all: Vec<&str> = ["xargs", "--null"].iter().chain(words).chain(&["--"]).copied().collect();
        let output = self.change(what, &place.changing(&all, wait, run)?.fed(paths), run)?;
        if output.ok() {
            return Ok(());
        }
        Err(ActionError::failed(format!("{what}: {}", output.complaint())))
    }

    /// Unpacks what was kept of these paths.
    fn unpack(
        &self,
        place: &Place,
        wait: u32,
        back: &[(&String, &Entry)],
        run: &mut dyn Run,
    ) -> Result<(), ActionError> {
        let vault = run.vault()?;
        let path = vault.join("back.tar");
        let owned = place.owned();
        let write = || -> std::io::Result<()> {
            let mut archive = Archive::new(BufWriter::new(File::create(&path)?), owned.uid, owned.gid);
            for (path, entry) in back {
                archive.add(path, entry, snapshot::kept(&vault, entry)?)?;
            }
            archive.finish().map(drop)
        };
        write().map_err(|e| failed(e, "cannot read what was put aside"))?;
        let words = ["tar", "--extract", "--file=-", "--preserve-permissions", "--numeric-owner", "--overwrite-dir"];
        let output =
            self.change("putting files back", &place.changing(&words, wait, run)?.reading_from(path.clone()), run)?;
        let _ = std::fs::remove_file(&path);
        if output.ok() {
            return Ok(());
        }
        Err(ActionError::failed(format!("cannot put files back: {}", output.complaint())))
    }
}

fn null_separated<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<u8> {
    paths.flat_map(|path| path.bytes().chain([0])).collect()
}

#[cfg(test)]
mod tests {
    use stanch_model::canonical::Digest;

    use super::*;

    const SITE: &str = "lib/python3.11/site-packages";

    fn file(text: &str) -> Entry {
        let sha256 = Digest::of_bytes(text.as_bytes());
        Entry::File { mode: 0o644, size: text.len() as u64, modified: 0, sha256 }
    }

    fn entries(all: &[(&str, Entry)]) -> Entries {
        all.iter().map(|(path, entry)| (format!("{SITE}/{path}"), entry.clone())).collect()
    }

    fn lists(name: &str, paths: &[&str]) -> Lists {
        BTreeMap::from([(name.to_owned(), paths.iter().map(|path| format!("{SITE}/{path}")).collect())])
    }

    fn shown<V>(map: &BTreeMap<String, V>) -> Vec<&str> {
        map.keys().filter_map(|path| path.strip_prefix(SITE)).collect()
    }

    #[test]
    fn what_pip_left_aside_goes_and_what_others_put_there_stays() {
        let kept = Kept {
            entries: entries(&[("leaf/a.py", file("1")), ("leaf/mine.txt", file("mine")), ("~old/x", file("x"))]),
            lists: lists("leaf", &["leaf/a.py"]),
            ..Kept::default()
        };
        let now = entries(&[
            ("leaf/a.py", file("2")),
            ("leaf/b.py", file("2")),
            ("leaf/~_pycache__", Entry::Folder { mode: 0o755 }),
            ("leaf/~_pycache__/a.cpython-311.pyc", file("c")),
            ("leaf/mine.txt", file("changed since")),
            ("leaf/came-since.txt", file("theirs")),
            ("~old/x", file("x")),
        ]);
        let wheel = Wheel {
            name: "leaf".to_owned(),
            file: String::new(),
            sha256: Digest::of_bytes(b""),
            files: lists("", &["leaf/a.py", "leaf/b.py"]).into_values().flatten().collect(),
        };
        let targets = half_done(&kept, &now, &[wheel]);
        let expected = ["/leaf/a.py", "/leaf/b.py", "/leaf/~_pycache__", "/leaf/~_pycache__/a.cpython-311.pyc"];
        assert_eq!(shown(&targets), expected);
        assert_eq!(targets.values().filter(|target| target.is_some()).count(), 1, "only what was there comes back");
    }

    #[test]
    fn an_act_is_what_a_package_lists_and_what_went_with_its_folder() {
        let folder = || Entry::Folder { mode: 0o755 };
        let kept = Kept {
            entries: entries(&[
                ("leaf", folder()),
                ("leaf/a.py", file("1")),
                ("leaf/empty", folder()),
                ("ns/other.py", file("1")),
            ]),
            lists: lists("leaf", &["leaf/a.py", "ns/part.py"]),
            ..Kept::default()
        };
        let now = entries(&[
            ("leaf", folder()),
            ("leaf/a.py", file("2")),
            ("leaf/theirs.py", file("x")),
            ("ns/other.py", file("2")),
        ]);
        let acts = acts(&kept, &now, &lists("leaf", &["leaf/a.py"]));
        assert_eq!(shown(&acts), ["/leaf/a.py", "/leaf/empty"]);
        let back = acts_of(&acts, &BTreeSet::from(["leaf"])).unwrap();
        assert!(moved(&back, &now).is_empty());
        let meddled = entries(&[("leaf/a.py", file("3"))]);
        assert_eq!(moved(&back, &meddled).len(), 1);
    }

    #[test]
    fn a_file_of_two_packages_does_not_go_back_for_one_of_them() {
        let kept = Kept { entries: entries(&[("ns/x.py", file("1"))]), ..Kept::default() };
        let both: Lists = lists("a", &["ns/x.py"]).into_iter().chain(lists("b", &["ns/x.py"])).collect();
        let acts = acts(&kept, &entries(&[("ns/x.py", file("2"))]), &both);
        assert!(acts_of(&acts, &BTreeSet::from(["a"])).is_err());
        assert!(acts_of(&acts, &BTreeSet::from(["a", "b"])).is_ok());
    }
}
