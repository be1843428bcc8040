//! Assets as a fleet: what is listed of each, page by page, what a list is narrowed by, and what nobody can see there.
//! A page costs as much as the rows that it passes, never as much as their facts and findings.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use stanch_model::asset::AssetKind;
use stanch_model::id::{AssetId, ExecutorId};

use crate::asset::StoredAsset;
use crate::column::{Columns, all, ids, micros, name};
use crate::db::{Builder, Row, query};
use crate::error::ReadError;
use crate::executor::Standing;
use crate::store::Store;

/// How the executor of an asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It called lately.
    Connected,
    /// It is let in, and silent.
    Away,
    /// It is let in, and nobody has said that it is one of ours.
    Unconfirmed,
    /// It is sent nothing until a person looks.
    Frozen,
    /// It was put out.
    PutOut,
    /// There is none.
    None,
}

/// Why an asset cannot be told to be clean, nor be made so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blind {
    /// No executor serves it.
    NoExecutor,
    /// Its facts are missing, or were read before this.
    Stale(Timestamp),
    /// Nobody has said that its executor is one of ours.
    Unconfirmed,
    /// Its executor is frozen or put out.
    Frozen,
    /// It has decided items, and no rule fired on any of them.
    NoPolicy,
    /// Its release is past its security support.
    Unsupported,
    /// No detector has looked at it, or no feed knows anything that is on it.
    Unmatched,
}

/// Which assets to list. What is absent does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetFilter {
    /// Of this kind.
    pub kind: Option<AssetKind>,
    /// With exactly this name, or this id.
    pub named: Option<String>,
    /// With this in the name, in whatever case.
    pub part: Option<String>,
    /// In this environment.
    pub environment: Option<String>,
    /// Owned by this team.
    pub owner: Option<String>,
    /// With these labels; one without a value must be there.
    pub labels: Vec<(String, Option<String>)>,
    /// Whose executor is so; it called lately when it did since the time.
    pub presence: Option<(Presence, Timestamp)>,
    /// That cannot be looked at so.
    pub blind: Option<Blind>,
    /// Only these.
    pub among: Option<BTreeSet<AssetId>>,
}

/// What is listed of an executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedExecutor {
    /// Which one.
    pub id: ExecutorId,
    /// Whether it is served.
    pub standing: Standing,
    /// When it was last heard of, within the time between two writes.
    pub seen_at: Timestamp,
    /// What else is known.
    pub body: Value,
}

/// What is listed of an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedAsset {
    /// The asset.
    pub stored: StoredAsset,
    /// Its operating system's own name, as its newest facts have it.
    pub os: Option<String>,
    /// When those were read.
    pub facts_at: Option<Timestamp>,
    /// Open items.
    pub items: u64,
    /// Those that some action would close.
    pub actionable: u64,
    /// Those that are to be done now or more quickly than usual.
    pub urgent: u64,
    /// Those that are known to be exploited.
    pub exploited: u64,
    /// Those that policies have decided.
    pub decided: u64,
    /// Those on which a rule of the policies fired.
    pub ruled: u64,
    /// Its release is past its security support.
    pub unsupported: bool,
    /// Open findings.
    pub findings: u64,
    /// The executor that serves it.
    pub executor: Option<ListedExecutor>,
}

const COLUMNS: &str = "SELECT asset.body, asset.first_seen, asset.last_seen, facts.collected_at, facts.os, \
     COALESCE(counted.open, 0) AS items, COALESCE(counted.actionable, 0) AS actionable, \
     COALESCE(counted.urgent, 0) AS urgent, COALESCE(counted.exploited, 0) AS exploited, \
     COALESCE(counted.decided, 0) AS decided, COALESCE(counted.ruled, 0) AS ruled, \
     EXISTS (SELECT 1 FROM item WHERE item.asset = asset.id AND item.kind = 'support' AND item.name = 'release' \
     AND item.closed_at IS NULL) AS unsupported, \
     (SELECT CAST(COALESCE(SUM(open), 0) AS BIGINT) FROM finding_count WHERE finding_count.asset = asset.id) AS findings, \
     executor.id AS executor, executor.standing, executor.seen_at, executor.body AS executor_body \
     FROM asset LEFT JOIN facts INDEXED BY facts_times ON facts.asset = asset.id \
     LEFT JOIN item_count counted ON counted.asset = asset.id \
     LEFT JOIN executor ON executor.id = (SELECT id FROM executor one WHERE one.asset = asset.id \
     ORDER BY one.seen_at DESC LIMIT 1)";
const CALLED: &str = "SELECT body, first_seen, last_seen FROM asset WHERE id IN (SELECT value FROM json_each($1)) \
     OR name IN (SELECT value FROM json_each($1))";
const COUNT: &str = "SELECT COUNT(*) AS number FROM asset";

fn read(row: &Row) -> Result<ListedAsset, ReadError> {
    let columns = Columns::new("asset", row);
    let executor = match columns.optional_parsed("executor")? {
        Some(id) => Some(ListedExecutor {
            id,
            standing: columns.named("standing")?,
            seen_at: columns.time("seen_at")?,
            body: columns.json("executor_body")?,
        }),
        None => None,
    };
    Ok(ListedAsset {
        stored: StoredAsset {
            asset: columns.json("body")?,
            first_seen: columns.time("first_seen")?,
            last_seen: columns.time("last_seen")?,
        },
        os: columns.optional_text("os")?.filter(|os| !os.is_empty()),
        facts_at: columns.optional_time("collected_at")?,
        items: columns.count("items")?,
        actionable: columns.count("actionable")?,
        urgent: columns.count("urgent")?,
        exploited: columns.count("exploited")?,
        decided: columns.count("decided")?,
        ruled: columns.count("ruled")?,
        unsupported: columns.count("unsupported")? > 0,
        findings: columns.count("findings")?,
        executor,
    })
}

impl Store {
    /// Assets in the order of their names, after the one given.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn fleet(
        &self,
        filter: &FleetFilter,
        after: Option<&AssetId>,
        limit: u32,
    ) -> Result<Vec<ListedAsset>, ReadError> {
        let mut query = Builder::new(COLUMNS);
        query.push(" WHERE true");
        if let Some(after) = after {
            query.push(" AND (asset.name, asset.id) > (SELECT name, id FROM asset WHERE id = ");
            query.push_bind(after.as_str()).push(")");
        }
        narrow(&mut query, filter);
        query.push(" ORDER BY asset.name, asset.id LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list assets"))?, read)
    }

    /// How many assets there are of these.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn count_fleet(&self, filter: &FleetFilter) -> Result<u64, ReadError> {
        let mut query = Builder::new(COUNT);
        query.push(" WHERE true");
        narrow(&mut query, filter);
        let row = query.build().fetch_one(self.read()).await.map_err(ReadError::database("count assets"))?;
        Columns::new("asset", &row).count("number")
    }

    /// The assets with one of these names or ids, in no particular order.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn assets_called(&self, names: &BTreeSet<String>) -> Result<Vec<StoredAsset>, ReadError> {
        let rows = query(CALLED).bind(ids(names)).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("read assets"))?, |row| {
            let columns = Columns::new("asset", row);
            Ok(StoredAsset {
                asset: columns.json("body")?,
                first_seen: columns.time("first_seen")?,
                last_seen: columns.time("last_seen")?,
            })
        })
    }

    /// How many of these the detectors have looked at with data at hand, on facts not older than that.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn count_judged(&self, filter: &FleetFilter, fresh: Timestamp) -> Result<u64, ReadError> {
        let mut query = Builder::new(COUNT);
        query.push(
            " WHERE asset.id IN (SELECT asset FROM detection WHERE with_data > 0) AND asset.id IN \
             (SELECT asset FROM facts INDEXED BY facts_collected WHERE collected_at >= ",
        );
        query.push_bind(micros(fresh)).push(")");
        narrow(&mut query, filter);
        let row = query.build().fetch_one(self.read()).await.map_err(ReadError::database("count assets"))?;
        Columns::new("asset", &row).count("number")
    }
}

fn narrow(query: &mut Builder, filter: &FleetFilter) {
    if let Some(kind) = &filter.kind {
        query.push(" AND asset.kind = ").push_bind(name(kind));
    }
    if let Some(named) = &filter.named {
        query.push(" AND (asset.id = ").push_bind(named.clone()).push(" OR asset.name = ");
        query.push_bind(named.clone()).push(")");
    }
    if let Some(part) = &filter.part {
        query.push(" AND instr(lower(asset.name), ").push_bind(part.to_ascii_lowercase()).push(") > 0");
    }
    if let Some(environment) = &filter.environment {
        query.push(" AND asset.environment = ").push_bind(environment.clone());
    }
    if let Some(owner) = &filter.owner {
        query.push(" AND asset.owner = ").push_bind(owner.clone());
    }
    for (label, value) in &filter.labels {
        query.push(" AND EXISTS (SELECT 1 FROM json_each(asset.body, '$.labels') label WHERE label.key = ");
        query.push_bind(label.clone());
        if let Some(value) = value {
            query.push(" AND label.value = ").push_bind(value.clone());
        }
        query.push(")");
    }
    if let Some(among) = &filter.among {
        query.push(" AND asset.id IN (SELECT value FROM json_each(").push_bind(ids(among)).push("))");
    }
    if let Some((presence, since)) = filter.presence {
        present(query, presence, since);
    }
    if let Some(blind) = filter.blind {
        unseen(query, blind);
    }
}

fn present(query: &mut Builder, presence: Presence, since: Timestamp) {
    let standing = match presence {
        Presence::None => {
            query.push(" AND asset.id NOT IN (SELECT asset FROM executor)");
            return;
        }
        Presence::Connected | Presence::Away => {
            query.push(" AND asset.id IN (SELECT asset FROM executor WHERE standing = 'in' AND seen_at ");
            query.push(if presence == Presence::Connected { ">= " } else { "< " });
            query.push_bind(micros(since)).push(")");
            return;
        }
        Presence::Unconfirmed => "unconfirmed",
        Presence::Frozen => "frozen",
        Presence::PutOut => "put_out",
    };
    query.push(" AND asset.id IN (SELECT asset FROM executor WHERE standing <> 'in' AND standing = ");
    query.push_bind(standing).push(")");
}

/// In the words of the indexes that hold only such rows, so that few of them are found without looking at all.
fn unseen(query: &mut Builder, blind: Blind) {
    let condition = match blind {
        Blind::NoExecutor => " AND asset.id NOT IN (SELECT asset FROM executor)",
        Blind::Stale(before) => {
            query.push(
                " AND asset.id NOT IN (SELECT asset FROM facts INDEXED BY facts_collected WHERE collected_at >= ",
            );
            query.push_bind(micros(before));
            ")"
        }
        Blind::Unconfirmed => {
            " AND asset.id IN (SELECT asset FROM executor WHERE standing <> 'in' AND standing = 'unconfirmed')"
        }
        Blind::Frozen => {
            " AND asset.id IN (SELECT asset FROM executor WHERE standing <> 'in' AND standing IN ('frozen', 'put_out'))"
        }
        Blind::NoPolicy => " AND asset.id IN (SELECT asset FROM item_count WHERE decided > 0 AND ruled = 0)",
        Blind::Unsupported => {
            " AND asset.id IN (SELECT asset FROM item WHERE kind = 'support' AND name = 'release' AND closed_at IS NULL)"
        }
        Blind::Unmatched => " AND asset.id NOT IN (SELECT asset FROM detection WHERE with_data > 0)",
    };
    query.push(condition);
}
