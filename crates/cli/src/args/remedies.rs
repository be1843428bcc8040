//! Acting: the server for one machine, what is asked of it, and what stops it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use stanch_model::sign::VerifyingKey;
use stanch_server::retention::Period;

use super::findings::Select;
use crate::passphrase::Passphrase;

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Address of the web pages and the API
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR", value_parser = loopback)]
    pub(crate) listen: SocketAddr,
    /// Address by which people reach it, when another program speaks HTTPS before it
    #[arg(long, env = "STANCH_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Let executors of other machines in at this address, over mutual TLS
    #[arg(long, env = "STANCH_EXECUTORS", value_name = "ADDR", requires = "executors_name")]
    pub(crate) executors: Option<SocketAddr>,
    /// A name or address under which they reach this machine; it stands in its certificate (repeatable)
    #[arg(long, env = "STANCH_EXECUTORS_NAME", value_name = "NAME", value_delimiter = ',', requires = "executors")]
    pub(crate) executors_name: Vec<String>,
    /// One of several servers that share a database: where the others reach its door for executors, HOST or HOST:PORT
    /// [default: the first name of the door]
    #[arg(long, env = "STANCH_ADVERTISE", value_name = "HOST", requires = "executors")]
    pub(crate) advertise: Option<String>,
    /// The NATS over which several servers wake each other (nats://HOST:4222, several with commas); without it they look
    /// every few seconds
    #[arg(long, env = "STANCH_NATS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) nats_url: Option<String>,
    /// A file with the credentials for it
    #[arg(long, env = "STANCH_NATS_CREDENTIALS", value_name = "FILE", requires = "nats_url")]
    pub(crate) nats_credentials: Option<PathBuf>,
    /// The certificates, in PEM, of the authority that vouches for it; without one those of the system
    #[arg(long, env = "STANCH_NATS_AUTHORITY", value_name = "FILE", requires = "nats_url")]
    pub(crate) nats_authority: Option<PathBuf>,
    /// Read facts again this often, in minutes
    #[arg(long, default_value_t = 60, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) every: u32,
    /// Fetch feeds from their publishers on schedule; without it nothing is fetched
    #[arg(long, conflicts_with = "feeds")]
    pub(crate) online: bool,
    /// Use feeds from this folder instead of the built-in snapshot, read again on schedule
    #[arg(long, value_name = "DIR")]
    pub(crate) feeds: Option<PathBuf>,
    /// Decide by the policies of this folder; what changes there is checked, tested and taken without a restart
    #[arg(long, env = "STANCH_POLICIES", value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,
    /// Decide by the policies of this git repository instead; it is asked for something newer every minute
    #[arg(long, env = "STANCH_POLICIES_REPOSITORY", value_name = "URL", conflicts_with = "policies")]
    pub(crate) policies_repository: Option<String>,
    /// The branch of that repository, instead of the one it points at
    #[arg(long, env = "STANCH_POLICIES_BRANCH", value_name = "NAME", requires = "policies_repository")]
    pub(crate) policies_branch: Option<String>,
    /// The folder of that repository with the policies, instead of all of it
    #[arg(long, env = "STANCH_POLICIES_PATH", value_name = "PATH", requires = "policies_repository")]
    pub(crate) policies_path: Option<String>,
    /// Take only policies that bear the signature of this public key; without it nothing runs by itself (mode auto)
    #[arg(long, env = "STANCH_POLICIES_KEY", value_name = "KEY", value_parser = public_key)]
    pub(crate) policies_key: Option<VerifyingKey>,
    /// Keep something for another time than is shipped, NOUN=SPAN: findings=365d, ledger=forever (repeatable; what there
    /// is: `stanch retention`)
    #[arg(long, env = "STANCH_KEEP", value_name = "NOUN=SPAN", value_delimiter = ',')]
    pub(crate) keep: Vec<Period>,
}

#[derive(Debug, Args)]
pub(crate) struct Fix {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Plan and show, change nothing, and throw the plan away
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask before applying
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Apply the plan of this hash, made before with `stanch plan` (12 digits or more)
    #[arg(long, id = "plan", value_name = "HASH", value_parser = plan_hash,
        conflicts_with_all = ["items", "all", "include_suppressed", "dry_run", "refresh"])]
    pub(crate) plan: Option<String>,
    /// Fetch the archive indexes first (apt-get update)
    #[arg(long)]
    pub(crate) refresh: bool,
}

/// A public key as `stanch policy sign` prints it.
fn public_key(text: &str) -> Result<VerifyingKey, String> {
    VerifyingKey::try_from(text.to_owned()).map_err(|error| error.to_string())
}

/// Enough of a plan's hash to mean that one and no other.
fn plan_hash(text: &str) -> Result<String, String> {
    let whole = (12..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if whole { Ok(text.to_ascii_lowercase()) } else { Err("expected 12 to 64 hexadecimal digits".to_owned()) }
}

/// An address that only this machine reaches: the pages speak plain HTTP.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected ADDRESS:PORT, such as 127.0.0.1:7070".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("only loopback addresses: the pages speak plain HTTP. From elsewhere use a tunnel: ssh -L 7070:127.0.0.1:7070 HOST".to_owned())
}

#[derive(Debug, Args)]
#[command(after_help = "\
The copy is an overlay of the target's file systems. Package scripts run in it without network, without the
target's services and devices, and what they write goes away with it. Steps that need something that runs,
such as a restart, cannot be shown in a copy and are listed.

Exit code 0: it went well, and back. 4: it did not, or the copy showed nothing.")]
pub(crate) struct Rehearse {
    /// The plan's hash or its remediation, as `stanch plan` and `stanch history` show them (the beginning will do)
    pub(crate) plan: String,
    /// The target, by name or id; the first of the first wave if none is named
    #[arg(long, value_name = "ASSET")]
    pub(crate) on: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The remediation, as `stanch history` shows it (the beginning will do)
    pub(crate) remediation: String,
    /// Do not ask after showing the plan
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Sign it with a key of yours (`stanch trust new-approver`), for hosts whose own rules ask for it
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Hours within which hosts that ask for your signature may begin it [default: as long as the plan is valid]. Those of
    /// later waves begin later
    #[arg(long, value_name = "HOURS", requires = "key", value_parser = clap::value_parser!(u32).range(1..=720))]
    pub(crate) hours: Option<u32>,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

#[derive(Debug, Args)]
pub(crate) struct Answer {
    /// The remediation, as `stanch history` shows it (the beginning will do)
    pub(crate) remediation: String,
    /// It stays, it is taken back, or it is taken back and the risk accepted for 90 days
    #[arg(value_enum)]
    pub(crate) answer: MayStay,
    /// Why, for the record
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MayStay {
    /// It stays
    Confirm,
    /// It is taken back
    Undo,
    /// It is taken back, and the risk is accepted for 90 days
    Except,
}

#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// The remediation: `last`, or its id as `stanch history` shows it (the beginning will do)
    #[arg(required_unless_present = "policy")]
    pub(crate) remediation: Option<String>,
    /// Only these of its items (ids or source packages); all when none is named
    pub(crate) items: Vec<String>,
    /// Everything that this policy did, on all assets, the last act first
    #[arg(long, value_name = "NAME", conflicts_with = "remediation", requires = "since")]
    pub(crate) policy: Option<String>,
    /// What it did since then: a span such as 6h or 3d, or a time such as 2026-11-26T08:00:00Z
    #[arg(long, value_name = "WHEN", requires = "policy", value_parser = crate::args::past)]
    pub(crate) since: Option<jiff::Timestamp>,
    /// What it did before then; until now when left out
    #[arg(long, value_name = "WHEN", requires = "policy", value_parser = crate::args::past)]
    pub(crate) until: Option<jiff::Timestamp>,
    /// Why: kept in the record
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Only show what would be taken back
    #[arg(long, requires = "policy")]
    pub(crate) dry_run: bool,
    /// Do not ask before taking it back
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// How many, the newest first
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Patch {
    /// Bring this version of a package nowhere
    Block {
        #[command(flatten)]
        patch: Named,
        /// Why: shown wherever something waits for it
        #[arg(long)]
        why: String,
    },
    /// Allow it again
    Unblock {
        #[command(flatten)]
        patch: Named,
    },
    /// What is blocked, by people or because it failed on several hosts of a ring
    List,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The package: of a distribution the source package or one of its binary packages; or a package URL with the version
    pub(crate) package: String,
    /// The version, which leaves a newer one free, or a range such as '>=3.0.15, <3.0.17'
    pub(crate) version: Option<String>,
    /// Where it is from, as package URLs call it: deb, pypi, rpm, apk, npm
    #[arg(long, default_value = "deb")]
    pub(crate) ecosystem: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Start nothing new; with --all also stop at the next safe point
    Set {
        /// Why: shown to everybody who waits
        reason: String,
        /// What it covers: all, or environment/, policy/, action/ or asset/ with a name
        #[arg(long = "for", value_name = "SCOPE", default_value = "all")]
        scope: String,
        /// Also stop what runs at its next safe point
        #[arg(long)]
        all: bool,
    },
    /// Allow changes again
    Release {
        /// Only the hold of this scope; every one when left away
        #[arg(long = "for", value_name = "SCOPE")]
        scope: Option<String>,
    },
    /// Whether changes are held
    Show,
}
