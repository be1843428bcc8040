//! What is looked after, and what is done about it together.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Which assets; what is left away does not narrow.
#[derive(Debug, Default, Args)]
pub(crate) struct Which {
    /// A part of the name
    pub(crate) name: Option<String>,
    /// In this environment
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// Owned by this team
    #[arg(long, value_name = "TEAM")]
    pub(crate) owner: Option<String>,
    /// In this ring: the value of the label `ring`
    #[arg(long, value_name = "RING")]
    pub(crate) ring: Option<String>,
    /// With this label (repeatable)
    #[arg(long = "label", value_name = "NAME[=VALUE]")]
    pub(crate) labels: Vec<String>,
    /// Whose agent is so
    #[arg(long, value_parser = ["connected", "away", "unconfirmed", "frozen", "put_out", "no_executor"])]
    pub(crate) state: Option<String>,
    /// Where this is missing
    #[arg(long, value_parser = ["no_executor", "stale", "unconfirmed", "frozen", "no_policy", "unsupported", "unmatched"])]
    pub(crate) blind: Option<String>,
    /// Only hosts, or another kind of asset
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
}

/// How a file with assets is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Written {
    Yaml,
    Csv,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Assets {
    /// List them, with their agents, what is open and what cannot be seen
    List(Which),
    /// Show everything about one
    Show {
        /// Its id or name
        asset: String,
    },
    /// Show what was installed on one when, as its facts showed it
    History {
        /// Its id or name
        asset: String,
        /// Only this package or component
        #[arg(long, value_name = "NAME")]
        package: Option<String>,
        /// Only what was installed then: a span such as 6h or 3d, or a time such as 2026-11-26T08:00:00Z
        #[arg(long, value_name = "WHEN", value_parser = crate::args::past)]
        at: Option<jiff::Timestamp>,
    },
    /// Take over owners, tiers, environments, labels and links from a file; all of it or nothing
    Import {
        /// The file, `-` for the standard input
        file: PathBuf,
        /// How it is written, where its name does not say
        #[arg(long, value_enum)]
        format: Option<Written>,
        /// Show what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
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
    /// List which asset was seen to call which, from live connections; say which of them are dependencies
    Edges {
        /// Only those of which nobody has said anything yet
        #[arg(long)]
        proposed: bool,
    },
    /// Say that an asset depends on another that it was seen to call
    Confirm(Call),
    /// Say that a call does not matter: nobody is asked again
    Dismiss(Call),
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

/// A call that was seen.
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The id or name of what calls
    pub(crate) from: String,
    /// The id or name of what is called
    pub(crate) to: String,
    /// The port there
    pub(crate) port: u16,
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

#[derive(Debug, Subcommand)]
pub(crate) enum Executors {
    /// List them
    List,
    /// Trust one again that is frozen: its key changed, or it went back in time (a copy, a restored backup). What it was to
    /// do is taken back; one of another machine then enrols anew
    Trust {
        /// Its id
        id: String,
    },
    /// Say that one that enrolled is one of ours; until then policies only show what is wrong on its host
    Confirm {
        /// Its id
        id: String,
    },
    /// Put one out at once: its certificates are not in force any more, and it gets no orders
    Revoke {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Enrolment {
    /// Make a token with which hosts enrol, and print it once
    Token {
        /// Its name
        name: String,
        /// How many hosts it lets in
        #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        uses: u32,
        /// Hours it works
        #[arg(long, default_value_t = 24, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=2_160))]
        hours: u32,
        /// Its hosts count as confirmed: what policies grant is granted at once
        #[arg(long)]
        confirmed: bool,
        /// The environment of its hosts, such as prod
        #[arg(long, value_name = "WORD")]
        environment: Option<String>,
        /// The team that owns its hosts
        #[arg(long, value_name = "TEAM")]
        owner: Option<String>,
        /// What the data of its hosts is, such as restricted
        #[arg(long, value_name = "WORD")]
        classification: Option<String>,
        /// How much depends on its hosts: 1 (most) to 5
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=5))]
        tier: Option<u8>,
        /// A label of its hosts (repeatable)
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
    },
    /// List the tokens, whether they still work or not
    List,
    /// Take a token away; hosts that got in with it stay
    Revoke {
        /// Its name
        name: String,
    },
}
