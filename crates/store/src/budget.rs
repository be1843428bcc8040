//! Budgets: for every scope and window, what is reserved and what is used stay within the limit at every commit.
//! Reservation is in the transaction that dispatches.

use crate::column::{Columns, Conn};
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
const DROP: &str = "DELETE FROM reservation WHERE holder = $1 AND scope = $2 AND span = $3 RETURNING amount";
const GIVE: &str = "UPDATE budget SET reserved = reserved - $1, used = used + $2 WHERE scope = $3 AND span = $4";
const ONE: &str = "SELECT reserved, used FROM budget WHERE scope = $1 AND span = $2";

pub(crate) async fn reserve(conn: &mut Conn, ask: &Reserve) -> Result<Effect, CommitError> {
    let over = || CommitError::OverBudget {
        scope: ask.scope.clone(),
        span: ask.span.clone(),
        wanted: ask.amount,
        limit: ask.limit,
    };
    // The first row of a budget is inserted without meeting the condition on it.
    if ask.amount > ask.limit {
        return Err(over());
    }
    let held = sqlx::query(HOLD)
        .bind(&ask.holder)
        .bind(&ask.scope)
        .bind(&ask.span)
        .bind(ask.amount)
        .execute(&mut *conn)
        .await
        .map_err(CommitError::database("hold a share of a budget"))?;
    if held.rows_affected() == 0 {
        return Err(CommitError::Exists { noun: "reservation", id: ask.holder.clone() });
    }
    let taken = sqlx::query(TAKE)
        .bind(&ask.scope)
        .bind(&ask.span)
        .bind(ask.amount)
        .bind(ask.limit)
        .execute(conn)
        .await
        .map_err(CommitError::database("take a share of a budget"))?;
    if taken.rows_affected() == 0 { Err(over()) } else { Ok(Effect::Done) }
}

pub(crate) async fn settle(conn: &mut Conn, share: &Settle) -> Result<Effect, CommitError> {
    let dropped = sqlx::query(DROP)
        .bind(&share.holder)
        .bind(&share.scope)
        .bind(&share.span)
        .fetch_optional(&mut *conn)
        .await
        .map_err(CommitError::database("settle a share of a budget"))?;
    let missing = || CommitError::Missing { noun: "reservation", id: share.holder.clone() };
    let amount = Columns::new("reservation", &dropped.ok_or_else(missing)?).integer("amount").map_err(|_| missing())?;
    sqlx::query(GIVE)
        .bind(amount)
        .bind(if share.used { amount } else { 0 })
        .bind(&share.scope)
        .bind(&share.span)
        .execute(conn)
        .await
        .map_err(CommitError::database("settle a share of a budget"))?;
    Ok(Effect::Done)
}

impl Store {
    /// What is taken of a budget.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn budget(&self, scope: &str, span: &str) -> Result<Taken, ReadError> {
        let row = sqlx::query(ONE).bind(scope).bind(span).fetch_optional(self.read()).await;
        let Some(row) = row.map_err(ReadError::database("read a budget"))? else { return Ok(Taken::default()) };
        let columns = Columns::new("budget", &row);
        Ok(Taken { reserved: columns.count("reserved")?, used: columns.count("used")? })
    }
}
