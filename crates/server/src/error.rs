//! Why a server did not start, and how a chain of causes is written on one line.

use std::error::Error;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::lock::LockError;
use crate::pki::KeyError;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be made.
    #[error("cannot make the data folder {}", path.display())]
    DataFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The data folder is not this user's alone.
    #[error("the data folder {} {why}", path.display())]
    StrangeFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The data folder is not to be had.
    #[error("cannot lock the data folder")]
    Lock(#[source] LockError),
    /// The keys are not to be had.
    #[error("cannot open the server's keys")]
    Keys(#[source] KeyError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] stanch_store::OpenError),
    /// The store cannot be read.
    #[error("cannot read the store {at}")]
    Store {
        /// Which.
        at: stanch_store::StoreAt,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The built-in data cannot be read.
    #[error("cannot read the built-in feeds")]
    Feeds(#[source] Box<dyn Error + Send + Sync>),
    /// The address is not to be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The control socket cannot be made.
    #[error("cannot make the control socket {}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing vouches for this server to executors.
    #[error("cannot open the authority for executors")]
    Authority(#[source] Box<dyn Error + Send + Sync>),
    /// It cannot work together with the other servers.
    #[error("cannot work together with the other servers of this database")]
    Cluster(#[source] Box<dyn Error + Send + Sync>),
    /// It has other keys than the other servers of the same database.
    #[error("the keys in {} are not those of the other servers of this database", folder.display())]
    OtherKeys {
        /// The folder of its keys.
        folder: PathBuf,
    },
    /// The address for people is not one.
    #[error("`{0}` is not an address for people: https://NAME or https://NAME:PORT")]
    PublicUrl(String),
    /// Secrets cannot be sealed.
    #[error("cannot seal secrets")]
    Seal(#[source] Box<dyn Error + Send + Sync>),
    /// No random bytes.
    #[error("cannot draw random bytes")]
    Entropy(#[source] crate::clock::NoEntropy),
}

impl StartError {
    /// What a person can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::DataFolder { .. } => Some("name a folder you can write with --data-dir"),
            Self::StrangeFolder { .. } | Self::Keys(KeyError::Folder { .. }) => {
                Some("look who put it there; then `chown` it to the user that runs the server and `chmod go-w` it")
            }
            Self::Lock(LockError::Held { .. }) => {
                Some("stop that process, or talk to it: every command uses its control socket by itself")
            }
            Self::Open(error) => Some(error.hint()),
            Self::Listen { .. } => Some("name another address with --listen"),
            Self::OtherKeys { .. } => {
                Some("copy the folder `keys` of another server here, over a way that nobody can read along")
            }
            Self::Keys(KeyError::Exposed { .. }) => Some("others on this machine could have read the key"),
            _ => None,
        }
    }
}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
