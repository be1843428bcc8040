//! Shares of budgets: what a task takes while it runs. The store takes them in the transaction that dispatches, so that
//! no number of servers can exceed a limit together.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::plan::Disruption;

use super::{Rollout, Task};
use crate::breaker::Admission;

/// The span of what counts as long as it runs.
pub const ALWAYS: &str = "always";

/// A share of a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// What is limited: `policy/NAME/started`, `environment/NAME/disrupted`.
    pub scope: String,
    /// The time it counts in: [`ALWAYS`], or one clock hour.
    pub span: String,
    /// How much.
    pub amount: u32,
    /// What may be taken together.
    pub limit: u32,
}

/// What becomes of a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// What is limited.
    pub scope: String,
    /// The time it counts in.
    pub span: String,
    /// Used up: it counts until its span is over.
    pub used: bool,
}

/// The clock hour of a time, as the span of a budget. Hours are those of UTC.
pub fn hour(at: Timestamp) -> String {
    let start = at.as_second().div_euclid(3600).saturating_mul(3600);
    Timestamp::from_second(start).map_or_else(|_| start.to_string(), |start| format!("hour/{start}"))
}

impl Share {
    fn one(scope: String, limit: u32) -> Self {
        Self { scope, span: ALWAYS.to_owned(), amount: 1, limit }
    }

    /// Whether it counts for longer than the task runs.
    pub fn lasts(&self) -> bool {
        self.span != ALWAYS
    }
}

impl Rollout {
    /// What a task takes while it runs. No budget stops an undo, but its share counts for everybody else.
    pub(super) fn shares(&self, task: &Task, undo: bool, now: Timestamp) -> Vec<Share> {
        let limits = &self.terms.limits;
        let around = &self.surroundings;
        let mut shares = vec![Share::one(format!("remediation/{}/concurrent", self.remediation), limits.concurrent)];
        shares.extend(
            self.policies.iter().map(|name| Share::one(format!("policy/{name}/concurrent"), limits.concurrent)),
        );
        if task.disruption > Disruption::None {
            let limit = around.environment(task).map_or(1, |place| place.may_be_disrupted(limits.disrupted_percent));
            shares.push(Share::one(format!("environment/{}/disrupted", task.place()), limit));
        }
        for (name, group) in &around.groups {
            if let Some(spare) = self.spare(name, group, task) {
                shares.push(Share::one(format!("group/{name}/down"), spare));
            }
        }
        if undo {
            shares.iter_mut().for_each(|share| share.limit = u32::MAX);
            return shares;
        }
        let started = |scope: String| Share { span: hour(now), ..Share::one(scope, limits.per_hour) };
        shares.extend(self.policies.iter().map(|name| started(format!("policy/{name}/started"))));
        if self.policies.is_empty() {
            // What people ask for counts together.
            shares.push(started("requests/started".to_owned()));
        }
        for scope in self.breakers(task) {
            if let Some(Admission::Trial { span, limit }) = around.breakers.get(&scope) {
                shares.push(Share { span: span.clone(), ..Share::one(scope, *limit) });
            }
        }
        shares
    }
}
