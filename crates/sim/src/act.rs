//! One thing that happens. A schedule is a list of them, so that it can be played again, cut and told.

/// One thing that happens. Numbers that name nothing any more make it do nothing, so that any part of a schedule is a
/// schedule; what is counted is counted from the nearest fixed thing, so that cutting one act disturbs few others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Time passes, in milliseconds.
    Pass(u32),
    /// A server loads a remediation, decides and commits. `turn` says what it looks at first.
    Serve { server: u32, row: u32, turn: u8 },
    /// The same without the commit.
    Load { server: u32, row: u32, turn: u8 },
    /// The commit of what was loaded, whatever happened in between.
    Commit { server: u32 },
    /// A server handles a receipt.
    Handle { server: u32, nth: u32 },
    /// A server dies and starts again: what was loaded is gone.
    ServerDies { server: u32 },
    /// A server's clock is set, to so many milliseconds ahead.
    Clock { server: u32, skew: i32 },
    /// The ledger takes no entries, or takes them again.
    Ledger { stuck: bool },
    /// An executor asks for orders.
    Poll { host: u32 },
    /// Mail of an executor reaches a server. If that is `slow`, orders are written down as handed out and do not leave
    /// yet.
    Up { host: u32, nth: u32, server: u32, slow: bool },
    /// Orders that a server has written down leave it, whatever happened in between.
    Leave { server: u32 },
    /// An answer reaches its executor.
    Down { host: u32, nth: u32 },
    /// Mail is lost.
    Lost { host: u32, nth: u32, up: bool },
    /// Mail comes twice.
    Twice { host: u32, nth: u32, up: bool },
    /// An executor makes its next move.
    Work { host: u32 },
    /// An executor is killed and starts again; `reboot` makes its machine start again too.
    Dies { host: u32, reboot: bool },
    /// An executor's folder is lost.
    Forgets { host: u32 },
    /// The way to an executor is cut, or open again.
    Cut { host: u32, cut: bool },
    /// What becomes of acts there.
    Fate { host: u32, fate: u8 },
    /// A remediation is planned; everything about it from this number.
    Plan { draw: u64 },
    /// A person approves a hash: the plan's, or another.
    Approve { row: u32, right: bool },
    /// A person says no.
    Reject { row: u32 },
    /// A newer plan takes its place.
    Supersede { row: u32 },
    /// A person holds everything.
    Hold { all: bool },
    /// A person ends the hold.
    Release,
    /// A person has items of a task taken back; no item at all for 0.
    Undo { row: u32, task: u32, items: u8 },
    /// A person asks to start nothing more.
    Cancel { row: u32 },
    /// A person has dealt with it.
    Dismiss { row: u32 },
    /// A person vouches for a frozen executor.
    Trust { host: u32 },
    /// A person lifts the suppressions of a host.
    Lift { host: u32 },
}
