//! The part of the host that an upgrade is about: versions, states, marks and configuration files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stanch_action::{ActionError, Observation};
use stanch_model::canonical::{Digest, Hasher};
use stanch_model::plan::Change;

use super::dpkg::{self, Database};
use super::{Key, failed};
use crate::actions::command::Programs;

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackageState {
    /// Its version; empty when only its configuration is there.
    pub(crate) version: String,
    /// What its owner wants, `hold` among it.
    pub(crate) want: String,
    /// How far dpkg is with it.
    pub(crate) status: String,
    /// Others pulled it in.
    pub(crate) automatic: bool,
}

/// How dpkg calls a package that was removed and not purged.
const CONFIG_FILES: &str = "config-files";

impl PackageState {
    /// Whether it is there, and not its configuration alone.
    pub(crate) fn installed(&self) -> bool {
        self.status != CONFIG_FILES
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum FileState {
    /// Nothing is there: its owner removed it.
    Absent,
    /// A symbolic link.
    Link {
        /// Where it leads.
        to: String,
    },
    /// A file.
    File {
        /// Digest of its content.
        sha256: Digest,
        /// Its mode, without the kind.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Something else, such as a folder.
    Other,
}

impl FileState {
    /// For a line that people read.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Absent => "absent".to_owned(),
            Self::Link { to } => format!("link to {to}"),
            Self::File { sha256, mode, uid, gid } => format!("{} {mode:o} {uid}:{gid}", sha256.short()),
            Self::Other => "neither file nor link".to_owned(),
        }
    }
}

/// The projection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Projection {
    /// Packages by `name:arch`; what is not there is not installed.
    pub(crate) packages: BTreeMap<String, PackageState>,
    /// Configuration files of these packages.
    pub(crate) conffiles: BTreeMap<String, FileState>,
}

impl Projection {
    pub(crate) fn observation(&self) -> Result<Observation, ActionError> {
        let projection = serde_json::to_value(self).map_err(|e| failed(e, "cannot write the projection"))?;
        Ok(Observation { projection })
    }

    /// The part of it that is about these packages, and these files or those of which it is not known whose they are.
    pub(crate) fn differences(&self, now: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        compare(&self.packages, &now.packages, &mut changes, |state| {
            let mark = if state.automatic { ", automatic" } else { "" };
            format!("{} ({} {}{mark})", state.version, state.want, state.status).trim_start().to_owned()
        });
        compare(&self.conffiles, &now.conffiles, &mut changes, FileState::shown);
        changes
    }
}

/// What is not the same in both.
pub(crate) fn compare<T: PartialEq>(
    before: &BTreeMap<String, T>,
    now: &BTreeMap<String, T>,
    changes: &mut Vec<Change>,
    show: impl Fn(&T) -> String,
) {
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (was, is) = (before.get(name), now.get(name));
        if was != is {
            changes.push(Change { subject: name.clone(), before: was.map(&show), after: is.map(&show), note: None });
        }
    }
}

/// Reads the projection of these packages.
pub(crate) fn read(host: &dyn Programs, keys: &[Key]) -> Result<Projection, ActionError> {
    let database = dpkg::read(host).map_err(|e| failed(e, "cannot read what is installed"))?;
    of(&database, keys)
}

/// The projection of these packages in a database that was just read.
pub(crate) fn of(database: &Database, keys: &[Key]) -> Result<Projection, ActionError> {
    let mut projection = Projection::default();
    for key in keys {
        let Some(conffiles) = database.conffiles(key) else { continue };
        let installed = database.packages.get(key);
        let state = match (installed, database.removed.get(key)) {
            (Some(installed), _) => PackageState {
                version: installed.version.to_string(),
                want: installed.want.clone(),
                status: if installed.flag == "ok" {
                    installed.status.clone()
                } else {
                    format!("{} {}", installed.status, installed.flag)
                },
                automatic: database.automatic.contains(key),
            },
            // Which version left the configuration says nothing about the host.
            (None, Some(removed)) => PackageState {
                version: String::new(),
                want: removed.want.clone(),
                status: CONFIG_FILES.to_owned(),
                automatic: false,
            },
            (None, None) => continue,
        };
        projection.packages.insert(key.to_string(), state);
        for (path, conffile) in conffiles {
            let state = state_of(Path::new(path))
                .map_err(|e| ActionError::caused(format!("cannot read the configuration file {path}"), e))?;
            // dpkg remembers what an earlier version brought; when it is gone as well it is no part of the host.
            if !((conffile.obsolete || installed.is_none()) && state == FileState::Absent) {
                projection.conffiles.insert(path.clone(), state);
            }
        }
    }
    Ok(projection)
}

/// What is at this path, without following a link there.
pub(crate) fn state_of(path: &Path) -> io::Result<FileState> {
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => {
            return Ok(FileState::Absent);
        }
        Err(e) => return Err(e),
    };
    if about.is_symlink() {
        return Ok(FileState::Link { to: fs::read_link(path)?.to_string_lossy().into_owned() });
    }
    if !about.is_file() {
        return Ok(FileState::Other);
    }
    Ok(FileState::File { sha256: digest_of(path)?, mode: about.mode() & 0o7777, uid: about.uid(), gid: about.gid() })
}

/// The digest of a file's content.
pub(crate) fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut part = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut part)?;
        if count == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(part.get(..count).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(version: &str) -> PackageState {
        PackageState {
            version: version.to_owned(),
            want: "install".to_owned(),
            status: "installed".to_owned(),
            automatic: false,
        }
    }

    #[test]
    fn a_changed_file_changes_the_digest_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("conf");
        fs::write(&path, "a").unwrap();
        let projection = |version: &str| Projection {
            packages: [("x:all".to_owned(), state(version))].into(),
            conffiles: [("/etc/x".to_owned(), state_of(&path).unwrap())].into(),
        };
        let before = projection("1");
        fs::write(&path, "b").unwrap();
        let now = projection("2");
        assert_ne!(before.observation().unwrap().digest().unwrap(), now.observation().unwrap().digest().unwrap());
        let moved: Vec<String> = before.differences(&now).into_iter().map(|c| c.subject).collect();
        assert_eq!(moved, ["x:all", "/etc/x"]);
        fs::remove_file(&path).unwrap();
        assert_eq!(state_of(&path).unwrap(), FileState::Absent);
    }
}
