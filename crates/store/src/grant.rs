//! Roles that people and teams hold. Somebody must always be able to give them: the last administrator stays.

use jiff::Timestamp;
use stanch_model::person::{Holder, Scope};
use stanch_model::terms::Role;

use crate::column::{Columns, all, micros, name};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::Effect;

/// A role that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who holds it.
    pub holder: Holder,
    /// The role.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// Who gave it.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

/// A role that is held no more.
#[derive(Debug, Clone)]
pub struct Revoke {
    /// Who held it.
    pub holder: Holder,
    /// The role.
    pub role: Role,
    /// Where.
    pub scope: Scope,
}

const GIVE: &str = "INSERT INTO role_grant (holder, role, scope, actor, at) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT DO NOTHING";
const REVOKE: &str = "DELETE FROM role_grant WHERE holder = $1 AND role = $2 AND scope = $3";
const ALL: &str = "SELECT holder, role, scope, actor, at FROM role_grant ORDER BY holder, role, scope";
/// Who is in a team only because a provider says so does not count: the provider could take it back at any time.
const ADMINISTRATORS: &str = "SELECT COUNT(*) AS number FROM person WHERE state = 'enabled' AND EXISTS (\
     SELECT 1 FROM role_grant WHERE role = 'admin' AND scope = 'all' AND (holder = 'person/' || person.id OR holder IN \
     (SELECT 'team/' || team FROM member WHERE member.person = person.id AND member.source = 'local')))";

pub(crate) async fn give(conn: &mut Conn, grant: &Grant) -> Result<Effect, CommitError> {
    let done = query(GIVE)
        .bind(grant.holder.to_string())
        .bind(name(&grant.role))
        .bind(grant.scope.to_string())
        .bind(&grant.actor)
        .bind(micros(grant.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("give a role"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

pub(crate) async fn revoke(conn: &mut Conn, revoke: &Revoke) -> Result<Effect, CommitError> {
    let before = administrators(conn).await?;
    let done = query(REVOKE)
        .bind(revoke.holder.to_string())
        .bind(name(&revoke.role))
        .bind(revoke.scope.to_string())
        .execute(&mut *conn)
        .await
        .map_err(CommitError::database("take a role away"))?;
    still_administered(conn, before).await?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

/// How many enabled people hold the role of an administrator everywhere, in a way that no provider can take back.
pub(crate) async fn administrators(conn: &mut Conn) -> Result<u64, CommitError> {
    let failed = CommitError::database("count administrators");
    let row = query(ADMINISTRATORS).fetch_one(conn).await.map_err(failed)?;
    Columns::new("grant", &row).count("number").map_err(|error| CommitError::Encode {
        noun: "grant",
        id: "administrators".to_owned(),
        detail: error.to_string(),
    })
}

/// Refuses a change that took the last administrator.
pub(crate) async fn still_administered(conn: &mut Conn, before: u64) -> Result<(), CommitError> {
    if before > 0 && administrators(conn).await? == 0 { Err(CommitError::LastAdministrator) } else { Ok(()) }
}

impl Store {
    /// Every role that is held.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn grants(&self) -> Result<Vec<Grant>, ReadError> {
        let rows = query(ALL).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list roles"))?, |row| {
            let columns = Columns::new("grant", row);
            Ok(Grant {
                holder: columns.parsed("holder")?,
                role: columns.named("role")?,
                scope: columns.parsed("scope")?,
                actor: columns.text("actor")?,
                at: columns.time("at")?,
            })
        })
    }
}
