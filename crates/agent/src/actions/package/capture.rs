//! What undo needs later, put aside before anything changes: the .debs and the configuration files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stanch_action::ActionError;
use stanch_model::canonical::Digest;
use stanch_model::version::DebVersion;

use super::Key;
use super::dpkg::Database;
use super::projection::{FileState, Projection, digest_of, state_of};
use crate::actions::command::{Invocation, Programs};
use crate::actions::make_folder;

/// Where downloads land before they are moved into the vault, as apt's own user must be able to write there.
const STAGING: &str = "/var/cache/stanch/fetch";

/// What dpkg lays beside a configuration file.
pub(crate) const LEFTOVERS: [&str; 3] = ["dpkg-dist", "dpkg-new", "dpkg-old"];

/// A .deb in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deb {
    pub(crate) package: Key,
    pub(crate) version: DebVersion,
    /// Its path below the vault.
    pub(crate) file: String,
    pub(crate) sha256: Digest,
}

/// A configuration file as it was, its content in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) path: String,
    pub(crate) package: Key,
    pub(crate) state: FileState,
    /// Where its content is, below the vault; only of files.
    pub(crate) file: Option<String>,
}

/// All that was put aside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Captured {
    /// The projection right before the change, after healing.
    pub(crate) before: Projection,
    /// The .debs of the versions before, as far as they could be had.
    pub(crate) debs: Vec<Deb>,
    /// The configuration files.
    pub(crate) conffiles: Vec<Kept>,
    /// What lay beside configuration files already.
    pub(crate) leftovers: BTreeSet<String>,
}

/// The name apt gives the file of this package in its cache.
pub(crate) fn file_name(key: &Key, version: &DebVersion) -> String {
    let version = version.as_str().replace('%', "%25").replace(':', "%3a");
    format!("{}_{version}_{}.deb", key.name, key.arch)
}

/// The .deb of this version in apt's cache, if it is there and is what its name says.
pub(crate) fn cached(host: &dyn Programs, cache: &Path, key: &Key, version: &DebVersion) -> Option<PathBuf> {
    let path = cache.join(file_name(key, version));
    fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
    (about(host, &path).ok()?? == (key.clone(), version.clone())).then_some(path)
}

/// What a .deb says it is; nothing if it is none.
fn about(host: &dyn Programs, path: &Path) -> Result<Option<(Key, DebVersion)>, ActionError> {
    let format = "--showformat=${Package} ${Architecture} ${Version}";
    let invocation = Invocation::reading("dpkg-deb", ["--show".as_ref(), format.as_ref(), path.as_os_str()]);
    let output = host.run(&invocation).map_err(|e| ActionError::caused("cannot read a downloaded package", e))?;
    let text = output.text();
    let mut words = text.split_whitespace();
    let (Some(name), Some(arch), Some(Ok(version))) = (words.next(), words.next(), words.next().map(str::parse)) else {
        return Ok(None);
    };
    Ok(output.ok().then(|| (Key { name: name.to_owned(), arch: arch.to_owned() }, version)))
}

/// A .deb that is wanted in the vault.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) package: Key,
    pub(crate) version: DebVersion,
    /// What the index says its digest is.
    pub(crate) sha256: Option<Digest>,
}

/// Brings .debs into a folder of the vault, from apt's cache or else from the archives. Those that cannot be had are
/// returned by name.
pub(crate) fn bring(
    host: &dyn Programs,
    native: &str,
    cache: &Path,
    vault: &Path,
    folder: &str,
    wanted: &[Wanted],
) -> Result<(Vec<Deb>, Vec<String>), ActionError> {
    make_folder(&vault.join(folder), 0o700)?;
    let mut found: BTreeMap<Key, Deb> = BTreeMap::new();
    let mut missing: Vec<&Wanted> = Vec::new();
    for want in wanted {
        let name = file_name(&want.package, &want.version);
        // What an earlier entry under the same key has brought is there already.
        let here = [Some(vault.join(folder).join(&name)), cached(host, cache, &want.package, &want.version)];
        let mut taken = None;
        for path in here.into_iter().flatten().filter(|path| path.is_file()) {
            taken = take(host, &path, vault, folder, want)?;
            if taken.is_some() {
                break;
            }
        }
        match taken {
            Some(deb) => drop(found.insert(want.package.clone(), deb)),
            None => missing.push(want),
        }
    }
    if !missing.is_empty() {
        let staging = staging()?;
        let names = missing.iter().map(|want| format!("{}={}", want.package.spec(native), want.version));
        let options = ["-q", "-o", "APT::Get::AllowUnauthenticated=false", "download"].map(str::to_owned);
        let invocation = Invocation::reading("apt-get", options.into_iter().chain(names))
            .in_folder(&staging)
            .within(Duration::from_secs(3600));
        // One that cannot be had fails the call: the others are fetched alone then.
        let together = host.run(&invocation).map_err(|e| ActionError::caused("cannot download packages", e))?;
        if !together.ok() && missing.len() > 1 {
            for want in &missing {
                let name = format!("{}={}", want.package.spec(native), want.version);
                let alone =
                    Invocation { args: invocation.args.iter().take(4).cloned().collect(), ..invocation.clone() };
                let alone = Invocation { args: alone.args.into_iter().chain([name.into()]).collect(), ..alone };
                host.run(&alone).map_err(|e| ActionError::caused("cannot download packages", e))?;
            }
        }
        let entries = fs::read_dir(&staging).map_err(|e| ActionError::caused("cannot list downloads", e))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let Some((key, version)) = about(host, &path)? else { continue };
            if let Some(want) = missing.iter().find(|want| want.package == key && want.version == version)
                && let Some(deb) = take(host, &path, vault, folder, want)?
            {
                found.insert(key, deb);
            }
        }
        let _ = fs::remove_dir_all(&staging);
    }
    let lost = wanted
        .iter()
        .filter(|want| !found.contains_key(&want.package))
        .map(|want| format!("{} {}", want.package, want.version))
        .collect();
    Ok((found.into_values().collect(), lost))
}

/// Copies a .deb into the vault, if it is the wanted one.
fn take(
    host: &dyn Programs,
    path: &Path,
    vault: &Path,
    folder: &str,
    want: &Wanted,
) -> Result<Option<Deb>, ActionError> {
    let file = format!("{folder}/{}", file_name(&want.package, &want.version));
    let target = vault.join(&file);
    let cannot = |e| ActionError::caused(format!("cannot keep {}", path.display()), e);
    if path != target {
        let part = target.with_extension("part");
        fs::copy(path, &part).map_err(cannot)?;
        fs::set_permissions(&part, Permissions::from_mode(0o600)).map_err(cannot)?;
        File::open(&part).and_then(|file| file.sync_all()).map_err(cannot)?;
        fs::rename(&part, &target).map_err(cannot)?;
    }
    let sha256 = digest_of(&target).map_err(cannot)?;
    let right = want.sha256.is_none_or(|expected| expected == sha256)
        && about(host, &target)? == Some((want.package.clone(), want.version.clone()));
    if !right {
        fs::remove_file(&target).map_err(cannot)?;
        return Ok(None);
    }
    Ok(Some(Deb { package: want.package.clone(), version: want.version.clone(), file, sha256 }))
}

/// An empty folder that apt's own user may write to.
pub(crate) fn staging() -> Result<PathBuf, ActionError> {
    let folder = Path::new(STAGING);
    let cannot = |e| ActionError::caused("cannot make a folder for downloads", e);
    super::pip::trust::own_folder(STAGING).map_err(cannot)?;
    let inner = folder.join(std::process::id().to_string());
    match fs::remove_dir_all(&inner) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot(e)),
        _ => {}
    }
    fs::create_dir(&inner).map_err(cannot)?;
    fs::set_permissions(&inner, Permissions::from_mode(0o700)).map_err(cannot)?;
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = users.lines().find_map(|line| line.strip_prefix("_apt:x:")?.split(':').next()?.parse().ok());
    chown(&inner, uid, None).map_err(cannot)?;
    Ok(inner)
}

/// Puts the configuration files of these packages aside.
pub(crate) fn conffiles(database: &Database, keys: &[Key], vault: &Path) -> Result<Vec<Kept>, ActionError> {
    make_folder(&vault.join("conffiles"), 0o700)?;
    let mut kept = Vec::new();
    for key in keys {
        let Some(conffiles) = database.conffiles(key) else { continue };
        for path in conffiles.keys() {
            let cannot = |e| ActionError::caused(format!("cannot put {path} aside"), e);
            let state = state_of(Path::new(path)).map_err(cannot)?;
            let mut file = None;
            if let FileState::File { sha256, .. } = &state {
                let name = format!("conffiles/{sha256}");
                let target = vault.join(&name);
                fs::copy(path, &target).map_err(cannot)?;
                fs::set_permissions(&target, Permissions::from_mode(0o600)).map_err(cannot)?;
                File::open(&target).and_then(|file| file.sync_all()).map_err(cannot)?;
                if digest_of(&target).map_err(cannot)? != *sha256 {
                    return Err(ActionError::failed(format!("{path} changes while it is put aside")));
                }
                file = Some(name);
            }
            kept.push(Kept { path: path.clone(), package: key.clone(), state, file });
        }
    }
    Ok(kept)
}

/// What lies beside these files.
pub(crate) fn leftovers<'a>(paths: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    paths
        .flat_map(|path| LEFTOVERS.map(|ending| format!("{path}.{ending}")))
        .filter(|path| fs::symlink_metadata(path).is_ok())
        .collect()
}

/// Puts a configuration file back: content, mode and owner. Answers whether anything had to be done.
pub(crate) fn restore(kept: &Kept, vault: &Path) -> Result<bool, ActionError> {
    let path = Path::new(&kept.path);
    let cannot = |e| ActionError::caused(format!("cannot put {} back", kept.path), e);
    if state_of(path).map_err(cannot)? == kept.state {
        return Ok(false);
    }
    let beside = path.with_file_name(format!(
        ".{}.stanch",
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    ));
    let _ = fs::remove_file(&beside);
    match &kept.state {
        FileState::Absent => fs::remove_file(path).map_err(cannot)?,
        FileState::Other => return Ok(false),
        FileState::Link { to } => {
            symlink(to, &beside).map_err(cannot)?;
            fs::rename(&beside, path).map_err(cannot)?;
        }
        FileState::File { mode, uid, gid, sha256 } => {
            let from = vault.join(kept.file.as_deref().unwrap_or_default());
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(cannot)?;
            }
            if digest_of(&from).map_err(cannot)? != *sha256 {
                return Err(ActionError::failed(format!("the kept copy of {} is damaged", kept.path)));
            }
            fs::copy(&from, &beside).map_err(cannot)?;
            chown(&beside, Some(*uid), Some(*gid)).map_err(cannot)?;
            fs::set_permissions(&beside, Permissions::from_mode(*mode)).map_err(cannot)?;
            File::open(&beside).and_then(|file| file.sync_all()).map_err(cannot)?;
            fs::rename(&beside, path).map_err(cannot)?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(path: &Path, vault: &Path) -> Kept {
        let state = state_of(path).unwrap();
        let file = match &state {
            FileState::File { sha256, .. } => {
                fs::copy(path, vault.join(sha256.to_string())).unwrap();
                Some(sha256.to_string())
            }
            _ => None,
        };
        Kept { path: path.to_string_lossy().into_owned(), package: Key::read("x", "all"), state, file }
    }

    #[test]
    fn files_links_and_absence_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let vault = tempfile::tempdir().unwrap();
        let (file, link, gone) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
        fs::write(&file, "mine").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        symlink("a", &link).unwrap();
        let before: Vec<Kept> = [&file, &link, &gone].map(|path| kept(path, vault.path())).into();

        fs::write(&file, "theirs").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        fs::remove_file(&link).unwrap();
        fs::write(&gone, "new").unwrap();
        for kept in &before {
            assert!(restore(kept, vault.path()).unwrap());
            assert!(!restore(kept, vault.path()).unwrap(), "a second time changes nothing");
        }
        assert_eq!(before, [&file, &link, &gone].map(|path| kept(path, vault.path())));
    }

    #[test]
    fn a_damaged_copy_is_not_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, "mine").unwrap();
        let kept = kept(&file, folder.path());
        fs::write(folder.path().join(kept.file.as_ref().unwrap()), "evil").unwrap();
        fs::write(&file, "theirs").unwrap();
        assert!(restore(&kept, folder.path()).unwrap_err().to_string().contains("damaged"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
    }

    #[test]
    fn an_epoch_is_written_as_apt_writes_it() {
        let key = Key::read("vim", "amd64");
        assert_eq!(file_name(&key, &"2:9.0~1".parse().unwrap()), "vim_2%3a9.0~1_amd64.deb");
    }
}
