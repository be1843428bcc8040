//! How long what is old is kept.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Periods are set where the server starts: stanch server --keep findings=365d --keep ledger=1825d"
)]
pub(crate) struct Retention {
    #[command(subcommand)]
    pub(crate) what: Option<Records>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Records {
    /// What there is, for how long it is kept, and when the oldest goes
    Show,
    /// What would go if it were taken away now
    Preview,
    /// Take nothing of a remediation or an asset away until it is lifted
    Hold {
        /// A remediation, or an asset by its id or name
        name: String,
        /// Why: kept in the record
        #[arg(long)]
        reason: String,
    },
    /// Let it go again
    Lift {
        /// The remediation, or the asset by its id or name
        name: String,
    },
}
