//! Passphrases of keys: from a file that nobody else can read, or typed; never from the command line, which everybody can
//! see.

use std::fs;
use std::io::{IsTerminal as _, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::Failure;

/// Longest file with a passphrase that is read.
const MOST: u64 = 4 << 10;

#[derive(Debug, Clone, Args)]
pub(crate) struct Passphrase {
    /// A file with the key's passphrase in its first line; `-` reads it from the standard input [default: ask]
    #[arg(long, env = "STANCH_PASSPHRASE_FILE", value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    /// The one that opens something.
    pub(crate) fn known(&self) -> Result<String, Failure> {
        match &self.passphrase_file {
            Some(path) => from_file(path),
            None => typed("Passphrase: "),
        }
    }

    /// One for something new: whoever types it types it twice.
    pub(crate) fn fresh(&self) -> Result<String, Failure> {
        let first = self.known()?;
        if self.passphrase_file.is_none() && typed("The same again: ")? != first {
            return Err(Failure::usage("the two are not the same"));
        }
        if first.is_empty() {
            return Err(Failure::usage("the passphrase is empty"));
        }
        Ok(first)
    }
}

fn typed(question: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is there to type the passphrase")
            .hint("name a file that holds it: --passphrase-file"));
    }
    rpassword::prompt_password(question)
        .map_err(|error| Failure::new("the passphrase could not be read").because(error))
}

fn from_file(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{} cannot be read", path.display())).because(error);
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(MOST).read_to_string(&mut text).map_err(failed)?;
    } else {
        only_ours(path)?;
        fs::File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text)).map_err(failed)?;
    }
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// A secret in a file is read only where nobody else could have.
pub(crate) fn only_ours(path: &Path) -> Result<(), Failure> {
    let about = fs::metadata(path)
        .map_err(|error| Failure::new(format!("{} cannot be read", path.display())).because(error))?;
    if about.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(Failure::refused(format!("{} can be read by others", path.display()))
        .hint(format!("chmod 600 {}", path.display())))
}
