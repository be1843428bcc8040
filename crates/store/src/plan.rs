//! Plans: immutable, found by their hash.

use jiff::Timestamp;
use stanch_model::Digest;
use stanch_model::plan::Plan;

use crate::column::{Columns, json, micros};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

const PUT: &str = "INSERT INTO plan (hash, body, at) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING";
const ONE: &str = "SELECT body FROM plan WHERE hash = $1";

pub(crate) async fn put(conn: &mut Conn, plan: &Plan, at: Timestamp) -> Result<Effect, CommitError> {
    let hash = plan.hash().map_err(|error| CommitError::Encode {
        noun: "plan",
        id: String::new(),
        detail: error.to_string(),
    })?;
    let hash = hash.to_string();
    let done = query(PUT)
        .bind(&hash)
        .bind(json("plan", &hash, plan)?)
        .bind(micros(at))
        .execute(conn)
        .await
        .map_err(CommitError::database("store a plan"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

impl Store {
    /// The plan with this hash.
    ///
    /// # Errors
    /// When the database refuses, or what is stored does not have that hash.
    pub async fn plan(&self, hash: &Digest) -> Result<Option<Plan>, ReadError> {
        let row = query(ONE).bind(hash.to_string()).fetch_optional(self.read()).await;
        let Some(row) = row.map_err(ReadError::database("read a plan"))? else { return Ok(None) };
        let plan: Plan = Columns::new("plan", &row).json("body")?;
        let found = plan.hash().map_err(|error| ReadError::damaged("plan", error))?;
        if found == *hash { Ok(Some(plan)) } else { Err(ReadError::damaged("plan", "it does not have its hash")) }
    }
}
