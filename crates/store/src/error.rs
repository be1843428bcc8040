//! What can go wrong in the store, by what was being done: opening, committing, reading.

use std::sync::Arc;

use stanch_ledger::EntryError;

use crate::place::StoreAt;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be opened.
    #[error("the store {at} cannot be opened")]
    Open {
        /// Which store.
        at: StoreAt,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// It is damaged, or no database.
    #[error("the store {at} is damaged: {detail}")]
    Damaged {
        /// Which store.
        at: StoreAt,
        /// What the check says.
        detail: String,
    },
    /// Another process is writing to it.
    #[error("the store {at} is being written by another process")]
    Busy {
        /// Which store.
        at: StoreAt,
    },
    /// Its tables cannot be brought to this release's form.
    #[error("the tables of the store {at} cannot be brought up to date")]
    Migrate {
        /// Which store.
        at: StoreAt,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A newer release has taken away what this one works with.
    #[error(
        "a newer release has changed the store {at} so that this one cannot work with it (migration {number}, {name})"
    )]
    Newer {
        /// Which store.
        at: StoreAt,
        /// The number of the first such migration.
        number: i64,
        /// What it is called.
        name: String,
    },
    /// The server that has it is older than what this program can use.
    #[error("the store {at} is on PostgreSQL {version}, and needs 15 or later")]
    OldServer {
        /// Which store.
        at: StoreAt,
        /// What it says it is.
        version: String,
    },
    /// Its texts are not kept as they are written.
    #[error("the store {at} is in a database whose encoding is {encoding}, and needs UTF8")]
    Encoding {
        /// Which store.
        at: StoreAt,
        /// What the database has.
        encoding: String,
    },
    /// Its findings have ids that would not be given today: all of them would be taken for gone and for new.
    #[error("the store {at} was written by an earlier build that named findings otherwise")]
    OtherIds {
        /// Which store.
        at: StoreAt,
    },
}

impl OpenError {
    pub(crate) fn newer(at: StoreAt, migration: &crate::newer::Applied) -> Self {
        Self::Newer { at, number: migration.version, name: migration.description.clone() }
    }

    /// What a person can do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Open { at: StoreAt::Database(_), .. } => {
                "check that PostgreSQL runs, that it lets this user into this database, and the address that was given; \
                 passwords are taken from the address, PGPASSWORD or ~/.pgpass"
            }
            Self::Open { .. } => "check that the data folder exists, belongs to this user and has room left",
            Self::Damaged { at: StoreAt::Database(_), .. } => {
                "stop the servers, keep a copy of the database, and restore the last backup into an empty one"
            }
            Self::Damaged { .. } => "stop the server, keep a copy of the file, and restore the last backup",
            Self::Busy { .. } => "another server uses this data folder; stop it, or choose another with --data-dir",
            Self::OldServer { .. } => "bring the database to a server of PostgreSQL 15 or later",
            Self::Encoding { .. } => "make the database with: createdb --encoding=UTF8 --template=template0 NAME",
            Self::OtherIds { .. } => {
                "keep the folder for its ledger, and begin with another one: choose it with --data-dir"
            }
            Self::Newer { .. } => "run the newer release, or restore a backup made by this one",
            Self::Migrate { .. } => {
                "the store may come from a newer release: run that one, or restore a backup made by this one"
            }
        }
    }
}

/// Why a transition was not committed. Nothing of it was written, unless it is [`CommitError::Unknown`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Somebody else was first: load again and decide anew.
    #[error("{noun} {id} is not at {expected} any more")]
    Conflict {
        /// The noun.
        noun: &'static str,
        /// Which one.
        id: String,
        /// State and generation that were expected.
        expected: String,
    },
    /// The table of states does not allow the move.
    #[error("{noun} {id} may not go from {from} to {to}")]
    IllegalMove {
        /// The noun.
        noun: &'static str,
        /// Which one.
        id: String,
        /// The state it is in.
        from: String,
        /// The state it was to go to.
        to: String,
    },
    /// The limit would be exceeded.
    #[error("the budget {scope} ({span}) has no room for {wanted}: limit {limit}")]
    OverBudget {
        /// Who asked.
        holder: String,
        /// The scope.
        scope: String,
        /// The window.
        span: String,
        /// What was asked for.
        wanted: u32,
        /// The limit.
        limit: u32,
    },
    /// Another task is at work on the asset.
    #[error("the lane `{lane}` of asset {asset} is taken by another task")]
    LaneBusy {
        /// The asset.
        asset: String,
        /// The lane.
        lane: &'static str,
    },
    /// An item was taken back since.
    #[error("{item} on {asset} was taken back since")]
    TakenBack {
        /// The asset.
        asset: String,
        /// The item.
        item: String,
    },
    /// A state would change and nothing would tell of it.
    #[error("a state of {noun} {id} would change without an entry in the ledger")]
    NoEntry {
        /// The noun.
        noun: &'static str,
        /// Which one.
        id: String,
    },
    /// The entry is not one the ledger takes.
    #[error("the ledger does not take the entry")]
    Entry(#[source] Arc<EntryError>),
    /// There is no such thing.
    #[error("there is no {noun} {id}")]
    Missing {
        /// The noun.
        noun: &'static str,
        /// Which one.
        id: String,
    },
    /// There is one already, and it is another.
    #[error("there is another {noun} {id} already")]
    Exists {
        /// The noun.
        noun: &'static str,
        /// Which one.
        id: String,
    },
    /// A one-time token that was used, has expired, or never was.
    #[error("the token is not valid any more")]
    Token,
    /// A sealer that lost its lease.
    #[error("the lease `{0}` is held by another")]
    Lease(String),
    /// A value has no JSON form, or a number does not fit.
    #[error("{noun} {id} cannot be stored: {detail}")]
    Encode {
        /// The noun.
        noun: &'static str,
        /// Which one.
        id: String,
        /// What does not fit.
        detail: String,
    },
    /// The database refused.
    #[error("the database refused to {operation}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// Why.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The connection was lost while the transition was made durable. It is there whole, or nothing of it is: load the
    /// state and see.
    #[error("the connection to the database was lost at the last moment: it may be written or not")]
    Unknown(#[source] Arc<sqlx::Error>),
    /// The database did not answer in time. Nothing was written.
    #[error("the database did not answer in time")]
    Late,
    /// The database is not the one this server has written to: what was committed is gone from it.
    #[error("the database was taken back: its ledger had {had} entries and has {has}")]
    RolledBack {
        /// Entries there were.
        had: u64,
        /// Entries there are.
        has: u64,
    },
    /// The ledger does not read.
    #[error("the ledger does not read: {0}")]
    Ledger(String),
    /// Nobody would be left who can give roles.
    #[error("the last administrator stays: nobody else could give this role again")]
    LastAdministrator,
    /// The store is shut.
    #[error("the store is shut")]
    Closed,
}

impl CommitError {
    pub(crate) fn database(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { operation, source: Arc::new(source) }
    }

    /// Whether loading again and deciding anew may help.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The database refused.
    #[error("the database refused to {operation}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value does not read: the file was changed from outside, or comes from another release.
    #[error("a stored {noun} does not read: {detail}")]
    Damaged {
        /// The noun.
        noun: &'static str,
        /// What does not read.
        detail: String,
    },
    /// An export could not be written, or the ledger does not agree with itself.
    #[error("the ledger cannot be exported")]
    Export(#[source] stanch_ledger::ExportError),
    /// No checkpoint covers an entry that says what retention took.
    #[error("no checkpoint covers entry {0} yet, which says what retention took: seal first")]
    Unsealed(u64),
    /// No proof can be made.
    #[error("there is no proof for that entry")]
    Proof(#[source] stanch_ledger::ProofError),
}

impl ReadError {
    pub(crate) fn database(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { operation, source }
    }

    pub(crate) fn damaged(noun: &'static str, detail: impl ToString) -> Self {
        Self::Damaged { noun, detail: detail.to_string() }
    }
}
