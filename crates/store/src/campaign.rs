//! Campaigns: what a policy did between two times is taken back, one step after the other. How far one has come is a
//! document of whoever moves it; a change is a compare-and-set on the generation.

use jiff::Timestamp;
use serde_json::Value;
use stanch_model::id::CampaignId;

use crate::column::{Columns, all, json, micros, number};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// A campaign's next state.
#[derive(Debug, Clone)]
pub struct PutCampaign {
    /// Which.
    pub id: CampaignId,
    /// The generation it must have; 0 for one that begins.
    pub generation: u64,
    /// Nothing of it is left to do.
    pub over: bool,
    /// How far it has come.
    pub body: Value,
    /// When.
    pub at: Timestamp,
}

/// A campaign as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCampaign {
    /// Which.
    pub id: CampaignId,
    /// Rises with every change.
    pub generation: u64,
    /// Nothing of it is left to do.
    pub over: bool,
    /// How far it has come.
    pub body: Value,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

const NEW: &str = "INSERT INTO campaign (id, generation, is_over, body, created_at, updated_at) \
     VALUES ($1, 1, $2, $3, $4, $4) ON CONFLICT DO NOTHING";
const PUT: &str = "UPDATE campaign SET generation = generation + 1, is_over = $2, body = $3, updated_at = $4 \
     WHERE id = $1 AND generation = $5";
const ONE: &str = "SELECT id, generation, is_over, body, created_at, updated_at FROM campaign WHERE id = $1";
const LIVE: &str =
    "SELECT id, generation, is_over, body, created_at, updated_at FROM campaign WHERE is_over = 0 ORDER BY id";
const LIST: &str = "SELECT id, generation, is_over, body, created_at, updated_at FROM campaign \
     ORDER BY created_at DESC, id LIMIT $1";

pub(crate) async fn put(conn: &mut Conn, put: &PutCampaign) -> Result<Effect, CommitError> {
    let id = put.id.as_str();
    let query = query(if put.generation == 0 { NEW } else { PUT });
    let query = query.bind(id).bind(put.over).bind(json("campaign", id, &put.body)?).bind(micros(put.at));
    let query = match put.generation {
        0 => query,
        generation => query.bind(number("campaign", id, generation)?),
    };
    match query.execute(conn).await.map_err(CommitError::database("move a campaign"))? {
        0 => {
            let expected = format!("generation {}", put.generation);
            Err(CommitError::Conflict { noun: "campaign", id: id.to_owned(), expected })
        }
        _ => Ok(Effect::Generation(put.generation.saturating_add(1))),
    }
}

fn read(row: &Row) -> Result<StoredCampaign, ReadError> {
    let columns = Columns::new("campaign", row);
    Ok(StoredCampaign {
        id: columns.parsed("id")?,
        generation: columns.count("generation")?,
        over: columns.integer("is_over")? != 0,
        body: columns.json("body")?,
        created_at: columns.time("created_at")?,
        updated_at: columns.time("updated_at")?,
    })
}

impl Store {
    /// One campaign.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn campaign(&self, id: &CampaignId) -> Result<Option<StoredCampaign>, ReadError> {
        let row = query(ONE).bind(id.as_str()).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read a campaign"))?.as_ref().map(read).transpose()
    }

    /// Campaigns of which something is left to do.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn live_campaigns(&self) -> Result<Vec<StoredCampaign>, ReadError> {
        let rows = query(LIVE).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list campaigns"))?, read)
    }

    /// Campaigns, the newest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn campaigns(&self, limit: u32) -> Result<Vec<StoredCampaign>, ReadError> {
        let rows = query(LIST).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list campaigns"))?, read)
    }
}
