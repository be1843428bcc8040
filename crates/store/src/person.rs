//! People: who may sign in. A row is never deleted, so that a name in the ledger always means the same person.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::id::ActorId;
use stanch_model::person::{Access, Held, PersonName};

use crate::column::{Columns, all, micros, name};
use crate::db::{Conn, Row, query};
use crate::error::{CommitError, ReadError};
use crate::grant;
use crate::store::Store;
use crate::transition::Effect;

/// Whether somebody may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonState {
    /// May.
    Enabled,
    /// May not, until enabled again.
    Disabled,
    /// May never again; the name stays taken.
    Removed,
}

/// Who somebody is at a provider of identities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The provider's issuer.
    pub issuer: String,
    /// The provider's own id of the person.
    pub subject: String,
}

/// A new account.
#[derive(Debug, Clone)]
pub struct NewPerson {
    /// Its id.
    pub id: ActorId,
    /// Its name.
    pub name: PersonName,
    /// Where notices go.
    pub email: Option<String>,
    /// Who they are at a provider, for an account that signs in there.
    pub subject: Option<Subject>,
    /// When.
    pub at: Timestamp,
}

/// What changes of an account.
#[derive(Debug, Clone)]
pub enum PersonChange {
    /// Whether they may sign in. Whoever may not loses their sessions.
    State(PersonState),
    /// Where notices go.
    Email(Option<String>),
    /// The hash of the password, as a PHC string; `None` takes it away. Ends their sessions.
    Password(Option<String>),
}

/// A change of one account.
#[derive(Debug, Clone)]
pub struct ChangePerson {
    /// Whose.
    pub id: ActorId,
    /// What.
    pub change: PersonChange,
    /// When.
    pub at: Timestamp,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Its id.
    pub id: ActorId,
    /// Its name.
    pub name: PersonName,
    /// Where notices go.
    pub email: Option<String>,
    /// Who they are at a provider.
    pub subject: Option<Subject>,
    /// Whether they have a password here.
    pub has_password: bool,
    /// Whether they may sign in.
    pub state: PersonState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub changed_at: Timestamp,
}

const NEW: &str = "INSERT INTO person (id, name, email, issuer, subject, password, state, created_at, changed_at) \
     VALUES ($1, $2, $3, $4, $5, NULL, 'enabled', $6, $6) ON CONFLICT DO NOTHING";
const STATE: &str = "UPDATE person SET state = $1, changed_at = $2 WHERE id = $3 AND state <> 'removed'";
const REMOVE: &str = "UPDATE person SET state = 'removed', email = NULL, issuer = NULL, subject = NULL, \
     password = NULL, changed_at = $1 WHERE id = $2 AND state <> 'removed'";
const EMAIL: &str = "UPDATE person SET email = $1, changed_at = $2 WHERE id = $3 AND state <> 'removed'";
const PASSWORD: &str = "UPDATE person SET password = $1, changed_at = $2 WHERE id = $3 AND state <> 'removed'";
const LEAVE_ALL: &str = "DELETE FROM member WHERE person = $1";
const REVOKE_ALL: &str = "DELETE FROM role_grant WHERE holder = $1";
const END_SESSIONS: &str = "DELETE FROM session WHERE actor = $1";
const ALL: &str = "SELECT id, name, email, issuer, subject, password IS NOT NULL AS has_password, state, created_at, \
     changed_at FROM person ORDER BY name";
const ONE: &str = "SELECT id, name, email, issuer, subject, password IS NOT NULL AS has_password, state, created_at, \
     changed_at FROM person WHERE id = $1";
const NAMED: &str = "SELECT id, name, email, issuer, subject, password IS NOT NULL AS has_password, state, \
     created_at, changed_at FROM person WHERE name = $1";
const KNOWN_AS: &str = "SELECT id, name, email, issuer, subject, password IS NOT NULL AS has_password, state, \
     created_at, changed_at FROM person WHERE issuer = $1 AND subject = $2";
const HASH: &str = "SELECT password FROM person WHERE id = $1";
const HELD: &str = "SELECT role, scope FROM role_grant WHERE holder = 'person/' || $1 OR holder IN \
     (SELECT 'team/' || team FROM member WHERE person = $1)";

fn read(row: &Row) -> Result<Person, ReadError> {
    let columns = Columns::new("person", row);
    let subject = match (columns.optional_text("issuer")?, columns.optional_text("subject")?) {
        (Some(issuer), Some(subject)) => Some(Subject { issuer, subject }),
        _ => None,
    };
    Ok(Person {
        id: columns.parsed("id")?,
        name: columns.parsed("name")?,
        email: columns.optional_text("email")?,
        subject,
        has_password: columns.integer("has_password")? != 0,
        state: columns.named("state")?,
        created_at: columns.time("created_at")?,
        changed_at: columns.time("changed_at")?,
    })
}

pub(crate) async fn new(conn: &mut Conn, new: &NewPerson) -> Result<Effect, CommitError> {
    let done = query(NEW)
        .bind(new.id.as_str())
        .bind(new.name.as_str())
        .bind(&new.email)
        .bind(new.subject.as_ref().map(|subject| &subject.issuer))
        .bind(new.subject.as_ref().map(|subject| &subject.subject))
        .bind(micros(new.at))
        .execute(conn)
        .await
        .map_err(CommitError::database("make an account"))?;
    if done == 0 {
        return Err(CommitError::Exists { noun: "person", id: new.name.to_string() });
    }
    Ok(Effect::Done)
}

pub(crate) async fn change(conn: &mut Conn, asked: &ChangePerson) -> Result<Effect, CommitError> {
    let before = grant::administrators(conn).await?;
    let (id, at) = (asked.id.as_str(), micros(asked.at));
    let change = match &asked.change {
        PersonChange::State(PersonState::Removed) => query(REMOVE).bind(at).bind(id),
        PersonChange::State(state) => query(STATE).bind(name(state)).bind(at).bind(id),
        PersonChange::Email(email) => query(EMAIL).bind(email).bind(at).bind(id),
        PersonChange::Password(hash) => query(PASSWORD).bind(hash).bind(at).bind(id),
    };
    let done = change.execute(&mut *conn).await.map_err(CommitError::database("change an account"))?;
    if done == 0 {
        return Err(CommitError::Missing { noun: "person", id: asked.id.to_string() });
    }
    let mut clear = async |sql: &'static str, key: String| {
        let done = query(sql).bind(key).execute(&mut *conn).await;
        done.map(drop).map_err(CommitError::database("change an account"))
    };
    if matches!(asked.change, PersonChange::State(PersonState::Removed)) {
        clear(LEAVE_ALL, id.to_owned()).await?;
        clear(REVOKE_ALL, format!("person/{id}")).await?;
    }
    if !matches!(asked.change, PersonChange::Email(_) | PersonChange::State(PersonState::Enabled)) {
        clear(END_SESSIONS, id.to_owned()).await?;
    }
    grant::still_administered(conn, before).await?;
    Ok(Effect::Done)
}

impl Store {
    /// Every account, by name, also those that may not sign in any more.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn people(&self) -> Result<Vec<Person>, ReadError> {
        let rows = query(ALL).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list people"))?, read)
    }

    /// One account.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn person(&self, id: &ActorId) -> Result<Option<Person>, ReadError> {
        let row = query(ONE).bind(id.as_str()).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read an account"))?.as_ref().map(read).transpose()
    }

    /// The account of this name.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn person_named(&self, name: &PersonName) -> Result<Option<Person>, ReadError> {
        let row = query(NAMED).bind(name.as_str()).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read an account"))?.as_ref().map(read).transpose()
    }

    /// The account of whoever is known so at a provider.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn person_known_as(&self, subject: &Subject) -> Result<Option<Person>, ReadError> {
        let row = query(KNOWN_AS).bind(&subject.issuer).bind(&subject.subject).fetch_optional(self.read()).await;
        row.map_err(ReadError::database("read an account"))?.as_ref().map(read).transpose()
    }

    /// The hash of an account's password, if it has one.
    ///
    /// # Errors
    /// When the database refuses or the row does not read.
    pub async fn password_hash(&self, id: &ActorId) -> Result<Option<String>, ReadError> {
        let row = query(HASH).bind(id.as_str()).fetch_optional(self.read()).await;
        let row = row.map_err(ReadError::database("read an account"))?;
        row.map_or(Ok(None), |row| Columns::new("person", &row).optional_text("password"))
    }

    /// What a person may do by their own roles and those of their teams, whatever their state.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn access(&self, id: &ActorId) -> Result<Access, ReadError> {
        let rows = query(HELD).bind(id.as_str()).fetch_all(self.read()).await;
        let held = all(&rows.map_err(ReadError::database("read somebody's roles"))?, |row| {
            let columns = Columns::new("grant", row);
            Ok(Held { role: columns.named("role")?, scope: columns.parsed("scope")? })
        });
        Ok(Access::new(held?))
    }
}
