//! Who may do what, and who is told.

use clap::{Args, Subcommand};

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
