//! Policies, the feeds they rest on, and the record.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Feeds {
    /// Show feeds with their dates
    List {
        /// Feeds of this folder instead of the server's
        #[arg(long, value_name = "DIR")]
        feeds: Option<PathBuf>,
    },
    /// Fetch now what the running `stanch up --online` or `--feeds` fetches on schedule
    Update,
    /// Take a newer feed that waits because it would change many verdicts
    Accept {
        /// The feed's name
        name: String,
    },
    /// Throw away a newer feed that waits, and keep the last good one
    Reject {
        /// The feed's name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Verify an export, or the server's own ledger when no file is named
    Verify {
        /// The export
        file: Option<PathBuf>,
        /// A checkpoint kept elsewhere; finds what was cut off or rewritten
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The ledger's public key as kept elsewhere; finds a ledger that was made anew
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
    /// Write the ledger as a file that can be verified anywhere
    Export {
        /// The file; standard output when left out
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Say everything that is wrong with policies: file, line, remedy
    Check {
        /// The bundle's folder, or one file
        #[arg(default_value = "policies", value_name = "PATH")]
        path: PathBuf,
        /// Warnings count as errors
        #[arg(long)]
        strict: bool,
        /// The public key that must have signed exactly these files
        #[arg(long, value_name = "KEY")]
        signed_by: Option<String>,
    },
    /// Run the tests of policies, and say what they do not test
    Test {
        /// The bundle's folder, or one file
        #[arg(default_value = "policies", value_name = "PATH")]
        path: PathBuf,
    },
    /// Say what would be decided of given facts, and which rule said what
    Explain(PolicyExplain),
    /// Print the JSON Schema of policy files for editors
    Schema {
        /// The table of facts that conditions may ask for instead
        #[arg(long)]
        facts: bool,
    },
    /// Print a playbook as CACAO 2.0, and say what others cannot know of it
    Export {
        /// The bundle's folder, or one file
        #[arg(default_value = "policies", value_name = "PATH")]
        path: PathBuf,
        /// The playbook
        #[arg(long, value_name = "NAME")]
        playbook: String,
    },
    /// Read a CACAO 2.0 playbook: prints it as a policy file, and says what does not map
    Import {
        /// The document
        file: PathBuf,
    },
    /// Show what the running server decides by, and what actions have earned
    Status,
    /// Play a draft over what the server has seen: what would change, and what of it went wrong
    Replay {
        /// The draft's folder, or one file
        #[arg(default_value = "policies", value_name = "PATH")]
        path: PathBuf,
        /// So many days back
        #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
        since: u32,
        /// End with 1 when more than this share of what is known went wrong, in percent
        #[arg(long, default_value_t = 5, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
        max_harm: u32,
    },
    /// Say the most that forged findings could make a draft do on the server's assets, or on those of its named facts
    WorstCase {
        /// The draft's folder, or one file
        #[arg(default_value = "policies", value_name = "PATH")]
        path: PathBuf,
        /// On the assets of the draft's named facts; needs no server
        #[arg(long)]
        offline: bool,
    },
    /// Sign a bundle: writes bundle.sig into its folder
    Sign {
        /// The bundle's folder
        path: PathBuf,
        /// A file with the signing key as 64 hexadecimal digits, readable by its owner alone
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

impl Policy {
    /// Whether it is about what a server has seen.
    pub(crate) const fn asks_the_server(&self) -> bool {
        matches!(self, Self::Status | Self::Replay { .. } | Self::WorstCase { offline: false, .. })
    }
}

#[derive(Debug, Args)]
pub(crate) struct PolicyExplain {
    /// The bundle's folder, or one file
    #[arg(default_value = "policies", value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Named facts of the bundle
    #[arg(long, value_name = "NAME")]
    pub(crate) given: String,
    /// A fact that is different, such as item.epss=0.7; several times for several
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// A fact that is not known
    #[arg(long, value_name = "PATH")]
    pub(crate) unset: Vec<String>,
    /// Also policies that are about something else
    #[arg(long)]
    pub(crate) all: bool,
}

/// A time in the past: written out, or as a span before now.
pub(crate) fn past(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at);
    }
    let span: jiff::SignedDuration = text
        .parse::<jiff::Span>()
        .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()))
        .map_err(|_| "write a span such as 6h or 3d, or a time such as 2026-11-26T08:00:00Z".to_owned())?;
    jiff::Timestamp::now().checked_sub(span.abs()).map_err(|error| error.to_string())
}
