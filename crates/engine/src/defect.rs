//! Defects that can be planted, to show that the checks of tests and of the simulator catch them.
//!
//! They are there in the engine's own tests, and in builds with `--cfg stanch_defects`, which `cargo xtask sim` makes in a
//! folder of its own. In every other build [`planted`] is the constant `false` and nothing can be planted; the program `stanch`
//! refuses to be compiled with the setting.

#![allow(unreachable_pub, reason = "public in the simulator's build alone")]

/// A rule that a test may switch off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// The limit on concurrent changes.
    IgnoreLimit,
    /// A lost answer is never simply sent again.
    ResendUnknown,
    /// Only the newest order's receipt counts.
    TakeStaleReceipts,
    /// A hold stops dispatching.
    IgnoreHold,
    /// Only the approved hash runs.
    AcceptAnyHash,
    /// An undo of nothing takes nothing back.
    EmptyIsAll,
    /// Inconclusive never promotes.
    PromoteInconclusive,
    /// A wave is watched before the next begins.
    SkipBake,
    /// A cap on sending again.
    EndlessResend,
    /// Attempts have a pause between them and a cap.
    SkipCooldown,
    /// What was taken back is suppressed.
    ForgetSuppression,
    /// What was taken back since is not begun.
    IgnoreSuppression,
    /// Only facts newer than the act count.
    TakeOldFacts,
    /// The intent is recorded before the order.
    SkipIntent,
    /// What was changed before a failure is taken back.
    ForgetUndo,
    /// Every wait has a reason.
    HideReasons,
    /// Windows and freezes gate each start.
    IgnoreWindow,
    /// Only what was away in a window starts outside of one, for so long after it shut, and never in a freeze.
    IgnoreReturn,
    /// Only what was not connected in a window has missed it.
    MissWhileHere,
    /// What is brought has been offered for as long as the policies want.
    IgnoreAge,
    /// Another environment comes first.
    IgnorePromotion,
    /// Another system agrees first where a change request asks for it.
    IgnoreChange,
    /// Groups keep their healthy members, and change stops when too many are ill.
    IgnoreHealth,
    /// One failure budget over the whole rollout.
    IgnoreFailures,
    /// A target that is set aside is taken back.
    ForgetAside,
    /// Later waves bring what the first one proved.
    IgnorePins,
    /// A void approval starts nothing.
    IgnoreExpiry,
    /// A start counts in the hour in which it starts.
    IgnoreHour,
    /// Every share is given back.
    KeepShares,
    /// The same targets give the same plan, in whatever order they come.
    PlanAsItComes,
    /// Stanch's own hosts come last.
    OwnFirst,
}

/// Whether this defect is planted.
#[cfg(not(any(test, stanch_defects)))]
pub const fn planted(_: Defect) -> bool {
    false
}

/// A text that stands in every program in which defects can be planted, and in no other.
#[cfg(any(test, stanch_defects))]
pub const MARKER: &str = "stanch-defects-can-be-planted";

#[cfg(any(test, stanch_defects))]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Defect>> = const { std::cell::Cell::new(None) };
}

/// Whether this defect is planted in this thread.
#[cfg(any(test, stanch_defects))]
pub fn planted(defect: Defect) -> bool {
    std::hint::black_box(MARKER);
    PLANTED.get() == Some(defect)
}

/// Runs something with a defect planted in this thread.
#[cfg(any(test, stanch_defects))]
pub fn with<T>(defect: Option<Defect>, run: impl FnOnce() -> T) -> T {
    PLANTED.set(defect);
    let result = run();
    PLANTED.set(None);
    result
}
