//! What can be typed. Parsing stops at shape; meaning is checked where it is used.

mod estate;
mod findings;
mod people;
mod policy;
mod remedies;
mod retention;
mod script;
mod trust;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use estate::{Assets, Call, Cases, Changes, Enrolment, Executors, Which, Written};
pub(crate) use findings::{Cve, Explain, Findings, Format, Priority, Report, Scan, Select};
pub(crate) use people::{Grant, Notify, People, SignIn, Tokens};
pub(crate) use policy::{Audit, Feeds, Policy, PolicyExplain, past};
pub(crate) use remedies::{Answer, Approve, Fix, History, Hold, MayStay, Named, Patch, Rehearse, Undo, Up};
pub(crate) use retention::{Records, Retention};
pub(crate) use script::{Script, ScriptTest};
pub(crate) use trust::Trust;

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
    /// Keep what is known in this database of PostgreSQL instead of a file of the data folder:
    /// postgres://USER@HOST/DATABASE. Also STANCH_DATABASE_URL; passwords belong there, into a file, or into ~/.pgpass
    #[arg(long, global = true, value_name = "URL", conflicts_with = "database_url_file")]
    pub(crate) database_url: Option<String>,
    /// Read the address of the database from this file
    #[arg(long, global = true, env = "STANCH_DATABASE_URL_FILE", value_name = "FILE")]
    pub(crate) database_url_file: Option<PathBuf>,
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
    /// Run the server alone: this machine itself is left as it is
    Server(Up),
    /// Look for problems; changes nothing, needs no server
    Scan(Scan),
    /// List what the server knows: work items, or with --all every finding
    Findings(Findings),
    /// Show one problem over all hosts: where it is, what is done, when it can be over
    Cve(Cve),
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
    /// Bad patches: versions that are not to be brought anywhere
    #[command(subcommand)]
    Patch(Patch),
    /// Show executors, confirm new ones, put one out, let one back in that was frozen
    #[command(subcommand)]
    Executors(Executors),
    /// Let other machines in: tokens with which their agents enrol
    #[command(subcommand)]
    Enrolment(Enrolment),
    /// Look after the keys that everything rests on: the root, its certificates, and keys of approvers; needs no server
    #[command(subcommand)]
    Trust(Trust),
    /// Copy all that is known, but no keys, into a file, while servers go on; needs no server
    Backup {
        /// The file; it must not be there yet
        file: PathBuf,
    },
    /// Bring back what a backup holds, into a data folder or a database that has nothing yet; needs that no server runs
    Restore {
        /// The backup
        file: PathBuf,
    },
    /// Show and refresh vulnerability data
    #[command(subcommand)]
    Feeds(Feeds),
    /// Check and export the record of everything done
    #[command(subcommand)]
    Audit(Audit),
    /// Show how long what is old is kept, what would go next, and hold the records of something
    Retention(Retention),
    /// Check, test, explain and sign policies; needs no server
    #[command(subcommand)]
    Policy(Policy),
    /// Write, try and sign scripts that hosts run when they believe the key; needs no server
    #[command(subcommand)]
    Script(Script),
    /// List hosts and other assets, say whose they are, and take that over from a file
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
    /// Say whether the server of this data folder is well; starts none
    #[command(after_help = "Exit code 0: it answers, its store too, and the record can be sealed. 1: not so.")]
    Health,
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
