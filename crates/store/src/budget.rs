//! Budgets: for every scope and window, what is reserved and what is used stay within the limit at every commit.
//! Reservation is in the transaction that dispatches.

use crate::column::Columns;
use crate::db::{Conn, Query, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// A share to take.
#[derive(Debug, Clone)]
pub struct Reserve {
    /// Who holds it: a task's id. One holder has one share of a budget.
    pub holder: String,
    /// What is limited: `remediation/rem-…/concurrent`, `asset/asset-…`.
    pub scope: String,
    /// The window it counts in: an hour, a day, or `always`.
    pub span: String,
    /// How much.
    pub amount: u32,
    /// What may be reserved and used together.
    pub limit: u32,
}

/// A share to give back or use up.
#[derive(Debug, Clone)]
pub struct Settle {
    /// Who holds it.
    pub holder: String,
    /// What is limited.
    pub scope: String,
    /// The window.
    pub span: String,
    /// Used up: it counts against the limit until the window is over. Otherwise there is room again.
    pub used: bool,
}

/// What is taken of a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Reserved for what runs or will run.
    pub reserved: u64,
    /// Used up.
    pub used: u64,
}

const HOLD: &str = "INSERT INTO reservation (holder, scope, span, amount) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (holder, scope, span) DO NOTHING";
const TAKE: &str = "INSERT INTO budget (scope, span, reserved, used) VALUES ($1, $2, $3, 0) \
     ON CONFLICT (scope, span) DO UPDATE SET reserved = budget.reserved + $3 \
     WHERE budget.reserved + budget.used + $3 <= $4";
const GIVE: &str = "UPDATE budget SET \
     reserved = reserved - (SELECT amount FROM reservation WHERE holder = $1 AND scope = $2 AND span = $3), \
     used = used + $4 * (SELECT amount FROM reservation WHERE holder = $1 AND scope = $2 AND span = $3) \
     WHERE scope = $2 AND span = $3 \
     AND EXISTS (SELECT 1 FROM reservation WHERE holder = $1 AND scope = $2 AND span = $3)";
const DROP: &str = "DELETE FROM reservation WHERE holder = $1 AND scope = $2 AND span = $3";
const ONE: &str = "SELECT reserved, used FROM budget WHERE scope = $1 AND span = $2";

/// The statements that take a share: one row says who holds it, one counts it if there is room.
pub(crate) fn reserving(ask: &Reserve) -> Result<[Query; 2], CommitError> {
    // The first row of a budget is inserted without meeting the condition on it.
    if ask.amount > ask.limit {
        return Err(over(ask));
    }
    let (holder, scope, span) = (ask.holder.as_str(), ask.scope.as_str(), ask.span.as_str());
    Ok([
        Query::with(HOLD, vec![holder.into(), scope.into(), span.into(), ask.amount.into()]),
        Query::with(TAKE, vec![scope.into(), span.into(), ask.amount.into(), ask.limit.into()]),
    ])
}

fn over(ask: &Reserve) -> CommitError {
    let (holder, scope, span) = (ask.holder.clone(), ask.scope.clone(), ask.span.clone());
    CommitError::OverBudget { holder, scope, span, wanted: ask.amount, limit: ask.limit }
}

pub(crate) async fn reserve(conn: &mut Conn, ask: &Reserve) -> Result<Effect, CommitError> {
    let [hold, take] = reserving(ask)?;
    if hold.execute(&mut *conn).await.map_err(CommitError::database("hold a share of a budget"))? == 0 {
        return Err(CommitError::Exists { noun: "reservation", id: ask.holder.clone() });
    }
    match take.execute(conn).await.map_err(CommitError::database("take a share of a budget"))? {
        0 => Err(over(ask)),
        _ => Ok(Effect::Done),
    }
}

/// The statements that give a share back or use it up.
pub(crate) fn settling(share: &Settle) -> [Query; 2] {
    let (holder, scope, span) = (share.holder.as_str(), share.scope.as_str(), share.span.as_str());
    let used = i64::from(share.used);
    [
        Query::with(GIVE, vec![holder.into(), scope.into(), span.into(), used.into()]),
        Query::with(DROP, vec![holder.into(), scope.into(), span.into()]),
    ]
}

pub(crate) async fn settle(conn: &mut Conn, share: &Settle) -> Result<Effect, CommitError> {
    for statement in settling(share) {
        if statement.execute(&mut *conn).await.map_err(CommitError::database("settle a share of a budget"))? == 0 {
            return Err(CommitError::Missing { noun: "reservation", id: share.holder.clone() });
        }
    }
    Ok(Effect::Done)
}

impl Store {
    /// What is taken of a budget.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn budget(&self, scope: &str, span: &str) -> Result<Taken, ReadError> {
        let row = query(ONE).bind(scope).bind(span).fetch_optional(self.read()).await;
        let Some(row) = row.map_err(ReadError::database("read a budget"))? else { return Ok(Taken::default()) };
        let columns = Columns::new("budget", &row);
        Ok(Taken { reserved: columns.count("reserved")?, used: columns.count("used")? })
    }
}
