//! What can be typed. Parsing stops at shape; meaning is checked where it is used.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use stanch_model::sign::VerifyingKey;

const AFTER: &str = "\
Exit codes:
  0  done; open findings alone are no error
  1  something went wrong; the message says what and what to do
  2  the command line could not be understood
  3  findings at or above --fail-on
  4  acted, but not proven: failed, taken back, inconclusive or only in part
  5  refused: a limit, a hold, a moved target, a missing right or nobody there to confirm

Start with `stanch scan`; it changes nothing and needs neither root nor network.";

#[derive(Debug, Parser)]
#[command(
    name = "stanch",
    version,
    about = "Finds security problems, fixes them, proves it and can take it back",
    after_help = AFTER,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where Stanch keeps its state [default: /var/lib/stanch for root, else ~/.local/state/stanch]
    #[arg(long, global = true, env = "STANCH_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print one JSON object a line instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour; NO_COLOR is honoured
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
    /// No progress and no summary on standard error
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// More about what is going on; twice for everything
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run server and executor on this machine, with the web pages
    Up(Up),
    /// Look for problems; changes nothing, needs no server
    Scan(Scan),
    /// List what the server knows: work items, or with --all every finding
    Findings(Findings),
    /// Say why an item or finding is what it is
    Explain(Explain),
    /// Show exactly what a fix would change; the plan then waits to be applied by its hash
    Plan(Select),
    /// Carry out a plan in a copy of a target, check it and take it back there; the target stays as it is
    Rehearse(Rehearse),
    /// Plan, show, ask, apply and verify
    Fix(Fix),
    /// Say yes to a plan that policies or people prepared; it starts once everybody who must has agreed
    Approve(Approve),
    /// Answer whether what was done by itself may stay
    Answer(Answer),
    /// Take back what a fix did: all of it, or some of its items
    Undo(Undo),
    /// Look at cases: one problem with everything that is done about it, step by step
    #[command(subcommand)]
    Case(Cases),
    /// List change requests at other systems, and answer one in their place
    #[command(subcommand)]
    Change(Changes),
    /// List what was done
    History(History),
    /// Show how long problems were open, and what they waited for
    Report(Report),
    /// Stop or allow changes: the kill switch
    #[command(subcommand)]
    Hold(Hold),
    /// Show executors, and let one back in that was frozen
    #[command(subcommand)]
    Executors(Executors),
    /// Show and refresh vulnerability data
    #[command(subcommand)]
    Feeds(Feeds),
    /// Check and export the record of everything done
    #[command(subcommand)]
    Audit(Audit),
    /// Check, test, explain and sign policies; needs no server
    #[command(subcommand)]
    Policy(Policy),
    /// List assets, and say whose they are
    #[command(subcommand)]
    Assets(Assets),
    /// Manage accounts, teams and roles
    #[command(subcommand)]
    People(People),
    /// Manage tokens for programs
    #[command(subcommand)]
    Token(Tokens),
    /// Show notices, and test where they go
    #[command(subcommand)]
    Notify(Notify),
    /// Print a link to sign in to the web pages of a running `stanch up`
    SignIn(SignIn),
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write the man pages to a folder
    Man {
        /// The folder
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Address of the web pages and the API
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR", value_parser = loopback)]
    pub(crate) listen: SocketAddr,
    /// Address by which people reach it, when another program speaks HTTPS before it
    #[arg(long, env = "STANCH_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
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
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// Another root than this machine's
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dpkg_status", "sbom"])]
    pub(crate) root: Option<PathBuf>,
    /// A dpkg status file instead of a machine (plain or .gz)
    #[arg(long, value_name = "FILE", requires = "release", conflicts_with = "sbom")]
    pub(crate) dpkg_status: Option<PathBuf>,
    /// The release the package list belongs to, such as debian:12
    #[arg(long, value_name = "RELEASE")]
    pub(crate) release: Option<String>,
    /// A bill of materials instead of a machine: CycloneDX or SPDX JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) sbom: Option<PathBuf>,
    /// Feeds from this folder instead of those in the data folder or the built-in snapshot
    #[arg(long, value_name = "DIR")]
    pub(crate) feeds: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    pub(crate) format: Option<Format>,
    /// Every finding instead of work items, in the table; the other formats always hold every finding
    #[arg(long)]
    pub(crate) all: bool,
    /// Exit with 3 when an item is at least this urgent
    #[arg(long, value_enum, value_name = "PRIORITY")]
    pub(crate) fail_on: Option<Priority>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// One finding a line
    Json,
    /// SARIF 2.1.0
    Sarif,
    /// OCSF 1.8 Vulnerability Findings, one a line
    Ocsf,
    /// CycloneDX 1.6 with vulnerabilities (VEX)
    Cyclonedx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Priority {
    /// Anything
    Defer,
    /// Regular maintenance
    Scheduled,
    /// Sooner than usual
    OutOfCycle,
    /// Now
    Immediate,
}

#[derive(Debug, Args)]
pub(crate) struct Findings {
    /// Every finding instead of work items
    #[arg(long)]
    pub(crate) all: bool,
    /// Every finding, those that are closed too
    #[arg(long)]
    pub(crate) closed: bool,
    /// Every finding of this detector: advisory, security-origin, running, kernel or support
    #[arg(long, value_name = "NAME")]
    pub(crate) detector: Option<String>,
    /// Read the host's facts again first; the archive indexes stay as they are
    #[arg(long)]
    pub(crate) refresh: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A source package, service, CVE id, or the id of a work item, finding or remediation
    pub(crate) what: String,
}

#[derive(Debug, Args)]
pub(crate) struct Select {
    /// Source packages, services, CVE ids or ids of work items
    pub(crate) items: Vec<String>,
    /// Everything that can be fixed and is not suppressed
    #[arg(long, conflicts_with = "items")]
    pub(crate) all: bool,
    /// With --all: also what was taken back before and is suppressed; what is named is never left out for it
    #[arg(long)]
    pub(crate) include_suppressed: bool,
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

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// What was closed in so many days
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=366))]
    pub(crate) days: u16,
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

#[derive(Debug, Subcommand)]
pub(crate) enum Assets {
    /// List them
    List,
    /// Say what an asset is; what is left away stays, an empty text takes it away
    Label {
        /// Its id or name
        asset: String,
        /// Its environment, such as prod
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
        /// The team that owns it
        #[arg(long, value_name = "TEAM")]
        owner: Option<String>,
        /// What its data is, such as restricted
        #[arg(long, value_name = "WORD")]
        classification: Option<String>,
        /// How much depends on it: 1 (most) to 5; 0 takes it away
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(0..=5))]
        tier: Option<u8>,
        /// A label that policies and rings ask for, such as automation=suggest; without a value it is taken away
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
    },
    /// Say how an asset hangs on another: playbooks act on what is linked, urgency counts what depends on it
    Link {
        /// Its id or name
        asset: String,
        /// How it hangs on the other
        #[arg(value_parser = ["depends_on", "runs_on", "member_of", "used_on"])]
        kind: String,
        /// The other's id or name
        other: String,
        /// Take it away
        #[arg(long)]
        remove: bool,
    },
}

/// A public key as `stanch policy sign` prints it.
fn public_key(text: &str) -> Result<VerifyingKey, String> {
    VerifyingKey::try_from(text.to_owned()).map_err(|error| error.to_string())
}

/// A label as it is typed.
fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "expected NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cases {
    /// List them
    List {
        /// Only those in which something is left to do
        #[arg(long)]
        open: bool,
    },
    /// Show one: its steps, what happened, the tasks that wait for a person
    Show {
        /// Its id, or an unambiguous beginning of it
        case: String,
    },
    /// Open one by hand, with a playbook of the policies in force; every step waits for approval
    Open {
        /// The items it is about, by id or name
        #[arg(required = true, value_name = "ITEM")]
        items: Vec<String>,
        /// The playbook
        #[arg(long, value_name = "NAME")]
        playbook: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Say that a person's task is done
    Done {
        /// The case
        case: String,
        /// Which task, where several wait
        #[arg(long, value_name = "NUMBER")]
        task: Option<u64>,
        /// What others should know of it
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Say that a person's task will not be done
    Decline {
        /// The case
        case: String,
        /// Which task, where several wait
        #[arg(long, value_name = "NUMBER")]
        task: Option<u64>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// End one: nothing more begins, and what was done stays
    Close {
        /// The case
        case: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Take back everything that was done in one, the last first
    Undo {
        /// The case
        case: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Changes {
    /// List them, the newest first
    List {
        /// Only those that are not closed
        #[arg(long)]
        open: bool,
    },
    /// Agree to one in the place of the other system
    Approve {
        /// Its id
        change: String,
        /// The whole hash of the plan that was read
        #[arg(long, value_name = "HASH")]
        plan: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Refuse one in the place of the other system
    Reject {
        /// Its id
        change: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Close one once what it is about was done and looked at
    Close {
        /// Its id
        change: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SignIn {
    /// Sign in as this person instead of `admin`
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) person: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum People {
    /// List accounts
    List,
    /// Make an account, and print a link with which its person sets a password
    Add {
        /// The name to sign in with; never given twice
        name: String,
        /// Where notices go
        #[arg(long)]
        email: Option<String>,
    },
    /// Print a link with which somebody sets a new password
    Invite {
        /// The person
        name: String,
    },
    /// Let somebody sign in again
    Enable {
        /// The person
        name: String,
    },
    /// Sign somebody out everywhere and keep them out
    Disable {
        /// The person
        name: String,
    },
    /// Remove an account for good; its name stays taken
    Remove {
        /// The person
        name: String,
    },
    /// Give a role
    Grant(Grant),
    /// Take a role away
    Revoke(Grant),
    /// List teams
    Teams,
    /// Make a team, named as assets name their owner
    AddTeam {
        /// Its name
        name: String,
        /// What it is for
        #[arg(long)]
        about: Option<String>,
    },
    /// End a team with the roles it holds
    RemoveTeam {
        /// Its name
        name: String,
    },
    /// Put somebody in a team
    Join {
        /// The team
        team: String,
        /// The person
        name: String,
    },
    /// Take somebody out of a team
    Leave {
        /// The team
        team: String,
        /// The person
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Grant {
    /// viewer, operator, approver, owner or admin
    pub(crate) role: String,
    /// The person who holds it
    #[arg(long, value_name = "NAME", required_unless_present = "team")]
    pub(crate) person: Option<String>,
    /// The team whose members hold it
    #[arg(long, value_name = "NAME", conflicts_with = "person")]
    pub(crate) team: Option<String>,
    /// Where: all, environment/NAME or team/NAME
    #[arg(long = "for", value_name = "SCOPE")]
    pub(crate) scope: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tokens {
    /// List tokens; never the tokens themselves
    List,
    /// Make a token and print it, once
    Create {
        /// Its name; its acts are recorded as token:NAME
        name: String,
        /// What it may beside reading: operate, approve, admin
        #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
        scope: Vec<String>,
        /// The only environment it reaches
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
        /// Days it lasts
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
    },
    /// Take a token away
    Revoke {
        /// Its id or name
        token: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Notify {
    /// Send a test notice through a connection
    Test {
        /// The connection
        name: String,
    },
    /// List the newest notices and what became of them
    List,
    /// List connections
    Connections,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Executors {
    /// List them
    List,
    /// Trust one again that is frozen: its key changed, or it went back in time (a copy, a restored backup)
    Trust {
        /// Its id
        id: String,
    },
}

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
