//! A file of settings that is ours alone, a setting a line, beside those of the host's owner: what is set is added
//! there, and what is taken back leaves the file, and its absence, as they were.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use stanch_action::ActionError;

/// Largest file taken for ours.
const MOST_BYTES: u64 = 1 << 20;

/// Where such a file is, and how it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DropIn {
    pub(crate) folder: &'static str,
    pub(crate) name: &'static str,
    /// What stands between a setting and its value.
    pub(crate) between: &'static str,
}

/// What a new file begins with.
const HEADER: &str = "# Written by Stanch (config.set), a line for each setting. Take it back with: stanch undo\n";

impl DropIn {
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.folder, self.name)
    }

    /// The file's content; nothing where there is none. What is no plain file of root's is not ours.
    pub(crate) fn read(&self) -> Result<Option<String>, ActionError> {
        let path = self.path();
        let cannot = |error: io::Error| ActionError::caused(format!("cannot read {path}"), error);
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
        let file = match File::options().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(error)),
        };
        let about = file.metadata().map_err(cannot)?;
        if !about.is_file() || about.uid() != 0 || about.mode() & 0o022 != 0 || about.len() > MOST_BYTES {
            return Err(ActionError::refused(format!("{path} is no plain file that root alone may change")));
        }
        let mut text = String::new();
        file.take(MOST_BYTES).read_to_string(&mut text).map_err(cannot)?;
        Ok(Some(text))
    }

    /// The line that gives a setting its value.
    pub(crate) fn line(&self, setting: &str, value: &str) -> String {
        format!("{setting}{}{value}", self.between)
    }

    /// The setting that a line is about.
    fn setting<'a>(&self, line: &'a str) -> Option<&'a str> {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            return None;
        }
        line.split(|c: char| c == '=' || c.is_whitespace()).next()
    }

    /// The lines about a setting, in order.
    pub(crate) fn lines(&self, text: Option<&str>, setting: &str) -> Vec<String> {
        let about = |line: &&str| self.setting(line).is_some_and(|name| name.eq_ignore_ascii_case(setting));
        text.unwrap_or_default().lines().filter(about).map(str::to_owned).collect()
    }

    /// The content with these lines for these settings, and all others as they are; nothing when only what we write
    /// around settings is left.
    pub(crate) fn with(&self, text: Option<&str>, wanted: &BTreeMap<&str, Vec<String>>) -> Option<String> {
        let mut left = wanted.clone();
        let mut lines: Vec<String> = Vec::new();
        for line in text.unwrap_or(HEADER).lines() {
            let name = self.setting(line).and_then(|name| wanted.keys().find(|one| one.eq_ignore_ascii_case(name)));
            match name {
                // Where the first of them stood; more of them are gone.
                Some(name) => lines.extend(left.remove(name).unwrap_or_default()),
                None => lines.push(line.to_owned()),
            }
        }
        lines.extend(left.into_values().flatten());
        let mut text = lines.join("\n");
        text.push('\n');
        (text != HEADER).then_some(text)
    }

    /// Puts the content there in one step, or takes the file away.
    pub(crate) fn write(&self, text: Option<&str>) -> Result<(), ActionError> {
        let path = self.path();
        let cannot = |error: io::Error| ActionError::caused(format!("cannot write {path}"), error);
        let folder = Path::new(self.folder);
        let Some(text) = text else {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(cannot(error)),
            }
            return sync(folder).map_err(cannot);
        };
        let mode = fs::symlink_metadata(&path).map_or(0o644, |about| about.permissions().mode() & 0o7777);
        // Not the ending that is read: a half-written one is no setting.
        let beside = folder.join(format!(".{}.new", self.name));
        let put = || -> io::Result<()> {
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            sync(folder)
        };
        put().map_err(cannot)
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: DropIn = DropIn { folder: "/x", name: "zz-stanch.conf", between: " = " };

    fn wanted(setting: &'static str, lines: &[&str]) -> BTreeMap<&'static str, Vec<String>> {
        BTreeMap::from([(setting, lines.iter().map(|line| (*line).to_owned()).collect())])
    }

    #[test]
    fn a_setting_comes_and_goes_and_leaves_all_else_as_it_was() {
        let one = FILE.with(None, &wanted("a.b", &["a.b = 1"])).unwrap();
        assert_eq!(one, format!("{HEADER}a.b = 1\n"));
        let two = FILE.with(Some(&one), &wanted("c", &["c = 2"])).unwrap();
        assert_eq!(FILE.lines(Some(&two), "a.b"), ["a.b = 1"]);
        assert_eq!(FILE.with(Some(&two), &wanted("c", &[])).as_deref(), Some(one.as_str()));
        assert_eq!(FILE.with(Some(&one), &wanted("a.b", &[])), None, "the file goes with its last setting");
    }

    #[test]
    fn what_its_owner_wrote_there_stays_in_its_place() {
        let own = "# mine\nx = 1\na.b=0\na.b = 2\n; end\n";
        assert_eq!(FILE.lines(Some(own), "a.b"), ["a.b=0", "a.b = 2"]);
        let set = FILE.with(Some(own), &wanted("a.b", &["a.b = 1"])).unwrap();
        assert_eq!(set, "# mine\nx = 1\na.b = 1\n; end\n");
        let back = FILE.with(Some(&set), &wanted("a.b", &["a.b=0", "a.b = 2"])).unwrap();
        assert_eq!(back, own);
    }
}
