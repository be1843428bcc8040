//! Which package owns a path: dpkg keeps one list of paths a package, so all questions of a run are answered in one
//! pass over them, and kept until the package database changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Root;
use super::cache::Cache;
use crate::actions::{Host, Invocation, Programs};

const INFO: &str = "/var/lib/dpkg/info";
const MAX_LIST: u64 = 64 << 20;
/// Paths that rpm is asked about at once.
const MOST_ASKED: usize = 2_000;

/// The answers.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    by_path: BTreeMap<String, String>,
}

impl Owners {
    /// Looks up the owners of `paths`.
    pub(crate) fn find<'a>(root: &Root, paths: impl Iterator<Item = &'a str>, cache: &mut Cache) -> Self {
        let mut owners = Self::default();
        let Ok(stamp) = root.stamp(INFO) else { return Self::of_rpm(root, &Host::default(), paths) };
        let mut wanted: HashMap<String, Vec<&'a str>> = HashMap::new();
        let mut asked: HashSet<&str> = HashSet::new();
        for path in paths {
            if !asked.insert(path) {
                continue;
            }
            match cache.owner(stamp, path) {
                Some(Some(owner)) => {
                    owners.by_path.insert(path.to_owned(), owner);
                }
                Some(None) => {}
                None => {
                    for spelling in spellings(path) {
                        wanted.entry(spelling).or_default().push(path);
                    }
                }
            }
        }
        if wanted.is_empty() {
            return owners;
        }
        let found = search(root, &wanted);
        for path in asked {
            if cache.owner(stamp, path).is_some() {
                continue;
            }
            let owner = spellings(path).into_iter().find_map(|spelling| found.get(&spelling));
            cache.keep_owner(stamp, path, owner.map(String::as_str));
            if let Some(owner) = owner {
                owners.by_path.insert(path.to_owned(), owner.clone());
            }
        }
        owners
    }

    /// Asks rpm, on its own machine alone: another root's database may be shaped to harm who parses it.
    fn of_rpm<'a>(root: &Root, host: &dyn Programs, paths: impl Iterator<Item = &'a str>) -> Self {
        let wanted: BTreeSet<&str> = paths.filter(|path| path.starts_with('/')).take(MOST_ASKED).collect();
        if wanted.is_empty() || !root.is_own() || !host.has("rpm") {
            return Self::default();
        }
        let asked: BTreeSet<String> = wanted.iter().flat_map(|path| spellings(path)).collect();
        let words = ["--query", "--file", "--queryformat", "[%{=NAME}\\t%{FILENAMES}\\n]", "--"].map(str::to_owned);
        // It tells of those that it knows, and fails since there are others.
        let told = host.run(&Invocation::reading("rpm", words.into_iter().chain(asked.iter().cloned())));
        let text = told.map(|output| output.text()).unwrap_or_default();
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, path) in text.lines().filter_map(|line| line.split_once('\t')) {
            if asked.contains(path) {
                known.entry(path).or_insert(name);
            }
        }
        let owner = |path: &&str| spellings(path).iter().find_map(|spelling| known.get(spelling.as_str()).copied());
        let by_path = wanted.iter().filter_map(|path| Some(((*path).to_owned(), owner(path)?.to_owned())));
        Self { by_path: by_path.collect() }
    }

    /// The package that owns a path.
    pub(crate) fn of(&self, path: &str) -> Option<&str> {
        self.by_path.get(path).map(String::as_str)
    }
}

/// How dpkg may have written a path, best first: as it is; on the other side of the merge of `/usr`; and for a library
/// whose old file is gone, by the names it is linked by (`libx.so.1.2` as `libx.so.1`).
fn spellings(path: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut name = path;
    loop {
        all.push(name.to_owned());
        let merged = ["/lib", "/bin/", "/sbin/"];
        match name.strip_prefix("/usr") {
            Some(rest) if merged.iter().any(|prefix| rest.starts_with(prefix)) => all.push(rest.to_owned()),
            None if merged.iter().any(|prefix| name.starts_with(prefix)) => all.push(format!("/usr{name}")),
            _ => {}
        }
        match name.rsplit_once('.') {
            Some((shorter, _)) if shorter.contains(".so.") => name = shorter,
            _ => return all,
        }
    }
}

/// Every wanted spelling that some package lists.
fn search(root: &Root, wanted: &HashMap<String, Vec<&str>>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let longest = wanted.keys().map(String::len).max().unwrap_or(0);
    let shortest = wanted.keys().map(String::len).min().unwrap_or(0);
    for file in root.list(INFO).unwrap_or_default() {
        let Some(name) = file.strip_suffix(".list") else { continue };
        let Ok(text) = root.read(&format!("{INFO}/{file}"), MAX_LIST) else { continue };
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', &text).chain([text.len()]) {
            let line = text.get(from..end).unwrap_or_default();
            from = end + 1;
            if line.len() < shortest || line.len() > longest {
                continue;
            }
            if let Ok(line) = std::str::from_utf8(line)
                && wanted.contains_key(line)
            {
                let package = name.split(':').next().unwrap_or(name);
                found.entry(line.to_owned()).or_insert_with(|| package.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rpm_tells_the_owner_of_a_library_whose_old_file_is_gone() {
        let host = crate::actions::doubles::Table::new(&[(
            "--query --file",
            "demo-libs\t/usr/lib64/libdemo.so.1\ndemo-libs\t/usr/lib64/libdemo.so.1.3\nerror: no such file\n",
        )]);
        let root = Root::open(std::path::Path::new("/")).unwrap();
        let owners = Owners::of_rpm(&root, &host, ["/usr/lib64/libdemo.so.1.2", "/opt/x"].into_iter());
        assert_eq!((owners.of("/usr/lib64/libdemo.so.1.2"), owners.of("/opt/x")), (Some("demo-libs"), None));
    }

    #[test]
    fn a_path_is_asked_for_under_every_name_dpkg_may_know() {
        assert_eq!(
            spellings("/usr/lib/x/libg.so.30.34.3"),
            [
                "/usr/lib/x/libg.so.30.34.3",
                "/lib/x/libg.so.30.34.3",
                "/usr/lib/x/libg.so.30.34",
                "/lib/x/libg.so.30.34",
                "/usr/lib/x/libg.so.30",
                "/lib/x/libg.so.30",
            ]
        );
        assert_eq!(spellings("/bin/sh"), ["/bin/sh", "/usr/bin/sh"]);
        assert_eq!(spellings("/usr/share/x.y"), ["/usr/share/x.y"]);
    }
}
