//! Teams and who is in them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::id::ActorId;
use stanch_model::person::TeamName;

use crate::column::{Columns, all, micros, name};
use crate::db::{Conn, query};
use crate::error::{CommitError, ReadError};
use crate::grant;
use crate::store::Store;
use crate::transition::Effect;

/// Who says that somebody is in a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberSource {
    /// A person here.
    Local,
    /// The provider they signed in with, at every sign-in anew.
    Provider,
}

/// A new team.
#[derive(Debug, Clone)]
pub struct NewTeam {
    /// Its name.
    pub name: TeamName,
    /// What it is for.
    pub about: String,
    /// When.
    pub at: Timestamp,
}

/// The end of a team, of its memberships, and of every role it holds or that is held over its assets.
#[derive(Debug, Clone)]
pub struct RemoveTeam {
    /// Its name.
    pub name: TeamName,
}

/// Somebody is in a team, or is not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The team.
    pub team: TeamName,
    /// The person.
    pub person: ActorId,
    /// Who says so.
    pub source: MemberSource,
    /// Since when.
    pub at: Timestamp,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its name.
    pub name: TeamName,
    /// What it is for.
    pub about: String,
    /// When it was made.
    pub created_at: Timestamp,
}

const NEW: &str = "INSERT INTO team (name, about, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const EMPTY: &str = "DELETE FROM member WHERE team = $1";
const REVOKE: &str = "DELETE FROM role_grant WHERE holder = $1 OR scope = $1";
const REMOVE: &str = "DELETE FROM team WHERE name = $1";
const JOIN: &str = "INSERT INTO member (team, person, source, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
const LEAVE: &str = "DELETE FROM member WHERE team = $1 AND person = $2 AND source = $3";
const ALL: &str = "SELECT name, about, created_at FROM team ORDER BY name";
const MEMBERS: &str = "SELECT team, person, source, at FROM member ORDER BY team, at, person, source";

pub(crate) async fn new(conn: &mut Conn, new: &NewTeam) -> Result<Effect, CommitError> {
    let done = query(NEW)
        .bind(new.name.as_str())
        .bind(&new.about)
        .bind(micros(new.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("make a team"))?;
    if done == 0 {
        return Err(CommitError::Exists { noun: "team", id: new.name.to_string() });
    }
    Ok(Effect::Done)
}

pub(crate) async fn remove(conn: &mut Conn, team: &RemoveTeam) -> Result<Effect, CommitError> {
    let before = grant::administrators(conn).await?;
    let mut run = async |sql: &'static str, key: String| {
        let done = query(sql).bind(key).execute(&mut *conn).await;
        done.map_err(CommitError::database("remove a team"))
    };
    run(EMPTY, team.name.to_string()).await?;
    run(REVOKE, format!("team/{}", team.name)).await?;
    if run(REMOVE, team.name.to_string()).await? == 0 {
        return Err(CommitError::Missing { noun: "team", id: team.name.to_string() });
    }
    grant::still_administered(conn, before).await?;
    Ok(Effect::Done)
}

pub(crate) async fn join(conn: &mut Conn, member: &Member) -> Result<Effect, CommitError> {
    let done = query(JOIN)
        .bind(member.team.as_str())
        .bind(member.person.as_str())
        .bind(name(&member.source))
        .bind(micros(member.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("put somebody in a team"))?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

pub(crate) async fn leave(conn: &mut Conn, member: &Member) -> Result<Effect, CommitError> {
    let before = grant::administrators(conn).await?;
    let done = query(LEAVE)
        .bind(member.team.as_str())
        .bind(member.person.as_str())
        .bind(name(&member.source))
        .execute(&mut *conn)
        .await
        .map_err(CommitError::database("take somebody out of a team"))?;
    grant::still_administered(conn, before).await?;
    Ok(if done == 0 { Effect::Unchanged } else { Effect::Done })
}

impl Store {
    /// Every team, by name.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn teams(&self) -> Result<Vec<Team>, ReadError> {
        let rows = query(ALL).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list teams"))?, |row| {
            let columns = Columns::new("team", row);
            Ok(Team {
                name: columns.parsed("name")?,
                about: columns.text("about")?,
                created_at: columns.time("created_at")?,
            })
        })
    }

    /// Who is in which team.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn members(&self) -> Result<Vec<Member>, ReadError> {
        let rows = query(MEMBERS).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list members"))?, |row| {
            let columns = Columns::new("member", row);
            Ok(Member {
                team: columns.parsed("team")?,
                person: columns.parsed("person")?,
                source: columns.named("source")?,
                at: columns.time("at")?,
            })
        })
    }
}
