//! What is taken away once it is old, noun by noun. What goes is looked up without holding others up, and looked at again in
//! the transition that takes it: a few rows at a time, and all of them or none. What is at work, what an undo rests on,
//! and what is held stays, however old it is; of the ledger nothing goes but payloads ([`stanch_ledger::removal`]).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_ledger::{Entry, NewEntry, Removal};
use stanch_model::canonical::CanonicalError;

use crate::column::{Columns, all, json, micros, number};
use crate::db::{Conn, Query, Row, Value, query};
use crate::entry::read_entry;
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::{Effect, Transition, Write};

/// What the ledger names as the subject of every removal.
pub const SUBJECT: &str = "retention";

/// What is kept for a time of its own. In the order in which it is taken away: what others rest on comes after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noun {
    /// Orders that belong to no task, such as those to read facts, with their answers.
    Orders,
    /// What executors answered in remediations that ended: output of steps and scripts. Its digest stays.
    Evidence,
    /// Cases that ended.
    Cases,
    /// Campaigns that ended.
    Campaigns,
    /// Remediations that ended and left nothing that could be taken back, with their tasks.
    Remediations,
    /// Remediations that ended and could still be taken back. When they go, so does the way back.
    Undo,
    /// Plans, with their approvals, that no remediation has any more.
    Plans,
    /// Decisions and assessments that newer ones have replaced.
    Decisions,
    /// Findings that are closed.
    Findings,
    /// Items that are closed and have no finding any more, with their decisions and assessments.
    Items,
    /// What was installed and is not any more.
    Packages,
    /// When facts were read, but for the last time.
    Facts,
    /// Notices that were sent or given up.
    Notices,
    /// Tokens that ran out or were used up.
    Tokens,
    /// What was used of limits in hours that are over.
    Limits,
    /// Payloads of the ledger's entries.
    Ledger,
}

impl Noun {
    /// All of them, in the order in which they are taken away.
    pub const ALL: [Self; 16] = [
        Self::Orders,
        Self::Evidence,
        Self::Cases,
        Self::Campaigns,
        Self::Remediations,
        Self::Undo,
        Self::Plans,
        Self::Decisions,
        Self::Findings,
        Self::Items,
        Self::Packages,
        Self::Facts,
        Self::Notices,
        Self::Tokens,
        Self::Limits,
        Self::Ledger,
    ];

    /// Its name in settings and in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Evidence => "evidence",
            Self::Cases => "cases",
            Self::Campaigns => "campaigns",
            Self::Remediations => "remediations",
            Self::Undo => "undo",
            Self::Plans => "plans",
            Self::Decisions => "decisions",
            Self::Findings => "findings",
            Self::Items => "items",
            Self::Packages => "packages",
            Self::Facts => "facts",
            Self::Notices => "notices",
            Self::Tokens => "tokens",
            Self::Limits => "limits",
            Self::Ledger => "ledger",
        }
    }
}

/// Rows to take away. All of them go, or none and the transition is refused: when one came to life or is held meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    /// Of what.
    pub noun: Noun,
    /// The rows, by their keys or those of what they hang on.
    pub keys: Vec<String>,
    /// How many there are.
    pub rows: u64,
    /// They are older than this.
    pub before: Timestamp,
}

/// Entries whose payloads are taken away, under the same rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakePayloads {
    /// The entries, as they stay.
    pub entries: Vec<Entry>,
    /// They are older than this.
    pub before: Timestamp,
}

/// Nothing of a remediation or an asset is taken away, until somebody lifts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionHold {
    /// The id of the remediation or the asset.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

/// A hold that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiftRetentionHold {
    /// The id.
    pub subject: String,
}

/// Rows that may be taken away, and where to look for more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// Their keys.
    pub keys: Vec<String>,
    /// How many there are.
    pub rows: u64,
    /// Where to look on; nowhere when this was the end.
    pub next: Option<String>,
}

/// Entries whose payloads may be taken away, and where to look for more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DuePayloads {
    /// The entries, without their payloads.
    pub entries: Vec<Entry>,
    /// The place in the ledger from which to look on; nowhere when this was the end.
    pub next: Option<u64>,
}

/// What there is of a noun, whether it may go or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Rows.
    pub rows: u64,
    /// What their longest columns take together, about.
    pub bytes: u64,
    /// Of the oldest.
    pub oldest: Option<Timestamp>,
}

impl Due {
    /// Takes them away: the ledger says of what, how many, older than when, and how long they were to be kept.
    pub fn transition(self, noun: Noun, before: Timestamp, keep: &str, actor: &str, at: Timestamp) -> Transition {
        let entry = NewEntry::new(at, actor, "records_removed").about(SUBJECT).with(serde_json::json!({
            "noun": noun.name(),
            "rows": self.rows,
            "before": before,
            "keep": keep,
        }));
        Transition::new(entry).write(Write::Forget(Forget { noun, keys: self.keys, rows: self.rows, before }))
    }
}

impl DuePayloads {
    /// Takes them away, with an entry that vouches for what stays.
    ///
    /// # Errors
    /// When an entry has no canonical form.
    pub fn transition(
        self,
        before: Timestamp,
        keep: &str,
        actor: &str,
        at: Timestamp,
    ) -> Result<Transition, CanonicalError> {
        let entry = Removal::of(&self.entries)?.entry(at, actor, before, keep);
        Ok(Transition::new(entry).write(Write::TakePayloads(TakePayloads { entries: self.entries, before })))
    }
}

/// What is held.
const HELD: &str = "(SELECT subject FROM retention_hold)";
/// Tasks of which something could be taken back.
const UNDOABLE: &str = "EXISTS (SELECT 1 FROM task WHERE task.remediation = remediation.id AND task.state IN \
     ('succeeded', 'verified', 'verify_failed', 'failed', 'interrupted', 'undo_failed'))";
/// The last order of each executor says where the next one stands.
const NOT_LAST: &str = "EXISTS (SELECT 1 FROM orders newer WHERE newer.executor = orders.executor \
     AND (newer.epoch, newer.generation) > (orders.epoch, orders.generation))";
/// The keys of a statement.
const KEYS: &str = "(SELECT value FROM json_each($1))";
/// Entries looked through at once, and of how many of them payloads are taken.
const WINDOW: i64 = 20_000;

/// Where the rows of a noun are.
enum Rows {
    /// Each has a key of its own. Table, key, condition.
    Own(&'static str, &'static str, String),
    /// They hang on others. The others' table; for each part its table, what it hangs by, its condition.
    Under(&'static str, Vec<(&'static str, &'static str, String)>),
    /// They go together. Table, condition.
    Whole(&'static str, String),
}

/// Which rows of a noun may go: `$1` is a list of keys where a statement takes one, `$2` the time.
fn rows(noun: Noun) -> Rows {
    let not_held = |asset: &str| format!("{asset} NOT IN {HELD}");
    match noun {
        Noun::Orders => Rows::Own(
            "orders",
            "id",
            format!(
                "orders.task IS NULL AND orders.state IN ('answered', 'void') AND orders.created_at < $2 AND {NOT_LAST} \
                 AND NOT EXISTS (SELECT 1 FROM receipt WHERE receipt.order_id = orders.id AND receipt.handled_at IS NULL) \
                 AND orders.id NOT IN (SELECT one.value FROM remediation live, json_each(live.body, '$.plan_orders') one \
                 WHERE live.is_over = 0) \
                 AND orders.executor NOT IN (SELECT executor.id FROM executor WHERE executor.asset IN {HELD})"
            ),
        ),
        Noun::Evidence => Rows::Own(
            "receipt",
            "order_id",
            format!(
                "receipt.body <> '' AND receipt.handled_at IS NOT NULL AND receipt.at < $2 \
                 AND EXISTS (SELECT 1 FROM orders JOIN task ON task.id = orders.task \
                 JOIN remediation ON remediation.id = task.remediation WHERE orders.id = receipt.order_id \
                 AND remediation.is_over = 1 AND remediation.updated_at < $2 \
                 AND remediation.id NOT IN {HELD} AND task.asset NOT IN {HELD})"
            ),
        ),
        Noun::Cases => Rows::Own(
            "cases",
            "id",
            format!(
                "cases.is_over = 1 AND cases.updated_at < $2 AND NOT EXISTS (SELECT 1 FROM case_item \
                 LEFT JOIN item ON item.id = case_item.item \
                 LEFT JOIN remediation_item ON remediation_item.item = case_item.item WHERE case_item.case_id = cases.id \
                 AND (item.asset IN {HELD} OR remediation_item.remediation IN {HELD}))"
            ),
        ),
        Noun::Campaigns => Rows::Own(
            "campaign",
            "id",
            // A campaign is about many remediations: as long as anything is held all of them stay.
            "campaign.is_over = 1 AND campaign.updated_at < $2 AND NOT EXISTS (SELECT 1 FROM retention_hold)"
                .to_owned(),
        ),
        Noun::Remediations | Noun::Undo => {
            let which = if noun == Noun::Undo { "" } else { "NOT " };
            Rows::Own(
                "remediation",
                "id",
                format!(
                    "remediation.is_over = 1 AND remediation.updated_at < $2 AND {which}{UNDOABLE} \
                     AND remediation.id NOT IN {HELD} \
                     AND NOT EXISTS (SELECT 1 FROM task WHERE task.remediation = remediation.id AND task.asset IN {HELD}) \
                     AND NOT EXISTS (SELECT 1 FROM json_each(remediation.assets) one WHERE one.value IN {HELD}) \
                     AND NOT EXISTS (SELECT 1 FROM task WHERE task.remediation = remediation.id AND task.holds_lane = 1) \
                     AND NOT EXISTS (SELECT 1 FROM task JOIN orders ON orders.task = task.id LEFT JOIN receipt ON \
                     receipt.order_id = orders.id WHERE task.remediation = remediation.id AND (orders.state IN \
                     ('waiting', 'delivered') OR (receipt.order_id IS NOT NULL AND receipt.handled_at IS NULL))) \
                     AND NOT EXISTS (SELECT 1 FROM change_request WHERE change_request.remediation = remediation.id \
                     AND change_request.is_over = 0) \
                     AND NOT EXISTS (SELECT 1 FROM campaign WHERE campaign.is_over = 0) \
                     AND NOT EXISTS (SELECT 1 FROM cases WHERE cases.id = json_extract(remediation.body, '$.step.case'))"
                ),
            )
        }
        Noun::Plans => Rows::Own(
            "plan",
            "hash",
            "plan.at < $2 AND NOT EXISTS (SELECT 1 FROM remediation WHERE remediation.plan = plan.hash) \
             AND NOT EXISTS (SELECT 1 FROM task WHERE task.plan = plan.hash)"
                .to_owned(),
        ),
        Noun::Decisions => {
            let replaced = |table: &str| {
                format!(
                    "{table}.at < $2 AND {table}.at < (SELECT MAX(newer.at) FROM {table} newer \
                     WHERE newer.item = {table}.item) AND {table}.item NOT IN (SELECT held.id FROM item held \
                     WHERE held.asset IN {HELD}) AND {table}.item NOT IN (SELECT held.item FROM remediation_item held \
                     WHERE held.remediation IN {HELD})"
                )
            };
            Rows::Under(
                "item",
                vec![("decision", "item", replaced("decision")), ("assessment", "item", replaced("assessment"))],
            )
        }
        Noun::Findings => Rows::Own(
            "finding",
            "fingerprint",
            // Findings of what a remediation acted on say whether taking it back did what it should.
            format!(
                "finding.closed_at IS NOT NULL AND finding.closed_at < $2 AND {} \
                 AND NOT EXISTS (SELECT 1 FROM remediation_item WHERE remediation_item.item = finding.item) \
                 AND NOT EXISTS (SELECT 1 FROM case_item WHERE case_item.item = finding.item)",
                not_held("finding.asset")
            ),
        ),
        Noun::Items => Rows::Own(
            "item",
            "id",
            format!(
                "item.closed_at IS NOT NULL AND item.closed_at < $2 AND {} \
                 AND NOT EXISTS (SELECT 1 FROM finding WHERE finding.item = item.id) \
                 AND NOT EXISTS (SELECT 1 FROM remediation_item WHERE remediation_item.item = item.id) \
                 AND NOT EXISTS (SELECT 1 FROM case_item WHERE case_item.item = item.id)",
                not_held("item.asset")
            ),
        ),
        Noun::Packages => {
            let over = "installed.seen_until IS NOT NULL AND installed.seen_until < $2";
            Rows::Under("asset", vec![("installed", "asset", format!("{over} AND {}", not_held("installed.asset")))])
        }
        Noun::Facts => {
            let old = "facts_history.collected_at < $2 AND facts_history.collected_at < (SELECT MAX(newer.collected_at) \
                 FROM facts_history newer WHERE newer.asset = facts_history.asset)";
            Rows::Under(
                "asset",
                vec![("facts_history", "asset", format!("{old} AND {}", not_held("facts_history.asset")))],
            )
        }
        Noun::Notices => Rows::Own("notice", "id", "notice.state <> 'waiting' AND notice.at < $2".to_owned()),
        Noun::Tokens => Rows::Whole(
            "token",
            "CASE WHEN token.once = 1 AND token.used_at IS NOT NULL THEN token.used_at ELSE token.expires_at END < $1"
                .to_owned(),
        ),
        Noun::Limits => {
            Rows::Whole("budget", "budget.reserved = 0 AND budget.span LIKE 'hour/%' AND budget.span < $1".to_owned())
        }
        // Read by its own statements.
        Noun::Ledger => Rows::Whole("entry", "entry.seq < 0 AND entry.at < $1".to_owned()),
    }
}

/// What is taken with rows that have keys of their own, before or with them.
fn with(noun: Noun) -> Vec<String> {
    match noun {
        Noun::Orders => vec![
            format!("DELETE FROM receipt WHERE order_id IN {KEYS}"),
            format!("DELETE FROM orders WHERE id IN {KEYS}"),
        ],
        Noun::Evidence => vec![format!("UPDATE receipt SET body = '' WHERE order_id IN {KEYS}")],
        Noun::Cases => vec![
            format!("DELETE FROM case_item WHERE case_id IN {KEYS}"),
            format!("DELETE FROM cases WHERE id IN {KEYS}"),
        ],
        Noun::Campaigns => vec![format!("DELETE FROM campaign WHERE id IN {KEYS}")],
        Noun::Remediations | Noun::Undo => {
            let tasks = format!("(SELECT id FROM task WHERE remediation IN {KEYS})");
            vec![
                format!("DELETE FROM verification WHERE task IN {tasks}"),
                format!(
                    "DELETE FROM receipt WHERE order_id IN (SELECT id FROM orders WHERE task IN {tasks} AND {NOT_LAST})"
                ),
                format!("DELETE FROM orders WHERE task IN {tasks} AND {NOT_LAST}"),
                format!("DELETE FROM task WHERE remediation IN {KEYS}"),
                format!("DELETE FROM remediation_item WHERE remediation IN {KEYS}"),
                format!("DELETE FROM change_request WHERE remediation IN {KEYS}"),
                format!("DELETE FROM missed_window WHERE caught_up_at IS NOT NULL AND remediation IN {KEYS}"),
                format!(
                    "DELETE FROM budget WHERE reserved = 0 AND scope IN \
                     (SELECT 'remediation/' || one.value || '/concurrent' FROM json_each($1) one)"
                ),
                format!("DELETE FROM remediation WHERE id IN {KEYS}"),
            ]
        }
        Noun::Plans => {
            vec![format!("DELETE FROM approval WHERE plan IN {KEYS}"), format!("DELETE FROM plan WHERE hash IN {KEYS}")]
        }
        Noun::Findings => vec![format!("DELETE FROM finding WHERE fingerprint IN {KEYS}")],
        Noun::Items => vec![
            format!("DELETE FROM decision WHERE item IN {KEYS}"),
            format!("DELETE FROM assessment WHERE item IN {KEYS}"),
            format!("DELETE FROM item WHERE id IN {KEYS}"),
        ],
        Noun::Notices => vec![format!("DELETE FROM notice WHERE id IN {KEYS}")],
        Noun::Decisions | Noun::Packages | Noun::Facts | Noun::Tokens | Noun::Limits | Noun::Ledger => Vec::new(),
    }
}

/// Which entries may lose their payload: `$1` is the time. What is said of what is at work stays, and of what is held.
fn payloads() -> String {
    format!(
        "entry.bare = 0 AND entry.at < $1 AND entry.event NOT IN ('{}', 'records_removed', 'retention_held', \
         'retention_lifted', 'store_restored') AND entry.seq NOT IN (SELECT about.seq FROM entry_subject about \
         WHERE about.subject IN (SELECT subject FROM retention_hold \
         UNION SELECT task.remediation FROM task WHERE task.asset IN {HELD} \
         UNION SELECT task.id FROM task WHERE task.asset IN {HELD} OR task.remediation IN {HELD} \
         UNION SELECT item.id FROM item WHERE item.asset IN {HELD} \
         UNION SELECT executor.id FROM executor WHERE executor.asset IN {HELD} \
         UNION SELECT live.id FROM remediation live WHERE live.is_over = 0 \
         UNION SELECT task.id FROM task JOIN remediation live ON live.id = task.remediation WHERE live.is_over = 0))",
        stanch_ledger::removal::EVENT
    )
}

/// The time as the conditions of a noun take it: budgets count in hours by their names.
fn time(noun: Noun, before: Timestamp) -> Value {
    match noun {
        Noun::Limits => {
            let start = before.as_second().div_euclid(3600).saturating_mul(3600);
            let start = Timestamp::from_second(start).unwrap_or(Timestamp::MIN);
            format!("hour/{start}").into()
        }
        _ => micros(before).into(),
    }
}

/// A statement put together of this program's own words.
fn own(sql: String, values: Vec<Value>) -> Query {
    Query { sql: sql.into(), values }
}

fn keys(keys: &[String]) -> String {
    serde_json::to_string(keys).unwrap_or_else(|_| "[]".to_owned())
}

/// How many of the rows of a noun may go; of those with these keys, where keys are named.
fn counting(noun: Noun, named: Option<&[String]>, before: Timestamp) -> Query {
    let at = time(noun, before);
    let list = named.map(keys).unwrap_or_default();
    let only = |column: &str| match named {
        Some(_) => format!("{column} IN {KEYS} AND "),
        // `$1` is there all the same.
        None => "$1 = '' AND ".to_owned(),
    };
    match rows(noun) {
        Rows::Own(table, key, due) => own(
            format!("SELECT COUNT(*) AS number FROM {table} WHERE {}{due}", only(&format!("{table}.{key}"))),
            vec![list.into(), at],
        ),
        Rows::Under(_, parts) => {
            let parts: Vec<String> = parts
                .into_iter()
                .map(|(table, by, due)| {
                    format!("(SELECT COUNT(*) FROM {table} WHERE {}{due})", only(&format!("{table}.{by}")))
                })
                .collect();
            own(format!("SELECT {} AS number", parts.join(" + ")), vec![list.into(), at])
        }
        Rows::Whole(table, due) => own(format!("SELECT COUNT(*) AS number FROM {table} WHERE {due}"), vec![at]),
    }
}

/// Takes rows away that may still go.
pub(crate) async fn forget(conn: &mut Conn, ask: &Forget) -> Result<Effect, CommitError> {
    let failed = || CommitError::database("look whether rows may go");
    let row = counting(ask.noun, Some(&ask.keys), ask.before).fetch_one(&mut *conn).await.map_err(failed())?;
    let there = row.integer("number").map_err(failed())?.unwrap_or(0);
    if u64::try_from(there).ok() != Some(ask.rows) {
        let expected = format!("{} rows that may go", ask.rows);
        return Err(CommitError::Conflict { noun: SUBJECT, id: ask.noun.name().to_owned(), expected });
    }
    let (list, at) = (keys(&ask.keys), time(ask.noun, ask.before));
    let statements: Vec<Query> = match rows(ask.noun) {
        Rows::Own(..) => with(ask.noun).into_iter().map(|sql| own(sql, vec![list.clone().into()])).collect(),
        Rows::Under(_, parts) => parts
            .into_iter()
            .map(|(table, by, due)| {
                let sql = format!("DELETE FROM {table} WHERE {table}.{by} IN {KEYS} AND {due}");
                own(sql, vec![list.clone().into(), at.clone()])
            })
            .collect(),
        Rows::Whole(table, due) => vec![own(format!("DELETE FROM {table} WHERE {due}"), vec![at])],
    };
    for statement in statements {
        statement.execute(&mut *conn).await.map_err(CommitError::database("take old rows away"))?;
    }
    Ok(Effect::Done)
}

/// Takes payloads of entries away that may still go.
pub(crate) async fn take_payloads(conn: &mut Conn, ask: &TakePayloads) -> Result<Effect, CommitError> {
    let mut bodies = Vec::with_capacity(ask.entries.len());
    for entry in &ask.entries {
        let index = number("entry", SUBJECT, entry.index)?;
        bodies.push((index, json("entry", SUBJECT, &entry.entry)?));
    }
    let sql = format!(
        "UPDATE entry SET bare = 1, body = left_of.body FROM (SELECT leaf.seq AS seq, \
         json_extract(said.value, '$[1]') AS body FROM json_each($2) said JOIN leaf ON leaf.position = \
         CAST(json_extract(said.value, '$[0]') AS BIGINT)) left_of WHERE entry.seq = left_of.seq AND {}",
        payloads()
    );
    let done = own(sql, vec![micros(ask.before).into(), json("entry", SUBJECT, &bodies)?.into()])
        .execute(conn)
        .await
        .map_err(CommitError::database("take payloads away"))?;
    if done != ask.entries.len() as u64 {
        let expected = format!("{} payloads that may go", ask.entries.len());
        return Err(CommitError::Conflict { noun: SUBJECT, id: Noun::Ledger.name().to_owned(), expected });
    }
    Ok(Effect::Done)
}

const HOLD: &str = "INSERT INTO retention_hold (subject, reason, actor, at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (subject) DO NOTHING";
const LIFT: &str = "DELETE FROM retention_hold WHERE subject = $1";
const HOLDS: &str = "SELECT subject, reason, actor, at FROM retention_hold ORDER BY at, subject";

pub(crate) async fn hold(conn: &mut Conn, hold: &RetentionHold) -> Result<Effect, CommitError> {
    let done = query(HOLD)
        .bind(&hold.subject)
        .bind(&hold.reason)
        .bind(&hold.actor)
        .bind(micros(hold.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("hold records"))?;
    if done == 0 {
        return Err(CommitError::Exists { noun: "retention hold", id: hold.subject.clone() });
    }
    Ok(Effect::Done)
}

pub(crate) async fn lift(conn: &mut Conn, lift: &LiftRetentionHold) -> Result<Effect, CommitError> {
    let done = query(LIFT).bind(&lift.subject).execute(conn).await;
    if done.map_err(CommitError::database("lift a hold of records"))? == 0 {
        return Err(CommitError::Missing { noun: "retention hold", id: lift.subject.clone() });
    }
    Ok(Effect::Done)
}

/// What there is of a noun: table and condition, what its rows take, their time.
const fn kept(noun: Noun) -> (&'static str, &'static str, &'static str) {
    match noun {
        Noun::Orders => ("orders WHERE task IS NULL", "LENGTH(verb) + COALESCE(LENGTH(signed), 0)", "created_at"),
        Noun::Evidence => ("receipt WHERE body <> ''", "LENGTH(body)", "at"),
        Noun::Cases => ("cases WHERE is_over = 1", "LENGTH(body)", "updated_at"),
        Noun::Campaigns => ("campaign WHERE is_over = 1", "LENGTH(body)", "updated_at"),
        Noun::Remediations => (
            "remediation WHERE is_over = 1 AND NOT EXISTS (SELECT 1 FROM task WHERE task.remediation = remediation.id AND \
             task.state IN ('succeeded', 'verified', 'verify_failed', 'failed', 'interrupted', 'undo_failed'))",
            "LENGTH(body)",
            "updated_at",
        ),
        Noun::Undo => (
            "remediation WHERE is_over = 1 AND EXISTS (SELECT 1 FROM task WHERE task.remediation = remediation.id AND \
             task.state IN ('succeeded', 'verified', 'verify_failed', 'failed', 'interrupted', 'undo_failed'))",
            "LENGTH(body)",
            "updated_at",
        ),
        Noun::Plans => ("plan", "LENGTH(body)", "at"),
        Noun::Decisions => (
            "(SELECT item, at, 16 AS size FROM decision UNION ALL SELECT item, at, LENGTH(body) AS size FROM assessment) said",
            "size",
            "at",
        ),
        Noun::Findings => ("finding WHERE closed_at IS NOT NULL", "LENGTH(body)", "closed_at"),
        Noun::Items => ("item WHERE closed_at IS NOT NULL", "LENGTH(body)", "closed_at"),
        Noun::Packages => (
            "installed WHERE seen_until IS NOT NULL",
            "LENGTH(package) + LENGTH(place) + LENGTH(version)",
            "seen_until",
        ),
        Noun::Facts => ("facts_history", "40", "collected_at"),
        Noun::Notices => ("notice WHERE state <> 'waiting'", "LENGTH(body)", "at"),
        Noun::Tokens => ("token", "LENGTH(body)", "created_at"),
        Noun::Limits => ("budget WHERE span LIKE 'hour/%'", "LENGTH(scope) + LENGTH(span)", "NULL"),
        Noun::Ledger => ("entry WHERE bare = 0", "LENGTH(body)", "at"),
    }
}

impl Store {
    /// Rows of a noun that may go, at most so many; of those that hang on others, of so many others.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn due(&self, noun: Noun, before: Timestamp, after: &str, limit: u32) -> Result<Due, ReadError> {
        let failed = || ReadError::database("look for what is old");
        let at = time(noun, before);
        match rows(noun) {
            Rows::Own(table, key, due) => {
                // The keys that are not there keep `$2` the time.
                let sql =
                    format!("SELECT {table}.{key} AS id FROM {table} WHERE {due} AND $1 = '' LIMIT {}", limit.max(1));
                let found = own(sql, vec!["".into(), at]).fetch_all(self.read()).await.map_err(failed())?;
                let keys = all(&found, |row| Columns::new(SUBJECT, row).text("id"))?;
                let next = (keys.len() as u64 >= u64::from(limit)).then(String::new);
                Ok(Due { rows: keys.len() as u64, keys, next })
            }
            Rows::Under(parent, parts) => {
                let parts: Vec<String> = parts
                    .into_iter()
                    .map(|(table, by, due)| {
                        format!("(SELECT COUNT(*) FROM {table} WHERE {table}.{by} = page.id AND {due})")
                    })
                    .collect();
                let sql = format!(
                    "SELECT page.id AS id, {} AS number FROM (SELECT id FROM {parent} WHERE id > $1 ORDER BY id \
                     LIMIT {}) page ORDER BY page.id",
                    parts.join(" + "),
                    limit.max(1)
                );
                let found = own(sql, vec![after.into(), at]).fetch_all(self.read()).await.map_err(failed())?;
                let counts = all(&found, |row| {
                    let columns = Columns::new(SUBJECT, row);
                    Ok((columns.text("id")?, columns.count("number")?))
                })?;
                let next = counts.last().filter(|_| counts.len() as u64 >= u64::from(limit)).map(|(id, _)| id.clone());
                let rows = counts.iter().map(|(_, number)| number).sum();
                let keys = counts.into_iter().filter(|(_, number)| *number > 0).map(|(id, _)| id).collect();
                Ok(Due { keys, rows, next })
            }
            Rows::Whole(..) => {
                let row = counting(noun, None, before).fetch_one(self.read()).await.map_err(failed())?;
                Ok(Due { keys: Vec::new(), rows: Columns::new(SUBJECT, &row).count("number")?, next: None })
            }
        }
    }

    /// How many rows of a noun may go.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn count_due(&self, noun: Noun, before: Timestamp) -> Result<u64, ReadError> {
        let query = match noun {
            Noun::Ledger => {
                let sql =
                    "SELECT COUNT(*) AS number FROM entry WHERE json_extract(entry.body, '$.payload') IS NOT NULL AND";
                own(format!("{sql} {}", payloads()), vec![micros(before).into()])
            }
            _ => counting(noun, None, before),
        };
        let row = query.fetch_one(self.read()).await.map_err(ReadError::database("count what is old"))?;
        Columns::new(SUBJECT, &row).count("number")
    }

    /// Entries whose payloads may go, from a place in the ledger on, at most so many.
    ///
    /// # Errors
    /// When the database refuses or an entry does not read.
    pub async fn due_payloads(&self, before: Timestamp, from: u64, limit: u32) -> Result<DuePayloads, ReadError> {
        let failed = || ReadError::database("look for old payloads");
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let until = from.saturating_add(WINDOW);
        let limit = limit.clamp(1, u32::try_from(stanch_ledger::removal::MOST).unwrap_or(u32::MAX));
        let sql = format!(
            "SELECT leaf.position, entry.body, CASE WHEN entry.bare = 1 THEN leaf.hash END AS hash FROM entry JOIN leaf ON leaf.seq = entry.seq WHERE leaf.position >= $2 \
             AND leaf.position < $3 AND json_extract(entry.body, '$.payload') IS NOT NULL AND {} \
             ORDER BY leaf.position LIMIT {limit}",
            payloads()
        );
        let values = vec![micros(before).into(), from.into(), until.into()];
        let found = own(sql, values).fetch_all(self.read()).await.map_err(failed())?;
        let bare = |row: &Row| {
            let entry = read_entry(row)?;
            entry.without_payload().map_err(|error| ReadError::damaged("entry", error))
        };
        let entries = all(&found, bare)?;
        let last = entries.last().map(|entry| entry.index.saturating_add(1));
        let next = match last.filter(|_| entries.len() as u64 >= u64::from(limit)) {
            Some(next) => Some(next),
            None => {
                let end = query("SELECT COALESCE(MAX(position), -1) AS last FROM leaf").fetch_one(self.read()).await;
                let end = Columns::new("leaf", &end.map_err(failed())?).integer("last")?;
                (until <= end).then(|| until.cast_unsigned())
            }
        };
        Ok(DuePayloads { entries, next })
    }

    /// What there is of a noun. Looks at every row of it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn kept(&self, noun: Noun) -> Result<Kept, ReadError> {
        let (from, size, at) = kept(noun);
        let sql = format!(
            "SELECT COUNT(*) AS number, CAST(COALESCE(SUM({size}), 0) AS BIGINT) AS bytes, \
             CAST(MIN({at}) AS BIGINT) AS oldest FROM {from}"
        );
        let row = own(sql, Vec::new()).fetch_one(self.read()).await;
        let row = row.map_err(ReadError::database("measure what is kept"))?;
        let columns = Columns::new(SUBJECT, &row);
        Ok(Kept {
            rows: columns.count("number")?,
            bytes: columns.count("bytes")?,
            oldest: columns.optional_time("oldest")?,
        })
    }

    /// What is held, the oldest first.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn retention_holds(&self) -> Result<Vec<RetentionHold>, ReadError> {
        let rows = query(HOLDS).fetch_all(self.read()).await.map_err(ReadError::database("list holds of records"))?;
        all(&rows, |row| {
            let columns = Columns::new("retention hold", row);
            Ok(RetentionHold {
                subject: columns.text("subject")?,
                reason: columns.text("reason")?,
                actor: columns.text("actor")?,
                at: columns.time("at")?,
            })
        })
    }
}
