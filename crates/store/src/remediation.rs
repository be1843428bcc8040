//! Remediations: where each stands. A move is a compare-and-set on state and generation, and only along the arrows of
//! [`RemediationState::may_become`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_model::Digest;
use stanch_model::id::{AssetId, ItemId, RemediationId};
use stanch_model::remediation::RemediationState;

use crate::column::{Columns, all, json, micros, name, number};
use crate::db::{Builder, Conn, Query, Row, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// What to do when a step fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Take back what was done.
    #[default]
    Undo,
    /// Stop and leave it to a person.
    Stop,
}

/// A remediation that begins.
#[derive(Debug, Clone)]
pub struct NewRemediation {
    /// Its id.
    pub id: RemediationId,
    /// Where it begins.
    pub state: RemediationState,
    /// Who asked, or the rule that did.
    pub requested_by: String,
    /// What to do on failure.
    pub on_failure: OnFailure,
    /// The assets.
    pub assets: Vec<AssetId>,
    /// The items.
    pub items: Vec<ItemId>,
    /// Whatever else belongs to it.
    pub body: Value,
    /// When.
    pub at: Timestamp,
}

/// A move to another state. `None` leaves plan and body as they are; what it waits for is always said anew.
#[derive(Debug, Clone)]
pub struct MoveRemediation {
    /// Which one.
    pub id: RemediationId,
    /// The state it must be in.
    pub from: RemediationState,
    /// The generation it must have.
    pub generation: u64,
    /// The state it goes to.
    pub to: RemediationState,
    /// The plan it follows from now on.
    pub plan: Option<Digest>,
    /// What it waits for, in words.
    pub waiting: Option<String>,
    /// Whatever else belongs to it.
    pub body: Option<Value>,
    /// When.
    pub at: Timestamp,
}

/// A change that leaves the state as it is. The generation rises all the same.
#[derive(Debug, Clone)]
pub struct EditRemediation {
    /// Which one.
    pub id: RemediationId,
    /// The generation it must have.
    pub generation: u64,
    /// What it waits for, in words.
    pub waiting: Option<String>,
    /// Whatever else belongs to it.
    pub body: Option<Value>,
    /// When.
    pub at: Timestamp,
}

/// A remediation as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRemediation {
    /// Its id.
    pub id: RemediationId,
    /// Where it stands.
    pub state: RemediationState,
    /// Rises with every change.
    pub generation: u64,
    /// Who asked.
    pub requested_by: String,
    /// What to do on failure.
    pub on_failure: OnFailure,
    /// The assets.
    pub assets: Vec<AssetId>,
    /// The items.
    pub items: Vec<ItemId>,
    /// The plan's hash, once there is one.
    pub plan: Option<Digest>,
    /// What it waits for, in words.
    pub waiting: Option<String>,
    /// Whatever else belongs to it.
    pub body: Value,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Which remediations to list. What is absent does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemediationFilter {
    /// In one of these states, by their names; none of them means any.
    pub states: Vec<&'static str>,
    /// Over, or not over.
    pub over: Option<bool>,
    /// About this item.
    pub item: Option<ItemId>,
}

/// Rows read at once.
const PAGE: u32 = 1_000;

const NEW: &str = "INSERT INTO remediation (id, state, wave, is_over, generation, requested_by, on_failure, assets, \
     items, body, created_at, updated_at) VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $10, $10) \
     ON CONFLICT (id) DO NOTHING";
const ITEM: &str = "INSERT INTO remediation_item (item, remediation) VALUES ($1, $2) \
     ON CONFLICT (item, remediation) DO NOTHING";
const MOVE: &str = "UPDATE remediation SET state = $1, wave = $2, is_over = $3, generation = generation + 1, \
     plan = COALESCE($4, plan), waiting = $5, body = COALESCE($6, body), updated_at = $7 \
     WHERE id = $8 AND state = $9 AND wave = $10 AND generation = $11";
const EDIT: &str = "UPDATE remediation SET generation = generation + 1, waiting = $1, body = COALESCE($2, body), \
     updated_at = $3 WHERE id = $4 AND generation = $5";
const COLUMNS: &str = "SELECT id, state, wave, generation, requested_by, on_failure, assets, items, plan, waiting, \
     body, created_at, updated_at FROM remediation";

const fn wave(state: RemediationState) -> i64 {
    match state {
        RemediationState::Rolling(wave) | RemediationState::Verifying(wave) | RemediationState::Baking(wave) => {
            wave as i64
        }
        _ => -1,
    }
}

fn is_over(state: RemediationState) -> i64 {
    i64::from(state.is_over())
}

fn optional_json(id: &str, body: Option<&Value>) -> Result<Option<String>, CommitError> {
    body.map(|body| json("remediation", id, body)).transpose()
}

pub(crate) async fn new(conn: &mut Conn, new: &NewRemediation) -> Result<Effect, CommitError> {
    let id = new.id.as_str();
    let done = query(NEW)
        .bind(id)
        .bind(new.state.name())
        .bind(wave(new.state))
        .bind(is_over(new.state))
        .bind(&new.requested_by)
        .bind(name(&new.on_failure))
        .bind(json("remediation", id, &new.assets)?)
        .bind(json("remediation", id, &new.items)?)
        .bind(json("remediation", id, &new.body)?)
        .bind(micros(new.at))
        .execute(&mut *conn)
        .await
        .map_err(CommitError::database("begin a remediation"))?;
    if done == 0 {
        return Err(CommitError::Exists { noun: "remediation", id: id.to_owned() });
    }
    for item in &new.items {
        query(ITEM)
            .bind(item.as_str())
            .bind(id)
            .execute(&mut *conn)
            .await
            .map_err(CommitError::database("begin a remediation"))?;
    }
    Ok(Effect::Generation(1))
}

/// The statement that moves a remediation, if an arrow allows it.
pub(crate) fn moving(step: &MoveRemediation) -> Result<Query, CommitError> {
    let id = step.id.as_str();
    if !step.from.may_become(step.to) {
        let (from, to) = (step.from.to_string(), step.to.to_string());
        return Err(CommitError::IllegalMove { noun: "remediation", id: id.to_owned(), from, to });
    }
    let values = vec![
        step.to.name().into(),
        wave(step.to).into(),
        is_over(step.to).into(),
        step.plan.map(|plan| plan.to_string()).into(),
        step.waiting.clone().into(),
        optional_json(id, step.body.as_ref())?.into(),
        micros(step.at).into(),
        id.into(),
        step.from.name().into(),
        wave(step.from).into(),
        number("remediation", id, step.generation)?.into(),
    ];
    Ok(Query::with(MOVE, values))
}

pub(crate) async fn step(conn: &mut Conn, step: &MoveRemediation) -> Result<Effect, CommitError> {
    match moving(step)?.execute(conn).await.map_err(CommitError::database("move a remediation"))? {
        0 => {
            let expected = format!("{}, generation {}", step.from, step.generation);
            Err(CommitError::Conflict { noun: "remediation", id: step.id.to_string(), expected })
        }
        _ => Ok(Effect::Generation(step.generation + 1)),
    }
}

pub(crate) async fn edit(conn: &mut Conn, edit: &EditRemediation) -> Result<Effect, CommitError> {
    let id = edit.id.as_str();
    let done = query(EDIT)
        .bind(&edit.waiting)
        .bind(optional_json(id, edit.body.as_ref())?)
        .bind(micros(edit.at))
        .bind(id)
        .bind(number("remediation", id, edit.generation)?)
        .execute(conn)
        .await
        .map_err(CommitError::database("edit a remediation"))?;
    if done == 0 {
        let expected = format!("generation {}", edit.generation);
        return Err(CommitError::Conflict { noun: "remediation", id: id.to_owned(), expected });
    }
    Ok(Effect::Generation(edit.generation + 1))
}

fn read_state(columns: &Columns<'_>) -> Result<RemediationState, ReadError> {
    let wave = columns.integer("wave")?;
    let name = columns.text("state")?;
    let tagged = if wave < 0 {
        serde_json::json!({ "state": name })
    } else {
        serde_json::json!({ "state": name, "wave": wave })
    };
    serde_json::from_value(tagged).map_err(|error| ReadError::damaged("remediation", error))
}

fn read(row: &Row) -> Result<StoredRemediation, ReadError> {
    let columns = Columns::new("remediation", row);
    Ok(StoredRemediation {
        id: columns.parsed("id")?,
        state: read_state(&columns)?,
        generation: columns.count("generation")?,
        requested_by: columns.text("requested_by")?,
        on_failure: columns.named("on_failure")?,
        assets: columns.json("assets")?,
        items: columns.json("items")?,
        plan: columns.optional_parsed("plan")?,
        waiting: columns.optional_text("waiting")?,
        body: columns.json("body")?,
        created_at: columns.time("created_at")?,
        updated_at: columns.time("updated_at")?,
    })
}

impl Store {
    /// One remediation.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn remediation(&self, id: &RemediationId) -> Result<Option<StoredRemediation>, ReadError> {
        let mut query = Builder::new(COLUMNS);
        query.push(" WHERE id = ").push_bind(id.as_str());
        let row = query.build().fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read a remediation"))?.as_ref().map(read).transpose()
    }

    /// Remediations, newest first, before the one given.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn remediations(
        &self,
        filter: &RemediationFilter,
        before: Option<(Timestamp, &RemediationId)>,
        limit: u32,
    ) -> Result<Vec<StoredRemediation>, ReadError> {
        let mut query = Builder::new(COLUMNS);
        let (at, id) = before.map_or((i64::MAX, ""), |(at, id)| (micros(at), id.as_str()));
        query.push(" WHERE (created_at, id) < (").push_bind(at).push(", ").push_bind(id).push(")");
        if !filter.states.is_empty() {
            query.push(" AND state IN (");
            let mut list = query.separated(", ");
            for state in &filter.states {
                list.push_bind(*state);
            }
            query.push(")");
        }
        // Word for word as in the index that holds only such rows.
        match filter.over {
            Some(true) => drop(query.push(" AND is_over = 1")),
            Some(false) => drop(query.push(" AND is_over = 0")),
            None => {}
        }
        if let Some(item) = &filter.item {
            query.push(" AND id IN (SELECT remediation FROM remediation_item WHERE item = ");
            query.push_bind(item.as_str()).push(")");
        }
        query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list remediations"))?, read)
    }

    /// These remediations by the page, newest first, for those who must look at all of them.
    #[must_use]
    pub fn remediation_pages(&self, filter: RemediationFilter) -> RemediationPages<'_> {
        RemediationPages { store: self, filter, last: None, over: false }
    }

    /// All of these remediations at once, newest first, however many they are.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn all_remediations(&self, filter: &RemediationFilter) -> Result<Vec<StoredRemediation>, ReadError> {
        let mut all = Vec::new();
        let mut pages = self.remediation_pages(filter.clone());
        while let Some(page) = pages.next().await? {
            all.extend(page);
        }
        Ok(all)
    }
}

/// A walk over remediations, newest first. What is written on the way may or may not be seen; nothing is seen twice.
#[derive(Debug)]
pub struct RemediationPages<'s> {
    store: &'s Store,
    filter: RemediationFilter,
    last: Option<(Timestamp, RemediationId)>,
    over: bool,
}

impl RemediationPages<'_> {
    /// The next page; none at the end.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn next(&mut self) -> Result<Option<Vec<StoredRemediation>>, ReadError> {
        if self.over {
            return Ok(None);
        }
        let before = self.last.as_ref().map(|(at, id)| (*at, id));
        let page = self.store.remediations(&self.filter, before, PAGE).await?;
        self.over = page.len() < PAGE as usize;
        let Some(end) = page.last() else { return Ok(None) };
        self.last = Some((end.created_at, end.id.clone()));
        Ok(Some(page))
    }
}
