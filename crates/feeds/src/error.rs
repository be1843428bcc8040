//! Why a feed is refused. A feed comes from outside, so every refusal names the feed, the entry and what a person can
//! do about it; whatever was loaded before stays as it was.

use stanch_model::version::NotAVersion;

/// A feed that is refused as a whole: nothing of it is used.
#[derive(Debug, thiserror::Error)]
#[error("feed {feed} is refused{}", at(.entry.as_deref()))]
pub struct FeedError {
    /// The feed's name, such as `osv/Debian-12`.
    pub feed: String,
    /// The file, archive entry or line where the problem lies.
    pub entry: Option<String>,
    /// What is wrong.
    #[source]
    pub problem: Problem,
}

fn at(entry: Option<&str>) -> String {
    entry.map(|entry| format!(" at {entry}")).unwrap_or_default()
}

impl FeedError {
    /// What a person can do about it.
    pub const fn remedy(&self) -> &'static str {
        self.problem.remedy()
    }

    pub(crate) fn new(feed: &str, problem: Problem) -> Self {
        Self { feed: feed.to_owned(), entry: None, problem }
    }

    pub(crate) fn at(feed: &str, entry: &str, problem: Problem) -> Self {
        Self { feed: feed.to_owned(), entry: Some(printable(entry)), problem }
    }
}

/// At most 120 characters of a text from outside, with nothing that could move a cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// What is wrong with a feed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A file could not be read or written.
    #[error("cannot {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A file or entry is larger than any real one.
    #[error("larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// More entries than any real archive.
    #[error("more than {limit} entries")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// An entry that unpacks to far more than it takes up: a bomb.
    #[error("unpacks to {unpacked} bytes from {packed}: more than {limit} to one")]
    Ratio {
        /// Bytes unpacked before it was stopped.
        unpacked: u64,
        /// Bytes in the archive.
        packed: u64,
        /// The highest ratio taken.
        limit: u64,
    },
    /// An entry name that leads somewhere else.
    #[error("an entry's name must be a plain file name: no folders, no `..`, no control characters")]
    Path,
    /// Not a zip archive, or a broken one.
    #[error("not a sound zip archive")]
    Zip(#[source] zip::result::ZipError),
    /// An archive that says two things of one name or one place.
    #[error("{0}")]
    Ambiguous(&'static str),
    /// Not the JSON that was expected, or cut short.
    #[error("not the JSON of this kind of feed, or cut short")]
    Json(#[source] serde_json::Error),
    /// Not the CSV that was expected.
    #[error("not the CSV of this kind of feed")]
    Csv(#[source] csv::Error),
    /// A version that its ecosystem does not take.
    #[error("a version cannot be read")]
    Version(#[source] NotAVersion),
    /// A value outside what the field may hold.
    #[error("{field} holds `{text}`, which is not {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it holds, cut short.
        text: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Nothing in it.
    #[error("it holds no record")]
    Empty,
    /// A compiled feed that is damaged.
    #[error("the compiled file is damaged: {0}")]
    Damaged(&'static str),
    /// A compiled feed of another version of the format.
    #[error("the compiled file has format {found}, this program reads {expected}")]
    Format {
        /// Format in the file.
        found: u16,
        /// Format of this program.
        expected: u16,
    },
}

impl Problem {
    pub(crate) fn value(field: &'static str, text: &str, expected: &'static str) -> Self {
        Self::Value { field, text: printable(text), expected }
    }

    pub(crate) const fn io(operation: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }

    const fn remedy(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check that the file exists, that it can be read, and that the disk has room",
            Self::TooLarge { .. } | Self::TooMany { .. } | Self::Ratio { .. } => {
                "this is not what the publisher ships: fetch it again from the official address and compare checksums"
            }
            Self::Path | Self::Ambiguous(_) => {
                "the archive was made to mislead: find out who made it, and fetch it from the official address"
            }
            Self::Zip(_) | Self::Json(_) | Self::Csv(_) | Self::Empty => {
                "the download may be cut short or be an error page: fetch it again; the last good feed stays in use"
            }
            Self::Version(_) | Self::Value { .. } => {
                "report the record to the publisher, or fetch a later edition; the last good feed stays in use"
            }
            Self::Damaged(_) | Self::Format { .. } => "delete the compiled file: it is made again from the feed",
        }
    }
}
