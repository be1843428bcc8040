//! What a newer edition of the feeds touches: the assets on which it says something else, found by what they carry and by
//! the problems that were found on them, and never by walking all assets. They stay on the list until they were looked at
//! again, whatever stops in between.

use std::collections::BTreeSet;

use stanch_model::id::AssetId;

use crate::column::{Columns, all, json, name, number};
use crate::db::{Builder, Conn, query};
use crate::error::{CommitError, ReadError};
use crate::package::is_kept;
use crate::store::Store;
use crate::transition::Effect;

/// What is to be done with an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// The detectors run on it.
    Judge,
    /// All of its items are assessed.
    Assess,
}

/// Which assets something touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// All with facts.
    Everyone,
    /// Those of which it is not kept yet what they carry: their facts are from a release before that.
    Unlisted,
    /// Those that carry anything of these ecosystems.
    Of(BTreeSet<String>),
    /// Those that carry one of these: an ecosystem, and the name that its advisories use.
    Carrying(BTreeSet<(String, String)>),
    /// Those on which a problem of one of these names is open.
    Having(BTreeSet<String>),
}

/// Assets come on the list. Those that are there already stay, for this edition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// What for.
    pub work: Work,
    /// The number of the edition.
    pub edition: u64,
    /// Which.
    pub whom: Whom,
}

/// An asset was looked at by this edition. It stays on the list where a newer one has put it there since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untouch {
    /// What for.
    pub work: Work,
    /// The number of the edition.
    pub edition: u64,
    /// Which.
    pub asset: AssetId,
}

const AGAIN: &str = " ON CONFLICT (work, asset) DO UPDATE SET edition = excluded.edition";
const UNTOUCH: &str = "DELETE FROM touched WHERE work = $1 AND asset = $2 AND edition <= $3";
const LIST: &str = "SELECT asset FROM touched WHERE work = $1 ORDER BY asset";
const ONE: &str = "SELECT asset FROM touched WHERE work = $1 AND asset = $2";
const NAMES: &str = "SELECT DISTINCT name FROM alias WHERE name LIKE 'CVE-%'";

/// Appends where the assets come from. What is asked for stands first, so that it is looked up in an index and the index
/// is not searched for it.
fn from(query: &mut Builder, whom: &Whom) -> Result<(), CommitError> {
    match whom {
        Whom::Everyone => {
            query.push("a.asset FROM facts a WHERE true");
        }
        Whom::Unlisted => {
            query.push("a.asset FROM facts a WHERE a.inventory IS NULL");
        }
        Whom::Of(ecosystems) => {
            query.push("a.asset FROM json_each(").push_bind(json("ecosystems", "", ecosystems)?);
            query.push(") one CROSS JOIN carried a WHERE a.ecosystem = one.value");
        }
        Whom::Carrying(names) => {
            // What is not kept of any asset is found on none.
            let kept = names.iter().filter(|(ecosystem, name)| is_kept(ecosystem) && is_kept(name));
            query.push("a.asset FROM json_each(").push_bind(json("packages", "", &kept.collect::<Vec<_>>())?);
            query.push(
                ") one CROSS JOIN carried a WHERE a.ecosystem = json_extract(one.value, '$[0]') \
                 AND a.name = json_extract(one.value, '$[1]')",
            );
        }
        Whom::Having(problems) => {
            query.push("a.asset FROM json_each(").push_bind(json("problems", "", problems)?);
            // The detector is named word for word as in the index that holds only such rows.
            query.push(
                ") one CROSS JOIN alias CROSS JOIN finding a WHERE alias.name = one.value COLLATE NOCASE \
                 AND a.id = alias.advisory AND a.detector = 'advisory' AND a.closed_at IS NULL",
            );
        }
    }
    Ok(())
}

pub(crate) async fn touch(conn: &mut Conn, touch: &Touch) -> Result<Effect, CommitError> {
    let mut query = Builder::new("INSERT INTO touched (work, edition, asset) SELECT DISTINCT ");
    query.push("CAST(").push_bind(name(&touch.work)).push(" AS TEXT), CAST(");
    query.push_bind(number("edition", "", touch.edition)?).push(" AS BIGINT), ");
    from(&mut query, &touch.whom)?;
    query.push(AGAIN);
    let done = query.build().execute(conn).await.map_err(CommitError::database("list what feeds touch"))?;
    Ok(if done > 0 { Effect::Done } else { Effect::Unchanged })
}

pub(crate) async fn untouch(conn: &mut Conn, one: &Untouch) -> Result<Effect, CommitError> {
    let edition = number("edition", "", one.edition)?;
    let done = query(UNTOUCH).bind(name(&one.work)).bind(one.asset.as_str()).bind(edition).execute(conn).await;
    let done = done.map_err(CommitError::database("take an asset off the list"))?;
    Ok(if done > 0 { Effect::Done } else { Effect::Unchanged })
}

impl Store {
    /// The assets that are to be looked at again.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn touched(&self, work: Work) -> Result<Vec<AssetId>, ReadError> {
        let rows = query(LIST).bind(name(&work)).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list what feeds touch"))?, |row| {
            Columns::new("touched", row).parsed("asset")
        })
    }

    /// Whether an asset is to be looked at again.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn is_touched(&self, work: Work, asset: &AssetId) -> Result<bool, ReadError> {
        let row = query(ONE).bind(name(&work)).bind(asset.as_str()).fetch_optional(self.read()).await;
        Ok(row.map_err(ReadError::database("look what feeds touch"))?.is_some())
    }

    /// The assets that something would touch, at most so many. It costs as much as it names and finds.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn whom(&self, whom: &Whom, limit: u32) -> Result<BTreeSet<AssetId>, ReadError> {
        let mut query = Builder::new("SELECT DISTINCT ");
        from(&mut query, whom).map_err(|error| ReadError::damaged("list of names", error))?;
        query.push(" LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(self.read()).await;
        let found = all(&rows.map_err(ReadError::database("find what feeds touch"))?, |row| {
            Columns::new("touched", row).parsed("asset")
        })?;
        Ok(found.into_iter().collect())
    }

    /// The CVEs that were found anywhere, open or not. Their number is that of problems and not that of assets.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn known_cves(&self) -> Result<Vec<String>, ReadError> {
        let rows = query(NAMES).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list problems"))?, |row| Columns::new("alias", row).text("name"))
    }
}
