//! Who this host is to its server: the certificate that it was given, the key that belongs to it and never leaves the
//! host, and what it believes.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::sign::VerifyingKey;

/// Its file in the agent's folder.
const FILE: &str = "identity.json";
/// Largest file taken.
const MOST_BYTES: u64 = 1 << 20;

/// Why it is not known who this host is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It was never enrolled.
    #[error("this host is not enrolled: there is no {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others can read it: its key is not a secret any more.
    #[error("{} can be read by others (mode {mode:o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds something else.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl IdentityError {
    /// What a person can do.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "enrol it: stanch-agent enrol --server URL, with a token from `stanch enrolment token`"
            }
            Self::Exposed { .. } => {
                "have the executor put out (stanch executors revoke) and vouched for (trust), then enrol this host anew"
            }
            Self::File { .. } => "run it as root",
            Self::Damaged { .. } => "enrol this host anew; a person has to vouch for it first: stanch executors trust",
        }
    }
}

/// Who this host is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Where the server is: `https://NAME:PORT`; where there are several, all of them with commas between.
    pub server: String,
    /// The proxy on the way there, if one was named; otherwise that of the environment counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The root whose word on orders is taken.
    pub root: VerifyingKey,
    /// The authority that vouches for the server (PEM).
    pub authority: String,
    /// The authority's word for this host (PEM).
    pub certificate: String,
    /// The key that belongs to it (PEM).
    pub key: String,
    /// When the certificate should be renewed.
    pub renew_at: Timestamp,
}

/// The key is a secret.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("server", &self.server)
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

/// No certificate is left alone for longer than this, whatever the clock said when it was given.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 10);

impl Identity {
    /// Where the servers are.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.server.split(',')
    }

    /// Whether its certificate should be renewed.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let left = self.renew_at.duration_since(now);
        left <= SignedDuration::ZERO || left > LONGEST
    }

    /// Reads it from the agent's folder.
    ///
    /// # Errors
    /// When there is none, it does not read, or others can read it.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(FILE);
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => IdentityError::Missing { path: path.clone() },
            _ => IdentityError::File { verb: "read", path: path.clone(), source },
        };
        let about = fs::metadata(&path).map_err(failed)?;
        let mode = about.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed { path, mode });
        }
        if about.len() > MOST_BYTES {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "larger than 1 MiB");
            return Err(IdentityError::File { verb: "read", path, source });
        }
        let text = fs::read(&path).map_err(failed)?;
        serde_json::from_slice(&text).map_err(|source| IdentityError::Damaged { path, source })
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn save(&self, folder: &Path) -> Result<(), IdentityError> {
        let path = folder.join(FILE);
        let failed = |source| IdentityError::File { verb: "write", path: path.clone(), source };
        let text =
            serde_json::to_vec_pretty(self).map_err(|source| IdentityError::Damaged { path: path.clone(), source })?;
        let draft = folder.join("identity.json.new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&draft, &path).map_err(failed)?;
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}
