//! Approvals: a person's word on a plan's hash.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::Digest;
use stanch_model::sign::Signed;
use stanch_model::trust::PlanApproval;

use crate::column::{Columns, all, json, micros, name, optional_micros};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// What somebody said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalVerdict {
    /// May start.
    Approved,
    /// May not.
    Rejected,
}

/// One person's word. A later one of the same person replaces it; the ledger keeps both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The plan's hash.
    pub plan: Digest,
    /// Who.
    pub actor: String,
    /// What.
    pub verdict: ApprovalVerdict,
    /// Why, if they said.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// It bounds the first start until then.
    pub expires_at: Option<Timestamp>,
    /// The same signed with a key of their own, for executors that ask for it.
    pub signed: Option<Signed<PlanApproval>>,
}

impl Approval {
    /// Whether it is a yes whose time is not over.
    pub fn counts(&self, now: Timestamp) -> bool {
        self.verdict == ApprovalVerdict::Approved && self.expires_at.is_none_or(|until| now <= until)
    }
}

const PUT: &str = "INSERT INTO approval (plan, actor, verdict, reason, at, expires_at, signed) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (plan, actor) DO UPDATE \
     SET verdict = $3, reason = $4, at = $5, expires_at = $6, signed = $7";
const OF_PLAN: &str =
    "SELECT actor, verdict, reason, at, expires_at, signed FROM approval WHERE plan = $1 ORDER BY at, actor";

pub(crate) async fn put(conn: &mut Conn, approval: &Approval) -> Result<Effect, CommitError> {
    query(PUT)
        .bind(approval.plan.to_string())
        .bind(&approval.actor)
        .bind(name(&approval.verdict))
        .bind(&approval.reason)
        .bind(micros(approval.at))
        .bind(optional_micros(approval.expires_at))
        .bind(approval.signed.as_ref().map(|signed| json("approval", &approval.actor, signed)).transpose()?)
        .execute(conn)
        .await
        .map_err(CommitError::database("store an approval"))?;
    Ok(Effect::Done)
}

impl Store {
    /// What was said of a plan, oldest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn approvals(&self, plan: &Digest) -> Result<Vec<Approval>, ReadError> {
        let rows = query(OF_PLAN).bind(plan.to_string()).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list approvals"))?, |row| {
            let columns = Columns::new("approval", row);
            Ok(Approval {
                plan: *plan,
                actor: columns.text("actor")?,
                verdict: columns.named("verdict")?,
                reason: columns.text("reason")?,
                at: columns.time("at")?,
                expires_at: columns.optional_time("expires_at")?,
                signed: columns.optional_json("signed")?,
            })
        })
    }
}
