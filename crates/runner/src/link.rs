//! The way to the server, whichever it is: a call in the same process, or a request over the network.

use stanch_model::order::{Batch, Hello, Progress, Receipt};
use stanch_model::sign::Signed;

/// The link to the server. Calls block and come from several threads.
pub trait Link: Send + Sync {
    /// Asks for orders. May park while there are none, at most about 30 seconds; then the batch is `None` or empty.
    ///
    /// # Errors
    /// When the server cannot be reached, or the link is closed for good.
    fn poll(&self, hello: Hello) -> Result<Option<Batch>, LinkError>;

    /// Hands over a receipt. When this returns, the server has it durably. Repeated until it succeeds, also after a
    /// restart, so the server must take the same receipt twice without harm.
    ///
    /// # Errors
    /// As [`Link::poll`].
    fn deliver(&self, receipt: &Signed<Receipt>) -> Result<(), LinkError>;

    /// Tells those who watch. May be lost.
    fn progress(&self, progress: Progress);
}

/// Why the server did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The link is over: the server is gone for good or the program ends. What was accepted is finished, nothing new
    /// is asked for.
    #[error("the link to the server is closed")]
    Closed,
    /// It may work later.
    #[error("the server cannot be reached: {message}")]
    Unreachable {
        /// What went wrong, with its causes.
        message: String,
    },
}
