//! Defects that tests can plant, to show that the simulator's checks catch them. Outside tests there are none.

/// A rule of the machine that a test may switch off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
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
    /// Inconclusive never promotes.
    PromoteInconclusive,
    /// A cap on sending again.
    EndlessResend,
    /// Only facts newer than the act count.
    TakeOldFacts,
    /// What was changed before a failure is taken back.
    ForgetUndo,
    /// Every wait has a reason.
    HideReasons,
    /// Windows and freezes gate each start.
    IgnoreWindow,
    /// Another environment comes first.
    IgnorePromotion,
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
}

/// Whether a test planted this defect.
#[cfg(not(test))]
pub(super) const fn planted(_: Defect) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Defect>> = const { std::cell::Cell::new(None) };
}

/// Whether a test planted this defect.
#[cfg(test)]
pub(super) fn planted(defect: Defect) -> bool {
    PLANTED.get() == Some(defect)
}

/// Runs something with a defect planted in this thread.
#[cfg(test)]
pub(super) fn with<T>(defect: Option<Defect>, run: impl FnOnce() -> T) -> T {
    PLANTED.set(defect);
    let result = run();
    PLANTED.set(None);
    result
}
