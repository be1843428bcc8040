//! What can be typed about scripts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::passphrase::Passphrase;

#[derive(Debug, Subcommand)]
pub(crate) enum Script {
    /// Write a script that works, to change into your own
    New {
        /// Its name: lower-case letters, digits and `-`
        name: String,
        /// Where its folder is made
        #[arg(long = "in", default_value = ".", value_name = "DIR")]
        parent: PathBuf,
    },
    /// Try a script and say which of its promises held: in a copy of this machine, unless said otherwise
    Test(ScriptTest),
    /// Fill in the digests of the files and sign the manifest
    Sign {
        /// The script's folder
        folder: PathBuf,
        /// A file with a secret key of minisign, readable by its owner alone
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Make a key pair of minisign that signs scripts; keep the secret half away from the server
    Keygen {
        /// Where the secret key is written; the public one goes to the same name with `.pub`
        #[arg(long, default_value = "stanch-scripts.key", value_name = "FILE")]
        out: PathBuf,
        /// Write the secret key as it is, for where a file with its passphrase would lie beside it anyhow
        #[arg(long, conflicts_with = "passphrase_file")]
        no_passphrase: bool,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Say whether a script is sound and signed by a key
    Verify {
        /// The script's folder
        folder: PathBuf,
        /// The public key, or a file that holds it
        #[arg(long, value_name = "KEY")]
        key: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ScriptTest {
    /// The script's folder
    pub(crate) folder: PathBuf,
    /// An argument, such as folder=/etc/cron.d; several times for several
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// In the system whose root this folder is
    #[arg(long, value_name = "DIR", conflicts_with = "here")]
    pub(crate) root: Option<PathBuf>,
    /// On this machine itself, which stays changed where undo does not hold
    #[arg(long)]
    pub(crate) here: bool,
}
