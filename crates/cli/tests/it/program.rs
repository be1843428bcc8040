//! Running the program as a person would, in folders of its own.

use std::io::Write as _;
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

    /// The data folder of its runs.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stanch"));
        Run::of(self.at_home(&mut command).args(arguments).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs it on a terminal where somebody types this; both outputs are in `out`.
    pub(crate) fn run_on_terminal(&self, arguments: &[&str], typed: &str) -> Run {
        let words = [&[env!("CARGO_BIN_EXE_stanch")], arguments].concat();
        assert!(words.iter().all(|word| !word.contains(['\'', '\\'])), "{words:?}");
        let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let mut command = Command::new("script");
        self.at_home(&mut command).args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Kept open to the end: a person who has answered is still there.
        let mut keyboard = child.stdin.take().unwrap();
        keyboard.write_all(typed.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(keyboard);
        Run::of(output)
    }

    fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("STANCH_DATA_DIR", self.data())
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env_remove("STANCH_LOG")
    }
}

impl Run {
    fn of(Output { status, stdout, stderr }: Output) -> Self {
        Self {
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

#[test]
fn the_program_has_no_planted_defects() {
    // The simulator's build has this text; `cargo xtask sim` looks that it is there.
    let mark = b"stanch-defects-can-be-planted";
    let program = std::fs::read(env!("CARGO_BIN_EXE_stanch")).unwrap();
    assert!(!program.windows(mark.len()).any(|part| part == mark));
}
