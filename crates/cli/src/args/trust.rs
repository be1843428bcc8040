//! What can be typed about keys.

use std::path::PathBuf;

use clap::Subcommand;

use crate::passphrase::Passphrase;

const DAYS: std::ops::RangeInclusive<i64> = 1..=397;

#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Show the root that executors pin, where it is, and until when this server may order
    Status,
    /// Make a root on a machine of its own, closed with a passphrase; its public half is what a server adopts
    NewRoot {
        /// The file that will hold it
        file: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Have a server that was never started pin a root that lies elsewhere
    Adopt {
        /// The root's public half: 64 hexadecimal digits
        root: String,
    },
    /// Move the root of this server to a file, closed with a passphrase, that is then carried away
    TakeOffline {
        /// The file that will hold it
        file: PathBuf,
        /// Days that this server may order until it has to ask again
        #[arg(long, default_value_t = 90, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(DAYS))]
        days: u16,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Ask the root, which lies elsewhere, to certify this server's next issuer; prints the question
    Request {
        /// Write it to a file instead
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Answer such a question, where the root is; prints the certificate
    Certify {
        /// What `stanch trust request` wrote; `-` reads it from the standard input
        request: PathBuf,
        /// The file that holds the root
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
        /// Days that the server may order until it has to ask again
        #[arg(long, default_value_t = 90, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(DAYS))]
        days: u16,
        /// Write it to a file instead
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Put the certificate in force; a running server takes it up by itself
    Install {
        /// What `stanch trust certify` wrote; `-` reads it from the standard input
        certificate: PathBuf,
    },
    /// Make a key with which a person vouches for plans, closed with a passphrase; hosts name its public half in their rules
    NewApprover {
        /// The file that will hold it
        file: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
    },
}
