//! Why a feed could not be fetched. The last good one is untouched in every case.

use std::path::PathBuf;

use stanch_model::Digest;

/// Why a feed could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A file could not be read or written.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The client could not be made.
    #[error("cannot prepare to fetch feeds")]
    Client(#[source] reqwest::Error),
    /// A place or an address that cannot be used.
    #[error("{what} `{text}` cannot be used: {why}")]
    Unusable {
        /// What it is.
        what: &'static str,
        /// Its text.
        text: String,
        /// Why.
        why: &'static str,
    },
    /// No answer, or one that broke off.
    #[error("fetching {url} broke off after {received} bytes; it resumes there next time")]
    Broken {
        /// From where.
        url: String,
        /// Bytes that are kept.
        received: u64,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The answer ended before its announced length.
    #[error("{url} sent {received} of {expected} bytes; it resumes there next time")]
    Short {
        /// From where.
        url: String,
        /// Bytes that are kept.
        received: u64,
        /// Bytes that were announced.
        expected: u64,
    },
    /// The server answered with something else than the feed.
    #[error("{url} answered {status}")]
    Status {
        /// From where.
        url: String,
        /// The status code.
        status: u16,
    },
    /// The server sends somewhere it may not.
    #[error("{url} redirects to {to}, which is refused: {why}")]
    Redirect {
        /// From where.
        url: String,
        /// To where.
        to: String,
        /// Why it is refused.
        why: &'static str,
    },
    /// Larger than it may be.
    #[error("{from} is larger than {limit} bytes")]
    TooLarge {
        /// From where.
        from: String,
        /// The limit.
        limit: u64,
    },
    /// A part was sent that is not the one that was asked for.
    #[error("{url} sent another part than the one asked for")]
    WrongPart {
        /// From where.
        url: String,
    },
    /// The checksum cannot be understood.
    #[error("the checksum from {from} is not a SHA-256 checksum")]
    NoChecksum {
        /// From where.
        from: String,
    },
    /// The checksum does not match.
    #[error("{from} has the checksum {found}, its publisher says {expected}")]
    WrongChecksum {
        /// From where.
        from: String,
        /// What was computed.
        found: Digest,
        /// What the publisher says.
        expected: Digest,
    },
}

impl FetchError {
    /// What a person can do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::File { .. } => "check that the file is there, that it can be read, and that the disk has room",
            Self::Client(_) => "check that the certificates of this machine and its proxy settings are sound",
            Self::Unusable { .. } => "correct the feed's settings",
            Self::Broken { .. } | Self::Short { .. } => "check the network and the proxy; what was received is kept",
            Self::Status { .. } => "check the address; a proxy that wants a sign-in answers like this too",
            Self::Redirect { .. } => "put the new address into the feed's settings if it is the publisher's",
            Self::TooLarge { .. } => "raise the feed's limit if its publisher really ships this much",
            Self::WrongPart { .. } => "it is fetched from the beginning next time",
            Self::NoChecksum { .. } => "check the address of the checksum",
            Self::WrongChecksum { .. } => {
                "somebody changed the feed on its way, or the publisher is between two editions: try again later"
            }
        }
    }

    pub(crate) fn file(operation: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }
}
