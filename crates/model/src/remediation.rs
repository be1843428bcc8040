//! The states of remediations and tasks, and which may follow which. Nothing but this table allows a transition.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a remediation stands. Waves count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "state", content = "wave", rename_all = "snake_case")]
pub enum RemediationState {
    /// Asked for or decided; nothing planned yet.
    Decided,
    /// The mode was alert: shown, nothing prepared.
    Observed,
    /// Prepared for a person to start.
    Suggested,
    /// The plan is made.
    Planned,
    /// Waits for approvals.
    AwaitingApproval,
    /// May start.
    Approved,
    /// Waits for window, budget or prerequisite.
    Scheduled,
    /// A wave's tasks run.
    Rolling(u32),
    /// A wave's tasks are done and are being checked.
    Verifying(u32),
    /// A verified wave is being watched.
    Baking(u32),
    /// All waves are verified and baked.
    Verified,
    /// Done automatically; its owner is asked.
    AwaitingConfirmation,
    /// Stopped for a while; resumes where it was.
    Paused,
    /// Stopped by a failure.
    Halted,
    /// Being taken back.
    RollingBack,
    /// Taken back.
    RolledBack,
    /// Taking back failed.
    RollbackFailed,
    /// Only a person leads on.
    NeedsOperator,
    /// Some targets are left over.
    PartiallyRemediated,
    /// Over, problem gone.
    Closed,
    /// Over, problem still there.
    ClosedNotRemediated,
    /// The problem went away without us.
    ResolvedElsewhere,
    /// A person said no.
    Dismissed,
    /// Approvers said no.
    Rejected,
    /// Nobody answered, or it was too late to start.
    Expired,
    /// A newer plan took its place.
    Superseded,
    /// Stopped for good by a person.
    Cancelled,
    /// Accepted as a risk.
    Excepted,
}

impl RemediationState {
    /// The name users and the store see, without the wave.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decided => "decided",
            Self::Observed => "observed",
            Self::Suggested => "suggested",
            Self::Planned => "planned",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Approved => "approved",
            Self::Scheduled => "scheduled",
            Self::Rolling(_) => "rolling",
            Self::Verifying(_) => "verifying",
            Self::Baking(_) => "baking",
            Self::Verified => "verified",
            Self::AwaitingConfirmation => "awaiting_confirmation",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
            Self::NeedsOperator => "needs_operator",
            Self::PartiallyRemediated => "partially_remediated",
            Self::Closed => "closed",
            Self::ClosedNotRemediated => "closed_not_remediated",
            Self::ResolvedElsewhere => "resolved_elsewhere",
            Self::Dismissed => "dismissed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Excepted => "excepted",
        }
    }

    /// Whether nothing more will happen by itself.
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            Self::Closed
                | Self::Observed
                | Self::ClosedNotRemediated
                | Self::RolledBack
                | Self::ResolvedElsewhere
                | Self::Dismissed
                | Self::Rejected
                | Self::Expired
                | Self::Superseded
                | Self::Cancelled
        )
    }

    /// Whether `next` may follow.
    pub const fn may_become(self, next: Self) -> bool {
        use RemediationState as S;
        match (self, next) {
            (
                S::Decided,
                S::Observed | S::Suggested | S::Planned | S::Excepted | S::NeedsOperator | S::ResolvedElsewhere,
            )
            | (S::Excepted, S::Decided)
            | (S::Suggested, S::Planned | S::Dismissed | S::Expired | S::ResolvedElsewhere)
            | (
                S::Planned,
                S::AwaitingApproval | S::Approved | S::Superseded | S::Dismissed | S::Expired | S::ResolvedElsewhere,
            )
            | (
                S::AwaitingApproval,
                S::Approved | S::Rejected | S::Expired | S::Superseded | S::Dismissed | S::ResolvedElsewhere,
            )
            | (S::Approved, S::Scheduled | S::Expired | S::Cancelled | S::Superseded)
            | (S::Scheduled, S::Expired | S::Cancelled | S::Superseded | S::Paused)
            | (S::Verified, S::AwaitingConfirmation | S::Closed | S::PartiallyRemediated)
            | (S::AwaitingConfirmation, S::PartiallyRemediated)
            | (S::AwaitingConfirmation | S::PartiallyRemediated, S::Closed)
            | (
                // A person may take back what is done.
                S::Verified | S::AwaitingConfirmation | S::Closed | S::PartiallyRemediated | S::NeedsOperator,
                S::RollingBack,
            )
            | (S::Paused, S::Cancelled | S::Superseded | S::Halted | S::Scheduled)
            | (S::Halted, S::RollingBack | S::NeedsOperator)
            | (S::RollingBack, S::RolledBack | S::RollbackFailed | S::PartiallyRemediated | S::NeedsOperator)
            | (S::RollbackFailed, S::NeedsOperator)
            | (S::RolledBack, S::ClosedNotRemediated | S::NeedsOperator)
            | (S::NeedsOperator, S::Planned | S::Dismissed | S::Closed | S::ClosedNotRemediated)
            | (S::PartiallyRemediated, S::Planned | S::NeedsOperator)
            | (S::Rolling(_) | S::Verifying(_) | S::Baking(_), S::Paused | S::Halted)
            | (S::Paused, S::Rolling(_) | S::Verifying(_) | S::Baking(_)) => true,
            (S::Scheduled, S::Rolling(wave)) => wave == 0,
            // The approval ran out before anything began.
            (S::Rolling(0), S::Expired) => true,
            (S::Rolling(from), S::Verifying(to)) | (S::Verifying(from), S::Baking(to)) => from == to,
            // A wave follows only a baked wave; the last one ends it.
            (S::Baking(from), S::Rolling(to)) => to == from + 1,
            (S::Baking(_), S::Verified) => true,
            _ => false,
        }
    }
}

impl fmt::Display for RemediationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rolling(wave) | Self::Verifying(wave) | Self::Baking(wave) => {
                write!(f, "{} (wave {})", self.name(), wave + 1)
            }
            _ => f.write_str(self.name()),
        }
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Made; nothing reserved.
    Pending,
    /// Its share of the budgets is reserved.
    Reserved,
    /// The intent is in the ledger.
    Granted,
    /// The order lies ready for its executor.
    Dispatched,
    /// The executor has it in its journal.
    Accepted,
    /// It runs.
    Running,
    /// The executor says it is done.
    Succeeded,
    /// The executor says it failed.
    Failed,
    /// It began, and only undo or a person leads on.
    Interrupted,
    /// No word in time.
    Unknown,
    /// The executor's journal is being asked.
    Reconciling,
    /// The journal is gone.
    Lost,
    /// The journal says it never began: the only state from which it is sent again.
    NotStarted,
    /// The detector agrees that the problem is gone.
    Verified,
    /// The detector still sees it.
    VerifyFailed,
    /// Being taken back.
    Undoing,
    /// Taken back.
    Undone,
    /// Taking back failed.
    UndoFailed,
    /// Already compliant, or the target is gone.
    Skipped,
    /// The target cannot be reached now.
    Deferred,
    /// The executor's own rules forbid it.
    Refused,
    /// Stopped before it began.
    Cancelled,
}

impl TaskState {
    /// The name users and the store see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Reserved => "reserved",
            Self::Granted => "granted",
            Self::Dispatched => "dispatched",
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Unknown => "unknown",
            Self::Reconciling => "reconciling",
            Self::Lost => "lost",
            Self::NotStarted => "not_started",
            Self::Verified => "verified",
            Self::VerifyFailed => "verify_failed",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo_failed",
            Self::Skipped => "skipped",
            Self::Deferred => "deferred",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether an executor may be working on it, so that its lane is taken.
    pub const fn holds_lane(self) -> bool {
        matches!(
            self,
            Self::Reserved
                | Self::Granted
                | Self::Dispatched
                | Self::Accepted
                | Self::Running
                | Self::Unknown
                | Self::Reconciling
                | Self::Undoing
        )
    }

    /// Whether `next` may follow.
    pub const fn may_become(self, next: Self) -> bool {
        use TaskState as S;
        matches!(
            (self, next),
            (S::Pending, S::Reserved | S::Skipped | S::Deferred | S::Cancelled)
                | (S::Deferred, S::Pending | S::Cancelled)
                // What may not start after all gives its shares back.
                | (S::Reserved, S::Granted | S::Pending | S::Cancelled)
                | (S::Granted, S::Dispatched | S::Pending | S::Cancelled)
                | (
                    S::Dispatched,
                    S::Accepted
                        | S::Running
                        | S::Succeeded
                        | S::Failed
                        | S::Interrupted
                        | S::Refused
                        | S::Unknown
                        | S::Skipped
                )
                | (
                    S::Accepted,
                    S::Running | S::Succeeded | S::Failed | S::Interrupted | S::Refused | S::Unknown | S::Skipped
                )
                | (S::Running, S::Succeeded | S::Failed | S::Interrupted | S::Unknown)
                | (S::Unknown, S::Reconciling)
                | (
                    S::Reconciling,
                    S::Running | S::Succeeded | S::Failed | S::Interrupted | S::NotStarted | S::Lost | S::Refused
                )
                | (S::NotStarted, S::Pending | S::Cancelled)
                | (S::Succeeded, S::Verified | S::VerifyFailed)
                | (
                    S::Succeeded | S::Verified | S::VerifyFailed | S::Failed | S::Interrupted | S::UndoFailed,
                    S::Undoing
                )
                | (S::Undoing, S::Undone | S::UndoFailed | S::Verified)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::RemediationState as S;

    #[test]
    fn a_wave_starts_only_after_the_one_before_has_baked() {
        assert!(S::Baking(0).may_become(S::Rolling(1)));
        assert!(!S::Verifying(0).may_become(S::Rolling(1)));
        assert!(!S::Baking(0).may_become(S::Rolling(2)));
        assert!(!S::Scheduled.may_become(S::Rolling(1)));
    }

    #[test]
    fn nothing_rolls_without_being_approved() {
        for state in [S::Decided, S::Observed, S::Suggested, S::Planned, S::AwaitingApproval] {
            assert!(!state.may_become(S::Rolling(0)) && !state.may_become(S::Scheduled), "{state}");
        }
    }
}
