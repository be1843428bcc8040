//! Orders and receipts as JSON lines over the standard streams of a process.

use std::io::{BufRead, Write};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use stanch_model::order::{Batch, Hello, Progress, Receipt};
use stanch_model::sign::Signed;
use stanch_runner::{Link, LinkError};

/// What the executor writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outgoing {
    /// It polls.
    Hello(Box<Hello>),
    /// It answers.
    Receipt(Box<Signed<Receipt>>),
    /// It tells what is going on.
    Progress(Progress),
    /// It stands still at the point where the machine is to lose its power.
    Halted(u64),
    /// It ends; so often the journal was appended to.
    Appends(u64),
}

/// The link over the standard streams: each poll is answered by a line with a batch, and the end of the input closes it.
#[derive(Debug, Default)]
pub struct StdioLink {
    out: Mutex<()>,
}

impl StdioLink {
    /// Writes one line.
    pub fn say(&self, line: &Outgoing) {
        let _turn = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout().lock();
        // If nobody reads any more, the end of the input says so soon.
        if serde_json::to_writer(&mut out, line).is_ok() {
            let _ = writeln!(out);
            let _ = out.flush();
        }
    }
}

impl Link for StdioLink {
    fn poll(&self, hello: Hello) -> Result<Option<Batch>, LinkError> {
        self.say(&Outgoing::Hello(Box::new(hello)));
        let mut line = String::new();
        let unreachable = |message: String| LinkError::Unreachable { message };
        let count = std::io::stdin().lock().read_line(&mut line).map_err(|error| unreachable(error.to_string()))?;
        if count == 0 {
            return Err(LinkError::Closed);
        }
        serde_json::from_str(&line).map(Some).map_err(|error| unreachable(error.to_string()))
    }

    fn deliver(&self, receipt: &Signed<Receipt>) -> Result<(), LinkError> {
        self.say(&Outgoing::Receipt(Box::new(receipt.clone())));
        Ok(())
    }

    fn progress(&self, progress: Progress) {
        self.say(&Outgoing::Progress(progress));
    }
}
