//! Running the program as a person would, in folders of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home for one test.
pub(crate) struct Home(tempfile::TempDir);

/// What a run gave.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_stanch"))
            .args(arguments)
            .env("STANCH_DATA_DIR", self.path().join("data"))
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env_remove("STANCH_LOG")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Run {
            code: status.code().unwrap(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }
}

/// A fixture that the feeds' tests use too.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../feeds/tests/fixtures").join(name)
}
